"""search() on every kind of catalogue gives the items that brute force gives, or says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import warnings

import pystac
import pytest
import shapely
from pystac_client import Client

import s2koop
from s2koop.catalog import _http, open_client, providers
from s2koop.catalog._sample import sample_documents, sample_folder
from s2koop.errors import CatalogError, EmptySearchWarning, InputError, MissingDependencyError
from tests.catalog.conftest import make_item
from tests.support.provider import LoopbackProvider, closed_port

ASKED = {"bbox": [22.14, 45.19, 22.17, 45.22], "datetime": "2019-04/2019-09", "max_cloud": 20}


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch):
    monkeypatch.setattr(_http, "BACKOFF", 0.01)
    monkeypatch.setattr(_http, "TIMEOUT", (2.0, 5.0))


@pytest.fixture(scope="module")
def expected() -> list[str]:
    items = [
        item for item in sample_documents()[0]
        if "2019-04" <= item["properties"]["datetime"] < "2019-10" and item["properties"]["eo:cloud_cover"] <= 20
    ]  # fmt: skip
    assert 5 < len(items) < 20
    return [item["id"] for item in sorted(items, key=lambda item: item["properties"]["datetime"])]


def ids(items) -> list[str]:
    return [item.id for item in items]


@pytest.fixture
def known(provider, monkeypatch):
    """A function that puts the loopback provider in the place of a known one."""

    def place(name: str, **changes):
        facts = {**vars(providers.PROVIDERS[name]), "url": provider.api_url, **changes}
        monkeypatch.setitem(providers.PROVIDERS, name, providers.Provider(**facts))
        return provider

    return place


# the same items by every road


def test_sample(expected):
    assert ids(s2koop.search("sample", **ASKED)) == expected


def test_sample_is_the_default_and_needs_no_socket(socket_disabled):
    assert len(s2koop.search()) == 140


def test_the_tables_are_of_one_form():
    for name, provider in providers.PROVIDERS.items():
        assert provider.name == name
        assert provider.url.startswith("https://")
        assert not provider.url.endswith("/")
        assert provider.title
        assert set(provider.collections) <= set(providers.MISSIONS)
        assert all(set(levels) <= {"L2A", "L1C"} for levels in provider.collections.values())
        assert bool(provider.bucket) == bool(provider.host) == bool(provider.gdal)
    names = [name for mission in providers.MISSIONS.values() for name in mission.keys]
    assert len(names) == len(set(names))  # no band of one mission has the name of another's
    for mission in providers.MISSIONS.values():
        assert set(mission.keys) == {*mission.bands, *mission.layers}
        assert mission.classes in mission.layers


@pytest.mark.parametrize("name", providers.PROVIDERS)
def test_known_provider(known, expected, name):
    provider = known(name, collections={"sentinel-2": {"L2A": "sentinel-2-l2a"}})
    assert ids(s2koop.search(name, **ASKED)) == expected
    (request,) = [seen.asked for seen in provider.seen if seen.method == "POST"]
    assert request["collections"] == ["sentinel-2-l2a"]
    assert request["query"] == {"eo:cloud_cover": {"lte": 20.0}}


def test_address_of_an_api(provider, expected):
    assert ids(s2koop.search(provider.api_url, **ASKED)) == expected


def test_address_of_a_static_catalogue(provider, expected):
    items = s2koop.search(f"{provider.files_url}/collection.json", **ASKED)
    assert ids(items) == expected
    assert items[0].assets["B04"].href == f"{provider.files_url}/{expected[0]}/B04.tif"
    assert provider.count(pattern="*.tif") == 0


def test_folder_and_file(expected):
    assert ids(s2koop.search(sample_folder(), **ASKED)) == expected
    items = s2koop.search(str(sample_folder() / "collection.json"), **ASKED)
    assert ids(items) == expected
    assert items[0].assets["B04"].href == str(sample_folder() / expected[0] / "B04.tif")


def test_folder_of_loose_items(tmp_path, expected):
    for item in sample_documents()[0][60:120]:
        folder = tmp_path / item["id"]
        folder.mkdir()
        asset = {**item["assets"]["B04"], "href": "./B04.tif"}
        (folder / "item.json").write_text(json.dumps({**item, "assets": {"B04": asset}}))
    (tmp_path / "outline.json").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "settings.json").write_text('["something else"]')
    items = s2koop.search(tmp_path, **ASKED)
    assert ids(items) == expected
    assert items[0].assets["B04"].href == str(tmp_path / expected[0] / "B04.tif")


def test_items_in_memory_are_not_written_and_read_again(tmp_path, monkeypatch):
    """Of a thousand items, that would cost more than all the rest; pages hold their names alone."""
    from s2koop.catalog import _api

    sizes: list[int] = []
    written = _api.Answer.content.fget

    def counted(answer):
        content = written(answer)
        sizes.append(len(content))
        return content

    monkeypatch.setattr(_api.Answer, "content", property(counted))
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": sample_documents()[0]}))
    items = s2koop.search(path)
    assert len(items) == 140
    assert items[0].assets["B04"].href.endswith("B04.tif")
    assert sum(sizes) < path.stat().st_size / 5


def test_the_collector_works_again_after_a_search():
    import gc

    for catalog, raises in (("sample", False), ("/no/such/folder", True)):
        with pytest.raises(CatalogError) if raises else contextlib.nullcontext():
            s2koop.search(catalog, limit=1)
        assert gc.isenabled()
    gc.disable()
    try:
        s2koop.search("sample", limit=1)
        assert not gc.isenabled()  # who has turned it off wants it off
    finally:
        gc.enable()


def test_saved_search_is_a_catalogue(tmp_path, expected):
    path = tmp_path / "found.json"
    s2koop.search("sample", datetime="2019").save_object(str(path))
    assert ids(s2koop.search(path, **ASKED)) == expected


def test_client(expected):
    assert ids(s2koop.search(open_client("sample"), **ASKED)) == expected


def test_real_static_catalogue(shared_data):
    items = s2koop.search(shared_data("stac_local"), max_cloud=90)
    table = items.to_dataframe()
    assert (table["cloud_cover"] <= 90).all()
    assert set(table["tile"]) == {"33TWL", "33TWM"}
    assert all(os.path.isabs(item.assets["red"].href) for item in items)


def test_real_items_of_every_provider_lie_in_one_folder(shared_data, socket_disabled):
    """Recorded items link to their providers; none of these links is followed."""
    l2a = s2koop.search(shared_data("stac_items"))
    l1c = s2koop.search(shared_data("stac_items"), level="L1C")
    assert len(l2a) + len(l1c) == 17
    assert all("L1C" in item.id for item in l1c)
    assert set(l2a.to_dataframe()["platform"]) == {"sentinel-2a", "sentinel-2b", "sentinel-2c"}


# filters


def test_area_given_as_geometry(expected):
    asked = {name: value for name, value in ASKED.items() if name != "bbox"}
    assert ids(s2koop.search("sample", intersects=shapely.Point(22.15, 45.205), **asked)) == expected


@pytest.mark.parametrize("catalog", ["sample", "api"])
@pytest.mark.parametrize(
    "expression",
    [
        "platform = 'sentinel-2b' AND eo:cloud_cover < 20",
        {"op": "and", "args": [
            {"op": "=", "args": [{"property": "platform"}, "sentinel-2b"]},
            {"op": "<", "args": [{"property": "eo:cloud_cover"}, 20]},
        ]},
    ],
)  # fmt: skip
def test_cql2(provider, expected, catalog, expression):
    items = s2koop.search(
        provider.api_url if catalog == "api" else "sample", filter=expression, datetime="2019-04/2019-09"
    )
    assert ids(items) == [ident for ident in expected if ident.startswith("S2B")]


def test_cql2_and_cloud_cover_together(expected):
    items = s2koop.search("sample", filter="platform = 'sentinel-2b'", **ASKED)
    assert ids(items) == [ident for ident in expected if ident.startswith("S2B")]


@pytest.mark.parametrize(
    ("unknown", "sent"), [((), "query"), (("#query",), "filter"), (("#query", "#filter", "/filter"), None)]
)
def test_cloud_cover_goes_the_way_the_api_knows(provider, expected, unknown, sent):
    provider.api.conformance = [uri for uri in provider.api.conformance if not uri.endswith(unknown or ("?",))]
    assert ids(s2koop.search(provider.api_url, **ASKED)) == expected
    (request,) = [seen.asked for seen in provider.seen if seen.method == "POST"]
    assert set(request) & {"query", "filter"} == ({sent} if sent else set())


def test_limit_counts_what_passes_all_filters(provider, expected):
    """Where the API cannot filter by cloud cover, a limit sent to it would lose items."""
    provider.api.conformance = [uri for uri in provider.api.conformance if "query" not in uri and "filter" not in uri]
    assert ids(s2koop.search(provider.api_url, limit=3, **ASKED)) == expected[-3:]


def test_limit_takes_the_newest_and_stops_paging(provider, expected):
    assert ids(s2koop.search(provider.api_url, limit=3, **ASKED)) == expected[-3:]
    assert provider.count("POST") == 1


def test_items_without_cloud_cover_are_left_out():
    with LoopbackProvider([make_item(0), make_item(1, **{"eo:cloud_cover": None})]) as provider:
        assert ids(s2koop.search(provider.api_url, max_cloud=100)) == ["item-00"]


@pytest.mark.parametrize(
    ("name", "asked", "collection"),
    [
        ("earth-search", {"level": "l1c"}, "sentinel-2-l1c"),
        ("earth-search", {"sensor": "Landsat"}, "landsat-c2-l2"),
        ("earth-search", {"collection": "sentinel-2-c1-l2a"}, "sentinel-2-c1-l2a"),
        ("earth-search-c1", {}, "sentinel-2-c1-l2a"),
        ("planetary-computer", {"sensor": "landsat"}, "landsat-c2-l2"),
        ("cdse", {"level": "L1C"}, "sentinel-2-l1c"),
    ],
)
def test_level_and_sensor_choose_the_collection(name, asked, collection, monkeypatch):
    """Of items that differ in nothing but the collection, the right one comes back."""
    held = ["sentinel-2-l2a", "sentinel-2-l1c", "sentinel-2-c1-l2a", "landsat-c2-l2"]
    with LoopbackProvider([{**make_item(0), "collection": held_name} for held_name in held]) as provider:
        facts = {**vars(providers.PROVIDERS[name]), "url": provider.api_url}
        monkeypatch.setitem(providers.PROVIDERS, name, providers.Provider(**facts))
        items = s2koop.search(name, **asked)
    assert [item.collection_id for item in items] == [collection]


def test_level_a_provider_lacks_is_told(known):
    provider = known("planetary-computer")
    words = "planetary-computer has no level L1C of sentinel-2; .*: L2A; landsat: L2A. Who has it: earth-search, cdse"
    with pytest.raises(CatalogError, match=words):
        s2koop.search("planetary-computer", level="L1C")
    with pytest.raises(CatalogError, match="no level L1C of landsat; .* Who has it: none"):
        s2koop.search("planetary-computer", level="L1C", sensor="landsat")
    assert provider.count("POST") == 0


def test_sensor_is_checked():
    with pytest.raises(InputError, match="sensor is 'modis', expected one of 'sentinel-2', 'landsat'"):
        s2koop.search("sample", sensor="modis")


@pytest.mark.parametrize(
    ("names", "level", "chosen"),
    [
        (("sentinel-2-l2a", "sentinel-2-l1c", "landsat"), "L2A", "sentinel-2-l2a"),
        (("sentinel-s2-l2a-cogs", "landsat"), "L2A", "sentinel-s2-l2a-cogs"),
        (("S2_L1C", "S2_L2A"), "L1C", "S2_L1C"),
        (("sentinel-2-c1-l2a", "sentinel-2-l2a"), "L2A", "sentinel-2-l2a"),
        (("landsat", "sentinel-1-grd"), "L2A", "no collection that may be sentinel-2 L2A.*landsat, sentinel-1-grd"),
        (("sentinel-2-l2a-a", "sentinel-2-l2a-b"), "L2A", "several collections"),
    ],
)
def test_collection_of_an_unknown_api(names, level, chosen):
    items = [{**make_item(number), "collection": name} for number, name in enumerate(names)]
    with LoopbackProvider(items) as provider:
        if chosen not in names:
            with pytest.raises(CatalogError, match=chosen):
                s2koop.search(provider.api_url, level=level)
        else:
            assert [item.collection_id for item in s2koop.search(provider.api_url, level=level)] == [chosen]


@pytest.mark.parametrize("road", ["api", "file"])
def test_named_collection(tmp_path, road):
    items = [make_item(number) for number in range(10)]
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with LoopbackProvider(items) as provider:
        catalog = path if road == "file" else provider.api_url
        assert ids(s2koop.search(catalog, collection="sentinel-2-l1c")) == ["item-04", "item-09"]
        with pytest.raises(CatalogError, match="no collection 'modis'; it has sentinel-2-l1c, sentinel-2-l2a"):
            s2koop.search(catalog, collection="modis")


def test_hrefs_are_not_signed(known):
    """What needs a signature is signed when it is read: nothing that expires, and no secret, is kept."""
    items = known("planetary-computer") and s2koop.search("planetary-computer", **ASKED)
    assert all("?" not in asset.href for item in items for asset in item.assets.values())
    assert items.catalog == "planetary-computer"


# nothing found


def test_nothing_found_says_what_there_is():
    with pytest.warns(EmptySearchWarning) as caught:
        items = s2koop.search("sample", datetime="2025", bbox=[22, 45, 23, 46])
    assert len(items) == 0
    message = str(caught[0].message)
    assert "datetime=2025-01-01T00:00:00Z/2025-12-31T23:59:59Z" in message
    assert "2015-08-01 to 2021-01-01" in message
    assert "22.14" in message
    assert caught[0].filename == __file__
    assert "exchanged" not in message


def test_exchanged_coordinates_are_suspected_when_they_would_fit():
    with pytest.warns(EmptySearchWarning, match="latitude and longitude exchanged"):
        s2koop.search("sample", bbox=[45.1, 22.1, 45.3, 22.2])


def test_nothing_found_at_an_api_says_its_extent(provider):
    with pytest.warns(EmptySearchWarning, match=r"127\.0\.0\.1.*holds 2015-08-01 to 2021-01-01"):
        assert len(s2koop.search(provider.api_url, datetime="2030")) == 0


# errors


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("earthsearch", "did you mean 'earth-search'"),
        ("Planetary Computer", "did you mean 'planetary-computer'"),
        ("CDSE", "did you mean 'cdse'"),
        ("/no/such/folder", "a folder or file that exists"),
        ("xyz", "Expected one of"),
    ],
)
def test_unknown_catalogue(name, words):
    with pytest.raises(CatalogError, match=words):
        s2koop.search(name)


@pytest.mark.parametrize("name", ["", "  "])
def test_blank_catalogue_is_not_the_current_folder(name, tmp_path, monkeypatch):
    (tmp_path / "item.json").write_text(json.dumps(make_item(0)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CatalogError, match=r"no catalogue .*Expected one of \['sample', 'earth-search'"):
        s2koop.search(name)


@pytest.mark.parametrize("catalog", [None, 5, ["sample"]])
def test_catalogue_of_a_wrong_type(catalog):
    with pytest.raises(CatalogError, match="expected a name, an address, a path or a Client"):
        s2koop.search(catalog)


def test_refused_connection():
    with pytest.raises(CatalogError, match=r'connection was refused.*catalog="sample" needs no network'):
        s2koop.search(f"http://127.0.0.1:{closed_port()}/stac")


@pytest.mark.parametrize("catalog", ["earth-search", "https://nowhere.example/stac"])
def test_no_name_service(monkeypatch, catalog):
    def fails(*_args, **_options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with pytest.raises(CatalogError, match=r'name was not found; check the network.*catalog="sample"'):
        s2koop.search(catalog)


def test_stalled_server_is_given_up(provider, monkeypatch):
    monkeypatch.setattr(_http, "TIMEOUT", (0.2, 0.2))
    provider.fault("*/search", "stall", seconds=0.6)
    with pytest.raises(CatalogError, match="did not answer in time"):
        s2koop.search(provider.api_url)


def test_connection_lost(provider):
    provider.fault("*/search", "reset")
    with pytest.raises(CatalogError, match="the connection failed"):
        s2koop.search(provider.api_url)


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503}, {"kind": "status", "status": 429}, {"kind": "reset"}]
)
@pytest.mark.parametrize("path", ["/stac", "*/search"])
def test_what_passes_is_tried_again(provider, expected, fault, path):
    provider.fault(path, times=2, **fault)
    assert ids(s2koop.search(provider.api_url, **ASKED)) == expected


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (503, "too busy .HTTP 503"),
        (500, "HTTP 500"),
        (401, "credentials"),
        (403, "credentials"),
        (404, "nothing at this address"),
    ],
)
def test_status_that_stays(provider, status, words):
    provider.fault("*/search", "status", status=status)
    with pytest.raises(CatalogError, match=words):
        s2koop.search(provider.api_url)


def test_refusal_carries_the_reason_of_the_server(provider):
    with pytest.raises(InputError, match="refuses the search: .*not CQL2"):
        s2koop.search(provider.api_url, filter="((")


@pytest.mark.parametrize("kind", ["html", "garbage"])
@pytest.mark.parametrize("path", ["/stac", "*/search"])
def test_answer_that_is_not_stac(provider, kind, path):
    provider.fault(path, kind)
    with pytest.raises(CatalogError, match="answers with|connection failed"):
        s2koop.search(provider.api_url)


def test_known_provider_behind_a_portal(known):
    known("earth-search").fault("/stac", "html")
    with pytest.raises(CatalogError, match="earth-search answers with something that is not STAC"):
        s2koop.search("earth-search")


def test_truncated_answer(provider):
    provider.fault("*/search", "truncate")
    with pytest.raises(CatalogError, match="the connection failed"):
        s2koop.search(provider.api_url)


def test_json_that_is_not_stac(provider):
    with pytest.raises(CatalogError, match="JSON that is not STAC"):
        s2koop.search(f"{provider.api_url}/conformance")


def test_address_of_one_collection_of_an_api(provider):
    with pytest.raises(CatalogError, match=r"give its root.*/stac', collection='sentinel-2-l2a'"):
        s2koop.search(f"{provider.api_url}/collections/sentinel-2-l2a")


def test_keys_in_an_address_are_not_shown(provider):
    address = provider.api_url.replace("//", "//user:secret@") + "?token=secret"
    provider.fault("/stac*", "status", status=403)
    with pytest.raises(CatalogError) as caught:
        s2koop.search(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "words"), [("file://", "no address on the network"), ("", "nothing at this address")]
)
def test_remote_catalogue_is_not_followed_into_local_files(tmp_path, scheme, words):
    (tmp_path / "secret.json").write_text(json.dumps(make_item(0)))
    link = {"rel": "item", "href": f"{scheme}{tmp_path / 'secret.json'}"}
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "c", "links": [link]}
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "catalog.json").write_text(json.dumps(catalog))
    with (
        LoopbackProvider([], root=tmp_path / "served") as provider,
        pytest.raises(CatalogError, match=words),
    ):
        s2koop.search(f"{provider.files_url}/catalog.json")


def test_a_server_cannot_make_us_wait_for_hours():
    import urllib3

    answer = urllib3.HTTPResponse(status=503, headers={"Retry-After": "7200"})
    assert _http._retries().get_retry_after(answer) == _http.LONGEST_WAIT
    assert _http._retries().get_retry_after(urllib3.HTTPResponse(status=503)) is None


def test_static_catalogue_with_a_dead_link(provider):
    provider.fault("*S2A_34TER_20150801_L2A.json", "status", status=404)
    with pytest.raises(CatalogError, match="links to"):
        s2koop.search(f"{provider.files_url}/collection.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "cannot be read as JSON"), ("[]", "not STAC"), ('{"type": "Feature"}', "not valid STAC")],
)
def test_file_that_is_not_stac(tmp_path, content, words):
    path = tmp_path / "item.json"
    path.write_text(content)
    with pytest.raises(CatalogError, match=words) as caught:
        s2koop.search(path)
    assert str(path) in str(caught.value)


def test_folder_without_items(tmp_path):
    with pytest.raises(CatalogError, match="no STAC item among 0 JSON files"):
        s2koop.search(tmp_path)


def test_catalogue_with_a_missing_file(tmp_path):
    catalog = pystac.Catalog("c", "a catalogue")
    catalog.add_item(pystac.Item.from_dict(make_item(0)))
    catalog.normalize_and_save(str(tmp_path), pystac.CatalogType.SELF_CONTAINED)
    next(tmp_path.glob("item-00/*.json")).unlink()
    with pytest.raises(CatalogError, match="or a file it links to"):
        s2koop.search(tmp_path)


def test_cql2_missing_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 's2koop\[cql2\]'"):
        s2koop.search("sample", filter="eo:cloud_cover < 10")


def test_api_that_cannot_filter_is_told(provider):
    provider.api.conformance = [uri for uri in provider.api.conformance if "filter" not in uri]
    with pytest.raises(CatalogError, match="does not filter by CQL2"):
        s2koop.search(provider.api_url, filter="eo:cloud_cover < 10")


def test_open_client_is_pystac_client():
    client = open_client("sample")
    assert isinstance(client, Client)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.search(datetime="2020-06").matched() == 3
