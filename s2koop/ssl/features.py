"""Hand-made features of patches and pixel series: what any embedding has to beat before it is worth a network.

Pure functions on tensors. `handmade` gives them the signature of a kernel, so that they run lazily like an encoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from s2koop._numbers import real, whole
from s2koop._time import YEAR_DAYS
from s2koop.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

#: Names of the numbers that `statistics` gives for each band, in order.
STATISTICS = (
    "mean", "std", "skewness", "kurtosis", "q05", "q25", "q50", "q75", "q95", "edge_y", "edge_x", "coarse",
)  # fmt: skip
#: Names of the numbers that `co_occurrence` gives for each band, distance and direction, in order.
CO_OCCURRENCE = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
#: Side of the blocks whose means make the statistic "coarse".
_BLOCK = 8
#: Shortest wavelength of the spectrum in pixels: below, sampling and interpolation rule.
_SHORTEST = 2.5
#: Energy below a ten-thousandth of white noise counts as none, so that a logarithm is finite.
_FLOOR = 1e-4
#: Steps (row, column) to the four neighbours that a pair of pixels is counted in.
_STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))
#: Patches that are transformed at once: bounds memory, not results.
_AT_ONCE = 128


def statistics(patches: Tensor) -> Tensor:
    """Global statistics of each band of each patch: level, spread, shape of the histogram, edges.

    Parameters
    ----------
    patches : Tensor (n, band, y, x)
        NaN pixels are left out.

    Returns
    -------
    Tensor (n, band * 12), float32
        Band by band the numbers of `STATISTICS`: mean, standard deviation, skewness, excess kurtosis, five quantiles,
        root mean square of the differences between neighbours along y and along x, and standard deviation of the means
        of blocks of 8x8 pixels. Skewness and kurtosis of a constant band are 0. A band without any pixel is NaN.

    Raises
    ------
    InputError
        If the patches are not four-dimensional.

    Examples
    --------
    >>> found = statistics(torch.arange(256.0).reshape(1, 1, 16, 16))
    >>> dict(zip(STATISTICS, found[0].tolist()))["mean"], found.shape[1]
    (127.5, 12)
    """
    values = _patches(patches)
    flat = values.flatten(2)
    mean, deviation, spread = _centred(flat)
    scaled = deviation / _nonzero(spread)
    shape = [scaled.pow(3).nanmean(2, keepdim=True), (scaled.pow(4).nanmean(2, keepdim=True) - 3)]
    shape = [torch.where(spread > 0, moment, torch.zeros_like(moment) + 0 * mean) for moment in shape]
    edges = [
        values.diff(dim=dim).flatten(2).square().nanmean(2, keepdim=True).sqrt() if values.shape[dim] > 1 else 0 * mean
        for dim in (2, 3)
    ]
    coarse = _centred(_block_means(values).flatten(2))[2]
    # A few NaN pixels may leave no two neighbours, which is no reason to lose the patch.
    parts = [part.nan_to_num(nan=0.0) + 0 * mean for part in (*edges, coarse)]
    return torch.cat([mean, spread, *shape, _quantiles(flat), *parts], dim=2).flatten(1).float()


def spectrum(
    patches: Tensor,
    *,
    pixel: float = 1.0,
    wavelengths: int = 9,
    directions: int = 12,
    limits: tuple[float, float] | None = None,
) -> Tensor:
    """Image spectrum of each band of each patch: logarithm of the energy by wavelength and direction.

    A patch is standardised, tapered by a Hann window and transformed. Its energy is then averaged with triangular
    weights around centres that are even in the logarithm of the wavelength and in direction: no bin is empty, and a
    wave that lies between two is shared by both. Turning a patch by 180 degrees changes nothing, since the energy of a
    real image is symmetric; so directions run over half a circle.

    Parameters
    ----------
    patches : Tensor (n, band, y, x)
        NaN pixels count as the mean of their patch.
    pixel : float
        Side of a pixel, in metres or in whatever unit `limits` are.
    wavelengths, directions : int
        Number of centres.
    limits : (float, float), optional
        Shortest and longest wavelength; by default 2.5 pixels and the shorter side of the patch.

    Returns
    -------
    Tensor (n, band * wavelengths * directions), float32
        Natural logarithm of energy relative to that of white noise of the same variance, at least that of 1e-4;
        direction runs fastest, as in `spectrum_centres`. A constant band has the floor throughout; one without any
        pixel is NaN.

    Raises
    ------
    InputError
        If patches are smaller than 8 pixels, or a number is out of range.

    References
    ----------
    Schulz-Stellenfleth, König and Lehner (2007), An empirical approach for the retrieval of integral ocean wave
    parameters from synthetic aperture radar data, J. Geophys. Res. 112, C03019: CWAVE, whose idea this follows with
    local instead of orthogonal functions.

    Examples
    --------
    >>> x = torch.arange(64.0)
    >>> wave = torch.cos(2 * np.pi * x / 16).expand(1, 1, 64, 64)  # crests 800 m apart, along y
    >>> energy = spectrum(wave, pixel=50)[0].reshape(9, 12)
    >>> length, direction = spectrum_centres((64, 64), pixel=50)
    >>> at = divmod(int(energy.argmax()), 12)
    >>> round(float(length[at[0]])), float(direction[at[1]])
    (949, 0.0)
    """
    values = _patches(patches)
    shape = (values.shape[2], values.shape[3])
    low, high = _limits(shape, pixel, wavelengths, directions, limits)
    weights = _weights(shape, low / pixel, high / pixel, wavelengths, directions).to(values.device)
    flat = values.flatten(0, 1)
    parts = [_energy(flat[start : start + _AT_ONCE], weights) for start in range(0, len(flat), _AT_ONCE)]
    found = torch.cat(parts) if parts else flat.new_zeros((0, wavelengths * directions))
    return found.reshape(len(values), values.shape[1] * wavelengths * directions).float()


def spectrum_centres(
    shape: tuple[int, int],
    *,
    pixel: float = 1.0,
    wavelengths: int = 9,
    directions: int = 12,
    limits: tuple[float, float] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Where the centres of `spectrum` lie.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of a patch; the others as in `spectrum`.

    Returns
    -------
    (wavelengths,), (directions,) arrays
        Wavelengths from short to long, in the unit of `pixel`; and directions of the wave number in degrees, 0 where
        waves run along x, 90 along y, growing from increasing column to increasing row.

    Raises
    ------
    InputError
        As `spectrum`.
    """
    low, high = _limits(shape, pixel, wavelengths, directions, limits)
    return np.geomspace(low, high, wavelengths), np.arange(directions) * 180.0 / directions


