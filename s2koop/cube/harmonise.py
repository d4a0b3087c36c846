"""What a STAC item says about its pixels, whatever the provider: grid, scale, offset, missing values, angles.

The offset is the trap. Since processing baseline 04.00 (25 January 2022) the digital numbers of Sentinel-2
carry +1000; some providers take it off again, and their metadata do not always say so. :func:`choose_offset`
holds the one rule, and every item goes through it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np

from s2koop._collector import collector_at_rest
from s2koop.catalog.providers import BANDS, Mission, asset_keys, mission_of
from s2koop.errors import InputError, ReflectanceError, S2koopError

#: What +1000 in the digital numbers means in reflectance.
BASELINE_OFFSET = -0.1
#: The first processing baseline whose digital numbers carry +1000.
OFFSET_BASELINE = (4, 0)

#: Sen2Cor writes AOT and water vapour (cm) times 1000 in every baseline, and some catalogues say otherwise.
_LAYER_SCALE = {"AOT": 1e-3, "WVP": 1e-3, "SCL": 1.0, "QA_PIXEL": 1.0}
_BASELINE_IN_ID = re.compile(r"_N(\d{2})\.?(\d{2})(?:_|$)")
#: Pixels on a side that no file of one scene has; a larger number is a mistake, or meant to fill the memory.
_LONGEST_SIDE = 10**6
#: No place on earth lies as far from any origin, and no pixel is as small.
_FARTHEST, _FINEST = 1e9, 1e-9
#: Additive offsets are a few tenths of reflectance.
_LARGEST_OFFSET = 1e3
_LEVELS = {"L2A": "BOA", "L1C": "TOA"}
_LEVEL_MARKS = {"L2A": ("MSI2A", "MSIL2A", "L2A", "L2SP", "L2SR"), "L1C": ("MSI1C", "MSIL1C", "L1C")}

Bounds = tuple[float, float, float, float]
Affine6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Layer:
    """One asset of an item: where it lies, on what grid, and what its numbers mean.

    ``reflectance = digital number * scale + offset``; ``nodata`` is what the catalogue declares, None if
    nothing.
    """

    key: str
    href: str
    epsg: int
    transform: Affine6
    shape: tuple[int, int]
    scale: float
    offset: float
    nodata: float | None

    @property
    def resolution(self) -> float:
        return abs(self.transform[0])

    @property
    def bounds(self) -> Bounds:
        """Return west, south, east, north in the units of the CRS."""
        xres, _, west, _, yres, north = self.transform
        return west, north + yres * self.shape[0], west + xres * self.shape[1], north


@dataclass(frozen=True)
class Scene:
    """One item, harmonised; numbers that the item does not give are NaN, words are empty."""

    id: str
    time: np.datetime64
    level: str
    platform: str
    baseline: str
    generated: str
    cloud_cover: float
    sun_zenith: float
    sun_azimuth: float
    view_zenith: float
    view_azimuth: float
    boa_offset: float
    mission: str
    layers: Mapping[str, Layer]


def harmonise(
    item: Mapping[str, Any],
    *,
    bands: Iterable[str] | None = None,
    offset: str | float = "auto",
    level: str | None = None,
) -> Scene:
    """Read one item into a :class:`Scene`.

    Parameters
    ----------
    item : mapping
        A STAC item as a plain dict, of STAC 1.0 or 1.1, from any provider; hrefs are absolute.
    bands : iterable of str, optional
        ESA names of the bands and layers wanted; those that the item lacks are left out. Default: all it has.
    offset : {"auto", "metadata"} or float
        See :func:`choose_offset`.
    level : {"L2A", "L1C"}, optional
        Say it where the item does not.

    Returns
    -------
    Scene

    Raises
    ------
    InputError
        If time, CRS, grid or level cannot be read from the item.
    ReflectanceError
        If the offset cannot be decided.
    """
    try:
        return _scene(item, bands, offset, level)
    except S2koopError:
        raise
    except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"item {item['id']!r} has metadata of a wrong kind ({type(error).__name__}: {str(error)[:120]}); tell its "
            "provider, or load with errors='mask' to leave such items out"
        ) from error


def harmonise_all(
    items: Iterable[Mapping[str, Any]], *, bands: Iterable[str], offset: str | float, level: str | None, errors: str
) -> tuple[list[Scene], list[tuple[str, str]]]:
    """Read items, each once; where ``errors`` is ``"mask"``, those that cannot be read are left out.

    Returns
    -------
    scenes : list of Scene
    left_out : list of tuple of str
        Id and reason of each item that was left out.
    """
    scenes, left_out = [], []
    with collector_at_rest():
        for item in _distinct(items):
            try:
                scenes.append(harmonise(item, bands=bands, offset=offset, level=level))
            except (InputError, ReflectanceError) as error:
                if errors != "mask":
                    raise
                left_out.append((str(item["id"]), str(error)))
    return scenes, left_out


def _distinct(items: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Each item once: one that is given twice has the same name and files, whatever they were signed with."""
    found: dict[Any, Mapping[str, Any]] = {}
    for item in items:
        files = tuple(str(asset["href"]).split("?", 1)[0] for asset in item["assets"].values())
        found.setdefault((str(item["id"]), str(item.get("collection")), files), item)
    return found.values()


