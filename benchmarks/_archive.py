"""An archive of simulated Sentinel-2 COGs with their items, and a process that serves it by ranges over loopback."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11")
_MEAN = np.array([0.04, 0.07, 0.06, 0.28, 0.30, 0.20])
_SWING = np.array([-0.01, 0.0, -0.02, 0.12, 0.12, -0.03])
_ORIGIN = (399960.0, 5300040.0)
#: Part of a scene that clouds hide on an average date.
_CLOUDS = 0.35


def make_archive(folder: Path, *, side: int, dates: int, bands: tuple[str, ...] = BANDS, seed: int = 0) -> list[Path]:
    """Write a GeoTIFF of 10 m for each date and band, blocks of 512, and ``items.json``; returns the files.

    The surface has two smooth maps, of level and of the season's strength; clouds are smooth, and 1.5 % of noise
    multiplies all.
    """
    rng = np.random.default_rng(seed)
    level, strength = (_smooth(rng, side) for _ in range(2))
    days = np.sort(rng.choice(np.arange(0, 5 * dates * 2, 5), dates, replace=False))
    stamps = np.datetime64("2019-01-03") + days
    seeds = rng.integers(0, 2**31, dates)

    def one(date: int) -> list[Path]:
        season = float(np.cos(2 * np.pi * (days[date] - 200) / 365.25))
        own = np.random.default_rng(seeds[date])
        classes = np.where(_smooth(own, side) < np.quantile(_NORMAL, _CLOUDS), 9, 4).astype(np.uint8)
        files = [_write(folder / f"{stamps[date]}_SCL.tif", classes)]
        for band, mean, swing in zip(bands, _MEAN, _SWING, strict=False):
            value = mean * (1 + 0.3 * level) + swing * season * (1 + 0.3 * strength)
            value = value * (1 + 0.015 * own.standard_normal((side, side), np.float32))
            value = np.where(classes == 9, 0.6, value)
            files.append(
                _write(folder / f"{stamps[date]}_{band}.tif", np.clip(value * 1e4, 1, 65535).astype(np.uint16))
            )
        return files

    with ThreadPoolExecutor(2) as pool:
        files = [file for found in pool.map(one, range(dates)) for file in found]
    (folder / "items.json").write_text(json.dumps([_item(str(stamp), side, bands) for stamp in stamps]))
    return files


_NORMAL = np.random.default_rng(1).standard_normal(10_000)


def _smooth(rng: np.random.Generator, side: int) -> np.ndarray:
    """A standard normal field that changes over some tenth of the scene."""
    from scipy.ndimage import zoom

    coarse = rng.standard_normal((12, 12))
    return zoom(coarse, side / 12, order=1, grid_mode=True, mode="nearest").astype(np.float32)[:side, :side]


def _write(path: Path, values: np.ndarray) -> Path:
    profile = {
        "driver": "GTiff", "width": values.shape[1], "height": values.shape[0], "count": 1, "dtype": values.dtype,
        "crs": "EPSG:32632", "transform": Affine(10, 0, _ORIGIN[0], 0, -10, _ORIGIN[1]), "nodata": 0, "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "deflate", "predictor": 2, "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values, 1)
    return path


def _item(day: str, side: int, bands: tuple[str, ...]) -> dict[str, Any]:
    grid = {"proj:shape": [side, side], "proj:transform": [10, 0, _ORIGIN[0], 0, -10, _ORIGIN[1]]}
    assets = {band: {"href": f"{day}_{band}.tif", "type": "image/tiff", **grid} for band in (*bands, "SCL")}
    box = [7.6, 47.6, 7.9, 47.9]
    ring = [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]], [box[0], box[3]], [box[0], box[1]]]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": f"S2A_MSIL2A_{day}", "collection": "sentinel-2-l2a",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"], "bbox": box,
        "links": [], "geometry": {"type": "Polygon", "coordinates": [ring]}, "assets": assets,
        "properties": {
            "datetime": f"{day}T10:15:59Z", "platform": "sentinel-2a", "proj:epsg": 32632, "eo:cloud_cover": 35.0,
            "s2:processing_baseline": "02.14", "s2:product_type": "S2MSI2A", "view:sun_elevation": 40.0,
            "view:sun_azimuth": 160.0,
        },
    }  # fmt: skip


def items_of(folder: Path, address: str) -> list[dict[str, Any]]:
    """The items of an archive with the hrefs of a server."""
    items = json.loads((folder / "items.json").read_text())
    for item in items:
        for asset in item["assets"].values():
            asset["href"] = f"{address}/{asset['href']}"
    return items


@contextlib.contextmanager
def served(folder: Path, wait: float = 0.0) -> Iterator[str]:
    """The address of a server of a folder, which waits some seconds before each answer and counts what it sends."""
    command = [sys.executable, "-m", "benchmarks._archive", str(folder), str(wait)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def bytes_sent(address: str) -> int:
    """Bytes of files that a server has sent so far."""
    from urllib.request import urlopen

    with urlopen(f"{address}/-/sent") as answer:
        return int(answer.read())


def _serve(folder: str, wait: float) -> None:
    """Serve files by ranges with tornado, which knows how."""
    import asyncio

    import tornado.httpserver
    import tornado.netutil
    import tornado.web

    sent = 0

    class Files(tornado.web.StaticFileHandler):
        async def prepare(self) -> None:
            await asyncio.sleep(wait)

        def compute_etag(self) -> None:
            """None: tornado would read each file whole for it, on the cores that are measured."""

        @classmethod
        def get_content(cls, abspath: str, start: int | None = None, end: int | None = None) -> bytes:
            """A range at once, where tornado sends 64 kB at a time."""
            with open(abspath, "rb") as file:
                file.seek(start or 0)
                return file.read(-1 if end is None else end - (start or 0))

        def on_finish(self) -> None:
            nonlocal sent
            sent += int(self._headers.get("Content-Length") or 0) * (self.request.method == "GET")

    class Sent(tornado.web.RequestHandler):
        def get(self) -> None:
            self.write(str(sent))

    async def forever() -> None:
        app = tornado.web.Application(
            [("/-/sent", Sent), ("/(.*)", Files, {"path": folder})], log_function=lambda _: None
        )
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
        tornado.httpserver.HTTPServer(app).add_sockets(sockets)
        print(sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(forever())


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]))
