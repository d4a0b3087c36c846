"""The embedded catalogue: real Sentinel-2 data, written once into the cache as COGs and STAC items."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2koop._cache import cache_dir
from s2koop.catalog._nrt import ATTRIBUTION, LICENSE, Layer, Series, read_series
from s2koop.errors import CacheError, InputError

if TYPE_CHECKING:
    import xarray as xr

#: Part of the folder's name: raise it when what is written changes, and old folders are no longer looked at.
VERSION = 1
_MARKER = "complete.json"
_UNFINISHED = ".unfinished"
_ABANDONED_AFTER = 3600.0  # seconds; writing takes some ten


def sample(
    *,
    bands: str | Iterable[str] | None = None,
    resolution: float | None = 20,
    datetime: Any = None,
    max_cloud: float | None = None,
    **load_options: Any,
) -> xr.DataArray:
    """Open the embedded catalogue as a cube, through `search` and `load`.

    A mountain forest in Romania (22.15 E, 45.20 N, one square kilometre), 140 dates from 2015-08 to 2021-01. Contains
    modified Copernicus Sentinel data 2015-2021, EUPL-1.2, from the Python package ``nrt`` 0.2.0. The first call writes
    it into the cache (some seconds, 20 MB); no network is needed then.

    Parameters
    ----------
    bands : str or iterable of str, optional
        ESA names among B02, B03, B04, B08, B8A, B11; default all.
    resolution : float, optional
        Pixel size in metres: 20 (50 x 50 pixels) or 10 (100 x 100, B8A and B11 resampled).
    datetime : str, date, datetime or pair of these, optional
        Dates to take, as for :func:`s2koop.search`; default all.
    max_cloud : float, optional
        Largest cloud cover, in percent.
    **load_options
        Further options of :func:`s2koop.load`.

    Returns
    -------
    xarray.DataArray
        Lazy cube of surface reflectance, float32, dims ``("time", "band", "y", "x")``; NaN where not seen clearly.

    Raises
    ------
    CacheError
        If the cache cannot be written, or the package ``nrt`` is missing and cannot be fetched.
    InputError
        If an argument is unknown or makes no sense.
    NoItemsError
        If no date is left.

    Examples
    --------
    >>> import s2koop
    >>> cube = s2koop.sample(bands=["B04", "B8A"])
    >>> dict(cube.sizes)
    {'time': 140, 'band': 2, 'y': 50, 'x': 50}
    """
    from s2koop.catalog._search import search
    from s2koop.cube import load

    options = [name for name, p in inspect.signature(load).parameters.items() if p.kind is p.KEYWORD_ONLY]
    if unknown := [name for name in load_options if name not in options]:
        raise InputError(
            f"sample takes no {', '.join(unknown)}; expected datetime, max_cloud, or an option of load: "
            f"{', '.join(options)}"
        )
    found = search("sample", datetime=datetime, max_cloud=max_cloud)
    return load(found, bands=bands, resolution=resolution, **load_options)


def sample_folder() -> Path:
    """Folder of the embedded catalogue, a static STAC collection; written if it is not there yet.

    Returns
    -------
    pathlib.Path
        Holds ``collection.json`` and a folder per item.

    Raises
    ------
    CacheError
        If the cache cannot be written, or the package ``nrt`` is missing and cannot be fetched.

    Examples
    --------
    >>> (sample_folder() / "collection.json").exists()
    True
    """
    folder = cache_dir() / f"sample-v{VERSION}"
    if not _is_complete(folder):
        try:
            _write_beside_and_rename(folder)
        except OSError as error:
            if isinstance(error, CacheError):
                raise
            raise CacheError(
                f"cannot write the sample catalogue into the cache folder {folder.parent} "
                f"({error.strerror or error}); point the environment variable S2KOOP_CACHE at a folder "
                "that can be written and has 50 MB free"
            ) from error
    return folder


def sample_documents() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Items and collections of the embedded catalogue as dicts, hrefs of assets absolute."""
    folder = sample_folder()
    collection = json.loads((folder / "collection.json").read_bytes())
    _make_absolute(collection, folder)
    items = []
    for link in collection["links"]:
        if link["rel"] == "item":
            path = folder / link["href"]
            items.append(json.loads(path.read_bytes()))
            _make_absolute(items[-1], path.parent)
    return items, [collection]


