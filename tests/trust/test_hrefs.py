"""What a catalogue on the network says never opens a file of this machine, a virtual path, or a driver of GDAL."""

import copy
import json
import socket
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import s2koop
from s2koop._hrefs import NETWORK, asset_href, is_network
from s2koop.catalog._api import Answer
from s2koop.catalog.items import Items
from s2koop.cube import _reader
from s2koop.cube._items import plain_items
from s2koop.errors import AssetError, CatalogError, EmptySearchWarning, InputError, MaskedItemsWarning, S2koopError
from tests.support import items as make
from tests.support.provider import LoopbackProvider

PLACE = "https://stac.example.org/collections/s2/items/a"

#: What must never be opened, whoever says it.
NEVER = [
    "/vsizip/a.zip/B04.tif", "/vsicurl/http://other/B04.tif", "/VSICURL/http://other/B04.tif", "/vsimem/x.tif",
    "/vsisubfile/0_100,/etc/passwd", "/vsistdin/", "/vsicurl?url=file:///etc/passwd", "file:///vsizip/a.zip/B04.tif",
    "%2Fvsizip%2Fa.zip", "zip+https://other/a.zip!B04.tif", "zip:///data/a.zip!B04.tif", "tar+file:///a.tar!B04.tif",
    "GTIFF_DIR:1:/data/B04.tif", "gtiff_raw:/data/B04.tif", "J2K_SUBFILE:0,100,/data/B04.jp2", "NETCDF:/data/a.nc:B04",
    'HDF5:"/data/a.h5"://B04', "hdf4_sds:x", "ZARR:/data/a.zarr", "VRT:///data/B04.tif", "vrt://data/B04.tif?bands=1",
    "DERIVED_SUBDATASET:LOGAMPLITUDE:/data/B04.tif", "WMS:http://other", "PG:host=other", "<VRTDataset/>",
    "<GDAL_WMS></GDAL_WMS>", "data:image/tiff;base64,SUkqAA==", "javascript:1", "ftp://other/B04.tif",
    "ssh://other/B04.tif", "\\\\server\\share\\B04.tif", "//server/share/B04.tif", "file://server/share/B04.tif",
    "https://", "https:///B04.tif", "https:/etc/passwd", "s3:///B04.tif", "https://host:port/B04.tif", "https://[::1/B04",
    "https://host/a\nb.tif", "https://host/a%0d%0ab.tif", "https://host/a%00.tif", "\thttps://host/B04.tif",
    "https://host/../B04.tif", "https://host/%2e%2e/B04.tif", "https://host/%252E%252e/B04.tif", "s3://b/..%2fc/B04.tif",
    "https://host\\@other/B04.tif", "https://host/?a=/vsicurl/file:///etc/passwd", "https://host/?a=%2Fvsizip%2Fx",
    "https://host/B04 .tif", "\u202ehttps://host/B04.tif", "https://host/\u2028", "", "  ", None, 5, ["https://host/B04.tif"],
    "https://host/" + "a" * 9000, "http://127%2e0.0.1/B04.tif", "http://\uff11\uff12\uff17.0.0.1/B04.tif",
    "http://[fe80::1%25eth0]/B04.tif", "http://127\u30020.0.1/B04.tif", "http://a b/B04.tif", "http://h;x/B04.tif",
]  # fmt: skip

#: Files of this machine, however they are written.
FILES = ["/etc/passwd", "file:///etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd", "file://localhost/etc/passwd"]


@pytest.mark.parametrize("href", NEVER, ids=lambda href: repr(href)[:40])
@pytest.mark.parametrize("origin", [PLACE, None])
def test_what_is_no_plain_address_is_refused_from_anywhere(href, origin):
    base = PLACE if origin else "/data/items/a.json"
    with pytest.raises(InputError):
        asset_href(href, base, origin=origin)


