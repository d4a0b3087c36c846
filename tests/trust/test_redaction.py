"""Secrets that are planted everywhere appear nowhere: in no view, attribute, file, log, warning or traceback."""

import logging
import pickle
import traceback
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import s2koop
from s2koop._jobs import store as stores
from s2koop._redact import HIDDEN, bare_address, holds_secret, is_secret, redacted
from s2koop.cube import _reader
from s2koop.errors import AssetError, InputError, S2koopError
from tests.support import items as make
from tests.support.provider import LoopbackProvider

#: Each in a place of its own; none is a word of anything else.
SECRETS = {
    "user": "planteduser", "password": "plantedpass", "signature": "plantedsig", "token": "plantedtoken",
    "key": "PLANTEDKEYID00000000", "secret": "planted/secret+key", "session": "plantedsession", "proxy": "plantedproxy",
    "subscription": "plantedsubscription", "bearer": "plantedbearer",
}  # fmt: skip
QUERY = f"se=2030&sig={SECRETS['signature']}&X-Amz-Security-Token={SECRETS['token']}"
QUICK = {"GDAL_HTTP_MAX_RETRY": 0, "GDAL_HTTP_TIMEOUT": 2}


def leaks(*texts):
    """Names of the secrets that stand in texts or bytes, in any letters."""
    found = set()
    for text in texts:
        whole = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        found |= {name for name, secret in SECRETS.items() if secret.lower() in whole.lower()}
    return found


