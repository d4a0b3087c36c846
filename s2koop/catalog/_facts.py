"""What one item says, whichever provider wrote it: tile, CRS, baseline, cloud cover, size of its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pystac

from s2koop.catalog.providers import CLASS_LAYERS, asset_keys, mission_of

COLUMNS = (
    "id", "time", "platform", "cloud_cover", "tile", "crs", "baseline", "sun_elevation", "bands", "bytes", "collection",
)  # fmt: skip


def row(item: pystac.Item) -> dict[str, Any]:
    """All facts of an item by name."""
    shown = {*mission_of(item.assets).bands, *CLASS_LAYERS}
    keys = {band: key for band, key in asset_keys(item.assets).items() if band in shown}
    properties = item.properties
    return {
        "id": item.id,
        "time": instant(item),
        "platform": str(properties["platform"]).lower() if properties.get("platform") else None,
        "cloud_cover": _number(properties.get("eo:cloud_cover")),
        "tile": tile(properties),
        "crs": crs(item),
        "baseline": _text(properties.get("s2:processing_baseline") or properties.get("processing:version")),
        "sun_elevation": _sun_elevation(properties),
        "bands": tuple(keys),
        "bytes": sum(_asset_bytes(item, item.assets[key], band) for band, key in keys.items()) or None,
        "collection": item.collection_id,
    }


def instant(item: pystac.Item) -> datetime:
    """When the item was taken; the start where it only has a span."""
    when = item.datetime or item.common_metadata.start_datetime or datetime.min
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def sensor(item: pystac.Item) -> str:
    """Name of the mission, by the assets."""
    return mission_of(item.assets).name


def level(item: pystac.Item) -> str | None:
    """``"L2A"`` or ``"L1C"``, where the product type, the collection or the name of the item tells."""
    for words in (
        item.properties.get("s2:product_type"),
        item.properties.get("product:type"),
        item.collection_id,
        item.id,
    ):
        found = {
            name for name in ("L2A", "L1C") if name in str(words).upper().replace("SI2A", "L2A").replace("SI1C", "L1C")
        }
        if len(found) == 1:
            return found.pop()
    return None


def tile(properties: Mapping[str, Any]) -> str | None:
    """Tile of the MGRS grid, such as ``34TER``; of Landsat path and row, such as ``010065``."""
    if code := properties.get("grid:code"):
        return str(code).removeprefix("MGRS-").zfill(5)
    if code := properties.get("s2:mgrs_tile"):
        return str(code)
    if (path := properties.get("landsat:wrs_path")) and (row := properties.get("landsat:wrs_row")):
        return f"{str(path).zfill(3)}{str(row).zfill(3)}"
    zone, *letters = (properties.get(f"mgrs:{part}") for part in ("utm_zone", "latitude_band", "grid_square"))
    return "".join([str(zone).zfill(2), *map(str, letters)]) if zone and all(letters) else None


def crs(item: pystac.Item) -> str | None:
    """CRS as ``EPSG:n``, from the item or its first asset that has one."""
    for fields in (item.properties, *(asset.extra_fields for asset in item.assets.values())):
        if code := fields.get("proj:code"):
            return str(code)
        if epsg := fields.get("proj:epsg"):
            return f"EPSG:{epsg}"
    return None


def _sun_elevation(properties: Mapping[str, Any]) -> float | None:
    if (zenith := _number(properties.get("s2:mean_solar_zenith"))) is not None:
        return 90 - zenith
    return _number(properties.get("view:sun_elevation"))


def _asset_bytes(item: pystac.Item, asset: pystac.Asset, band: str) -> int:
    """Bytes of pixels before compression; 0 where the item does not say how many there are."""
    shape = asset.extra_fields.get("proj:shape") or item.properties.get("proj:shape")
    if not isinstance(shape, list) or len(shape) != 2 or not all(isinstance(n, int) for n in shape):
        return 0
    return int(shape[0] * shape[1] * (1 if band == "SCL" else 2))


def asked_box(asked: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Bounding box of the area that was asked for."""
    if asked.get("bbox"):
        return tuple(asked["bbox"])
    if asked.get("intersects"):
        import shapely

        return tuple(shapely.geometry.shape(asked["intersects"]).bounds)
    return None


def share(item: pystac.Item, box: tuple[float, ...]) -> float:
    """Part of the item's bounding box that lies in ``box``, 0 to 1."""
    if not item.bbox:
        return 1.0
    half = len(item.bbox) // 2
    (west, south), (east, north) = item.bbox[:2], item.bbox[half : half + 2]
    width = min(east, box[2]) - max(west, box[0])
    height = min(north, box[3]) - max(south, box[1])
    whole = (east - west) * (north - south)
    return max(0.0, width) * max(0.0, height) / whole if whole > 0 else 1.0


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