@pytest.mark.parametrize("href", [*FILES, "/data/B04.tif"])
def test_files_are_named_by_items_of_this_machine_only(href):
    with pytest.raises(InputError, match="names a file of this machine"):
        asset_href(href, PLACE, origin=PLACE)
    assert asset_href(href, None, origin=None) in ("/etc/passwd", "/data/B04.tif")


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.0.0.1.", "127.1", "0x7f000001", "2130706433",
     "0177.0.0.1", "0.0.0.0", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "me@127.0.0.1",
     "localhost:8080"],
)  # fmt: skip
def test_a_catalogue_elsewhere_does_not_make_this_machine_ask_itself(host):
    with pytest.raises(InputError, match="names this machine itself"):
        asset_href(f"http://{host}/latest/meta-data", PLACE, origin=PLACE)
    assert asset_href(f"http://{host}/B04.tif", "http://127.0.0.1:9/a", origin="http://127.0.0.1:9/a")


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("https://host/a/B04.tif", "https://host/a/B04.tif"),
        ("HTTPS://host/a/B04.tif", "https://host/a/B04.tif"),
        ("S3://bucket/a/B04.tif", "s3://bucket/a/B04.tif"),
        ("./B04.tif", "https://stac.example.org/collections/s2/items/B04.tif"),
        ("../B04.tif", "https://stac.example.org/collections/s2/B04.tif"),
        ("../../../../../../B04.tif", "https://stac.example.org/B04.tif"),
        ("https://host/B04.tif?sig=a%2Fb%3D&se=2020-01-01T00%3A00%3A00Z", None),
        ("https://me:pass@host/B04.tif", None),
        ("https://host/vsimages/B04.tif", None),
    ],
)
def test_plain_addresses_pass_as_they_are(href, expected):
    assert asset_href(href, PLACE, origin=PLACE) == (expected or href)


def test_relative_hrefs_of_local_items_are_found_beside_them():
    assert asset_href("../B04.tif", "/data/items/a.json", origin=None) == "/data/B04.tif"
    assert asset_href("./B04.tif", "file:///data/my%20items/a.json", origin=None) == "/data/my items/B04.tif"
    assert asset_href("B04.tif", None, origin=None) == str(Path.cwd() / "B04.tif")


pieces = st.sampled_from(
    ["/", "\\", "..", ".", "%2e", "%2f", "%25", ":", "//", "vsicurl", "vsizip", "file", "FILE", "https", "s3",
     "GTIFF_DIR", "HDF5", "etc/passwd", "B04.tif", "host", "?", "#", "@", "!", "&", "=", "<VRTDataset>", "\n",
     "\x00", " ", "C", "\u202e"]
)  # fmt: skip


@given(st.lists(pieces, max_size=8).map("".join) | st.text(max_size=40))
def test_whatever_is_written_gdal_gets_a_plain_address(href):
    """The property itself: what is let through from the network has a known scheme, and a host, and no step upwards."""
    try:
        found = asset_href(href, PLACE, origin=PLACE)
    except InputError:
        return
    path = _reader.gdal_path(found)
    assert is_network(found)
    assert found.split("://")[0] in NETWORK
    assert path.startswith(("/vsicurl/http://", "/vsicurl/https://", "/vsis3/", "/vsigs/", "/vsiaz/"))
    assert "vsi" not in path[5:].lower().replace("/vsicurl/", "", 1) or "vsi" in href.lower()
    assert not any(ord(letter) < 32 for letter in path)


@given(st.lists(pieces, max_size=8).map("".join) | st.text(max_size=40))
def test_whatever_a_local_item_names_is_a_path_or_an_address(href):
    try:
        found = asset_href(href, "/data/items/a.json", origin=None)
    except InputError:
        return
    assert is_network(found) or (found.startswith("/") and not found.lower().startswith(("/vsi", "//")))


@pytest.fixture
def scene(tmp_path):
    return make.make_product(tmp_path, baseline="02.14", bands=("B04",), size=48)