@pytest.fixture
def planted(monkeypatch, tmp_path):
    """Secrets in the environment, as a worker has them."""
    values = {
        "AWS_ACCESS_KEY_ID": SECRETS["key"], "AWS_SECRET_ACCESS_KEY": SECRETS["secret"],
        "AWS_SESSION_TOKEN": SECRETS["session"], "PC_SDK_SUBSCRIPTION_KEY": SECRETS["subscription"],
        "GDAL_HTTP_HEADERS": f"Authorization: Bearer {SECRETS['bearer']}",
        "HTTPS_PROXY": f"http://{SECRETS['user']}:{SECRETS['proxy']}@127.0.0.1:9",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {SECRETS['user']} password {SECRETS['password']}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setattr(_reader.time, "sleep", lambda seconds: None)


@pytest.fixture
def logged():
    """Everything that is logged by anything, at every level."""
    texts = []

    class Keeping(logging.Handler):
        def emit(self, record):
            texts.append(logging.Formatter("%(name)s %(message)s").format(record))

    handler, root = Keeping(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield texts
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def signed(tmp_path):
    """Two dates behind addresses with user, password and signature."""
    products = [
        make.make_product(
            tmp_path, f"s{i}", time=f"2020-06-0{i + 1}T10:00:00Z", baseline="02.14", bands=("B04",), seed=i
        )
        for i in range(2)
    ]
    with LoopbackProvider([make.planetary_computer(product) for product in products], root=tmp_path) as server:
        items = [server._served(item) for item in server.items]
        for item in items:
            for asset in item["assets"].values():
                place = asset["href"].removeprefix("http://")
                asset["href"] = f"http://{SECRETS['user']}:{SECRETS['password']}@{place}?{QUERY}"
        yield server, products, items


def told(error):
    """All that can be seen of an error: its words, its traceback, and those of every error before it."""
    texts, chain = ["".join(traceback.format_exception(error))], error
    while chain is not None:
        texts += [str(chain), repr(chain)]
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    return texts


@pytest.mark.parametrize("engine", ["stackstac", "odc-stac"])
def test_a_cube_shows_and_keeps_no_secret(planted, signed, logged, tmp_path, engine):
    if engine == "odc-stac":
        pytest.importorskip("odc.loader")
    server, products, items = signed
    cube = s2koop.load(items, mask=None, gdal=QUICK, engine=engine)
    graph = cube.__dask_graph__()
    views = [repr(cube), str(cube), cube._repr_html_(), cube.attrs, cube.encoding, cube.coords, repr(cube.data)]
    views += [cube.data._repr_html_(), repr(graph), graph._repr_html_(), dict(graph), list(graph), graph.layers]
    views += [layer._repr_html_() for layer in graph.layers.values()]
    views += [coord.attrs for coord in cube.coords.values()]
    assert not leaks(*map(repr, views), *map(str, views))
    np.testing.assert_array_equal(cube.values[0, 0], products[0].reflectance("B04"))  # they were used
    assert any(SECRETS["signature"] in seen.query for seen in server.seen)
    stored = cube.to_dataset()
    stored.to_zarr(tmp_path / "cube.zarr", consolidated=False)
    stored.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
    written = [p for p in (tmp_path / "cube.zarr").rglob("*") if p.is_file()] + [tmp_path / "cube.nc"]
    assert not leaks(*(path.read_bytes() for path in written))
    assert not leaks(pickle.dumps(xr.open_zarr(tmp_path / "cube.zarr", consolidated=False).attrs))
    assert not leaks(*logged)


@pytest.mark.parametrize(
    ("kind", "options"),
    [*(("status", {"status": status}) for status in (400, 401, 403, 404, 429, 500, 503)), ("garbage", {}), ("html", {}),
     ("reset", {}), ("truncate", {})],
    ids=str,
)  # fmt: skip
def test_no_failure_of_a_read_tells_a_secret(planted, signed, logged, kind, options):
    server, _, items = signed
    server.fault("*/s0_B04.tif", kind, **options)
    with pytest.raises(AssetError) as raised:
        s2koop.load(items, mask=None, gdal=QUICK, tries=2).compute()
    assert "s0_B04.tif" in str(raised.value)
    assert not leaks(*told(raised.value))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        s2koop.load(items, mask=None, gdal=QUICK, tries=1, errors="mask").compute()
    assert caught
    assert not leaks(*(str(warning.message) for warning in caught), *logged)


@pytest.mark.parametrize("method", ["threads", "processes"])
def test_no_failure_in_a_worker_tells_a_secret(planted, signed, method):
    server, _, items = signed
    server.fault("*/s0_B04.tif", "status", status=403)
    if method == "processes":
        pytest.importorskip("cloudpickle")
    with pytest.raises(AssetError) as raised:
        s2koop.load(items, mask=None, gdal=QUICK, tries=1).compute(scheduler=method, num_workers=2)
    assert not leaks(*told(raised.value))


def test_what_is_left_out_is_named_without_secrets(planted, signed):
    _, _, items = signed
    items[0]["assets"]["B04"]["href"] = items[0]["assets"]["B04"]["href"].replace("http:", "gopher:")
    with pytest.raises(InputError) as raised:
        s2koop.load(items)
    assert not leaks(*told(raised.value))


@pytest.mark.parametrize(
    ("kind", "options"),
    [*(("status", {"status": status}) for status in (400, 401, 403, 404, 422)), ("html", {}), ("garbage", {}),
     (None, {})],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("path", ["stac", "files/catalog.json", "nowhere"])
def test_no_failure_of_a_search_tells_a_secret(planted, signed, logged, kind, options, path, monkeypatch):
    server, _, _ = signed
    monkeypatch.setattr("s2koop.catalog._http.BACKOFF", 0)
    if kind:
        server.fault("*", kind, **options)
    place = server.url.removeprefix("http://")
    address = f"http://{SECRETS['user']}:{SECRETS['password']}@{place}/{path}?{QUERY}"
    try:
        found = s2koop.search(address)
        shown = [repr(found), found._repr_html_(), found.catalog, found.asked, str(found.extra_fields)]
    except S2koopError as error:
        shown = told(error)
    assert not leaks(*shown, *logged)


def test_a_provider_that_cannot_be_reached_is_named_without_its_keys(planted, logged):
    address = f"http://{SECRETS['user']}:{SECRETS['password']}@127.0.0.1:9/stac?{QUERY}"
    with pytest.raises(S2koopError) as raised:
        s2koop.search(address)
    assert not leaks(*told(raised.value), *logged)


def test_a_store_is_named_without_its_keys(planted, tmp_path):
    cube = xr.DataArray(np.ones((2, 2)), dims=("y", "x"), name="ones").chunk(1)
    address = f"nowhere://{SECRETS['user']}:{SECRETS['password']}@host/a.zarr?{QUERY}"
    with pytest.raises(InputError) as raised:
        s2koop.run(cube, address, storage_options={"secret": SECRETS["secret"]}, progress=False)
    assert not leaks(*told(raised.value), repr(stores.address(address, {"secret": SECRETS["secret"]})))


def test_doctor_shows_none(planted):
    report = s2koop.doctor()
    assert not leaks(repr(report), report._repr_html_())


@pytest.mark.parametrize(
    "setting",
    [{"AWS_SECRET_ACCESS_KEY": "x"}, {"AWS_ACCESS_KEY_ID": "x"}, {"AWS_SESSION_TOKEN": "x"},
     {"GDAL_HTTP_USERPWD": "a:b"},
     {"GDAL_HTTP_PROXYUSERPWD": "a:b"}, {"GDAL_HTTP_BEARER": "x"}, {"GDAL_HTTP_HEADERS": "Authorization: Basic eA=="},
     {"GDAL_HTTP_COOKIE": "x"}, {"AZURE_STORAGE_SAS_TOKEN": "x"}, {"AZURE_STORAGE_ACCESS_KEY": "x"},
     {"AZURE_STORAGE_CONNECTION_STRING": "x"}, {"GS_SECRET_ACCESS_KEY": "x"}, {"GS_OAUTH2_PRIVATE_KEY": "x"},
     {"GS_OAUTH2_REFRESH_TOKEN": "x"}, {"aws_secret_access_key": "x"}, {"SWIFT_KEY": "x"},
     {"GDAL_HTTP_PROXY": "http://plantedpass@proxy:80"}, {"GDAL_HTTP_PROXY": "plantedpass:x@proxy:80"},
     {"CPL_CURL_X": "https://host/?sig=plantedsig"}],
    ids=lambda setting: next(iter(setting)),
)  # fmt: skip
def test_secret_settings_do_not_travel_with_the_graph(signed, setting):
    _, _, items = signed
    with pytest.raises(InputError, match="environment variable of the workers") as raised:
        s2koop.load(items, gdal=QUICK | setting)
    assert next(iter(setting)) in str(raised.value)
    assert not leaks(*told(raised.value))
    with pytest.raises(InputError) as raised:
        s2koop.load(items, gdal=str(setting))
    assert not leaks(str(raised.value))


def test_settings_that_are_no_secret_pass(signed):
    _, _, items = signed
    harmless = {
        "AWS_REQUEST_PAYER": "requester", "AWS_NO_SIGN_REQUEST": "YES", "AWS_REGION": "eu-central-1",
        "GDAL_HTTP_TIMEOUT": 9, "GDAL_HTTP_PROXY": "http://proxy:80", "GDAL_HTTP_HEADER_FILE": "/run/headers",
        "CPL_AWS_CREDENTIALS_FILE": "/run/keys", "AZURE_STORAGE_ACCOUNT": "public", "GDAL_HTTP_USERAGENT": "me@x.org",
        "GDAL_HTTP_UNSAFESSL": False, "CPL_VSIL_CURL_CACHE_SIZE": 2**20,
    }  # fmt: skip
    assert s2koop.load(items, mask=None, gdal=harmless).shape == (2, 1, 48, 48)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:plantedpass@host/a", f"https://{HIDDEN}@host/a"),
        ("url: /a?token=plantedtoken (Caused by x)", f"url: /a?{HIDDEN} (Caused by x)"),
        ("'https://host/a?plantedsig'", f"'https://host/a?{HIDDEN}'"),
        ("Authorization: Bearer plantedbearer", f"Authorization: Bearer {HIDDEN}"),
        ("{'Authorization': 'Basic plantedpass', 'a': 1}", f"{{'Authorization': 'Basic {HIDDEN}', 'a': 1}}"),
        ("AWS_SECRET_ACCESS_KEY=planted/secret+key", f"AWS_SECRET_ACCESS_KEY={HIDDEN}"),
        ('"aws_session_token": "plantedsession"', f'"aws_session_token": "{HIDDEN}"'),
        ("Ocp-Apim-Subscription-Key: plantedsubscription", f"Ocp-Apim-Subscription-Key: {HIDDEN}"),
        ("sig=plantedsig, more", f"sig={HIDDEN}, more"),
        ("<AWSAccessKeyId>AKIAPLANTEDKEYID0000</AWSAccessKeyId>", f"<AWSAccessKeyId>{HIDDEN}</AWSAccessKeyId>"),
    ],
)
def test_every_known_form_is_hidden(text, shown):
    assert redacted(text) == shown
    assert redacted(shown) == shown
    assert not leaks(redacted(text))


@pytest.mark.parametrize(
    "text",
    ["did you mean 'B04'? Expected one of B02, B03",
     "asset https://host/a/B04.tif of item 'x' cannot be read (tries: 4)",
     "the signature is short", "a/b? yes", "tokens are few", "HTTP response code: 404"],
)  # fmt: skip
def test_ordinary_words_stay(text):
    assert redacted(text) == text


def test_values_of_secret_variables_are_hidden_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "plantedtoken")
    monkeypatch.setenv("PLAIN", "plantedbearer")
    assert redacted("it said plantedtoken, then plantedbearer") == f"it said {HIDDEN}, then plantedbearer"


