"""Reads one window of one band and solar day: opens late, signs late, tries again, closes at once.

A reader that closes after each read keeps the memory of GDAL out of the way of the cube: datasets left open,
one per asset and thread, hold three times the memory of the pixels. Every read opens its own handle, so
threads share nothing. Nothing here knows what builds the graph: each engine brings sources, a
:class:`Reading` and a window.
"""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from s2koop import _skipped
from s2koop._redact import HIDDEN, bare_address, redact_logs, redacted
from s2koop.catalog._credentials import storage_settings
from s2koop.catalog.providers import CONNECTIONS, provider_of_bucket
from s2koop.cube._grid import Grid, overlap
from s2koop.cube.harmonise import Bounds, missing_pixels, to_reflectance
from s2koop.errors import AssetError, MaskedItemsWarning

#: Settings for remote COGs. A user's environment variable of the same name wins.
GDAL_SETTINGS: Mapping[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no look around for side-car files
    "GDAL_CACHEMAX": 64,  # megabytes; the default is 5 % of the machine, in every process
    "VSI_CACHE": "FALSE",
    "GTIFF_USE_DEFER_STRILE_LOADING": "NO",  # an index that cannot be read later on would pass for a file of gaps
    "GDAL_HTTP_MAX_RETRY": 2,  # bounded: our own retries come on top
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_TIMEOUT": 30,  # GDAL knows no limit by default and waits for ever on a stalled server
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_MULTIRANGE": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "CPL_VSIL_CURL_CACHE_SIZE": 64 * 2**20,  # headers of reopened files come from here
}
_DENIED = re.compile(
    r"response code: 40[13]|permission denied|access ?denied|credential|AccessKeyId|SignatureDoes", re.IGNORECASE
)
#: Settings that say how files are fetched, and nothing of their values.
_OF_TRANSPORT = ("GDAL_HTTP_", "GDAL_CACHEMAX", "GDAL_DISABLE_READDIR", "GTIFF_USE_", "CPL_", "VSI_", "AWS_")
#: Seconds before the second try; doubled before each further one.
FIRST_WAIT = 0.5
#: Pixels by which GDAL may approximate a warp; its default of 0.125 moves edges with the chunks, and it
#: refuses 0.
_TOLERANCE = 1e-9
#: Pixels of a block of a file, which is unpacked whole: more than those of a tile of Sentinel-2 in one piece.
_LARGEST_BLOCK = 2**28
#: Pixels by which interpolating kernels are moved: where centres coincide they meet ties, which rounding would
#: break otherwise in one chunk than in another.
_NUDGE = 1e-6
_INTERPOLATING = ("bilinear", "cubic", "cubic_spline", "lanczos")

_SIGNED_HOST = ".blob.core.windows.net"
redact_logs()


class Meaning(NamedTuple):
    """What the digital numbers of a file stand for, and whether they are classes, which have no mean."""

    scale: float
    offset: float
    nodata: float | None
    classes: bool


class Source(NamedTuple):
    """One file behind a band of a date: where it lies, in files and on the grid, and what its numbers mean.

    The files of an item share their folder, and items their boxes and meanings: a graph holds each of these once.
    """

    item: str
    folder: str
    name: str
    box: Bounds
    meaning: Meaning

    @property
    def href(self) -> str:
        return self.folder + self.name

    def __repr__(self) -> str:
        return f"Source({self.item!r}, {bare_address(self.href)!r})"