def from_network(item, href):
    """The item as a provider would send it, with another href of its band."""
    item = copy.deepcopy(item)
    item["links"] = [{"rel": "self", "href": PLACE}]
    item["assets"]["B04"]["href"] = href
    return item


def test_load_refuses_local_files_of_remote_items_in_every_form(scene):
    path = str(scene.files["B04"])
    item = from_network(make.planetary_computer(scene), path)
    forms = [item, [item], {"type": "FeatureCollection", "features": [item]}, pystac.Item.from_dict(item)]
    for form in forms:
        with pytest.raises(InputError, match="item 'scene.*' names a file of this machine|item .*names a file"):
            s2koop.load(form)
    own = pystac.Item.from_dict(item)
    own.set_self_href(path)  # what the message says cures it
    assert s2koop.load(own, mask=None).shape == (1, 1, 48, 48)


def test_an_item_does_not_say_itself_that_it_is_local(scene):
    """The links of a remote item are written by the provider: what counts is who read it."""
    item = make.planetary_computer(scene)
    for link in ("http://s2koop.invalid/collections/a/items/a", "http://s2koop.invalid", None):
        item["links"] = [] if link is None else [{"rel": "self", "href": link}]
        with LoopbackProvider([item]) as server:  # no root: hrefs stay as they are
            server.api._entries[0].item["links"] = item["links"]
            client = s2koop.catalog.open_client(server.api_url)
            for found in client.search().items():
                if link:
                    found.set_self_href(link)
                with pytest.raises(InputError, match="names a file of this machine"):
                    plain_items([found])


LOGIN = "https://landsatlook.usgs.gov/data/B4.TIF"


@pytest.mark.parametrize("href", ["/etc/passwd", "file:///etc/passwd", "/vsizip/a.zip", "GTIFF_DIR:1:/a.tif", LOGIN])
@pytest.mark.parametrize("kind", ["api", "collection of items"])
def test_search_refuses_what_load_would_refuse(scene, tmp_path, href, kind):
    """Found items are saved and opened again: so nothing is found that only its catalogue keeps from being opened."""
    item = make.planetary_computer(scene) | {"links": [{"rel": "self", "href": "http://s2koop.invalid/a"}]}
    item["assets"]["B04"]["href"] = href
    if href == LOGIN:  # the address that is opened in its place
        item["assets"]["B04"]["alternate"] = {"s3": {"href": "/etc/passwd"}}
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    with LoopbackProvider([item], root=tmp_path) as server:
        server.api._entries[0].item["assets"] = item["assets"]  # as they are
        place = server.api_url if kind == "api" else f"{server.files_url}/items.json"
        with pytest.raises(CatalogError, match="item 'scene"):
            s2koop.search(place)
        with pytest.warns(MaskedItemsWarning, match="left out"), pytest.warns(EmptySearchWarning):
            assert not s2koop.search(place, errors="mask")


def test_a_host_that_only_begins_like_ours_is_not_ours(scene):
    for host in (
        "http://s2koop.invalid.example.org/a",
        "http://s2koop.invalid@example.org/a",
        "http://s2koop.invalidx",
    ):
        item = make.planetary_computer(scene) | {"links": [{"rel": "self", "href": host}]}
        with pytest.raises(InputError, match="names a file of this machine"):
            plain_items(item)


def test_what_is_ours_stays_readable(scene, tmp_path):
    item = make.planetary_computer(scene)
    (tmp_path / "item.json").write_text(json.dumps(item))
    found = s2koop.search(tmp_path / "item.json")  # as the sample: from memory, with links that lead nowhere
    assert all(asset["href"].startswith("/") for asset in plain_items(found)[0]["assets"].values())
    saved = tmp_path / "found.json"
    found.save_object(str(saved))
    assert plain_items(pystac.ItemCollection.from_file(str(saved)))  # their links lead to our address
    assert plain_items(item)[0]["assets"]["B04"]["href"] == str(scene.files["B04"])


