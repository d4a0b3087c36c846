"""The filters of STAC item search as plain functions: time, area, query, CQL2, order, fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Item = dict[str, Any]
Span = tuple[datetime, datetime]

_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class BadRequest(Exception):
    """A request that cannot be answered, with the HTTP status that says so."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


# time


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant; one without a zone is UTC."""
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{text!r} is no date and time of RFC 3339, such as 2020-06-01T00:00:00Z") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def to_text(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_interval(text: str) -> Span:
    """Read ``instant``, ``start/end``, and either end open as ``..`` or nothing."""
    if not isinstance(text, str):
        raise BadRequest(f"datetime is {text!r}, expected a string")
    ends = text.split("/")
    if len(ends) > 2 or all(end in ("", "..") for end in ends):
        raise BadRequest(f"datetime {text!r} is neither an instant nor start/end with at least one end given")
    first = _EARLIEST if ends[0] in ("", "..") else parse_instant(ends[0])
    last = _LATEST if ends[-1] in ("", "..") else parse_instant(ends[-1])
    if first > last:
        raise BadRequest(f"datetime {text!r} ends before it starts")
    return first, last


def item_span(item: Item) -> Span:
    """First and last instant of an item."""
    properties = item["properties"]
    if properties.get("datetime"):
        instant = parse_instant(properties["datetime"])
        return instant, instant
    return parse_instant(properties["start_datetime"]), parse_instant(properties["end_datetime"])


# area


def area(geometry: Any) -> Any:
    """Read GeoJSON as a shapely geometry."""
    import shapely

    try:
        shape = shapely.geometry.shape(geometry)
    except Exception as error:  # shapely raises whatever its parsing stumbles over
        raise BadRequest(f"intersects is no GeoJSON geometry: {error}") from error
    if shape.is_empty:
        raise BadRequest("intersects is an empty geometry")
    return shape


def bbox_area(bbox: Any) -> Any:
    """Read west, south, east, north (or the six of 3D); west > east crosses the antimeridian."""
    import shapely

    if not isinstance(bbox, Sequence) or len(bbox) not in (4, 6) or not all(isinstance(v, int | float) for v in bbox):
        raise BadRequest(f"bbox is {bbox!r}, expected 4 numbers (west, south, east, north) or 6")
    half = len(bbox) // 2
    (west, south), (east, north) = bbox[:2], bbox[half : half + 2]
    if south > north:
        raise BadRequest(f"bbox has its south {south} above its north {north}")
    if west > east:
        return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))
    return shapely.box(west, south, east, north)


def item_geometry(item: Item) -> Any:
    """Outline of an item, else its bounding box; STAC allows an item that lies nowhere."""
    import shapely

    if item.get("geometry"):
        return shapely.geometry.shape(item["geometry"])
    if not item.get("bbox"):
        return shapely.Polygon()
    half = len(item["bbox"]) // 2
    return shapely.box(*item["bbox"][:2], *item["bbox"][half : half + 2])


# properties


def strings(name: str, value: Any) -> list[str]:
    """Insist on a list of strings: the string "abc" would pass as three of them."""
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise BadRequest(f"{name} is {value!r}, expected a list of strings")
    return value


_MISSING = object()


def look_up(item: Item, name: str) -> Any:
    """Value of ``id``, ``properties.eo:cloud_cover`` or plain ``eo:cloud_cover``; a sentinel if there is none."""
    if name in ("id", "collection"):
        return item.get(name, _MISSING)
    found: Any = item["properties"]
    for part in name.removeprefix("properties.").split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _MISSING
        found = found[part]
    return found


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "startsWith": lambda a, b: a.startswith(b),
    "endsWith": lambda a, b: a.endswith(b),
    "contains": lambda a, b: b in a,
    "in": lambda a, b: a in b,
}
_ORDERED = ("lt", "lte", "gt", "gte")


def query_predicate(query: Any) -> Callable[[Item], bool]:
    """Build the test of the query extension, ``{"eo:cloud_cover": {"lt": 10}}``."""
    if not isinstance(query, Mapping) or not all(isinstance(tests, Mapping) for tests in query.values()):
        raise BadRequest(f'query is {query!r}, expected an object such as {{"eo:cloud_cover": {{"lt": 10}}}}')
    terms = [(name, operator, value) for name, tests in query.items() for operator, value in tests.items()]
    for name, operator, value in terms:
        _check_term(name, operator, value)
    return lambda item: all(_holds(look_up(item, name), operator, value) for name, operator, value in terms)


def _check_term(name: str, operator: str, value: Any) -> None:
    if operator not in _OPERATORS:
        raise BadRequest(f"query knows no operator {operator!r}; it knows {sorted(_OPERATORS)}")
    if operator == "in" and not isinstance(value, list):
        raise BadRequest(f"query of {name!r}: in takes a list, not {value!r}")
    if operator in ("startsWith", "endsWith") and not isinstance(value, str):
        raise BadRequest(f"query of {name!r}: {operator} takes a string, not {value!r}")


def _holds(found: Any, operator: str, wanted: Any) -> bool:
    if found is _MISSING or found is None:
        return False
    try:
        return _OPERATORS[operator](found, wanted)
    except (TypeError, AttributeError) as error:
        # query=["eo:cloud_cover<10"] of pystac-client sends the string "10"; comparing as text would give wrong items
        raise BadRequest(
            f"query compares {found!r} with {wanted!r} by {operator}: the types differ; "
            'give a number, in the form {"eo:cloud_cover": {"lt": 10}}'
        ) from error


def cql2_predicate(expression: Any, language: str | None = None) -> Callable[[Item], bool]:
    """Build the test of a CQL2 filter, as text or JSON."""
    try:
        from cql2 import Expr
    except ImportError as error:
        raise BadRequest(
            "a CQL2 filter on a catalogue in memory needs the package cql2. Run: pip install 's2koop[cql2]'", status=422
        ) from error
    if language not in (None, "cql2-text", "cql2-json"):
        raise BadRequest(f"filter-lang is {language!r}, expected cql2-text or cql2-json")
    try:
        parsed = Expr(expression)
        parsed.validate()
    except Exception as error:
        raise BadRequest(f"the filter is not CQL2: {_cql2_fault(expression, str(error))}") from error

    names = _properties_of(parsed.to_json())

    def matches(item: Item) -> bool:
        try:
            return bool(parsed.matches({key: value for key, value in item.items() if key not in _NOT_FILTERED}))
        except Exception as error:
            # cql2 cannot decide: right for an item that lacks the property, otherwise the expression is to blame
            if all(_is_there(item, name) for name in names):
                raise BadRequest(
                    f"the filter cannot be evaluated on item {item['id']!r}: check its types and functions ({error})"
                ) from error
            return False

    return matches


def _cql2_fault(expression: Any, report: str) -> str:
    """Say in one line where a filter goes wrong: the parser points with a caret below a copy of the line."""
    place = re.search(r"--> (\d+):(\d+)", report)
    if place is None:  # its report on JSON speaks of its own types
        return f'{expression!r}, expected such as {{"op": "<", "args": [{{"property": "eo:cloud_cover"}}, 10]}}'
    line, column = int(place[1]), int(place[2])
    text = str(expression).split("\n")[line - 1]
    read, rest = text[: column - 1], text[column - 1 :]
    fault = f"after {read!r} comes {rest!r}" if rest else f"{read!r} is not complete"
    example = "\"eo:cloud_cover < 10 AND platform = 'sentinel-2b'\""
    return f"{fault} (line {line}, character {column}), expected such as {example}"


#: Members that no filter names; leaving them out makes an evaluation ten times quicker.
_NOT_FILTERED = ("assets", "links", "stac_extensions")


def _properties_of(expression: Any) -> list[str]:
    """Names of all properties in a CQL2 JSON expression."""
    if isinstance(expression, Mapping):
        if isinstance(name := expression.get("property"), str):
            return [name]
        return [name for part in expression.values() for name in _properties_of(part)]
    if isinstance(expression, list):
        return [name for part in expression for name in _properties_of(part)]
    return []


def _is_there(item: Item, name: str) -> bool:
    value = item.get(name) if name in item else look_up(item, name)
    return value is not _MISSING and value is not None


# shape of the answer


def sort_items(items: list[Item], sortby: Any) -> list[Item]:
    """Order by several fields, the first the most important; items that lack a field come last."""
    if sortby is None:
        return items
    if not isinstance(sortby, list) or not all(isinstance(t, Mapping) and "field" in t for t in sortby):
        raise BadRequest(f'sortby is {sortby!r}, expected [{{"field": ..., "direction": "asc" or "desc"}}]')
    for term in reversed(sortby):
        items = _sort_by_one(items, term["field"], term.get("direction", "asc"))
    return items


def _sort_by_one(items: list[Item], name: str, direction: str) -> list[Item]:
    if direction not in ("asc", "desc"):
        raise BadRequest(f"sortby direction is {direction!r}, expected asc or desc")
    keyed = [(look_up(item, name), item) for item in items]
    present = [(value, item) for value, item in keyed if value is not _MISSING and value is not None]
    absent = [item for value, item in keyed if value is _MISSING or value is None]
    try:
        present.sort(key=lambda pair: pair[0], reverse=direction == "desc")
    except TypeError as error:
        raise BadRequest(f"items cannot be sorted by {name!r}: {error}") from error
    return [item for _, item in present] + absent


_ALWAYS = ("type", "stac_version", "id", "collection", "geometry", "bbox", "links", "assets", "properties.datetime")


def field_picker(fields: Any) -> Callable[[Item], Item]:
    """Build the function that keeps the fields asked for: those of the default plus included minus excluded ones."""
    if not fields:
        return lambda item: item
    if not isinstance(fields, Mapping) or set(fields) - {"include", "exclude"}:
        raise BadRequest(f'fields is {fields!r}, expected {{"include": [...], "exclude": [...]}}')
    include = strings("fields.include", fields.get("include") or [])
    exclude = strings("fields.exclude", fields.get("exclude") or [])

    def pick(item: Item) -> Item:
        kept = dict(item) if not include else _copy_fields(item, [*_ALWAYS, *include])
        return _drop_fields(kept, exclude)

    return pick


def _copy_fields(item: Item, names: Sequence[str]) -> Item:
    kept: Item = {"properties": {}}
    for name in names:
        outer, _, inner = _path(item, name)
        if not inner and outer in item:
            kept[outer] = item[outer]
        elif inner and inner in item.get(outer, {}) and kept.get(outer) is not item[outer]:
            kept.setdefault(outer, {})[inner] = item[outer][inner]
    return kept


def _drop_fields(item: Item, names: Sequence[str]) -> Item:
    for name in names:
        outer, _, inner = _path(item, name)
        if not inner:
            item.pop(outer, None)
        elif isinstance(item.get(outer), Mapping):
            item[outer] = {key: value for key, value in item[outer].items() if key != inner}
    return item


def _path(item: Item, name: str) -> tuple[str, str, str]:
    """Split ``properties.eo:cloud_cover``; a bare name that is no member of the item is one of its properties."""
    if "." not in name and name not in (*_ALWAYS, "properties", "stac_extensions") and name not in item:
        return "properties", ".", name
    return name.partition(".")
