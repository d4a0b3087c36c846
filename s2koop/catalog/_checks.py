"""What a user asks of a search, checked and brought into one form before the first request."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from s2koop._numbers import whole
from s2koop.catalog.providers import MISSIONS
from s2koop.errors import InputError

LEVELS = ("L2A", "L1C")
_ORDER = "the order is west, south, east, north, in degrees"
_PARTIAL_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def is_number(value: Any) -> bool:
    """Tell whether a value is one real number that a float can hold, of Python or NumPy; True and False are none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def check_bbox(bbox: Sequence[float]) -> list[float]:
    """Return west, south, east, north as floats, or say what is wrong with them."""
    try:
        box = [float(value) for value in bbox]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"bbox is {bbox!r}, expected four numbers: {_ORDER}") from error
    if len(box) != 4:
        raise InputError(f"bbox has {len(box)} numbers, expected four: {_ORDER}")
    west, south, east, north = box
    _check_degrees("bbox", west, south, east, north)
    if west > east:
        raise InputError(
            f"bbox has its west {west:g} east of its east {east:g}; {_ORDER}. An area across the antimeridian "
            "takes two boxes, one after the other"
        )
    if south > north:
        raise InputError(f"bbox has its south {south:g} north of its north {north:g}; {_ORDER}")
    return box


def _check_degrees(name: str, west: float, south: float, east: float, north: float) -> None:
    values = (west, south, east, north)
    if all(-180 <= lon <= 180 for lon in (west, east)) and all(-90 <= lat <= 90 for lat in (south, north)):
        return
    if not all(abs(value) <= 180 for value in values):
        hint = "these look like projected coordinates; give degrees (EPSG:4326)"
    elif abs(west) <= 90 and abs(east) <= 90:
        hint = "latitude and longitude look exchanged: longitude comes first"
    else:
        hint = _ORDER
    raise InputError(
        f"{name} reaches from ({west:g}, {south:g}) to ({east:g}, {north:g}), which is not on earth; {hint}"
    )


def check_geometry(value: Any) -> dict[str, Any]:
    """Return the GeoJSON geometry in degrees of a shapely object, a dict, or anything with ``__geo_interface__``."""
    import shapely

    document = getattr(value, "__geo_interface__", value)
    if not isinstance(document, Mapping) or "type" not in document:
        raise InputError(
            f"intersects is a {type(value).__name__}, expected a GeoJSON dict, a shapely geometry, or an object with "
            "__geo_interface__"
        )
    try:
        shape = _shape(document)
    except Exception as error:  # shapely and pyproj raise whatever their parsing stumbles over
        raise InputError(f"intersects cannot be read as GeoJSON: {error}") from error
    if shape.is_empty:
        raise InputError("intersects is an empty geometry; there is nothing it could touch")
    _check_degrees("intersects", *shape.bounds)
    if not shape.is_valid:
        raise InputError(
            f"intersects is not a valid geometry ({shapely.is_valid_reason(shape)}); repair it, for instance with "
            "shapely.make_valid"
        )
    return dict(shapely.geometry.mapping(shape))


def _shape(document: Mapping[str, Any]) -> Any:
    import shapely

    if document["type"] == "Feature":
        return shapely.geometry.shape(document["geometry"])
    if document["type"] == "FeatureCollection":
        return shapely.union_all([shapely.geometry.shape(feature["geometry"]) for feature in document["features"]])
    return shapely.geometry.shape(document)


def check_datetime(value: Any) -> str:
    """Return ``start/end`` in RFC 3339 of a string, a date or datetime of any library, or a pair of these.

    A year, month or day stands for all of it, and so does midnight without a time zone, which is how pandas and
    NumPy write a day; ``None`` or ``".."`` leaves one end open.

    Examples
    --------
    >>> check_datetime("2020-02")
    '2020-02-01T00:00:00Z/2020-02-29T23:59:59Z'
    >>> check_datetime(("2019", None))
    '2019-01-01T00:00:00Z/..'
    """
    ends = _ends(value)
    if len(ends) not in (1, 2):
        raise InputError(f"datetime is {value!r}, expected one date or a start and an end")
    spans = [_span(end, value) for end in ends]
    first, last = spans[0][0], spans[-1][1]
    if first is None and last is None:
        raise InputError(f"datetime is {value!r}: at least one end has to be given; leave it out for all dates")
    if first is not None and last is not None and first > last:
        raise InputError(
            f"datetime {value!r} ends ({last:%Y-%m-%d}) before it starts ({first:%Y-%m-%d}); exchange the two"
        )
    return "/".join(".." if end is None else end.strftime("%Y-%m-%dT%H:%M:%SZ") for end in (first, last))


