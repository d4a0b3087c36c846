"""Whatever a user holds of STAC items, as a list of plain dicts with absolute hrefs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

from s2koop.catalog.providers import asset_keys
from s2koop.errors import InputError


def plain_items(items: Any) -> list[dict[str, Any]]:
    """Turn items into plain dicts: a search, an item collection, one item, a list of either kind.

    Only what s2koop reads is kept, and nothing is copied deep: a thousand items take a fraction of a second.
    """
    return [_plain(item) for item in _each(items)]


def _each(items: Any) -> Iterable[Any]:
    if hasattr(items, "item_collection"):  # pystac_client.ItemSearch: asks the provider only now
        return items.item_collection()
    if isinstance(items, Mapping):
        return items["features"] if items.get("type") == "FeatureCollection" else [items]
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
    if "assets" not in item or "properties" not in item or "id" not in item:
        raise InputError(
            f"items holds a dict that is no STAC item (keys {sorted(item)[:8]}); an item has id, properties and assets"
        )
    links = item.get("links") or ()
    base = next((link.get("href") for link in links if link.get("rel") == "self"), None)
    assets = {key: {**asset, "href": _absolute(asset["href"], base)} for key, asset in _used(item["assets"]).items()}
    return {**item, "assets": assets}


def _from_pystac(item: Any) -> dict[str, Any]:
    base = item.get_self_href()
    assets = {
        key: {**asset.extra_fields, "type": asset.media_type, "href": _absolute(asset.href, base)}
        for key, asset in _used(item.assets).items()
    }
    properties = item.properties if item.properties.get("datetime") else {**item.properties, "datetime": item.datetime}
    return {
        "id": item.id,
        "bbox": item.bbox,
        "collection": item.collection_id,
        "properties": properties,
        "assets": assets,
    }


def _used(assets: Mapping[str, Any]) -> dict[str, Any]:
    """The assets that hold a band or a layer: an item of CDSE carries forty others' worth of metadata."""
    return {key: assets[key] for key in asset_keys(assets).values()}


def _absolute(href: str, base: str | None) -> str:
    """Resolve an href against the place its item was read from."""
    if base is None or urlsplit(href).scheme or href.startswith("/"):
        return href
    if urlsplit(base).scheme:
        return urljoin(base, href)
    return str(PurePosixPath(base).parent / href)
