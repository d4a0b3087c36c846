"""What a cube, its dates and a model must be before any work begins; each refusal names the cure."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import xarray as xr

from s2koop._array_checks import check_not_empty
from s2koop._dates import asked_dates
from s2koop.errors import InputError, ModelError
from s2koop.koopman.ensemble import KoopmanEnsemble
from s2koop.koopman.model import KoopmanModel, load

Dates = npt.NDArray[np.datetime64]
#: Values of a tile that tell digital numbers: fewer may be one saturated pixel at the edge of a block.
TELLING = 64
_DIGITAL = (
    "expected reflectance in 0..1: divide digital numbers by 10000 first (s2koop.load does it right for every provider)"
)


def check_cube(cube: Any) -> Dates:
    """Refuse what no method could use, and return the cube's dates (datetime64[ns]); reads no pixel of a lazy cube."""
    if not isinstance(cube, xr.DataArray):
        raise InputError(
            f"expected a DataArray, found {type(cube).__name__}; a Dataset of bands becomes a cube by .to_array('band')"
        )
    missing = [dim for dim in ("time", "band", "y", "x") if dim not in cube.dims]
    if missing or cube.ndim != 4:
        cure = (
            f"keep {missing[0]!r} by selecting with a list: cube.sel({missing[0]}=[...])"
            if missing
            else "select one of the others"
        )
        raise InputError(
            f"the cube has dims {tuple(cube.dims)}; expected ('time', 'band', 'y', 'x'): rename them, or {cure}"
        )
    check_not_empty(cube, "the cube")
    for dim in ("time", "band"):
        if dim not in cube.coords:
            raise InputError(f"the cube has no coordinate {dim!r}; every date and band needs its label")
    if not np.issubdtype(cube["time"].dtype, np.datetime64):
        raise InputError(
            f"the dates have dtype {cube['time'].dtype}; expected datetime64: cube['time'] = pandas.to_datetime(...)"
        )
    if not np.issubdtype(cube.dtype, np.floating):
        raise InputError(f"the cube has dtype {cube.dtype}, expected float with NaN for gaps; {_DIGITAL}")
    times = cube["time"].values.astype("datetime64[ns]")
    if (np.diff(times) < np.timedelta64(0)).any():
        raise InputError("the dates are not sorted; use cube.sortby('time')")
    if np.isnat(times).any():
        raise InputError("a date of the cube is NaT; drop it: cube.sel(time=cube.time.notnull())")
    if cube.chunks is None:
        some = cube.isel(time=slice(None, None, 1 + len(times) // 8)).values
        refuse_digital_numbers(torch.from_numpy(np.array(some, order="C")))  # torch takes no turned axis
    return times


def refuse_digital_numbers(values: torch.Tensor, *, least: int = 1) -> None:
    """Raise where most values, of `least` or more, cannot be reflectance. Called on what has been read anyway."""
    seen = (values > -9999) & (values < 1e10)  # beyond lie fill values
    count = int(seen.sum())
    if count >= least and int((seen & (values > 2)).sum()) > count / 2:
        middle = float(values[seen].median())
        raise InputError(f"the median of the cube is {middle:.4g}; {_DIGITAL}")


def check_bands(cube: xr.DataArray) -> list[str]:
    """Bands of a cube, each once."""
    bands = [str(band) for band in np.atleast_1d(cube["band"].values)]
    if len(set(bands)) < len(bands):
        raise InputError(f"the bands {bands} repeat; every band may stand once")
    return bands


def check_model(model: Any, cube: xr.DataArray) -> KoopmanModel:
    """A model from itself or its path, refused where it was trained on other bands or another level."""
    if isinstance(model, str | Path):
        model = load(model)
    if isinstance(model, KoopmanEnsemble):
        raise InputError("this takes one model, not an ensemble; give one of its models, such as ensemble.models[0]")
    if not isinstance(model, KoopmanModel):
        raise InputError(
            f"model is a {type(model).__name__}; expected a KoopmanModel (from .koopman.fit) or the path of a saved one"
        )
    bands = check_bands(cube)
    strange = [band for band in bands if band not in model.bands]
    known = [band for band in bands if band in model.bands]
    if strange:
        cure = f"select what it knows: cube.sel(band={known})" if known else "use a model of these bands, or fit one"
        raise ModelError(f"the model knows the bands {list(model.bands)}, not {strange}; {cure}")
    levels = {"model": model.card.get("level"), "cube": cube.attrs.get("level")}
    if set(levels.values()) == {"BOA", "TOA"}:
        raise ModelError(
            f"the model was trained on {levels['model']} reflectance and the cube is {levels['cube']}; "
            "correct the cube first, or fit a model on it"
        )
    return model


def check_asked(times: Any) -> Dates:
    """Asked dates, sorted and once each."""
    return np.unique(asked_dates(times))


def regular_dates(times: Dates, freq: Any) -> Dates:
    """Dates at a pandas frequency between the first and the last."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # pandas guesses at misspelled names, and warns
            offset = pd.tseries.frequencies.to_offset(freq)
        backward = pd.Timestamp(times[0]) + offset <= pd.Timestamp(times[0])
    except (ValueError, TypeError, FutureWarning) as error:
        raise InputError(f"freq={freq!r} is not a pandas frequency; write such as '5D', '10D' or 'MS'") from error
    if backward:
        raise InputError(f"freq={freq!r} does not go forward; write such as '5D'")
    dates = pd.date_range(times[0], times[-1], freq=offset)
    if not len(dates):
        raise InputError(f"freq={freq!r} gives no date between {day(times[0])} and {day(times[-1])}; take a finer one")
    return dates.values.astype("datetime64[ns]")


def day(time: Any) -> str:
    """A date for people."""
    return str(time)[:10]