def _scene(item: Mapping[str, Any], bands: Iterable[str] | None, offset: str | float, level: str | None) -> Scene:
    properties, assets = item["properties"], item["assets"]
    keys = asset_keys(assets)
    wanted = set(keys) if bands is None else set(bands)
    layers = {band: _layer(item, band, key, offset) for band, key in keys.items() if band in wanted}
    offsets = {layer.offset for band, layer in layers.items() if band in BANDS}
    return Scene(
        id=str(item["id"]),
        time=_time(item),
        level=_LEVELS[_level(item, level)],
        platform=str(properties.get("platform", "")).lower(),
        baseline=baseline_text(item),
        generated=str(properties.get("s2:generation_time") or properties.get("processing:datetime") or ""),
        cloud_cover=_number(properties, "eo:cloud_cover"),
        sun_zenith=_sun_zenith(properties),
        sun_azimuth=_number(properties, "view:sun_azimuth", "s2:mean_solar_azimuth"),
        view_zenith=_number(properties, "view:incidence_angle", "view:off_nadir"),
        view_azimuth=_number(properties, "view:azimuth"),
        boa_offset=offsets.pop() if len(offsets) == 1 else math.nan,
        mission=mission_of(assets).name,
        layers=layers,
    )


def choose_offset(item: Mapping[str, Any], key: str, *, offset: str | float = "auto") -> float:
    """Decide the additive offset of one reflectance asset, in reflectance.

    Rule of ``"auto"``, first that holds: 0 where the provider says it took the offset off its pixels
    (``earthsearch:boa_offset_applied``); the offset in the metadata (``raster:bands`` or ``raster:offset``);
    -0.1 from processing baseline 04.00 on, 0 before. The same for L1C, whose offset came with the same
    baseline. Landsat Collection 2 has one offset for all, -0.2.

    Parameters
    ----------
    item : mapping
        The STAC item as a plain dict.
    key : str
        Key of the asset.
    offset : {"auto", "metadata"} or float
        ``"metadata"`` takes what is listed (0 if nothing is) and trusts no flag; a number is taken as it is.

    Returns
    -------
    float

    Raises
    ------
    ReflectanceError
        If there is neither flag, nor metadata, nor processing baseline.

    Examples
    --------
    >>> red = {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}
    >>> flag = {"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}
    >>> choose_offset({"id": "a", "properties": flag, "assets": {"red": red}}, "red")
    0.0
    >>> baseline = {"s2:processing_baseline": "04.00"}
    >>> choose_offset({"id": "b", "properties": baseline, "assets": {"B04": {}}}, "B04")
    -0.1
    """
    if not isinstance(offset, str):
        return float(offset)
    listed = _raster(item["assets"][key]).get("offset")
    if offset == "metadata":
        return float(listed or 0.0)
    if any(name.endswith("boa_offset_applied") and value for name, value in item["properties"].items()):
        return 0.0
    if listed is not None:
        return float(listed)
    if (usual := mission_of(item["assets"]).offset) is not None:
        return usual
    baseline = processing_baseline(item)
    if baseline is None:
        raise ReflectanceError(
            f"item {item['id']!r} gives neither an offset for asset {key!r} nor a processing baseline, so its "
            "reflectance would be a guess; look up the product and say offset=0.0 (digital numbers without "
            "+1000) or offset=-0.1 (baseline 04.00 and later), or offset='metadata' to take 0 where nothing "
            "is listed"
        )
    return BASELINE_OFFSET if baseline >= OFFSET_BASELINE else 0.0


