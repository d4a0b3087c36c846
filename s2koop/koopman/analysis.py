"""Fit, assimilate, forecast, interpolate and spectrum on cubes: xarray in, xarray out, lazy until asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from s2koop._time import from_days, to_days
from s2koop._version import __version__
from s2koop.engine import ModelReference, Output, map_pixels
from s2koop.errors import InputError, ModelError
from s2koop.koopman import training
from s2koop.koopman.assimilation import MAX_ITERATIONS, TOLERANCE, Window, evaluate
from s2koop.koopman.assimilation import assimilate as minimise
from s2koop.koopman.model import KoopmanModel, load
from s2koop.koopman.settings import KoopmanSettings

MAX_PIXELS = 10_000


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """What `assimilate`, `forecast` and `interpolate` share.

    Attributes
    ----------
    max_iterations : int
        Most iterations of a pixel.
    tolerance : float
        A pixel stops when a step lowers its cost by less than this fraction.
    device : str
        ``"cpu"`` or a torch device.
    progress : bool
        Show a progress bar over tiles, where the cube is in memory.
    """

    max_iterations: int = MAX_ITERATIONS
    tolerance: float = TOLERANCE
    device: str = "cpu"
    progress: bool = True

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise InputError(f"max_iterations={self.max_iterations} must be at least 1")
        if not self.tolerance > 0:
            raise InputError(f"tolerance={self.tolerance} must be positive")


def fit(
    cube: xr.DataArray,
    *,
    settings: KoopmanSettings | None = None,
    max_pixels: int = MAX_PIXELS,
    device: str = "cpu",
    progress: bool = True,
    **options: Any,
) -> KoopmanModel:
    """Train a Koopman model on a cube; see `s2koop.koopman.KoopmanAccessor.fit`."""
    if settings is not None and options:
        raise InputError(f"give either settings= or single options ({', '.join(options)}), not both")
    settings = settings or KoopmanSettings.from_dict(options)
    days = check_cube(cube)
    if max_pixels < 1:
        raise InputError(f"max_pixels={max_pixels} must be at least 1")
    values = training_pixels(cube, max_pixels, settings.seed)
    card = {
        "level": str(cube.attrs.get("level", "unknown")),
        "sensor": str(cube.attrs.get("sensor", "unknown")),
        "s2koop": __version__,
    }
    return training.train(values, days, _bands(cube), settings, device=device, progress=progress, card=card)


def training_pixels(cube: xr.DataArray, most: int, seed: int) -> npt.NDArray[np.float32]:
    """Series (pixel, time, band) of pixels drawn at random, reading only the chunks that hold them.

    Pixels with fewer dates than a fit can use are left out.
    """
    ordered = cube.transpose("y", "x", "time", "band")
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    chosen = np.sort(np.random.default_rng(seed).permutation(rows * columns)[:most])
    points = {
        "y": xr.DataArray(chosen // columns, dims="pixel"),
        "x": xr.DataArray(chosen % columns, dims="pixel"),
    }
    values = ordered.isel(points).transpose("pixel", "time", "band").to_numpy().astype(np.float32, copy=False)
    enough = np.isfinite(values).any(axis=2).sum(axis=1) >= training.LEAST_DATES
    if not enough.any():
        raise InputError(
            f"no pixel has {training.LEAST_DATES} usable dates, so there is nothing to learn from; "
            "take a longer period, or mask fewer classes (load(..., mask=...))"
        )
    return values[enough]


def assimilate(
    cube: xr.DataArray,
    model: KoopmanModel | str | Path,
    *,
    times: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Analysis of a cube; see `s2koop.koopman.KoopmanAccessor.assimilate`."""
    days = check_cube(cube)
    asked = days if times is None else _asked_days(times)
    return _analyse(cube, model, days, asked, "analysis", SolverOptions(**options))


