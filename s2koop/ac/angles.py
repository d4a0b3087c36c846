"""Where sun and sensor stood: from a granule's metadata, a STAC item, the coordinates of a cube, or numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
import numpy.typing as npt
import xarray as xr

from s2koop._warn import warn_user
from s2koop.ac.inputs import as_field, check_crs, on_scene
from s2koop.cube._grid import parse_crs
from s2koop.cube.harmonise import _number as _property
from s2koop.cube.harmonise import _sun_zenith
from s2koop.errors import InputError, ReflectanceWarning

#: Zenith angle of the view where nothing is known of it, degrees: in the middle of Sentinel-2's swath; the azimuth
#: between sun and view is then taken as 90 degrees, half-way.
ASSUMED_VIEW, ASSUMED_AZIMUTH = 5.0, 90.0
#: Largest metadata file that is read; those of ESA have some 0.4 MB.
_MOST_BYTES = 16 * 2**20
#: Elements and attributes of a file, levels of them, and nodes of a grid: those of ESA have some 12,000, 9 and 529.
_MOST_ELEMENTS, _DEEPEST, _MOST_NODES = 200_000, 64, 10_000
#: The bands by their number in the metadata.
_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_BAND_IDS = tuple(str(number) for number in range(len(_BANDS)))
#: What people and catalogues call the angles.
_NAMES = {
    "sza": ("sza", "sun_zenith"),
    "saa": ("saa", "sun_azimuth"),
    "vza": ("vza", "view_zenith"),
    "vaa": ("vaa", "view_azimuth"),
    "raa": ("raa", "relative_azimuth"),
}
_CURE = (
    "say angles=dict(sza=..., vza=..., raa=...) in degrees, angles=item (a STAC item), or "
    "angles=s2koop.ac.read_angles('.../MTD_TL.xml')"
)


class Geometry(NamedTuple):
    """Angles over a scene in degrees, dims among (time, y, x), and where the view was assumed, dims among (time,)."""

    sza: xr.DataArray
    vza: xr.DataArray
    raa: xr.DataArray
    assumed: xr.DataArray


def read_angles(path: str | Path) -> xr.Dataset:
    """Sun and view angles of a Sentinel-2 granule from its ``MTD_TL.xml``, L1C or L2A, on the grid of 5 km.

    Parameters
    ----------
    path : str or Path
        The file in the folder of the granule.

    Returns
    -------
    Dataset
        ``sza``, ``saa`` (y, x) and ``vza``, ``vaa`` (band, y, x) in degrees, in the CRS of the tile. The view is the
        mean direction of the detectors that see a node; NaN where none does. Attributes: ``tile_id``, ``sensing_time``.

    Raises
    ------
    InputError
        If the file is absent, larger than 16 MB, no XML, far larger or deeper than metadata are, declares a document
        type (which they have no need of, and attacks have), or is no metadata of a granule.

    Examples
    --------
    >>> angles = read_angles(".../GRANULE/L1C_T46RER_A032448_20210908T043714/MTD_TL.xml")  # doctest: +SKIP
    >>> toa.ac.invert(aot=0.1, angles=angles)  # doctest: +SKIP
    """
    root = _parsed(Path(path))
    geocoding, angles = root.find(".//Tile_Geocoding"), root.find(".//Tile_Angles")
    if geocoding is None or angles is None:
        raise InputError(f"{path} holds no Tile_Angles; expected the MTD_TL.xml of a granule, not of a product")
    crs = _crs(geocoding)
    sun = {name: _grid(angles.find(f"Sun_Angles_Grid/{tag}")) for name, tag in (("sza", "Zenith"), ("saa", "Azimuth"))}
    shape = sun["sza"].shape
    if sun["saa"].shape != shape:
        raise InputError("the grids of angles in the metadata differ in shape")
    view = _view(angles, shape)
    step = [_number_at(angles, f"Sun_Angles_Grid/Zenith/{name}") for name in ("ROW_STEP", "COL_STEP")]
    found = xr.Dataset(
        {
            "sza": (("y", "x"), sun["sza"], {"long_name": "zenith angle of the sun", "units": "degree"}),
            "saa": (("y", "x"), sun["saa"], {"long_name": "azimuth of the sun", "units": "degree"}),
            "vza": (("band", "y", "x"), view[0], {"long_name": "zenith angle of the view", "units": "degree"}),
            "vaa": (("band", "y", "x"), view[1], {"long_name": "azimuth of the sensor", "units": "degree"}),
        },
        coords={
            "band": list(_BANDS),
            "y": _number_at(geocoding, "Geoposition/ULY") - step[0] * np.arange(shape[0]),
            "x": _number_at(geocoding, "Geoposition/ULX") + step[1] * np.arange(shape[1]),
        },
        attrs={"tile_id": root.findtext(".//TILE_ID", ""), "sensing_time": root.findtext(".//SENSING_TIME", "")},
    )
    import rioxarray  # noqa: F401  registers .rio

    return found.rio.write_crs(crs)


def _parsed(path: Path) -> ElementTree.Element:
    """The root of an XML file that is small in every way, and declares neither a document type nor entities."""
    if not path.is_file():
        raise InputError(f"there is no file {path}; expected the MTD_TL.xml of a granule")
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InputError(
            f"{path} has more than {_MOST_BYTES / 2**20:.0f} MB; the metadata of a granule have less than one"
        )
    try:
        _Survey().look(content)
        return ElementTree.fromstring(content)  # noqa: S314  # surveyed: no entities, and small
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no XML that can be read: {error}") from None


class _Survey:
    """Looks over XML before anything is made of it: how many elements there are, how deep, and what is declared."""

    def __init__(self) -> None:
        self._count = self._depth = 0

    def look(self, content: bytes) -> None:
        """Go through the content once.

        Raises
        ------
        InputError
            If it is not such as the metadata of a granule are.
        """
        scan = expat.ParserCreate()
        scan.StartElementHandler, scan.EndElementHandler = self._start, self._end
        scan.StartDoctypeDeclHandler = self._refuse  # before any entity, which only a document type declares
        scan.Parse(content, True)

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._count += 1 + len(attributes)
        self._depth += 1
        if self._count > _MOST_ELEMENTS or self._depth > _DEEPEST:
            raise InputError(
                f"the XML has more than {_MOST_ELEMENTS} elements, or is nested deeper than {_DEEPEST}; the metadata "
                "of a granule are smaller"
            )

    def _end(self, name: str) -> None:
        self._depth -= 1

    def _refuse(self, *_: Any) -> None:
        raise InputError("the file declares a document type, which the metadata of a granule never do; it is not read")


def _grid(element: ElementTree.Element | None) -> npt.NDArray[np.float64]:
    rows = [] if element is None else [row.text or "" for row in element.iterfind("Values_List/VALUES")]
    try:
        grid = np.array([[float(value) for value in row.split()] for row in rows])
    except ValueError:
        raise InputError(
            "a grid of angles in the metadata is damaged: its rows are not numbers, as many each"
        ) from None
    if grid.ndim != 2 or not 0 < grid.size <= _MOST_NODES:
        raise InputError("a grid of angles in the metadata is absent, damaged or too large")
    if (np.abs(grid) > 360).any():  # NaN, where no detector sees a node, is not
        raise InputError("a grid of angles in the metadata holds values beyond 360 degrees")
    return grid


def _view(angles: ElementTree.Element, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Zenith and azimuth (band, y, x): mean directions over the detectors."""
    east, north, up = (np.zeros((len(_BANDS), *shape)) for _ in range(3))
    for grid in angles.iterfind("Viewing_Incidence_Angles_Grids"):
        band = grid.get("bandId", "")
        if band not in _BAND_IDS:
            raise InputError(f"the metadata hold a band {band[:20]}, which Sentinel-2 has not")
        at = _BAND_IDS.index(band)
        zenith, azimuth = (np.radians(_grid(grid.find(tag))) for tag in ("Zenith", "Azimuth"))
        if zenith.shape != shape or azimuth.shape != shape:
            raise InputError("the grids of angles in the metadata differ in shape")
        seen = np.isfinite(zenith) & np.isfinite(azimuth)
        for total, part in zip(
            (east[at], north[at], up[at]),
            (np.sin(zenith) * np.sin(azimuth), np.sin(zenith) * np.cos(azimuth), np.cos(zenith)),
            strict=True,
        ):
            total[seen] += part[seen]
    missing = up == 0
    zenith = np.degrees(np.arctan2(np.hypot(east, north), up))
    azimuth = np.degrees(np.arctan2(east, north)) % 360
    return np.where(missing, np.nan, zenith), np.where(missing, np.nan, azimuth)


