"""Opening a cube of many items: seconds, pixels read, size of the graph; beside stackstac called by itself.

The items are made in memory, in the shape of Earth Search v1 and of the Planetary Computer, and point at files
that do not exist: opening must not notice. Both engines of s2koop are shown; odc-stac's with whole series in a chunk
alone, since it writes out each task. Stackstac by itself gets the same items with the CRS put back (it cannot
take them as pystac reads them) and the same bands; it groups nothing, masks nothing and decides no offset.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks._report import check, main, report

BANDS = ("B02", "B03", "B04", "B08", "B8A", "B11")
KEYS = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B8A": "nir08", "B11": "swir16", "SCL": "scl"}
STEPS = {"B8A": 20, "B11": 20, "SCL": 20}


def make_items(count: int, provider: str) -> list[Any]:
    """Items of one tile, five days apart, read through pystac as a search would give them."""
    import pystac

    days = np.datetime64("2015-07-04") + 5 * np.arange(count)
    return [pystac.Item.from_dict(_item(f"S2A_32TMT_{day}", str(day), provider)) for day in days]


def _item(name: str, day: str, provider: str) -> dict[str, Any]:
    assets = {}
    for band, colour in KEYS.items():
        step = STEPS.get(band, 10)
        size = 109800 // step
        asset = {
            "href": f"https://example.com/{name}/{band}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "proj:shape": [size, size],
            "proj:transform": [step, 0, 399960, 0, -step, 5300040],
        }
        if provider == "earth-search":
            asset["raster:bands"] = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
        assets[colour if provider == "earth-search" else band] = asset
    properties = {
        "datetime": f"{day}T10:15:59Z",
        "platform": "sentinel-2a",
        "proj:epsg": 32632,
        "eo:cloud_cover": 10.0,
        "s2:processing_baseline": "05.09",
        "s2:product_type": "S2MSI2A",
        "view:sun_elevation": 40.0,
        "view:sun_azimuth": 160.0,
    }
    if provider == "earth-search":
        properties["earthsearch:boa_offset_applied"] = True
    ring = [[7.67, 46.85], [9.13, 46.85], [9.13, 47.85], [7.67, 47.85], [7.67, 46.85]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [7.67, 46.85, 9.13, 47.85],
        "properties": properties,
        "links": [],
        "assets": assets,
    }


def by_s2koop(items: list[Any], chunks: Any, engine: str = "stackstac") -> Any:
    import s2koop

    return s2koop.load(items, bands=BANDS, chunks=chunks, engine=engine)


def by_stackstac(items: list[Any], chunks: Any) -> Any:
    """What a user would otherwise write, once the CRS is put back by hand."""
    import stackstac

    plain = [item.to_dict() for item in items]
    for item in plain:
        item["properties"]["proj:epsg"] = int(item["properties"]["proj:code"].split(":")[1])
    keys = [KEYS[band] if KEYS[band] in plain[0]["assets"] else band for band in BANDS]
    return stackstac.stack(plain, assets=keys, chunksize=(-1, -1, 256, 256) if chunks == "time" else 1024)


def measure(build: Callable[[list[Any], Any], Any], items: list[Any], chunks: Any) -> dict[str, Any]:
    """CPU and wall seconds of one opening, files opened while at it, and the graph."""
    import rasterio

    opened, original = [], rasterio.open
    rasterio.open = lambda *args, **kwargs: opened.append(args) or original(*args, **kwargs)
    try:
        cpu, wall = time.process_time(), time.perf_counter()
        cube = build(items, chunks)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    finally:
        rasterio.open = original
    return {
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "files_opened": len(opened),
        "graph_MiB": round(len(pickle.dumps(cube.data.dask)) / 2**20, 2),
        "shape": list(cube.shape),
        "chunk": list(cube.data.chunksize),
    }


#: How a cube is opened; odc-stac writes out every task, so it is asked for whole series alone.
METHODS: dict[str, Callable[[list[Any], Any], Any]] = {
    "s2koop": by_s2koop,
    "s2koop, odc-stac": partial(by_s2koop, engine="odc-stac"),
    "stackstac": by_stackstac,
}
#: Items and those who provide them.
CASES = [(count, name) for count in (1000, 3000) for name in ("earth-search", "planetary-computer")]
CASES.append((10_000, "earth-search"))


def run(quick: bool) -> dict[str, Any]:
    """Open 1000 items, and up to 10 000 of them unless ``quick``, in all ways and with both kinds of chunks."""
    for build in METHODS.values():  # imports and projections are loaded once a process
        measure(build, make_items(2, "earth-search"), "time")
    rows = []
    for count, provider in CASES[:2] if quick else CASES:
        items = make_items(count, provider)
        for chunks in (None, "time"):
            for name, build in METHODS.items():
                if chunks == "time" or "odc" not in name:
                    case = {"method": name, "items": count, "provider": provider, "chunks": chunks or "one date"}
                    rows.append(case | measure(build, items, chunks))
    ours = [row for row in rows if row["method"] == "s2koop"]
    opened = sum(row["files_opened"] for row in rows if row["method"] != "stackstac")
    return report(
        data="items in memory, full Sentinel-2 tiles of 10980 x 10980 pixels, six bands and SCL",
        seed=0,
        rows=rows,
        checks=[
            *_checks([row for row in ours if row["items"] == 1000], "1000 items", seconds=2, graph=2),
            *_checks([row for row in ours if row["items"] == 10_000], "10 000 items", seconds=6, graph=20),
            check("files opened while opening cubes", opened, "0", opened == 0),
        ],
    )


def _checks(rows: list[dict[str, Any]], what: str, *, seconds: float, graph: float) -> list[dict[str, Any]]:
    """Slowest and largest of some openings; none where they were left out."""
    if not rows:
        return []
    cpu, size = (max(row[name] for row in rows) for name in ("cpu_s", "graph_MiB"))
    return [
        check(f"CPU seconds to open {what}, slowest case", cpu, f"< {seconds}", cpu < seconds),
        check(f"MiB of the graph of {what}, largest case", size, f"< {graph}", size < graph),
    ]


if __name__ == "__main__":
    main(run, __doc__.splitlines()[0])