def _make_absolute(document: dict[str, Any], folder: Path) -> None:
    for asset in document["assets"].values():
        asset["href"] = str(folder / asset["href"])


def _is_complete(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / _MARKER).read_bytes())["version"] == VERSION)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write_beside_and_rename(folder: Path) -> None:
    """Write under another name and rename at the end: whoever looks sees all of it or nothing."""
    # stderr: seen in a notebook as in a terminal, and no part of what a script prints as its result
    print(f"s2koop: writing the sample catalogue once into {folder}\n  {ATTRIBUTION} ({LICENSE}).", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    unfinished = folder.with_name(f"{folder.name}{_UNFINISHED}-{uuid.uuid4().hex}")
    unfinished.mkdir()
    try:
        _write(read_series(), unfinished)
        _put_in_place(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _put_in_place(unfinished: Path, folder: Path) -> None:
    """Rename, unless another process was first; what lies there without a marker is broken and gives way."""
    for _ in range(2):
        try:
            unfinished.rename(folder)
            return
        except OSError:
            if _is_complete(folder):
                return
            if not folder.is_dir():
                raise
            broken = folder.with_name(f"{folder.name}{_UNFINISHED}-{uuid.uuid4().hex}")
            folder.rename(broken)
            shutil.rmtree(broken, ignore_errors=True)
    raise CacheError(f"{folder} is being written by something else; remove it and try again")


def _sweep(folder: Path) -> None:
    """Remove what interrupted writers left, once it is too old to belong to one at work."""
    for left in folder.parent.glob(f"{folder.name}{_UNFINISHED}-*"):
        try:
            abandoned = time.time() - left.stat().st_mtime > _ABANDONED_AFTER
        except FileNotFoundError:
            continue
        if abandoned:
            shutil.rmtree(left, ignore_errors=True)


def _write(series: Series, folder: Path) -> None:
    from s2koop.catalog._sample_stac import make_collection

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # GDAL compresses without holding the GIL
        items = list(pool.map(lambda index: _write_date(series, index, folder), range(len(series.dates))))
    _write_cog(folder / "tree_cover_density_2018.tif", series.tree_cover, nodata=255)
    _write_json(folder / "collection.json", make_collection(items, series.tree_cover))
    _write_json(folder / _MARKER, {"version": VERSION, "source": "nrt 0.2.0", "items": len(items)})


def _write_date(series: Series, index: int, folder: Path) -> dict[str, Any]:
    from s2koop.catalog._sample_stac import make_item

    layers = {band: Layer(layer.values[index], layer.corner, layer.resolution) for band, layer in series.layers.items()}
    item = make_item(series.dates[index], layers, layers["SCL"].values)
    place = folder / item["id"]
    place.mkdir()
    for band, layer in layers.items():
        _write_cog(place / f"{band}.tif", layer, nodata=0, dtype="uint8" if band == "SCL" else "uint16")
    _write_json(place / f"{item['id']}.json", item)
    return item


def _write_cog(path: Path, layer: Layer, *, nodata: int, dtype: str = "uint8") -> None:
    import rasterio
    from rasterio.transform import from_origin

    from s2koop.catalog._sample_stac import CRS

    height, width = layer.values.shape
    with rasterio.open(
        path, "w", driver="COG", dtype=dtype, count=1, height=height, width=width, nodata=nodata, crs=CRS,
        transform=from_origin(*layer.corner, layer.resolution, layer.resolution),
        compress="deflate", predictor="yes", blocksize=128, overviews="none",
    ) as file:  # fmt: skip
        file.write(layer.values.astype(dtype, copy=False), 1)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
