"""Methods that can be asked again about a few pixels: what would they say without these observations?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from s2koop.errors import InputError

#: From observations (time, band, y, x) and dates to a result on these dates.
Method = Callable[[xr.DataArray, np.ndarray], xr.Dataset]

#: Baselines that take each series by itself; the others learn from the whole scene first.
_PIXEL_BY_PIXEL = (
    "persistence", "pixel_mean", "same_day_last_year", "harmonic", "harmonic_residual", "whittaker",
)  # fmt: skip


@dataclass(frozen=True)
class Hidden:
    """What the methods must do without: some dates, and all after a cut, of which so many days are looked at."""

    withheld: tuple[np.datetime64, ...]
    cut: np.datetime64 | None
    horizon: int

    def picked(self, times: np.ndarray) -> np.ndarray:
        """Which dates (time,) were withheld by hand."""
        return np.isin(times, np.array(self.withheld, "datetime64[ns]"))

    def after(self, times: np.ndarray) -> np.ndarray:
        """Which dates (time,) come after the cut."""
        return np.zeros(times.shape, bool) if self.cut is None else times > self.cut

    def of(self, times: np.ndarray) -> np.ndarray:
        """Which dates (time,) are hidden."""
        return self.picked(times) | self.after(times)

    @property
    def end(self) -> np.datetime64 | None:
        """The last date that is looked at; None where there is no cut."""
        return None if self.cut is None else self.cut + np.timedelta64(self.horizon, "D")


def methods_of(
    results: Mapping[str, xr.Dataset], model: Any | None, given: Mapping[str, Method] | None
) -> dict[str, Method]:
    """Return what can be asked again, by the name of the result: what is given, baselines, and the model's analyses.

    An analysis of a few pixels takes each by itself (``scene=False``): what a date shares over the scene cannot be
    told from them.
    """
    unknown = [name for name in given or {} if name not in results]
    if unknown:
        raise InputError(f"methods names {unknown}, but the results are {list(results)}; use their names.")
    if isinstance(model, (str, Path)):
        from s2koop import koopman

        model = koopman.load(model)  # once, and not for each place that is asked about
    found = {name: _own(result, model) for name, result in results.items()} | dict(given or {})
    return {name: method for name, method in found.items() if method is not None}


def observations(spectra: xr.DataArray, cube: xr.DataArray, hidden: np.ndarray) -> xr.DataArray:
    """Return spectra (time, band, point) as a cube of one column, without hidden dates and those that saw nothing."""
    values = np.asarray(spectra.transpose("time", "band", "point").values)
    kept = ~hidden & np.isfinite(values).any(axis=(1, 2))
    return xr.DataArray(
        values[kept, :, :, None],
        dims=("time", "band", "y", "x"),
        coords={
            "time": cube["time"].values[kept], "band": cube["band"].values,
            "y": np.arange(values.shape[2], dtype=float), "x": [0.0],
        },
        attrs={name: cube.attrs[name] for name in ("level", "sensor", "units") if name in cube.attrs},
    )  # fmt: skip


def _own(result: xr.Dataset, model: Any | None) -> Method | None:
    name = str(result.attrs.get("model", ""))
    if name in _PIXEL_BY_PIXEL:
        return _baseline(name, json.loads(result.attrs.get("options", "{}")))
    if model is None or result.attrs.get("method") != "koopman":
        return None
    # A result says which model made it: another one would be judged in its name.
    source = str(result.attrs.get("source", ""))
    return _analysis(model) if model.digest[:12] in source or "model " not in source else None


def _baseline(name: str, options: Mapping[str, Any]) -> Method:
    def again(cube: xr.DataArray, times: np.ndarray) -> xr.Dataset:
        from s2koop import baselines

        result: xr.Dataset = getattr(baselines, name)(cube, times=times, **options)
        return result

    return again


def _analysis(model: Any) -> Method:
    def again(cube: xr.DataArray, times: np.ndarray) -> xr.Dataset:
        return cube.koopman.assimilate(model, times=times, scene=False, progress=False)

    return again