def forecast(
    cube: xr.DataArray,
    model: KoopmanModel | str | Path,
    *,
    times: Any = None,
    steps: int | None = None,
    **options: Any,
) -> xr.Dataset:
    """Forecast beyond a cube; see `s2koop.koopman.KoopmanAccessor.forecast`."""
    days = check_cube(cube)
    model = _model(model)
    if (times is None) == (steps is None):
        raise InputError(
            "give either times= (dates) or steps= (a number of steps after the last date), and only one of them"
        )
    if steps is not None:
        if int(steps) != steps or steps < 1:
            raise InputError(f"steps={steps!r} must be a whole number of at least 1")
        asked = days[-1] + model.settings.step_days * np.arange(1, int(steps) + 1)
    else:
        asked = _asked_days(times)
        if asked[0] <= days[-1]:
            raise InputError(
                f"the first asked date {_date(asked[0])} is not after {_date(days[-1])}, the last date of the cube; "
                "cut the cube first (cube.sel(time=slice(None, '2019-12-31'))), or use .assimilate(times=...)"
            )
    return _analyse(cube, model, days, asked, "forecast", SolverOptions(**options))


def interpolate(
    cube: xr.DataArray,
    model: KoopmanModel | str | Path,
    *,
    freq: str | None = None,
    times: Any = None,
    **options: Any,
) -> xr.Dataset:
    """Gap-free cube on regular dates; see `s2koop.koopman.KoopmanAccessor.interpolate`."""
    days = check_cube(cube)
    if (freq is None) == (times is None):
        raise InputError("give either freq= (such as '5D') or times= (dates), and only one of them")
    if freq is not None:
        asked = _regular_days(days, freq)
    else:
        asked = _asked_days(times)
        if asked[0] < np.floor(days[0]) or asked[-1] > np.ceil(days[-1]):
            raise InputError(
                f"times from {_date(asked[0])} to {_date(asked[-1])} reach beyond "
                f"the cube ({_date(days[0])} to {_date(days[-1])}); "
                "use .forecast(times=...) for later dates"
            )
    return _analyse(cube, model, days, asked, "interpolation", SolverOptions(**options))


def spectrum(
    cube: xr.DataArray, model: KoopmanModel | str | Path, *, device: str = "cpu", progress: bool = True
) -> xr.Dataset:
    """Modes and their amplitude maps; see `s2koop.koopman.KoopmanAccessor.spectrum`."""
    days = check_cube(cube)
    model = _model(model)
    found = model.spectrum()
    modes = np.arange(len(found.eigenvalue))
    prepared, start = _prepared(cube, model, days, days)
    amplitude = map_pixels(
        prepared,
        amplitude_kernel,
        outputs={
            "amplitude": Output(
                {"mode": modes},
                attrs={
                    "long_name": "amplitude of the mode",
                    "units": "1",
                    "comment": "in latent units, at the start of the window",
                },
            )
        },
        model=_for_blocks(prepared, model),
        options={"days": days - start},
        device=device,
        progress="spectrum" if progress else None,
    )
    step = f"over {found.step_days:g} days"
    modal = {
        "eigenvalue_real": (found.eigenvalue.real, "1", f"real part of the eigenvalue {step}"),
        "eigenvalue_imag": (found.eigenvalue.imag, "1", f"imaginary part of the eigenvalue {step}"),
        "period": (found.period_days, "days", "period of the mode; infinite where it does not oscillate"),
        "decay": (found.decay_days, "days", "time to fall to 1/e; negative where the mode grows"),
    }
    coords = {
        name: ("mode", values, {"units": units, "long_name": text}) for name, (values, units, text) in modal.items()
    }
    return _labelled(amplitude.assign_coords(coords), cube, model, "spectrum", start, days)


def analysis_kernel(
    model: KoopmanModel,
    values: Tensor,
    *,
    days: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    max_iterations: int,
    tolerance: float,
) -> dict[str, Tensor]:
    """Pixels (pixel, time, band) to mean and spread on the asked days, with diagnostics. Days count from the start."""
    window = _window(model, values, days)
    analysis = minimise(window, max_iterations=max_iterations, tolerance=tolerance)
    mean, variance = evaluate(model.network, model.background, analysis, _tensor(asked, values))
    beyond = torch.as_tensor(asked > days[-1], device=values.device)[:, None]
    error = torch.where(beyond, model.forecast_error, model.window_error)
    return {
        "mean": model.reflectance(mean),
        "spread": model.scale * (variance + error.square()).sqrt(),
        "spread_state": model.scale * variance.sqrt(),
        "cost": analysis.cost,
        "misfit": analysis.misfit,
        "iterations": analysis.iterations,
    }


