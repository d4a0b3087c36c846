"""pystac-client against the engine: every kind of request, in the process and over HTTP, compared with brute force."""

from __future__ import annotations

import builtins
import json
import re

import pytest
import requests
from pystac_client.exceptions import APIError

from s2koop.catalog import _api
from s2koop.catalog._api import LocalApi, connect

BOTH = pytest.mark.parametrize("method", ["GET", "POST"])


def ids(search) -> list[str]:
    return sorted(item["id"] for item in search.items_as_dicts())


def expected(documents, keep) -> list[str]:
    return sorted(item["id"] for item in documents if keep(item))


def platform(item) -> str:
    return item["properties"]["platform"]


def cloud(item, default=1000.0) -> float:
    value = item["properties"].get("eo:cloud_cover")
    return default if value is None else value


def test_landing_page_conforms_to_what_is_used(client):
    for name in ("CORE", "COLLECTIONS", "ITEM_SEARCH", "QUERY", "FILTER", "SORT", "FIELDS"):
        assert client.conforms_to(name)


def test_collections_are_made_up_from_the_items(client):
    found = {collection.id: collection for collection in client.get_collections()}
    assert set(found) == {"sentinel-2-l2a", "sentinel-2-l1c"}
    assert found["sentinel-2-l1c"].extent.spatial.bboxes == [[8.0, 40.0, 49.0, 41.0]]
    assert f"{found['sentinel-2-l2a'].extent.temporal.intervals[0][0]:%F}" == "2020-01-01"


def test_items_of_a_collection_and_one_item(client):
    collection = client.get_collection("sentinel-2-l1c")
    assert sorted(item.id for item in collection.get_items()) == [f"item-{n:02d}" for n in (4, 9, 14, 19, 24)]
    assert collection.get_item("item-09").id == "item-09"


def test_unknown_collection_is_not_found(client):
    assert client.get_collection("landsat") is None


@BOTH
@pytest.mark.parametrize("limit", [1, 7, 24, 25, 100])
def test_paging_gives_every_item_once(client, documents, method, limit):
    search = client.search(method=method, limit=limit)
    assert search.matched() == 25
    assert ids(search) == expected(documents, lambda item: True)


