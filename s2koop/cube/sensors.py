"""The bands of the sensors we know: names, pixel sizes, wavelengths, and the aliases people type.

Wavelengths are the means of the published spectral responses, weighted by the response: ESA
COPE-GSEG-EOPG-TN-15-0007 (Sentinel-2, issue 4.0) and the PROBA-V responses of VITO (mean of the three
cameras); those of Landsat 8 are the centres that Barsi et al. (2014, Remote Sensing 6, 10232-10251) give.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from s2koop.catalog.providers import MISSIONS
from s2koop.errors import InputError


@dataclass(frozen=True)
class Band:
    """One spectral band.

    Attributes
    ----------
    name : str
        ESA name, such as ``"B8A"``; PROBA-V ``"BLUE"``, ``"RED"``, ``"NIR"``, ``"SWIR"``; Landsat ``"COASTAL"``,
        ``"BLUE"``, ``"GREEN"``, ``"RED"``, ``"NIR"``, ``"SWIR1"``, ``"SWIR2"``, whichever instrument.
    common_name : str
        What people call it, such as ``"nir08"``.
    resolution : float
        Pixel size in metres.
    wavelength : float
        Centre wavelength in nanometres.
    """

    name: str
    common_name: str
    resolution: float
    wavelength: float


@dataclass(frozen=True)
class Sensor:
    """A sensor and its bands, in the order of a cube."""

    name: str
    title: str
    bands: Mapping[str, Band]


_S2_ROWS = (
    # name, common name, metres, centre wavelengths in nm of S2A, S2B, S2C
    ("B01", "coastal", 60, (442.7, 442.2, 444.2)),
    ("B02", "blue", 10, (492.7, 492.3, 489.0)),
    ("B03", "green", 10, (559.8, 558.9, 560.6)),
    ("B04", "red", 10, (664.6, 664.9, 666.5)),
    ("B05", "rededge1", 20, (704.1, 703.8, 707.1)),
    ("B06", "rededge2", 20, (740.5, 739.1, 741.1)),
    ("B07", "rededge3", 20, (782.8, 779.7, 784.7)),
    ("B08", "nir", 10, (832.8, 832.9, 834.6)),
    ("B8A", "nir08", 20, (864.7, 864.0, 865.6)),
    ("B09", "nir09", 60, (945.1, 943.2, 947.2)),
    ("B10", "cirrus", 60, (1373.5, 1376.9, 1372.2)),
    ("B11", "swir16", 20, (1613.7, 1610.4, 1612.0)),
    ("B12", "swir22", 20, (2202.4, 2185.7, 2191.3)),
)


def _sentinel2(satellite: int) -> Sensor:
    bands = {row[0]: Band(row[0], row[1], row[2], row[3][satellite]) for row in _S2_ROWS}
    letter = "ABC"[satellite]
    return Sensor(f"S2{letter}", f"Sentinel-2{letter} MSI", MappingProxyType(bands))


_PROBAV = Sensor(
    "PROBAV",
    "PROBA-V",
    MappingProxyType(
        {
            "BLUE": Band("BLUE", "blue", 100, 463.3),
            "RED": Band("RED", "red", 100, 654.9),
            "NIR": Band("NIR", "nir", 100, 834.6),
            "SWIR": Band("SWIR", "swir16", 200, 1602.3),
        }
    ),
)

_OLI_ROWS = (
    ("COASTAL", "coastal", 443.0),
    ("BLUE", "blue", 482.0),
    ("GREEN", "green", 561.4),
    ("RED", "red", 654.6),
    ("NIR", "nir08", 864.7),
    ("SWIR1", "swir16", 1608.9),
    ("SWIR2", "swir22", 2200.7),
)
_OLI = Sensor(
    "OLI",
    "Landsat 8 OLI",
    MappingProxyType({name: Band(name, common, 30, wavelength) for name, common, wavelength in _OLI_ROWS}),
)

#: Sensors by name: ``"S2A"``, ``"S2B"``, ``"S2C"``, ``"PROBAV"``, ``"OLI"`` (Landsat 8 and 9).
SENSORS: Mapping[str, Sensor] = MappingProxyType(
    {s.name: s for s in (_sentinel2(0), _sentinel2(1), _sentinel2(2), _PROBAV, _OLI)}
)

#: The sensor whose wavelengths stand for those of a mission.
REFERENCE: Mapping[str, Sensor] = MappingProxyType({"sentinel-2": SENSORS["S2A"], "landsat": SENSORS["OLI"]})


def _sentinel2_aliases() -> dict[str, str]:
    """Every spelling of a Sentinel-2 band, lower case, to its ESA name."""
    table = {}
    for name, common, *_ in _S2_ROWS:
        stem = name[1:].lstrip("0").lower()  # "2", "8a", "12"
        table.update(dict.fromkeys((name.lower(), f"b{stem}", common), name))
    return table


def _landsat_aliases() -> dict[str, str]:
    """Every spelling of a Landsat band; its numbers are none, since they differ between instruments."""
    return {spelling: name for name, common, _ in _OLI_ROWS for spelling in (name.lower(), common)}


#: By mission, every spelling of its bands and layers, lower case.
_ALIASES: Mapping[str, Mapping[str, str]] = {
    name: table | {layer.lower(): layer for layer in MISSIONS[name].layers}
    for name, table in (("sentinel-2", _sentinel2_aliases()), ("landsat", _landsat_aliases()))
}
_COMMON_NAMES = {row[1] for row in (*_S2_ROWS, *_OLI_ROWS)}


def band_names(bands: str | Iterable[str], *, available: Iterable[str] | None = None) -> list[str]:
    """Turn what a user typed into names of bands and layers, in the order given.

    Parameters
    ----------
    bands : str or iterable of str
        ESA names, short names (``"B4"``) or common names (``"red"``), in any case; also the layers ``"SCL"``,
        ``"AOT"`` and ``"WVP"``. Of Landsat the names are colours (``"RED"``, ``"SWIR1"``), its layer ``"QA_PIXEL"``.
    available : iterable of str, optional
        Names that are at hand; asking for another one is an error. They tell the mission, which without them is
        Sentinel-2.

    Returns
    -------
    list of str

    Raises
    ------
    InputError
        If a name is unknown, not available or repeated, or if none is given.

    Examples
    --------
    >>> band_names(["red", "nir", "B8a", "b5"])
    ['B04', 'B08', 'B8A', 'B05']
    >>> band_names(["red", "nir08"], available=["GREEN", "RED", "NIR"])
    ['RED', 'NIR']
    """
    if not isinstance(bands, Iterable):
        raise InputError(f"bands={bands!r} is no name; expected one or several, such as 'B04' or ['red', 'nir']")
    asked = [bands] if isinstance(bands, str) else list(bands)
    if not asked:
        raise InputError("bands is empty; name at least one, such as bands=['B04', 'B08'], or leave it out for all")
    have = None if available is None else list(available)
    mission = "landsat" if any(name in MISSIONS["landsat"].keys for name in have or ()) else "sentinel-2"
    names = [_full_name(band, mission) for band in asked]
    if len(set(names)) < len(names):
        raise InputError(f"bands={asked!r} names a band twice (as {names}); name each band once")
    if have is not None:
        lacking = [name for name in names if name not in have]
        if lacking:
            raise InputError(f"the items hold no {', '.join(lacking)}; they hold {', '.join(have) or 'no band'}")
    return names


def _full_name(band: object, mission: str) -> str:
    aliases = _ALIASES[mission]
    name = aliases.get(str(band).strip().lower())
    if name is None:
        close = difflib.get_close_matches(str(band).lower(), aliases, n=3)
        near = dict.fromkeys(alias if alias in _COMMON_NAMES else aliases[alias] for alias in close)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        kind, nir = ("ESA names", "nir") if mission == "sentinel-2" else ("names of Landsat", "nir08")
        known, layers = ", ".join(MISSIONS[mission].bands), ", ".join(MISSIONS[mission].layers)
        raise InputError(
            f"unknown band {band!r}: {hint}expected {kind} ({known}), common names such as 'red' or {nir!r}, or "
            f"{layers}"
        )
    return name
