"""The atmosphere over many pixels: solved at few states, and interpolated to the state of each pixel.

A table costs about a thousand times what an inversion does, so it is never asked per pixel. States lie on a fixed
lattice; only the corners of cells that hold a pixel are solved, and pixels interpolate linearly in as many quantities
as vary. The lattice does not depend on the scene, so neither do results on how it is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from s2koop.ac.lut import AEROSOLS, LIMITS, Atmosphere, Table
from s2koop.ac.smac import SmacCoefficients, fitted, smac
from s2koop.ac.transfer import Coefficients
from s2koop.errors import InputError

Array = npt.NDArray[np.floating[Any]]

#: Distance between states: linear interpolation then errs by less than some 1e-4 in reflectance. Water vapour is
#: divided in its root, which absorption follows.
STEPS: Mapping[str, float] = MappingProxyType(
    {"aot": 0.05, "water_vapour": 0.1, "ozone": 0.05, "sza": 1.0, "vza": 2.0, "raa": 15.0, "altitude": 250.0}
)
#: What a derivative is taken over: central differences of the three numbers.
_DELTAS: Mapping[str, float] = MappingProxyType({"aot": 0.01, "water_vapour": 0.05})
#: Pixels whose weights are in memory at once.
_PIXELS = 16384


class Method(Protocol):
    """How the three numbers of bands follow from states: the table, or SMAC."""

    def __call__(self, sensor: Any, atmosphere: Atmosphere, bands: Sequence[str]) -> Coefficients: ...


@dataclass(frozen=True)
class LookUp:
    """The look-up table; it is read where it is used, so that a task of dask carries no table unless one is given."""

    aerosol: str = "continental"
    table: Table | None = None

    def __post_init__(self) -> None:
        if self.aerosol not in AEROSOLS:
            raise InputError(f"aerosol={self.aerosol!r} is unknown; choose one of {', '.join(AEROSOLS)}")

    def __call__(self, sensor: Any, atmosphere: Atmosphere, bands: Sequence[str]) -> Coefficients:
        return (self.table or Table.load()).coefficients(sensor, atmosphere, self.aerosol, list(bands))


@dataclass(frozen=True)
class Smac:
    """SMAC with our fit, or with the coefficients of a user: one set per band, or columns in the order of `columns`."""

    aerosol: str = "continental"
    table: Table | None = None
    given: SmacCoefficients | Mapping[str, SmacCoefficients] | None = None

    def __call__(self, sensor: Any, atmosphere: Atmosphere, bands: Sequence[str]) -> Coefficients:
        return smac(self._of(sensor, bands), atmosphere)

    def _of(self, sensor: Any, bands: Sequence[str]) -> SmacCoefficients:
        if self.given is None:
            return fitted(sensor, self.aerosol, list(bands), self.table)
        if isinstance(self.given, SmacCoefficients):
            return self._columns(self.given, sensor, bands)
        lacking = [band for band in bands if band not in self.given]
        if lacking:
            raise InputError(f"smac_coefficients holds {', '.join(self.given)}, but not {', '.join(lacking)}")
        return SmacCoefficients(*(np.array(each) for each in zip(*(self.given[b] for b in bands), strict=True)))

    def _columns(self, given: SmacCoefficients, sensor: Any, bands: Sequence[str]) -> SmacCoefficients:
        """Columns of a file that has one for every band of the sensor, or just for those of the scene."""
        width = np.atleast_1d(given.taur).size
        names = list((self.table or Table.load()).bands(sensor)) if width != len(bands) else list(bands)
        if width != len(names):
            raise InputError(
                f"smac_coefficients has {width} columns; expected {len(bands)} (the bands {', '.join(bands)}) or all "
                f"{len(names)} of the sensor; a mapping from band to coefficients says which is which"
            )
        rows = [names.index(band) for band in bands]
        return SmacCoefficients(*(np.atleast_1d(value)[rows] for value in given))


def numbers(method: Method, sensor: Any, state: Atmosphere, bands: Sequence[str], by: Sequence[str]) -> Array:
    """The three numbers (state, number, band) of states (state,), then their derivatives by each quantity of `by`."""
    count = len(state.aot)
    moved, widths = [state], []
    for name in by:
        low, high = LIMITS[name]
        value, delta = getattr(state, name), _DELTAS[name]
        below, above = np.clip(value - delta, low, high), np.clip(value + delta, low, high)
        moved += [state._replace(**{name: below}), state._replace(**{name: above})]
        widths.append((above - below)[:, None, None])
    together = Atmosphere(*(np.concatenate(values) for values in zip(*moved, strict=True)))
    solved = np.stack([np.asarray(value) for value in method(sensor, together, bands)], 1)
    parts = [solved[start : start + count] for start in range(0, len(solved), count)]
    with np.errstate(invalid="ignore", divide="ignore"):  # a state beyond the limits has no width
        slopes = [
            np.where(width > 0, (above - below) / width, 0)
            for below, above, width in zip(parts[1::2], parts[2::2], widths, strict=True)
        ]
    return np.concatenate([parts[0], *slopes], 1)


def interpolated(
    fields: Mapping[str, Array], solve: Callable[[Mapping[str, Array]], Array]
) -> Callable[[slice], Array]:
    """Numbers of pixels whose state varies, from few solutions.

    Parameters
    ----------
    fields : mapping of str to array (pixel,)
        The quantities that vary, by the names of `Atmosphere`, within `LIMITS` and without NaN.
    solve : callable
        From these quantities at states (state,) to numbers (state, number, band).

    Returns
    -------
    callable
        From a slice of the pixels to their numbers (number, band, pixel).
    """
    lattice = _Lattice(fields)
    used = np.zeros(lattice.size, bool)
    count = lattice.pixels
    for start in range(0, count, _PIXELS):
        used[lattice.corners(slice(start, start + _PIXELS))[0]] = True
    states = np.flatnonzero(used)
    solved = solve(lattice.values(states))
    place = np.cumsum(used) - 1
    flat = solved.reshape(len(states), -1)

    def at(part: slice) -> Array:
        corners, weights = lattice.corners(part)
        pixels, each = corners.shape
        pointers = np.arange(0, pixels * each + 1, each)
        matrix = csr_array((weights.ravel(), place[corners].ravel(), pointers), shape=(pixels, len(states)))
        return (matrix @ flat).T.reshape(*solved.shape[1:], pixels)

    return at


class _Lattice:
    """The cells of the lattice that pixels fall into; indices count the box around them."""

    def __init__(self, fields: Mapping[str, Array]) -> None:
        self.names = list(fields)
        self._places = [_scaled(name, np.asarray(values, np.float64)) for name, values in fields.items()]
        self.pixels = len(self._places[0])
        self._first = [int(np.floor(place.min())) for place in self._places]
        self._shape = [int(np.floor(p.max())) - first + 2 for p, first in zip(self._places, self._first, strict=True)]
        self.size = int(np.prod(self._shape))

    def corners(self, part: slice) -> tuple[npt.NDArray[np.int64], Array]:
        """Index (pixel, corner) of the states around each pixel, and their weights."""
        index = np.zeros((len(range(*part.indices(self.pixels))), 1), np.int64)
        weights = np.ones(index.shape)
        for place, first, size in zip(self._places, self._first, self._shape, strict=True):
            here = place[part] - first
            low = np.floor(here).astype(np.int64)
            share = (here - low)[:, None]
            index = np.concatenate([index * size + low[:, None], index * size + low[:, None] + 1], 1)
            weights = np.concatenate([weights * (1 - share), weights * share], 1)
        return index, weights

    def values(self, states: npt.NDArray[np.int64]) -> dict[str, Array]:
        """The quantities at states of the box."""
        found = np.unravel_index(states, self._shape)
        return {
            name: _unscaled(name, np.asarray(index + first, np.float64))
            for name, index, first in zip(self.names, found, self._first, strict=True)
        }


def _scaled(name: str, values: Array) -> Array:
    return (np.sqrt(values) if name == "water_vapour" else values) / STEPS[name]


def _unscaled(name: str, places: Array) -> Array:
    values = places * STEPS[name]
    return values**2 if name == "water_vapour" else values
