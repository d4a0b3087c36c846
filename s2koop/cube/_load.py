"""From STAC items to a lazy cube of reflectance: ``s2koop.load``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import xarray as xr

from s2koop._collector import collector_at_rest
from s2koop._memory import LARGEST_READ, block_bytes
from s2koop._numbers import whole
from s2koop._redact import holds_secret
from s2koop._skipped import Skip, to_text
from s2koop._version import __version__
from s2koop._warn import warn_user
from s2koop.catalog._checks import check_bbox, is_number
from s2koop.catalog._intake import summary_of
from s2koop.catalog.providers import CONNECTIONS, Mission, asset_keys, mission_of, provider_of_bucket
from s2koop.cube import quality, sensors
from s2koop.cube._grid import Grid, common_crs, make_grid, middle_longitude, parse_crs, touching
from s2koop.cube._items import plain_items
from s2koop.cube._label import label
from s2koop.cube._reader import Reading, settings
from s2koop.cube._sources import Table, source_table
from s2koop.cube.harmonise import Bounds, Scene, harmonise_all
from s2koop.errors import InputError, MaskedItemsWarning, NoItemsError

Chunks = tuple[int, int, int, int]

_DIMS = ("time", "band", "y", "x")
_BLOCK = 1024  # pixels: two by two of the blocks that COGs of Sentinel-2 are written in
_ENGINES = ("stackstac", "odc-stac")


def load(
    items: Any,
    *,
    bands: str | Iterable[str] | None = None,
    resolution: float | None = None,
    bbox: Sequence[float] | None = None,
    crs: Any = None,
    chunks: str | int | Mapping[str, int] | None = None,
    mask: str | Iterable[int | str] | None = "scl",
    offset: str | float = "auto",
    level: str | None = None,
    groupby: str | None = "solar_day",
    resampling: str = "nearest",
    errors: str = "raise",
    tries: int = 4,
    connections: int | None = None,
    gdal: Mapping[str, Any] | None = None,
    engine: str = "stackstac",
) -> xr.DataArray:
    """Open STAC items as a lazy cube of reflectance; no pixel is read until it is needed.

    Parameters
    ----------
    items : Items, pystac.ItemCollection, pystac_client.ItemSearch, pystac.Item, dict, or list of these
        What :func:`s2koop.search` returns, or the like. Every decision is taken from the items themselves.
    bands : str or iterable of str, optional
        ESA names (``"B04"``) or common names (``"red"``), in the order wanted; ``"SCL"``, ``"AOT"`` and
        ``"WVP"`` too (class number, optical thickness, centimetres; these are never masked). Landsat has colours
        (``"RED"``, ``"SWIR1"``) and ``"QA_PIXEL"``. Default: all reflectance bands that any item holds. A date that
        lacks a band is NaN there.
    resolution : float, optional
        Pixel size in units of the CRS. Default: that of the finest asked band.
    bbox : sequence of float, optional
        West, south, east, north in degrees; a point gives the pixel that holds it. The cube covers what lies in it
        and in the items, in whole pixels. Default: the union of the items.
    crs : int, str or pyproj.CRS, optional
        CRS to warp to. Default: that of the items, which then must be one.
    chunks : None, "time", int or dict, optional
        None: one date, one band, 1024 x 1024 pixels. ``"time"``: all dates and bands in one chunk of 512 x
        512 pixels or fewer, what pixel-wise models want. An int is the spatial size; a dict names sizes of
        dims, -1 for the whole.
    mask : {"scl"}, None, or iterable of int or str
        Scene classes to keep, by number or name; ``"scl"`` keeps vegetation, bare soil, water and
        unclassified. L1C has no scene classes, and ``"scl"`` leaves it as it is. Those of Landsat follow from
        QA_PIXEL. See :data:`s2koop.cube.SCL_CLASSES`.
    offset : {"auto", "metadata"} or float
        Additive offset in reflectance. ``"auto"`` follows flag, metadata and processing baseline, item by
        item (:func:`s2koop.cube.harmonise.choose_offset`); ``"metadata"`` takes what is listed; a number is
        taken as it is.
    level : {"L2A", "L1C"}, optional
        Needed only where the items do not say it.
    groupby : {"solar_day"} or None
        ``"solar_day"`` lays the items of one local day into one date. Within a day the newest processing
        baseline lies on top, then the newest product; each pixel comes from the first item that has seen it.
        None keeps each item apart, and times may repeat.
    resampling : str
        How pixels are resampled where the grid of a file is not that of the cube: ``"nearest"``,
        ``"average"``, ``"bilinear"``, ``"cubic"`` and what else rasterio names. SCL is always taken nearest.
    errors : {"raise", "mask"}
        What to do when a file cannot be read: raise :class:`~s2koop.errors.AssetError`, or leave NaN and warn
        once per item. Items whose metadata cannot be read are refused, or left out and listed, as JSON, in
        ``attrs["skipped"]``, with what :func:`s2koop.search` left out before.
    tries : int
        How often a remote read is tried, with doubling waits.
    connections : int, optional
        How many files one process reads from the network at once, whatever the threads that compute. Default: 16, and
        for CDSE the 4 that it allows; each worker of a cluster is a process.
    gdal : mapping, optional
        More GDAL settings, such as ``{"AWS_REQUEST_PAYER": "requester"}``. They travel with the graph, so
        keys, tokens and passwords are refused: set those in the environment of the workers.
    engine : {"stackstac", "odc-stac"}
        What builds the graph. Pixels, coordinates and errors are the same. ``"odc-stac"`` is kept up by its makers
        and needs ``pip install 's2koop[odc]'``; it writes out every task, so give it chunks of whole series.

    Returns
    -------
    xarray.DataArray
        Dims ``("time", "band", "y", "x")``, float32 reflectance in 0..1, NaN where nothing usable was seen,
        dask-backed. Coordinates per date: id, platform, processing_baseline, cloud_cover (%), sun and view
        angles (degrees), boa_offset (what was added; NaN where bands or items of a date differ). Words that
        differ within a date are joined with ``"+"``, numbers are averaged. ``attrs``: level ("BOA" or "TOA"),
        sensor, units, history.

    Raises
    ------
    NoItemsError
        If there are no items, or none touches ``bbox``.
    ReflectanceError
        If the offset of an item cannot be decided.
    MissingDependencyError
        If ``engine="odc-stac"`` is not installed.
    InputError
        If an argument makes no sense, the items lie in several CRSs and ``crs`` is not given, a pixel would be
        larger than all items, or there would be more than a hundred times as many as in the files.

    Warns
    -----
    SparseCubeWarning
        If the items lie so far apart that most of the cube is empty.

    Notes
    -----
    Reflectance is checked by :func:`s2koop.cube.check_reflectance`, which reads pixels and is therefore yours
    to call. Items that hold none of the asked bands are left out.

    Files are opened for each read and closed at once, so memory is that of the chunks; chunks of 512 pixels and
    its multiples decode each block of a COG once.
    Over the network the files of a chunk are read several at once; chunks of one date and one band are as many at once
    as dask has threads.

    Examples
    --------
    >>> import s2koop
    >>> items = s2koop.search("sample", datetime="2018")  # doctest: +SKIP
    >>> cube = s2koop.load(items, bands=["red", "nir"], resolution=20, chunks="time")  # doctest: +SKIP
    >>> s2koop.load([])
    Traceback (most recent call last):
    ...
    s2koop.errors.NoItemsError: there are no items to load; ...
    """
    _check_choices(errors=errors, groupby=groupby, level=level, engine=engine)
    offset, tries = _checked_offset(offset), whole("tries", tries, least=1)
    connections = None if connections is None else whole("connections", connections, least=1)
    _check_gdal(gdal)
    method = _resampling(resampling)
    keep = quality.usable_classes(mask)
    box = None if bbox is None else cast("Bounds", tuple(check_bbox(bbox)))
    target = None if crs is None else parse_crs(crs)
    build = _engine(engine)
    plain = plain_items(items)
    if not plain:
        raise NoItemsError("there are no items to load; widen the search (bbox, datetime, max_cloud)")

    mission = _one_mission(plain)
    names = _asked_bands(bands, plain, mission)
    needed = list(dict.fromkeys([*names, mission.classes])) if keep else names
    scenes, unreadable = harmonise_all(plain, bands=needed, offset=offset, level=level, errors=errors)
    left_out = _left_out(items, unreadable)
    scenes = [scene for scene in scenes if any(name in scene.layers for name in names)]
    if not scenes:
        raise NoItemsError(f"of {len(plain)} items none can be read: {unreadable[0][1]}")
    scenes = scenes if box is None else touching(scenes, box)
    level_name = _one_level(scenes)
    keep = _mask_of_level(keep, mask, level_name)
    if keep:
        _check_classes(scenes, mission)
    grid = make_grid(scenes, names, common_crs(scenes) if target is None else target, resolution, box)
    days = group_days(scenes, grid) if groupby else [[scene] for scene in _by_time(scenes)]

    # a token of its own makes a load warn anew; without warnings, equal loads keep equal names in the graph
    token = uuid4().hex if errors == "mask" else ""
    how = Reading(grid, method, errors, tries, settings(gdal), token, connections or _connections_of(scenes))

    def stack(bands: Sequence[str], *, chunks: Chunks) -> Any:
        return build(source_table(days, bands, grid), how, chunks)

    with collector_at_rest():
        data = _masked(stack, names, mission, keep, _chunk_sizes(chunks, len(days), len(names), grid))
    what = f"{len(scenes)} items, {len(days)} dates, mask={mask!r}, offset={offset!r}"
    cube = label(data, days, names, grid, level_name, f"s2koop {__version__} load: {what}")
    return cube.assign_attrs(skipped=to_text(left_out)) if left_out else cube


def _connections_of(scenes: Iterable[Scene]) -> int:
    """As many as the least generous provider of the files allows."""
    places = {urlsplit(next(iter(scene.layers.values())).href)[:2] for scene in scenes}
    known = [provider_of_bucket(bucket) for scheme, bucket in places if scheme == "s3"]
    return min([CONNECTIONS, *(provider.connections for provider in known if provider is not None)])


def _left_out(items: Any, unreadable: Sequence[tuple[str, str]]) -> list[Skip]:
    """What the search left out, and what this load does, of which it warns."""
    if unreadable:
        entries = [{"id": name, "reason": reason} for name, reason in unreadable]
        warn_user(MaskedItemsWarning(f"{summary_of(entries)} (errors='mask')"))
    searched = [(entry["id"], entry["reason"]) for entry in getattr(items, "skipped", ())]
    return [Skip(name, "", reason) for name, reason in (*searched, *unreadable)]


def _engine(name: str) -> Callable[[Table, Reading, Chunks], Any]:
    """Import what builds a graph, which costs time and may be missing."""
    if name == "odc-stac":
        from s2koop.cube import _odc

        _odc.check_installed()
        return _odc.stack
    from s2koop.cube import _stackstac

    return _stackstac.stack


def _by_time(scenes: Iterable[Scene]) -> list[Scene]:
    return sorted(scenes, key=lambda scene: (scene.time, scene.id))


def group_days(scenes: Sequence[Scene], grid: Grid) -> list[list[Scene]]:
    """Group scenes by solar day, in time; within a day, the one to lie on top comes first.

    The day is that of the longitude at the middle of the cube, one for all scenes, so that a pass over the
    date line, or two tiles of one pass, are never torn apart.
    """
    shift = np.timedelta64(round(middle_longitude(grid) * 240), "s")  # the sun takes 240 s for a degree
    days: dict[np.datetime64, list[Scene]] = {}
    for scene in _by_time(scenes):
        days.setdefault((scene.time + shift).astype("datetime64[D]"), []).append(scene)
    ordered = [sorted(day, key=lambda s: (s.baseline, s.generated), reverse=True) for day in days.values()]
    return sorted(ordered, key=lambda day: day[0].time)


def _check_choices(*, errors: str, groupby: str | None, level: str | None, engine: str) -> None:
    _one_of("errors", errors, ("raise", "mask"))
    _one_of("groupby", groupby, ("solar_day", None))
    _one_of("level", level, ("L2A", "L1C", None))
    _one_of("engine", engine, _ENGINES)


def _checked_offset(offset: str | float) -> str | float:
    if isinstance(offset, str) or not is_number(offset):
        _one_of("offset", offset, ("auto", "metadata"), "a number in reflectance such as 0.0 or -0.1")
        return offset
    if not abs(offset) <= 1:
        raise InputError(f"offset={offset!r} must be in reflectance: -0.1, not -1000; or 'auto', or 'metadata'")
    return float(offset)


def _check_gdal(gdal: Any) -> None:
    if gdal is not None and not isinstance(gdal, Mapping):
        raise InputError(
            f"gdal is a {type(gdal).__name__} and no mapping; expected names and values such as "
            "{'GDAL_HTTP_TIMEOUT': 60}"
        )
    for name, value in (gdal or {}).items():
        if holds_secret(str(name), value):
            raise InputError(
                f"gdal holds {name}, a secret that would travel with the graph of the cube and lie in every copy of "
                "it; leave it out and set it as an environment variable of the workers, where GDAL finds it"
            )


def _one_of(name: str, value: object, allowed: Sequence[object], other: str = "") -> None:
    if value not in allowed:
        listed = ", ".join(map(repr, allowed)) + (f", or {other}" if other else "")
        raise InputError(f"{name}={value!r} is unknown; expected {listed}")


def _resampling(name: str) -> Any:
    from rasterio.enums import Resampling

    allowed = [method.name for method in Resampling if method.name != "gauss"]
    _one_of("resampling", name, allowed)
    return Resampling[name]


def _one_mission(items: Sequence[Mapping[str, Any]]) -> Mission:
    found = {mission.name: mission for mission in (mission_of(item["assets"]) for item in items if item["assets"])}
    if not found:
        raise InputError("the items hold no band of Sentinel-2 or Landsat that s2koop knows from its providers")
    if len(found) > 1:
        raise InputError(f"the items are of {' and '.join(sorted(found))}, whose bands differ; load each by itself")
    return next(iter(found.values()))


def _asked_bands(bands: str | Iterable[str] | None, items: Sequence[Mapping[str, Any]], mission: Mission) -> list[str]:
    held = {band for item in items for band in asset_keys(item["assets"])}
    order = [band for band in (*mission.bands, *mission.layers) if band in held]
    if bands is not None:
        return sensors.band_names(bands, available=order)
    found = [band for band in order if band in mission.bands]
    if not found:
        raise InputError(f"the items hold {', '.join(order)} and no band of reflectance; name what to load in bands=")
    return found


def _mask_of_level(keep: tuple[int, ...] | None, mask: Any, level: str) -> tuple[int, ...] | None:
    """The default mask passes over L1C, which has no scene classes; one asked for by class does not."""
    return None if isinstance(mask, str) and mask.lower() == "scl" and level == "TOA" else keep


def _one_level(scenes: Sequence[Scene]) -> str:
    levels = sorted({scene.level for scene in scenes})
    if len(levels) > 1:
        raise InputError("the items mix L1C (TOA) and L2A (BOA); load each level by itself")
    return levels[0]


def _check_classes(scenes: Sequence[Scene], mission: Mission) -> None:
    lacking = [scene.id for scene in scenes if mission.classes not in scene.layers]
    if lacking:
        raise InputError(
            f"mask needs scene classes, and {len(lacking)} of {len(scenes)} items have no {mission.classes} "
            f"(first: {lacking[0]!r}); say mask=None, or leave those items out"
        )


def _chunk_sizes(chunks: Any, dates: int, bands: int, grid: Grid) -> Chunks:
    """Chunk sizes of the four dims; -1 has been replaced by the length."""
    full = {"time": dates, "band": bands, "y": grid.height, "x": grid.width}
    sizes = {"time": 1, "band": 1, "y": _BLOCK, "x": _BLOCK}
    if isinstance(chunks, str):
        _one_of("chunks", chunks, ("time", None), "a size or a dict of sizes")
        side = _contiguous_side(dates, bands)
        sizes = {"time": dates, "band": bands, "y": side, "x": side}
    elif isinstance(chunks, Mapping):
        unknown = [dim for dim in chunks if dim not in full]
        if unknown:
            raise InputError(f"chunks names {unknown}; expected some of {list(full)}")
        sizes.update(chunks)
    elif chunks is not None:
        sizes.update(y=chunks, x=chunks)
    for dim, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < -1 or size == 0:
            raise InputError(
                f"chunks[{dim!r}]={size!r} must be a whole number of pixels, bands or dates, or -1 for all"
            )
    time, band, y, x = (full[dim] if sizes[dim] == -1 else min(int(sizes[dim]), full[dim]) for dim in _DIMS)
    return time, band, y, x


def _contiguous_side(dates: int, bands: int) -> int:
    """Side of a time-contiguous chunk: a COG block of 512 where it is no more than a kernel's block, else 256 or less.

    Sides under 512 decode a block several times, so they are taken only for memory's sake.
    """
    column = dates * bands * 4
    if column * 512**2 <= block_bytes():
        return 512
    side, budget = 256, block_bytes(LARGEST_READ)
    while side > 32 and column * side**2 > budget:
        side //= 2
    return side


def _masked(
    stack: Callable[..., Any], names: Sequence[str], mission: Mission, keep: tuple[int, ...] | None, chunks: Chunks
) -> Any:
    """Stack the bands and, lazily, drop the pixels of unusable classes; layers are never masked."""
    import dask.array as da

    time, band, y, x = chunks
    if keep is None:
        return stack(names, chunks=chunks)
    spectral = [name for name in names if name in mission.bands]
    layers = [name for name in names if name not in mission.bands]
    parts = []
    if spectral:
        values = stack(spectral, chunks=(time, min(band, len(spectral)), y, x))
        classes = stack([mission.classes], chunks=(time, 1, y, x))
        parts.append(
            da.blockwise(
                quality.keep_classes,
                "tbyx",
                values,
                "tbyx",
                classes,
                "tzyx",  # one class for all bands: z is summed over its only block
                concatenate=True,
                keep=keep,
                bits=mission.classes == "QA_PIXEL",
                dtype=np.float32,
                meta=values._meta,
            )
        )
    if layers:
        parts.append(stack(layers, chunks=(time, 1, y, x)))
    if len(parts) == 1:
        return parts[0]
    order = [(spectral + layers).index(name) for name in names]
    return da.concatenate(parts, axis=1)[:, order].rechunk({1: band})
