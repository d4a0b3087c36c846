"""The bands of the sensors we know: names, pixel sizes, wavelengths, and the aliases people type.

Wavelengths are the means of the published spectral responses, weighted by the response: ESA
COPE-GSEG-EOPG-TN-15-0007 (Sentinel-2, issue 4.0) and the PROBA-V responses of VITO (mean of the three
cameras).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from s2koop.catalog.providers import S2_LAYERS
from s2koop.errors import InputError


@dataclass(frozen=True)
class Band:
    """One spectral band.

    Attributes
    ----------
    name : str
        ESA name, such as ``"B8A"``; PROBA-V ``"BLUE"``, ``"RED"``, ``"NIR"``, ``"SWIR"``.
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

#: Sensors by name: ``"S2A"``, ``"S2B"``, ``"S2C"``, ``"PROBAV"``.
SENSORS: Mapping[str, Sensor] = MappingProxyType(
    {s.name: s for s in (_sentinel2(0), _sentinel2(1), _sentinel2(2), _PROBAV)}
)


def _alias_table() -> dict[str, str]:
    """Every spelling of a Sentinel-2 band or layer, lower case, to its ESA name."""
    table = {}
    for name, common, *_ in _S2_ROWS:
        stem = name[1:].lstrip("0").lower()  # "2", "8a", "12"
        table.update(dict.fromkeys((name.lower(), f"b{stem}", common), name))
    return table | {layer.lower(): layer for layer in S2_LAYERS}


_ALIASES = _alias_table()
_COMMON_NAMES = {row[1] for row in _S2_ROWS}


def band_names(bands: str | Iterable[str], *, available: Iterable[str] | None = None) -> list[str]:
    """Turn what a user typed into ESA names of Sentinel-2 bands and layers, in the order given.

    Parameters
    ----------
    bands : str or iterable of str
        ESA names, short names (``"B4"``) or common names (``"red"``), in any case; also the layers ``"SCL"``,
        ``"AOT"`` and ``"WVP"``.
    available : iterable of str, optional
        ESA names that are at hand; asking for another one is an error.

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
    """
    if not isinstance(bands, Iterable):
        raise InputError(f"bands={bands!r} is no name; expected one or several, such as 'B04' or ['red', 'nir']")
    asked = [bands] if isinstance(bands, str) else list(bands)
    if not asked:
        raise InputError("bands is empty; name at least one, such as bands=['B04', 'B08'], or leave it out for all")
    names = [_esa_name(band) for band in asked]
    if len(set(names)) < len(names):
        raise InputError(f"bands={asked!r} names a band twice (as {names}); name each band once")
    if available is not None:
        have = list(available)
        lacking = [name for name in names if name not in have]
        if lacking:
            raise InputError(f"the items hold no {', '.join(lacking)}; they hold {', '.join(have) or 'no band'}")
    return names


def _esa_name(band: object) -> str:
    name = _ALIASES.get(str(band).strip().lower())
    if name is None:
        near = dict.fromkeys(map(_typed, difflib.get_close_matches(str(band).lower(), _ALIASES, n=3)))
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        known = ", ".join(row[0] for row in _S2_ROWS)
        raise InputError(
            f"unknown band {band!r}: {hint}expected ESA names ({known}), common names such as 'red' or 'nir', "
            f"or {', '.join(S2_LAYERS)}"
        )
    return name


def _typed(alias: str) -> str:
    """Show common names as they are, all other spellings as the ESA name."""
    return alias if alias in _COMMON_NAMES else _ALIASES[alias]
