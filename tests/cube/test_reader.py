"""Reading over HTTP: ranges, faults that pass, faults that stay, signatures, and what is said when a file is lost."""

import traceback
import warnings

import numpy as np
import pytest

import s2koop
from s2koop.cube import _reader
from s2koop.errors import AssetError, MaskedItemsWarning
from tests.support import items as make
from tests.support.provider import LoopbackProvider

pytestmark = pytest.mark.usefixtures("each_engine")

#: GDAL's own retries off, so that ours are what is tested.
GDAL = {"GDAL_HTTP_MAX_RETRY": 0, "GDAL_HTTP_TIMEOUT": 1}
FIRST = "*/s0_B04.tif"


@pytest.fixture
def quick(monkeypatch):
    """Waits between tries, recorded instead of slept."""
    waits = []
    monkeypatch.setattr(_reader.time, "sleep", waits.append)
    return waits


@pytest.fixture
def remote(tmp_path):
    """Two dates served over HTTP, with random pixels that do not compress: a file takes several range requests."""
    products = [
        make.make_product(
            tmp_path, f"s{i}", time=f"2020-06-0{i + 1}T10:00:00Z", baseline="02.14", bands=("B04",), seed=i, size=240
        )
        for i in range(2)
    ]
    with LoopbackProvider([make.planetary_computer(product) for product in products], root=tmp_path) as server:
        yield server, products, [server._served(item) for item in server.items]


def truth(products):
    return np.stack([product.reflectance("B04") for product in products])[:, None]


def test_plain_http_by_ranges(remote, quick):
    server, products, items = remote
    cube = s2koop.load(items, mask=None, chunks=16)
    assert not server.seen
    corner = cube.isel(time=[0], y=slice(16), x=slice(16))
    np.testing.assert_array_equal(corner.values, truth(products)[:1, :, :16, :16])
    assert 0 < server.bytes_sent(FIRST) < products[0].files["B04"].stat().st_size / 2
    np.testing.assert_array_equal(s2koop.load(items).values, truth(products))
    assert quick == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *(("status", {"status": status, "times": times}) for status in (404, 503) for times in (1, 2)),
        *(("status", {"status": status, "times": 1}) for status in (500, 429, 403)),
        ("status", {"status": 503, "times": 1, "skip": 2}),  # in the middle of a file
        *((kind, {"times": 2, "skip": skip}) for kind in ("truncate", "garbage") for skip in (0, 1, 2)),
        ("html", {"times": 1}),
        ("reset", {"times": 2}),
    ],
    ids=str,
)
def test_faults_that_pass_are_survived(remote, quick, kind, options):
    server, products, items = remote
    server.fault(FIRST, kind, **options)
    np.testing.assert_array_equal(s2koop.load(items, gdal=GDAL).values, truth(products))
    assert server._faults[0].times == 0
    assert quick in ([], [0.5], [0.5, 1.0], [0.5, 1.0, 2.0])


def test_a_stalled_server_is_left_and_asked_again(remote, monkeypatch):
    """GDAL by itself waits for ever."""
    server, products, items = remote
    monkeypatch.setattr(_reader, "FIRST_WAIT", 0.01)
    server.fault(FIRST, "stall", seconds=3.0, times=1)
    np.testing.assert_array_equal(s2koop.load(items, gdal=GDAL).values, truth(products))


def test_a_file_that_comes_back_is_read_in_the_same_process(remote, quick):
    """GDAL remembers a 404 for ever; a cube must not."""
    server, products, items = remote
    server.fault(FIRST, "status", status=404)
    cube = s2koop.load(items, gdal=GDAL, tries=2)
    with pytest.raises(AssetError):
        cube.compute()
    server.heal()
    np.testing.assert_array_equal(cube.values, truth(products))


ABSENT, DENIED = "Check that the file is there", "Access is denied: .*expired"