@pytest.mark.parametrize(
    "broken",
    [{"assets": None}, {"assets": []}, {"properties": None}, {"assets": {"B04": None}}, {"assets": {"B04": {}}},
     {"assets": {"B04": {"href": 5}}}, {"links": [None, 5, {"rel": "self"}], "assets": {"B04": {"href": None}}}],
)  # fmt: skip
def test_items_of_wrong_types_are_refused_in_our_words(scene, broken):
    with pytest.raises(InputError):
        plain_items(make.planetary_computer(scene) | broken)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A provider whose file B04 is what the test writes, and no waits."""
    monkeypatch.setattr(_reader.time, "sleep", lambda seconds: None)
    product = make.make_product(tmp_path / "product", baseline="02.14", bands=("B04",), size=48)
    with LoopbackProvider([make.planetary_computer(product)], root=tmp_path) as server:
        yield server, product, server._served(server.items[0]) | {"links": [{"rel": "self", "href": server.url}]}


def vrt(source):
    return (
        '<VRTDataset rasterXSize="48" rasterYSize="48"><SRS>EPSG:32632</SRS>'
        "<GeoTransform>399960, 10, 0, 5300040, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )


def test_a_vrt_on_the_network_reads_no_file_of_this_machine_and_asks_no_other(served, tmp_path_factory):
    server, product, item = served
    secret = make.make_product(tmp_path_factory.mktemp("secret"), bands=("B04",), size=48, seed=9).files["B04"]
    for source in (secret, f"/vsicurl/{server.url}/inner/B04.tif"):
        product.files["B04"].write_text(vrt(source))
        with rasterio.open(product.files["B04"]) as opened:  # GDAL by itself follows it
            assert opened.driver == "VRT"
        server.seen.clear()
        with pytest.raises(AssetError, match="reads GeoTIFF and JPEG 2000"):
            s2koop.load(item, mask=None, gdal={"GDAL_HTTP_MAX_RETRY": 0}).values  # noqa: B018
        assert server.count(pattern="/inner/*") == 0
        assert server.count(pattern="*B04.tif") > 0


def test_a_redirect_reads_no_file_of_this_machine(served, tmp_path_factory):
    server, _, item = served
    secret = make.make_product(tmp_path_factory.mktemp("secret"), bands=("B04",), size=48, seed=9).files["B04"]
    server.fault("*B04.tif", "status", status=302, headers={"Location": f"file://{secret}"})
    with pytest.raises(AssetError, match="cannot be read"):
        s2koop.load(item, mask=None, tries=1, gdal={"GDAL_HTTP_MAX_RETRY": 0}).compute()


def test_a_redirect_takes_no_authorisation_to_another_host(served, tmp_path, monkeypatch):
    """What GDAL does, and docs/security.md says: it follows, but without the header."""
    server, product, item = served
    monkeypatch.setenv("GDAL_HTTP_HEADERS", "Authorization: Bearer planted")
    with LoopbackProvider([], root=tmp_path) as other:
        place = other._address(str(product.files["B04"]))
        server.fault("*B04.tif", "status", status=302, headers={"Location": place})
        cube = s2koop.load(item, mask=None)
        np.testing.assert_array_equal(cube.values[0, 0], product.reflectance("B04"))
        assert {seen.authorization for seen in server.seen} == {"Bearer planted"}
        assert {seen.authorization for seen in other.seen} == {""}


@pytest.mark.parametrize(
    ("driver", "name", "options"),
    [("COG", "B04.tif", {"compress": "deflate"}), ("GTiff", "B04.TIF", {}), ("GTiff", "B04", {}),
     ("JP2OpenJPEG", "B04.jp2", {"QUALITY": "100", "REVERSIBLE": "YES"}),
     ("JP2OpenJPEG", "B04.JP2", {"QUALITY": "100", "REVERSIBLE": "YES"})],
)  # fmt: skip
def test_rasters_of_the_providers_are_read_as_before(served, driver, name, options):
    server, product, item = served
    path = product.files["B04"].with_name(name)
    with rasterio.open(product.files["B04"]) as source:
        profile, numbers = source.profile, source.read()
    for key in ("blockxsize", "blockysize", "tiled", "interleave", "compress"):
        profile.pop(key, None)
    with rasterio.open(path, "w", **profile | {"driver": driver} | options) as target:
        target.write(numbers)
    item["assets"]["B04"]["href"] = server._address(str(path))
    np.testing.assert_array_equal(s2koop.load(item, mask=None).values[0, 0], product.reflectance("B04"))


def test_ids_and_keys_decide_no_path(scene, tmp_path, monkeypatch):
    """Whatever an item is called, loading, computing and saving it writes what the user named, and nothing else."""
    monkeypatch.chdir(tmp_path)
    item = make.planetary_computer(scene) | {"id": "../../../outside\x00/<script>planted", "collection": "../../etc"}
    before = set(tmp_path.rglob("*"))
    cube = s2koop.load(item, mask=None).compute()
    cube.to_dataset(name="reflectance").to_zarr(tmp_path / "cube.zarr", consolidated=False)
    new = set(tmp_path.rglob("*")) - before
    assert {path.relative_to(tmp_path).parts[0] for path in new} == {"cube.zarr"}
    found = Items([pystac.Item.from_dict(item)], {"s2koop:catalog": "<script>planted"})
    assert "<script>planted" not in found._repr_html_() + cube._repr_html_()
    with pytest.raises(S2koopError):
        s2koop.load({**item, "assets": {"../B04": item["assets"]["B04"]}})


@pytest.fixture
def elsewhere(monkeypatch):
    """A provider of this machine under a name that is not known to be it, as one on the network would be."""
    known = socket.getaddrinfo

    def look_up(host, *args, **options):
        return known("127.0.0.1" if host == "stac.example.org" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("way", ["page", "redirect", "child"])
def test_a_catalogue_elsewhere_does_not_lead_requests_into_this_machine(scene, elsewhere, monkeypatch, way):
    """What answers to this machine alone, such as the keys of a cloud's machine, is asked for no catalogue."""
    asked = []
    with LoopbackProvider([make.planetary_computer(scene)]) as server:
        inside = f"{server.url}/secret"
        handler = server._server.RequestHandlerClass
        usual = handler._answer

        def answering(self):
            asked.append(self.path)
            links = [{"rel": "self", "href": inside}, {"rel": "root", "href": inside}]
            if way == "child":
                document = {"type": "Catalog", "stac_version": "1.0.0", "id": "a", "description": "a"}
                document["links"] = [*links, {"rel": "child", "href": inside}]
                _send(self, document)
            elif way == "redirect":
                self.send_response(302)
                self.send_header("Location", inside)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif "/search" in self.path:
                page = {"type": "FeatureCollection", "features": [server.items[0] | {"assets": {}}]}
                page["links"] = [{"rel": "next", "href": inside, "method": "GET"}]
                _send(self, page)
            else:
                usual(self)

        monkeypatch.setattr(handler, "_answer", answering)
        server.api.handle = _with_host(server.api.handle)
        port = server.url.rpartition(":")[2]
        with pytest.raises(CatalogError, match="this machine"):
            s2koop.search(f"http://stac.example.org:{port}/stac", collection="sentinel-2-l2a")
    assert asked
    assert "/secret" not in asked


def _with_host(handle):
    """Answers of an API under the name by which it was asked."""

    def named(*args, **options):
        answer = handle(*args, **options)
        return Answer(answer.status, json.loads(answer.content.replace(b"127.0.0.1", b"stac.example.org")))

    return named


def _send(handler, document):
    handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = json.dumps(document).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.wfile.write(body)
