"""From what a user calls a catalogue to a `pystac_client.Client`: a provider, an address, a folder, the sample."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from s2koop.catalog import _http
from s2koop.catalog.providers import PROVIDERS, Provider
from s2koop.errors import CatalogError, InputError, S2koopError

if TYPE_CHECKING:
    from pystac_client import Client

_OFFLINE = 'catalog="sample" needs no network'


@dataclass(frozen=True)
class Source:
    """An opened catalogue: its name as shown to people, the client, the provider if it is one we know."""

    name: str
    client: Client
    provider: Provider | None = None
    #: The items lie in memory: all filters are ours, and a collection need not be named.
    local: bool = False


def open_source(catalog: str | os.PathLike[str] | Client) -> Source:
    """Open whatever ``catalog`` names.

    Raises
    ------
    CatalogError
        If there is no such catalogue, it cannot be reached, or it does not answer with STAC.
    """
    if not isinstance(catalog, str | os.PathLike):
        if not (hasattr(catalog, "search") and hasattr(catalog, "get_collections")):
            raise CatalogError(
                f"catalog is a {type(catalog).__name__}, expected a name, an address, a path or a Client"
            )
        return Source(_shown(str(catalog.self_href)), catalog)
    name = os.fspath(catalog)
    if not name.strip():  # as a path it would be the current folder, which nobody named
        raise CatalogError(_unknown(name))
    if name == "sample":
        return _open_sample()
    if name in PROVIDERS:
        return Source(name, _open_api(PROVIDERS[name].url, name), PROVIDERS[name])
    if name.startswith(("http://", "https://")):
        return _open_url(name)
    if (path := Path(name).expanduser()).exists():
        return _open_path(path)
    raise CatalogError(_unknown(name))


def _unknown(name: str) -> str:
    known = ["sample", *PROVIDERS]
    close = difflib.get_close_matches(name.lower().replace("_", "-").replace(" ", "-"), known, n=2, cutoff=0.5)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return (
        f"there is no catalogue {name!r}; {meant}Expected one of {known}, the address of a STAC API or catalogue "
        "(https://...), or a folder or file that exists"
    )


def _open_sample() -> Source:
    from s2koop.catalog._api import LocalApi, connect
    from s2koop.catalog._sample import sample_documents

    items, collections = sample_documents()
    return Source("sample", connect(LocalApi(items, collections, title="s2koop sample")), local=True)


def _open_path(path: Path) -> Source:
    from s2koop.catalog import _static

    return _in_memory(str(path), *_static.read_path(path))


def _in_memory(name: str, items: list[dict[str, Any]], collections: list[dict[str, Any]]) -> Source:
    from s2koop.catalog._api import LocalApi, connect

    return Source(name, connect(LocalApi(items, collections, title=name)), local=True)


def _open_url(url: str) -> Source:
    from s2koop.catalog import _static

    name = _shown(url)
    io = _http.api_io()
    with told(name):
        document = _as_stac(io.read_text(url), name)
    if _is_api(document):
        return Source(name, _open_api(url, name))
    if document["type"] == "Collection" and any(link.get("rel") == "items" for link in document.get("links", [])):
        root = url.split("/collections/")[0]
        raise CatalogError(
            f"{name} is one collection of an API; give its root and the collection: "
            f"search({_shown(root)!r}, collection={document['id']!r})"
        )
    with told(name):
        return _in_memory(name, *_static.read_document(document, url, _http.reader(remote=True)))


def _open_api(url: str, name: str) -> Client:
    from pystac_client import Client

    with told(name):
        # open() sets the timeout of the io anew
        return Client.open(url, stac_io=_http.api_io(), timeout=_http.TIMEOUT)


def _is_api(document: dict[str, Any]) -> bool:
    rels = {link.get("rel") for link in document.get("links", [])}
    return document["type"] == "Catalog" and ("conformsTo" in document or "search" in rels)


def _as_stac(text: str, name: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        kind = "a web page (HTML)" if text.lstrip()[:1] == "<" else "something that is not JSON"
        raise CatalogError(
            f"{name} answers with {kind}, expected STAC; give the root of the API, which often ends in /v1 or /stac"
        ) from None
    kinds = ("Catalog", "Collection", "FeatureCollection", "Feature")
    if not isinstance(document, dict) or document.get("type") not in kinds:
        raise CatalogError(f"{name} answers with JSON that is not STAC: expected a type among {', '.join(kinds)}")
    return document


def _shown(url: str) -> str:
    """An address without user, password and query, which may hold a key."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme.startswith("http") else url


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what pystac-client and requests raise about catalogue ``name`` into an error that says what to check."""
    from pystac.errors import STACError
    from pystac_client.exceptions import APIError

    try:
        yield
    except APIError as error:
        raise _from_api_error(name, error) from error
    except STACError as error:
        if isinstance(error.__cause__, S2koopError):
            raise error.__cause__ from error
        if isinstance(error.__cause__, APIError):  # a link that leads nowhere
            raise _from_api_error(f"a document that {name} links to", error.__cause__) from error
        raise CatalogError(f"{name} is not valid STAC: {' '.join(str(error).split())[:200]}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, S2koopError):
            raise
        raise CatalogError(
            f"{name} answers with something that is not STAC ({type(error).__name__}); give the root of a STAC API, or "
            f"{_OFFLINE}"
        ) from error


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
    text = str(error).strip()
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
