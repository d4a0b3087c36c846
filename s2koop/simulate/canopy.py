"""Reflectance of vegetation: PROSAIL, emulated by a small network over any soil, in ten bands of Sentinel-2."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from s2koop.errors import InputError

#: The bands of everything simulated over land.
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
#: Least and most of each parameter that the network has seen.
PARAMETERS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "structure": (1.2, 2.5),  # layers of a leaf
        "chlorophyll": (1.0, 80.0),  # a + b, µg/cm²
        "brown": (0.0, 1.5),  # brown pigment, arbitrary units
        "water": (0.003, 0.04),  # equivalent thickness of leaf water, cm
        "dry_matter": (0.002, 0.015),  # g/cm²
        "lai": (0.0, 8.0),  # leaf area over ground area
        "leaf_angle": (30.0, 75.0),  # mean inclination, degrees
        "sun_zenith": (15.0, 78.0),  # degrees
        "view_zenith": (0.0, 12.0),  # degrees
        "azimuth": (0.0, 180.0),  # between sun and view, degrees
    }
)
#: Weights of the network and PROSAIL's soils; scripts/make_canopy_table.py makes it.
TABLE = Path(__file__).with_name("canopy.safetensors")
#: Parameters whose effect is nearly linear in their logarithm.
_LOGARITHMIC = ("chlorophyll", "water")


def features(parameters: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """What the network sees of the parameters (sample,): (sample, parameter), each from -1 to 1 and near linear."""
    columns = []
    for name, limits in PARAMETERS.items():
        values = np.clip(parameters[name], *limits)
        low, high, values = (_straight(name, v) for v in (*limits, values))
        columns.append((2 / (high - low)) * (values - low) - 1)
    return np.stack(np.broadcast_arrays(*columns), axis=-1).astype(np.float32, copy=False)


def _straight(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """The parameter on the scale on which reflectance is nearest to linear; leaves shade each other."""
    if name == "lai":
        return -np.expm1(-0.4 * np.asarray(values, np.float32))
    return np.log(values) if name in _LOGARITHMIC else np.asarray(values, np.float32)


def canopy_reflectance(
    parameters: Mapping[str, npt.ArrayLike], soil: npt.ArrayLike, *, tile: int = 65_536
) -> npt.NDArray[np.float32]:
    """Reflectance of a canopy over a soil in the bands `BANDS`.

    A network trained on PROSPECT-D and 4SAIL; its rms error is below 0.004 in every band over soils, about 0.01 over
    snow. Values beyond the limits of `PARAMETERS` are taken at the limit.

    Parameters
    ----------
    parameters : mapping of str to array
        Every name in `PARAMETERS`, with shapes that broadcast to one shape (...).
    soil : array, shape (..., band)
        Reflectance of what lies under the leaves: soil, litter or snow.
    tile : int
        Samples computed at once.

    Returns
    -------
    float32 (..., band)

    Raises
    ------
    InputError
        If a parameter is missing or unknown, or the soil has another number of bands.

    References
    ----------
    Féret et al. (2017), PROSPECT-D, Remote Sensing of Environment 193; Verhoef et al. (2007), 4SAIL, IEEE TGRS 45.

    Examples
    --------
    >>> leaves = {name: (low + high) / 2 for name, (low, high) in PARAMETERS.items()}
    >>> red, nir = canopy_reflectance(leaves | {"brown": 0.0}, np.full(10, 0.1))[[2, 7]]
    >>> bool(nir > 5 * red)
    True
    """
    wrong = set(parameters) ^ set(PARAMETERS)
    if wrong:
        raise InputError(f"parameters {sorted(wrong)} are missing or unknown; give exactly {', '.join(PARAMETERS)}")
    under = np.asarray(soil, np.float32)
    if under.ndim == 0 or under.shape[-1] != len(BANDS):
        raise InputError(f"soil has shape {under.shape}; its last dimension must be the {len(BANDS)} bands of BANDS")
    given = {name: np.asarray(values, np.float32) for name, values in parameters.items()}
    shape = np.broadcast_shapes(under.shape[:-1], *(values.shape for values in given.values()))
    flat = {name: np.broadcast_to(values, shape).reshape(-1) for name, values in given.items()}
    below = np.broadcast_to(under, (*shape, len(BANDS))).reshape(-1, len(BANDS))
    out = np.empty(below.shape, np.float32)
    for at in range(0, len(out), tile):
        part = slice(at, at + tile)
        out[part] = _over_soil(features({name: values[part] for name, values in flat.items()}), below[part])
    return out.reshape(*shape, len(BANDS))


def soil_reflectance(brightness: npt.ArrayLike, moisture: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """PROSAIL's dry and wet soil, mixed by moisture (0 to 1) and scaled; shapes broadcast: (..., band)."""
    dry, wet = _table()["soil"]
    damp = np.asarray(moisture, np.float32)[..., None]
    return np.asarray(brightness, np.float32)[..., None] * (dry + damp * (wet - dry))


def _over_soil(x: npt.NDArray[np.float32], soil: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The network, and its terms over a Lambertian soil: direct + through soil / (1 - back soil)."""
    table = _table()
    for layer in ("0", "2"):
        x = np.tanh(x @ table[f"{layer}.weight"].T + table[f"{layer}.bias"])
    terms = 1 / (1 + np.exp(-(x @ table["4.weight"].T + table["4.bias"])))
    direct, through, back = np.split(terms, 3, axis=1)
    return direct + through * soil / (1 - back * soil)


@cache
def _table() -> dict[str, npt.NDArray[np.float32]]:
    from safetensors.numpy import load_file

    return load_file(TABLE)
