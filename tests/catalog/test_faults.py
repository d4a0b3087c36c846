"""Every fault of a catalogue has its end: it passes, it is refused by name, or it is left out and told."""

from __future__ import annotations

import copy
import email.utils
import json
import time
from typing import Any

import pystac
import pytest
import urllib3

import s2koop
from s2koop.catalog import _http
from s2koop.catalog.items import Items
from s2koop.errors import CatalogError, InputError, MaskedItemsWarning
from tests.catalog.conftest import make_item
from tests.support.provider import LoopbackProvider

L2A = [f"item-{number:02d}" for number in range(10) if number % 5 != 4]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch):
    monkeypatch.setattr(_http, "BACKOFF", 0.01)


@pytest.fixture
def ten():
    """Ten items over HTTP, of which eight are L2A."""
    with LoopbackProvider([make_item(number) for number in range(10)]) as served:
        yield served


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Seconds that were waited between tries; nobody waits."""
    seconds: list[float] = []
    monkeypatch.setattr(urllib3.util.retry.time, "sleep", seconds.append)
    return seconds


def ids(items) -> list[str]:
    return [item.id for item in items]


# answers that say when to come back


@pytest.mark.parametrize("status", [429, 503])
def test_seconds_to_wait_are_waited(ten, waits, status):
    ten.fault("*/search", "status", status=status, times=2, headers={"Retry-After": "7"})
    assert ids(s2koop.search(ten.api_url)) == L2A
    assert waits == [7, 7]
    assert ten.count(pattern="*/search") == 3


def test_date_to_wait_for_is_waited_for(ten, waits):
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    ten.fault("*/search", "status", status=429, times=1, headers={"Retry-After": date})
    assert ids(s2koop.search(ten.api_url)) == L2A
    (seconds,) = waits
    assert 25 < seconds <= 30


@pytest.mark.parametrize(
    "header", ["7200", "9" * 30, email.utils.formatdate(4e9, usegmt=True), "soon", "1.5", "Thu, 99 Foo 999999 1:1:1"]
)
def test_no_server_makes_us_wait_for_more_than_a_minute(ten, waits, header):
    ten.fault("*/search", "status", status=429, times=1, headers={"Retry-After": header})
    assert ids(s2koop.search(ten.api_url)) == L2A
    assert all(0 <= seconds <= _http.LONGEST_WAIT for seconds in waits)


def test_a_server_that_stays_busy_is_given_up(ten, waits):
    ten.fault("*/search", "status", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(CatalogError, match="too busy .HTTP 429, after retries"):
        s2koop.search(ten.api_url)
    assert sum(waits) <= 5 * _http.LONGEST_WAIT


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_disorder_on_a_later_page_is_passed_over(ten, monkeypatch, status):
    monkeypatch.setattr("s2koop.catalog._search._PAGE", 3)
    ten.fault("*/search", "status", status=status, times=2, skip=1)
    assert ids(s2koop.search(ten.api_url)) == L2A


# answers that break off


def test_half_an_answer_is_asked_again(ten):
    ten.fault("*/search", "truncate", times=2)
    assert ids(s2koop.search(ten.api_url)) == L2A


def test_half_an_answer_for_ever_is_told(ten):
    ten.fault("*/search", "truncate")
    with pytest.raises(CatalogError, match="the connection failed"):
        s2koop.search(ten.api_url)
    assert ten.count(pattern="*/search") == 3


@pytest.mark.parametrize("path", ["/stac", "*/search"])
def test_an_answer_that_comes_byte_by_byte_has_its_end(ten, monkeypatch, path):
    """Its server is never silent for long, so that a limit to silence alone would wait for hours."""
    monkeypatch.setattr(_http, "LONGEST_ANSWER", 0.3)
    ten.fault(path, "drip", seconds=0.02)
    began = time.monotonic()
    with pytest.raises(CatalogError, match="did not answer in time"):
        s2koop.search(ten.api_url)
    assert time.monotonic() - began < 5
    assert ten.count(pattern=path) == 1


# pages


def change_pages(provider, change):
    """Let ``change`` rewrite each page of a search."""
    provider.fault("*/search", "rewrite", change=change)


def lead_back(page: dict[str, Any]) -> dict[str, Any]:
    """Point the last page's ``next`` at the second one."""
    if not any(link["rel"] == "next" for link in page["links"]):
        page["links"].append({"rel": "next", "href": lead_back.href, "method": "POST", "body": lead_back.body})
    return page


