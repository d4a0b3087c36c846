"""Reads one window of one band and solar day: opens late, signs late, tries again, closes at once.

A reader that closes after each read keeps the memory of GDAL out of the way of the cube: datasets left open,
one per asset and thread, hold three times the memory of the pixels. Every read opens its own handle, so
threads share nothing.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from s2koop.catalog.providers import PROVIDERS
from s2koop.cube.harmonise import missing_pixels, to_reflectance
from s2koop.errors import AssetError, MaskedItemsWarning

#: Settings for remote COGs. A user's environment variable of the same name wins.
GDAL_SETTINGS: Mapping[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no look around for side-car files
    "GDAL_CACHEMAX": 64,  # megabytes; the default is 5 % of the machine, in every process
    "VSI_CACHE": "FALSE",
    "GDAL_HTTP_MAX_RETRY": 2,  # bounded: our own retries come on top
    "GDAL_HTTP_RETRY_DELAY": 0.5,
    "GDAL_HTTP_TIMEOUT": 30,  # GDAL knows no limit by default and waits for ever on a stalled server
    "GDAL_HTTP_CONNECTTIMEOUT": 10,
    "GDAL_HTTP_MULTIRANGE": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "CPL_VSIL_CURL_CACHE_SIZE": 64 * 2**20,  # headers of reopened files come from here
}
#: Seconds before the second try; doubled before each further one.
FIRST_WAIT = 0.5
#: Pixels by which GDAL may approximate a warp; its default of 0.125 moves edges with the chunks, and it
#: refuses 0.
_TOLERANCE = 1e-9

_SIGNED_HOST = ".blob.core.windows.net"
_SECRET = re.compile(r"\?[^\s'\"]*")
_told: set[tuple[str, str]] = set()
_told_lock = threading.Lock()


@dataclass(frozen=True)
class Source:
    """One file behind a band of a date, and what its numbers mean."""

    item: str
    href: str
    scale: float
    offset: float
    nodata: float | None
    nearest: bool


def pack(sources: list[Source]) -> str:
    """Write sources as the text that travels in the graph as a "URL"; the first one lies on top."""
    return json.dumps([asdict(source) for source in sources])


def unpack(text: str) -> list[Source]:
    """Read back what :func:`pack` wrote."""
    return [Source(**fields) for fields in json.loads(text)]


def settings(extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """GDAL settings of a load: ours, less what the environment says already, and those of the caller."""
    ours = {name: value for name, value in GDAL_SETTINGS.items() if name not in os.environ}
    return ours | dict(extra or {})


class MosaicReader:
    """Reader for stackstac: float32 reflectance of a window, first valid pixel of its sources, NaN elsewhere.

    The scale and offset of each source are applied here, as it is read: the items of one day may differ in
    offset, and no raw copy of the cube is held beside the float32 one.
    """

    def __init__(
        self,
        *,
        url: str,
        spec: Any,
        resampling: Any,
        dtype: np.dtype,
        fill_value: float,
        gdal_env: Any,
        errors: str = "raise",
        tries: int = 4,
        token: str = "",
        **_: Any,
    ) -> None:
        self.url, self.spec, self.resampling, self.env = url, spec, resampling, gdal_env
        self.errors, self.tries, self.token = errors, tries, token

    def read(self, window: Any) -> np.ndarray:
        """Read a window of the cube's grid as float32."""
        result = np.full((int(window.height), int(window.width)), np.nan, np.float32)
        for source in unpack(self.url):
            values = self._read_source(source, window)
            if values is not None:
                result = np.where(np.isnan(result), values, result)
            if not np.isnan(result).any():
                break
        return result

    def close(self) -> None:
        """Nothing stays open between reads."""

    def _read_source(self, source: Source, window: Any) -> np.ndarray | None:
        try:
            return read_with_retries(source, self.spec, window, self.resampling, self.env, self.tries)
        except AssetError as error:
            if self.errors == "raise":
                raise AssetError(f"{error}. Or load with errors='mask' to leave out what cannot be read") from None
            _tell_once(self.token, source.item, error)
            return None


def read_with_retries(source: Source, spec: Any, window: Any, resampling: Any, env: Any, tries: int) -> np.ndarray:
    """Read a source; on a fault wait, open again past GDAL's cache, and give up after ``tries``."""
    from rasterio.env import Env
    from rasterio.errors import RasterioError

    reason: Exception | None = None
    for attempt in range(tries if _is_remote(source.href) else 1):
        if attempt:
            time.sleep(FIRST_WAIT * 2 ** (attempt - 1))
        try:
            path = gdal_path(_signed(source.href, again=attempt > 0))
            with env.read, Env(**_host_settings(path, uncached=attempt > 0)):
                return _read(path, source, spec, window, resampling)
        except AssetError:
            raise
        except (RasterioError, OSError) as error:
            reason = error
    raise AssetError(_failure(source, reason, attempt + 1)) from None


def gdal_path(href: str) -> str:
    """Return the path under which GDAL opens an href."""
    if href.startswith(("http://", "https://")):
        return f"/vsicurl/{href}"
    for scheme, prefix in (("s3://", "/vsis3/"), ("gs://", "/vsigs/"), ("az://", "/vsiaz/")):
        if href.startswith(scheme):
            return prefix + href.removeprefix(scheme)
    return href.removeprefix("file://")


def safe_href(href: str) -> str:
    """Return an href without its query, where signatures and keys are."""
    return href.split("?", 1)[0]


