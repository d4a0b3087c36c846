"""What differs between STAC providers, in one table: addresses, collections, asset keys, access."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

#: ESA band name -> nominal resolution in metres.
S2_BANDS: dict[str, int] = {
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20,
    "B08": 10, "B8A": 20, "B09": 60, "B10": 60, "B11": 20, "B12": 20,
}  # fmt: skip

#: Layers that travel with L2A but are not reflectance.
S2_LAYERS: dict[str, int] = {"SCL": 20, "AOT": 10, "WVP": 10}

#: Earth Search and stactools name assets by colour.
COLOUR_KEYS: dict[str, str] = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16", "B12": "swir22",
    "SCL": "scl", "AOT": "aot", "WVP": "wvp",
}  # fmt: skip

#: Bands of Landsat by colour, since numbers differ between its instruments: B4 is near infrared on one, red on another.
LANDSAT_KEYS: dict[str, str] = {
    "COASTAL": "coastal", "BLUE": "blue", "GREEN": "green", "RED": "red", "NIR": "nir08", "SWIR1": "swir16",
    "SWIR2": "swir22",
}  # fmt: skip


def _sentinel2_keys(band: str) -> tuple[str, ...]:
    """Asset keys a band may stand under, best first."""
    colour = COLOUR_KEYS[band]
    # stactools and the SAFE-like layouts put a finer copy of AOT and WVP under "_10m"; bands stand bare
    names = [n for stem in (band, colour) for n in (f"{stem}_10m", stem, f"{stem}_20m", f"{stem}_60m")]
    return (*names, f"{colour}-jp2")


@dataclass(frozen=True)
class Mission:
    """Facts about the items of one mission, whoever provides them.

    Attributes
    ----------
    name : str
        The name a user types.
    title : str
        What the cubes of its items say as ``sensor``.
    bands, layers : mapping of str to int
        Reflectance, and what travels with it, with the pixel size in metres.
    keys : mapping of str to tuple of str
        Asset keys that a band or layer may stand under, best first.
    classes : str
        The layer that says what a pixel shows.
    scale, offset : float
        From digital numbers to reflectance, where an item does not state it; an offset of None depends on the item.
    credit : str
        Whom to name when showing the data; ``{years}`` stands for those of the items.
    """

    name: str
    title: str
    bands: Mapping[str, int]
    layers: Mapping[str, int]
    keys: Mapping[str, tuple[str, ...]]
    classes: str
    scale: float
    offset: float | None
    credit: str


#: Facts of each mission, by the name a user types.
MISSIONS: dict[str, Mission] = {
    m.name: m
    for m in (
        Mission(
            "sentinel-2",
            "Sentinel-2 MSI",
            S2_BANDS,
            S2_LAYERS,
            {band: _sentinel2_keys(band) for band in (*S2_BANDS, *S2_LAYERS)},
            classes="SCL",
            scale=1e-4,
            offset=None,
            credit="Contains modified Copernicus Sentinel data {years}",
        ),
        # Collection 2 Level-2, as USGS writes it and Earth Search and the Planetary Computer describe it
        Mission(
            "landsat",
            "Landsat",
            dict.fromkeys(LANDSAT_KEYS, 30),
            {"QA_PIXEL": 30},
            {**{band: (key,) for band, key in LANDSAT_KEYS.items()}, "QA_PIXEL": ("qa_pixel", "QA_PIXEL")},
            classes="QA_PIXEL",
            scale=2.75e-5,
            offset=-0.2,
            credit="Landsat Collection 2 {years} courtesy of the U.S. Geological Survey",
        ),
    )
}

#: All bands of reflectance, and all layers beside them; no name stands for two things.
BANDS: dict[str, int] = {band: size for mission in MISSIONS.values() for band, size in mission.bands.items()}
#: Layers of classes, which have no mean.
CLASS_LAYERS = frozenset(mission.classes for mission in MISSIONS.values())
LAYERS: dict[str, int] = {layer: size for mission in MISSIONS.values() for layer, size in mission.layers.items()}


#: Files that one process reads at once from the network, where the provider sets no other limit.
CONNECTIONS = 16


@dataclass(frozen=True)
class Provider:
    """Facts about one STAC provider.

    Attributes
    ----------
    name : str
        The name a user types.
    url : str
        Root of its STAC API.
    collections : mapping of str to mapping of str to str
        By sensor (``"sentinel-2"``, ``"landsat"``), the collection of each level it has, ``"L2A"`` or ``"L1C"``.
    title : str
        One line for people.
    note : str
        What a user has to know or to have, such as credentials.
    bucket, host : str
        S3 bucket of its files that need keys, and the machine that answers for it.
    gdal : mapping of str to str
        GDAL settings that this bucket needs, beyond those of every remote file.
    connections : int
        Files that one process reads at once, for those that allow few.
    """

    name: str
    url: str
    collections: Mapping[str, Mapping[str, str]]
    title: str
    note: str = ""
    bucket: str = ""
    host: str = ""
    gdal: Mapping[str, str] = field(default_factory=dict)
    connections: int = CONNECTIONS


_EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
_CDSE_FILES = "eodata.dataspace.copernicus.eu"

#: Facts of each provider, by the name a user types.
PROVIDERS: dict[str, Provider] = {
    p.name: p
    for p in (
        Provider(
            "earth-search",
            _EARTH_SEARCH,
            {
                "sentinel-2": {"L2A": "sentinel-2-l2a", "L1C": "sentinel-2-l1c"},
                "landsat": {"L2A": "landsat-c2-l2"},
            },
            "Earth Search v1 (Element 84, AWS open data, public COGs)",
            note="Files of L1C and of Landsat lie in buckets whose readers pay: they take AWS keys in the environment "
            "and load(gdal={'AWS_REQUEST_PAYER': 'requester'}).",
        ),
        Provider(
            "earth-search-c1",
            _EARTH_SEARCH,
            {"sentinel-2": {"L2A": "sentinel-2-c1-l2a"}},
            "Earth Search v1, Collection 1 (reprocessed by ESA with one baseline, public COGs)",
            note="Years that ESA has yet to reprocess are missing.",
        ),
        Provider(
            "planetary-computer",
            "https://planetarycomputer.microsoft.com/api/stac/v1",
            {"sentinel-2": {"L2A": "sentinel-2-l2a"}, "landsat": {"L2A": "landsat-c2-l2"}},
            "Microsoft Planetary Computer (COGs behind short-lived signatures)",
        ),
        Provider(
            "cdse",
            "https://stac.dataspace.copernicus.eu/v1",
            {"sentinel-2": {"L2A": "sentinel-2-l2a", "L1C": "sentinel-2-l1c"}},
            "Copernicus Data Space Ecosystem (JPEG 2000 on S3, with keys)",
            note=f"Put your CDSE S3 keys into .netrc (machine {_CDSE_FILES}), a profile [cdse] of .aws/credentials, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; at most 4 connections.",
            bucket="eodata",
            host=_CDSE_FILES,
            gdal={"AWS_S3_ENDPOINT": _CDSE_FILES, "AWS_VIRTUAL_HOSTING": "FALSE"},
            connections=4,
        ),
    )
}


def provider_of_bucket(bucket: str) -> Provider | None:
    """Return the provider whose S3 bucket this is, if its files need keys of its own."""
    return next((p for p in PROVIDERS.values() if p.bucket == bucket != ""), None)


#: What addresses start with that answer a reader with a page to log in.
_LOGIN_PAGES = ("https://landsatlook.usgs.gov/",)


def open_href(href: Any, fields: Mapping[str, Any]) -> Any:
    """The address of an asset that a program can open: where USGS asks to log in, the one on S3 that stands beside it.

    Examples
    --------
    >>> beside = {"alternate": {"s3": {"href": "s3://usgs-landsat/collection02/B4.TIF"}}}
    >>> open_href("https://landsatlook.usgs.gov/data/collection02/B4.TIF", beside)
    's3://usgs-landsat/collection02/B4.TIF'
    """
    if not str(href).startswith(_LOGIN_PAGES):
        return href
    found: Any = fields
    for name in ("alternate", "s3", "href"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found or href


def mission_of(available: Iterable[str]) -> Mission:
    """Return the mission of an item by its asset keys: the quality of Landsat's pixels has a name of its own.

    Examples
    --------
    >>> mission_of(["red", "nir08", "qa_pixel"]).name, mission_of(["red", "nir08", "scl"]).name
    ('landsat', 'sentinel-2')
    """
    landsat = MISSIONS["landsat"]
    return landsat if any(key in available for key in landsat.keys["QA_PIXEL"]) else MISSIONS["sentinel-2"]


def asset_keys(available: Iterable[str]) -> dict[str, str]:
    """Map names of bands and layers to the asset keys of one item, whatever the provider calls them.

    Where an item carries one band at several resolutions, the finest wins; JPEG 2000 twins (``red-jp2``)
    are taken only where there is no COG.

    Parameters
    ----------
    available : iterable of str
        The asset keys of the item.

    Returns
    -------
    dict of str to str
        For instance ``{"B04": "red", "SCL": "scl"}``.

    Examples
    --------
    >>> asset_keys(["red", "red-jp2", "nir08", "scl", "thumbnail"])
    {'B04': 'red', 'B8A': 'nir08', 'SCL': 'scl'}
    >>> asset_keys(["B04_10m", "B04_20m", "SCL_20m", "Product"])
    {'B04': 'B04_10m', 'SCL': 'SCL_20m'}
    >>> asset_keys(["red", "nir08", "qa_pixel"])
    {'RED': 'red', 'NIR': 'nir08', 'QA_PIXEL': 'qa_pixel'}
    """
    return dict(_asset_keys(frozenset(available)))


@lru_cache(maxsize=256)
def _asset_keys(present: frozenset[str]) -> dict[str, str]:
    """Worked out once for the thousand items of a provider, which have the same keys."""
    found = {}
    for band, candidates in mission_of(present).keys.items():
        for key in candidates:
            if key in present:
                found[band] = key
                break
    return found