@pytest.mark.parametrize(
    ("kind", "options", "advice"),
    [
        *(("status", {"status": status}, ABSENT) for status in (404, 503)),
        *(("status", {"status": status}, DENIED) for status in (401, 403)),
        ("truncate", {}, ABSENT),
        ("garbage", {}, ABSENT),
    ],
    ids=str,
)
def test_faults_that_stay_raise_and_name_item_and_asset(remote, quick, kind, options, advice):
    server, _, items = remote
    server.fault(FIRST, kind, **options)
    words = rf"s0_B04\.tif of item 's0' cannot be read \(tries: 4\).*\. {advice}.*errors='mask'"
    with pytest.raises(AssetError, match=words) as caught:
        s2koop.load(items, gdal=GDAL).compute()
    assert str(caught.value).count("s0_B04.tif") == 1
    assert ".." not in str(caught.value)
    assert "previous exception" not in str(caught.value)
    assert quick == [0.5, 1.0, 2.0]


def test_masked_on_request_with_one_warning_for_an_item(remote, quick):
    server, products, items = remote
    server.fault(FIRST, "status", status=503)
    cube = s2koop.load(items, gdal=GDAL, errors="mask", tries=2, chunks=100)
    with pytest.warns(MaskedItemsWarning, match="'s0'") as caught:
        values = cube.values
    (told,) = (warning for warning in caught if warning.category is MaskedItemsWarning)  # though nine chunks are lost
    assert "load with errors" not in str(told.message)  # what was done already is no advice
    assert np.isnan(values[0]).all()
    np.testing.assert_array_equal(values[1], truth(products)[1])


def test_masked_scene_classes_hide_their_date(remote, quick):
    server, _, items = remote
    server.fault("*/s0_SCL.tif", "status", status=404)
    with pytest.warns(MaskedItemsWarning, match="SCL"):
        values = s2koop.load(items, gdal=GDAL, errors="mask", tries=2).values
    assert np.isnan(values[0]).all()
    assert np.isfinite(values[1]).all()


def test_a_missing_local_file_is_not_tried_again(tmp_path, quick):
    product = make.make_product(tmp_path, bands=("B04",))
    product.files["B04"].unlink()
    with pytest.raises(AssetError, match=r"scene_B04\.tif of item .*tries: 1\): No such file or directory\. Check"):
        s2koop.load(make.cdse(product)).compute()
    assert quick == []


def test_a_file_of_three_bands_is_refused(tmp_path):
    import rasterio

    product = make.make_product(tmp_path, bands=("B04",))
    with rasterio.open(product.files["B04"]) as dataset:
        profile = dataset.profile | {"count": 3}
    with rasterio.open(product.files["B04"], "w", **profile) as dataset:
        dataset.write(np.ones((3, 48, 48), np.uint16))
    with pytest.raises(AssetError, match="3 bands"):
        s2koop.load(make.cdse(product)).compute()


