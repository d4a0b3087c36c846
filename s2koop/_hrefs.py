"""Which addresses of pixels may be opened: what a catalogue on the network says never leads into this machine.

GDAL opens far more than files: strings that name drivers, containers and other machines. So an address is a plain one,
of a scheme that we know or of a file, before GDAL sees it; and a file only where the item was read on this machine.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from functools import lru_cache
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import url2pathname

from s2koop._redact import redacted
from s2koop.errors import InputError

#: Schemes of files on the network.
NETWORK = ("http", "https", "s3", "gs", "az")
#: Letters of an address: those with signatures have some thousand.
_LONGEST = 8192
_SCHEME = re.compile(r"([a-z][a-z0-9+._-]+):", re.IGNORECASE)  # two letters: "C:" is a drive
#: What nearly all addresses look like: nothing in them needs a second look.
_ORDINARY = re.compile(r"(?:https?|s3|gs|az)://([a-z0-9.-]+)(?::[1-5]?\d{1,4})?/[\w./~-]+", re.ASCII | re.IGNORECASE)
#: A name or a number. Others are translated before they are asked: "127%2e0.0.1" is this machine to curl.
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+", re.ASCII | re.IGNORECASE)
#: Control characters, invisible ones, halves of characters, and the signs that XML begins with.
_NO_LETTERS = re.compile("[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff<>]")
_VIRTUAL = re.compile(
    r"^/vsi|[/\\?&=]vsi(?:curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs|zip|tar|gzip|7z|rar|mem|stdin|stdout|sparse|subfile|"
    r"crypt|cached)(?:_streaming)?[/\\?]",
    re.IGNORECASE,
)


def is_network(href: str | None) -> bool:
    """Tell whether an address names a place on the network."""
    scheme = None if href is None else _SCHEME.match(href)
    return scheme is not None and scheme[1].lower() in NETWORK


def asset_href(href: object, base: str | None, *, origin: str | None) -> str:
    """The address of an asset, complete and safe to open.

    Parameters
    ----------
    href : str
        As the item says it, relative or not.
    base : str or None
        Where the item itself lies.
    origin : str or None
        Address of the catalogue that the item comes from; None where it was read on this machine, whose files it may
        then name.

    Returns
    -------
    str
        An address of the network with a scheme in small letters, or the absolute path of a file.

    Raises
    ------
    InputError
        If it is anything else: a file named from the network, a virtual path or a driver of GDAL, a step upwards.

    Examples
    --------
    >>> asset_href("./B04.tif", "https://host.org/a/item.json", origin="https://host.org")
    'https://host.org/a/B04.tif'
    >>> asset_href("file:///etc/passwd", "https://host.org/a/item.json", origin="https://host.org")
    Traceback (most recent call last):
    ...
    s2koop.errors.InputError: the href 'file:///etc/passwd' ... names a file of this machine...
    """
    if not isinstance(href, str) or not href.strip():
        raise InputError(f"an asset has the href {href!r}; expected an address")
    if len(href) > _LONGEST:
        raise InputError(f"{_named(href)} has {len(href)} letters; expected at most {_LONGEST}")
    _check_scheme(href)
    if base is not None and is_network(base) and not _SCHEME.match(href) and not href.startswith(("/", "\\")):
        _check_letters(href)
        href = _joined(base, href)
    if is_network(href):
        return _on_network(href, origin)
    if origin is not None:
        raise InputError(
            f"{_named(href)} names a file of this machine, and the item comes from a catalogue on the network; {_CURE}"
        )
    return _on_disk(href, base)


def leads_inside(href: str, origin: str) -> bool:
    """Tell whether an address names this machine itself, or what answers to it alone, and its origin lies elsewhere.

    Examples
    --------
    >>> leads_inside("http://169.254.169.254/latest", "https://host.org"), leads_inside("https://a.org", "https://host.org")
    (True, False)
    """
    return _is_inside(_host_of(href)) and not _is_inside(_split(origin).hostname or "")


_EXPECTED = f"expected {', '.join(f'{scheme}://' for scheme in NETWORK)} or a plain path"
_CURE = (
    "if you have put the file there yourself, say where your copy of the item lies: item.set_root(None) and "
    "item.set_self_href('/data/item.json'), or the link 'self' of a dict"
)


def _named(href: str) -> str:
    return f"the href {redacted(href)[:120]!r} of an asset"


def _check_scheme(href: str) -> None:
    scheme = _SCHEME.match(href)
    if scheme and scheme[1].lower() not in (*NETWORK, "file"):
        raise InputError(f"{_named(href)} has the scheme {scheme[1]!r}; {_EXPECTED}")


def _check_letters(href: str) -> None:
    """Refuse what no plain address holds, written out or as %-codes, however often these are nested."""
    seen, before = href, None
    while seen != before:  # each round makes it shorter
        if _NO_LETTERS.search(seen) or seen != seen.strip():
            raise InputError(f"{_named(href)} holds letters that no address has; {_EXPECTED}")
        if _VIRTUAL.search(seen):
            raise InputError(f"{_named(href)} names a virtual file system of GDAL; {_EXPECTED}")
        seen, before = unquote(seen), seen


def _on_network(href: str, origin: str | None) -> str:
    """The address itself, with its scheme in small letters."""
    if (ordinary := _ORDINARY.fullmatch(href)) and ".." not in href and not _VIRTUAL.search(href):
        host = ordinary[1]
    else:
        host = _checked_host(href)
    if origin is not None and _is_inside(host) and not _is_inside(_split(origin).hostname or ""):
        raise InputError(
            f"{_named(href)} names this machine itself, and the item comes from elsewhere; expected an address that "
            "others reach"
        )
    scheme, mark, rest = href.partition(":")
    return f"{scheme.lower()}{mark}{rest}"


def _checked_host(href: str) -> str:
    """The host of an address that is not of the ordinary form."""
    _check_letters(href)
    if "\\" in href or " " in href:
        raise InputError(f"{_named(href)} is no address of a file on the network; {_EXPECTED}")
    if ".." in re.split(r"[/\\]", unquote(unquote(_split(href).path))):
        raise InputError(f"{_named(href)} steps upwards with '..'; expected the address of the file itself")
    return _host_of(href)


def _host_of(href: str) -> str:
    """The host of an address, in letters that every library takes for the same host."""
    host = _split(href).hostname or ""
    if not _HOST.fullmatch(host):
        raise InputError(f"{_named(href)} has no host that can be asked; {_EXPECTED}")
    return host


def _joined(base: str, href: str) -> str:
    _split(base)
    return urljoin(base, href)


def _split(href: str) -> SplitResult:
    """The parts of an address, whose port is a number."""
    try:
        parts = urlsplit(href)
        _ = parts.port
    except ValueError as error:
        raise InputError(f"{_named(href)} is no address: {redacted(error)}") from None
    return parts


@lru_cache(maxsize=256)
def _is_inside(host: str) -> bool:
    """Tell whether a host is this machine, or link-local, however its number is written; no name is looked up."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        try:
            number = ipaddress.ip_address(socket.inet_aton(host))  # "127.1", "0x7f000001" and "2130706433", as curl
        except OSError:
            return False
    number = getattr(number, "ipv4_mapped", None) or number
    return number.is_loopback or number.is_link_local or number.is_unspecified


def _on_disk(href: str, base: str | None) -> str:
    """The absolute path of a file that lies on this machine."""
    if href.startswith(("//", "\\\\")):
        raise InputError(f"{_named(href)} names another machine; {_EXPECTED}")
    path = _path_of(href)
    if base is not None and not is_network(base):
        path = os.path.join(os.path.dirname(_path_of(base)), path)
    path = os.path.abspath(path)
    _check_letters(path)
    return path


def _path_of(href: str) -> str:
    """The path of a file, which may be written as file://."""
    if not href.lower().startswith("file:"):
        return href
    parts = _split(href)
    if parts.netloc.lower() not in ("", "localhost"):
        raise InputError(f"{_named(href)} names a file of another machine; {_EXPECTED}")
    return url2pathname(parts.path)
