"""A spatial prior: what the neighbours of a pixel say about a date on which the pixel itself was not seen.

An analysis pixel by pixel leaves a remainder on every date: haze that thins towards a corner, a field that was mown
early. Neighbours share it. The remainder is taken as a smooth field s plus noise, and s is what minimises

    sum over observations (r - s)^2 / noise^2  +  q sum s^2  +  q weight sum over neighbours |s_i - s_j|^2

where q is chosen so that s has the standard deviation `size`. Every sweep of the solver looks one pixel far, so blocks
with a margin of as many pixels as there are sweeps give the numbers of the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._array_checks import check_not_empty
from s2koop.errors import InputError

Array = npt.NDArray[np.float32]
Kind = Literal["tikhonov", "tv"]
Given = float | xr.DataArray | None

KINDS = ("tikhonov", "tv")
DIMS = ("time", "band", "y", "x")
SWEEPS = 12
#: What the sweeps leave of the slowest waves they are tuned to: less and wide gaps stay empty, more and waves ring.
SETTLED = 0.003
#: Observations are brought back to so many usual distances from what their neighbours say, by raising their noise.
LIMIT = 5.0
#: Differences below this share of a usual one count as squares in total variation, which has a corner at zero.
CORNER = 0.1
#: Values that are worked on at once: they and their neighbours fit into the cache of a processor.
SLAB = 1 << 17
#: Dates whose differences would have to agree before a shared edge is half believed.
EDGE_BELIEF = 4.0
EDGE_RANGE = 8.0
#: Values of each band that the parameters are estimated from, and the side of the windows that they come from.
SAMPLE = 100_000
WINDOW = 48
LAGS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2), (0, 4), (4, 0))
WEIGHTS = np.geomspace(0.1, 1000.0, 33)


def spatial_increment(
    remainder: xr.DataArray,
    *,
    kind: Kind = "tikhonov",
    noise: Given = None,
    size: Given = None,
    weight: Given = None,
    share_edges: bool = False,
    iterations: int = SWEEPS,
) -> xr.DataArray:
    """Field that neighbouring pixels share on each date, to add to an analysis made pixel by pixel.

    Parameters
    ----------
    remainder : DataArray, dims ("time", "band", "y", "x"), float
        Observation minus analysis on the dates of the observations; NaN where nothing was observed.
    kind : {"tikhonov", "tv"}
        Squared differences of neighbours, for smooth fields; or absolute ones (total variation), which keep edges.
    noise, size : float or DataArray of dim "band", optional
        Standard deviation of what neighbours do not share, and of the field, in the unit of the remainder.
    weight : float or DataArray of dim "band", optional
        Weight of the differences against the values: the field is alike over about ``weight ** 0.5`` pixels. The same
        weight means the same for both kinds: a difference of usual size costs the same.
        What is not given is estimated by `estimate_spatial`.
    share_edges : bool
        Loosen the pairs of neighbours that differ on many dates, such as those on both sides of a field's border, and
        tighten those that do not. Reads all dates of a block at once; without it every date stands alone.
    iterations : int
        Sweeps. Each carries what is known one pixel further, into gaps.

    Returns
    -------
    DataArray, dims ("time", "band", "y", "x"), float32
        Lazy where `remainder` is. Zero on dates without observation, and far from all observations.

    Raises
    ------
    InputError
        For other dims, an unknown kind, or a noise, size, weight or number of iterations that is not positive.

    See Also
    --------
    spatial_posterior : with the variance that is left.

    Notes
    -----
    The prior is a Gaussian Markov random field on the lattice [1]_; total variation [2]_ is solved by lagged
    diffusivity [3]_, with one sweep for each set of weights. Sweeps are Jacobi's with Chebyshev's acceleration for a
    spectrum that depends on the options only, never on the data of a block. An observation that lies further from what
    its neighbours say than five standard deviations of that distance counts with the noise that would explain it.

    References
    ----------
    .. [1] H. Rue, L. Held (2005). Gaussian Markov Random Fields. Chapman & Hall.
    .. [2] L. Rudin, S. Osher, E. Fatemi (1992). Nonlinear total variation based noise removal algorithms. Physica D 60.
    .. [3] C. Vogel, M. Oman (1996). Iterative methods for total variation denoising. SIAM J. Sci. Comput. 17.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> remainder = xr.DataArray(np.full((1, 1, 3, 3), 0.1, "float32"), dims=("time", "band", "y", "x"))
    >>> remainder[0, 0, 1, 1] = np.nan
    >>> field = spatial_increment(remainder, noise=0.01, size=0.1, weight=10.0)
    >>> round(float(field[0, 0, 1, 1]), 2)
    0.1
    """
    solved = _solved(remainder, kind, noise, size, weight, share_edges, iterations, variance=False)
    return _described(solved, remainder, 0, "increment", "what neighbouring pixels share on this date")


def spatial_posterior(
    remainder: xr.DataArray,
    *,
    kind: Kind = "tikhonov",
    noise: Given = None,
    size: Given = None,
    weight: Given = None,
    share_edges: bool = False,
    iterations: int = SWEEPS,
) -> xr.Dataset:
    """Field as from `spatial_increment`, and the variance with which it is known.

    Parameters
    ----------
    remainder, kind, noise, size, weight, share_edges, iterations
        As in `spatial_increment`.

    Returns
    -------
    Dataset
        `increment` and `variance`, each of dims ("time", "band", "y", "x"), float32, lazy where `remainder` is. The
        variance is that of the field; a new observation has ``variance + noise ** 2``.

    Raises
    ------
    InputError
        As in `spatial_increment`.

    Notes
    -----
    The variance is the diagonal of the inverse of the Hessian, by belief propagation along the lattice [1]_, which
    leaves out closed loops; these are put back as they are on an endless lattice of the same tightness, where both
    are known in closed form. Under total variation it is the variance at the last set of weights, and a guide only.

    References
    ----------
    .. [1] D. Malioutov, J. Johnson, A. Willsky (2006). Walk-sums and belief propagation in Gaussian graphical models.
       Journal of Machine Learning Research 7.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> remainder = xr.DataArray(np.full((1, 1, 1, 9), np.nan, "float32"), dims=("time", "band", "y", "x"))
    >>> remainder[0, 0, 0, 0] = 0.2
    >>> known = spatial_posterior(remainder, noise=0.01, size=0.1, weight=3.0)["variance"]
    >>> bool((known.diff("x") > 0).all())
    True
    """
    solved = _solved(remainder, kind, noise, size, weight, share_edges, iterations, variance=True)
    return xr.Dataset(
        {
            "increment": _described(solved, remainder, 0, "increment", "what neighbouring pixels share on this date"),
            "variance": _described(solved, remainder, 1, "variance", "variance of the increment"),
        }
    )


def estimate_spatial(remainder: xr.DataArray) -> xr.Dataset:
    """Noise, size and weight of the field that a remainder holds, from differences over several distances.

    Mean squares of the values and of their differences (bounded against outliers) are compared with what the prior
    makes of them. The sample is the same for the same cube: at most some 100 000 values of each band, from windows
    spread over the image and dates spread over the series.

    Parameters
    ----------
    remainder : DataArray, dims ("time", "band", "y", "x"), float
        NaN where nothing was observed.

    Returns
    -------
    Dataset
        `noise`, `size` and `weight`, float64, of dim "band"; lazy where `remainder` is. Ones for a band without
        observations.

    Raises
    ------
    InputError
        For other dims.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> white = np.random.default_rng(0).normal(0, 0.05, (4, 1, 40, 40))
    >>> found = estimate_spatial(xr.DataArray(white, dims=("time", "band", "y", "x")))
    >>> round(float(found.noise[0]), 2)
    0.05
    """
    remainder = _checked(remainder)
    sample = [remainder.data[part] for part in _windows(remainder.shape)]
    if remainder.chunks is None:
        found = _fit_bands(*(np.asarray(part) for part in sample))
    else:
        import dask
        import dask.array

        task = dask.delayed(_fit_bands, pure=True)(*sample)
        found = dask.array.from_delayed(task, (3, remainder.sizes["band"]), np.float64)
    coords = {"band": remainder["band"]} if "band" in remainder.coords else {}
    return xr.Dataset(
        {
            name: xr.DataArray(found[row], dims="band", coords=coords)
            for row, name in enumerate(("noise", "size", "weight"))
        }
    )


# --- arguments -------------------------------------------------------------------------------------------------------


def _checked(remainder: Any) -> xr.DataArray:
    """The remainder with its dims in order."""
    if not isinstance(remainder, xr.DataArray):
        raise InputError(f"the remainder is a {type(remainder).__name__}; expected a DataArray: observation - analysis")
    if set(remainder.dims) != set(DIMS):
        raise InputError(
            f"the remainder has dims {remainder.dims}; expected {DIMS}: select with lists to keep dims, or rename them"
        )
    check_not_empty(remainder, "the remainder")
    if not np.issubdtype(remainder.dtype, np.floating):
        raise InputError(f"the remainder has dtype {remainder.dtype}; expected float with NaN where nothing was seen")
    return remainder.transpose(*DIMS)


def _parameters(remainder: xr.DataArray, given: dict[str, Given]) -> Any:
    """Noise, size and weight, (3, band), of NumPy or dask."""
    found = {name: _per_band(value, name, remainder) for name, value in given.items() if value is not None}
    if len(found) < len(given):
        estimated = estimate_spatial(remainder)
        found = {name: estimated[name].data for name in given} | found
    rows = [found[name] for name in given]
    if all(isinstance(row, np.ndarray) for row in rows):
        return np.stack(rows)
    import dask.array

    return dask.array.stack([dask.array.asarray(row) for row in rows])


def _per_band(value: Any, name: str, remainder: xr.DataArray) -> Any:
    """One positive number for each band; those of a lazy array are not looked at yet."""
    bands = remainder.sizes["band"]
    if isinstance(value, xr.DataArray):
        if value.dims not in ((), ("band",)):
            raise InputError(f"{name} has dims {value.dims}; expected a number or a DataArray of dim 'band'")
        if "band" in value.coords and "band" in remainder.coords and value.dims:
            missing = set(remainder["band"].values.tolist()) - set(value["band"].values.tolist())
            if missing:
                raise InputError(f"{name} has no value for the bands {sorted(missing)}; give one for each band")
            value = value.sel(band=remainder["band"])
        if value.chunks is not None and value.dims:
            return value.data
        value = value.values
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}={value!r} is not a number; expected a positive number or one for each band"
        ) from error
    if numbers.ndim > 1 or (numbers.ndim == 1 and numbers.size != bands):
        raise InputError(f"{name} has shape {numbers.shape}; expected one number, or one for each of {bands} bands")
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise InputError(f"{name} is {np.unique(numbers)}; expected positive, finite numbers, or None to estimate it")
    return np.broadcast_to(numbers, (bands,))


def _solved(
    remainder: xr.DataArray,
    kind: str,
    noise: Given,
    size: Given,
    weight: Given,
    share_edges: bool,
    iterations: int,
    *,
    variance: bool,
) -> Any:
    """Array (1 or 2, time, band, y, x): the increment and, if wanted, its variance."""
    if kind not in KINDS:
        raise InputError(f"kind={kind!r} is unknown; expected one of {KINDS}")
    if isinstance(iterations, bool) or not isinstance(iterations, int | np.integer) or iterations < 1:
        raise InputError(f"iterations={iterations!r}; expected a whole number of at least 1")
    remainder = _checked(remainder)
    parameters = _parameters(remainder, {"noise": noise, "size": size, "weight": weight})
    options: dict[str, Any] = {
        "kind": kind,
        "share_edges": share_edges,
        "sweeps": int(iterations),
        "variance": variance,
    }
    if remainder.chunks is None:
        return _solve_block(remainder.values, np.asarray(parameters), **options)
    return _solve_lazily(remainder.data, parameters, options)


def _solve_lazily(data: Any, parameters: Any, options: dict[str, Any]) -> Any:
    """Blocks with a margin that each sweep uses up by one pixel."""
    import dask.array
    from dask.array import overlap

    if options["share_edges"]:
        data = data.rechunk({0: -1})
    reach = options["sweeps"] + options["variance"]
    margin = {2: min(reach, data.shape[2] - 1), 3: min(reach, data.shape[3] - 1)}
    wide = overlap.overlap(data, depth=margin, boundary="none", allow_rechunk=True)
    numbers = dask.array.asarray(parameters).rechunk({0: 1, 1: wide.chunks[1]})
    outputs = 1 + options["variance"]
    solved = dask.array.map_blocks(
        _solve_wide_block,
        wide[None],
        *(row[None, None, :, None, None] for row in numbers),
        chunks=((outputs,), *wide.chunks),
        dtype=np.float32,
        meta=np.empty((0,) * 5, np.float32),
        **options,
    )
    return overlap.trim_internal(solved, {axis + 1: depth for axis, depth in margin.items()}, boundary="none")


def _solve_wide_block(wide: Any, *parameters: Any, **options: Any) -> Array:
    return _solve_block(wide[0], np.stack([number.ravel() for number in parameters]), **options)


def _described(solved: Any, remainder: xr.DataArray, row: int, name: str, long_name: str) -> xr.DataArray:
    """One output as a DataArray on the grid of the remainder."""
    like = remainder.transpose(*DIMS)
    return xr.DataArray(solved[row], dims=DIMS, coords=like.coords, name=name, attrs={"long_name": long_name})


# --- the prior on an endless lattice ---------------------------------------------------------------------------------


def _means_meet(a: Any, b: Any) -> Any:
    """Gauss's arithmetic-geometric mean: it gives the complete elliptic integral of lattice sums."""
    for _ in range(6):
        a, b = (a + b) / 2, np.sqrt(a * b)
    return a


