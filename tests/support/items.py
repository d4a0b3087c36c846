"""Small products with known truth, written as GeoTIFFs and described in the shape of each STAC provider.

``make_product`` writes the files; a function for each provider then says what that provider would say of
them. The truth is kept as digital numbers without offset, so a test knows what reflectance must come out,
whatever the files carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

from s2koop.catalog.providers import COLOUR_KEYS, LANDSAT_KEYS, S2_BANDS

#: Bands of the products unless others are asked: all three pixel sizes.
BANDS = ("B01", "B02", "B04", "B08", "B8A")
#: A real tile corner (32TMT); no multiple of 20 times 2, which is what snapping to multiples gets wrong.
ORIGIN = (399960.0, 5300040.0)
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


@dataclass(frozen=True)
class Product:
    """A Sentinel-2 product on disk.

    ``truth`` holds digital numbers without offset, 0 where nothing was seen; ``carried`` is what was added in
    the files.
    """

    name: str
    time: str
    baseline: str
    level: str
    satellite: str
    epsg: int
    files: Mapping[str, Path]
    truth: Mapping[str, np.ndarray]
    transforms: Mapping[str, Affine]
    carried: int
    extra: dict[str, Any] = field(default_factory=dict)

    def reflectance(self, band: str) -> np.ndarray:
        """What a cube must hold: the float32 nearest to the true reflectance."""
        numbers = self.truth[band].astype(np.float64)
        return np.where(numbers == 0, np.nan, numbers / 10000).astype(np.float32)

    @property
    def bbox(self) -> list[float]:
        """West, south, east, north in degrees."""
        band = next(iter(self.truth))
        bounds = rasterio.transform.array_bounds(*self.truth[band].shape, self.transforms[band])
        return list(Transformer.from_crs(self.epsg, 4326, always_xy=True).transform_bounds(*bounds))


def write_tiff(
    path: Path,
    numbers: np.ndarray,
    transform: Affine,
    epsg: int,
    *,
    nodata: float | None = 0,
    block: int = 16,
) -> Path:
    """Write one band, tiled and deflated."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=numbers.shape[1],
        height=numbers.shape[0],
        count=1,
        dtype=numbers.dtype,
        crs=f"EPSG:{epsg}",
        transform=transform,
        nodata=nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        compress="deflate",
    ) as dataset:
        dataset.write(numbers, 1)
    return path