def _ends(value: Any) -> list[Any]:
    """Split text at the slash; take a pair of any kind apart, a ``DatetimeIndex`` too."""
    if isinstance(value, str):
        return value.split("/")
    try:
        return list(value)
    except TypeError:
        return [value]


def _span(end: Any, given: Any) -> tuple[dt.datetime | None, dt.datetime | None]:
    """First and last second that a date stands for."""
    if end is None or (isinstance(end, str) and end in ("", "..")):
        return None, None
    try:
        if isinstance(end, str) and (partial := _PARTIAL_DATE.fullmatch(end.strip())):
            return _partial_span(*partial.groups())
        if isinstance(end, str):
            return (_utc(dt.datetime.fromisoformat(end.strip())),) * 2
        if isinstance(end, dt.date) and not isinstance(end, dt.datetime):
            return _partial_span(*end.isoformat().split("-"))
        if isinstance(end, dt.datetime) and end == end:  # NaT of pandas is a datetime that equals nothing
            return _whole_day_or_instant(end)
        import numpy as np

        if isinstance(end, np.datetime64) and not np.isnat(end):
            return _span(str(end) if np.datetime_data(end)[0] in "YMD" else end.astype("datetime64[s]").item(), given)
    except (ValueError, OverflowError):  # the last for zones that lead beyond the years that a date can have
        pass
    raise InputError(
        f"datetime {given!r} cannot be read; expected such as '2020', '2020-06', '2020-06-01/2020-09-30', "
        "'2020-06-01/..', a date, or a pair (start, end)"
    )


def _partial_span(year: str, month: str | None = None, day: str | None = None) -> tuple[dt.datetime, dt.datetime]:
    first = dt.datetime(int(year), int(month or 1), int(day or 1), tzinfo=dt.UTC)
    if day:
        after = first + dt.timedelta(days=1)
    elif month:
        after = (first + dt.timedelta(days=31)).replace(day=1)
    else:
        after = first.replace(year=first.year + 1)
    return first, after - dt.timedelta(seconds=1)


def _whole_day_or_instant(moment: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    if moment.tzinfo is None and moment.time() == dt.time():
        return _partial_span(*moment.date().isoformat().split("-"))
    return (_utc(moment),) * 2


def _utc(instant: dt.datetime) -> dt.datetime:
    return instant.astimezone(dt.UTC) if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def check_level(level: str) -> str:
    """Return ``"L2A"`` or ``"L1C"``, whatever the case."""
    if isinstance(level, str) and level.upper() in LEVELS:
        return level.upper()
    raise InputError(f"level is {level!r}, expected 'L2A' (surface reflectance) or 'L1C' (top of atmosphere)")


def check_sensor(sensor: str) -> str:
    """Return the name of a mission, whatever the case."""
    if isinstance(sensor, str) and sensor.lower() in MISSIONS:
        return sensor.lower()
    raise InputError(f"sensor is {sensor!r}, expected one of {', '.join(map(repr, MISSIONS))}")


def check_max_cloud(value: float) -> float:
    """Return a cloud cover in percent."""
    if not is_number(value) or not 0 <= value <= 100:
        raise InputError(f"max_cloud is {value!r}, expected percent from 0 to 100")
    return float(value)


def check_name(argument: str, value: str) -> str:
    """Return a name that was given as one string."""
    if not isinstance(value, str) or not value:
        raise InputError(f"{argument} is {value!r}, expected one name")
    return value


def check_limit(value: int) -> int:
    """Return the number of items asked for."""
    return whole("limit", value, least=1)


def check_errors(value: str) -> str:
    """Return what to do with what cannot be used."""
    if value not in ("raise", "mask"):
        raise InputError(f"errors is {value!r}, expected 'raise' or 'mask' (leave out what cannot be used, and warn)")
    return value


def check_filter(value: Any) -> str:
    """Return the language of a CQL2 filter."""
    if isinstance(value, str) and value.strip():
        return "cql2-text"
    if isinstance(value, Mapping) and value:
        return "cql2-json"
    raise InputError(
        f"filter is {value!r}, expected CQL2 as text such as \"eo:cloud_cover < 10 AND platform = 'sentinel-2b'\" "
        "or as JSON in a dict"
    )
