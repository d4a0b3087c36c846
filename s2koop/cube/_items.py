"""Whatever a user holds of STAC items, as a list of plain dicts with absolute hrefs that are safe to open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from s2koop._collector import collector_at_rest
from s2koop._hrefs import asset_href, is_network
from s2koop.catalog.providers import asset_keys, open_href
from s2koop.errors import InputError


def plain_items(items: Any) -> list[dict[str, Any]]:
    """Turn items into plain dicts: a search, an item collection, one item, a list of either kind.

    Only what s2koop reads is kept, and nothing is copied deep: a thousand items take a fraction of a second.

    Raises
    ------
    InputError
        If there is something else among them, or an href of a band is not safe to open: files of this machine are
        named only by items that were read on it (`s2koop._hrefs`).
    """
    with collector_at_rest():
        return [_plain(item) for item in _each(items)]


def _each(items: Any) -> Iterable[Any]:
    if hasattr(items, "item_collection"):  # pystac_client.ItemSearch: asks the provider only now
        return items.item_collection()
    if isinstance(items, Mapping):
        return items.get("features") or [] if items.get("type") == "FeatureCollection" else [items]
    if hasattr(items, "assets"):
        return [items]
    if isinstance(items, str) or not isinstance(items, Iterable):
        raise InputError(
            f"items is a {type(items).__name__} ({str(items)[:60]!r}); expected what s2koop.search returns, a "
            "pystac ItemCollection, a pystac_client search, or a list of items"
        )
    return items


def _plain(item: Any) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return _from_dict(item)
    if hasattr(item, "assets") and hasattr(item, "properties"):
        return _from_pystac(item)
    raise InputError(
        f"items holds a {type(item).__name__}; expected pystac items or STAC items as dicts, such as "
        f"s2koop.search returns"
    )


def _from_dict(item: Mapping[str, Any]) -> dict[str, Any]:
    if not (isinstance(item.get("assets"), Mapping) and isinstance(item.get("properties"), Mapping) and "id" in item):
        raise InputError(
            f"items holds a dict that is no STAC item (keys {sorted(map(str, item))[:8]}); an item has id, properties "
            "and assets"
        )
    base = _link(item, "self")
    place = base or _link(item, "root")
    origin = None if _is_ours(place) else place
    assets = {}
    for key, asset in _used(item["assets"]).items():
        if not isinstance(asset, Mapping):
            raise InputError(
                f"item {item['id']!r}: asset {key!r} is a {type(asset).__name__}, expected a dict with href"
            )
        href = open_href(asset.get("href"), asset)
        assets[key] = {**asset, "href": _href(item["id"], href, base, origin=origin)}
    return {**item, "assets": assets}


def _from_pystac(item: Any) -> dict[str, Any]:
    base = item.get_self_href()
    origin = _origin_of(item.get_root_link()) or (None if _is_ours(base) else base)
    assets = {}
    for key, asset in _used(item.assets).items():
        href = open_href(asset.href, asset.extra_fields)
        href = _href(item.id, href, base, origin=origin)
        assets[key] = {**asset.extra_fields, "type": asset.media_type, "href": href}
    properties = item.properties if item.properties.get("datetime") else {**item.properties, "datetime": item.datetime}
    return {
        "id": item.id,
        "bbox": item.bbox,
        "collection": item.collection_id,
        "properties": properties,
        "assets": assets,
    }


def _href(name: Any, href: Any, base: str | None, *, origin: str | None) -> str:
    try:
        return asset_href(href, base, origin=origin)
    except InputError as error:
        raise InputError(f"item {name!r}: {error}") from None


def _used(assets: Mapping[str, Any]) -> dict[str, Any]:
    """The assets that hold a band or a layer: an item of CDSE carries forty others' worth of metadata."""
    return {key: assets[key] for key in asset_keys(assets).values()}


def _link(item: Mapping[str, Any], rel: str) -> str | None:
    """Where a link of an item leads; None where it has none."""
    links = item.get("links")
    for link in links if isinstance(links, list | tuple) else ():
        if isinstance(link, Mapping) and link.get("rel") == rel and isinstance(link.get("href"), str):
            return link["href"]
    return None


def _is_ours(place: str | None) -> bool:
    """Tell whether an item that lies there was read on this machine; one without a place is one that the user has made.

    Catalogues in memory have addresses that lead nowhere.
    """
    from s2koop.catalog._api import ROOT

    return not is_network(place) or place == ROOT or str(place).startswith(f"{ROOT}/")


def _origin_of(root: Any) -> str | None:
    """Where the catalogue of a root link lies on the network, by what reads it, not by what it says of itself; or None.

    A link that nothing has followed yet is not followed here either.
    """
    from s2koop.catalog._adapter import memory_of

    if root is None:
        return None
    if not root.is_resolved():
        return None if _is_ours(root.target) else str(root.target)
    place = None if memory_of(root.target) else root.target.get_self_href()
    return place if is_network(place) else None
