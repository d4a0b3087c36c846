"""Keys are found where a user keeps them, at the time of reading, and are shown nowhere."""

from __future__ import annotations

import pickle
import traceback

import cloudpickle
import numpy as np
import pytest

import s2koop
from s2koop.catalog import providers
from s2koop.catalog._credentials import Keys, find_keys, storage_settings
from s2koop.errors import AssetError
from tests.support import items as make
from tests.support.provider import LoopbackProvider

CDSE = providers.PROVIDERS["cdse"]
NETRC = f"machine {CDSE.host} login netrc-key password netrc-secret\n"
PROFILE = "[{}]\naws_access_key_id = {}-key\naws_secret_access_key = {}-s%cret\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without keys."""
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    names = ("NETRC", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    return home


def write_profiles(home, *names):
    (home / ".aws" / "credentials").write_text("".join(PROFILE.format(name, name, name) for name in names))


def set_environment(monkeypatch, name="env"):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"{name}-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{name}-secret")


def test_no_keys(home):
    assert find_keys(CDSE) is None
    with pytest.raises(
        AssetError, match=r"cdse need S3 keys.*machine eodata.*\[cdse\].*AWS_ACCESS_KEY_ID.*each worker"
    ):
        storage_settings(CDSE)


def test_environment(monkeypatch):
    set_environment(monkeypatch)
    assert tuple(find_keys(CDSE)) == ("env-key", "env-secret")


def test_half_a_pair_is_none(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "env-key")
    assert find_keys(CDSE) is None


@pytest.mark.parametrize("place", ["home", "NETRC"])
def test_netrc(home, monkeypatch, place):
    path = home / (".netrc" if place == "home" else "elsewhere")
    path.write_text(NETRC)
    path.chmod(0o600)
    if place == "NETRC":
        monkeypatch.setenv("NETRC", str(path))
    assert tuple(find_keys(CDSE)) == ("netrc-key", "netrc-secret")


def test_the_default_of_netrc_is_for_other_places(home):
    (home / ".netrc").write_text("default login someone password hush\n")
    (home / ".netrc").chmod(0o600)
    assert find_keys(CDSE) is None


@pytest.mark.parametrize(("profile", "chosen"), [("cdse", None), ("default", None), ("mine", "mine")])
def test_profiles_of_aws(home, monkeypatch, profile, chosen):
    write_profiles(home, profile, "another")
    if chosen:
        monkeypatch.setenv("AWS_PROFILE", chosen)
    assert tuple(find_keys(CDSE)) == (f"{profile}-key", f"{profile}-s%cret")