def amplitude_kernel(model: KoopmanModel, values: Tensor, *, days: npt.NDArray[np.float64]) -> dict[str, Tensor]:
    """Pixels (pixel, time, band) to the amplitude of each mode at the start of the window."""
    latent = model.background.latent(minimise(_window(model, values, days)).u)
    coordinates = torch.from_numpy(model.spectrum().coordinates.astype(np.complex64)).to(values.device)
    return {"amplitude": (latent.to(torch.complex64) @ coordinates).abs()}


def check_cube(cube: xr.DataArray) -> npt.NDArray[np.float64]:
    """Refuse what no method could use, and return the cube's dates in days since the epoch."""
    if not isinstance(cube, xr.DataArray):
        raise InputError(
            f"expected a DataArray, found {type(cube).__name__}; a Dataset of bands becomes a cube by .to_array('band')"
        )
    if set(cube.dims) != {"time", "band", "y", "x"}:
        raise InputError(
            f"the cube has dims {tuple(cube.dims)}; expected ('time', 'band', 'y', 'x'): "
            "rename them, or add one with expand_dims"
        )
    empty = [str(dim) for dim, size in cube.sizes.items() if size == 0]
    if empty:
        raise InputError(f"the cube has no {', no '.join(empty)}; was a selection empty?")
    for dim in ("time", "band"):
        if dim not in cube.coords:
            raise InputError(f"the cube has no coordinate {dim!r}; every date and band needs its label")
    if not np.issubdtype(cube["time"].dtype, np.datetime64):
        raise InputError(
            f"the dates have dtype {cube['time'].dtype}; expected datetime64: cube['time'] = pandas.to_datetime(...)"
        )
    if not np.issubdtype(cube.dtype, np.floating):
        raise InputError(
            f"the cube has dtype {cube.dtype}; expected reflectance in 0..1 as float with NaN for gaps: "
            "divide by 10000 and mask the no-data value"
        )
    days = to_days(cube["time"].values)
    if (np.diff(days) < 0).any():
        raise InputError("the dates are not sorted; use cube.sortby('time')")
    if cube.chunks is None:
        _check_range(cube)
    return days