@pytest.fixture
def circle(ten, monkeypatch):
    monkeypatch.setattr("s2koop.catalog._search._PAGE", 3)
    lead_back.href = f"{ten.api_url}/search"
    lead_back.body = {"collections": ["sentinel-2-l2a"], "limit": 3, "token": "3"}
    change_pages(ten, lead_back)
    return ten


def test_pages_in_a_circle_are_refused(circle):
    with pytest.raises(CatalogError, match=r"127.0.0.1.*again and again.*lead in a circle.*errors='mask'"):
        s2koop.search(circle.api_url)
    assert circle.count(pattern="*/search") < 10


def test_pages_in_a_circle_are_left(circle):
    with pytest.warns(MaskedItemsWarning, match="further pages.*circle"):
        items = s2koop.search(circle.api_url, errors="mask")
    assert ids(items) == L2A
    assert circle.count(pattern="*/search") < 10


def test_a_circle_is_not_entered_where_the_limit_is_reached(circle):
    assert ids(s2koop.search(circle.api_url, limit=8)) == L2A


@pytest.mark.parametrize("errors", ["raise", "mask"])
def test_the_same_page_under_ever_new_names_ends(ten, errors):
    """The token counts up, the items stay."""
    tokens = iter(range(10**6))

    def same(page):
        page["links"].append({"rel": "next", "href": f"{ten.api_url}/search?token=0&n={next(tokens)}"})
        return page

    change_pages(ten, same)
    ten.api._search = lambda *_: {"features": [make_item(0), make_item(1)], "links": []}
    if errors == "raise":
        with pytest.raises(CatalogError, match="lead in a circle"):
            s2koop.search(ten.api_url)
    else:
        with pytest.warns(MaskedItemsWarning, match="circle"):
            assert ids(s2koop.search(ten.api_url, errors="mask")) == ["item-00", "item-01"]
    assert ten.count(pattern="*/search") < 8


def test_one_page_that_came_before_is_no_circle(ten, monkeypatch):
    """An item that is added between two requests shifts all pages by one."""
    monkeypatch.setattr("s2koop.catalog._search._PAGE", 1)
    first: list[Any] = []

    def shifted(page):
        first.append(page["features"])
        if len(first) == 2:
            page["features"] = first[0]
        return page

    change_pages(ten, shifted)
    found = ids(s2koop.search(ten.api_url))
    assert len(found) == 7
    assert set(found) < set(L2A)


def test_items_that_come_twice_are_kept_once(ten, monkeypatch):
    monkeypatch.setattr("s2koop.catalog._search._PAGE", 3)
    before: list[Any] = []

    def overlap(page):
        page["features"] = before[-1:] + page["features"]
        before.append(page["features"][-1])
        return page

    change_pages(ten, overlap)
    items = s2koop.search(ten.api_url)
    assert ids(items) == L2A
    assert items.skipped == []


def test_one_name_in_two_collections_is_two_items(tmp_path):
    item = make_item(0)
    other = {**item, "collection": "sentinel-2-c1-l2a"}
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [item, other, item]}))
    assert ids(s2koop.search(path)) == ["item-00", "item-00"]


# items that are not whole


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in make_item(1).items() if key != name}


def having(**members: Any) -> dict[str, Any]:
    return {**make_item(1), **members}


def of(**properties: Any) -> dict[str, Any]:
    return make_item(1, **properties)


BROKEN: dict[str, tuple[Any, str]] = {
    "no geometry": (without("geometry"), "it has no geometry"),
    "geometry of numbers": (having(geometry={"type": "Polygon", "coordinates": [1, 2]}), "its geometry"),
    "geometry as text": (having(geometry="POINT (1 2)"), "its geometry"),
    "bbox of two": (having(bbox=[1, 2]), "its bbox"),
    "bbox of text": (having(bbox=["1", "2", "3", "4"]), "its bbox"),
    "no datetime": (of(datetime=None), "it has no datetime"),
    "half a span": (of(datetime=None, start_datetime="2020-01-01T00:00:00Z"), "it has no datetime"),
    "datetime in words": (of(datetime="yesterday"), "its datetime is 'yesterday'"),
    "datetime as number": (of(datetime=1577872800), "its datetime"),
    "no assets": (without("assets"), "its assets are None"),
    "null assets": (having(assets=None), "its assets are None"),
    "assets in a list": (having(assets=[{"href": "https://host/B04.tif?sig=SECRET"}]), "its assets are a list of 1"),
    "asset without href": (having(assets={"B04": {"type": "image/tiff"}}), "its asset 'B04' has no href"),
    "asset that is null": (having(assets={"B04": None}), "its asset 'B04' has no href"),
    "null properties": (having(properties=None), "its properties are None"),
    "no properties": (without("properties"), "its properties are None"),
    "properties in a list": (having(properties=[]), "its properties are a list"),
    "cloud cover as text": (of(**{"eo:cloud_cover": "12"}), "its eo:cloud_cover is '12'"),
    "cloud cover that is true": (of(**{"eo:cloud_cover": True}), "its eo:cloud_cover is True"),
    "collection as number": (having(collection=5), "its collection is 5"),
    "links as text": (having(links="none"), "its links"),
    "extensions as number": (having(stac_extensions=5), "pystac cannot read it"),
}
#: In a folder, what is of another type is passed over.
OTHER = (having(type="Geometry"), "its type is 'Geometry'")
NAMELESS: dict[str, tuple[Any, str]] = {
    "no id": (without("id"), "its id is None"),
    "null": (None, "it is a NoneType"),
    "a text": ("item", "it is a str"),
}