def test_what_names_the_provider_goes_before_what_holds_for_all(home, monkeypatch):
    """Keys of AWS in the environment are no keys of CDSE."""
    write_profiles(home, "default")
    assert find_keys(CDSE).key == "default-key"
    set_environment(monkeypatch)
    assert find_keys(CDSE).key == "env-key"
    write_profiles(home, "default", "cdse")
    assert find_keys(CDSE).key == "cdse-key"
    (home / ".netrc").write_text(NETRC)
    (home / ".netrc").chmod(0o600)
    assert find_keys(CDSE).key == "netrc-key"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".netrc", f"machine {CDSE.host} login KEY passwort SECRET"),
        (".netrc", b"\xff\xfe\x00SECRET"),
        (".aws/credentials", "aws_secret_access_key = SECRET"),
        (".aws/credentials", "[cdse]\nSECRET"),
        (".aws/credentials", b"\xff\xfe\x00SECRET"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_quoted(home, name, content):
    path = home / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    with pytest.raises(AssetError, match=f"{name}.* cannot be read as") as caught:
        find_keys(CDSE)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_keys_are_not_printed():
    keys = Keys("the-key", "the-secret")
    assert "the-" not in f"{keys} {keys!r}"


# through the whole road, against S3 on loopback


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """CDSE on loopback: its bucket, its items, and settings that lead there."""
    product = make.make_product(tmp_path, baseline="05.11", carried=1000, bands=("B04",))
    item = make.cdse(product)
    for asset in item["assets"].values():
        asset["href"] = f"s3://eodata/{asset['href'].rsplit('/', 1)[1]}"
    with LoopbackProvider([], root=tmp_path, bucket="eodata") as server:
        settings = {
            **CDSE.gdal, "AWS_S3_ENDPOINT": server.url.removeprefix("http://"), "AWS_HTTPS": "NO",
            "GDAL_HTTP_MAX_RETRY": "0",
        }  # fmt: skip
        monkeypatch.setitem(providers.PROVIDERS, "cdse", providers.Provider(**{**vars(CDSE), "gdal": settings}))
        yield server, product, item


def signed_by(server) -> set[str]:
    """Keys that requests of files were signed with."""
    seen = [request.authorization for request in server.seen if request.path.startswith("/eodata/")]
    assert seen
    return {text.split("Credential=")[1].split("/")[0] if "Credential=" in text else text for text in seen}


@pytest.mark.parametrize("place", ["netrc", "profile", "environment"])
def test_files_are_read_with_the_keys_of_the_reader(storage, home, monkeypatch, place):
    server, product, item = storage
    cube = s2koop.load(item)
    if place == "netrc":
        (home / ".netrc").write_text(NETRC)
        (home / ".netrc").chmod(0o600)
    elif place == "profile":
        write_profiles(home, "cdse")
    else:
        set_environment(monkeypatch)
    np.testing.assert_array_equal(cube.values[0, 0], product.reflectance("B04"))
    assert signed_by(server) == {{"netrc": "netrc-key", "profile": "cdse-key", "environment": "env-key"}[place]}


def test_what_belongs_to_another_account_is_not_sent_along(storage, home, monkeypatch):
    """A session token of AWS, or the wish to read its open data unsigned, is nothing that CDSE should see or follow."""
    server, product, item = storage
    (home / ".netrc").write_text(NETRC)
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-account")
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    np.testing.assert_array_equal(s2koop.load(item).values[0, 0], product.reflectance("B04"))
    assert signed_by(server) == {"netrc-key"}
    assert not any("x-amz-security-token" in request.authorization for request in server.seen)


def test_no_key_is_in_graph_attributes_or_words(storage, home, monkeypatch):
    _, _, item = storage
    set_environment(monkeypatch, "hushhush")
    (home / ".netrc").write_text(NETRC)
    (home / ".netrc").chmod(0o600)
    cube = s2koop.load(item)
    carried = cloudpickle.dumps(cube.__dask_graph__()) + pickle.dumps(dict(cube.attrs))
    shown = f"{cube!r} {cube._repr_html_()} {dict(cube.__dask_graph__())!r}"
    for secret in ("hushhush", "netrc-key", "netrc-secret"):
        assert secret.encode() not in carried
        assert secret not in shown


@pytest.mark.slow
def test_each_worker_looks_for_its_own_keys(storage, home):
    """Where the graph is made there are none; they are in the home of the machine that reads."""
    from distributed import Client, LocalCluster

    server, product, item = storage
    cube = s2koop.load(item)
    assert find_keys(CDSE) is None
    (home / "worker").mkdir()
    (home / "worker" / ".netrc").write_text(NETRC)
    (home / "worker" / ".netrc").chmod(0o600)
    facts = vars(providers.PROVIDERS["cdse"])

    def settle(folder, facts):
        import os

        from s2koop.catalog import providers

        os.environ["HOME"] = folder
        providers.PROVIDERS["cdse"] = providers.Provider(**facts)

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(settle, str(home / "worker"), facts)
        np.testing.assert_array_equal(cube.values[0, 0], product.reflectance("B04"))
    assert signed_by(server) == {"netrc-key"}


def test_without_keys_the_first_read_says_where_to_put_them(storage):
    server, _, item = storage
    with pytest.raises(AssetError, match="cdse need S3 keys"):
        s2koop.load(item).compute()
    assert server.count() == 0


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_refused_keys_are_not_repeated(storage, monkeypatch, code):
    server, _, item = storage
    set_environment(monkeypatch, "hushhush")
    said = f"<Error><Code>{code}</Code><AWSAccessKeyId>hushhush-key</AWSAccessKeyId></Error>".encode()
    server.fault("/eodata/*", "status", status=403, content=said)
    with pytest.raises(AssetError, match="Access is denied") as caught:
        s2koop.load(item, tries=1).compute()
    assert "hushhush" not in "".join(traceback.format_exception(caught.value))