def _check_range(cube: xr.DataArray) -> None:
    """Refuse digital numbers, judged on a few dates of a cube that is in memory."""
    values = cube.isel(time=slice(None, None, max(1, cube.sizes["time"] // 8))).values
    seen = values[np.isfinite(values)]
    if seen.size and abs(middle := float(np.median(seen))) > 2:
        raise InputError(
            f"the median of the cube is {middle:.4g}; expected reflectance in 0..1: "
            "divide digital numbers by 10000 first"
        )


def _analyse(
    cube: xr.DataArray,
    model: KoopmanModel | str | Path,
    days: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    kind: str,
    options: SolverOptions,
) -> xr.Dataset:
    model = _model(model)
    prepared, start = _prepared(cube, model, days, asked)
    coords = {"time": from_days(asked), "band": list(model.bands)}
    what = "surface reflectance" if cube.attrs.get("level", "BOA") == "BOA" else "top-of-atmosphere reflectance"
    outputs = {
        "mean": Output(coords, attrs={"long_name": f"{kind} of {what}", "units": "1"}),
        "spread": Output(
            coords,
            attrs={"long_name": f"standard deviation of an observation around the {kind}", "units": "1"},
        ),
        "spread_state": Output(
            coords,
            attrs={
                "long_name": f"standard deviation of the {kind} itself, without observation error",
                "units": "1",
            },
        ),
        "cost": Output({}, attrs={"long_name": "cost at the minimum", "units": "1"}),
        "misfit": Output(
            {}, attrs={"long_name": "mean squared standardised residual of the observations", "units": "1"}
        ),
        "iterations": Output({}, np.int16, attrs={"long_name": "iterations of the minimisation", "units": "1"}),
    }
    result = map_pixels(
        prepared,
        analysis_kernel,
        outputs=outputs,
        model=_for_blocks(prepared, model),
        options={
            "days": days - start,
            "asked": asked - start,
            "max_iterations": options.max_iterations,
            "tolerance": options.tolerance,
        },
        tile=1024,
        device=options.device,
        progress=kind if options.progress else None,
    )
    return _labelled(result, cube, model, kind, start, days)


def _prepared(
    cube: xr.DataArray, model: KoopmanModel, days: npt.NDArray[np.float64], asked: npt.NDArray[np.float64]
) -> tuple[xr.DataArray, float]:
    """The cube with the model's bands (NaN where it has none), and the day on which the window starts."""
    bands = _bands(cube)
    strange = [band for band in bands if band not in model.bands]
    if strange:
        raise ModelError(
            f"the model knows the bands {list(model.bands)}, not {strange}; "
            f"select what it knows: cube.sel(band={[b for b in bands if b in model.bands]})"
        )
    if len(set(bands)) < len(bands):
        raise InputError(f"the bands {bands} repeat; every band may stand once")
    bare = cube.drop_vars([name for name in cube.coords if name not in ("time", "band", "y", "x")])
    bare = bare.transpose("time", "band", "y", "x").astype(np.float32, copy=False)
    bare = bare.reindex(band=list(model.bands)).drop_vars("time")
    return bare, model.anchor(float(min(days[0], asked[0])))


def _window(model: KoopmanModel, values: Tensor, days: npt.NDArray[np.float64]) -> Window:
    return Window(
        model.network,
        model.standardise(values),
        _tensor(days, values),
        model.background,
        model.noise,
        model.settings.robust,
    )


def _tensor(days: npt.NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.as_tensor(days, dtype=torch.float32, device=like.device)


def _for_blocks(cube: xr.DataArray, model: KoopmanModel) -> KoopmanModel | ModelReference:
    """The model itself for a NumPy-backed cube; a file that workers can open for a dask-backed one."""
    return model if cube.chunks is None else model.reference()


def _model(model: KoopmanModel | str | Path) -> KoopmanModel:
    if isinstance(model, KoopmanModel):
        return model
    if isinstance(model, str | Path):
        return load(model)
    raise InputError(
        f"model is a {type(model).__name__}; expected a KoopmanModel (from .koopman.fit) or the path of a saved one"
    )


def _bands(cube: xr.DataArray) -> list[str]:
    return [str(band) for band in np.atleast_1d(cube["band"].values)]


def _asked_days(times: Any) -> npt.NDArray[np.float64]:
    try:
        dates = pd.DatetimeIndex(np.atleast_1d(times.values if isinstance(times, xr.DataArray) else times))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"times={times!r} cannot be read as dates ({error}); write such as '2020-06-01' or a pandas.date_range"
        ) from error
    if not len(dates) or dates.hasnans:
        raise InputError("times holds no date, or one that is not a time; give at least one date")
    return np.unique(to_days(dates.tz_localize(None)))


def _regular_days(days: npt.NDArray[np.float64], freq: str) -> npt.NDArray[np.float64]:
    try:
        offset = pd.tseries.frequencies.to_offset(freq.upper() if isinstance(freq, str) else freq)
        dates = pd.date_range(from_days(days[0]), from_days(days[-1]), freq=offset)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"freq={freq!r} is not a pandas frequency ({error}); write such as '5D', '10D' or 'MS'"
        ) from error
    if not len(dates):
        raise InputError(
            f"freq={freq!r} gives no date between {_date(days[0])} and {_date(days[-1])}; take a finer one"
        )
    return to_days(dates)


def _date(day: float) -> str:
    return str(from_days(day))[:10]


def _labelled(
    result: xr.Dataset,
    cube: xr.DataArray,
    model: KoopmanModel,
    kind: str,
    start: float,
    days: npt.NDArray[np.float64],
) -> xr.Dataset:
    """Put back the grid of the cube (CRS and transform too), and say how the result was made."""
    spatial = {name: coord for name, coord in cube.coords.items() if set(coord.dims) <= {"y", "x"} and name != "band"}
    attrs: Mapping[str, Any] = {
        "Conventions": "CF-1.10",
        "title": f"Koopman {kind}",
        "method": "koopman",
        "source": f"s2koop {__version__}, model {model.digest[:12]} ({model.settings.operator} operator)",
        "window": f"{_date(days[0])} to {_date(days[-1])}, latent at {_date(start)}",
        "references": "Frion et al. (2024), Neural Koopman prior for data assimilation",
    } | {name: cube.attrs[name] for name in ("level", "sensor") if name in cube.attrs}
    result = result.assign_coords(spatial)
    if "spatial_ref" in spatial:
        for variable in result.data_vars.values():
            variable.encoding["grid_mapping"] = "spatial_ref"
    return result.assign_attrs(attrs)
