"""What goes wrong in a request to a catalogue, told so that a user knows what to check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from s2koop._hrefs import is_network
from s2koop._redact import bare_address, redacted
from s2koop.errors import CatalogError, InputError, S2koopError

_OFFLINE = 'catalog="sample" needs no network'


def shown(url: str) -> str:
    """An address without user, password and query, which may hold a key."""
    return bare_address(url) if is_network(url) else url


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what pystac-client and requests raise about catalogue ``name`` into an error that says what to check.

    Theirs is not shown beside it: it holds the address with its keys.
    """
    from pystac.errors import STACError
    from pystac_client.exceptions import APIError

    try:
        yield
    except APIError as error:
        if isinstance(error.__context__, S2koopError):
            raise error.__context__ from None
        raise _from_api_error(name, error) from None
    except STACError as error:
        if isinstance(error.__cause__, S2koopError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, APIError):  # a link that leads nowhere
            raise _from_api_error(f"a document that {name} links to", error.__cause__) from None
        raise CatalogError(f"{name} is not valid STAC: {' '.join(redacted(error).split())[:200]}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, S2koopError):
            raise
        raise CatalogError(
            f"{name} answers with something that is not STAC ({type(error).__name__}); give the root of a STAC API, or "
            f"{_OFFLINE}"
        ) from None


def _from_api_error(name: str, error: Exception) -> Exception:
    status = getattr(error, "status_code", None)
    if status is None:
        return CatalogError(f"{name} cannot be reached: {_reason(error)}. Or: {_OFFLINE}")
    if status in (400, 422):
        return InputError(f"{name} refuses the search: {_description(error)}")
    if status in (401, 403):
        return CatalogError(f"{name} asks for credentials (HTTP {status}); see the provider's page on access")
    if status == 404:
        return CatalogError(
            f"{name} has nothing at this address or no such collection (HTTP 404): {_description(error)}"
        )
    return CatalogError(f"{name} is out of order or too busy (HTTP {status}, after retries); try later. Or: {_OFFLINE}")


def _description(error: Exception) -> str:
    """What the server says, in one line; a page of HTML says nothing."""
    text = redacted(error).strip()
    try:
        document = json.loads(text)
        text = str(document.get("description") or document.get("detail") or document)
    except (ValueError, AttributeError):
        if text.startswith("<"):
            return "(it answered with a web page)"
    return " ".join(text.split())[:300]


def _reason(error: Exception) -> str:
    """Name the cause without the address, which may hold a key."""
    import requests

    cause = error.__context__
    text = str(cause)
    if isinstance(cause, requests.exceptions.Timeout) or "timed out" in text:
        return "it did not answer in time; try later, or narrow the search"
    if "NameResolution" in text or "getaddrinfo" in text or "resolve" in text:
        return "its name was not found; check the network and the spelling of the address"
    if "refused" in text:
        return "the connection was refused; check the address and port, and that the server runs"
    if isinstance(cause, requests.exceptions.SSLError):
        return "the certificate was not accepted; check the clock and any proxy"
    if isinstance(cause, requests.exceptions.ProxyError):
        return "the proxy did not let it through; check HTTP_PROXY and HTTPS_PROXY"
    return f"the connection failed ({type(cause).__name__}); check the network and any proxy"
