"""What differs between STAC providers of Sentinel-2, in one table: addresses, collections, asset keys, access."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Provider:
    """Facts about one STAC provider.

    Attributes
    ----------
    name : str
        The name a user types.
    url : str
        Root of its STAC API.
    collections : mapping of str to str
        Collection of each level, ``"L2A"`` and ``"L1C"``.
    title : str
        One line for people.
    gdal : mapping of str to str
        GDAL settings its assets need, beyond those of every remote file.
    note : str
        What a user has to know or to have, such as credentials.
    """

    name: str
    url: str
    collections: Mapping[str, str]
    title: str
    gdal: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


#: Facts of each provider, by the name a user types.
PROVIDERS: dict[str, Provider] = {
    p.name: p
    for p in (
        Provider(
            "earth-search",
            "https://earth-search.aws.element84.com/v1",
            {"L2A": "sentinel-2-l2a", "L1C": "sentinel-2-l1c"},
            "Earth Search v1 (Element 84, AWS open data, public COGs)",
            note="L1C is requester pays on S3.",
        ),
        Provider(
            "planetary-computer",
            "https://planetarycomputer.microsoft.com/api/stac/v1",
            {"L2A": "sentinel-2-l2a"},
            "Microsoft Planetary Computer (COGs behind short-lived signatures)",
        ),
        Provider(
            "cdse",
            "https://stac.dataspace.copernicus.eu/v1",
            {"L2A": "sentinel-2-l2a", "L1C": "sentinel-2-l1c"},
            "Copernicus Data Space Ecosystem (JPEG 2000 on S3, with keys)",
            gdal={"AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu", "AWS_VIRTUAL_HOSTING": "FALSE"},
            note="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to your CDSE S3 keys; at most 4 connections.",
        ),
    )
}


def asset_keys(available: Iterable[str]) -> dict[str, str]:
    """Map ESA band and layer names to the asset keys of one item, whatever the provider calls them.

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
    """
    present = set(available)
    found = {}
    for band in (*S2_BANDS, *S2_LAYERS):
        for key in _candidates(band):
            if key in present:
                found[band] = key
                break
    return found


def _candidates(band: str) -> tuple[str, ...]:
    """Asset keys a band may stand under, best first."""
    colour = COLOUR_KEYS[band]
    # stactools and the SAFE-like layouts put a finer copy of AOT and WVP under "_10m"; bands stand bare
    names = [n for stem in (band, colour) for n in (f"{stem}_10m", stem, f"{stem}_20m", f"{stem}_60m")]
    return (*names, f"{colour}-jp2")