def _read(path: str, source: Source, spec: Any, window: Any, resampling: Any) -> np.ndarray:
    import rasterio
    from rasterio.enums import Resampling

    with rasterio.open(path, sharing=False) as dataset:
        if dataset.count != 1:
            raise AssetError(
                f"{safe_href(source.href)} has {dataset.count} bands; s2koop reads assets of one band each"
            )
        declared = dataset.nodata if dataset.nodata is not None else source.nodata
        shift = _whole_pixels(dataset, spec)
        if shift is not None:
            numbers, outside = _read_aligned(dataset, window, shift)
        else:
            how = Resampling.nearest if source.nearest else resampling
            numbers, outside = _read_warped(dataset, spec, window, how, declared)
    missing = missing_pixels(numbers, source.nodata, dataset.nodata) | outside
    values = to_reflectance(numbers, source.scale, source.offset)
    values[missing] = np.nan
    return values


def _whole_pixels(dataset: Any, spec: Any) -> tuple[int, int] | None:
    """Column and row of the file at the corner of the grid, if both share CRS, pixel size and alignment."""
    transform, (xres, yres) = dataset.transform, spec.resolutions_xy
    if transform.b or transform.d or abs(transform.a - xres) > 1e-9 * xres or abs(transform.e + yres) > 1e-9 * yres:
        return None
    column, row = (spec.bounds[0] - transform.c) / xres, (transform.f - spec.bounds[3]) / yres
    if abs(column - round(column)) > 1e-3 or abs(row - round(row)) > 1e-3:
        return None
    return (round(column), round(row)) if _same_crs(dataset, spec.epsg) else None


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
    dataset: Any, spec: Any, window: Any, resampling: Any, declared: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Resample onto the window, so exactly that the numbers do not depend on how the cube is chunked."""
    from affine import Affine
    from rasterio.vrt import WarpedVRT

    (xres, yres), (west, _, _, north) = spec.resolutions_xy, spec.bounds
    corner = Affine(xres, 0.0, west + window.col_off * xres, 0.0, -yres, north - window.row_off * yres)
    nodata = declared if declared is not None else _undeclared_nodata(dataset.dtypes[0])
    with WarpedVRT(
        dataset,
        crs=f"EPSG:{spec.epsg}",
        transform=corner,
        width=int(window.width),
        height=int(window.height),
        resampling=resampling,
        src_nodata=nodata,
        nodata=nodata,
        tolerance=_TOLERANCE,
    ) as vrt:
        numbers = vrt.read(1)
    outside = np.isnan(numbers) if np.isnan(nodata) else numbers == nodata
    return numbers, outside


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
    if path.startswith("/vsis3/eodata/"):
        found.update(PROVIDERS["cdse"].gdal)
    if uncached and path.startswith("/vsi"):
        found["CPL_VSIL_CURL_NON_CACHED"] = _host_prefix(path)
    return found


def _host_prefix(path: str) -> str:
    if not path.startswith("/vsicurl/"):
        return "/".join(path.split("/")[:3])
    parts = urlsplit(path.removeprefix("/vsicurl/"))
    return f"/vsicurl/{parts.scheme}://{parts.hostname}"  # no port: GDAL splits the setting at colons


def _is_remote(href: str) -> bool:
    """A local file that cannot be read now will not be readable in a second."""
    return href.startswith(("http://", "https://", "s3://", "gs://", "az://"))


def _signed(href: str, *, again: bool) -> str:
    """Sign an href of the Planetary Computer as late as possible: its tokens live for less than an hour."""
    parts = urlsplit(href)
    if not (parts.hostname or "").endswith(_SIGNED_HOST) or ("sig=" in parts.query and not again):
        return href
    import planetary_computer

    try:
        return str(planetary_computer.sign(safe_href(href)))
    except OSError as error:  # requests' errors are OSErrors; their text may hold the address with its key
        raise OSError(f"no signature from the Planetary Computer ({type(error).__name__})") from None


def _failure(source: Source, reason: Exception | None, tries: int) -> str:
    href = safe_href(source.href)
    why = _words(reason, href)
    return f"asset {href} of item {source.item!r} cannot be read (tries: {tries}): {why}. {_advice(why)}"


def _words(reason: BaseException | None, href: str) -> str:
    """What GDAL says, without the path that it repeats; where it points at an earlier error, that one."""
    while reason is not None and reason.__cause__ is not None:
        reason = reason.__cause__
    text = _SECRET.sub("", str(reason))
    for path in (gdal_path(href), href):
        text = text.replace(f"'{path}'", "file").replace(f"{path}: ", "")
    return text.strip(" .") or type(reason).__name__


def _advice(why: str) -> str:
    if re.search(r"response code: 40[13]|permission denied|access ?denied|credential", why, re.IGNORECASE):
        return (
            "Access is denied: a signature in the address may have expired (search again), or reading needs rights "
            "(see the provider's page on access)"
        )
    return "Check that the file is there and whole, and that its server answers"


def _tell_once(token: str, item: str, error: AssetError) -> None:
    """Warn once for each item of a load, however many chunks it is missing from."""
    with _told_lock:
        if (token, item) in _told:
            return
        _told.add((token, item))
    warnings.warn(
        MaskedItemsWarning(f"item {item!r} is left out where it cannot be read (errors='mask'): {error}"),
        stacklevel=2,
    )
