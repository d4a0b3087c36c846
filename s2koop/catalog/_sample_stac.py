"""STAC documents of the sample catalogue: what the files say, what follows from them, and which is which."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from s2koop.catalog._nrt import ATTRIBUTION, HOMEPAGE, LICENSE, Layer
from s2koop.catalog._sun import sun_position
from s2koop.catalog.providers import COLOUR_KEYS

CRS = "EPSG:3035"
COLLECTION = "sentinel-2-l2a"
COG_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"

#: Dates of S2A lie a multiple of ten days from the first, those of S2B five days off: orbit 136, the only one here.
_ORBIT = 136
_FIRST_S2A = np.datetime64("2015-08-01")
#: S2A passed tile 32TMT in orbit 65 on 2020-03-02 at 10:27:45 UTC; this is 71 orbits and 2.2 degrees of latitude on.
_OVERPASS = timedelta(hours=9, minutes=38)
_TILE = "34TER"
_NOTES = {
    "datetime": "date as in the source; the time of day follows from the repeat cycle (orbit 136), to about a minute",
    "platform": "follows from the 10-day repeat cycle: S2B flies five days after S2A",
    "view:sun_elevation": "computed from datetime and the centre of the scene",
    "view:sun_azimuth": "computed from datetime and the centre of the scene",
    "eo:cloud_cover": "computed: share of scene classes 8, 9 and 10 in this subset",
    "s2:processing_baseline": "not in the source; 02.14 stands for 'before 04.00': the values carry no offset of 1000",
    "grid:code": "the tile that holds the place; the source was warped from it to EPSG:3035",
}
_EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "https://stac-extensions.github.io/view/v1.0.0/schema.json",
]
_COMMON = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B8A": "nir08", "B11": "swir16"}
#: Centre wavelength and width of S2A in micrometres, as providers list them.
_WAVE = {
    "B02": (0.49, 0.098), "B03": (0.56, 0.045), "B04": (0.665, 0.038),
    "B08": (0.842, 0.145), "B8A": (0.865, 0.033), "B11": (1.61, 0.143),
}  # fmt: skip
_CLASS_SHARES = {
    "s2:dark_features_percentage": 2, "s2:cloud_shadow_percentage": 3, "s2:vegetation_percentage": 4,
    "s2:not_vegetated_percentage": 5, "s2:water_percentage": 6, "s2:unclassified_percentage": 7,
    "s2:medium_proba_clouds_percentage": 8, "s2:high_proba_clouds_percentage": 9,
    "s2:thin_cirrus_percentage": 10, "s2:snow_ice_percentage": 11,
}  # fmt: skip
_CLOUDS = (8, 9, 10)
_PROVIDERS = [
    {
        "name": "European Union/ESA/Copernicus",
        "roles": ["producer", "licensor"],
        "url": "https://sentinels.copernicus.eu",
    },
    {"name": "European Commission, Joint Research Centre", "roles": ["processor"], "url": HOMEPAGE},
    {"name": "s2koop", "roles": ["host"], "url": "https://github.com/s2koop/s2koop"},
]


def make_item(date: np.datetime64, layers: dict[str, Layer], scl: npt.NDArray[np.uint16]) -> dict[str, Any]:
    """One date as a STAC item with hrefs relative to its own folder; ``scl`` (y, x) is the date's scene classes."""
    geometry, bbox = footprint(layers["SCL"])
    when, platform = _passage(date)
    elevation, azimuth = sun_position(when, (bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2)
    shares = {name: round(100 * float(np.mean(scl == value)), 4) for name, value in _CLASS_SHARES.items()}
    ident = f"S2{platform[-1].upper()}_{_TILE}_{when:%Y%m%d}_L2A"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": ident,
        "collection": COLLECTION,
        "geometry": geometry,
        "bbox": bbox,
        "properties": {
            "datetime": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "platform": platform,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "proj:code": CRS,
            "grid:code": f"MGRS-{_TILE}",
            "sat:relative_orbit": _ORBIT,
            "sat:orbit_state": "descending",
            "view:sun_elevation": round(elevation, 3),
            "view:sun_azimuth": round(azimuth, 3),
            "eo:cloud_cover": round(100 * float(np.isin(scl, _CLOUDS).mean()), 4),
            **shares,
            "s2:product_type": "S2MSI2A",
            "s2:processing_baseline": "02.14",
            "license": LICENSE,
            "providers": _PROVIDERS,
            "s2koop:attribution": ATTRIBUTION,
            "s2koop:notes": _NOTES,
        },
        "assets": {band: _asset(band, layer) for band, layer in layers.items()},
        "links": [
            {"rel": rel, "href": "../collection.json", "type": "application/json"}
            for rel in ("root", "parent", "collection")
        ],
    }