def processing_baseline(item: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the processing baseline as two numbers, from properties or product name; None if unknown.

    Examples
    --------
    >>> processing_baseline({"id": "x", "properties": {"s2:processing_baseline": "05.09"}})
    (5, 9)
    >>> processing_baseline({"id": "S2B_MSIL2A_20200705T101559_N9999_R065_T32TMT", "properties": {}})
    (99, 99)
    """
    text = baseline_text(item)
    return (int(text[:2]), int(text[3:])) if text else None


def baseline_text(item: Mapping[str, Any]) -> str:
    """Return the processing baseline as ``"05.09"``, or an empty text if it is unknown."""
    properties = item["properties"]
    for name in ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline"):
        found = re.fullmatch(r"N?(\d{1,2})\.?(\d{2})", str(properties.get(name, "")).strip())
        if found:
            return f"{int(found[1]):02d}.{found[2]}"
    for name in _product_names(item):
        found = _BASELINE_IN_ID.search(name)
        if found:
            return f"{found[1]}.{found[2]}"
    return ""


def _level(item: Mapping[str, Any], said: str | None) -> str:
    if said == "L1C" and mission_of(item["assets"]).name == "landsat":
        raise InputError("level='L1C' is of Sentinel-2; Level 1 of Landsat holds no reflectance that s2koop reads")
    return said or item_level(item)


def item_level(item: Mapping[str, Any]) -> str:
    """Return ``"L2A"`` or ``"L1C"``, from product type, names of product and collection, or an SCL asset."""
    properties = item["properties"]
    hints = (
        properties.get("s2:product_type"),
        properties.get("product:type"),
        properties.get("landsat:correction"),
        *_product_names(item),
        item.get("collection"),
    )
    for hint in hints:
        text = str(hint or "").upper()
        for level, marks in _LEVEL_MARKS.items():
            if any(mark in text for mark in marks):
                return level
    if mission_of(item["assets"]).name == "landsat":
        raise InputError(
            f"item {item['id']!r} is Landsat, but not of Level 2 (no L2SP or L2SR in its name), so its numbers are no "
            "surface reflectance; take the collection landsat-c2-l2"
        )
    if "SCL" in asset_keys(item["assets"]):
        return "L2A"
    raise InputError(
        f"item {item['id']!r} does not say whether it is L2A or L1C (no product type, no such word in its name "
        "or its collection, no SCL); say level='L2A' or level='L1C'"
    )


def to_reflectance(numbers: np.ndarray, scale: float, offset: float) -> np.ndarray:
    """Turn digital numbers into float32 reflectance, correctly rounded.

    The offset is applied in digital numbers, where it is a whole number, and the scale as a division by
    10000, which float32 holds exactly, so that ``DN 1806`` at offset -0.1 is the float32 nearest to 0.0806.

    Examples
    --------
    >>> to_reflectance(np.array([1806, 1000], "uint16"), 1e-4, -0.1)
    array([0.0806, 0.    ], dtype=float32)
    """
    shift = np.float32(round(offset / scale, 6))
    return (numbers.astype(np.float32) + shift) / np.float32(1.0 / scale)


def missing_pixels(numbers: np.ndarray, *declared: float | None) -> np.ndarray:
    """Tell which digital numbers stand for no observation.

    Besides the declared values: 0 in unsigned numbers (ESA's no-data), and in signed or floating numbers NaN,
    infinity, anything from -9999 down (Theia writes -10000) and anything from 1e10 up (others write 1e20):
    none can be reflectance.

    Examples
    --------
    >>> missing_pixels(np.array([0, 120], "uint16"), None).tolist()
    [True, False]
    >>> missing_pixels(np.array([-10000, 0, 120], "int16"), None).tolist()
    [True, False, False]
    """
    if numbers.dtype.kind == "u":
        missing = numbers == 0
    elif numbers.dtype.kind == "f":
        low, high = np.float32(-9999), np.float32(1e10)  # typed: half precision holds neither
        missing = ~np.isfinite(numbers) | (numbers <= low) | (numbers >= high)
    else:
        missing = numbers <= -9999
    for value in declared:
        if value is not None and not math.isnan(value):
            missing |= numbers == value
    return missing


def without_fill(values: np.ndarray) -> np.ndarray:
    """Floating point values with NaN where `missing_pixels` finds no observation, in single precision at least.

    Examples
    --------
    >>> without_fill(np.array([0.1, -9999.0, 1e20, np.inf]))
    array([0.1, nan, nan, nan])
    """
    values = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    missing = missing_pixels(values)
    return np.where(missing, values.dtype.type(np.nan), values) if missing.any() else values


def _layer(item: Mapping[str, Any], band: str, key: str, offset: str | float) -> Layer:
    asset = item["assets"][key]
    raster = _raster(asset)
    transform, shape = _grid(item, asset, band)
    reflectance = band in BANDS
    shift = choose_offset(item, key, offset=offset) if reflectance else 0.0
    if not abs(shift) < _LARGEST_OFFSET:
        raise InputError(f"item {item['id']!r} gives an offset of {shift:g} for asset {key!r}; expected such as -0.1")
    return Layer(
        key=key,
        href=str(asset["href"]),
        epsg=_epsg(item, asset, key),
        transform=transform,
        shape=shape,
        scale=_scale(raster, mission_of(item["assets"])) if reflectance else _LAYER_SCALE[band],
        offset=shift,
        nodata=_nodata(asset, raster),
    )


def _raster(asset: Mapping[str, Any]) -> dict[str, Any]:
    """Scale, offset, nodata and data type, wherever STAC 1.0 or 1.1 puts them: asset or band."""
    found: dict[str, Any] = {}
    for band in (*(asset.get("bands") or ())[:1], *(asset.get("raster:bands") or ())[:1], asset):
        for name in ("scale", "offset", "nodata", "data_type"):
            value = band.get(f"raster:{name}", band.get(name))
            if value is not None:
                found[name] = value
    return found


def _scale(raster: Mapping[str, Any], mission: Mission) -> float:
    if "scale" in raster:
        scale = float(raster["scale"])
        if not 1e-12 < scale < 1e6:
            raise InputError(f"a scale of {scale:g} makes no reflectance; expected such as 0.0001")
        return scale
    return 1.0 if str(raster.get("data_type", "")).startswith("float") else mission.scale


def _nodata(asset: Mapping[str, Any], raster: Mapping[str, Any]) -> float | None:
    value = raster.get("nodata", asset.get("file:nodata"))
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else float(value)  # "nan" and "inf" are STAC's words for the floats


def _epsg(item: Mapping[str, Any], asset: Mapping[str, Any], key: str) -> int:
    """EPSG code of an asset: as ``proj:code`` (which pystac writes even for old items) or ``proj:epsg``."""
    for holder in (asset, item["properties"]):
        for name in ("proj:code", "proj:epsg"):
            found = re.fullmatch(r"(?:EPSG:)?(\d+)", str(holder.get(name, "")).upper())
            if found and _is_known(found[1]):
                return int(found[1])
    raise InputError(
        f"item {item['id']!r} gives no EPSG code for asset {key!r} (neither as proj:code nor as proj:epsg); "
        "s2koop needs items with the projection extension"
    )


@lru_cache(maxsize=256)
def _is_known(code: str) -> bool:
    """Tell whether there is a CRS of an EPSG code, such as one of a catalogue's own making."""
    import pyproj

    try:
        return len(code) <= 6 and pyproj.CRS.from_epsg(int(code)) is not None
    except pyproj.exceptions.CRSError:
        return False


def _grid(item: Mapping[str, Any], asset: Mapping[str, Any], band: str) -> tuple[Affine6, tuple[int, int]]:
    """Transform and shape of an asset; where only a box is given, from the box and the pixel size."""
    properties = item["properties"]
    shape = asset.get("proj:shape") or properties.get("proj:shape")
    transform = asset.get("proj:transform") or properties.get("proj:transform")
    if not (transform and shape):
        transform, shape = _grid_of_box(item, asset, band, shape)
    a, b, c, d, e, f = (float(value) for value in transform[:6])
    if not all(abs(value) < _FARTHEST for value in (a, b, c, d, e, f)) or 0 < abs(a) < _FINEST or 0 < abs(e) < _FINEST:
        raise InputError(f"item {item['id']!r} gives a grid of band {band} that is no grid (transform {transform[:6]})")
    if b or d or a <= 0 or e >= 0:
        raise InputError(
            f"item {item['id']!r} is rotated or not north-up (transform {transform[:6]}); "
            "s2koop reads north-up rasters only: warp it first"
        )
    height, width = (int(side) for side in shape)
    if not (0 < height <= _LONGEST_SIDE and 0 < width <= _LONGEST_SIDE):
        raise InputError(
            f"item {item['id']!r} says that band {band} has {height} x {width} pixels; expected 1 to {_LONGEST_SIDE:,} "
            "on a side"
        )
    return (a, 0.0, c, 0.0, e, f), (height, width)


def _grid_of_box(item: Mapping[str, Any], asset: Mapping[str, Any], band: str, shape: Any) -> tuple[Any, Any]:
    box = asset.get("proj:bbox") or item["properties"].get("proj:bbox")
    if not box:
        raise InputError(
            f"item {item['id']!r} gives no grid for band {band} (neither proj:shape with proj:transform nor "
            "proj:bbox); s2koop needs items with the projection extension"
        )
    west, south, east, north = (float(value) for value in box)
    if shape:
        xres, yres = (east - west) / shape[1], (north - south) / shape[0]
    else:
        xres = yres = float(asset.get("gsd") or BANDS.get(band, 20))
        shape = round((north - south) / yres), round((east - west) / xres)
    return (xres, 0.0, west, 0.0, -yres, north), shape


def _time(item: Mapping[str, Any]) -> np.datetime64:
    """Acquisition in UTC; an item with a range only is dated by its start."""
    properties = item["properties"]
    value = properties.get("datetime") or properties.get("start_datetime")
    if value is None:
        raise InputError(f"item {item['id']!r} has no datetime")
    stamp = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if stamp.tzinfo is not None:
        stamp = stamp.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(stamp, "ns")


def _sun_zenith(properties: Mapping[str, Any]) -> float:
    zenith = _number(properties, "s2:mean_solar_zenith", "view:sun_zenith")
    return 90.0 - _number(properties, "view:sun_elevation") if math.isnan(zenith) else zenith


def _number(properties: Mapping[str, Any], *names: str) -> float:
    for name in names:
        if properties.get(name) is not None:
            return float(properties[name])
    return math.nan


def _product_names(item: Mapping[str, Any]) -> list[str]:
    properties = item["properties"]
    names = (
        properties.get("s2:product_uri"),
        properties.get("sentinel:product_id"),
        properties.get("title"),
        item["id"],
    )
    return [str(name).removesuffix(".SAFE") for name in names if name]
