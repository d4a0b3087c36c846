"""A stac-geoparquet file is searched as any catalogue is, and only what may match is taken out of it."""

from __future__ import annotations

import json
import sys

import pytest
import shapely

import s2koop
from s2koop.catalog import _geoparquet, open_client
from s2koop.errors import CatalogError, EmptySearchWarning, MaskedItemsWarning, MissingDependencyError
from tests.catalog.conftest import make_item
from tests.support import items as make

arrow = pytest.importorskip("stac_geoparquet.arrow")


@pytest.fixture(scope="module")
def twins(tmp_path_factory, documents):
    """The 25 items of these tests as a file of each kind."""
    folder = tmp_path_factory.mktemp("twins")
    arrow.parse_stac_items_to_parquet(documents, output_path=folder / "items.parquet")
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": documents}))
    return folder / "items.parquet", folder / "items.json"


@pytest.fixture
def taken(monkeypatch):
    """How many items were put together out of columns."""
    numbers: list[int] = []
    whole = _geoparquet._without_nulls

    def counted(item):
        numbers.append(1)
        return whole(item)

    monkeypatch.setattr(_geoparquet, "_without_nulls", counted)
    return numbers


ASKED = {
    "all": ({}, 25),
    "box": ({"bbox": [3, 39, 9, 42]}, 5),
    "box beside all": ({"bbox": [3, 50, 9, 52]}, 0),
    "box that touches an edge": ({"bbox": [5, 41, 5.5, 42]}, 1),
    "triangle": ({"intersects": shapely.Polygon([(0, 39), (0, 42), (8.5, 42)])}, 5),
    "dates": ({"datetime": "2020-01-03/2020-01-06"}, 5),
    "instant within a span": ({"datetime": "2020-01-10T12:00:00Z"}, 1),
    "from a day on": ({"datetime": "2020-01-20/.."}, 7),
    "to a day": ({"datetime": "../2020-01-05"}, 6),
    "cloud": ({"max_cloud": 20}, 7),
    "all three": ({"bbox": [1, 39, 30, 42], "datetime": "2020-01-02/2020-01-20", "max_cloud": 50}, 9),
    "collection": ({"collection": "sentinel-2-l1c"}, 25),
    "level": ({"level": "L1C", "datetime": "2020-01-01/2020-01-12"}, 13),
    "filter": ({"filter": "platform = 'sentinel-2a'"}, 25),
}


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.filterwarnings("ignore::s2koop.errors.EmptySearchWarning")
def test_the_same_items_as_from_json(twins, taken, name):
    asked, most = ASKED[name]
    parquet, plain = twins
    found, expected = s2koop.search(parquet, **asked), s2koop.search(plain, **asked)
    assert [item.id for item in found] == [item.id for item in expected]
    assert len(found) > 0 or name == "box beside all"
    assert len(found) <= len(taken) <= most


def test_items_come_back_as_they_went_in(tmp_path):
    """Rows hold the columns of all; what one item lacks is no empty field of it."""
    product = make.make_product(tmp_path, baseline="05.11", carried=1000, bands=("B04", "B8A"))
    other = make.make_landsat(tmp_path)
    documents = [make.earth_search_c1(product), make.cdse(product), make.landsat(other)]
    arrow.parse_stac_items_to_parquet(documents, output_path=tmp_path / "items.parquet", schema="FullFile")
    found = {item.id: item for item in s2koop.search(tmp_path / "items.parquet")}
    for document in documents:
        item = found[document["id"]].to_dict(transform_hrefs=False)
        assert set(item["assets"]) == set(document["assets"])
        for key, asset in document["assets"].items():
            assert item["assets"][key]["href"] == asset["href"]
        assert not any(value is None for value in item["properties"].values())
    cube = s2koop.load(found["scene"])
    assert cube.boa_offset.item() == -0.1
    assert s2koop.load(found[documents[2]["id"]]).attrs["sensor"] == "Landsat"


def test_nothing_found_says_what_the_file_holds(twins):
    with pytest.warns(
        EmptySearchWarning, match=r"sentinel-2-l2a holds 2020-01-01 to 2020-01-24 .*\[0.0, 40.0, 47.0, 41.0\]"
    ):
        assert len(s2koop.search(twins[0], datetime="2030")) == 0
    with pytest.raises(CatalogError, match="no collection 'modis'; it has sentinel-2-l1c, sentinel-2-l2a"):
        s2koop.search(twins[0], collection="modis")


def test_as_a_client(twins):
    assert open_client(twins[0]).search(max_items=3).matched() == 25


def test_items_that_are_not_whole(tmp_path):
    broken = {**make_item(1, **{"datetime": None, "start_datetime": "2020-01-01T00:00:00Z"})}
    arrow.parse_stac_items_to_parquet([make_item(0), broken], output_path=tmp_path / "items.parquet")
    with pytest.raises(CatalogError, match="'item-01': it has no datetime"):
        s2koop.search(tmp_path / "items.parquet")
    with pytest.warns(MaskedItemsWarning, match="'item-01'"):
        items = s2koop.search(tmp_path / "items.parquet", errors="mask")
    assert [item.id for item in items] == ["item-00"]


@pytest.mark.parametrize("content", [b"", b"PAR1 no", b'{"type": "Feature"}'])
def test_file_that_is_not_parquet(tmp_path, content):
    path = tmp_path / "items.parquet"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match="cannot be read as stac-geoparquet"):
        s2koop.search(path)


def test_parquet_that_is_not_stac(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "value": [1]}), tmp_path / "table.parquet")
    with pytest.raises(CatalogError, match="is Parquet but not stac-geoparquet: it has no geometry, assets"):
        s2koop.search(tmp_path / "table.parquet")


def test_an_address_is_told_apart_before_it_is_fetched():
    with pytest.raises(CatalogError, match=r"https://host.org/items.parquet is stac-geoparquet.* download it"):
        s2koop.search("https://host.org/items.parquet?sig=secret")


def test_without_the_package_the_command_is_named(twins, monkeypatch):
    monkeypatch.setitem(sys.modules, "stac_geoparquet.arrow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 's2koop\[geoparquet\]'"):
        s2koop.search(twins[0])
