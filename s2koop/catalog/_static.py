"""Static catalogues, item collections and loose items, read into lists of items and collections with absolute hrefs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2koop.catalog import _http
from s2koop.errors import CatalogError

if TYPE_CHECKING:
    import pystac

Document = dict[str, Any]
Documents = tuple[list[Document], list[Document]]

_ENTRANCES = ("catalog.json", "collection.json")


def read_path(path: Path) -> Documents:
    """Items and collections of a file, or of a folder with ``catalog.json``, ``collection.json`` or loose items.

    Raises
    ------
    CatalogError
        If a file is not JSON or not STAC, or there is no item.
    """
    if path.is_file():
        return _read_file(path)
    for name in _ENTRANCES:
        if (path / name).is_file():
            return _read_file(path / name)
    return _read_loose(path)


def read_document(document: Document, href: str, io: pystac.StacIO) -> Documents:
    """Items and collections that one STAC document holds or leads to; ``io`` fetches what it links to."""
    import pystac

    if document["type"] in ("Catalog", "Collection"):
        return _walk(pystac.read_dict(document, href=href, stac_io=io))
    features = [document] if document["type"] == "Feature" else document["features"]
    return [_standing_alone(feature, href) for feature in features], []


def _walk(root: Any) -> Documents:
    """Follow the links of a static catalogue down to its items."""
    import pystac

    items = []
    for item in root.get_items(recursive=True):
        item.make_asset_hrefs_absolute()
        items.append(item.to_dict(transform_hrefs=False))
    catalogs = [root, *(catalog for _, catalogs, _ in root.walk() for catalog in catalogs)]
    collections = {c.id: c.to_dict(transform_hrefs=False) for c in catalogs if isinstance(c, pystac.Collection)}
    return items, list(collections.values())


def _standing_alone(feature: Document, href: str) -> Document:
    """Bring an item up to date, with absolute hrefs, and without links: pystac would follow them."""
    import pystac
    from pystac.utils import make_absolute_href

    own = next((link["href"] for link in feature.get("links", []) if link.get("rel") == "self"), "")
    base = own if own.startswith(("http://", "https://")) else href
    item = pystac.Item.from_dict({**feature, "links": []})
    for asset in item.assets.values():
        asset.href = make_absolute_href(asset.href, base, start_is_dir=False)
    return item.to_dict(transform_hrefs=False)


def _read_file(path: Path) -> Documents:
    document = _load(path)
    if document is None:
        raise CatalogError(f"{path} is JSON but not STAC; expected a Catalog, Collection, Item or ItemCollection")
    try:
        return read_document(document, str(path.resolve()), _http.reader(remote=False))
    except Exception as error:  # pystac raises as many kinds as there are ways to break a document
        raise CatalogError(f"{path} or a file it links to is not valid STAC: {_brief(error)}") from error


def _read_loose(folder: Path) -> Documents:
    items: list[Document] = []
    paths = sorted(folder.rglob("*.json"))
    for path in paths:
        document = _load(path)
        if document and _holds_items(document):
            items += _read_file(path)[0]
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
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read as JSON: {_brief(error)}") from error
    if not isinstance(document, dict) or document.get("type") not in (
        "Catalog", "Collection", "Feature", "FeatureCollection",
    ):  # fmt: skip
        return None
    return document


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