def co_occurrence(patches: Tensor, *, levels: int = 16, distances: Sequence[int] = (1, 3)) -> Tensor:
    """Texture from grey-level co-occurrence matrices.

    Parameters
    ----------
    patches : Tensor (n, band, y, x)
        Pairs with a NaN pixel are left out.
    levels : int
        Number of grey levels, between three standard deviations below and above the mean of the patch.
    distances : sequence of int
        Distances of a pair in pixels.

    Returns
    -------
    Tensor (n, band * distances * 4 * 5), float32
        By band, distance and direction (along x, diagonal, along y, other diagonal) the numbers of `CO_OCCURRENCE`.

    Raises
    ------
    InputError
        If a patch is not larger than the largest distance.

    References
    ----------
    Haralick, Shanmugam and Dinstein (1973), Textural features for image classification, IEEE Trans. SMC-3, 610-621.

    Examples
    --------
    >>> co_occurrence(torch.rand(2, 1, 16, 16)).shape
    torch.Size([2, 40])
    """
    values = _patches(patches)
    whole("levels", levels, least=2)
    apart = [whole("distances", distance, least=1) for distance in distances]
    if not apart or max(apart) >= min(values.shape[2:]):
        raise InputError(f"distances={tuple(distances)} do not fit into patches of {tuple(values.shape[2:])} pixels")
    flat = values.flatten(0, 1)
    mean, deviation, spread = _centred(flat.flatten(1).unsqueeze(1))
    scaled = (deviation / _nonzero(spread)).reshape(flat.shape)
    empty = mean.isnan().reshape(-1, 1)
    grey = ((scaled.clamp(-3, 3) + 3) / 6 * levels).floor().clamp(max=levels - 1)
    steps = [(distance * row, distance * column) for distance in apart for row, column in _STEPS]
    found = []
    for start in range(0, len(grey), _AT_ONCE):
        part = grey[start : start + _AT_ONCE]
        found.append(torch.cat([_texture(_pairs(part, *step, levels)) for step in steps], dim=1))
    table = torch.cat(found) if found else flat.new_zeros((0, len(steps) * len(CO_OCCURRENCE)))
    return table.masked_fill(empty, torch.nan).reshape(len(values), values.shape[1] * table.shape[1]).float()


