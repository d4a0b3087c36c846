"""``s2koop.search``: one call for every catalogue, checked before the first request."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from s2koop._collector import collector_at_rest
from s2koop._warn import warn_user
from s2koop.catalog import _checks as checks
from s2koop.catalog import _facts as facts
from s2koop.catalog.providers import MISSIONS, PROVIDERS
from s2koop.errors import CatalogError, EmptySearchWarning, InputError, MissingDependencyError

if TYPE_CHECKING:
    from pystac import Item
    from pystac_client import Client

    from s2koop.catalog._intake import Intake
    from s2koop.catalog._open import Source
    from s2koop.catalog.items import Items

#: What an item in memory need not be written and read again for.
_NAMES_ONLY = ["-assets", "-geometry", "-bbox", "-properties"]
_PAGE = 100  # items per request: what every provider accepts; larger pages time out at some


def search(
    catalog: str | os.PathLike[str] | Client = "sample",
    *,
    bbox: Sequence[float] | None = None,
    intersects: Any = None,
    datetime: Any = None,
    level: str = "L2A",
    sensor: str | None = None,
    max_cloud: float | None = None,
    collection: str | None = None,
    filter: str | Mapping[str, Any] | None = None,
    limit: int | None = None,
    errors: str = "raise",
) -> Items:
    """Find items of Sentinel-2, or Landsat, in a STAC catalogue.

    Parameters
    ----------
    catalog : str, path or pystac_client.Client
        ``"sample"`` (embedded, no network), ``"earth-search"``, ``"earth-search-c1"`` (Collection 1),
        ``"planetary-computer"``, ``"cdse"``, the address of a STAC API or static catalogue, or a folder or file that
        holds one; a file may be stac-geoparquet.
    bbox : sequence of float, optional
        West, south, east, north in degrees.
    intersects : GeoJSON dict or geometry, optional
        Area in degrees: a dict, a shapely geometry, anything with ``__geo_interface__``. Not together with ``bbox``.
    datetime : str, date, datetime or pair of these, optional
        ``"2020"``, ``"2020-06"``, ``"2020-06-01/2020-09-30"``, ``"2020-06-01/.."``, ``(start, None)``. Days count
        whole, in UTC, and midnight without a time zone (``pandas.Timestamp("2020-06-01")``) is its day.
    level : {"L2A", "L1C"}
        Surface or top-of-atmosphere reflectance; chooses the collection.
    sensor : {"sentinel-2", "landsat"}, optional
        Chooses the collection too; of Landsat there is Collection 2 Level-2. Default: Sentinel-2 at a provider,
        whatever it holds in a catalogue in memory.
    max_cloud : float, optional
        Largest cloud cover of the whole scene, in percent. Items that do not state theirs are left out.
    collection : str, optional
        Name of a collection, in place of the one that ``level`` and ``sensor`` choose.
    filter : str or dict, optional
        CQL2 as text or JSON. Catalogues in memory (``"sample"``, folders) need the extra ``s2koop[cql2]`` for it.
    limit : int, optional
        Most items to return; the newest ones, at providers that order by time. Default: all.
    errors : {"raise", "mask"}
        What to do with items that are not whole (without time, assets or geometry, or of wrong types), and with pages
        that lead in a circle: raise `CatalogError`, or leave out what cannot be used, warn once, and list it in
        ``items.skipped``.

    Returns
    -------
    Items
        Oldest first; a ``pystac.ItemCollection`` with a summary for notebooks. Empty, with a warning, when
        nothing matches. Hrefs are as the provider stores them: what needs a signature is signed when it is read.

    Raises
    ------
    InputError
        If an argument makes no sense.
    CatalogError
        If the catalogue is unknown, cannot be reached or is not STAC, or an item of it is not whole.
    MissingDependencyError
        If ``filter`` or a file needs a package that is not installed.

    Warns
    -----
    EmptySearchWarning
        If nothing was found; says what was asked and what the catalogue holds.
    MaskedItemsWarning
        If something was left out because ``errors="mask"`` was asked for.

    Notes
    -----
    An item that comes twice is kept once. What may pass (HTTP 429, 500, 502, 503, 504, a lost connection, half an
    answer) is tried again, with waits as the server asks for them, at most a minute each.

    See Also
    --------
    s2koop.load : open the items as a cube.

    Examples
    --------
    >>> import s2koop
    >>> s2koop.search("sample", bbox=[22.14, 45.19, 22.17, 45.22], datetime="2019", max_cloud=10)
    <s2koop.Items: 16 items from sample>
      dates: 2019-02-16 to 2019-11-23, 16 days
      ...
    """
    asked = _checked(bbox, intersects, datetime, level, sensor, max_cloud, collection, filter, limit)
    checks.check_errors(errors)
    from s2koop.catalog._intake import Intake
    from s2koop.catalog._open import open_source
    from s2koop.catalog._told import told
    from s2koop.catalog.items import Items

    intake = Intake(errors)
    with collector_at_rest():
        source = open_source(catalog, intake, asked)
        if filter is not None and source.memory is not None:
            _need_cql2()
        with told(source.name):
            wanted = _collections(source, asked)
            # what the catalogue has filtered already passes; what it cannot filter is filtered here
            fitting = (item for item in _matching(source, asked, wanted, intake) if _fits(item, source, asked))
            found = list(islice(fitting, asked.get("limit")))
    items = Items.found(
        found, catalog=source.name, asked=asked, attribution=_attribution(found), skipped=intake.skipped
    )
    if not items:
        _explain_unknown_collection(source, collection)
    intake.tell(source.name)
    if not items:
        warn_user(EmptySearchWarning(_nothing(source, asked, wanted)))
    return items


def _explain_unknown_collection(source: Source, collection: str | None) -> None:
    from s2koop.catalog._told import told

    with told(source.name):
        if collection is not None and source.client.get_collection(collection) is None:
            raise CatalogError(f"{source.name} has no collection {collection!r}; it has {_listed(_names(source))}")


def _matching(source: Source, asked: Mapping[str, Any], wanted: list[str] | None, intake: Intake) -> Iterator[Item]:
    """Items that the catalogue finds; those of one in memory were let in as they were read."""
    from pystac import Item

    request, root = _request(source, asked, wanted), str(source.client.self_href)
    documents: Iterator[dict[str, Any]]
    if (memory := source.memory) is not None:
        pages = source.client.search(**request, fields=_NAMES_ONLY).pages_as_dicts()
        names = ((named.get("collection"), named["id"]) for page in pages for named in page["features"])
        documents = (memory.item(*name, root) for name in names)
    else:
        documents = intake.let_in_pages(source.client.search(**request).pages_as_dicts(), source.name, root)
    for document in documents:
        name = document["id"]
        try:
            item = Item.from_dict(document, root=source.client, preserve_dict=False)
        except Exception as error:  # pystac raises as many kinds as there are ways to break an extension
            intake.leave_out(name, f"pystac cannot read it ({type(error).__name__})", source.name)
        else:
            yield item


def open_client(catalog: str | os.PathLike[str] = "sample") -> Client:
    """Open a catalogue as a ``pystac_client.Client``, for searches that `search` has no argument for.

    Parameters
    ----------
    catalog : str or path
        As for `search`; ``"sample"`` and folders are answered in the process.

    Returns
    -------
    pystac_client.Client
        With time limits and retries set.

    Raises
    ------
    CatalogError
        If the catalogue is unknown, cannot be reached or is not STAC.

    Examples
    --------
    >>> client = open_client("sample")
    >>> client.search(query={"eo:cloud_cover": {"lt": 1}}, sortby="-datetime", max_items=3).matched()
    74
    """
    from s2koop.catalog._open import open_source

    return open_source(catalog).client


def _checked(
    bbox: Any, intersects: Any, datetime: Any, level: Any, sensor: Any, max_cloud: Any, collection: Any, filter: Any,
    limit: Any,
) -> dict[str, Any]:  # fmt: skip
    """Everything that was asked, in the form in which it is sent and remembered."""
    if bbox is not None and intersects is not None:
        raise InputError("bbox and intersects are both given; an area is one or the other")
    asked: dict[str, Any] = {}
    if bbox is not None:
        asked["bbox"] = checks.check_bbox(bbox)
    if intersects is not None:
        asked["intersects"] = checks.check_geometry(intersects)
    if datetime is not None:
        asked["datetime"] = checks.check_datetime(datetime)
    asked["level"] = checks.check_level(level)
    if sensor is not None:
        asked["sensor"] = checks.check_sensor(sensor)
    if max_cloud is not None:
        asked["max_cloud"] = checks.check_max_cloud(max_cloud)
    if collection is not None:
        asked["collection"] = checks.check_name("collection", collection)
    if filter is not None:
        checks.check_filter(filter)
        asked["filter"] = filter
    if limit is not None:
        asked["limit"] = checks.check_limit(limit)
    return asked


def _need_cql2() -> None:
    from importlib.util import find_spec

    if find_spec("cql2") is None:
        raise MissingDependencyError(
            "a CQL2 filter on the sample catalogue or a folder needs the package cql2. Run: pip install 's2koop[cql2]'"
        )


def _collections(source: Source, asked: Mapping[str, Any]) -> list[str] | None:
    """Names of the collections to search; None for all of a catalogue in memory."""
    if (collection := asked.get("collection")) is not None:
        return [collection]
    if source.memory is not None:
        return None
    level, sensor = asked["level"], asked.get("sensor", "sentinel-2")
    if source.provider is None:
        return [_guess(source, level, sensor)]
    offered = source.provider.collections
    if level not in offered.get(sensor, {}):
        has = "; ".join(f"{name}: {', '.join(levels)}" for name, levels in offered.items())
        others = [p.name for p in PROVIDERS.values() if level in p.collections.get(sensor, {})]
        raise CatalogError(
            f"{source.name} has no level {level} of {sensor}; it has {has}. Who has it: {_listed(others)}"
        )
    return [offered[sensor][level]]


def _names(source: Source) -> list[str]:
    return sorted(collection.id for collection in source.client.get_collections())


def _guess(source: Source, level: str, sensor: str) -> str:
    """Find the collection of a level at an API that we know nothing about."""
    names = _names(source)
    for provider in PROVIDERS.values():
        if (usual := provider.collections.get(sensor, {}).get(level)) in names:
            return str(usual)
    fitting = [name for name in names if _may_be(name.lower(), level.lower(), sensor)]
    if len(fitting) == 1:
        return fitting[0]
    raise CatalogError(
        f"{source.name} has {'several collections' if fitting else 'no collection'} that may be {sensor} {level}; "
        f"name one with collection=..., among: {_listed(names)}"
    )


def _may_be(name: str, level: str, sensor: str) -> bool:
    if sensor == "landsat":
        return "landsat" in name and "l2" in name
    return level in name and "s2" in name.replace("entinel-", "")


def _listed(names: Sequence[str], most: int = 20) -> str:
    return (", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"


def _request(source: Source, asked: Mapping[str, Any], collections: list[str] | None) -> dict[str, Any]:
    """Arguments of ``Client.search``; the cloud cover goes by what the API understands."""
    request: dict[str, Any] = {name: asked[name] for name in ("bbox", "intersects", "datetime") if name in asked}
    request["limit"] = min(asked.get("limit", _PAGE), _PAGE)
    if collections is not None:
        request["collections"] = collections
    if (expression := asked.get("filter")) is not None:
        if not source.client.conforms_to("FILTER"):
            raise CatalogError(
                f"{source.name} does not filter by CQL2; use max_cloud, or filter the items that come back"
            )
        request |= {"filter": expression, "filter_lang": checks.check_filter(expression)}
    return request | _cloud_request(source.client, asked)


def _cloud_request(client: Client, asked: Mapping[str, Any]) -> dict[str, Any]:
    if "max_cloud" not in asked:
        return {}
    if client.conforms_to("QUERY"):
        return {"query": {"eo:cloud_cover": {"lte": asked["max_cloud"]}}}
    if client.conforms_to("FILTER") and "filter" not in asked:
        expression = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, asked["max_cloud"]]}
        return {"filter": expression, "filter_lang": "cql2-json"}
    return {}


def _fits(item: Item, source: Source, asked: Mapping[str, Any]) -> bool:
    if "max_cloud" in asked:
        cloud = item.properties.get("eo:cloud_cover")
        if cloud is None or cloud > asked["max_cloud"]:
            return False
    if source.memory is None:
        return True
    if "sensor" in asked and facts.sensor(item) != asked["sensor"]:
        return False
    return "collection" in asked or facts.level(item) in (None, asked["level"])


def _attribution(items: Sequence[Item]) -> str | None:
    """Whom the items themselves ask to name, else the words that the licences of their missions ask for."""
    named = dict.fromkeys(item.properties.get("s2koop:attribution") for item in items)
    if stated := [str(name) for name in named if name]:
        return "; ".join(stated)
    years: dict[str, set[int]] = {}
    for item in items:
        years.setdefault(facts.sensor(item), set()).add(facts.instant(item).year)
    return "; ".join(MISSIONS[name].credit.format(years=_from_to(years[name])) for name in sorted(years)) or None


def _from_to(years: Iterable[int]) -> str:
    first, last = min(years), max(years)
    return str(first) if first == last else f"{first}-{last}"


def _nothing(source: Source, asked: Mapping[str, Any], wanted: list[str] | None) -> str:
    """Say what was asked and what there would have been."""
    filters = ", ".join(f"{name}={value}" for name, value in asked.items())
    message = f"{source.name} has no item for {filters}"
    extents = _extents(source, wanted)
    for name, box, dates in extents:
        message += f"; {name} holds {dates} in west, south, east, north {box}"
    if "bbox" in asked and _touches_when_exchanged(asked["bbox"], [box for _, box, _ in extents]):
        message += ". With latitude and longitude exchanged the bbox would touch it: longitude comes first"
    return message


def _extents(source: Source, wanted: list[str] | None) -> list[tuple[str, list[float], str]]:
    """Name, bounding box and dates of the collections searched, as far as the catalogue tells."""
    from pystac_client.exceptions import APIError

    try:
        names = wanted if wanted is not None else _names(source)
        return [_extent(source.client.get_collection(name)) for name in names[:3]]
    except (APIError, AttributeError, IndexError, KeyError, TypeError, ValueError):
        return []  # the extent only helps to explain; a catalogue that states none has still answered


def _extent(collection: Any) -> tuple[str, list[float], str]:
    box = [round(value, 4) for value in collection.extent.spatial.bboxes[0]]
    return collection.id, box, _dates(collection.extent.temporal.intervals[0])


def _dates(interval: Sequence[Any]) -> str:
    first, last = (f"{end:%Y-%m-%d}" if end else "now" for end in interval)
    return f"{first} to {last}"


def _touches_when_exchanged(bbox: Sequence[float], boxes: Iterable[Sequence[float]]) -> bool:
    south, west, north, east = bbox
    small = [box for box in boxes if len(box) == 4 and box[2] - box[0] < 180]  # a worldwide extent tells nothing
    return any(west <= b[2] and east >= b[0] and south <= b[3] and north >= b[1] for b in small)
