"""Items tell what they hold, and trust no word of a catalogue."""

from __future__ import annotations

import html.parser
import re

import numpy as np
import pystac
import pytest

import s2koop
from s2koop.catalog._facts import row
from s2koop.catalog.items import Items
from tests.catalog.conftest import make_item


@pytest.fixture(scope="module")
def items() -> Items:
    return s2koop.search("sample", datetime="2019", max_cloud=50)


def test_is_an_item_collection(items):
    assert isinstance(items, pystac.ItemCollection)
    assert isinstance(items[0], pystac.Item)
    assert [item.id for item in items] == sorted((item.id for item in items), key=lambda ident: ident[10:18])


def test_slice_keeps_what_was_asked(items):
    part = items[2:5]
    assert isinstance(part, Items)
    assert len(part) == 3
    assert part.asked == items.asked
    assert part.catalog == "sample"
    assert items[-1].id == items[len(items) - 1].id


def test_saved_and_read_again(items, tmp_path):
    items.save_object(str(tmp_path / "items.json"))
    again = Items.from_file(str(tmp_path / "items.json"))
    assert [item.id for item in again] == [item.id for item in items]
    assert again.asked == items.asked
    assert repr(again) == repr(items)


def test_repr_says_what_reading_takes(items):
    far = Items.found(items.items, catalog="cdse", asked={}, attribution=None)
    assert "AWS_ACCESS_KEY_ID" in repr(far)
    assert "AWS_ACCESS_KEY_ID" in far._repr_html_()
    assert "access" not in repr(items)


def test_repr_says_what_there_is(items):
    text = repr(items)
    assert f"{len(items)} items from sample" in text
    for words in ("sentinel-2a", "34TER", "EPSG:3035", "B8A", "MB of pixels", "max_cloud=50"):
        assert words in text
    assert "Contains modified Copernicus Sentinel data" in text
    assert "EUPL-1.2" in text


def test_size_is_that_of_the_pixels(items):
    per_item = 4 * 100 * 100 * 2 + 2 * 50 * 50 * 2 + 50 * 50
    assert items.to_dataframe()["bytes"].unique().tolist() == [per_item]


def test_size_in_the_area_asked_for():
    """Half of a scene of 100 x 50 pixels of 2 bytes."""
    found = Items([make_item(0)], {"s2koop:asked": {"bbox": [0.5, 39, 5, 42]}})
    assert "10 kB of pixels in whole scenes, about 5 kB in the area asked for" in repr(found)


def test_dataframe(items):
    table = items.to_dataframe()
    assert len(table) == len(items)
    assert str(table["time"].dt.tz) == "UTC"
    assert table["cloud_cover"].max() <= 50
    assert table["sun_elevation"].between(10, 70).all()
    assert table.loc[0, "bands"] == ("B02", "B03", "B04", "B08", "B8A", "B11", "SCL")


def test_empty():
    nothing = Items([])
    assert "0 items" in repr(nothing)
    assert "<b>0 items</b>" in nothing._repr_html_()
    assert nothing.to_dataframe().empty
    assert "bytes" in nothing.to_dataframe()


def test_items_that_say_little():
    bare = make_item(0)
    bare["properties"] = {"datetime": "2020-01-01T00:00:00Z"}
    bare |= {"assets": {}, "bbox": None, "geometry": None}
    found = Items([bare, make_item(1)])
    assert "sizes of 1 items unknown" in repr(found)
    assert found.to_dataframe()["tile"].isna().all()
    assert found._repr_html_()


@pytest.mark.parametrize(
    ("properties", "fact", "value"),
    [
        ({"grid:code": "MGRS-34TER"}, "tile", "34TER"),
        ({"grid:code": "MGRS-1WCQ"}, "tile", "01WCQ"),
        ({"s2:mgrs_tile": "32TMT"}, "tile", "32TMT"),
        ({"mgrs:utm_zone": 1, "mgrs:latitude_band": "W", "mgrs:grid_square": "CQ"}, "tile", "01WCQ"),
        ({"proj:epsg": 32632}, "crs", "EPSG:32632"),
        ({"proj:code": "EPSG:3035"}, "crs", "EPSG:3035"),
        ({"platform": "Sentinel-2B"}, "platform", "sentinel-2b"),
        ({"s2:processing_baseline": "05.09"}, "baseline", "05.09"),
        ({"processing:version": "05.11"}, "baseline", "05.11"),
        ({"s2:mean_solar_zenith": 30.0}, "sun_elevation", 60.0),
        ({"view:sun_elevation": 33.5}, "sun_elevation", 33.5),
    ],
)
def test_facts_of_every_provider(properties, fact, value):
    item = make_item(0)
    item["properties"] |= properties
    assert row(pystac.Item.from_dict(item))[fact] == value


def test_html_shows_the_cloud_cover_of_every_item(items):
    page = items._repr_html_()
    assert page.count("<rect ") == len(items)
    assert [f">{items[end].datetime:%Y-%m-%d}</text>" in page for end in (0, -1)] == [True, True]
    assert "<script" not in page
    assert "src=" not in page
    assert "http" not in page  # nothing is fetched


def test_html_shows_items_without_cloud_and_items_that_do_not_know_it():
    """A bar of no height is not seen, and one day of ten lies a ninth of the way."""
    clear = [make_item(number, **{"eo:cloud_cover": 0.0}) for number in range(10)]
    clear[4]["properties"]["eo:cloud_cover"] = None
    page = Items(clear)._repr_html_()
    bars = np.array(re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="2" height="([\d.]+)"', page), float)
    assert len(bars) == 10
    assert (bars[:, 1] >= 4).all()
    assert np.diff(bars[:, 0]) == pytest.approx((bars[-1, 0] - bars[0, 0]) / 9, abs=0.11)
    assert page.count("cloud cover not known") == 1


def test_html_is_well_formed(items):
    open_tags: list[str] = []

    class Checker(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(items._repr_html_())
    assert open_tags == []


def test_html_escapes_everything_that_a_catalogue_says():
    evil = '<script>alert("x")</script>'
    hostile = []
    for number in range(3):
        item = make_item(number, **{
            "platform": evil, "grid:code": evil, "proj:code": evil, "license": evil, "s2koop:attribution": evil,
            "s2:processing_baseline": evil,
        })  # fmt: skip
        hostile.append(item | {"id": f'{evil}"{number}', "collection": evil})
    fields = {"s2koop:catalog": evil, "s2koop:asked": {"datetime": evil}, "s2koop:attribution": evil}
    page = Items(hostile, fields)._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&quot;x&quot;)") >= 8


def test_html_of_many_items_stays_small():
    many = [make_item(n % 25) | {"id": f"i{n}"} for n in range(5000)]
    assert len(Items(many)._repr_html_()) < 400_000
