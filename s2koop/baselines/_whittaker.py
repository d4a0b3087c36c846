"""Whittaker: a smooth curve through each series, for filling gaps and removing noise."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr

from s2koop.baselines._apply import check_number, predict
from s2koop.baselines._lags import difference_after
from s2koop.baselines._patterns import alike
from s2koop.errors import InputError

#: What cross-validation chooses from, in days^(2 order - 1).
_CANDIDATES = tuple(10.0 ** np.arange(0, 9))
_FOLDS = 5


def whittaker(
    cube: xr.DataArray,
    *,
    times: Any,
    smoothing: float | Literal["cv"] = 1e4,
    order: int = 2,
    step: float = 5.0,
    weights: xr.DataArray | None = None,
) -> xr.Dataset:
    r"""Smooth and interpolate each series by the Whittaker-Eilers smoother.

    Per pixel and band, the curve :math:`z` on a regular grid of `step` days minimises

    .. math:: \sum_t w_t (x_t - z_t)^2 + \lambda h^{1 - 2d} \sum_i (\Delta^d z_i)^2

    with the smoothing :math:`\lambda`, the order :math:`d` and the step :math:`h`. The power of the step
    makes the curve nearly independent of it. Observations move to the nearest grid point (grid points
    without one have weight zero), and asked dates are interpolated linearly between grid points; so what a
    date is given does not depend on which others are asked, as it would if the asked dates were knots.

    Parameters
    ----------
    cube : DataArray, dims (time, band, y, x)
        Floating point reflectance, NaN = missing, dates sorted; they may be irregular and may repeat.
        Other dims than ``time`` may be absent.
    times : date or sequence of dates
        When to predict. Before the first and after the last usable date of a series the end of the curve is
        held: this is a smoother, not a forecast, and its own extrapolation (a straight line) runs away.
    smoothing : float or "cv"
        :math:`\lambda` in days to the power ``2 * order - 1``: with one clear date in ten days, 1e4 passes
        what is slower than about four months, 1e5 than about six. ``"cv"`` chooses per series among 1, 10,
        ..., 1e8 by predicting dates left out, at nine times the cost; errors that neighbouring dates share
        make it choose too little smoothing.
    order : int
        Of the differences, 1 to 4. A series with fewer usable dates than this is fitted with that many.
    step : float
        Days between grid points. Cost grows as 1 / step, and accuracy hardly with it.
    weights : DataArray, optional
        Trust in each observation, with ``time`` and any other dims of the cube; 0, negative or NaN = left
        out.

    Returns
    -------
    Dataset (time, band, y, x)
        float32 ``mean`` and ``spread`` (one standard deviation of an observation of weight 1), in the units
        of the cube. The spread is the root mean square error of the series' own dates, each predicted
        without the fifth of the dates it belongs to; the residuals of the full fit would flatter it. Where
        the end of the curve is held, it is no less than the spread of `persistence` over that time. It is
        NaN where a series has usable dates on one grid point only. No usable value: both are NaN.

    Raises
    ------
    InputError
        The cube, the dates or the options cannot be used.

    References
    ----------
    P. H. C. Eilers, A perfect smoother, Analytical Chemistry 75, 2003, doi:10.1021/ac034173t; solved by the
    library whittaker-eilers.

    Examples
    --------
    >>> import pandas as pd, xarray as xr
    >>> dates = pd.to_datetime(["2020-05-01", "2020-05-11", "2020-05-31"])
    >>> cube = xr.DataArray([[[[0.1]]], [[[0.2]]], [[[0.4]]]],
    ...                     dims=("time", "band", "y", "x"), coords={"time": dates})
    >>> whittaker(cube, times=["2020-05-21", "2020-06-30"])["mean"].values.round(3).ravel()
    array([0.3, 0.4], dtype=float32)
    """
    if smoothing != "cv":
        check_number('smoothing (if not "cv")', smoothing, low=0, strict=True)
    check_number("order", order, low=1, whole=True)
    if order > 4:
        raise InputError(f"order must be 1 to 4, found {order}")
    check_number("step", step, low=0, strict=True)
    return predict(
        _kernel,
        cube,
        times,
        name="whittaker",
        long_name="Whittaker-Eilers smoother",
        weights=weights,
        options={"smoothing": smoothing, "order": order, "step": step},
    )


def _kernel(
    values: np.ndarray,
    weights: np.ndarray,
    days: np.ndarray,
    asked: np.ndarray,
    *,
    smoothing: float | Literal["cv"],
    order: int,
    step: float,
) -> tuple[np.ndarray, np.ndarray]:
    """See `s2koop.baselines._apply` for the shapes."""
    cells, position = np.unique(np.rint((days - days[0]) / step).astype(int), return_inverse=True)
    value, trust = _merge(values, weights, position, len(cells))
    smoothers = _Smoothers(int(cells[-1]) + 1, cells, step)
    candidates = _CANDIDATES if smoothing == "cv" else (float(smoothing),)
    where = (asked - days[0]) / step
    mean = np.full((len(values), len(asked)), np.nan)
    error = np.full(len(values), np.nan)
    for rows, share in alike(trust):
        withheld = np.stack([smoothers.withheld_error(value[rows], share, lam, order) for lam in candidates])
        best = np.where(np.isfinite(withheld), withheld, np.inf).argmin(axis=0)
        error[rows] = np.take_along_axis(withheld, best[None], axis=0)[0]
        for choice in np.unique(best):
            chosen = rows[best == choice]
            mean[chosen] = smoothers.predict(value[chosen], share, candidates[choice], order, where)
    return mean, _with_carrying(np.broadcast_to(error[:, None], mean.shape), values, days, asked)


def _with_carrying(error: np.ndarray, values: np.ndarray, days: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The spread (series, asked): no less than what the series itself changes while its end is carried on."""
    seen = np.isfinite(values)
    first = np.where(seen, days, np.inf).min(axis=1, keepdims=True)
    last = np.where(seen, days, -np.inf).max(axis=1, keepdims=True)
    carried = np.maximum(np.maximum(first - asked, asked - last), 0.0)
    outside = (carried > 0) & np.isfinite(carried)
    if not outside.any():
        return error
    changed = difference_after(values, days, np.where(outside, carried, 0.0))
    return np.where(outside, np.fmax(error, changed), error)