@pytest.fixture(params=["api", "file", "folder"])
def with_broken(request, tmp_path):
    """A function that puts a broken item between two whole ones, into a catalogue of each kind."""
    providers = []

    def place(broken):
        features = [make_item(0), copy.deepcopy(broken), make_item(2)]
        if request.param == "api":
            served = LoopbackProvider([make_item(0)]).__enter__()
            providers.append(served)
            served.api._search = lambda *_: {"type": "FeatureCollection", "features": features, "links": []}
            return served.api_url
        if request.param == "file":
            path = tmp_path / "items.json"
            path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
            return path
        for number, feature in enumerate(features):
            members = {"stac_version": "1.0.0", "type": "Feature"} | (feature if isinstance(feature, dict) else {})
            (tmp_path / f"{number}.json").write_text(json.dumps(members))
        return tmp_path

    yield place
    for served in providers:
        served.__exit__()


@pytest.mark.parametrize("name", BROKEN)
def test_item_that_is_not_whole(with_broken, name):
    broken, words = BROKEN[name]
    catalog = with_broken(broken)
    with pytest.raises(CatalogError, match=f"item 'item-01': {words}") as caught:
        s2koop.search(catalog)
    assert "SECRET" not in str(caught.value)
    with pytest.warns(MaskedItemsWarning, match=f"1 left out: 'item-01': {words}") as warned:
        items = s2koop.search(catalog, errors="mask")
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert ids(items) == ["item-00", "item-02"]
    [skipped] = items.skipped
    assert skipped["id"] == "item-01"
    assert words in skipped["reason"]


def test_document_of_another_type(with_broken):
    broken, words = OTHER
    catalog = with_broken(broken)
    if not isinstance(catalog, str) and catalog.is_dir():
        assert ids(s2koop.search(catalog)) == ["item-00", "item-02"]
        return
    with pytest.raises(CatalogError, match=words):
        s2koop.search(catalog)


def test_cloud_cover_that_is_no_number(tmp_path):
    """Python writes and reads NaN, which JSON does not know; NaN is below no limit, and above none."""
    path = tmp_path / "item.json"
    path.write_text(json.dumps(of(**{"eo:cloud_cover": float("nan")})))
    with pytest.raises(CatalogError, match="its eo:cloud_cover is nan"):
        s2koop.search(path)


@pytest.mark.parametrize("name", NAMELESS)
def test_item_without_a_name(with_broken, name):
    broken, words = NAMELESS[name]
    catalog = with_broken(broken)
    if not isinstance(broken, dict) and not isinstance(catalog, str) and catalog.is_dir():
        words = "its id is None"
    with pytest.raises(CatalogError, match=f"(without an id).*: {words}"):
        s2koop.search(catalog)
    with pytest.warns(MaskedItemsWarning, match="1 left out: '.without an id.'"):
        assert ids(s2koop.search(catalog, errors="mask")) == ["item-00", "item-02"]


def test_one_name_for_two_times(with_broken):
    """Which of the two was meant cannot be told."""
    catalog = with_broken({**make_item(5), "id": "item-00"})
    with pytest.raises(CatalogError, match="'item-00': another item of another time has the same id"):
        s2koop.search(catalog)
    with pytest.warns(MaskedItemsWarning, match="same id"):
        assert ids(s2koop.search(catalog, errors="mask")) == ["item-00", "item-02"]


