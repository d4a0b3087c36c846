"""Near-real-time monitoring: each date is forecast from the ones before it, and a break is what keeps surprising.

The state of the dates before a start (`s2koop.koopman.state`) predicts the next date of each pixel with a covariance
between its bands; what is seen is measured in it. A surprise is held back from the state until the next clear dates
tell haze from a break: several surprises in a row are one, and the pixel goes on from the level they show (compare
Verbesselt et al. 2012, Remote Sensing of Environment 123, and CCDC, Zhu and Woodcock 2014, RSE 144, which ask for
consecutive departures from harmonic fits, and COLD, Zhu et al. 2020, RSE 238, for departures that agree).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from s2koop._dates import asked_dates
from s2koop._numbers import real, whole
from s2koop._time import to_days
from s2koop.engine import Output, map_pixels
from s2koop.errors import InputError
from s2koop.koopman._checks import TELLING, Dates, check_cube, check_model, day, refuse_digital_numbers
from s2koop.koopman.analysis import SolverOptions, for_blocks, labelled, on_model_bands, tile_size
from s2koop.koopman.joint import Joint, Lasting, Observer
from s2koop.koopman.kernels import on
from s2koop.koopman.model import KoopmanModel
from s2koop.koopman.scene import HALF_BELIEF, LIMIT
from s2koop.koopman.scene_tables import BAND, lattice
from s2koop.koopman.state import (
    NEW,
    check_state,
    effect_of,
    errors_of,
    lasting_of,
    loaded,
    stacked,
    state,
    state_outputs,
    unpacked,
    with_errors,
)
from s2koop.koopman.uncertainty import lead_of

USUAL, UNUSUAL, UNSEEN = 0, 1, -1
#: Share of the pixels of a date that must be usual for the others to be left out of its effect.
LEAST_SHARE = 0.3
#: Cosine of the widest angle between departures that belong to one run (Zhu et al. 2020: 45 degrees): clouds and their
#: shadows come and go in any direction.
AGREEMENT = 0.7


@dataclass(frozen=True)
class Alarm:
    """When a date is unusual, and when a break.

    Attributes
    ----------
    limits : tuple of float
        Squared distances that usual observations of one, two, ... bands seldom pass.
    confirm : int
        Unusual dates in a row that make a break.
    """

    limits: tuple[float, ...]
    confirm: int


def monitor(
    cube: xr.DataArray,
    model: KoopmanModel | str | Path,
    *,
    start: Any,
    level: float,
    confirm: int,
    options: SolverOptions,
) -> xr.Dataset:
    """Flags and breaks of the dates from `start` on; see `s2koop.koopman.KoopmanAccessor.monitor`."""
    times = check_cube(cube)
    model = with_errors(check_model(model, cube))
    alarm = Alarm(_limits(level, len(model.bands)), whole("confirm", confirm, least=1))
    first = _first(times, start)
    before = state(cube.isel(time=slice(None, first)), model, options=options)
    later, watched = times[first:], cube.isel(time=slice(first, None))
    clock = check_state(before, model)
    stack = stacked([*(before[name] for name in state_outputs(model, options.scene)), on_model_bands(watched, model)])
    reference = for_blocks(stack, model, options.device)
    how = {"day": clock.day, "days": to_days(later) - clock.start, "alarm": alarm}
    tables = {}
    if options.scene:
        tables["effect"], tables["belief"] = xr.apply_ufunc(
            _scene_watched,
            lattice(stack, again=False),
            input_core_dims=[["time", "band", "y", "x"]],
            output_core_dims=[[NEW, BAND]] * 2,
            exclude_dims={"time", "band", "y", "x"},
            dask="parallelized",
            output_dtypes=[np.float32] * 2,
            dask_gufunc_kwargs={"output_sizes": {NEW: len(later), BAND: len(model.bands)}},
            kwargs={"model": reference, "device": options.device, **how},
        )
    found = map_pixels(
        stack,
        monitor_kernel,
        outputs=_outputs(model, later),
        model=reference,
        shared=tables,
        options=how,
        tile=tile_size(model, len(later)),
        device=options.device,
        progress="monitor" if options.progress else None,
    )
    found["break_date"] = _dated(found["break_date"], later)
    found = labelled(found, watched, model, "monitoring", later, clock.start)
    return found.assign_attrs(flag_level=float(level), confirm=alarm.confirm)


def monitor_kernel(
    model: KoopmanModel,
    values: Tensor,
    *,
    day: float,
    days: npt.NDArray[np.float64],
    alarm: Alarm,
    effect: Tensor | None = None,
    belief: Tensor | None = None,
) -> dict[str, Tensor]:
    """States and later observations of `s2koop.koopman.state.stacked` pixels to flags and breaks."""
    lasting = lasting_of(model, effect is not None)
    joint, last, new = unpacked(lasting, values, len(days))
    refuse_digital_numbers(new, least=TELLING)
    watch = Watch(model, lasting, joint, last, model.standardise(new), on(np.append(day, days), values), alarm)
    none = new.new_zeros(new.shape[1:])
    for date in range(len(days)):
        watch.advance(date)
        watch.judge(date, none[0] if effect is None else effect[date], none[0] if belief is None else belief[date])
    return watch.result()


class Watch:
    """The pixels of a tile as they are watched, date by date.

    Parameters
    ----------
    model : KoopmanModel
    lasting : Lasting
        Anomalies and departures of a pixel.
    joint : Joint
        On the first of `days`.
    last : Tensor, shape (pixel,)
        Day that each pixel was last seen on; NaN for never.
    values : Tensor, shape (pixel, time, band)
        Standardised, NaN where there is no observation.
    days : Tensor, shape (1 + time,)
        The day of the state, then those of the values.
    alarm : Alarm
    """

    def __init__(
        self,
        model: KoopmanModel,
        lasting: Lasting,
        joint: Joint,
        last: Tensor,
        values: Tensor,
        days: Tensor,
        alarm: Alarm,
    ) -> None:
        self.model, self.error, self.joint, self.days, self.alarm = model, lasting.error, joint, days, alarm
        own = len(lasting.error.decay_days) - lasting.departing
        self.shares = own == len(errors_of(model).local.decay_days)  # what the scene does is taken off
        self.limit = LIMIT if model.settings.robust is not None else None
        self.values, self.mask = values, torch.isfinite(values)
        self.observer = Observer(model.network, model.background, days[1:])
        self.last = torch.nan_to_num(last, nan=-torch.inf)
        self.limits = values.new_tensor((torch.inf, *alarm.limits))
        pixels, dates, bands = values.shape
        self.innovation = values.new_full((pixels, dates, bands), torch.nan)
        self.score = values.new_full((pixels, dates), torch.nan)
        self.flag = torch.full((pixels, dates), UNSEEN, dtype=torch.int8, device=values.device)
        self.run = torch.zeros(pixels, dtype=torch.int16, device=values.device)
        self.run_sum = values.new_zeros(pixels, bands)  # of departures in standard deviations
        self.run_start = torch.zeros(pixels, dtype=torch.long, device=values.device)
        self.since = torch.full((pixels,), -1, dtype=torch.long, device=values.device)
        self.broken = torch.full((pixels,), -1, dtype=torch.long, device=values.device)
        self.step = values.new_zeros(pixels, bands)  # what breaks have added since
        self.magnitude = values.new_full((pixels, bands), torch.nan)

    def advance(self, date: int) -> None:
        """Forecast a date."""
        self.joint = self.joint.decayed(self.error, self.days[date + 1 : date + 2] - self.days[date : date + 1])
        seen = self.mask[:, date]
        expected, self.rows = self.observer.expected(self.joint, date, self.error.loadings, seen.any(1))
        self.innovation[:, date] = torch.where(seen, self.values[:, date] - expected - self.step, torch.nan)

    def judge(self, date: int, effect: Tensor, belief: Tensor) -> None:
        """Flag the pixels of a date, confirm breaks, and absorb what is usual.

        Parameters
        ----------
        date : int
            The one that was forecast.
        effect : Tensor, shape (band,)
            What all pixels share, taken off here.
        belief : Tensor, shape (band,)
            How far it is known, 0 to 1.
        """
        self.innovation[:, date] -= effect
        seen, anything = self.mask[:, date], self.mask[:, date].any(1)
        squared, departure = self._distance(date, self.innovation[:, date], belief)
        unusual = anything & (squared > self.limits[seen.sum(1)])
        self.score[:, date] = torch.where(anything, squared.sqrt(), torch.nan)
        self.flag[:, date] = torch.where(anything, unusual.to(torch.int8), self.flag[:, date])
        self._count(date, departure, unusual, anything)
        self.joint = self.joint.absorbed(
            torch.nan_to_num(self.innovation[:, date]),
            self.rows,
            self.error.noise,
            seen & ~unusual[:, None],
            self.limit,
        )
        confirmed = unusual & (self.run >= self.alarm.confirm)
        if bool(confirmed.any()):
            self._break(confirmed.nonzero()[:, 0], date)
        self.last = torch.where(anything, self.days[date + 1], self.last)

    def _count(self, date: int, departure: Tensor, unusual: Tensor, anything: Tensor) -> None:
        """Go on with runs of unusual dates, or begin others where the departure points elsewhere."""
        before = torch.where(departure != 0, self.run_sum, 0.0)  # of the bands that were seen
        agreement = torch.nn.functional.cosine_similarity(departure, before, dim=1)
        goes_on = unusual & (self.run > 0) & (agreement >= AGREEMENT)
        self.run_start = torch.where(unusual & ~goes_on, date, self.run_start)
        self.run = torch.where(anything, torch.where(goes_on, self.run + 1, unusual.to(torch.int16)), self.run)
        kept = torch.where((goes_on | ~anything)[:, None], self.run_sum, 0.0)
        self.run_sum = kept + torch.where(unusual[:, None], departure, 0.0)

    def result(self) -> dict[str, Tensor]:
        """What `s2koop.koopman.KoopmanAccessor.monitor` returns; the break as the number of its date."""
        return {
            "flag": self.flag,
            "score": self.score,
            "break_date": self.broken.to(torch.int32),
            "magnitude": self.model.scale * self.magnitude,
            "consecutive": self.run,
        }

    def shared(self, date: int, belief: Tensor) -> Tensor:
        """Effect (band,) of a date that was forecast, from the pixels that it does not leave unusual."""
        innovation, seen = torch.nan_to_num(self.innovation[:, date]), self.mask[:, date]
        effect = effect_of(innovation, seen)
        squared, _ = self._distance(date, innovation - effect, belief)
        usual = seen & (squared <= self.limits[seen.sum(1)])[:, None]
        # an effect of many breaks at once would be taken for the sky of the others
        return torch.where(usual.sum(0) >= LEAST_SHARE * seen.sum(0), effect_of(innovation, usual), effect)

    def _distance(self, date: int, innovation: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        """Squared Mahalanobis distance (pixel,) of the bands that were seen, and each in standard deviations."""
        uncertainty, seen = errors_of(self.model), self.mask[:, date]
        covariance = self.rows @ self.joint.covariance @ self.rows.transpose(1, 2)
        covariance = covariance + torch.diag(self.error.noise.square())
        if self.shares:
            left = (1 - belief).sqrt()
            scene = uncertainty.scene.loadings.T @ uncertainty.scene.loadings
            covariance = covariance + left[:, None] * left * (scene + torch.diag(uncertainty.scene.noise.square()))
        factor = uncertainty.lead[lead_of(self.last, self.days[date + 1 : date + 2])[:, 0]]
        covariance = factor[:, :, None] * factor[:, None, :] * covariance
        both = seen[:, :, None] & seen[:, None, :]
        eye = torch.eye(seen.shape[1], dtype=covariance.dtype, device=covariance.device)
        lower = torch.linalg.cholesky(torch.where(both, covariance, eye))
        innovation = torch.where(seen, innovation, 0.0)
        squared = torch.linalg.solve_triangular(lower, innovation[..., None], upper=False)[..., 0].square().sum(1)
        return squared, innovation / covariance.diagonal(dim1=1, dim2=2).sqrt()

    def _break(self, pixels: Tensor, date: int) -> None:
        """Record the first break of some pixels, and let them go on from the level that confirmed it.

        What a break leaves may be like no training pixel, so that no latent explains it: the step is taken off from
        then on, and the state is as unsure as the background again, to learn the new season around it.
        """
        first, then = self.run_start[pixels], torch.arange(self.values.shape[1], device=self.values.device)
        confirming = (then >= first[:, None]) & (then <= date)
        step = torch.where(confirming[..., None], self.innovation[pixels], torch.nan).nanmedian(1).values
        new = self.broken[pixels] < 0
        self.magnitude[pixels] = torch.where(new[:, None], step, self.magnitude[pixels])
        self.broken[pixels] = torch.where(new, first, self.broken[pixels])
        self.run[pixels] = 0
        self.step[pixels] += torch.nan_to_num(step)
        self.joint.covariance[pixels] += Joint.prior(self.joint.u.shape[1], self.joint.usual[pixels]).covariance


@torch.no_grad()
def _scene_watched(
    stack: npt.NDArray[np.float32],
    *,
    model: Any,
    day: float,
    days: npt.NDArray[np.float64],
    alarm: Alarm,
    device: str,
) -> tuple[npt.NDArray[np.float32], ...]:
    """Effects of the dates and how far they are known (time, band), from the lattice (entry, 1, y, x)."""
    model = loaded(model, device)
    lasting = lasting_of(model, shares=True)
    values = torch.from_numpy(stack.reshape(len(stack), -1).T.copy()).to(device)[..., None]
    joint, last, new = unpacked(lasting, values, len(days))
    use = torch.isfinite(last)
    when = on(np.append(day, days), values)
    watch = Watch(model, lasting, joint[use], last[use], model.standardise(new[use]), when, alarm)
    count = watch.mask.sum(0).to(values.dtype)
    belief = count / (count + HALF_BELIEF)
    effects = torch.zeros_like(belief)
    for date in range(len(days)):
        watch.advance(date)
        effects[date] = watch.shared(date, belief[date])
        watch.judge(date, effects[date], belief[date])
    return effects.cpu().numpy(), belief.cpu().numpy()


def _limits(level: float, bands: int) -> tuple[float, ...]:
    from scipy.stats import chi2

    if not real("level", level, least=0.5) < 1:
        raise InputError(f"level={level!r} must be below one, such as 0.99: the share of usual dates that pass")
    return tuple(float(chi2.ppf(level, count)) for count in range(1, bands + 1))


def _first(times: Dates, start: Any) -> int:
    """Number of the first date that is watched."""
    asked = asked_dates(start, name="start")
    if len(asked) != 1:
        raise InputError(f"start has {len(asked)} dates; give the one from which on to watch, such as '2020-01-01'")
    first = int(np.searchsorted(times, asked[0]))
    if first == 0 or first == len(times):
        raise InputError(
            f"start={day(asked[0])} leaves {first} dates to learn the state from and {len(times) - first} to watch, of "
            f"{day(times[0])} to {day(times[-1])}; both need one at least"
        )
    return first


def _outputs(model: KoopmanModel, later: Dates) -> dict[str, Output]:
    along, bands = {"time": later}, {"band": np.array(model.bands, dtype=object)}
    one = {"units": "1"}
    flags = {
        "long_name": "whether a date is unusual for its pixel",
        "flag_values": np.array([UNSEEN, USUAL, UNUSUAL], np.int8),
        "flag_meanings": "unobserved usual unusual",
    }
    score = {"long_name": "distance of the observation from its forecast, in standard deviations of both", **one}
    dates = {"long_name": "first of the unusual dates that confirmed a break"}
    size = {"long_name": "median departure from the forecasts over the dates that confirmed the break", **one}
    run = {"long_name": "unusual clear dates in a row at the end, not confirmed yet", **one}
    return {
        "flag": Output(along, np.int8, flags),
        "score": Output(along, np.float32, score),
        "break_date": Output({}, np.int32, dates),
        "magnitude": Output(bands, np.float32, size),
        "consecutive": Output({}, np.int16, run),
    }


def _dated(number: xr.DataArray, times: Dates) -> xr.DataArray:
    """Dates of their numbers; NaT for -1."""
    table = np.append(times, np.datetime64("NaT", "ns"))
    return xr.apply_ufunc(
        table.__getitem__, number, dask="parallelized", output_dtypes=["datetime64[ns]"], keep_attrs=True
    )