def make_collection(items: list[dict[str, Any]], tree_cover: Layer) -> dict[str, Any]:
    """The collection of ``items``, with relative links to them and the tree cover map as its own asset."""
    times = sorted(item["properties"]["datetime"] for item in items)
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": COLLECTION,
        "title": "Sentinel-2 L2A, mountain forest in Romania, 2015 to 2021",
        "description": (
            f"{len(items)} dates of one square kilometre of forest and grassland (22.15 E, 45.20 N), 10 and 20 m. "
            f"{ATTRIBUTION}. "
            "Source: Python package nrt 0.2.0; s2koop has written its netCDF files as COGs, values unchanged."
        ),
        "keywords": ["Sentinel-2", "L2A", "forest", "time series"],
        "license": LICENSE,
        "providers": _PROVIDERS,
        "extent": {"spatial": {"bbox": [items[0]["bbox"]]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "summaries": {"platform": ["sentinel-2a", "sentinel-2b"], "instruments": ["msi"], "gsd": [10, 20]},
        "s2koop:attribution": ATTRIBUTION,
        "assets": {
            "tree_cover_density_2018": {
                "href": "./tree_cover_density_2018.tif",
                "type": COG_TYPE,
                "title": "Tree cover density 2018, percent (Copernicus High Resolution Layer)",
                "roles": ["data"],
                **_grid(tree_cover),
                "proj:code": CRS,
            }
        },
        "links": [
            {"rel": "license", "href": "https://joinup.ec.europa.eu/collection/eupl/eupl-text-eupl-12"},
            {"rel": "about", "href": HOMEPAGE},
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{item['id']}/{item['id']}.json", "type": "application/geo+json"}
                for item in items
            ),
        ],
    }


def footprint(layer: Layer) -> tuple[dict[str, Any], list[float]]:
    """Outline of a layer as a GeoJSON polygon in degrees, and its bounding box."""
    from pyproj import Transformer

    left, top = layer.corner
    height, width = (n * layer.resolution for n in layer.values.shape[-2:])
    xs = [left, left + width, left + width, left, left]
    ys = [top - height, top - height, top, top, top - height]
    lons, lats = Transformer.from_crs(CRS, "OGC:CRS84", always_xy=True).transform(xs, ys)
    ring = [[round(float(lon), 7), round(float(lat), 7)] for lon, lat in zip(lons, lats, strict=True)]
    west, east = min(p[0] for p in ring), max(p[0] for p in ring)
    south, north = min(p[1] for p in ring), max(p[1] for p in ring)
    return {"type": "Polygon", "coordinates": [ring]}, [west, south, east, north]


def _passage(date: np.datetime64) -> tuple[datetime, str]:
    """When the satellite passed on a date, and which of the two it was."""
    day = date.astype("datetime64[D]")
    platform = {0: "sentinel-2a", 5: "sentinel-2b"}[int((day - _FIRST_S2A).astype(int)) % 10]
    return datetime.combine(day.item(), datetime.min.time(), UTC) + _OVERPASS, platform


def _asset(band: str, layer: Layer) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": f"./{band}.tif",
        "type": COG_TYPE,
        "title": "Scene classification map" if band == "SCL" else f"{COLOUR_KEYS[band]} ({band}), {layer.resolution} m",
        "roles": ["data"] if band == "SCL" else ["data", "reflectance"],
        "gsd": layer.resolution,
        **_grid(layer),
    }
    numbers = {"nodata": 0, "data_type": "uint16", "spatial_resolution": layer.resolution}
    if band == "SCL":
        return {**asset, "raster:bands": [{**numbers, "data_type": "uint8"}]}
    centre, width = _WAVE[band]
    described = {"name": band, "common_name": _COMMON[band], "center_wavelength": centre, "full_width_half_max": width}
    return {**asset, "eo:bands": [described], "raster:bands": [{**numbers, "scale": 0.0001, "offset": 0.0}]}


def _grid(layer: Layer) -> dict[str, Any]:
    left, top = layer.corner
    step = float(layer.resolution)
    return {"proj:shape": list(layer.values.shape[-2:]), "proj:transform": [step, 0.0, left, 0.0, -step, top]}
