"""From what a user calls a catalogue to a `pystac_client.Client`: a provider, an address, a folder, the sample."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2koop.catalog import _http
from s2koop.catalog._intake import Intake
from s2koop.catalog._told import shown, told
from s2koop.catalog.providers import PROVIDERS, Provider
from s2koop.errors import CatalogError

if TYPE_CHECKING:
    from pystac_client import Client

    from s2koop.catalog._api import LocalApi


@dataclass(frozen=True)
class Source:
    """An opened catalogue: its name as shown to people, the client, the provider if it is one we know."""

    name: str
    client: Client
    provider: Provider | None = None
    #: Where the items lie in memory: then all filters are ours, and a collection need not be named.
    memory: LocalApi | None = None


def open_source(
    catalog: str | os.PathLike[str] | Client, intake: Intake | None = None, asked: Mapping[str, Any] | None = None
) -> Source:
    """Open whatever ``catalog`` names; ``intake`` is asked about each item that is read into memory.

    Of a catalogue that can leave items unread, ``asked`` says which ones a search may find.

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
        from s2koop.catalog._adapter import memory_of

        return Source(shown(str(catalog.self_href)), catalog, memory=memory_of(catalog))
    name = os.fspath(catalog)
    if not name.strip():  # as a path it would be the current folder, which nobody named
        raise CatalogError(_unknown(name))
    if name == "sample":
        return _open_sample()
    if name in PROVIDERS:
        return Source(name, _open_api(PROVIDERS[name].url, name), PROVIDERS[name])
    if name.startswith(("http://", "https://")):
        return _open_url(name, intake or Intake())
    if (path := Path(name).expanduser()).exists():
        return _open_path(path, intake or Intake(), asked or {})
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
    from s2koop.catalog._sample import sample_documents

    return _in_memory("sample", *sample_documents(), title="s2koop sample")


def _open_path(path: Path, intake: Intake, asked: Mapping[str, Any]) -> Source:
    from s2koop.catalog import _geoparquet, _static

    if path.suffix.lower() in _geoparquet.SUFFIXES:
        return _in_memory(str(path), *_geoparquet.read_geoparquet(path, asked, intake))
    return _in_memory(str(path), *_static.read_path(path, intake))


def _in_memory(
    name: str, items: list[dict[str, Any]], collections: list[dict[str, Any]], title: str | None = None
) -> Source:
    from s2koop.catalog._api import LocalApi, connect

    api = LocalApi(items, collections, title=title or name)
    return Source(name, connect(api), memory=api)


def _open_url(url: str, intake: Intake) -> Source:
    from s2koop.catalog import _geoparquet, _static

    name = shown(url)
    if name.lower().endswith(_geoparquet.SUFFIXES):
        raise CatalogError(f"{name} is stac-geoparquet, which is read from a disk; download it and give its path")
    io = _http.api_io(url)
    with told(name):
        document = _as_stac(io.read_text(url), name)
    if _is_api(document):
        return Source(name, _open_api(url, name))
    if document["type"] == "Collection" and any(link.get("rel") == "items" for link in document.get("links", [])):
        root = url.split("/collections/")[0]
        raise CatalogError(
            f"{name} is one collection of an API; give its root and the collection: "
            f"search({shown(root)!r}, collection={document['id']!r})"
        )
    with told(name):
        return _in_memory(name, *_static.read_document(document, url, name, _http.reader(url), intake))


def _open_api(url: str, name: str) -> Client:
    from pystac_client import Client

    with told(name):
        # open() sets the timeout of the io anew
        return Client.open(url, stac_io=_http.api_io(url), timeout=_http.TIMEOUT)


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
