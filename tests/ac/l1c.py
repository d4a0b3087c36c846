"""Simulated scenes written as Level-1C products: files of 10, 20 and 60 m, STAC items, metadata of a granule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import xarray as xr
from affine import Affine

from s2koop.catalog.providers import S2_BANDS
from s2koop.simulate import toa_scenes
from tests.support import items as make

SIZE, EPSG = 96, 32632
#: Two products as they are found: digital numbers with +1000 and without, of two satellites, four years apart.
NEW = {"time": "2025-07-31T10:20:22.930Z", "baseline": "05.11", "carried": 1000, "satellite": "2B"}
OLD = {"time": "2021-09-08T10:20:48.758Z", "baseline": "03.01", "carried": 0, "satellite": "2A"}
#: Azimuth of the sensor; that of the sun follows from the angle between both.
VIEW_AZIMUTH = 286.0


@dataclass(frozen=True)
class Written:
    """Products in a folder, in order of time, and what is known of each: surface (band, y, x) at 10 m, atmosphere."""

    folder: Path
    products: tuple[make.Product, ...]
    items: tuple[dict[str, Any], ...]
    surface: xr.DataArray
    sky: Mapping[str, np.ndarray]


def write_products(folder: Path) -> Written:
    """Two products of a place each, with items as Earth Search and stactools write them."""
    drawn = toa_scenes("test", scenes=2, size=SIZE, sensor=("S2A", "S2B"), resolution=10.0, seed=3)
    products, items, surfaces = [], [], []
    for at, (about, sensor, describe) in enumerate(((OLD, "S2A", make.stactools), (NEW, "S2B", make.l1c))):
        scene = drawn[sensor].isel(scene=at)
        name = f"S{about['satellite']}_32TMT_L1C"
        product = _write(folder / name, name, scene["toa"], **about)
        sza, vza, raa = (float(scene[angle]) for angle in ("sza", "vza", "raa"))
        product.extra.update(
            {
                "view:sun_elevation": 90 - sza, "view:sun_azimuth": (VIEW_AZIMUTH - raa) % 360,
                "view:incidence_angle": vza, "view:azimuth": VIEW_AZIMUTH,
            }
        )  # fmt: skip
        item = _beside(describe(product), folder / name)
        (folder / name / "item.json").write_text(json.dumps(item))
        _write_granule(folder / name / "MTD_TL.xml", product)
        products.append(product)
        items.append(item)
        surfaces.append(xr.concat([_as_seen(scene["boa"], band) for band in scene["band"].values], "band"))
    sky = {
        name: np.array([float(drawn["S2A"][name][at]) for at in range(2)])
        for name in ("aot", "water_vapour", "ozone", "altitude", "sza", "vza", "raa")
    }
    surface = xr.concat(surfaces, "time").drop_vars([n for n in scene.coords if n not in ("band",)], errors="ignore")
    return Written(folder, tuple(products), tuple(items), surface, sky)


def without(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """An item that does not say some of its properties."""
    return {**item, "properties": {name: value for name, value in item["properties"].items() if name not in names}}


def _beside(item: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An item whose files lie beside it, by relative hrefs, as stactools writes them; with its granule's metadata."""
    for asset in item["assets"].values():
        asset["href"] = f"./{Path(asset['href']).name}"
    item["assets"]["granule_metadata"] = {"href": "./MTD_TL.xml", "type": "application/xml", "roles": ["metadata"]}
    return item | {"links": [{"rel": "self", "href": str(folder / "item.json")}]}


def _write(folder: Path, name: str, toa: xr.DataArray, **about: Any) -> make.Product:
    folder.mkdir(parents=True)
    empty = make.Product(name=name, level="L1C", epsg=EPSG, files={}, truth={}, transforms={}, **about)
    files, truth, transforms = {}, {}, {}
    for band, step in S2_BANDS.items():
        transforms[band] = Affine(step, 0, make.ORIGIN[0], 0, -step, make.ORIGIN[1])
        values = np.full((SIZE, SIZE), 0.0015) if band == "B10" else toa.sel(band=band).values
        truth[band] = np.round(_means(values, step // 10) * 1e4).astype(np.uint16)
        stored = truth[band] + np.uint16(empty.carried)
        files[band] = make.write_tiff(folder / f"{name}_{band}.tif", stored, transforms[band], EPSG)
    return replace(empty, files=files, truth=truth, transforms=transforms)


def _means(values: np.ndarray, step: int) -> np.ndarray:
    rows, columns = (size // step for size in values.shape)
    return values.reshape(rows, step, columns, step).mean((1, 3))


def _as_seen(boa: xr.DataArray, band: str) -> xr.DataArray:
    """The surface in one band, as coarse as the band is, on pixels of 10 m."""
    step = S2_BANDS[band] // 10
    values = np.kron(_means(boa.sel(band=band).values, step), np.ones((step, step)))
    return xr.DataArray(values, dims=("y", "x"), coords={"band": band})


def _write_granule(path: Path, product: make.Product) -> None:
    """The angles of a product as a granule has them: grids of 5 km, here the same everywhere, for two detectors."""
    about = product.extra
    root = ElementTree.Element("Level-1C_Tile_ID")
    geocoding = ElementTree.SubElement(root, "Tile_Geocoding")
    ElementTree.SubElement(geocoding, "HORIZONTAL_CS_CODE").text = f"EPSG:{product.epsg}"
    position = ElementTree.SubElement(geocoding, "Geoposition", resolution="10")
    for tag, value in (("ULX", make.ORIGIN[0]), ("ULY", make.ORIGIN[1])):
        ElementTree.SubElement(position, tag).text = str(int(value))
    angles = ElementTree.SubElement(root, "Tile_Angles")
    sun = 90 - about["view:sun_elevation"], about["view:sun_azimuth"]
    _grids(ElementTree.SubElement(angles, "Sun_Angles_Grid"), *sun)
    for band in range(13):
        for detector in ("6", "7"):
            grid = ElementTree.SubElement(
                angles, "Viewing_Incidence_Angles_Grids", bandId=str(band), detectorId=detector
            )
            _grids(grid, about["view:incidence_angle"], about["view:azimuth"])
    ElementTree.ElementTree(root).write(path)


def _grids(parent: ElementTree.Element, zenith: float, azimuth: float) -> None:
    for tag, value in (("Zenith", zenith), ("Azimuth", azimuth)):
        grid = ElementTree.SubElement(parent, tag)
        for name in ("COL_STEP", "ROW_STEP"):
            ElementTree.SubElement(grid, name).text = "5000"
        rows = ElementTree.SubElement(grid, "Values_List")
        for _ in range(3):
            ElementTree.SubElement(rows, "VALUES").text = " ".join([f"{value:.6f}"] * 3)
