"""What may be shown of an address, a setting or a message: never a password, a key, a token or a signature."""

from __future__ import annotations

import logging
import os
import re
from urllib.parse import urlsplit

#: What stands in the place of a secret.
HIDDEN = "***"
#: Parts of names whose values are secrets, such as AWS_SECRET_ACCESS_KEY, GDAL_HTTP_USERPWD or subscription-key.
_NAME = (
    r"secret|token|passw|passphrase|(?:user|[_-])pwd|bearer|cookie|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key|"
    r"subscription[_-]?key|swift[_-]?key|connection[_-]?string|credential|signature|authori[sz]ation|http_headers"
)
_SECRET_NAME = re.compile(rf"{_NAME}|\bsig\b|(?:^|_)sas(?:_|$)", re.IGNORECASE)
# Each pattern takes time in proportion to the text, whatever it is: repeated parts have ends.
_USER = re.compile(r'(?<=://)[^\s/?#"<>]*@')
_QUERY = re.compile(r"(?<=\S)\?[^\s'\"<>]+")
_KIND = r"(?:basic|bearer|aws4-hmac-sha256)\s+"
_PAIR = re.compile(
    rf"""((?:{_NAME}|\bsig\b)[\w-]{{0,40}}["']?\s{{0,4}}[=:]\s{{0,4}})(?!\s)"""
    rf"""(?:(["'])({_KIND})?[^\n"']+\2?|({_KIND})?[^\s"'{{}}<>]+?(?=[,;]?(?:[\s"'{{}}<>]|$)))""",
    re.IGNORECASE,
)
#: Of these headers, all that stands on the line.
_LINE = re.compile(rf"((?:authori[sz]ation|cookie)\s{{0,4}}:\s{{0,4}}(?:{_KIND})?)[^\r\n'\"]+", re.IGNORECASE)
_HEADER = re.compile(r"\b(basic|bearer|aws4-hmac-sha256)\s+(?:credential=)?[\w.~+/=-]{8,}", re.IGNORECASE)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")
#: Loggers of libraries that write whole addresses, with their keys, as records of errors and of requests.
_TELLTALES = (
    "rasterio._base", "rasterio._env", "rasterio._err", "rasterio._io", "rasterio._vsiopener", "rasterio._warp",
    "rasterio.env", "rasterio.session", "pystac_client.stac_api_io", "urllib3.connectionpool", "urllib3.util.retry",
)  # fmt: skip


def is_secret(name: str) -> bool:
    """Tell whether the value of a setting of this name is a secret; the name of a file that holds one is none.

    Examples
    --------
    >>> [is_secret(name) for name in ("AWS_SECRET_ACCESS_KEY", "GDAL_HTTP_TIMEOUT", "CPL_AWS_CREDENTIALS_FILE")]
    [True, False, False]
    """
    if name.upper().endswith(("_FILE", "GOOGLE_APPLICATION_CREDENTIALS")):
        return False
    return _SECRET_NAME.search(name) is not None


def holds_secret(name: str, value: object) -> bool:
    """Tell whether a setting is a secret, or its value holds one, such as the password in the address of a proxy.

    Examples
    --------
    >>> holds_secret("GDAL_HTTP_PROXY", "http://me:pass@proxy:80"), holds_secret("GDAL_HTTP_TIMEOUT", 60)
    (True, False)
    """
    text = str(value)
    return is_secret(name) or ("proxy" in name.lower() and "@" in text) or redacted(text) != text


def bare_address(href: str) -> str:
    """An address without user, password, query and fragment.

    Examples
    --------
    >>> bare_address("https://me:pass@host.org/a/B04.tif?sig=abc")
    'https://host.org/a/B04.tif'
    """
    bare = re.split(r"[?#]", href, maxsplit=1)[0]
    scheme, mark, rest = bare.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}" if mark else bare


def redacted(text: object) -> str:
    """A text for people, in which secrets of every known form are hidden.

    Users and passwords in addresses, whole queries, values beside secret names, headers of authorisation, key ids of
    AWS, and the values of secret environment variables.

    Examples
    --------
    >>> redacted("GET https://me:pw@host.org/B04.tif?sig=abc failed, token=xyz")
    'GET https://***@host.org/B04.tif?*** failed, token=***'
    """
    shown = _USER.sub(f"{HIDDEN}@", str(text))
    shown = _QUERY.sub(f"?{HIDDEN}", shown)
    shown = _LINE.sub(rf"\1{HIDDEN}", shown)
    shown = _HEADER.sub(rf"\1 {HIDDEN}", shown)
    shown = _PAIR.sub(_hide_value, shown)
    shown = _KEY_ID.sub(HIDDEN, shown)
    for secret in _of_environment():
        shown = shown.replace(secret, HIDDEN)
    return shown


def _hide_value(found: re.Match[str]) -> str:
    """The name, the kind of an authorisation, and quotes alone."""
    name, quote, quoted, bare = (part or "" for part in found.groups())
    return f"{name}{quote}{quoted or bare}{HIDDEN}{quote if found[0].endswith(quote) else ''}"


def _of_environment() -> list[str]:
    """Values of secret variables, the longest first; a short one would hide ordinary words."""
    values = {value for name, value in os.environ.items() if len(value) >= 8 and is_secret(name)}
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy") and "@" in value:
            values |= {part for part in (urlsplit(value).username, urlsplit(value).password) if part and len(part) >= 8}
    return sorted(values, key=len, reverse=True)


class _Redacting(logging.Filter):
    """Hides secrets in the message and the traceback of a record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), None
        if record.exc_info:
            record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


_FILTER = _Redacting()


def redact_logs() -> None:
    """Let no library that we read through write a secret into a log; called again, it changes nothing."""
    for name in _TELLTALES:
        logging.getLogger(name).addFilter(_FILTER)
