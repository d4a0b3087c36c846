"""Fit, assimilate, forecast, interpolate and spectrum on cubes: xarray in, xarray out, lazy until asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from s2koop._checkpoint import check_path
from s2koop._numbers import real, whole
from s2koop._time import DAY_NS, from_days, to_days
from s2koop._version import __version__
from s2koop._warn import warn_user
from s2koop.cube.harmonise import without_fill
from s2koop.engine import ModelReference, Output, check_device, map_pixels
from s2koop.errors import InputError, ModelError, S2koopWarning
from s2koop.koopman import training
from s2koop.koopman._checks import (
    Dates,
    check_asked,
    check_bands,
    check_cube,
    check_model,
    day,
    refuse_digital_numbers,
    regular_dates,
)
from s2koop.koopman.cycle import Span, cycled_kernel, days_of, spans
from s2koop.koopman.decode import PRECISIONS
from s2koop.koopman.ensemble import KoopmanEnsemble, check_options, fit_ensemble, for_ensembles
from s2koop.koopman.kernels import amplitude_kernel, analysis_kernel
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.scene_tables import scene_tables
from s2koop.koopman.settings import KoopmanSettings
from s2koop.koopman.solvers import SOLVERS, TOLERANCE
from s2koop.koopman.spatial import Kind, estimate_spatial, spatial_posterior
from s2koop.koopman.uncertainty import season_of

MAX_PIXELS = 10_000
#: Share of the precision that a window takes over: with more, a robust loss takes land that changed for haze.
FORGET = 0.2
CONSTRAINTS = ("weak", "strong")
KINDS = ("tikhonov", "tv")
#: Derivatives that one call of the kernel holds at most: pixels x dates x bands x latents.
TILE_DERIVATIVES = 4 * 2**20

Model = KoopmanModel | str | Path


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """What `assimilate`, `forecast` and `interpolate` share.

    Attributes
    ----------
    solver : {"levenberg-marquardt", "lbfgs", "adam"}
        See `s2koop.koopman.solvers.minimise`.
    max_iterations : int, optional
        Most iterations of a pixel; by default what suits the solver.
    tolerance : float
        A pixel stops when a step lowers its cost by less than this fraction.
    precision : {"float32", "bfloat16"}
        Of the decoder on the asked dates; the minimisation is always in float32.
    device : str
        ``"cpu"`` or a torch device.
    progress : bool
        Show a progress bar over tiles, where the cube is in memory.
    members : bool
        Return what each member of a shared trunk says.
    constraint : {"weak", "strong"}
        Whether pixels may depart from their trajectory for a while.
    scene : bool
        Estimate what all pixels share on a date.
    as_observed : bool
        Return what a sensor would see: the sky of a date included.
    spatial : {"tikhonov", "tv"}, optional
        Prior on what neighbouring pixels share on a date.
    window, shift : timedelta, optional
        Length of the windows that slide over the cube, and from one to the next; one window over all by default.
    forget : float
        Share of the precision that a window takes over from the ones before.
    spread : bool
        Return spreads too; without them the asked dates are decoded without derivatives.
    """

    solver: str = SOLVERS[0]
    max_iterations: int | None = None
    tolerance: float = TOLERANCE
    precision: str = "float32"
    device: str = "cpu"
    progress: bool = True
    members: bool = False
    constraint: str = "weak"
    scene: bool = True
    as_observed: bool = False
    spatial: str | None = None
    window: Any = None
    shift: Any = None
    forget: float = FORGET
    spread: bool = True

    def __post_init__(self) -> None:
        if self.constraint not in CONSTRAINTS:
            raise InputError(f"constraint={self.constraint!r} is unknown; choose one of {CONSTRAINTS}")
        if self.as_observed and not self.scene:
            raise InputError("as_observed=True adds the effects of dates, which scene=False does not estimate")
        if self.spatial is not None and self.spatial not in KINDS:
            raise InputError(f"spatial={self.spatial!r} is unknown; choose one of {KINDS} or None")
        if self.spatial is not None and not (self.as_observed and self.constraint == "weak"):
            raise InputError(
                f"spatial={self.spatial!r} fills a date from what its neighbours show on it, sky included: "
                "give as_observed=True too, and leave constraint='weak'"
            )
        if self.spatial is not None and not self.spread:
            raise InputError(f"spatial={self.spatial!r} estimates a spread with its field; leave spread=False out")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision={self.precision!r} is unknown; choose one of {PRECISIONS}")
        if self.solver not in SOLVERS:
            raise InputError(f"solver={self.solver!r} is unknown; choose one of {SOLVERS}")
        if self.max_iterations is not None:
            whole("max_iterations", self.max_iterations, least=1)
        if real("tolerance", self.tolerance, least=0) == 0:
            raise InputError("tolerance=0 would never be met; the default is 1e-4")
        object.__setattr__(self, "device", check_device(self.device))
        if self.window is None and self.shift is not None:
            raise InputError(f"shift={self.shift!r} is between windows; give their length too, such as window='730D'")
        if self.window is not None and self._shift_days() > days_of("window", self.window):
            raise InputError(f"shift={self.shift!r} leaves gaps between windows of {self.window!r}; take a shorter one")
        if real("forget", self.forget, least=0) > 1:
            raise InputError(f"forget={self.forget!r} must be at most 1: the share of the past that a window keeps")

    def _shift_days(self) -> float:
        return days_of("window", self.window) if self.shift is None else days_of("shift", self.shift)

    def windows(self, days: npt.NDArray[np.float64], asked: npt.NDArray[np.float64]) -> tuple[Span, ...]:
        """The windows of a cube; none where a single one holds it all."""
        if self.window is None:
            return ()
        found = spans(days, asked, days_of("window", self.window), self._shift_days())
        return found if len(found) > 1 else ()


def fit(
    cube: xr.DataArray,
    *,
    settings: KoopmanSettings | None = None,
    max_pixels: int = MAX_PIXELS,
    device: str = "cpu",
    progress: bool = True,
    checkpoint: str | Path | None = None,
    members: int = 1,
    ensemble: str | None = None,
    diversity: float | None = None,
    **options: Any,
) -> KoopmanModel | KoopmanEnsemble:
    """Train a Koopman model on a cube; see `s2koop.koopman.KoopmanAccessor.fit`."""
    if settings is not None and options:
        raise InputError(f"give either settings= or single options ({', '.join(options)}), not both")
    if settings is not None and not isinstance(settings, KoopmanSettings):
        raise InputError(
            f"settings is a {type(settings).__name__}; give KoopmanSettings(...), or its fields one by one"
        )
    settings = settings or KoopmanSettings.from_dict(options)
    times, bands = check_cube(cube), check_bands(cube)
    settings.latent_size(len(bands))  # refused here, not after the pixels were read
    most = whole("max_pixels", max_pixels, least=1)
    count, kind, diversity = check_options(members, ensemble, diversity)
    if kind == "shared":
        settings = replace(settings, heads=count)
    device = check_device(device)
    keep = None if checkpoint is None else check_path(checkpoint)
    values = training_pixels(cube, most, settings.seed)
    card = {name: str(cube.attrs.get(name, "unknown")) for name in ("level", "sensor")} | {"s2koop": __version__}
    how: dict[str, Any] = {"device": device, "progress": progress, "card": card, "checkpoint": keep}
    if count == 1:
        return training.train(values, to_days(times), bands, settings, **how)
    return fit_ensemble(values, to_days(times), bands, settings, members=count, kind=kind, diversity=diversity, **how)


def training_pixels(cube: xr.DataArray, most: int, seed: int) -> npt.NDArray[np.float32]:
    """Series (pixel, time, band) of pixels drawn at random, reading only the chunks that hold them.

    Pixels with fewer dates than a fit can use are left out.
    """
    rows, columns = cube.sizes["y"], cube.sizes["x"]
    chosen = np.sort(np.random.default_rng(seed).choice(rows * columns, min(most, rows * columns), replace=False))
    points = {name: xr.DataArray(at, dims="pixel") for name, at in (("y", chosen // columns), ("x", chosen % columns))}
    values = cube.isel(points).transpose("pixel", "time", "band").to_numpy().astype(np.float32, copy=False)
    refuse_digital_numbers(torch.from_numpy(np.ascontiguousarray(values)))
    enough = np.isfinite(values).any(axis=2).sum(axis=1) >= training.LEAST_DATES
    if not enough.any():
        raise InputError(
            f"no pixel has {training.LEAST_DATES} usable dates, so there is nothing to learn from; "
            "take a longer period, or mask fewer classes (load(..., mask=...))"
        )
    return values[enough]


@for_ensembles
def assimilate(cube: xr.DataArray, model: Model, *, times: Any = None, options: SolverOptions) -> xr.Dataset:
    """Analysis of a cube; see `s2koop.koopman.KoopmanAccessor.assimilate`."""
    own = check_cube(cube)
    return _analyse(cube, check_model(model, cube), own if times is None else check_asked(times), "analysis", options)


@for_ensembles
def forecast(
    cube: xr.DataArray, model: Model, *, times: Any = None, steps: int | None = None, options: SolverOptions
) -> xr.Dataset:
    """Forecast beyond a cube; see `s2koop.koopman.KoopmanAccessor.forecast`."""
    own = check_cube(cube)
    model = check_model(model, cube)
    if (times is None) == (steps is None):
        raise InputError(
            "give either times= (dates) or steps= (a number of steps after the last date), and only one of them"
        )
    if steps is not None:
        step = np.timedelta64(round(model.settings.step_days * DAY_NS), "ns")
        asked = own[-1] + step * np.arange(1, whole("steps", steps, least=1) + 1)
        _warn_of_growth(model, own, asked)
        return _analyse(cube, model, asked, "forecast", options)
    asked = check_asked(times)
    if asked[0] <= own[-1]:
        raise InputError(
            f"the first asked date {day(asked[0])} is not after {day(own[-1])}, the last date of the cube; "
            "cut the cube first (cube.sel(time=slice(None, '2019-12-31'))), or use .assimilate(times=...)"
        )
    _warn_of_growth(model, own, asked)
    return _analyse(cube, model, asked, "forecast", options)


def _warn_of_growth(model: KoopmanModel, times: Dates, asked: Dates) -> None:
    """A dense operator is only softly bound to the unit circle, and a forecast is where that shows."""
    operator = model.network.operator
    if operator.grows:
        first, last = to_days(times[0]), to_days(asked[-1])
        factor = operator.growth(float(last) - model.anchor(float(first)))
        message = (
            f"{operator.stability()}, by {factor:.3g} until {day(asked[-1])}; shorten the forecast, fit with a larger "
            "orthogonality=, or with operator='modal', which cannot grow"
        )
        warn_user(S2koopWarning(message))


@for_ensembles
def interpolate(
    cube: xr.DataArray, model: Model, *, freq: str | None = None, times: Any = None, options: SolverOptions
) -> xr.Dataset:
    """Gap-free cube on regular dates; see `s2koop.koopman.KoopmanAccessor.interpolate`."""
    own = check_cube(cube)
    model = check_model(model, cube)
    if (freq is None) == (times is None):
        raise InputError("give either freq= (such as '5D') or times= (dates), and only one of them")
    if freq is not None:
        return _analyse(cube, model, regular_dates(own, freq), "interpolation", options)
    asked = check_asked(times)
    if day(asked[0]) < day(own[0]) or day(asked[-1]) > day(own[-1]):
        raise InputError(
            f"times from {day(asked[0])} to {day(asked[-1])} reach beyond the cube ({day(own[0])} to {day(own[-1])}); "
            "use .forecast(times=...) for later dates"
        )
    return _analyse(cube, model, asked, "interpolation", options)


def spectrum(cube: xr.DataArray, model: Model, *, device: str = "cpu", progress: bool = True) -> xr.Dataset:
    """Modes and their amplitude maps; see `s2koop.koopman.KoopmanAccessor.spectrum`."""
    times, device = check_cube(cube), check_device(device)
    model = check_model(model, cube)
    found = model.spectrum()
    start = model.anchor(float(to_days(times[0])))
    prepared = on_model_bands(cube, model)
    about = {"long_name": "amplitude of the mode, in latent units, at the start of the window", "units": "1"}
    amplitude = map_pixels(
        prepared,
        amplitude_kernel,
        outputs={"amplitude": Output({"mode": np.arange(len(found.eigenvalue))}, attrs=about)},
        model=for_blocks(prepared, model, device),
        options={"days": to_days(times) - start},
        tile=1024,
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
    return labelled(amplitude.assign_coords(coords), cube, model, "spectrum", times, start)


def _analyse(cube: xr.DataArray, model: KoopmanModel, asked: Dates, kind: str, options: SolverOptions) -> xr.Dataset:
    times = cube["time"].values.astype("datetime64[ns]")
    start = model.anchor(float(to_days(times[0])))
    prepared = on_model_bands(cube, model)
    if options.spatial is not None and model.uncertainty is None:
        raise ModelError("spatial= needs a model that knows its errors, such as one of .koopman.fit; this one does not")
    wish, asked = asked, asked if options.spatial is None else np.union1d(asked, times)
    # the asked dates themselves are the labels: through floating point they would miss the cube's by nanoseconds
    coords = {"time": asked, "band": np.array(model.bands, dtype=object)}
    what = "top-of-atmosphere reflectance" if cube.attrs.get("level") == "TOA" else "surface reflectance"
    about = {
        "mean": f"{kind} of {what}",
        "spread": f"standard deviation of an observation around the {kind}",
        "spread_state": f"standard deviation of the {kind}: what latents and anomalies leave open",
        "cost": "cost at the minimum",
        "misfit": "mean squared standardised residual of the observations",
        "iterations": "iterations of the minimisation",
    }
    if not options.spread:
        about = {name: text for name, text in about.items() if not name.startswith("spread")}
    outputs = {
        name: Output(
            coords if name in ("mean", "spread", "spread_state") else {},
            np.int16 if name == "iterations" else np.float32,
            {"long_name": text, "units": "1"},
        )
        for name, text in about.items()
    }
    if options.members:
        named = {"long_name": "means of the members", "units": "1"}
        outputs["members"] = Output({"member": np.arange(model.settings.heads), **coords}, attrs=named)
    reference = for_blocks(prepared, model, options.device)
    days, wanted = to_days(times) - start, to_days(asked) - start
    weak = options.constraint == "weak" and model.uncertainty is not None
    tables = {}
    if options.scene and model.uncertainty is not None:
        tables = scene_tables(prepared, model, reference, days, wanted, options.device)
    windows = options.windows(days, wanted)
    cycled = {"windows": windows, "forget": options.forget} if windows else {}
    result = map_pixels(
        prepared,
        cycled_kernel if windows else analysis_kernel,
        outputs=outputs,
        model=reference,
        shared=tables,
        options={
            "days": days,
            "asked": wanted,
            "seasons": season_of(to_days(asked)),
            "constraint": "weak" if weak else "strong",
            "as_observed": options.as_observed,
            "solver": options.solver,
            "max_iterations": options.max_iterations,
            "tolerance": options.tolerance,
            "members": options.members,
            "leave_out": options.spatial is not None,
            "precision": options.precision,
            "spread": options.spread,
            **cycled,
        },
        tile=tile_size(model, max(len(times), len(asked)) if options.spread else len(times)),
        device=options.device,
        progress=kind if options.progress else None,
    )
    if options.spatial is not None:
        result = _with_neighbours(result, prepared.assign_coords(time=times), options.spatial).sel(time=wish)
    result = labelled(result, cube, model, kind, times, start)
    return result if options.spread else result.assign_attrs(spread="not computed (spread=False)")


def _with_neighbours(result: xr.Dataset, cube: xr.DataArray, kind: str) -> xr.Dataset:
    """A result that left each date out, with what the observations of the date say of their neighbourhood."""
    once = cube.isel(time=np.unique(cube["time"].values, return_index=True)[1])
    remainder = once - result["mean"].sel(time=once["time"])
    # a pixel that was not seen for long may be farther off than its neighbours: each is measured by its own spread
    expected = result["spread"].sel(time=once["time"])
    expected = expected / expected.mean(("y", "x"))
    # dates differ in how rough their sky is: each is measured by its own size
    size = ((remainder / expected) ** 2).mean(("y", "x")) ** 0.5
    size = size if size.chunks is None else size.chunk(time=-1)
    known = size.notnull().any("time")  # a band that no date has would make NumPy warn of its median
    usual = size.where(known, 1.0).median("time").where(known)
    size = expected * xr.where(size > 0.5 * usual, size, 0.5 * usual).fillna(1.0).clip(min=1e-6)
    size = size.transpose("time", "band", "y", "x")
    even = (remainder / size).astype(np.float32)
    scales = estimate_spatial(even)
    field = spatial_posterior(
        even, kind=cast(Kind, kind), noise=scales["noise"], size=scales["size"], weight=scales["weight"]
    )
    seen = remainder.notnull().any(("y", "x")).reindex(time=result["time"], fill_value=False)  # (time, band)
    increment = (field["increment"] * size).reindex(time=result["time"], fill_value=0.0)
    variance = ((field["variance"] + scales["noise"] ** 2) * size**2).reindex(time=result["time"], fill_value=0.0)
    changed = {
        "mean": result["mean"] + increment,
        "spread": xr.where(seen, variance**0.5, result["spread"]),
    }
    return result.assign(
        {n: v.transpose(*result[n].dims).astype(np.float32).assign_attrs(result[n].attrs) for n, v in changed.items()}
    )


def tile_size(model: KoopmanModel, dates: int) -> int:
    """Pixels of a tile, so that their derivatives stay within bounds."""
    return int(min(max(TILE_DERIVATIVES // (dates * len(model.bands) * model.network.latent), 16), 512))


def on_model_bands(cube: xr.DataArray, model: KoopmanModel) -> xr.DataArray:
    """The cube with the model's bands (NaN where it has none, and for fill values), bare of other labels."""
    bare = cube.drop_vars([name for name in cube.coords if name not in ("band", "y", "x")])
    bare = bare.transpose("time", "band", "y", "x")
    bands = check_bands(cube)
    places = tuple(bands.index(band) if band in bands else None for band in model.bands)
    if bare.chunks is None:
        data = _placed(bare.values, places=places)
    else:  # one task for a block, where each operation of xarray would take another
        whole = bare.data.rechunk({1: -1})
        sizes = (whole.chunks[0], len(places), *whole.chunks[2:])
        data = whole.map_blocks(
            _placed, places=places, chunks=sizes, dtype=np.float32, meta=np.empty((0,) * 4, np.float32)
        )
    coords = {name: coord for name, coord in bare.coords.items() if name != "band"}
    coords["band"] = np.array(model.bands, dtype=object)
    return xr.DataArray(data, dims=bare.dims, coords=coords, attrs=bare.attrs)