@pytest.mark.filterwarnings("ignore:Support for class-based `config`:DeprecationWarning")  # planetary_computer 1.0
class TestSignatures:
    SECRET = "st=2026&sig=TOPSECRET"

    def signed(self, items):
        for item in items:
            for asset in item["assets"].values():
                asset["href"] += f"?{self.SECRET}"
        return items

    def test_a_signed_href_is_used_and_never_shown(self, remote, quick):
        server, products, items = remote
        cube = s2koop.load(self.signed(items), gdal=GDAL, tries=2)
        np.testing.assert_array_equal(cube.values, truth(products))
        assert self.SECRET in {seen.query for seen in server.seen}
        assert "TOPSECRET" not in f"{cube!r}{cube.attrs}{cube.coords}{cube._repr_html_()}{list(cube.data.dask)}"

    @pytest.mark.parametrize(("kind", "options"), [("status", {"status": 403}), ("garbage", {})], ids=str)
    def test_errors_and_warnings_hide_it(self, remote, quick, kind, options):
        server, _, items = remote
        server.fault(FIRST, kind, **options)
        cube = s2koop.load(self.signed(items), gdal=GDAL, tries=2)
        with pytest.raises(AssetError) as raised:
            cube.compute()
        shown = "".join(traceback.format_exception(raised.value))
        assert "TOPSECRET" not in shown
        masked = s2koop.load(items, gdal=GDAL, tries=2, errors="mask")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            masked.compute()
        assert any(issubclass(w.category, MaskedItemsWarning) for w in caught)
        assert "TOPSECRET" not in "".join(str(w.message) for w in caught)

    def test_the_planetary_computer_is_signed_when_read_and_again_when_refused(self, remote, quick, monkeypatch):
        import planetary_computer

        server, products, items = remote
        host = "https://sentinel2l2a01.blob.core.windows.net"
        tokens = iter(f"sig={n}" for n in range(100))
        monkeypatch.setattr(planetary_computer, "sign", lambda url: f"{url}?{next(tokens)}")
        # the address of the real host leads to the loopback server
        monkeypatch.setattr(_reader, "gdal_path", lambda href: "/vsicurl/" + href.replace(host, server.url))
        for item in items:
            for asset in item["assets"].values():
                asset["href"] = asset["href"].replace(server.url, host)
        server.fault(FIRST, "status", status=403, times=1)
        cube = s2koop.load(items, gdal=GDAL)
        assert next(tokens) == "sig=0"  # nothing was signed at opening
        np.testing.assert_array_equal(cube.values, truth(products))
        signatures = {seen.query for seen in server.seen if seen.query}
        assert len(signatures) >= 5  # two dates, band and classes, and the refused one again
        assert "sig=" not in f"{cube!r}{cube.attrs}{list(cube.data.dask)}"

    def test_an_expired_signature_is_replaced(self, monkeypatch):
        import planetary_computer

        asked = []
        monkeypatch.setattr(planetary_computer, "sign", lambda url: asked.append(url) or f"{url}?sig=new")
        bare = "https://sentinel2l2a01.blob.core.windows.net/a/B04.tif"
        assert _reader._signed(f"{bare}?sig=old", again=False) == f"{bare}?sig=old"
        assert _reader._signed(f"{bare}?sig=old", again=True) == f"{bare}?sig=new"
        assert asked == [bare]  # signing what is signed would leave it as it is

    def test_no_signature_says_so(self, tmp_path, quick, monkeypatch):
        import planetary_computer
        import requests

        def refuse(url):
            raise requests.ConnectionError("GET https://host/token?subscription-key=TOPSECRET failed")

        monkeypatch.setattr(planetary_computer, "sign", refuse)
        item = make.planetary_computer(make.make_product(tmp_path, bands=("B04",)))
        for asset in item["assets"].values():
            asset["href"] = "https://account.blob.core.windows.net/B04.tif"
        with pytest.raises(AssetError, match="no signature from the Planetary Computer") as raised:
            s2koop.load(item, tries=2).compute()
        assert "TOPSECRET" not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("href", "path", "host"),
    [
        ("https://a.b/c.tif", "/vsicurl/https://a.b/c.tif", "/vsicurl/https://a.b"),
        ("http://127.0.0.1:80/c.tif", "/vsicurl/http://127.0.0.1:80/c.tif", "/vsicurl/http://127.0.0.1"),
        ("s3://eodata/S2/c.jp2", "/vsis3/eodata/S2/c.jp2", "/vsis3/eodata"),
    ],
)
def test_paths_of_gdal(monkeypatch, href, path, host):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert _reader.gdal_path(href) == path
    assert _reader._host_settings(path, uncached=True)["CPL_VSIL_CURL_NON_CACHED"] == host


def test_settings_of_cdse_and_of_the_user(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert _reader._host_settings("/vsis3/eodata/x.jp2", uncached=False)["AWS_VIRTUAL_HOSTING"] == "FALSE"
    assert _reader.settings({"GDAL_HTTP_TIMEOUT": 5})["GDAL_HTTP_TIMEOUT"] == 5
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "7")
    assert "GDAL_HTTP_TIMEOUT" not in _reader.settings(None)