@given(
    st.sampled_from(["https", "http", "s3"]), st.from_regex(r"[A-Za-z0-9._~!$'()*+,=-]{1,20}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._~!$*+=-]{8,20}", fullmatch=True), st.text("ab/", max_size=9),
)  # fmt: skip
def test_whatever_stands_before_the_host_or_after_the_path_goes(scheme, user, secret, path):
    for address in (f"{scheme}://{user}:Z{secret}@host/{path}", f"{scheme}://host/{path}?sig=Z{secret}"):
        assert f"Z{secret}" not in bare_address(address)
        assert f"Z{secret}" not in redacted(f"cannot read {address} now")


@given(st.text(max_size=300))
def test_hiding_never_fails_and_what_is_hidden_stays_so(text):
    once = redacted(text)
    assert redacted(once).count(HIDDEN) >= once.count(HIDDEN) - 1


@pytest.mark.parametrize("piece", ["a", "/", "token", "token=", "?", "://", "a://", "Bearer ", "sig", "@", "AKIA", "="])
def test_the_time_follows_the_length_of_the_text(piece, monkeypatch):
    """Texts of errors come from servers: no pattern may take its square."""
    monkeypatch.setattr("s2koop._redact._of_environment", list)
    redacted(piece * (400_000 // len(piece)))  # with a square in it: minutes, and the limit of the test


def test_names_of_secrets():
    assert all(
        map(is_secret, ("AWS_SECRET_ACCESS_KEY", "subscription-key", "sig", "Authorization", "x_api_key", "DB_PWD"))
    )
    assert not any(
        map(is_secret, ("GDAL_CACHEMAX", "signal", "design", "AWS_REGION", "assign", "VSI_CACHE", "keys", "PWD"))
    )
    assert holds_secret("a", "b?c=d")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Token planted1 planted2", "Authorization: ***"),
        ("Cookie: a=planted1; session=planted2\nnext", "Cookie: ***\nnext"),
        ("GDAL_HTTP_USERPWD=me:plan,ted", "GDAL_HTTP_USERPWD=***"),
        ("password: 'plan ted'", "password: '***'"),
        ("password=plan&ted", "password=***"),
    ],
)
def test_secrets_with_signs_in_them_are_hidden_whole(text, shown):
    assert redacted(text) == shown
