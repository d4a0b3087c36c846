"""Where the numbers of a dashboard of corrections come from: layers as they are, and one inverted when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._atmosphere_air import Sky
from s2koop._atmosphere_layers import LIVE, REFERENCE, TOA, Layer
from s2koop._frames import robust_range, sample
from s2koop._kept import KEPT_BYTES, Kept
from s2koop._requests import Recent

Array = npt.NDArray[Any]
#: Aerosol and water vapour, a number for each date.
AirOf = Mapping[str, Array]


class Corrections:
    """Layers by name, read block by block and kept; the live one is computed from what was measured.

    Parameters
    ----------
    layers : mapping of str to Layer
    sky : Sky, optional
        Under which the live layer is inverted; None: there is none.
    reading : callable
        From a text to a context in which it is said that this is being read.
    """

    def __init__(
        self, layers: Mapping[str, Layer], sky: Sky | None, reading: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self.layers = layers
        self.sky = sky
        self.result = next(layer for layer in layers.values() if layer.kind == "result")
        self._reading = reading
        self._kept = Kept({name: layer.data for name, layer in layers.items()}, budget=KEPT_BYTES)
        self._thin: Recent[xr.DataArray] = Recent(4)
        self._ranges: dict[str, tuple[float, float]] = {}

    @property
    def products(self) -> tuple[str, ...]:
        """Names of all that can be shown; what is judged against stands last."""
        names = list(self.layers)
        if self.sky is not None:
            names.insert(names.index(REFERENCE) if REFERENCE in names else len(names), LIVE)
        return tuple(names)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of the result, then bands that only others know."""
        every = [*self.result.bands, *(band for layer in self.layers.values() for band in layer.bands)]
        return tuple(dict.fromkeys(every))

    def has(self, product: str, band: str) -> bool:
        """Whether a product knows a band; the surface is not seen through B10."""
        if product == LIVE:
            return self.layers[TOA].number(band) is not None and band != "B10"
        return self.layers[product].number(band) is not None

    def limits(self, band: str) -> tuple[float, float]:
        """Value range of a band: one for all layers, so that haze looks like haze."""
        if band not in self._ranges:
            shown = (self.layers[name] for name in (self.result.name, TOA, REFERENCE) if name in self.layers)
            ranges = [self._range(layer, band) for layer in shown]
            found = [pair for pair in ranges if pair is not None]
            self._ranges[band] = (found[0][0], max(high for _, high in found)) if found else (0.0, 1.0)
        return self._ranges[band]

    def maps(self, product: str, bands: Sequence[str], stride: int, air: AirOf) -> list[Array]:
        """Values (time, y, x) of each band, every `stride`-th pixel; NaN where the product lacks a band."""
        steps = slice(None, None, stride)
        known = tuple(band for band in bands if self.has(product, band))
        empty = np.full((self._dates, *(-(-self.result.data.sizes[dim] // stride) for dim in ("y", "x"))), np.nan)
        if product == LIVE and known:
            part = self._thin.get_or((known, stride), lambda: self._measured(known, stride))
            values = self._inverted(part, {"y": steps, "x": steps}, air, spread=False)["mean"].values
            found = {band: values[:, at] for at, band in enumerate(known)}
        else:
            found = {band: self._thinned(product, band, stride) for band in known}
        return [found.get(band, empty) for band in bands]

    def line(self, product: str, pixel: tuple[int, int], time: int, air: AirOf) -> tuple[Array, Array]:
        """Mean and spread (band,) of a pixel on a date, on all bands, NaN where there is none."""
        mean, spread = (np.full(len(self.bands), np.nan) for _ in range(2))
        found = self._live_line(pixel, time, air) if product == LIVE else self._point(self.layers[product], pixel, time)
        at = [self.bands.index(str(band)) for band in found["band"].values]
        mean[at] = found["mean"].values
        if "spread" in found:
            spread[at] = found["spread"].values
        return mean, spread

    def window(
        self, product: str, bands: Sequence[str], at: Mapping[str, slice], time: int, air: AirOf
    ) -> xr.DataArray:
        """Values (band, y, x) of a part of the scene on a date."""
        source = TOA if product == LIVE else product
        values = np.stack([self._loaded(source, band, {"time": time, **at}) for band in bands])
        if product == LIVE:
            where: dict[str, Any] = {"time": [time], **at}
            part = self._toa.isel(where | {"band": self._numbers(bands)}).copy(data=values[None])
            values = self._inverted(part, where, air, spread=False)["mean"].values[0]
        grid = {dim: self.result.data[dim].values[part] for dim, part in at.items()}
        return xr.DataArray(values, dims=("band", "y", "x"), coords={"band": list(bands), **grid})

    @property
    def _dates(self) -> int:
        return int(self.result.data.sizes["time"])

    @property
    def _toa(self) -> xr.DataArray:
        return self.layers[TOA].data["mean"]

    def _numbers(self, bands: Sequence[str]) -> list[int]:
        return [self.layers[TOA].bands.index(band) for band in bands]

    def _range(self, layer: Layer, band: str) -> tuple[float, float] | None:
        return robust_range(sample(self._read(layer.name, band))) if layer.number(band) is not None else None

    def _read(self, product: str, band: str) -> xr.DataArray:
        """All dates and pixels of a band, in memory where they are kept."""
        number = self.layers[product].bands.index(band)
        size = self._kept.missing(product, number)
        with self._reading(f"Reading {product}, {band}: {size / 2**20:.1f} MB" if size else ""):
            return self._kept.stack(product, number, all_dates=True)["mean"]

    def _thinned(self, product: str, band: str, stride: int) -> Array:
        steps = slice(None, None, stride)
        return self._loaded(product, band, {"y": steps, "x": steps})

    def _loaded(self, product: str, band: str, at: Mapping[str, Any]) -> Array:
        stack = self._read(product, band).isel(at)
        # Lazy still where it is more than is kept.
        with self._reading(f"Reading {product}, {band}" if stack.chunks is not None else ""):
            return np.asarray(stack.values)

    def _measured(self, bands: Sequence[str], stride: int) -> xr.DataArray:
        """The measurement at every `stride`-th pixel, in memory: no move of a hand reads it again."""
        steps = slice(None, None, stride)
        values = np.stack([self._thinned(TOA, band, stride) for band in bands], axis=1)
        return self._toa.isel(band=self._numbers(bands), y=steps, x=steps).copy(data=values)

    def _point(self, layer: Layer, pixel: tuple[int, int], time: int) -> xr.Dataset:
        if not layer.lazy:
            return layer.data.isel(time=time, y=pixel[0], x=pixel[1])
        with self._reading(f"Reading {layer.name}: row {pixel[0]}, column {pixel[1]}"):
            rows, cols = (np.array([place]) for place in pixel)
            return self._kept.points(layer.name, range(len(layer.bands)), rows, cols).isel(time=time, point=0)

    def _live_line(self, pixel: tuple[int, int], time: int, air: AirOf) -> xr.Dataset:
        at = {"time": [time], "y": [pixel[0]], "x": [pixel[1]]}
        seen = self._point(self.layers[TOA], pixel, time)["mean"].values
        part = self._toa.isel(at).copy(data=seen.reshape(1, -1, 1, 1))
        # One pixel is no scene: lazily, it is not judged as one (a saturated one looks like digital numbers).
        found = self._inverted(part.chunk(), at, air, spread=True)[["mean", "spread"]]
        return found.isel(time=0, y=0, x=0).compute()

    def _inverted(self, part: xr.DataArray, at: Mapping[str, Any], air: AirOf, *, spread: bool) -> xr.Dataset:
        assert self.sky is not None
        dates = at.get("time", slice(None))
        return self.sky.invert(part, at, {name: values[dates] for name, values in air.items()}, spread=spread)