def series_features(values: Tensor, days: Tensor | Sequence[float], *, dates: int | None = None) -> Tensor:
    """Raw pixel series without gaps, and what a harmonic says of them: the baseline of series encoders.

    Parameters
    ----------
    values : Tensor (n, time, band)
        NaN where there is no observation.
    days : Tensor or sequence (time,)
        Days since any epoch, sorted; they may repeat.
    dates : int, optional
        Number of evenly spaced dates that series are interpolated to, from the first to the last day; as many as there
        are different days by default.

    Returns
    -------
    Tensor (n, band * (dates + 5)), float32
        By band: the interpolated values, constant beyond the first and last observation; then mean, standard deviation,
        and mean, cosine and sine of a yearly harmonic (least squares with a slight ridge). A band that was never
        observed is NaN.

    Raises
    ------
    InputError
        If days do not fit the values or are not sorted.

    Examples
    --------
    >>> values = torch.tensor([0.0, torch.nan, 0.2]).reshape(1, 3, 1)
    >>> [round(value, 6) for value in series_features(values, torch.tensor([0.0, 10.0, 20.0]))[0, :3].tolist()]
    [0.0, 0.1, 0.2]
    """
    if values.ndim != 3:
        raise InputError(f"values have shape {tuple(values.shape)}; expected (pixel, time, band)")
    when = torch.as_tensor(days, dtype=torch.float64, device=values.device)
    if when.shape != (values.shape[1],) or not bool(when.isfinite().all()) or bool((when.diff() < 0).any()):
        raise InputError(f"days of shape {tuple(when.shape)} do not fit values {tuple(values.shape)}: give sorted days")
    number = whole("dates", len(when.unique()) if dates is None else dates, least=1)
    series = values.double().masked_fill(~values.isfinite(), torch.nan)
    grid = torch.linspace(float(when[0]), float(when[-1]), number, dtype=torch.float64, device=values.device)
    mean, _, spread = _centred(series.transpose(1, 2))
    parts = [_interpolated(series, when, grid).transpose(1, 2), mean, spread, _harmonic(series, when)]
    return torch.cat(parts, dim=2).flatten(1).float()


#: The hand-made features of patches by name.
KINDS: dict[str, Callable[..., Tensor]] = {
    "statistics": statistics,
    "spectrum": spectrum,
    "co_occurrence": co_occurrence,
}


def handmade(model: Any, patches: Tensor, *, kind: str, **options: Any) -> Tensor:
    """Hand-made features of patches as a kernel of the engine.

    Parameters
    ----------
    model : None
        Not used; kernels take it.
    patches : Tensor (n, band, y, x)
    kind : str
        A name in `KINDS`.
    **options
        Of the function of that name.

    Returns
    -------
    Tensor (n, feature)

    Raises
    ------
    InputError
        If there is no such kind, and as the functions do.

    Examples
    --------
    >>> handmade(None, torch.rand(3, 2, 16, 16), kind="statistics").shape
    torch.Size([3, 24])
    """
    if kind not in KINDS:
        raise InputError(f"there are no features {kind!r}; choose one of {', '.join(KINDS)}")
    return KINDS[kind](patches, **options)


def handmade_series(model: Any, values: Tensor, **options: Any) -> dict[str, Tensor]:
    """`series_features` as a kernel of the engine for pixels: ``{"embedding": (n, feature)}``.

    A band that was never observed counts as 0: other bands of the pixel were.

    Examples
    --------
    >>> handmade_series(None, torch.rand(5, 4, 2), days=[0, 5, 9, 20], dates=10)["embedding"].shape
    torch.Size([5, 30])
    """
    return {"embedding": series_features(values, **options).nan_to_num(0.0)}


def _patches(patches: Tensor) -> Tensor:
    """Checked, as float64 (fourth powers of small differences), with NaN for all that is not finite."""
    if patches.ndim != 4:
        raise InputError(f"patches have shape {tuple(patches.shape)}; expected (patch, band, y, x)")
    values = patches.double()
    return values.masked_fill(~values.isfinite(), torch.nan)


