"""What a catalogue sends, taken in one by one: whole items, each once; the rest is refused, or left out and told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from s2koop._hrefs import asset_href, is_network
from s2koop._warn import warn_user
from s2koop.catalog._checks import is_number
from s2koop.catalog.providers import asset_keys, open_href
from s2koop.errors import CatalogError, InputError, MaskedItemsWarning

Document = dict[str, Any]

_STALE_PAGES = 3
_NAMED = 3  # items that a warning names before it only counts
_MOST_LENGTH = 120  # characters of what came from outside that a message repeats


class Intake:
    """Lets items of one catalogue in; ``skipped`` holds the ``{"id", "reason"}`` of each that was left out.

    Two items are one where collection, id and time agree; of these the first is kept. Where the times differ, two
    items share a name, and which one was meant cannot be told.
    """

    def __init__(self, errors: str = "raise") -> None:
        self.errors = errors
        self.skipped: list[dict[str, str]] = []
        self._known: dict[tuple[str | None, str], Any] = {}

    def let_in_pages(self, pages: Iterable[Mapping[str, Any]], where: str, place: str) -> Iterator[Document]:
        """Yield the whole items of pages, and end where a catalogue sends the same pages for ever.

        One page may bring nothing new, when items were added between two requests; several in a row are a circle.

        Raises
        ------
        CatalogError
            If pages lead in a circle, unless ``errors`` is ``"mask"``, or as `let_in` does.
        """
        seen: set[frozenset[tuple[Any, str]]] = set()
        stale = 0
        for page in pages:
            documents = page["features"]
            names = frozenset((_collection(document), _name(document)) for document in documents)
            before = len(self._known) + len(self.skipped)
            if names not in seen:
                seen.add(names)
                yield from self.let_in(documents, where, place)
            stale = 0 if len(self._known) + len(self.skipped) > before else stale + 1
            if stale == _STALE_PAGES:
                return self._end_circle(where)

    def _end_circle(self, where: str) -> None:
        if self.errors == "raise":
            raise CatalogError(
                f"{where} sends the same items again and again: its links to the next page lead in a circle. Ask for "
                f"less (bbox, datetime, limit), or say errors='mask' to take what was found until there"
            )
        self.skipped.append({"id": "(further pages)", "reason": "links to the next page lead in a circle"})

    def let_in(self, documents: Iterable[Any], where: str, place: str = "") -> Iterator[Document]:
        """Yield the whole items among documents, each once; ``place`` is their address, if they come from the network.

        Raises
        ------
        CatalogError
            At the first document that is no whole item, unless ``errors`` is ``"mask"``.
        """
        for document in documents:
            if (reason := fault(document) or _href_fault(document, place)) is not None:
                self.leave_out(_name(document), reason, where)
                continue
            key, time = (document.get("collection"), document["id"]), _times(document["properties"])
            if key not in self._known:
                self._known[key] = time
                yield document
            elif self._known[key] != time:
                self.leave_out(document["id"], "another item of another time has the same id", where)

    def leave_out(self, name: str, reason: str, where: str) -> None:
        """Refuse an item, or remember that it was left out."""
        if self.errors == "raise":
            raise CatalogError(
                f"{where} is not valid STAC: item {name!r}: {reason}. Tell who keeps the catalogue, or search with "
                "errors='mask' to leave out what is no whole item"
            )
        self.skipped.append({"id": name, "reason": reason})

    def tell(self, where: str) -> None:
        """Warn once of all that was left out."""
        if self.skipped:
            warn_user(MaskedItemsWarning(f"{where}: {summary_of(self.skipped)} (errors='mask')"))


def summary_of(skipped: Sequence[Mapping[str, str]]) -> str:
    """Say in words what was left out: the first few by name, the others by number."""
    named = "; ".join(f"{entry['id']!r}: {entry['reason']}" for entry in skipped[:_NAMED])
    more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    return f"{len(skipped)} left out: {named}{more}"


def fault(document: Any) -> str | None:
    """Say why a document is no whole STAC item, None if it is one."""
    if not isinstance(document, Mapping):
        return f"it is a {type(document).__name__}, expected a GeoJSON Feature"
    if document.get("type") != "Feature":
        return f"its type is {_short(document.get('type'))}, expected 'Feature'"
    for test in (_name_fault, _time_fault, _cloud_fault, _area_fault, _assets_fault, _links_fault):
        if (reason := test(document)) is not None:
            return reason
    return None


def _name_fault(document: Mapping[str, Any]) -> str | None:
    if not isinstance(document.get("id"), str) or not document["id"]:
        return f"its id is {_short(document.get('id'))}, expected a text"
    if not isinstance(document.get("collection"), str | None):
        return f"its collection is {_short(document['collection'])}, expected a text"
    if not isinstance(document.get("properties"), Mapping):
        return f"its properties are {_short(document.get('properties'))}, expected an object"
    return None


def _times(properties: Mapping[str, Any]) -> tuple[Any, Any]:
    """First and last instant as the item writes them."""
    if properties.get("datetime") is not None:
        return properties["datetime"], properties["datetime"]
    return properties.get("start_datetime"), properties.get("end_datetime")


def _time_fault(document: Mapping[str, Any]) -> str | None:
    first, last = _times(document["properties"])
    if first is None or last is None:
        return "it has no datetime, nor both a start_datetime and an end_datetime"
    for text in {first, last} if isinstance(first, str) and isinstance(last, str) else (first, last):
        try:
            datetime.fromisoformat(text)
        except (TypeError, ValueError):
            return f"its datetime is {_short(text)}, expected such as '2020-06-01T10:00:00Z'"
    return None


def _cloud_fault(document: Mapping[str, Any]) -> str | None:
    cloud = document["properties"].get("eo:cloud_cover")
    if cloud is None or (is_number(cloud) and math.isfinite(cloud)):
        return None
    return f"its eo:cloud_cover is {_short(cloud)}, expected a number"


def _area_fault(document: Mapping[str, Any]) -> str | None:
    """STAC lets an item lie nowhere, but it has to say so: ``"geometry": null``."""
    if "geometry" not in document:
        return "it has no geometry"
    box = document.get("bbox")
    if box is not None and not (isinstance(box, list) and len(box) in (4, 6) and all(map(_is_finite, box))):
        return f"its bbox is {_short(box)}, expected 4 or 6 numbers"
    if document["geometry"] is None:
        return None
    import shapely

    try:
        shapely.geometry.shape(document["geometry"])
    except Exception:  # shapely raises whatever its parsing stumbles over
        return f"its geometry is {_short(document['geometry'])}, expected GeoJSON"
    return None


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _assets_fault(document: Mapping[str, Any]) -> str | None:
    assets = document.get("assets")
    if not isinstance(assets, Mapping):
        return f"its assets are {_short(assets)}, expected an object"
    for key, asset in assets.items():
        if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str) or not asset["href"]:
            return f"its asset {_short(key)} has no href"
    return None


def _href_fault(document: Mapping[str, Any], place: str) -> str | None:
    """What comes from the network names no file of this machine, and nothing else that only looks like an address."""
    if not is_network(place):
        return None
    own = next((link["href"] for link in document.get("links", []) if link["rel"] == "self"), place)
    for key in asset_keys(document["assets"]).values():
        try:
            asset = document["assets"][key]
            asset_href(open_href(asset["href"], asset), own, origin=place)
        except InputError as error:
            return str(error)
    return None


def _links_fault(document: Mapping[str, Any]) -> str | None:
    links = document.get("links", [])
    whole = isinstance(links, list) and all(
        isinstance(link, Mapping) and isinstance(link.get("rel"), str) and isinstance(link.get("href"), str)
        for link in links
    )
    return None if whole else "its links are not a list of objects with rel and href"


def _name(document: Any) -> str:
    """What to call an item that may lack a name; never an address, which may hold a key."""
    ident = document.get("id") if isinstance(document, Mapping) else None
    return ident[:_MOST_LENGTH] if isinstance(ident, str) and ident else "(without an id)"


def _collection(document: Any) -> Any:
    return str(document.get("collection")) if isinstance(document, Mapping) else None


def _short(value: Any) -> str:
    """A value as a message repeats it; of what holds others only the kind, since one may be a signed address."""
    if isinstance(value, Mapping | list):
        return "an object" if isinstance(value, Mapping) else f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= _MOST_LENGTH else f"{text[:_MOST_LENGTH]}..."
