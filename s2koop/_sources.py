"""Where the numbers of a dashboard come from: cube, results and what follows from them, read no more than is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from s2koop._indices import difference, difference_spread, known_indices, parts_of
from s2koop._kept import KEPT_BYTES, Kept
from s2koop._picture_bands import TRUE_COLOUR
from s2koop._places import Place
from s2koop._views import Quantity

Kind = Literal["observed", "mean", "spread", "residual", "later"]

#: Dates of a product in memory that are computed together where they follow from others.
_DATES = 16

_QUANTITIES: dict[Kind, Quantity] = {"spread": "spread", "residual": "difference"}


@dataclass(frozen=True)
class Product:
    """What can be shown as a map: its name, what kind it is, and of which result."""

    name: str
    kind: Kind
    result: str = ""

    @property
    def quantity(self) -> Quantity:
        """Which palette and range suit it."""
        return _QUANTITIES.get(self.kind, "reflectance")


class Sources:
    """The cube, its results and later observations, by name; bands and the indices that they allow.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
    results : mapping of str to Dataset
        With ``mean`` and, where known, ``spread``.
    later : DataArray, optional
        Observations that were held out.
    """

    def __init__(self, cube: xr.DataArray, results: Mapping[str, xr.Dataset], later: xr.DataArray | None) -> None:
        self._data: dict[str, xr.Dataset] = {"observed": cube.rename("mean").to_dataset()}
        self._data |= {name: result[[v for v in ("mean", "spread") if v in result]] for name, result in results.items()}
        if later is not None:
            self._data["later"] = later.rename("mean").to_dataset()
        self._kept = Kept(self._data, budget=KEPT_BYTES)
        self._pairs = {name: self._paired(name) for name in results}
        self.lazy = any(v.chunks is not None for data in self._data.values() for v in data.values())
        self.products = {p.name: p for p in self._listed(results)}

    def _listed(self, results: Mapping[str, xr.Dataset]) -> list[Product]:
        found = [Product("observed", "observed")]
        for name in results:
            found.append(Product(f"{name} mean", "mean", name))
            if "spread" in self._data[name]:
                found.append(Product(f"{name} spread", "spread", name))
            if self._pairs[name][0].size:
                found.append(Product(f"{name} residual", "residual", name))
        return found + ([Product("later", "later")] if "later" in self._data else [])

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the cube, then those that only a result knows, then the indices that they allow."""
        bands = dict.fromkeys(band for name in self._data for band in self._bands(name))
        return (*bands, *known_indices(list(bands)))

    def dates(self, product: Product) -> np.ndarray:
        """Dates of a product, datetime64 (time,)."""
        if product.kind == "residual":
            return self._dates(product.result)[self._pairs[product.result][0]]
        return self._dates(self._name(product))

    def stack(self, product: Product, band: str, *, all_dates: bool = False) -> xr.DataArray | None:
        """Return (time, y, x) of a band or index, lazy where it is not kept; None where there is no such band."""
        if product.kind == "residual":
            return self._residual(product.result, band, all_dates)
        return self._variable(self._name(product), product.kind, band, all_dates)

    def series(self, source: str, band: str, place: Place) -> xr.Dataset | None:
        """Return all dates of one band or index at a place, in memory: ``mean`` and ``spread`` (time, point)."""
        parts = self._parts(source, band)
        if parts is None:
            return None
        read = [self._kept.points(source, [self._number(source, part)], place.rows, place.cols) for part in parts]
        return combined([r.isel(band=0, drop=True) for r in read])

    def spectra(self, source: str, place: Place) -> xr.DataArray:
        """Return all dates and bands at a place, in memory: (time, band, point)."""
        return self._kept.points(source, list(range(len(self._bands(source)))), place.rows, place.cols)["mean"]

    def bytes_of(self, product: Product, band: str) -> int:
        """Bytes that a look at all dates of a band computes: 0 where they are kept or in memory."""
        of_residual = (product.result, *(s for s in ("observed", "later") if s in self._data))
        names = of_residual if product.kind == "residual" else (self._name(product),)
        return sum(
            self._kept.missing(name, self._number(name, part))
            for name in names
            for part in self._parts(name, band) or ()
        )

    def bytes_at(self, band: str, place: Place) -> int:
        """Bytes that the series of a place compute: 0 where they are kept or in memory."""
        rows, cols = place.around
        return sum(
            self._kept.missing(name, self._number(name, part), rows, cols)
            for name in self._data
            for part in self._parts(name, band) or ()
        )

    def colours(self, product: Product) -> tuple[str, str, str] | None:
        """Return the bands of red, green and blue, None where one is missing or the product is no reflectance."""
        if product.quantity != "reflectance":
            return None
        known = self._bands(self._name(product))
        return next(
            (c for c in (TRUE_COLOUR, ("RED", "GREEN", "BLUE")) if set(c) <= set(known)),
            None,
        )

    def _name(self, product: Product) -> str:
        return product.result or product.name

    def _bands(self, source: str) -> list[str]:
        return [str(b) for b in self._data[source]["band"].values]

    def _number(self, source: str, band: str) -> int:
        return self._bands(source).index(band)

    def _dates(self, source: str) -> np.ndarray:
        return np.asarray(self._data[source]["time"].values)

    def _parts(self, source: str, band: str) -> tuple[str, ...] | None:
        """A band itself, or the two of an index; None where they are not there."""
        bands = self._bands(source)
        if band in bands:
            return (band,)
        return parts_of(band, bands) if band in known_indices(bands) else None

    def _variable(self, source: str, kind: Kind, band: str, all_dates: bool) -> xr.DataArray | None:
        parts = self._parts(source, band)
        if parts is None:
            return None
        read = [self._kept.stack(source, self._number(source, part), all_dates=all_dates) for part in parts]
        if len(read) > 1:
            read = [_lazily(r) for r in read]
        return combined(read)["spread" if kind == "spread" else "mean"]

    def _paired(self, result: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of the dates of a result that were observed, of the observation, and whether it came later."""
        times, found = self._dates(result), []
        for late, source in enumerate(s for s in ("observed", "later") if s in self._data):
            own = self._dates(source)
            at = np.abs(own[:, None] - times[None]).argmin(0)
            near = np.abs(own[at] - times) <= np.timedelta64(12, "h")
            found += [(i, at[i], late) for i in np.flatnonzero(near)]
        first = {i: (at, late) for i, at, late in reversed(found)}
        numbers = sorted(first)
        return np.array(numbers, int), np.array([first[i][0] for i in numbers], int), np.array(
            [first[i][1] for i in numbers], bool
        )  # fmt: skip

    def _residual(self, result: str, band: str, all_dates: bool) -> xr.DataArray | None:
        mean = self._variable(result, "mean", band, all_dates)
        seen = [self._variable(s, "observed", band, all_dates) for s in ("observed", "later") if s in self._data]
        if mean is None or seen[0] is None:
            return None
        mean = _lazily(mean)
        numbers, at, late = self._pairs[result]
        pieces = []
        for source, values in enumerate(seen):
            if (chosen := late == bool(source)).any():
                there = mean.isel(time=numbers[chosen])
                own = there * np.nan if values is None else _lazily(values).isel(time=at[chosen])
                # the same grid to within a quarter of a pixel, which xarray would not align
                pieces.append(own.assign_coords({dim: there[dim] for dim in ("time", "y", "x")}) - there)
        order = np.argsort(np.concatenate([numbers[late == bool(s)] for s in (False, True)]), kind="stable")
        return xr.concat(pieces, "time").isel(time=order)


def combined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Return one band as it is; of two, their normalised difference with its spread."""
    if len(parts) == 1:
        return parts[0]
    a, b = parts
    index = difference(a["mean"], b["mean"]).rename("mean").to_dataset()
    if "spread" in a and "spread" in b:
        index["spread"] = difference_spread(a["mean"], b["mean"], a["spread"], b["spread"])
    return index


def _lazily(values: xr.DataArray | xr.Dataset):  # type: ignore[no-untyped-def]
    """The same without labels, computed date by date: of what follows from others only asked dates are worked out."""
    bare = values.reset_coords(drop=True)
    return bare if bare.chunksizes else bare.chunk({"time": _DATES})
