"""Which pixels to believe: scene classes, reflectance that cannot be, haze that the classes let through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from s2koop._array_checks import check_array, check_dates, check_labels
from s2koop._warn import warn_user
from s2koop.cube.harmonise import without_fill
from s2koop.errors import InputError, ReflectanceWarning

#: Scene classification of Sen2Cor, as in the L2A product definition.
SCL_CLASSES: Mapping[int, str] = MappingProxyType(
    {
        0: "no_data",
        1: "saturated_or_defective",
        2: "dark_area",
        3: "cloud_shadow",
        4: "vegetation",
        5: "not_vegetated",
        6: "water",
        7: "unclassified",
        8: "cloud_medium_probability",
        9: "cloud_high_probability",
        10: "thin_cirrus",
        11: "snow",
    }
)

#: Kept by ``mask="scl"``. Snow (11) is left out: it is seen clearly, but it is another surface for every
#: model of the ground.
USABLE_CLASSES: tuple[int, ...] = (4, 5, 6, 7)


def usable_classes(mask: str | int | Iterable[int | str] | None) -> tuple[int, ...] | None:
    """Turn the ``mask`` of :func:`s2koop.load` into the scene classes to keep, None for no mask.

    Parameters
    ----------
    mask : "scl", None, or iterable of int or str
        ``"scl"`` keeps vegetation, bare soil, water and unclassified; an iterable names the classes to keep
        by number or name (see :data:`SCL_CLASSES`).

    Returns
    -------
    tuple of int or None

    Raises
    ------
    InputError
        If a class is unknown or none is named.

    Examples
    --------
    >>> usable_classes("scl")
    (4, 5, 6, 7)
    >>> usable_classes(["vegetation", 11])
    (4, 11)
    """
    if mask is None or mask is False:
        return None
    if isinstance(mask, str) and mask.lower() == "scl":
        return USABLE_CLASSES
    asked = list(mask) if isinstance(mask, Iterable) and not isinstance(mask, str) else [mask]
    if not asked:
        raise InputError(
            "mask is empty, so every pixel would be lost; name classes to keep, or say mask=None for no mask"
        )
    return tuple(sorted({_class_number(entry) for entry in asked}))


def _class_number(entry: Any) -> int:
    numbers = {name: number for number, name in SCL_CLASSES.items()}
    found = numbers.get(entry.lower()) if isinstance(entry, str) else entry
    if isinstance(found, bool) or not isinstance(found, int | float | np.integer) or found not in SCL_CLASSES:
        listed = ", ".join(f"{number} {name}" for number, name in SCL_CLASSES.items())
        raise InputError(f"mask names {entry!r}, which is no scene class; expected 'scl', None, or some of: {listed}")
    return int(found)


def keep_classes(values: np.ndarray, classes: np.ndarray, *, keep: tuple[int, ...], bits: bool = False) -> np.ndarray:
    """Set pixels to NaN whose class is none of ``keep``; ``classes`` lacks the band axis of ``values``.

    ``bits`` says that they are the bits of Landsat's QA_PIXEL.
    """
    return np.where(np.isin(classes_of_bits(classes) if bits else classes, keep), values, np.float32(np.nan))


#: Bits of QA_PIXEL of Landsat Collection 2 and the scene class that stands for each, the weightiest last. Clear land
#: is none of them: what it is, Landsat does not say.
_QA_BITS = (
    (7, 6),  # water
    (5, 11),  # snow
    (2, 10),  # cirrus, of Landsat 8 and 9 only
    (1, 8),  # beside a cloud ("dilated")
    (4, 3),  # cloud shadow
    (3, 9),  # cloud
    (0, 0),  # fill
)


def classes_of_bits(quality: np.ndarray) -> np.ndarray:
    """Turn QA_PIXEL of Landsat Collection 2 into the scene classes of Sentinel-2.

    Parameters
    ----------
    quality : ndarray
        Values of QA_PIXEL, as numbers of any kind; NaN where there are none.

    Returns
    -------
    ndarray of uint8
        Classes of :data:`SCL_CLASSES`: 6 water, 11 snow, 10 cirrus, 8 beside a cloud, 3 cloud shadow, 9 cloud, 0
        nothing seen, else 7 (clear, not classified).

    Examples
    --------
    >>> import numpy as np
    >>> classes_of_bits(np.array([1, 21824, 21952, 22280, 23888, 54596, 30048], "uint16")).tolist()
    [0, 7, 6, 9, 3, 10, 11]
    """
    seen = np.isfinite(quality)
    flags = np.where(seen, quality, 1).astype(np.uint16)
    classes = np.full(flags.shape, 7, np.uint8)
    for bit, number in _QA_BITS:
        classes[(flags >> bit) & 1 == 1] = number
    return classes


def check_reflectance(cube: xr.DataArray, *, limit: float = 0.2, dates: int | None = 8) -> xr.DataArray:
    """Look for reflectance that cannot be: digital numbers, and dates with many negative values in blue or red.

    Digital numbers are reflectance times 10000. A catalogue that misstates whether the offset of baseline 04.00 is
    still in its pixels makes dark ground negative. Opening a cube reads no pixel, so this check is apart: it reads a
    window of at most 512 x 512 pixels in the middle of the cube.

    Parameters
    ----------
    cube : xarray.DataArray
        Dims ``("time", "band", "y", "x")``, reflectance, masked to land and water that was seen clearly.
    limit : float
        Share of valid values that may be negative. Open water is legitimately so in places.
    dates : int or None
        How many dates, evenly spread, are read of a dask-backed cube; None for all. Cubes in memory are
        checked whole.

    Returns
    -------
    xarray.DataArray
        Dims ``("time", "band")``: share of negative values in 0..1, NaN where there are no valid ones.

    Raises
    ------
    InputError
        If the cube has neither blue nor red.

    Warns
    -----
    ReflectanceWarning
        If a date exceeds the limit, or the median of one lies above 2, as no reflectance does.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> values = np.full((2, 1, 3, 3), 0.05, "float32")
    >>> cube = xr.DataArray(values, dims=("time", "band", "y", "x"), coords={"band": ["B04"]})
    >>> check_reflectance(cube).values.ravel().tolist()
    [0.0, 0.0]
    """
    check_array(cube, "the cube", ("time", "band", "y", "x"))
    check_labels(cube, "band", "the cube")
    bands = [name for name in _DARK_BANDS if name in cube.band.values]
    if not bands:
        raise InputError(
            f"the cube has bands {list(cube.band.values)}; the check needs blue or red ({', '.join(_DARK_BANDS)})"
        )
    part = cube.sel(band=bands)
    if cube.chunks is not None:
        middle = {dim: slice(max(0, cube.sizes[dim] // 2 - 256), cube.sizes[dim] // 2 + 256) for dim in ("y", "x")}
        count = cube.sizes["time"] if dates is None else min(dates, cube.sizes["time"])
        evenly = np.linspace(0, cube.sizes["time"] - 1, count).round().astype(int)
        part = part.isel({"time": evenly, **middle})
    valid = part.notnull().sum(("y", "x"))
    counts = {"negative": part < 0, "impossible": part > _BRIGHTEST}
    shares = xr.Dataset({name: where.sum(("y", "x")) / valid.where(valid > 0) for name, where in counts.items()})
    shares = shares.compute()
    if (shares.impossible > 0.5).any():
        warn_user(ReflectanceWarning(_DIGITAL_NUMBERS))
    share = shares.negative
    worst = share.max("band")
    suspicious = worst > limit
    if suspicious.any():
        warn_user(ReflectanceWarning(_suspicion(worst, suspicious, limit)))
    return share.rename("negative_share")


#: Snow and cloud reach some 1.5 under a low sun.
_BRIGHTEST = 2.0
_DIGITAL_NUMBERS = (
    f"most values of a date lie above {_BRIGHTEST:g}, where reflectance lies in 0..1: these are probably digital "
    "numbers. Open the items with s2koop.load, which scales them, or divide by 10000 (and from processing baseline "
    "04.00 on subtract 0.1 then)"
)
_DARK_BANDS = ("B02", "B04", "BLUE", "RED")


def _suspicion(worst: xr.DataArray, suspicious: xr.DataArray, limit: float) -> str:
    at = int(np.nanargmax(worst.values))
    date = f" ({np.datetime_as_string(worst.time.values[at], 'D')})" if "time" in worst.coords else ""
    return (
        f"{int(suspicious.sum())} of {worst.size} dates checked have more than {limit:.0%} negative values in "
        f"blue or red, the worst{date} {float(worst[at]):.0%}: an offset was probably taken off twice. Look at "
        "cube.boa_offset, and load those items with offset=0.0 if dark ground is then near 0.02 to 0.05"
    )


def flag_haze(
    cube: xr.DataArray,
    *,
    band: str | None = None,
    window: float = 90.0,
    threshold: float = 3.0,
    floor: float = 0.01,
) -> xr.DataArray:
    """Flag values too bright in blue for their place and season: haze and cloud that the classes let through.

    Each value is held against the median of its own pixel within ``window`` days around it. It is flagged if
    it lies above by more than ``threshold`` robust standard deviations (1.4826 times the median absolute
    deviation, at least ``floor``). Haze only brightens, so darker values are left alone. Values with fewer
    than four others in the window are not judged.

    Parameters
    ----------
    cube : xarray.DataArray
        Dims ``("time", "band", "y", "x")``, reflectance, NaN where unusable; lazy or in memory.
    band : str, optional
        The band to judge by. Default: blue (``"B02"`` or ``"BLUE"``), where haze is brightest.
    window : float
        Width of the window in days.
    threshold : float
        Robust standard deviations above the median.
    floor : float
        Least standard deviation in reflectance: below it lies noise, not haze.

    Returns
    -------
    xarray.DataArray
        Dims ``("time", "y", "x")``, bool, True where haze is suspected; ``cube.where(~flag)`` drops it. Lazy
        on a lazy cube, whose time axis is put into one chunk.

    Raises
    ------
    InputError
        If the cube lacks the band, or an option is not positive.

    Notes
    -----
    The identifier of Hampel (1974, J. Am. Stat. Assoc. 69, 383-393), one-sided, on the blue band as in the
    multi-temporal cloud detection of Hagolle et al. (2010, Remote Sens. Environ. 114, 1747-1755). Snow in an
    otherwise green season is flagged too.

    Examples
    --------
    >>> import numpy as np, pandas as pd, xarray as xr
    >>> blue = np.full((7, 1, 1, 1), 0.03, "float32")
    >>> blue[3] = 0.15
    >>> cube = xr.DataArray(
    ...     blue,
    ...     dims=("time", "band", "y", "x"),
    ...     coords={"time": pd.date_range("2020-05-01", periods=7, freq="5D"), "band": ["B02"]},
    ... )
    >>> flag_haze(cube).values.ravel().tolist()
    [False, False, False, True, False, False, False]
    """
    for name, value in (("window", window), ("threshold", threshold), ("floor", floor)):
        if not value > 0:
            raise InputError(f"{name}={value!r} must be positive")
    check_array(cube, "the cube", ("time", "band", "y", "x"))
    check_labels(cube, "band", "the cube")
    check_dates(cube, "the cube")
    present = list(cube.band.values)
    band = band or next((name for name in ("B02", "BLUE") if name in present), None)
    if band not in present:
        raise InputError(
            f"the cube has bands {present}, not {band or 'blue'}; name the band to judge by, such as band='B03'"
        )
    series = cube.sel(band=band, drop=True)
    if series.chunks is not None:
        series = series.chunk(time=-1)
    days = cube.time.values.astype("datetime64[s]").astype(np.float64) / 86400.0
    flag = xr.apply_ufunc(
        bright_outliers,
        series,
        kwargs={"days": days, "window": window, "threshold": threshold, "floor": floor},
        input_core_dims=[["time"]],
        output_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=[bool],
    )
    return flag.transpose("time", "y", "x").rename("haze").assign_attrs(long_name="suspected haze", units="1")


def bright_outliers(
    values: np.ndarray, *, days: np.ndarray, window: float, threshold: float, floor: float
) -> np.ndarray:
    """Hampel's identifier along the last axis, upward only; see :func:`flag_haze`.

    Parameters
    ----------
    values : ndarray, shape (..., time)
        NaN where missing.
    days : ndarray, shape (time,)
        Dates in days, sorted.

    Returns
    -------
    ndarray of bool, shape (..., time)
    """
    values, flag = without_fill(values), np.zeros(values.shape, bool)
    first = np.searchsorted(days, days - window / 2)
    last = np.searchsorted(days, days + window / 2, side="right")
    for i, (start, stop) in enumerate(zip(first, last, strict=True)):
        near = values[..., start:stop]
        middle, count = _median(near)
        spread, _ = _median(np.abs(near - middle[..., None]))
        limit = middle + threshold * np.maximum(1.4826 * spread, floor)
        flag[..., i] = (values[..., i] > limit) & (count >= 5)
    return flag


def _median(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median along the last axis without NaN, and how many values it rests on: sorting puts NaN last."""
    ordered = np.sort(values, axis=-1)
    count = np.isfinite(ordered).sum(axis=-1)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[..., None] // 2, -1)[..., 0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1)[..., None], -1)[..., 0]
    return (low + high) / 2, count