def _merge(values: np.ndarray, weights: np.ndarray, position: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Join observations on one grid point into their weighted mean, which least squares cannot tell apart."""
    belongs = (position[:, None] == np.arange(count)).astype(np.float64)
    trust = weights @ belongs
    total = (weights * np.where(weights > 0, values, 0.0)) @ belongs
    return np.divide(total, trust, out=np.zeros_like(total), where=trust > 0), trust


class _Smoothers:
    """The library's smoothers on one grid, one per order, kept because their set-up costs most."""

    def __init__(self, size: int, cells: np.ndarray, step: float) -> None:
        self.size, self.cells, self.step = size, cells, step
        self._ready: dict[int, Any] = {}

    def withheld_error(self, value: np.ndarray, trust: np.ndarray, lam: float, order: int) -> np.ndarray:
        """Root mean square error (series,) of dates that are predicted without their fold."""
        usable = np.flatnonzero(trust > 0)
        folds = min(_FOLDS, len(usable))
        if folds < 2:
            return np.full(len(value), np.nan)
        square = np.zeros(len(value))
        for fold in range(folds):
            held = usable[fold::folds]
            rest = trust.copy()
            rest[held] = 0.0
            error = self.predict(value, rest, lam, order, self.cells[held]) - value[:, held]
            square += (error**2 * trust[held]).sum(axis=1)
        return np.sqrt(square / len(usable))

    def predict(self, value: np.ndarray, trust: np.ndarray, lam: float, order: int, where: np.ndarray) -> np.ndarray:
        """The curves (series, date) at positions on the grid, held beyond the first and last usable point."""
        usable = self.cells[trust > 0]
        smoother = self._smoother(min(order, len(usable)), lam, trust)
        inside = np.clip(where, usable[0], usable[-1])
        grid = np.arange(smoother.get_data_length())
        series = np.zeros((len(value), len(grid)))
        series[:, self.cells] = value
        return np.stack([np.interp(inside, grid, smoother.smooth(row)) for row in series.tolist()])

    def _smoother(self, order: int, lam: float, trust: np.ndarray) -> Any:
        """The smoother of an order, set to these weights and this smoothing."""
        size = max(self.size, order + 1)  # the library needs more points than the order; empty ones change nothing
        weights = np.zeros(size)
        weights[self.cells] = trust
        penalty = lam * self.step ** (1 - 2 * order)
        if order not in self._ready:
            from whittaker_eilers import WhittakerSmoother

            self._ready[order] = WhittakerSmoother(penalty, order, size, None, weights.tolist())
            return self._ready[order]
        smoother = self._ready[order]
        if smoother.get_lambda() != penalty:
            smoother.update_lambda(penalty)
        smoother.update_weights(weights.tolist())
        return smoother