def settings(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """GDAL settings of a load: ours, less what the environment says already, and those of the caller."""
    ours = {name: value for name, value in GDAL_SETTINGS.items() if name not in os.environ}
    return ours | dict(extra or {})


@dataclass(frozen=True)
class Reading:
    """How the files of a load are read: onto which grid, by what means, and what happens when one cannot be.

    ``gdal`` are all settings of GDAL (see :func:`settings`); ``token`` tells loads apart that warn; ``connections`` are
    how many files one process reads from the network at once.
    """

    grid: Grid
    resampling: Any
    errors: str
    tries: int
    gdal: Mapping[str, Any]
    token: str = ""
    connections: int = CONNECTIONS

    def holds_any(self, sources: Iterable[Source], window: Any) -> bool:
        """Whether any of the sources may hold a pixel of a window."""
        box = self._box(window)
        return any(overlap(source.box, box) for source in sources)

    def read(self, sources: Iterable[Source], window: Any) -> np.ndarray:
        """Read a window of the grid as float32: the first valid pixel of the sources, NaN elsewhere.

        The scale and offset of each source are applied here, as it is read: the items of one day may differ in
        offset, and no raw copy of the cube is held beside the float32 one.
        """
        result = np.full((int(window.height), int(window.width)), np.nan, np.float32)
        box = self._box(window)
        for source in sources:
            if not overlap(source.box, box):
                continue
            values = self._read_source(source, window)
            if values is not None:
                result = np.where(np.isnan(result), values, result)
            if not np.isnan(result).any():
                break
        return result

    def _box(self, window: Any) -> Bounds:
        """Bounds of a window and a pixel around it, since boxes of warped files are no more exact than that."""
        west, north, size = self.grid.west, self.grid.north, self.grid.resolution
        left, right = window.col_off - 1, window.col_off + window.width + 1
        top, bottom = window.row_off - 1, window.row_off + window.height + 1
        return west + left * size, north - bottom * size, west + right * size, north - top * size

    def _read_source(self, source: Source, window: Any) -> np.ndarray | None:
        try:
            return read_with_retries(source, self, window)
        except AssetError as error:
            if self.errors == "raise":
                raise AssetError(f"{error}. Or load with errors='mask' to leave out what cannot be read") from None
            self._skip(source, error)
            return None

    def _skip(self, source: Source, error: AssetError) -> None:
        """Note what is missing, and warn once for each item of a load, however many chunks it is missing from."""
        if _skipped.note(self.token, _skipped.Skip(source.item, bare_address(source.href), error.why)):
            warnings.warn(
                MaskedItemsWarning(
                    f"item {source.item!r} is left out where it cannot be read (errors='mask'): {error}"
                ),
                stacklevel=2,
            )

    def __dask_tokenize__(self) -> Any:
        """What is computed; not which load it is of, nor how files are fetched: a job of another day goes on."""
        gdal = sorted((name, str(value)) for name, value in self.gdal.items() if not name.startswith(_OF_TRANSPORT))
        return [self.grid, self.resampling.name, self.errors, gdal]


def read_with_retries(source: Source, how: Reading, window: Any) -> np.ndarray:
    """Read a source; on a fault wait, open again past GDAL's cache, and give up after ``how.tries``."""
    from rasterio._err import CPLE_BaseError
    from rasterio.env import Env
    from rasterio.errors import RasterioError

    reason: Exception | None = None
    for attempt in range(how.tries if is_remote(source.href) else 1):
        if attempt:
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        try:
            path = gdal_path(_signed(source.href, again=attempt > 0))
            with Env(**{**how.gdal, **_host_settings(path, uncached=attempt > 0)}):
                return _read(path, source, how, window)
        except AssetError:
            raise
        except (RasterioError, OSError, ValueError, CPLE_BaseError) as error:  # a spoilt file may raise any of them
            reason = error
    raise _failure(source, reason, attempt + 1) from None


def gdal_path(href: str) -> str:
    """Return the path under which GDAL opens an href."""
    if href.startswith(("http://", "https://")):
        return f"/vsicurl/{href}"
    for scheme, prefix in (("s3://", "/vsis3/"), ("gs://", "/vsigs/"), ("az://", "/vsiaz/")):
        if href.startswith(scheme):
            return prefix + href.removeprefix(scheme)
    return href.removeprefix("file://")


def driver_of(path: str) -> str:
    """The one driver of GDAL that may open a file: a file of another kind, such as a VRT, could name further ones.

    Examples
    --------
    >>> driver_of("/vsicurl/https://host.org/B04.tif?sig=abc"), driver_of("/vsis3/eodata/B04_10m.jp2")
    ('GTiff', 'JP2OpenJPEG')
    """
    return "JP2OpenJPEG" if path.split("?", 1)[0].lower().endswith((".jp2", ".j2k")) else "GTiff"


def _read(path: str, source: Source, how: Reading, window: Any) -> np.ndarray:
    import rasterio
    from rasterio.enums import Resampling

    meaning = source.meaning
    with rasterio.open(path, driver=driver_of(path), sharing=False) as dataset:
        if dataset.count != 1:
            raise AssetError(
                f"{bare_address(source.href)} has {dataset.count} bands; s2koop reads assets of one band each"
            )
        if math.prod(dataset.block_shapes[0]) > _LARGEST_BLOCK:
            raise AssetError(
                f"{bare_address(source.href)} is stored in blocks of {dataset.block_shapes[0]} pixels, each of which "
                "would be unpacked for a window; write it anew as a COG"
            )
        if dataset.crs is None or dataset.transform.is_identity:  # or it would be laid somewhere else
            raise ValueError("the file does not say where it lies, or in which CRS")
        declared = dataset.nodata if dataset.nodata is not None else meaning.nodata
        shift = _whole_pixels(dataset, how.grid)
        if shift is not None:
            numbers, outside = _read_aligned(dataset, window, shift)
        else:
            method = Resampling.nearest if meaning.classes else how.resampling
            numbers, outside = _read_warped(dataset, how.grid, window, method, declared)
    missing = missing_pixels(numbers, meaning.nodata, dataset.nodata) | outside
    values = to_reflectance(numbers, meaning.scale, meaning.offset)
    values[missing] = np.nan
    return values


def _whole_pixels(dataset: Any, grid: Grid) -> tuple[int, int] | None:
    """Column and row of the file at the corner of the grid, if both share CRS, pixel size and alignment."""
    transform, size = dataset.transform, grid.resolution
    if transform.b or transform.d or abs(transform.a - size) > 1e-9 * size or abs(transform.e + size) > 1e-9 * size:
        return None
    column, row = (grid.west - transform.c) / size, (transform.f - grid.north) / size
    if abs(column - round(column)) > 1e-3 or abs(row - round(row)) > 1e-3:
        return None
    return (round(column), round(row)) if _same_crs(dataset, grid.epsg) else None


def _same_crs(dataset: Any, epsg: int) -> bool:
    from rasterio.crs import CRS

    return bool(dataset.crs is not None and (dataset.crs == CRS.from_epsg(epsg) or dataset.crs.to_epsg() == epsg))


def _read_aligned(dataset: Any, window: Any, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Read pixels as they lie in the file; what falls outside of it is marked."""
    from rasterio.windows import Window

    height, width = int(window.height), int(window.width)
    left, top = int(window.col_off) + shift[0], int(window.row_off) + shift[1]
    first_col, last_col = max(left, 0), min(left + width, dataset.width)
    first_row, last_row = max(top, 0), min(top + height, dataset.height)
    numbers = np.zeros((height, width), dataset.dtypes[0])
    outside = np.ones((height, width), bool)
    if first_col < last_col and first_row < last_row:
        inside = (slice(first_row - top, last_row - top), slice(first_col - left, last_col - left))
        numbers[inside] = dataset.read(1, window=Window.from_slices((first_row, last_row), (first_col, last_col)))
        outside[inside] = False
    return numbers, outside


def _read_warped(
    dataset: Any, grid: Grid, window: Any, resampling: Any, declared: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Resample onto the window, so exactly that the numbers do not depend on how the cube is chunked.

    GDAL by itself widens its kernels by the ratio of two windows, which is another one for each chunk.
    """
    from affine import Affine
    from rasterio.vrt import WarpedVRT

    size, nudge = grid.resolution, _NUDGE if resampling.name in _INTERPOLATING else 0.0
    west, north = grid.west + (window.col_off + nudge) * size, grid.north - (window.row_off + nudge) * size
    xscale, yscale = _scales(dataset, grid)
    nodata = declared if declared is not None else _undeclared_nodata(dataset.dtypes[0])
    with WarpedVRT(
        dataset,
        crs=f"EPSG:{grid.epsg}",
        transform=Affine(size, 0.0, west, 0.0, -size, north),
        width=int(window.width),
        height=int(window.height),
        resampling=resampling,
        src_nodata=nodata,
        nodata=nodata,
        tolerance=_TOLERANCE,
        XSCALE=xscale,
        YSCALE=yscale,
    ) as vrt:
        numbers = vrt.read(1)
    outside = np.isnan(numbers) if np.isnan(nodata) else numbers == nodata
    return numbers, outside


def _scales(dataset: Any, grid: Grid) -> tuple[float, float]:
    """Pixels of the grid, along x and y, to a pixel in the middle of a file."""
    from rasterio.transform import xy
    from rasterio.warp import transform

    row, column = dataset.height // 2, dataset.width // 2
    corners = xy(dataset.transform, [row, row, row + 1], [column, column + 1, column], offset="ul")
    x, y = np.array(transform(dataset.crs, f"EPSG:{grid.epsg}", *corners)) / grid.resolution
    return float(np.hypot(*(x[1:] - x[0]))), float(np.hypot(*(y[1:] - y[0])))


def _undeclared_nodata(dtype: str) -> float:
    """What the warper writes outside of a file that declares no nodata."""
    kind = np.dtype(dtype).kind
    return 0.0 if kind == "u" else -9999.0 if kind == "i" else float("nan")


def _host_settings(path: str, *, uncached: bool) -> dict[str, Any]:
    """Settings that depend on where a file lies; ``uncached`` makes GDAL forget what it knows of the host.

    GDAL remembers a failed or damaged answer for the life of the process, so a second try without this
    gets the same answer from its cache.
    """
    found: dict[str, Any] = {}
    if path.startswith("/vsis3/") and (provider := provider_of_bucket(path.split("/")[2])) is not None:
        found.update(storage_settings(provider))
    if uncached and path.startswith("/vsi"):
        found["CPL_VSIL_CURL_NON_CACHED"] = _host_prefix(path)
    return found


def _host_prefix(path: str) -> str:
    if not path.startswith("/vsicurl/"):
        return "/".join(path.split("/")[:3])
    parts = urlsplit(path.removeprefix("/vsicurl/"))
    return f"/vsicurl/{parts.scheme}://{parts.hostname}"  # no port: GDAL splits the setting at colons


def is_remote(href: str) -> bool:
    """A local file that cannot be read now will not be readable in a second."""
    return href.startswith(("http://", "https://", "s3://", "gs://", "az://"))


def _signed(href: str, *, again: bool) -> str:
    """Sign an href of the Planetary Computer as late as possible: its tokens live for less than an hour."""
    parts = urlsplit(href)
    if not (parts.hostname or "").endswith(_SIGNED_HOST) or ("sig=" in parts.query and not again):
        return href
    import planetary_computer

    try:
        return str(planetary_computer.sign(bare_address(href)))
    except OSError as error:  # requests' errors are OSErrors; their text may hold the address with its key
        raise OSError(f"no signature from the Planetary Computer ({type(error).__name__})") from None


def _failure(source: Source, reason: Exception | None, tries: int) -> AssetError:
    href = bare_address(source.href)
    why = _words(reason, href)
    error = AssetError(f"asset {href} of item {source.item!r} cannot be read (tries: {tries}): {why}. {_advice(why)}")
    error.why = why
    return error


def _words(reason: BaseException | None, href: str) -> str:
    """What GDAL says, without the path that it repeats; where it points at an earlier error, that one."""
    while reason is not None and reason.__cause__ is not None:
        reason = reason.__cause__
    text = redacted(reason).replace(f"?{HIDDEN}", "")
    for path in (gdal_path(href), href):
        text = text.replace(f"'{path}'", "file").replace(f"{path}: ", "")
    return text.strip(" .") or type(reason).__name__


def _advice(why: str) -> str:
    if _DENIED.search(why):
        return (
            "Access is denied: a signature in the address may have expired (search again), or reading needs rights "
            "(see the provider's page on access)"
        )
    kinds = "s2koop reads GeoTIFF and JPEG 2000 (.jp2). " if "not recognized" in why else ""
    return f"{kinds}Check that the file is there and whole, and that its server answers"
