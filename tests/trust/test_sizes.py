"""What says of itself that it is of any size is refused before memory is given to it: items, images, documents."""

import copy
import gzip
import json
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import rasterio

import s2koop
from s2koop.catalog import _http, _static
from s2koop.errors import AssetError, CatalogError, EmptySearchWarning, InputError, S2koopError
from s2koop.ssl.quicklooks import read_quicklooks
from tests.support import items as make
from tests.trust.test_cards import bounded  # noqa: F401  a limit of addresses

pytestmark = pytest.mark.usefixtures("bounded")

#: Numbers that no grid has.
ABSURD = [10**9, -1, 0, 10**30, 2**63, float("nan"), float("inf"), 1e308, "x", None, [], {}, True]


@pytest.fixture
def scene(tmp_path):
    return make.planetary_computer(make.make_product(tmp_path, baseline="02.14", bands=("B04",), size=48))


def refused(item):
    """An item is refused in our words, or is loaded as lazily as any other."""
    try:
        cube = s2koop.load(item, mask=None)
    except S2koopError:
        return True
    assert cube.nbytes < 2**40
    return False


@pytest.mark.parametrize("value", ABSURD, ids=repr)
@pytest.mark.parametrize("name", ["proj:shape", "proj:transform", "proj:bbox", "proj:epsg", "proj:code", "gsd", "bbox"])
def test_grids_of_any_size_are_refused(scene, name, value):
    many = {"proj:shape": [value, value], "proj:transform": [value] * 6, "proj:bbox": [value] * 4, "bbox": [value] * 4}
    for place in ("asset", "properties"):
        item = copy.deepcopy(scene)
        asset = item["assets"]["B04"]
        holder = asset if place == "asset" else item["properties"]
        for other in ("proj:shape", "proj:transform", "proj:bbox", "proj:epsg", "proj:code"):
            if other.split(":")[-1] in name or name == "proj:bbox":
                asset.pop(other, None)
        holder[name] = many.get(name, value)
        refused(item)


@pytest.mark.parametrize(
    "shape", [[10**9, 10**9], [10**9, 1], [1, 10**9], [-5, 5], [0, 5], [1e308, 1e308], [10**30] * 2]
)
def test_absurd_shapes_are_named(scene, shape):
    scene["assets"]["B04"]["proj:shape"] = shape
    with pytest.raises(InputError, match=r"pixels|no grid|resolution|item"):
        s2koop.load(scene, mask=None)


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("value", [1e308, -1e308, float("nan"), float("inf"), 1e-308, 0, "x", None])
def test_absurd_transforms_are_errors_of_ours(scene, at, value):
    transform = list(scene["assets"]["B04"]["proj:transform"])
    transform[at] = value
    scene["assets"]["B04"]["proj:transform"] = transform
    refused(scene)


@pytest.mark.parametrize("value", [0, -1, 1e308, float("nan"), float("inf"), "x", [], 1e-320])
@pytest.mark.parametrize("name", ["scale", "offset", "nodata"])
def test_absurd_scales_are_errors_of_ours(scene, name, value):
    scene["assets"]["B04"]["raster:bands"] = [{name: value}]
    try:
        values = s2koop.load(scene, mask=None).values
    except S2koopError:
        return
    assert values.shape == (1, 1, 48, 48)


def test_a_raster_whose_blocks_are_of_any_size_is_refused(scene, tmp_path):
    """A hole of a file that says it is one block of 60,000 x 60,000 pixels: 7 GB for a window of 48."""
    with rasterio.open(scene["assets"]["B04"]["href"]) as source:
        profile = source.profile | {"width": 60_000, "height": 60_000, "tiled": False, "blockysize": 60_000}
    profile.pop("blockxsize")
    path = tmp_path / "wide.tif"
    with rasterio.open(path, "w", SPARSE_OK=True, **profile) as target:
        assert target.block_shapes == [(60_000, 60_000)]
    scene["assets"]["B04"]["href"] = str(path)
    with pytest.raises(AssetError, match="blocks"):
        s2koop.load(scene, mask=None).compute()


def png(width, height, body=b""):
    """A PNG that says it is of a size, whatever it holds."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(9000, 1), (1, 9000), (12_000, 12_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_images_that_unpack_to_any_size_are_refused(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png(*size))
    with pytest.raises(InputError):
        read_quicklooks(tmp_path)


def test_images_that_are_none_are_refused(tmp_path):
    whole = png(4, 4, bytes(20))
    text = zlib.compress(b"x" * 2**28)
    bomb = whole[:33] + struct.pack(">I", len(text) + 3) + b"zTXtA\x00\x00" + text
    bomb += struct.pack(">I", zlib.crc32(b"zTXtA\x00\x00" + text)) + whole[33:]
    for content in (b"", b"x", whole[:20], whole[:45], png(0, 4), bomb, b"GIF89a" + bytes(20), b"II*\x00" + bytes(20)):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError):
            read_quicklooks(tmp_path)


def test_whole_images_are_read_as_before(tmp_path):
    rows = b"".join(b"\x00" + bytes([row] * 500) for row in range(200))
    (tmp_path / "a.png").write_bytes(png(500, 200, rows))
    image = read_quicklooks(tmp_path, pixel=None).values
    assert image.dtype == np.uint8
    assert image.max() == 199


@pytest.fixture
def answering():
    """Serve bodies, packed, at paths of a server of this machine."""
    bodies = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = bodies[self.path]
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()


def test_an_answer_that_unpacks_to_any_size_is_left(answering, monkeypatch):
    url, bodies = answering
    monkeypatch.setattr(_http, "MOST_BYTES", 2**20)
    bodies["/bomb"] = gzip.compress(b'{"a": "' + b"x" * 2**27 + b'"}')
    bodies["/fits"] = gzip.compress(b'{"type": "Catalog", "a": "' + b"x" * 2**19 + b'"}')
    with pytest.raises(CatalogError, match="larger than 1 MB"):
        s2koop.search(f"{url}/bomb")
    with pytest.warns(EmptySearchWarning):  # read whole: a catalogue without items
        assert not s2koop.search(f"{url}/fits")


@pytest.mark.parametrize("depth", [10**3, 10**5])
def test_documents_of_any_depth_are_refused(answering, tmp_path, depth):
    url, bodies = answering
    deep = '{"type": "Catalog", "id": "a", "links": ' + "[" * depth + "]" * depth + "}"
    bodies["/deep"] = gzip.compress(deep.encode())
    (tmp_path / "catalog.json").write_text(deep)
    for place in (f"{url}/deep", tmp_path, tmp_path / "catalog.json"):
        with pytest.raises(CatalogError):
            s2koop.search(place)


def test_a_file_larger_than_any_catalogue_is_not_read(tmp_path):
    with (tmp_path / "catalog.json").open("wb") as file:
        file.truncate(2**43)  # a hole of eight terabytes
    with pytest.raises(CatalogError, match="larger than"):
        s2koop.search(tmp_path)
    assert _static._MOST_BYTES < 2**43


def test_items_of_absurd_numbers_in_a_file_are_errors_of_ours(tmp_path, scene):
    """JSON as Python reads it has no limits: NaN, infinity, and whole numbers of any length."""
    for value in ("NaN", "Infinity", "1e999", "9" * 4000, "9" * 5000, "-1"):
        text = json.dumps(scene | {"properties": scene["properties"] | {"eo:cloud_cover": 12345.5}})
        (tmp_path / "item.json").write_text(text.replace("12345.5", value))
        try:
            s2koop.search(tmp_path / "item.json", max_cloud=50)
        except S2koopError:
            continue