def test_an_item_may_lie_nowhere_if_it_says_so(with_broken):
    broken = {key: value for key, value in make_item(1).items() if key != "bbox"}
    assert ids(s2koop.search(with_broken({**broken, "geometry": None}))) == ["item-00", "item-01", "item-02"]


# what is told of them


@pytest.fixture
def masked(tmp_path) -> Items:
    features = [make_item(0), *({**of(datetime=None), "id": f"bad-{number}"} for number in range(7))]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.warns(MaskedItemsWarning) as caught:
        items = s2koop.search(path, errors="mask")
    assert [str(warning.message) for warning in caught] == [
        f"{path}: 7 left out: 'bad-0': {NO_TIME}; 'bad-1': {NO_TIME}; 'bad-2': {NO_TIME}; and 4 more (errors='mask')"
    ]
    return items


NO_TIME = "it has no datetime, nor both a start_datetime and an end_datetime"


def test_all_that_was_skipped_is_listed(masked):
    assert masked.skipped == [{"id": f"bad-{number}", "reason": NO_TIME} for number in range(7)]


def test_what_was_skipped_is_shown(masked):
    for words in (repr(masked), masked._repr_html_()):
        assert "7 left out" in words
        assert "bad-0" in words
        assert "and 4 more" in words


def test_what_was_skipped_survives_slices_and_files(masked, tmp_path):
    assert masked[:1].skipped == masked.skipped
    masked.save_object(str(tmp_path / "found.json"))
    assert Items.from_file(str(tmp_path / "found.json")).skipped == masked.skipped


def test_nothing_skipped_is_nothing_shown():
    items = s2koop.search("sample", datetime="2020-06")
    assert items.skipped == []
    assert "left out" not in repr(items)


def test_errors_is_checked_before_the_first_request(ten):
    with pytest.raises(InputError, match="errors is 'ignore', expected 'raise' or 'mask'"):
        s2koop.search(ten.api_url, errors="ignore")
    assert ten.count() == 0


# static catalogues


def write_catalog(folder, children=(), items=()):
    links = [{"rel": "child", "href": href} for href in children] + [{"rel": "item", "href": href} for href in items]
    folder.mkdir(exist_ok=True)
    document = {"type": "Catalog", "stac_version": "1.0.0", "id": folder.name, "description": "c", "links": links}
    (folder / "catalog.json").write_text(json.dumps(document))


def write_item(folder, number, **members):
    (folder / f"{number}.json").write_text(json.dumps({**make_item(number), **members}))


def test_static_catalogue_whose_children_lead_back(tmp_path):
    write_catalog(tmp_path, children=["a/catalog.json", "./catalog.json"])
    write_catalog(tmp_path / "a", children=["../catalog.json"], items=["0.json", "./0.json"])
    write_item(tmp_path / "a", 0)
    assert ids(s2koop.search(tmp_path)) == ["item-00"]


@pytest.mark.parametrize("road", ["folder", "address"])
def test_static_catalogue_with_a_broken_and_a_lost_item(tmp_path, road):
    write_catalog(tmp_path, items=["0.json", "1.json", "gone.json", "torn.json"])
    write_item(tmp_path, 0)
    write_item(tmp_path, 1, properties=None)
    (tmp_path / "torn.json").write_text('{"type": "Feature", "id": ')
    with LoopbackProvider([], root=tmp_path) as served:
        catalog = tmp_path if road == "folder" else f"{served.files_url}/catalog.json"
        with pytest.raises(CatalogError, match="item-01"):
            s2koop.search(catalog)
        with pytest.warns(MaskedItemsWarning, match="3 left out"):
            items = s2koop.search(catalog, errors="mask")
    assert ids(items) == ["item-00"]
    assert items.skipped[0]["id"] == "item-01"


def test_folder_with_a_file_that_is_torn(tmp_path):
    write_item(tmp_path, 0)
    (tmp_path / "torn.json").write_text('{"type": "Feature", "id": ')
    with pytest.raises(CatalogError, match="cannot be read as JSON"):
        s2koop.search(tmp_path)
    with pytest.warns(MaskedItemsWarning, match="'torn.json'.*cannot be read as JSON"):
        assert ids(s2koop.search(tmp_path, errors="mask")) == ["item-00"]


def test_items_are_whole_pystac_items(ten):
    item = s2koop.search(ten.api_url)[0]
    assert isinstance(item, pystac.Item)
    assert item.get_self_href() == f"{ten.api_url}/collections/sentinel-2-l2a/items/item-00"
    assert item.get_root() is not None