def _crs(geocoding: ElementTree.Element) -> int:
    """The EPSG code of the tile: any other text would be looked up by libraries that also read files."""
    code = geocoding.findtext("HORIZONTAL_CS_CODE", "").strip()
    if not re.fullmatch(r"EPSG:\d{4,6}", code, re.IGNORECASE | re.ASCII):
        raise InputError(f"the metadata give the CRS {code[:20]!r}; expected such as 'EPSG:32632'")
    return parse_crs(code)


def _number_at(element: ElementTree.Element, path: str) -> float:
    try:
        number = float(element.findtext(path) or "")
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise InputError(f"the metadata give no number at {path}")
    return number


def scene_geometry(scene: xr.DataArray, angles: Any = None) -> Geometry:
    """The angles over a scene.

    Parameters
    ----------
    scene : DataArray, dims ([time], band, y, x)
        Its coordinates ``sun_zenith``, ``sun_azimuth``, ``view_zenith`` and ``view_azimuth`` (as `s2koop.load` writes
        them) say what `angles` does not.
    angles : mapping, Dataset or STAC item, optional
        ``sza``, ``saa``, ``vza``, ``vaa``, ``raa``, or the names of the coordinates, as `as_field` takes them; the
        Dataset of `read_angles`; an item. Over bands the view is averaged.

    Raises
    ------
    InputError
        If the sun's zenith angle is not known, or the sun is below the horizon.

    Warns
    -----
    ReflectanceWarning
        The view is not known, and taken as 5 degrees from the vertical.
    """
    given = _given(angles)
    if isinstance(angles, xr.Dataset) and {"y", "x"} <= set(angles.dims):
        given = _from_grids(angles, scene)
    fields = {name: as_field(name, value, scene) for name, value in given.items()}
    for name, (_, coordinate) in _NAMES.items():
        if name not in fields and coordinate in scene.coords:
            fields[name] = as_field(coordinate, scene[coordinate].variable.to_base_variable().values, scene)
    if "sza" not in fields or _all_missing(fields["sza"]):
        raise InputError(f"the zenith angle of the sun is not known; {_CURE}")
    _check_sun(fields["sza"], scene)
    return _with_assumptions(fields, scene)