@BOTH
def test_paging_keeps_every_filter(client, documents, method):
    search = client.search(
        method=method, limit=2, bbox=[0, 39, 60, 42], datetime="2020-01-03/2020-01-25", collections="sentinel-2-l2a",
        query={"eo:cloud_cover": {"lt": 60}}, sortby="-properties.eo:cloud_cover,id",
        fields=["eo:cloud_cover", "-geometry"],
        filter={"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]} if method == "POST" else
        "platform = 'sentinel-2a'", filter_lang="cql2-json" if method == "POST" else "cql2-text",
    )  # fmt: skip
    found = list(search.items_as_dicts())
    wanted = [
        item for n, item in enumerate(documents)
        if n >= 2 and n % 5 != 4 and n % 2 == 1 and cloud(item) < 60
    ]  # fmt: skip
    wanted.sort(key=lambda item: (-cloud(item), item["id"]))
    assert len(wanted) > 4  # several pages
    assert [item["id"] for item in found] == [item["id"] for item in wanted]
    assert all("geometry" not in item and "platform" not in item["properties"] for item in found)


@BOTH
def test_max_items_stops_early(client, method):
    assert len(list(client.search(method=method, limit=3, max_items=5).items_as_dicts())) == 5


def test_newest_come_first_by_default(client):
    assert [item["id"] for item in client.search(max_items=2).items_as_dicts()] == ["item-24", "item-23"]


@BOTH
@pytest.mark.parametrize(
    ("bbox", "numbers"),
    [
        ([0.5, 40.5, 0.6, 40.6], [0]),
        ([0.5, 40.5, 2.5, 40.6], [0, 1]),
        ([1.2, 40.2, 1.8, 40.8], []),
        ([0, 41, 0.5, 42], [0]),  # touching is intersecting
        ([0.5, 40.5, -100, 0.6, 40.6, 100], [0]),  # with heights
        ([48.5, 39, 0.5, 42], [0, 24]),  # across the antimeridian
    ],
)  # fmt: skip
def test_bbox(client, method, bbox, numbers):
    assert ids(client.search(bbox=bbox, method=method)) == [f"item-{n:02d}" for n in numbers]


@BOTH
def test_intersects_goes_by_the_outline_not_the_box(client, method):
    # the corner of this triangle's box lies in item 1, the triangle itself does not
    triangle = {"type": "Polygon", "coordinates": [[[0.5, 40.5], [2.5, 42.5], [0.5, 42.5], [0.5, 40.5]]]}
    assert ids(client.search(intersects=triangle, method=method)) == ["item-00"]


@BOTH
@pytest.mark.parametrize(
    ("when", "numbers"),
    [
        ("2020-01-03T10:00:00Z", [2]),
        ("2020-01-03T12:00:00+02:00", [2]),
        ("2020-01-03", [2]),
        ("2020-01-03/2020-01-05", [2, 3, 4]),
        ("../2020-01-02", [0, 1]),
        ("2020-01-24/..", [23, 24]),
        ("2020-01-10", [7, 9]),  # number 7 spans the day
        ("2019", []),
    ],
)
def test_datetime(client, method, when, numbers):
    assert ids(client.search(datetime=when, method=method)) == [f"item-{n:02d}" for n in numbers]


@BOTH
def test_ids_and_collections(client, method):
    assert ids(client.search(ids=["item-03", "item-05", "nothing"], method=method)) == ["item-03", "item-05"]
    assert len(ids(client.search(collections=["sentinel-2-l1c"], method=method))) == 5


@BOTH
@pytest.mark.parametrize(
    ("query", "keep"),
    [
        ({"eo:cloud_cover": {"lt": 21}}, lambda i: cloud(i) < 21),
        ({"eo:cloud_cover": {"lte": 21}}, lambda i: cloud(i) <= 21),
        ({"eo:cloud_cover": {"gt": 21}}, lambda i: cloud(i, -1) > 21),
        ({"eo:cloud_cover": {"gte": 21, "lt": 70}}, lambda i: 21 <= cloud(i) < 70),
        ({"eo:cloud_cover": {"eq": 21}}, lambda i: cloud(i) == 21),
        ({"eo:cloud_cover": {"neq": 21}}, lambda i: cloud(i, 21) != 21),
        ({"platform": {"in": ["sentinel-2a"]}}, lambda i: platform(i) == "sentinel-2a"),
        ({"platform": {"startsWith": "s", "endsWith": "2b", "contains": "l"}}, lambda i: platform(i) == "sentinel-2b"),
        ({"nothing": {"eq": 1}}, lambda i: False),
    ],
)  # fmt: skip
def test_query(client, documents, method, query, keep):
    assert ids(client.search(query=query, method=method)) == expected(documents, keep)


CQL2 = [
    ("eo:cloud_cover <= 21", lambda i: cloud(i) <= 21),
    ("eo:cloud_cover < 60 AND platform = 'sentinel-2a'", lambda i: cloud(i) < 60 and platform(i) == "sentinel-2a"),
    ("eo:cloud_cover IS NULL", lambda i: cloud(i, -1) == -1),
    ("platform LIKE '%2b' OR id = 'item-01'", lambda i: platform(i) == "sentinel-2b" or i["id"] == "item-01"),
    ("S_INTERSECTS(geometry, POINT(2.5 40.5))", lambda i: i["id"] == "item-01"),
    ("collection IN ('sentinel-2-l1c')", lambda i: i["collection"] == "sentinel-2-l1c"),
    ("not_there > 3", lambda i: False),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize(("text", "keep"), CQL2)
def test_cql2_text(client, documents, method, text, keep):
    found = ids(client.search(filter=text, filter_lang="cql2-text", method=method))
    assert found == expected(documents, keep)


@pytest.mark.parametrize(("text", "keep"), CQL2)
def test_cql2_json(client, documents, text, keep):
    cql2 = pytest.importorskip("cql2")
    expression = cql2.Expr(text).to_json()
    assert ids(client.search(filter=expression, filter_lang="cql2-json")) == expected(documents, keep)


@BOTH
def test_sortby(client, documents, method):
    search = client.search(sortby=["+platform", "-properties.eo:cloud_cover"], method=method)
    found = [item["id"] for item in search.items_as_dicts()]
    # an item without a value comes after all that have one, whatever the direction
    wanted = sorted(documents, key=lambda i: (platform(i), cloud(i, -1) < 0, -cloud(i)))
    assert found == [item["id"] for item in wanted]


@BOTH
def test_fields(client, method):
    (item,) = client.search(ids=["item-01"], fields=["platform", "-assets", "-bbox"], method=method).items_as_dicts()
    assert item["properties"] == {"datetime": "2020-01-02T10:00:00Z", "platform": "sentinel-2a"}
    assert "assets" not in item
    assert "bbox" not in item
    assert item["geometry"]["type"] == "Polygon"
    (item,) = client.search(
        ids=["item-01"], fields={"exclude": ["properties.platform"]}, method=method
    ).items_as_dicts()
    assert set(item["properties"]) == {"datetime", "eo:cloud_cover"}


BAD = [
    ({"bbox": [1, 2, 3]}, "expected 4 numbers"),
    ({"bbox": [0, 5, 1, 4]}, "south 5.*above its north 4"),
    ({"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}, "cannot be asked together"),
    ({"intersects": {"type": "Polygon"}}, "no GeoJSON"),
    ({"datetime": "yesterday"}, "no date"),
    ({"datetime": "2020-01-02T00:00:00Z/2020-01-01T00:00:00Z"}, "ends before it starts"),
    ({"datetime": "../.."}, "at least one end"),
    ({"datetime": "2020-01-01/2020-01-02/2020-01-03"}, "neither an instant"),
    ({"query": ["eo:cloud_cover<10"]}, "expected an object"),
    ({"query": {"eo:cloud_cover": {"lt": "10"}}}, "types differ"),
    ({"query": {"eo:cloud_cover": {"below": 10}}}, "no operator 'below'"),
    ({"query": {"platform": {"in": "sentinel-2a"}}}, "takes a list"),
    ({"query": {"platform": {"startsWith": 3}}}, "takes a string"),
    ({"filter": "((", "filter-lang": "cql2-text"}, r"not CQL2: '\(\(' is not complete \(line 1, character 3\)"),
    ({"filter": "id = 'a' AND\n id < < 3"}, r"after ' id < ' comes '< 3' \(line 2, character 7\), expected such as"),
    ({"filter": "id <\n"}, "'' is not complete"),
    (
        {"filter": {"op": "<", "args": {"id": 1}}, "filter-lang": "cql2-json"},
        r"'id': 1.*expected such as .\"op\": \"<\"",
    ),
    ({"filter": "eo:cloud_cover < 'abc'"}, "cannot be evaluated"),
    ({"filter": "eo:cloud_cover < 3", "filter-lang": "ogc"}, "filter-lang is 'ogc'"),
    ({"sortby": "eo:cloud_cover"}, "sortby is"),
    ({"sortby": [{"field": "id", "direction": "up"}]}, "expected asc or desc"),
    ({"fields": ["id"]}, "fields is"),
    ({"fields": {"include": "id"}}, "list of strings"),
    ({"ids": "item-01"}, "list of strings"),
    ({"collections": [1]}, "list of strings"),
    ({"limit": 0}, "limit is 0"),
    ({"limit": 10_001}, "limit is 10001"),
    ({"limit": "many"}, "limit is 'many'"),
    ({"token": "../../etc"}, "not one that this catalogue gave out"),
    ({"cloud": 10}, r"unknown parameter \['cloud'\]"),
    ([1], "expected an object"),
]


@pytest.mark.parametrize(("body", "words"), BAD, ids=[json.dumps(body)[:40] for body, _ in BAD])
def test_bad_requests_are_refused_with_a_reason(loopback, body, words):
    answer = requests.post(f"{loopback.api_url}/search", json=body, timeout=5)
    assert answer.status_code == 400
    assert re.search(words, answer.json()["description"])


@pytest.mark.parametrize("query", ["bbox=a,b", "limit=x", "intersects={", "query={", "surprise=1"])
def test_bad_get_parameters_are_refused(loopback, query):
    assert requests.get(f"{loopback.api_url}/search?{query}", timeout=5).status_code == 400


def test_body_that_is_not_json_is_refused(loopback):
    answer = requests.post(f"{loopback.api_url}/search", data="{", timeout=5)
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["description"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/search/deeper", "/collections/sentinel-2-l2a/items/none", "/collections/x/items"]
)
def test_unknown_paths_are_not_found(loopback, path):
    assert requests.get(f"{loopback.api_url}{path}", timeout=5).status_code == 404


def test_list_query_of_pystac_client_is_refused_not_compared_as_text(client):
    with pytest.raises(APIError, match="types differ"):
        list(client.search(query=["eo:cloud_cover<10"]).items_as_dicts())


def test_cql2_absent_is_said(documents, monkeypatch):
    real = builtins.__import__

    def without_cql2(name, *args, **kwargs):
        if name == "cql2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cql2)
    answer = LocalApi(documents).handle("POST", "http://x/search", b'{"filter": "id = 1"}', root="http://x")
    assert answer.status == 422
    assert "pip install 's2koop[cql2]'" in answer.body["description"]


def test_in_process_opens_no_socket(documents, socket_disabled):
    search = connect(LocalApi(documents)).search(bbox=[0, 39, 60, 42], limit=10)
    assert search.matched() == 25
    assert len(list(search.items_as_dicts())) == 25


def test_item_that_lies_nowhere_is_found_by_everything_but_area(documents):
    nowhere = {**documents[0], "id": "nowhere", "geometry": None, "bbox": None, "collection": "else"}
    found = connect(LocalApi([nowhere]))
    assert found.search().matched() == 1
    assert found.search(bbox=[-180, -90, 180, 90]).matched() == 0


def test_items_are_not_changed_by_answers(documents):
    before = json.dumps(documents)
    connect(LocalApi(documents)).search(fields=["-properties.platform", "-assets"]).item_collection_as_dict()
    assert json.dumps(documents) == before


def test_links_start_with_the_address_that_was_asked(loopback):
    root = "https://example.org/deep/stac"
    answer = LocalApi(loopback.items).handle("GET", f"{root}/search?limit=1", root=root)
    hrefs = [link["href"] for link in answer.body["links"]]
    assert all(href.startswith(root) for href in hrefs)
    assert _api.ROOT.endswith(".invalid")