def _lattice_variance(diagonal: Any, pair: Any) -> Any:
    """Diagonal of the inverse of a lattice of one diagonal and one pair weight, without borders."""
    share = 4 * pair / diagonal
    return 1 / (diagonal * _means_meet(np.ones_like(share), np.sqrt(np.maximum(1 - share * share, 1e-12))))


@dataclass(frozen=True)
class _Prior:
    """Noise of an observation, precisions of a value and of a pair, and the usual difference of a pair, of one band."""

    noise: float
    value: float
    pair: float
    difference: float

    @classmethod
    def of(cls, noise: float, size: float, weight: float) -> _Prior:
        own = float(_lattice_variance(np.float64(1 + 4 * weight), np.float64(weight)))
        value = own / size**2
        return cls(noise, value, value * weight, float(np.sqrt((1 - own) / (2 * weight * value))))


# --- one block -------------------------------------------------------------------------------------------------------


def _solve_block(
    remainder: npt.NDArray[Any],
    parameters: npt.NDArray[Any],
    *,
    kind: str,
    share_edges: bool,
    sweeps: int,
    variance: bool,
) -> Array:
    """Increment and variance (1 or 2, time, band, y, x) of a block, a few dates at a time."""
    solved = np.empty((1 + variance, *remainder.shape), np.float32)
    dates = max(1, SLAB // (remainder.shape[2] * remainder.shape[3]))
    for band in range(remainder.shape[1]):
        prior = _Prior.of(*(float(number) for number in parameters[:, band]))
        edges = _shared_edges(remainder[:, band], prior) if share_edges else (np.float32(1), np.float32(1))
        for first in range(0, len(remainder), dates):
            part = slice(first, first + dates)
            lattice = _Lattice(remainder[part, band].astype(np.float32), prior, kind, edges, variance)
            solved[0, part, band] = lattice.sweep(sweeps)
            if variance:
                solved[1, part, band] = lattice.variance()
    return solved


def _shared_edges(remainder: npt.NDArray[Any], prior: _Prior) -> tuple[Array, Array]:
    """Factors of the pair weights (y - 1, x) and (y, x - 1): small where neighbours differ on many dates."""
    usual = 2 * prior.noise**2 + prior.difference**2
    factors = []
    for axis in (1, 2):
        squared = np.square(np.diff(remainder, axis=axis), dtype=np.float32)
        seen = np.isfinite(squared)
        total = np.where(seen, np.minimum(squared, 9 * usual), 0).sum(0)  # one odd date makes no edge
        mean = (total + EDGE_BELIEF * usual) / (seen.sum(0) + EDGE_BELIEF)
        factors.append(np.clip(usual / mean, 1 / EDGE_RANGE, EDGE_RANGE).astype(np.float32))
    return factors[0], factors[1]


class _Lattice:
    """Some dates of one band: the equations of the field, relinearised at every sweep.

    Pairs along y have arrays (date, y - 1, x), pairs along x (date, y, x - 1).
    """

    def __init__(self, remainder: Array, prior: _Prior, kind: str, edges: tuple[Any, Any], with_variance: bool) -> None:
        seen = np.isfinite(remainder)
        self.remainder = np.where(seen, remainder, np.float32(0))
        self.seen = seen.astype(np.float32)
        self.prior, self.kind = prior, kind
        shapes = [tuple(n - (i == axis) for i, n in enumerate(remainder.shape)) for axis in (1, 2)]
        pair = np.float32(prior.pair)
        self.tikhonov = [np.broadcast_to(pair * edge, shape) for edge, shape in zip(edges, shapes, strict=True)]
        self.field = np.zeros_like(self.remainder)
        self.around = _add_ends(np.full_like(self.field, prior.value), self.tikhonov)
        self.shares: list[tuple[Array, Array]] | None = None
        self.with_variance = with_variance

    def sweep(self, sweeps: int) -> Array:
        """The field after a number of sweeps."""
        before = self.field
        # total variation starts from the smooth field: where all differences are zero its weights would hold them there
        smooth = sweeps if self.kind == "tikhonov" else sweeps // 2
        for share in (*self._momentum(smooth), *[1.0] * (sweeps - smooth)):
            pairs, diagonal, right = self._equations(smooth > 0)
            smooth -= 1
            step = _add_neighbours(right, pairs, self.field)
            np.divide(step, diagonal, out=step)
            if share != 1:
                step -= before
                step *= np.float32(share)
                step += before
            before, self.field = self.field, step
            if self.with_variance:
                self._pass_messages(pairs, diagonal)
        return self.field

    def _momentum(self, sweeps: int) -> Iterator[float]:
        """Chebyshev's factors for the slowest waves that so many sweeps can settle."""
        decay = SETTLED ** (1 / max(sweeps, 1))
        radius = min(2 * decay / (1 + decay**2), 4 * self.prior.pair / (4 * self.prior.pair + self.prior.value))
        share = 1.0
        for sweep in range(sweeps):
            if sweep:
                share = 1 / (1 - radius**2 * (0.5 if sweep == 1 else share / 4))
            yield share

    def _equations(self, smooth: bool) -> tuple[list[Array], Array, Array]:
        """Pair weights, diagonal and right-hand side, at the field as it is."""
        trust = self.seen / self._noise_variance()
        pairs = self.tikhonov
        if not smooth:
            pairs = [self._total_variation(weight, axis) for axis, weight in enumerate(pairs, start=1)]
        diagonal = trust + self.around if smooth else _add_ends(trust + np.float32(self.prior.value), pairs)
        return pairs, diagonal, trust * self.remainder

    def _noise_variance(self) -> Array:
        """Noise of each observation: that given, or what makes its distance from its neighbours a usual one.

        Distance from the field itself would tell little, since an observation pulls the field towards it.
        """
        prior = self.prior
        spread = 1 / (prior.value + 4 * prior.pair)
        pulled = _add_neighbours(np.zeros_like(self.field), self.tikhonov, self.field)
        pulled /= self.around
        pulled -= self.remainder
        np.square(pulled, out=pulled)
        pulled /= np.float32(LIMIT**2)
        pulled -= np.float32(spread)
        return np.maximum(pulled, np.float32(prior.noise**2), out=pulled)

    def _total_variation(self, weight: Array, axis: int) -> Array:
        """Pair weights whose square at the present differences stands for the absolute value."""
        usual = self.prior.difference
        slope = np.square(np.diff(self.field, axis=axis))
        slope += np.float32((CORNER * usual) ** 2)
        np.sqrt(slope, out=slope)
        return weight * np.divide(np.float32(usual), slope, out=slope)

    def _pass_messages(self, pairs: list[Array], diagonal: Array) -> None:
        """Belief propagation: what each pixel of a pair takes off the precision of the other, as a share of its weight.

        Shares stay below one, whatever the weights of the next sweep, so that precisions stay positive.
        """
        if self.shares is None:  # as without observations: gaps wider than the sweeps keep the prior's variance
            around = self.prior.value + 4 * self.prior.pair
            share = 2 * self.prior.pair / (around + np.sqrt(around**2 - 12 * self.prior.pair**2))
            self.shares = [
                (np.full(weight.shape, share, np.float32), np.full(weight.shape, share, np.float32)) for weight in pairs
            ]
        precision = _less_taken(diagonal, pairs, self.shares)
        self.shares = [
            (
                np.divide(weight, precision[low] + weight * of_high, dtype=np.float32),
                np.divide(weight, precision[high] + weight * of_low, dtype=np.float32),
            )
            for (low, high), weight, (of_low, of_high) in zip(_SIDES, pairs, self.shares, strict=True)
        ]
        self.precision, self.pairs = _less_taken(diagonal, pairs, self.shares), pairs

    def variance(self) -> Array:
        """Variance of each pixel from the last messages, with the loops of an endless lattice put back."""
        product, pair, corners = self._loops()
        share = np.sqrt(product)
        prior = self.prior
        # the endless lattice whose messages are these; tree and lattice differ by what goes round its loops
        diagonal = np.maximum(pair * (1 / np.maximum(share, np.float32(1e-3)) + 3 * share), 4 * pair + prior.value)
        tree = (diagonal + 2 * np.sqrt(np.maximum(diagonal**2 - 12 * pair**2, 0))) / 3
        round_loops = np.maximum(tree - 1 / _lattice_variance(diagonal, pair), 0)
        precision = np.maximum(self.precision - round_loops * corners / 4, np.float32(prior.value))
        return np.divide(1, precision, dtype=np.float32)

    def _loops(self) -> tuple[Array, Array, Array]:
        """Mean product of the shares of two neighbours round a corner, mean pair weight, and number of corners."""
        assert self.shares is not None
        along = []
        total, number = np.zeros_like(self.precision), np.zeros_like(self.precision)
        for (low, high), weight, (of_low, of_high) in zip(_SIDES, self.pairs, self.shares, strict=True):
            taken, count = np.zeros_like(total), np.zeros_like(total)
            taken[low] += of_high
            taken[high] += of_low
            for side in (low, high):
                total[side] += weight
                count[side] += 1
            along.append((taken, count))
            number += count
        (taken_y, count_y), (taken_x, count_x) = along
        corners = count_y * count_x
        total /= np.maximum(number, 1)
        taken_y *= taken_x
        taken_y /= np.maximum(corners, 1)
        return taken_y, total, corners


#: The lower and the upper pixel of every pair, for pairs along y and along x.
_SIDES = (
    ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((slice(None), slice(None), slice(None, -1)), (slice(None), slice(None), slice(1, None))),
)


def _less_taken(diagonal: Array, pairs: list[Array], shares: list[tuple[Array, Array]]) -> Array:
    """Precision of each pixel once its neighbours are integrated out."""
    precision = diagonal.copy()
    for (low, high), weight, (of_low, of_high) in zip(_SIDES, pairs, shares, strict=True):
        precision[low] -= weight * of_high
        precision[high] -= weight * of_low
    return precision


def _add_ends(values: Array, pairs: list[Array]) -> Array:
    """Values and the weights of the pairs that each pixel is in, in place."""
    for sides, weight in zip(_SIDES, pairs, strict=True):
        for side in sides:
            values[side] += weight
    return values


def _add_neighbours(right: Array, pairs: list[Array], field: Array) -> Array:
    """The right-hand side and what the neighbours pull, in place."""
    for (low, high), weight in zip(_SIDES, pairs, strict=True):
        right[low] += weight * field[high]
        right[high] += weight * field[low]
    return right


# --- estimation ------------------------------------------------------------------------------------------------------


def _windows(shape: tuple[int, ...]) -> list[tuple[slice | list[int], ...]]:
    """Parts of the remainder that estimation reads: up to four windows on as many dates as the sample allows."""
    times, _, height, width = shape
    corners = [
        (y, x)
        for y in sorted({max(0, (height - WINDOW) // 4), max(0, (height - WINDOW) * 3 // 4)})
        for x in sorted({max(0, (width - WINDOW) // 4), max(0, (width - WINDOW) * 3 // 4)})
    ]
    values = len(corners) * min(height, WINDOW) * min(width, WINDOW)
    count = min(times, max(1, SAMPLE // values))
    dates = np.unique(np.linspace(0, times - 1, count).round().astype(int)).tolist()
    return [(dates, slice(None), slice(y, y + WINDOW), slice(x, x + WINDOW)) for y, x in corners]


def _fit_bands(*windows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Noise, size and weight, (3, band), from windows (time, band, y, x)."""
    return np.stack([_fit([part[:, band] for part in windows]) for band in range(windows[0].shape[1])], axis=1)


def _fit(windows: list[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Noise, size and weight of one band: the prior whose mean squares are nearest to those seen, relatively."""
    total = _mean_square([part.ravel() for part in windows])
    if total is None:
        return np.ones(3)
    total = max(total, 1e-12)
    seen = [_mean_square([_differences(part, lag).ravel() for part in windows]) for lag in LAGS]
    known = [row for row, value in enumerate(seen) if value is not None]
    target = np.array([total, *(max(seen[row] / 2, 1e-3 * total) for row in known)])  # type: ignore[operator]
    best = (np.inf, 0.0, total, 1.0)
    for weight, correlations in zip(WEIGHTS, _lattice_correlations(), strict=True):
        field = np.array([1.0, *(1 - correlations[known])])
        best = min(best, (*_two_variances(field / target, 1 / target), float(weight)))
    _, noise, size, weight = best
    # what is wider than the widest prior is in no difference, and must not be shrunk towards zero for that
    size = max(size, total - noise, 1e-3 * total)
    return np.array([max(noise, 1e-3 * size) ** 0.5, size**0.5, weight])


def _differences(part: npt.NDArray[Any], lag: tuple[int, int]) -> npt.NDArray[Any]:
    """Differences of all pixels (time, y, x) that lie a lag apart; none where the image is smaller than that."""
    y, x = lag
    return part[:, y:, x:] - part[:, : max(part.shape[1] - y, 0), : max(part.shape[2] - x, 0)]


def _mean_square(parts: list[npt.NDArray[Any]]) -> float | None:
    """Mean square of what is finite, with the square of three robust deviations at most; None of nothing."""
    values = np.concatenate([part[np.isfinite(part)] for part in parts]).astype(float)
    if not len(values):
        return None
    squares = values**2
    return float(np.minimum(squares, 9 * 1.4826**2 * np.median(squares)).mean())


def _two_variances(field: npt.NDArray[Any], noise: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Misfit, noise and field variance of the least squares ``field * a + noise * b = 1`` with neither below zero."""
    design = np.stack([noise, field], axis=1)
    candidates = [np.linalg.lstsq(design, np.ones(len(design)), rcond=None)[0]]
    candidates += [np.array([1.0, 0.0]) * noise.sum() / (noise @ noise)]
    candidates += [np.array([0.0, 1.0]) * field.sum() / (field @ field)]
    return min(
        (float(np.square(design @ found - 1).sum()), float(found[0]), float(found[1]))
        for found in candidates
        if (found >= 0).all()
    )


@lru_cache(maxsize=1)
def _lattice_correlations() -> npt.NDArray[np.float64]:
    """Correlation of the prior at each lag, (weight, lag), from the spectrum of a lattice wide enough to be endless."""
    waves = 2 - 2 * np.cos(2 * np.pi * np.fft.fftfreq(256))
    spectra = 1 / (1 + WEIGHTS[:, None, None] * (waves[:, None] + waves[None]))
    covariance = np.fft.ifft2(spectra).real
    return np.stack([covariance[:, y, x] / covariance[:, 0, 0] for y, x in LAGS], axis=1)
