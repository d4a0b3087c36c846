"""Static catalogues, item collections and loose items, read into lists of items and collections with absolute hrefs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2koop._redact import redacted
from s2koop.catalog import _http
from s2koop.catalog._intake import Intake
from s2koop.catalog._told import told
from s2koop.errors import CatalogError

if TYPE_CHECKING:
    import pystac

Document = dict[str, Any]
Documents = tuple[list[Document], list[Document]]

_MOST_BYTES = 2**31  # of a file: tens of thousands of items
_ENTRANCES = ("catalog.json", "collection.json")
_KINDS = ("Catalog", "Collection", "Feature", "FeatureCollection")


def read_path(path: Path, intake: Intake) -> Documents:
    """Items and collections of a file, or of a folder with ``catalog.json``, ``collection.json`` or loose items.

    Raises
    ------
    CatalogError
        If a file is not JSON or not STAC, or there is no item.
    """
    if path.is_file():
        return _read_file(path, intake)
    for name in _ENTRANCES:
        if (path / name).is_file():
            return _read_file(path / name, intake)
    return _read_loose(path, intake)


def read_document(document: Document, href: str, name: str, io: pystac.StacIO, intake: Intake) -> Documents:
    """Items and collections that one STAC document holds or leads to; ``io`` fetches what it links to.

    ``name`` stands for ``href`` in messages.
    """
    if document["type"] in ("Catalog", "Collection"):
        return _walk(document, href, name, io, intake)
    features = [document] if document["type"] == "Feature" else document["features"]
    return [standing_alone(feature, _base(feature, href)) for feature in intake.let_in(features, name, href)], []


def _walk(root: Document, href: str, name: str, io: pystac.StacIO, intake: Intake) -> Documents:
    """Follow the links of a static catalogue down to its items, each once, however they lead back."""
    items: list[Document] = []
    collections: list[Document] = []
    waiting, seen = [(root, href)], {href}
    while waiting:
        catalog, place = waiting.pop(0)
        if catalog["type"] == "Collection":
            collections.append(catalog)
        for rel, target in _targets(catalog, place):
            if target in seen:
                continue
            seen.add(target)
            try:
                with told(f"a document that {name} links to"):
                    document = io.read_json(target)
            except (CatalogError, OSError) as error:
                if intake.errors == "raise":
                    raise
                intake.leave_out(f"(a document that {catalog.get('id')!r} links to)", str(error), name)
                continue
            if rel == "item":
                items += [standing_alone(item, target) for item in intake.let_in([document], name, target)]
            else:
                waiting.append((document, target))
    return items, collections


def _targets(catalog: Document, place: str) -> Iterator[tuple[str, str]]:
    """Links down from a catalogue, with absolute hrefs."""
    for link in catalog.get("links", []):
        if link["rel"] in ("item", "child"):
            yield link["rel"], _absolute(link["href"], place)


def standing_alone(item: Document, base: str) -> Document:
    """Give an item absolute hrefs, and no links: a client would follow them."""
    assets = {key: {**asset, "href": _absolute(asset["href"], base)} for key, asset in item["assets"].items()}
    return {**item, "assets": assets, "links": []}


def _base(item: Document, href: str) -> str:
    """Where the hrefs of an item in a file start: where it came from, if it says so, else at the file."""
    own = next((link["href"] for link in item.get("links", []) if link["rel"] == "self"), "")
    return own if own.startswith(("http://", "https://")) else href


def _absolute(href: str, base: str) -> str:
    from pystac.utils import make_absolute_href

    return href if "://" in href else make_absolute_href(href, base, start_is_dir=False)


def _read_file(path: Path, intake: Intake) -> Documents:
    return _read_loaded(_load(path), path, _http.reader(str(path)), intake)


def _read_loaded(document: Document | None, path: Path, io: pystac.StacIO, intake: Intake) -> Documents:
    if document is None:
        raise CatalogError(f"{path} is JSON but not STAC; expected a Catalog, Collection, Item or ItemCollection")
    try:
        return read_document(document, str(path.resolve()), str(path), io, intake)
    except CatalogError:
        raise
    except Exception as error:  # as many kinds as there are ways to break a document
        raise CatalogError(f"{path} or a file it links to is not valid STAC: {_brief(error)}") from None


def _read_loose(folder: Path, intake: Intake) -> Documents:
    items: list[Document] = []
    paths = sorted(folder.rglob("*.json"))
    io = _http.reader(str(folder))
    for path in paths:
        try:
            document = _load(path)
        except CatalogError as error:
            if intake.errors == "raise":
                raise
            intake.leave_out(path.name, str(error), str(folder))
            continue
        if document and _holds_items(document):
            items += _read_loaded(document, path, io, intake)[0]
    if not items:
        raise CatalogError(
            f"{folder} holds no catalog.json, no collection.json, and no STAC item among {len(paths)} JSON files; give "
            "the folder or file of a STAC catalogue"
        )
    return items, []


def _holds_items(document: Document) -> bool:
    """Tell STAC items from other GeoJSON that may lie in a folder."""
    features = [document] if document["type"] == "Feature" else document.get("features", [])
    return any("stac_version" in feature for feature in features)


def _load(path: Path) -> Document | None:
    """Return a file's STAC document, None if it is JSON of another kind."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CatalogError(f"{path} is larger than {_MOST_BYTES / 2**30:g} GB; no catalogue is: split it")
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CatalogError(f"{path} cannot be read as JSON: {_brief(error)}") from error
    return document if isinstance(document, dict) and document.get("type") in _KINDS else None


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(redacted(error).split())[:200]}"
