"""Reflectance of what has no leaves: snow, water and built surfaces, in the ten bands of `canopy.BANDS`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2koop.cube.sensors import SENSORS
from s2koop.simulate.canopy import BANDS

#: Centre wavelengths in nm.
WAVELENGTH = np.array([SENSORS["S2A"].bands[band].wavelength for band in BANDS], np.float32)
#: Imaginary refractive index of ice at these wavelengths: Warren and Brandt (2008), J. Geophys. Res. 113.
_ICE = np.array([4.6e-10, 2.8e-9, 1.8e-8, 3.1e-8, 5.0e-8, 1.07e-7, 1.47e-7, 2.4e-7, 2.66e-4, 2.5e-4])
#: Absorption of light by soot and dust in a usual seasonal snow, as if ice had it, at 550 nm; falls with wavelength.
_IMPURITY = 1.2e-7
#: Water-leaving reflectance of clear, sediment-laden and algae-rich inland water.
_WATER = np.array(
    [
        [0.030, 0.028, 0.012, 0.009, 0.005, 0.005, 0.004, 0.004, 0.002, 0.001],
        [0.060, 0.090, 0.085, 0.080, 0.040, 0.038, 0.030, 0.027, 0.006, 0.004],
        [0.022, 0.055, 0.022, 0.048, 0.018, 0.018, 0.014, 0.012, 0.003, 0.002],
    ],
    np.float32,
)
#: Asphalt, concrete and fired-clay tiles.
_BUILT = np.array(
    [
        [0.070, 0.080, 0.090, 0.098, 0.106, 0.112, 0.118, 0.121, 0.150, 0.145],
        [0.170, 0.200, 0.225, 0.235, 0.245, 0.255, 0.265, 0.270, 0.310, 0.290],
        [0.070, 0.100, 0.180, 0.205, 0.225, 0.245, 0.255, 0.265, 0.340, 0.330],
    ],
    np.float32,
)


def snow_reflectance(grain: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Reflectance of deep snow of a grain diameter (m), shape (...): (..., band).

    References
    ----------
    Kokhanovsky and Zege (2004), Scattering optics of snow, Applied Optics 43, equations 20 and 25: the exponential of
    the root of absorption times grain size.
    """
    absorption = 4 * np.pi * (_ICE + _IMPURITY * (550 / WAVELENGTH) ** 2) / (WAVELENGTH * 1e-9)
    depth = np.asarray(grain, np.float32)[..., None] * absorption.astype(np.float32)
    return np.exp(-5.8 * np.sqrt(depth)).astype(np.float32)


def water_reflectance(sediment: npt.ArrayLike, algae: npt.ArrayLike, glint: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Clear water with sediment and algae (0 to 1), and glint added to all bands; shapes broadcast: (..., band)."""
    mud, green, flash = np.broadcast_arrays(*(np.asarray(v, np.float32)[..., None] for v in (sediment, algae, glint)))
    clear, turbid, rich = _WATER
    return clear + mud * (turbid - clear) + green * (rich - clear) + flash


def built_reflectance(shares: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """A mixture of asphalt, concrete and tiles, (..., 3) shares that sum to 1: (..., band)."""
    return np.asarray(shares, np.float32) @ _BUILT
