"""LSTM: a small recurrent network that learns from all pixels of the scene to forecast each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from s2koop._dates import asked_dates
from s2koop._time import YEAR_DAYS, to_days
from s2koop.baselines._apply import check_cube, check_number
from s2koop.baselines._lags import lag_class
from s2koop.baselines._learned import predict_learned, standards
from s2koop.errors import InputError

if TYPE_CHECKING:
    from s2koop.baselines._lstm_network import Forecaster

#: The last share of the period, on which the error by lead is measured by a network that has not seen it.
_HOLD_OUT = 0.2
#: The fewest grid steps in which there is something to learn and to hold out.
_LEAST_STEPS = 10


def lstm(
    cube: xr.DataArray,
    *,
    times: Any,
    step: float = 10.0,
    hidden: int = 64,
    lookback: float = 540.0,
    max_batches: int = 300,
    sample: int = 2500,
    seed: int = 0,
) -> xr.Dataset:
    """Forecast every pixel by an LSTM trained on the scene's own series.

    Series are put on a regular grid and interpolated linearly over their gaps; from a training origin on, nothing
    that was seen later is used, so a gap that is still open then is held at its last value, as it is when a forecast
    is made. The LSTM reads all bands of the last `lookback` days as deviations from the pixel's mean so far, with how
    fresh each value is and the season; a head turns its last state, the season and the lead of an asked date into the
    deviation on that date. The loss counts real observations only (Huber), up to a year ahead; farther out the
    season alone goes on.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        Dates after the last one of the cube (cut the cube to forecast from an earlier one).
    step : float
        Days between the points of the grid.
    hidden : int
        Width of the LSTM.
    lookback : float
        Days that it reads.
    max_batches : int
        Most batches of 256 series. A first network, trained without the last fifth of the period, tells after how
        many of them that fifth is forecast best; a second one then learns from the whole period for as long.
    sample : int
        Random pixels to learn from. On a dask-backed cube the training is a task of the graph, so compute ``mean``
        and ``spread`` together.
    seed : int
        Of the sample, the start and the batches. The same seed gives the same numbers.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation of an observation), in the units of the cube. The
        spread is, per band, the root mean square error by lead of the first network over the last fifth of the
        period; for leads longer than that, of which nothing is known, that of the pixel's own mean. A pixel without
        any usable value, and a band without any in the sample, are NaN.

    Raises
    ------
    InputError
        The cube or the options cannot be used, its period is too short to learn from, or an asked date is not
        after its last one.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, Long short-term memory, Neural Computation 9, 1997; R. Wen et al., A
    multi-horizon quantile recurrent forecaster, 2017, arXiv:1711.11053 (a head that is asked for each date).

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> dates = pd.date_range("2017-01-01", "2019-12-31", freq="10D")
    >>> phase = 2 * np.pi * (dates - dates[0]).days.to_numpy() / 365.2425
    >>> cube = xr.DataArray(0.3 + 0.1 * np.sin(phase), dims="time", coords={"time": dates})
    >>> lstm(cube, times=["2020-04-01", "2020-10-01"], hidden=16, max_batches=100)["mean"].values.round(1)
    array([0.4, 0.2], dtype=float32)
    """
    check_cube(cube)
    check_number("step", step, low=0, strict=True)
    check_number("lookback", lookback, low=step)
    for name, value in (("hidden", hidden), ("max_batches", max_batches)):
        check_number(name, value, low=1, whole=True)
    return predict_learned(
        _learn,
        _apply,
        cube,
        _later_dates(cube, times, step),
        name="lstm",
        long_name="LSTM forecast",
        sample=sample,
        seed=seed,
        options={"step": step, "hidden": hidden, "lookback": lookback, "max_batches": max_batches},
    )


def _later_dates(cube: xr.DataArray, times: Any, step: float) -> np.ndarray:
    """The asked dates, or `InputError` if there is nothing to learn from or one does not lie ahead."""
    asked = asked_dates(times)
    own = cube["time"].values
    period = float(np.ptp(to_days(own)))
    if period < step * _LEAST_STEPS:
        raise InputError(
            f"lstm learns from series of at least {_LEAST_STEPS} steps of {step:g} days; the {len(own)} dates of the "
            f"cube span {period:.0f} days; give a longer cube or a smaller step, or take harmonic"
        )
    early = asked[asked <= own[-1]]
    if early.size:
        raise InputError(
            f"lstm forecasts dates after the last one of the cube, {np.datetime_as_string(own[-1], 's')}; "
            f"{early.size} of the {asked.size} asked dates are not, such as {np.datetime_as_string(early[0], 's')}; "
            "cut the cube with cube.sel(time=slice(None, date)), or take low_rank or whittaker to fill gaps"
        )
    return asked


@dataclass(frozen=True)
class _Model:
    """Level and scale of the bands, the network, and its error (class of lag, band) in units of the scale."""

    level: np.ndarray
    scale: np.ndarray
    network: Forecaster
    error: np.ndarray
    step: float
    lookback: int


def _learn(
    values: np.ndarray, days: np.ndarray, *, step: float, hidden: int, lookback: float, max_batches: int, seed: int
) -> _Model:
    """See `s2koop.baselines._learned` for the shapes."""
    from s2koop.baselines._lstm_network import Training, hold_out, make_grid, one_thread, train

    level, scale = standards(values)
    grid = make_grid((values - level) / scale, days, step)
    size = len(grid.days)
    how = Training(hidden, int(np.ceil(lookback / step)), int(np.ceil(YEAR_DAYS / step)), seed)
    with one_thread():
        batches, error = hold_out(grid, how, since=size - max(int(_HOLD_OUT * size), 1), batches=max_batches)
        *_, (_, network) = train(grid, how, until=size, batches=batches)
    return _Model(level, scale, network, error, step, how.lookback)


def _apply(model: _Model, values: np.ndarray, days: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._learned` for the shapes."""
    import torch

    from s2koop.baselines._lstm_network import histories, make_grid, one_thread

    grid = make_grid((values - model.level) / model.scale, days, model.step)
    pixel = np.arange(len(values))
    origin = np.full(len(values), len(grid.days) - 1)
    shape = (len(values), len(asked))
    lead = asked - days[-1]
    with one_thread(), torch.no_grad():
        change = model.network(
            histories(grid, pixel, origin, model.lookback), np.broadcast_to(asked, shape), np.broadcast_to(lead, shape)
        )
    mean = grid.level[:, -1:] + change.double().numpy()
    spread = np.broadcast_to(model.error[lag_class(lead)], mean.shape)
    return model.level + model.scale * mean, model.scale * spread