def _given(angles: Any) -> dict[str, Any]:
    """Angles by their short names, from a mapping or an item."""
    if angles is None:
        return {}
    if hasattr(angles, "properties"):
        angles = {"properties": angles.properties}
    if not isinstance(angles, Mapping):
        raise InputError(f"angles is a {type(angles).__name__}; {_CURE}")
    if "properties" in angles:
        properties = angles["properties"]
        found = {
            "sza": _sun_zenith(properties),
            "saa": _property(properties, "view:sun_azimuth", "s2:mean_solar_azimuth"),
            "vza": _property(properties, "view:incidence_angle", "view:off_nadir"),
            "vaa": _property(properties, "view:azimuth"),
        }
        return {name: value for name, value in found.items() if np.isfinite(value)}
    short = {spelling: name for name, spellings in _NAMES.items() for spelling in spellings}
    names = [str(name) for name in angles]
    unknown = [name for name in names if name not in short]
    if unknown:
        raise InputError(f"angles holds {unknown[0]!r}; expected some of {', '.join(_NAMES)} (degrees)")
    return {short[str(name)]: value for name, value in angles.items()}


def _from_grids(angles: xr.Dataset, scene: xr.DataArray) -> dict[str, Any]:
    """The angles of `read_angles` at the pixels of a scene, interpolated as directions: azimuths jump at the nadir."""
    lacking = [name for name in ("sza", "saa", "vza", "vaa") if name not in angles]
    if lacking:
        raise InputError(f"the Dataset of angles has no {', '.join(lacking)}; s2koop.ac.read_angles gives them all")
    check_crs("angles", angles, scene)
    found: dict[str, Any] = {}
    for zenith, azimuth in (("sza", "saa"), ("vza", "vaa")):
        parts = _direction(angles[zenith], angles[azimuth])
        if "band" in angles[zenith].dims:
            parts = parts.mean("band")
        east, north, up = (on_scene("angles", _filled(parts[name]), scene) for name in ("east", "north", "up"))
        found[zenith] = np.rad2deg(np.arctan2((east**2 + north**2) ** 0.5, up))
        found[azimuth] = np.rad2deg(np.arctan2(east, north)) % 360
    return found