def make_product(
    folder: Path,
    name: str = "scene",
    *,
    time: str = "2023-08-15T10:15:59.024Z",
    baseline: str = "05.09",
    level: str = "L2A",
    carried: int = 0,
    bands: tuple[str, ...] = BANDS,
    origin: tuple[float, float] = ORIGIN,
    size: int = 48,
    epsg: int = 32632,
    scl: np.ndarray | int = 4,
    satellite: str = "2B",
    holes: np.ndarray | None = None,
    seed: int = 0,
) -> Product:
    """Write a product of ``size`` pixels of 10 m (a multiple of 6) with random reflectance of 0.01 to 0.5.

    ``holes`` marks pixels of 10 m where the product saw nothing; ``scl`` is a class or an image of 20 m.
    """
    rng = np.random.default_rng(seed)
    files, truth, transforms = {}, {}, {}
    folder.mkdir(parents=True, exist_ok=True)
    for band in (*bands, *(("SCL",) if level == "L2A" else ())):
        step = 20 if band == "SCL" else S2_BANDS[band]
        shape = (size * 10 // step,) * 2
        transforms[band] = Affine(step, 0, origin[0], 0, -step, origin[1])
        if band == "SCL":
            truth[band] = np.broadcast_to(np.asarray(scl, np.uint8), shape).copy()
            stored = truth[band]
        else:
            truth[band] = rng.integers(100, 5000, shape).astype(np.uint16)
            if holes is not None:
                truth[band][holes[step // 20 :: step // 10, step // 20 :: step // 10]] = 0
            stored = np.where(truth[band] == 0, 0, truth[band] + carried).astype(np.uint16)
        files[band] = write_tiff(folder / f"{name}_{band}.tif", stored, transforms[band], epsg)
    return Product(name, time, baseline, level, satellite, epsg, files, truth, transforms, carried)


def earth_search_v1(product: Product, *, applied: bool, listed: float = -0.1) -> dict[str, Any]:
    """Earth Search v1, ``sentinel-2-l2a``: colours, raster:bands, and a flag that overrules its offset."""
    properties = _common(product) | {"earthsearch:boa_offset_applied": applied, "proj:epsg": product.epsg}
    assets = _colour_assets(product, listed)
    if "red" in assets:  # the JPEG 2000 twin that every real item lists
        assets["red-jp2"] = {
            **assets["red"],
            "href": "s3://sentinel-s2-l2a/none/B04.jp2",
            "type": "image/jp2",
        }
    return _item(product, properties, assets, "sentinel-2-l2a")


def earth_search_c1(product: Product) -> dict[str, Any]:
    """Earth Search v1, ``sentinel-2-c1-l2a``: Collection 1, the offset in pixels and metadata alike."""
    properties = _common(product) | {"proj:code": f"EPSG:{product.epsg}"}
    return _item(product, properties, _colour_assets(product, -0.1), "sentinel-2-c1-l2a")


def earth_search_v0(product: Product) -> dict[str, Any]:
    """Earth Search v0: ESA keys, no raster metadata, no baseline but in the name of the product."""
    properties = _common(product)
    del properties["s2:processing_baseline"], properties["s2:product_type"], properties["s2:product_uri"]
    properties |= {
        "proj:epsg": product.epsg,
        "sentinel:product_id": product_uri(product).removesuffix(".SAFE"),
    }
    item = _item(product, properties, _plain_assets(product, nine=True), "sentinel-s2-l2a-cogs")
    return item | {"stac_version": "1.0.0-beta.1"}


def planetary_computer(product: Product) -> dict[str, Any]:
    """Planetary Computer: ESA keys, no raster metadata at all, sun angles as zenith, capital platform."""
    properties = _common(product)
    del properties["view:sun_elevation"], properties["view:sun_azimuth"]
    properties |= {
        "proj:epsg": product.epsg,
        "platform": f"Sentinel-{product.satellite}",
        "s2:mean_solar_zenith": 30.0,
        "s2:mean_solar_azimuth": 150.0,
        "s2:mgrs_tile": "32TMT",
    }
    return _item(product, properties, _plain_assets(product), "sentinel-2-l2a")


def cdse(product: Product) -> dict[str, Any]:
    """CDSE: STAC 1.1, a key per resolution; scale, offset and CRS on the asset; processing:version."""
    properties = _common(product)
    for name in ("s2:processing_baseline", "s2:product_type", "s2:product_uri"):
        del properties[name]
    properties |= {"processing:version": product.baseline, "product:type": f"S2MSI{product.level[1:]}"}
    assets = {}
    for band in product.files:
        meta = {
            "proj:code": f"EPSG:{product.epsg}",
            **_grid(product, band),
            "nodata": 0,
            "gsd": _step(product, band),
        }
        if band != "SCL":
            meta |= {
                "raster:scale": 0.0001,
                "raster:offset": -0.1,
                "data_type": "uint16",
                "bands": [{"name": band}],
            }
        assets[f"{band}_{_step(product, band)}m"] = {"href": str(product.files[band]), "type": COG, **meta}
    item = _item(product, properties, assets, "sentinel-2-l2a")
    return item | {"stac_version": "1.1.0", "id": product_uri(product).removesuffix(".SAFE")}


def stactools(product: Product) -> dict[str, Any]:
    """The stactools package: colours, raster:bands with the right offset, proj:code."""
    listed = -product.carried / 10000
    properties = _common(product) | {"proj:code": f"EPSG:{product.epsg}"}
    return _item(product, properties, _colour_assets(product, listed), None) | {"stac_version": "1.1.0"}


def l1c(product: Product) -> dict[str, Any]:
    """Earth Search v1, ``sentinel-2-l1c``: colours, no SCL, the radiometric offset in raster:bands."""
    properties = _common(product) | {"proj:epsg": product.epsg}
    return _item(product, properties, _colour_assets(product, -product.carried / 10000), "sentinel-2-l1c")


def landsat(product: Product, *, listed: bool = True) -> dict[str, Any]:
    """Landsat Collection 2 Level-2 of the Planetary Computer or Earth Search: grid on the item, scale on the bands."""
    first = next(iter(product.truth))
    properties = {
        "datetime": product.time,
        "platform": f"landsat-{product.satellite}",
        "instruments": ["oli", "tirs"],
        "eo:cloud_cover": 21.12,
        "view:off_nadir": 0,
        "view:sun_elevation": 60.0,
        "view:sun_azimuth": 150.0,
        "proj:epsg": product.epsg,
        **_grid(product, first),
        "landsat:wrs_path": "193",
        "landsat:wrs_row": "027",
        "landsat:correction": "L2SP",
        **product.extra,
    }
    assets = {}
    for band, path in product.files.items():
        key = {**LANDSAT_KEYS, "QA_PIXEL": "qa_pixel"}[band]
        raster: dict[str, Any] = {"data_type": "uint16"}
        if band != "QA_PIXEL":
            raster["nodata"] = 0
        if listed and band != "QA_PIXEL":
            raster |= {"scale": 2.75e-05, "offset": -0.2}
        assets[key] = {"href": str(path), "type": COG, "raster:bands": [raster]}
    item = _item(product, properties, assets, "landsat-c2-l2")
    return item | {"id": f"LC0{product.satellite}_L2SP_193027_{product.time[:10].replace('-', '')}_02_T1"}


def make_landsat(
    folder: Path,
    name: str = "landsat",
    *,
    time: str = "2023-08-15T09:59:00Z",
    bands: tuple[str, ...] = ("BLUE", "RED", "NIR"),
    satellite: str = "9",
    size: int = 16,
    quality: np.ndarray | int = 21824,
    seed: int = 0,
) -> Product:
    """Write a Landsat product of ``size`` pixels of 30 m; its truth are the stored numbers, 0 where nothing was seen.

    ``quality`` is QA_PIXEL, as a number or an image; 21824 is clear land.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    transform = Affine(30, 0, 399945.0, 0, -30, 5300055.0)  # corners lie 15 m off the multiples of 30
    truth = {band: rng.integers(7300, 30000, (size, size)).astype(np.uint16) for band in bands}
    for numbers in truth.values():
        numbers[0, 0] = 0
    truth["QA_PIXEL"] = np.broadcast_to(np.asarray(quality, np.uint16), (size, size)).copy()
    files = {
        band: write_tiff(
            folder / f"{name}_{band}.tif", numbers, transform, 32632, nodata=1 if band == "QA_PIXEL" else 0
        )
        for band, numbers in truth.items()
    }
    return Product(name, time, "", "L2A", satellite, 32632, files, truth, dict.fromkeys(truth, transform), 0)


def product_uri(product: Product) -> str:
    """Return the name ESA would give."""
    stamp = product.time[:19].replace("-", "").replace(":", "")
    number = product.baseline.replace(".", "")
    return f"S{product.satellite}_MSI{product.level}_{stamp}_N{number}_R065_T32TMT_{stamp}.SAFE"


def _common(product: Product) -> dict[str, Any]:
    return {
        "datetime": product.time,
        "platform": f"sentinel-{product.satellite.lower()}",
        "constellation": "sentinel-2",
        "eo:cloud_cover": 12.5,
        "view:sun_elevation": 60.0,
        "view:sun_azimuth": 150.0,
        "s2:processing_baseline": product.baseline,
        "s2:product_type": f"S2MSI{product.level[1:]}",
        "s2:product_uri": product_uri(product),
        **product.extra,
    }


def _item(product: Product, properties: Any, assets: Any, collection: str | None) -> dict[str, Any]:
    west, south, east, north = product.bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _extensions(properties),
        "id": product.name,
        "bbox": product.bbox,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "links": [],
        "assets": assets,
    }
    return item if collection is None else item | {"collection": collection}


def _extensions(properties: Any) -> list[str]:
    """The schemas an item declares; pystac rewrites the fields of old ones as it reads."""
    projection = "v1.1.0" if "proj:epsg" in properties else "v2.0.0"
    names = (f"projection/{projection}", "raster/v1.1.0", "eo/v1.1.0", "view/v1.0.0")
    return [f"https://stac-extensions.github.io/{name}/schema.json" for name in names]


def _colour_assets(product: Product, listed: float) -> dict[str, Any]:
    assets = {}
    for band, path in product.files.items():
        raster = {"nodata": 0, "data_type": "uint16", "spatial_resolution": _step(product, band)}
        if band != "SCL":
            raster |= {"scale": 0.0001, "offset": listed}
        meta = {"raster:bands": [raster], **_grid(product, band)}
        assets[COLOUR_KEYS[band]] = {"href": str(path), "type": COG, **meta}
    return assets


def _plain_assets(product: Product, *, nine: bool = False) -> dict[str, Any]:
    return {
        band: {"href": str(path), "type": COG, "gsd": _step(product, band), **_grid(product, band, nine=nine)}
        for band, path in product.files.items()
    }


def _grid(product: Product, band: str, *, nine: bool = False) -> dict[str, Any]:
    transform = list(product.transforms[band])
    return {
        "proj:shape": list(product.truth[band].shape),
        "proj:transform": transform if nine else transform[:6],
    }


def _step(product: Product, band: str) -> int:
    return int(product.transforms[band].a)