def _placed(values: npt.NDArray[Any], *, places: tuple[int | None, ...]) -> npt.NDArray[np.float32]:
    """Bands of a block (time, band, y, x) in the order of a model, NaN where it has none, and for fill values."""
    clean = without_fill(values).astype(np.float32, copy=False)
    if places == tuple(range(values.shape[1])):
        return clean
    found = np.full((values.shape[0], len(places), *values.shape[2:]), np.nan, np.float32)
    for place, band in enumerate(places):
        if band is not None:
            found[:, place] = clean[:, band]
    return found


def for_blocks(cube: xr.DataArray, model: KoopmanModel, device: str) -> KoopmanModel | ModelReference:
    """The model itself for a NumPy-backed cube; a file that workers can open for a dask-backed one."""
    return model.to(device) if cube.chunks is None else model.reference()


def labelled(
    result: xr.Dataset, cube: xr.DataArray, model: KoopmanModel, kind: str, times: Dates, start: float
) -> xr.Dataset:
    """Put back the labels of the cube (its CRS and transform too), and say how the result was made."""
    taken = {*result.data_vars, *result.dims} - {"y", "x"}
    kept = {n: c.variable for n, c in cube.coords.items() if set(c.dims) <= {"y", "x"} and n not in taken}
    per_band = {name: c for name, c in cube.coords.items() if c.dims == ("band",) and name != "band"}
    if "band" in result.dims and per_band and set(check_bands(cube)) == set(model.bands):
        kept |= {name: coord.sel(band=list(model.bands)).variable for name, coord in per_band.items()}
    made = f"s2koop {__version__} koopman {kind}, model {model.digest[:12]}"
    attrs: Mapping[str, Any] = {
        "Conventions": "CF-1.11",
        "title": f"Koopman {kind}",
        "method": "koopman",
        "source": f"s2koop {__version__}, model {model.digest[:12]} ({model.settings.operator} operator)",
        "history": "; ".join(part for part in (cube.attrs.get("history"), made) if part),
        "window": f"{day(times[0])} to {day(times[-1])}, latent at {day(from_days(start))}",
        "references": "Frion et al. (2024), Neural Koopman prior for data assimilation",
    } | {name: cube.attrs[name] for name in ("level", "sensor", "skipped") if name in cube.attrs}
    result = result.assign_coords(kept)
    if "spatial_ref" in kept:
        for variable in result.data_vars.values():
            variable.encoding["grid_mapping"] = "spatial_ref"
    return result.assign_attrs(attrs)