def _direction(zenith: xr.DataArray, azimuth: xr.DataArray) -> xr.Dataset:
    """Unit vectors towards a direction."""
    tilt, turn = zenith * (np.pi / 180), azimuth * (np.pi / 180)
    across = np.sin(tilt)
    return xr.Dataset({"east": across * np.sin(turn), "north": across * np.cos(turn), "up": np.cos(tilt)})


def _filled(grid: xr.DataArray) -> xr.DataArray:
    """A grid whose missing nodes have the value of the nearest: pixels at the edge of the swath lie between both."""
    from scipy.ndimage import distance_transform_edt

    missing = np.isnan(grid.values)
    if missing.all():
        raise InputError("the grid of angles holds no value")
    nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
    return grid.copy(data=grid.values[tuple(nearest)])


def _check_sun(sza: xr.DataArray, scene: xr.DataArray) -> None:
    if sza.chunks is not None or sza.ndim > 1:
        return
    below = np.atleast_1d(sza.values) >= 90
    if below.any():
        when = f" on {str(scene['time'].values[below.argmax()])[:16]}" if "time" in sza.dims else ""
        raise InputError(
            f"the sun is below the horizon (zenith angle {np.atleast_1d(sza.values)[below.argmax()]:g} degrees{when}): "
            "there is no reflectance to correct; drop such dates, or check whether elevation was given instead"
        )


def _with_assumptions(fields: Mapping[str, xr.DataArray], scene: xr.DataArray) -> Geometry:
    """Zenith angles and the azimuth between them; what is not known of the view is assumed, and said."""
    vza = fields.get("vza", xr.DataArray(np.nan))
    if "raa" in fields:
        raa = fields["raa"]
    elif "saa" in fields and "vaa" in fields:
        raa = fields["saa"] - fields["vaa"]
    else:
        raa = xr.DataArray(np.nan)
    raa = abs((raa + 180) % 360 - 180)  # folded: 0 with the sun behind the sensor
    assumed = xr.DataArray(False)
    if "y" not in vza.dims:
        assumed, vza = assumed | vza.isnull(), vza.fillna(ASSUMED_VIEW)
    if "y" not in raa.dims:
        assumed, raa = assumed | raa.isnull(), raa.fillna(ASSUMED_AZIMUTH)
    if bool(assumed.any()):
        dates = f" on {int(assumed.sum())} of {assumed.size} dates" if assumed.ndim else ""
        warn_user(
            ReflectanceWarning(
                f"the view angles are not known{dates}; {ASSUMED_VIEW:g} degrees from the vertical is taken, and "
                f"flagged. {_CURE[0].upper()}{_CURE[1:]}"
            )
        )
    return Geometry(fields["sza"], vza, raa, assumed)


def _all_missing(field: xr.DataArray) -> bool:
    return field.chunks is None and field.ndim < 2 and bool(field.isnull().all())
