"""Items of a stac-geoparquet file: those that may match a search are read, the others stay in the file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2koop.catalog import _facts as facts
from s2koop.catalog._intake import Intake
from s2koop.catalog._static import standing_alone
from s2koop.errors import CatalogError, MissingDependencyError

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset, Expression

Document = dict[str, Any]

#: How the name of such a file ends.
SUFFIXES = (".parquet", ".geoparquet")
#: Items turned from columns into documents at once.
_BATCH = 1000
_NEEDED = ("id", "geometry", "assets")


def read_geoparquet(path: Path, asked: Mapping[str, Any], intake: Intake) -> tuple[list[Document], list[Document]]:
    """Items that may match what was asked, and all collections of the file.

    Box, dates and cloud cover are compared column by column, before an item is put together; what passes may still be
    beside an area of another shape than a box, and is looked at again.

    Raises
    ------
    MissingDependencyError
        If the packages that read such files are not installed.
    CatalogError
        If the file is not stac-geoparquet.
    """
    try:
        import pyarrow.dataset
        from stac_geoparquet.arrow import stac_table_to_items
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is read with the package stac-geoparquet. Run: pip install 's2koop[geoparquet]'"
        ) from error
    try:
        held = pyarrow.dataset.dataset(path, format="parquet")
        lacking = [name for name in _NEEDED if name not in held.schema.names]
        if lacking:
            raise CatalogError(f"{path} is Parquet but not stac-geoparquet: it has no {', '.join(lacking)}")
        columns = [name for name in held.schema.names if name != "links"]  # they lead to where the items came from
        table = held.to_table(columns=columns, filter=_filter(held, asked))
        found = [
            _without_nulls(item)
            for batch in table.to_batches(max_chunksize=_BATCH)
            for item in stac_table_to_items(pyarrow.Table.from_batches([batch]))
        ]
        items = [standing_alone(item, str(path.resolve())) for item in intake.let_in(found, str(path), str(path))]
        return items, _collections(held)
    except (ArithmeticError, AttributeError, KeyError, OSError, TypeError, ValueError, pyarrow.ArrowException) as error:
        if isinstance(error, CatalogError):
            raise
        raise CatalogError(f"{path} cannot be read as stac-geoparquet ({type(error).__name__}: {error})") from error


def _filter(held: Dataset, asked: Mapping[str, Any]) -> Expression | None:
    """What columns alone can say; where a value is missing, the item passes."""
    tests = [*_in_box(held, asked), *_in_time(held, asked), *_below_cloud(held, asked)]
    if not tests:
        return None
    whole = tests[0]
    for test in tests[1:]:
        whole &= test
    return whole


def _in_box(held: Dataset, asked: Mapping[str, Any]) -> list[Expression]:
    import pyarrow.dataset as ds

    box = facts.asked_box(asked)
    if box is None or "bbox" not in held.schema.names or held.schema.field("bbox").type.num_fields < 4:
        return []
    west, south, east, north = (ds.field("bbox", name) for name in ("xmin", "ymin", "xmax", "ymax"))
    beside = ((west > box[2]) | (east < box[0])) & (west <= east)  # a box across the date line ends west of its start
    return [~(beside | (south > box[3]) | (north < box[1])) | ds.field("bbox").is_null()]


def _in_time(held: Dataset, asked: Mapping[str, Any]) -> list[Expression]:
    import pyarrow.dataset as ds

    if "datetime" not in asked or "datetime" not in held.schema.names:
        return []
    first, last = (None if end == ".." else datetime.fromisoformat(end) for end in asked["datetime"].split("/"))
    time = ds.field("datetime")
    tests = [time >= first] if first else []
    tests += [time <= last] if last else []
    return [test | time.is_null() for test in tests]


def _below_cloud(held: Dataset, asked: Mapping[str, Any]) -> list[Expression]:
    import pyarrow.dataset as ds

    if "max_cloud" not in asked or "eo:cloud_cover" not in held.schema.names:
        return []
    return [ds.field("eo:cloud_cover") <= asked["max_cloud"]]  # items that do not state theirs are left out anyway


def _without_nulls(item: Document) -> Document:
    """An item without what its row holds only because others have it."""
    properties = {name: value for name, value in item["properties"].items() if value is not None or name == "datetime"}
    assets = {
        key: {name: value for name, value in asset.items() if value is not None}
        for key, asset in (item.get("assets") or {}).items()
        if asset is not None
    }
    return {**item, "properties": properties, "assets": assets}


def _collections(held: Dataset) -> list[Document]:
    """The collections of all items, with their extents: what a search that finds nothing tells of."""
    needed = {"collection", "bbox", "datetime"}
    if not needed <= set(held.schema.names) or held.schema.field("bbox").type.num_fields < 4:
        return []
    edges = {"xmin": "min", "ymin": "min", "xmax": "max", "ymax": "max"}
    table = held.to_table(columns={name: _column(name) for name in ("collection", "datetime", *edges)})
    wanted = [*edges.items(), ("datetime", "min"), ("datetime", "max")]
    rows = table.group_by("collection").aggregate(wanted).to_pylist()
    return [_collection(row, [row[f"{name}_{how}"] for name, how in edges.items()]) for row in rows if _is_whole(row)]


def _column(name: str) -> Expression:
    import pyarrow.dataset as ds

    return ds.field(name) if name in ("collection", "datetime") else ds.field("bbox", name)


def _is_whole(row: Mapping[str, Any]) -> bool:
    return all(value is not None for value in row.values())


def _collection(row: Mapping[str, Any], box: list[float]) -> Document:
    interval = [row[f"datetime_{end}"].isoformat() for end in ("min", "max")]
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": row["collection"], "description": row["collection"],
        "license": "other", "links": [],
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [interval]}},
    }  # fmt: skip