def _centred(flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviations from it and standard deviation over the last dim, which is kept; rounding is no spread."""
    mean = flat.nanmean(-1, keepdim=True)
    deviation = flat - mean
    spread = deviation.square().nanmean(-1, keepdim=True).sqrt()
    return mean, deviation, torch.where(spread > 1e-7 * mean.abs(), spread, 0 * spread)


def _nonzero(spread: Tensor) -> Tensor:
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _quantiles(flat: Tensor) -> Tensor:
    """Quantiles (n, band, 5) of what is not NaN, linear between neighbours; of any number of pixels."""
    ordered = flat.sort(dim=2).values  # NaN come last
    last = (flat.shape[2] - flat.isnan().sum(2, keepdim=True) - 1).clamp(min=0)
    place = torch.tensor(_QUANTILES, dtype=flat.dtype, device=flat.device) * last
    below = place.floor().long()
    low, high = ordered.gather(2, below), ordered.gather(2, (below + 1).minimum(last))
    return low + (place - below) * (high - low)


def _block_means(values: Tensor) -> Tensor:
    """Means over blocks, of what is not NaN; the last blocks may be smaller."""
    seen = (~values.isnan()).to(values.dtype)
    total, share = (functional.avg_pool2d(part, _BLOCK, ceil_mode=True) for part in (values.nan_to_num(nan=0.0), seen))
    return torch.where(share > 0, total / _nonzero(share), torch.nan)


def _limits(
    shape: tuple[int, int], pixel: float, wavelengths: int, directions: int, limits: tuple[float, float] | None
) -> tuple[float, float]:
    """Shortest and longest wavelength, checked."""
    real("pixel", pixel, least=0)
    whole("wavelengths", wavelengths, least=2)
    whole("directions", directions, least=2)
    if min(shape) < 8:
        raise InputError(f"patches of {tuple(shape)} pixels are too small for a spectrum; take at least 8 by 8")
    low, high = (_SHORTEST * pixel, min(shape) * pixel) if limits is None else limits
    if not 2 * pixel <= low < high <= max(shape) * pixel or pixel <= 0:
        raise InputError(
            f"wavelengths from {low:g} to {high:g} do not fit patches of {tuple(shape)} pixels of {pixel:g}: "
            "they must grow and lie between two pixels and the side of a patch"
        )
    return float(low), float(high)


@lru_cache(maxsize=8)
def _weights(shape: tuple[int, int], low: float, high: float, wavelengths: int, directions: int) -> Tensor:
    """Share of each cell of the half-plane spectrum in each bin, (cell, bin); columns sum to one."""
    rows, columns = _padded(shape)
    y, x = np.meshgrid(np.fft.fftfreq(rows), np.fft.rfftfreq(columns), indexing="ij")
    number = np.hypot(y, x)
    number[0, 0] = 1e-9  # the mean has no direction: far beyond the longest wave
    place = (-np.log(number) - math.log(low)) / (math.log(high / low) / (wavelengths - 1))
    by_length = np.clip(1 - np.abs(place[..., None] - np.arange(wavelengths)), 0, None)
    turn = np.degrees(np.arctan2(y, x)) / (180.0 / directions)
    apart = np.abs((turn[..., None] - np.arange(directions) + directions / 2) % directions - directions / 2)
    by_direction = np.clip(1 - apart, 0, None)
    cells = np.ones((rows, x.shape[1]))
    cells[:, 0] = 0.5  # waves along y stand in both halves of the first column, all others once
    weights = (cells[..., None, None] * by_length[..., :, None] * by_direction[..., None, :]).reshape(cells.size, -1)
    total = weights.sum(0)
    if not (total > 0).all():
        raise InputError(
            f"{wavelengths} wavelengths by {directions} directions are too many for patches of {shape} pixels: "
            "some bins hold nothing; ask for fewer"
        )
    return torch.from_numpy(weights / total)


def _padded(shape: tuple[int, int]) -> tuple[int, int]:
    """Size of the transform: zeros around a patch give more cells, so that the smallest bins hold some."""
    return max(2 * shape[0], 128), max(2 * shape[1], 128)


def _energy(images: Tensor, weights: Tensor) -> Tensor:
    """Log energy (n, bin) of images (n, y, x)."""
    rows, columns = images.shape[1:]
    mean, deviation, spread = _centred(images.flatten(1))
    standard = (deviation / _nonzero(spread)).nan_to_num(nan=0.0).reshape(images.shape)
    # The symmetric window, so that a turn by half a circle changes nothing at all.
    windows = (torch.hann_window(size + 2, periodic=False, dtype=images.dtype)[1:-1] for size in (rows, columns))
    taper = torch.outer(*windows).to(images.device)
    power = torch.fft.rfft2(standard * taper, s=_padded((rows, columns))).abs().square() / taper.square().sum()
    return (power.flatten(1) @ weights).clamp(min=_FLOOR).log() + 0 * mean


def _pairs(grey: Tensor, down: int, right: int, levels: int) -> Tensor:
    """Symmetric co-occurrence matrices (n, levels, levels) of grey levels (n, y, x), as shares."""
    rows, columns = grey.shape[1:]
    first = grey[:, : rows - down, max(-right, 0) : columns - max(right, 0)]
    second = grey[:, down:, max(right, 0) : columns - max(-right, 0)]
    pair = (first * levels + second).flatten(1)
    there = ~pair.isnan()
    image = torch.arange(len(grey), device=grey.device)[:, None].expand_as(pair)
    index = (image * levels**2 + pair.nan_to_num(nan=0.0).long())[there]
    counts = torch.bincount(index, minlength=len(grey) * levels**2).reshape(-1, levels, levels).to(grey.dtype)
    counts = counts + counts.transpose(1, 2)
    return counts / counts.sum((1, 2), keepdim=True).clamp(min=1)


def _texture(shares: Tensor) -> Tensor:
    """The five numbers of `CO_OCCURRENCE` of matrices (n, levels, levels)."""
    level = torch.arange(shares.shape[1], dtype=shares.dtype, device=shares.device)
    apart = level[:, None] - level
    mean = (shares * level[:, None]).sum((1, 2))
    variance = (shares * level[:, None].square()).sum((1, 2)) - mean**2
    covariance = (shares * level[:, None] * level).sum((1, 2)) - mean**2
    return torch.stack(
        [
            (shares * apart**2).sum((1, 2)),
            (shares * apart.abs()).sum((1, 2)),
            (shares / (1 + apart**2)).sum((1, 2)),
            shares.square().sum((1, 2)).sqrt(),
            # A patch of one grey level agrees with itself entirely.
            torch.where(variance > 1e-12, covariance / variance.clamp(min=1e-12), torch.ones_like(variance)),
        ],
        dim=1,
    )


def _interpolated(series: Tensor, when: Tensor, grid: Tensor) -> Tensor:
    """Series (n, time, band) at the days of a grid (n, date, band), linear between observations."""
    number = len(when)
    seen = ~series.isnan()
    index = torch.arange(number, device=series.device)[None, :, None].expand_as(series)
    # For each date the last observation up to it and the first from it on; -1 and `number` where there is none.
    before = torch.where(seen, index, -1).cummax(1).values
    after = torch.where(seen, index, number).flip(1).cummin(1).values.flip(1)
    last = (torch.searchsorted(when, grid, right=True) - 1).clamp(min=0)
    first = torch.searchsorted(when, grid, right=False).clamp(max=number - 1)
    left, right = before[:, last], after[:, first]
    left, right = torch.where(left < 0, right, left), torch.where(right >= number, left, right)
    left, right = left.clamp(0, number - 1), right.clamp(0, number - 1)
    low, high = series.gather(1, left), series.gather(1, right)
    span = when[right] - when[left]
    share = ((grid[None, :, None] - when[left]) / _nonzero(span)).clamp(0, 1)
    return low + torch.where(span > 0, share, 0 * share) * (high - low)


def _harmonic(series: Tensor, when: Tensor) -> Tensor:
    """Mean, cosine and sine of a yearly harmonic (n, band, 3) that fits what was observed."""
    phase = 2 * math.pi * when / YEAR_DAYS
    design = torch.stack([torch.ones_like(phase), phase.cos(), phase.sin()], dim=1)
    seen = (~series.isnan()).to(series.dtype)
    normal = torch.einsum("ntb,ti,tj->nbij", seen, design, design)
    # The ridge leaves the mean alone: with few observations a series is its mean, not a wave through its points.
    normal = normal + torch.diag(torch.tensor([1e-9, 0.1, 0.1], dtype=series.dtype, device=series.device))
    right = torch.einsum("ntb,ti->nbi", series.nan_to_num(nan=0.0), design)
    found = torch.linalg.solve(normal, right.unsqueeze(-1)).squeeze(-1)
    return found.masked_fill(seen.sum(1).unsqueeze(-1) == 0, torch.nan)
