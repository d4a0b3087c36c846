"""Keys to the files of a provider, looked up where and when they are read: never in a graph, an attribute or a log."""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from s2koop.catalog.providers import Provider
from s2koop.errors import AssetError

if TYPE_CHECKING:
    from rasterio.session import Session


class Keys(NamedTuple):
    """An S3 key and its secret; printed, it shows neither."""

    key: str
    secret: str

    def __repr__(self) -> str:
        return "Keys(***)"


def storage_settings(provider: Provider) -> dict[str, Any]:
    """Arguments of ``rasterio.Env`` for the S3 storage of a provider: its settings, and a session that holds the keys.

    Raises
    ------
    AssetError
        If no place holds keys, or one cannot be read.
    """
    found = find_keys(provider)
    if found is None:
        raise AssetError(
            f"the files of {provider.name} need S3 keys, and there are none: neither a line 'machine {provider.host} "
            f"login KEY password SECRET' in .netrc, nor a profile [{provider.name}] in .aws/credentials, nor "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment. On a cluster each worker looks for itself"
        )
    return {**provider.gdal, "session": _session(found)}


def find_keys(provider: Provider) -> Keys | None:
    """Look for the keys of a provider: what names it goes before what holds for all of S3.

    In this order: its machine in ``.netrc``, its profile in ``.aws/credentials``, the environment, the profile of
    ``AWS_PROFILE`` or the default one.
    """
    return (
        _of_netrc(provider.host)
        or _of_profile(provider.name)
        or _of_environment()
        or _of_profile(os.environ.get("AWS_PROFILE", "default"))
    )


def _of_environment() -> Keys | None:
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    return Keys(key, secret) if key and secret else None


def _of_netrc(machine: str) -> Keys | None:
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    if not path.is_file():
        return None
    try:
        entry = netrc.netrc(path).hosts.get(machine)  # never the default entry: its password is for another place
    except netrc.NetrcParseError as error:
        raise AssetError(f"{path} cannot be read as .netrc (line {error.lineno}); mend it, or move it away") from None
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(
            f"{path} cannot be read as .netrc ({type(error).__name__}); mend it, or move it away"
        ) from None
    if entry is None or not entry[0] or not entry[2]:
        return None
    return Keys(entry[0], entry[2])


def _of_profile(name: str) -> Keys | None:
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    if not path.is_file():
        return None
    profiles = configparser.RawConfigParser()  # a secret may hold a percent sign
    try:
        profiles.read(path, encoding="utf-8")
    except (configparser.Error, OSError, UnicodeDecodeError) as error:  # the text of an error repeats lines of the file
        raise AssetError(f"{path} cannot be read as profiles of keys ({type(error).__name__}); mend it") from None
    if not profiles.has_section(name):
        return None
    held = profiles[name]
    key, secret = held.get("aws_access_key_id"), held.get("aws_secret_access_key")
    return Keys(key, secret) if key and secret else None


def _session(keys: Keys) -> Session:
    """A session of rasterio that needs no boto3."""
    from rasterio.session import Session

    class KeySession(Session):
        @classmethod
        def hascreds(cls, config: dict[str, Any]) -> bool:
            return False

        def get_credential_options(self) -> dict[str, str]:
            own = keys.key == os.environ.get("AWS_ACCESS_KEY_ID")
            return {
                "AWS_ACCESS_KEY_ID": keys.key,
                "AWS_SECRET_ACCESS_KEY": keys.secret,
                # of another account, these would be sent along, or leave the request without a signature
                "AWS_SESSION_TOKEN": os.environ.get("AWS_SESSION_TOKEN", "") if own else "",
                "AWS_NO_SIGN_REQUEST": "NO",
            }

    return KeySession()
