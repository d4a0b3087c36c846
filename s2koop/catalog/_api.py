"""A STAC API over items in memory: one function from request to answer, opened by `pystac_client` without a socket.

Implements STAC API 1.0: core, collections, features and item search by GET and POST with the query, filter (CQL2), sort
and fields extensions. What it does not know it refuses: a filter that is ignored gives wrong items.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from s2koop.catalog import _filters as filters
from s2koop.catalog._filters import BadRequest

if TYPE_CHECKING:
    from pystac_client import Client

Document = dict[str, Any]

PAGE, MAX_PAGE = 100, 10_000
_SEARCH = {"collections", "ids", "bbox", "intersects", "datetime", "query", "filter", "filter-lang", "filter-crs"}
_SHAPE = {"sortby", "fields", "limit", "token"}
_CONFORMANCE = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    *(f"https://api.stacspec.org/v1.0.0/item-search{ext}" for ext in ("", "#query", "#sort", "#fields", "#filter")),
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
]


@dataclass(frozen=True)
class Answer:
    """What an HTTP front sends back."""

    status: int
    body: Document

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode()


class LocalApi:
    """A STAC API over a fixed list of items.

    Parameters
    ----------
    items : sequence of dict
        STAC items; newest first is the order of answers unless ``sortby`` says otherwise.
    collections : sequence of dict, optional
        STAC collections. One is made up for each collection that only items name.
    title : str
        Title of the landing page.
    """

    def __init__(
        self, items: Sequence[Document], collections: Sequence[Document] = (), *, title: str = "s2koop"
    ) -> None:
        entries = (_Entry(item) for item in items)
        self._entries = sorted(entries, key=lambda entry: (entry.span[1], entry.item["id"]), reverse=True)
        self._collections = {collection["id"]: dict(collection) for collection in collections}
        for entry in self._entries:
            name = entry.item.get("collection")
            if name and name not in self._collections:
                self._collections[name] = self._made_up(name)
        self.title = title
        #: What the landing page claims; shorten it to stand in for a provider that knows less.
        self.conformance = list(_CONFORMANCE)

    @cached_property
    def _by_name(self) -> dict[tuple[Any, str], Document]:
        return {(entry.item.get("collection"), entry.item["id"]): entry.item for entry in self._entries}

    def item(self, collection: str | None, ident: str, root: str) -> Document:
        """One item, with the links of this API; `BadRequest` where there is none."""
        if (collection, ident) not in self._by_name:
            raise BadRequest(f"there is no item {ident!r} in {collection!r}", status=404)
        return _linked(self._by_name[collection, ident], root)

    def handle(self, method: str, url: str, body: bytes | str | None = None, *, root: str) -> Answer:
        """Answer one request.

        Parameters
        ----------
        method : str
            ``"GET"`` or ``"POST"``.
        url : str
            Absolute, for instance ``http://127.0.0.1:8000/stac/search?limit=2``.
        body : bytes or str, optional
            JSON of a POST.
        root : str
            Address of the landing page, with which all links of the answer start.
        """
        try:
            return Answer(200, self._route(method, url, body, root))
        except BadRequest as error:
            return Answer(error.status, {"code": type(error).__name__, "description": str(error)})

    def _route(self, method: str, url: str, body: bytes | str | None, root: str) -> Document:
        parts = urlsplit(url.removeprefix(root))
        path = [unquote(segment) for segment in parts.path.strip("/").split("/") if segment]
        match [method, *path]:
            case ["GET"]:
                return self._landing(root)
            case ["GET", "conformance"]:
                return {"conformsTo": self.conformance}
            case ["GET", "collections"]:
                found = [self._collection(name, root) for name in self._collections]
                return {"collections": found, "links": [_link("self", f"{root}/collections")]}
            case ["GET", "collections", name]:
                return self._collection(name, root)
            case ["GET", "collections", name, "items"]:
                self._collection(name, root)
                params = {**_from_query_string(parts.query), "collections": [name]}
                return self._search(params, "GET", root, f"{root}/collections/{name}/items")
            case ["GET", "collections", name, "items", ident]:
                return self.item(name, ident, root)
            case ["GET", "search"]:
                return self._search(_from_query_string(parts.query), "GET", root, f"{root}/search")
            case ["POST", "search"]:
                return self._search(_from_body(body), "POST", root, f"{root}/search")
        raise BadRequest(f"there is nothing at {method} /{'/'.join(path)}", status=404)

    def _landing(self, root: str) -> Document:
        children = [_link("child", f"{root}/collections/{name}") for name in self._collections]
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "s2koop",
            "title": self.title,
            "description": f"{self.title}: {len(self._entries)} items",
            "conformsTo": self.conformance,
            "links": [
                _link("self", root),
                _link("root", root),
                _link("data", f"{root}/collections"),
                _link("conformance", f"{root}/conformance"),
                {**_link("search", f"{root}/search", "application/geo+json"), "method": "GET"},
                {**_link("search", f"{root}/search", "application/geo+json"), "method": "POST"},
                *children,
            ],
        }

    def _collection(self, name: str, root: str) -> Document:
        if name not in self._collections:
            raise BadRequest(f"there is no collection {name!r}; there are {sorted(self._collections)}", status=404)
        href = f"{root}/collections/{name}"
        links = [
            _link("self", href), _link("root", root), _link("parent", root),
            _link("items", f"{href}/items", "application/geo+json"),
        ]  # fmt: skip
        kept = [k for k in self._collections[name].get("links", []) if k["rel"] in ("license", "about", "cite-as")]
        return {**self._collections[name], "links": links + kept}

    def _made_up(self, name: str) -> Document:
        mine = [entry for entry in self._entries if entry.item.get("collection") == name]
        boxes = [entry.geometry.bounds for entry in mine if not entry.geometry.is_empty] or [(-180, -90, 180, 90)]
        west, south, east, north = zip(*boxes, strict=True)
        box = [min(west), min(south), max(east), max(north)]
        first, last = min(entry.span[0] for entry in mine), max(entry.span[1] for entry in mine)
        interval = [filters.to_text(first), filters.to_text(last)]
        return {
            "type": "Collection", "stac_version": "1.0.0", "id": name, "description": name, "license": "other",
            "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [interval]}}, "links": [],
        }  # fmt: skip

    def _search(self, params: Document, method: str, root: str, href: str) -> Document:
        unknown = set(params) - _SEARCH - _SHAPE
        if unknown:
            raise BadRequest(f"unknown parameter {sorted(unknown)}; known are {sorted(_SEARCH | _SHAPE)}")
        keep = self._predicate(params)
        found = [entry.item for entry in self._entries if keep(entry)]
        found = filters.sort_items(found, params.get("sortby"))
        limit, start = _page(params)
        page = found[start : start + limit]
        links = [_link("root", root)]
        if start + limit < len(found):
            links.append(_next_link(params, method, href, start + limit))
        pick = filters.field_picker(params.get("fields"))
        return {
            "type": "FeatureCollection",
            "features": [pick(_linked(item, root)) for item in page],
            "numberMatched": len(found),
            "numberReturned": len(page),
            "links": links,
        }

    def _predicate(self, params: Document) -> Callable[[_Entry], bool]:
        """All filters of a request as one test, checked before the first item is looked at."""
        tests: list[Callable[[_Entry], bool]] = []
        if collections := params.get("collections"):
            wanted = set(filters.strings("collections", collections))
            tests.append(lambda entry: entry.item.get("collection") in wanted)
        if ids := params.get("ids"):
            named = set(filters.strings("ids", ids))
            tests.append(lambda entry: entry.item["id"] in named)
        if "bbox" in params and "intersects" in params:
            raise BadRequest("bbox and intersects cannot be asked together")
        if "bbox" in params or "intersects" in params:
            area = filters.bbox_area(params["bbox"]) if "bbox" in params else filters.area(params["intersects"])
            tests.append(lambda entry: entry.touches(area))
        if datetime := params.get("datetime"):
            first, last = filters.parse_interval(datetime)
            tests.append(lambda entry: entry.span[0] <= last and entry.span[1] >= first)
        if (query := params.get("query")) is not None:
            matches = filters.query_predicate(query)
            tests.append(lambda entry: matches(entry.item))
        if (expression := params.get("filter")) is not None:
            cql2 = filters.cql2_predicate(expression, params.get("filter-lang"))
            tests.append(lambda entry: cql2(entry.item))
        return lambda entry: all(test(entry) for test in tests)


@dataclass(frozen=True)
class _Entry:
    """An item with what filters ask of it, worked out once."""

    item: Document = field(repr=False)

    @cached_property
    def span(self) -> tuple[Any, Any]:
        """First and last instant."""
        return filters.item_span(self.item)

    @cached_property
    def geometry(self) -> Any:
        return filters.item_geometry(self.item)

    def touches(self, area: Any) -> bool:
        return bool(self.geometry.intersects(area))


def connect(api: LocalApi) -> Client:
    """Open a real ``pystac_client.Client`` on ``api``: same code as for a provider, no socket, no thread."""
    from pystac_client import Client
    from pystac_client.stac_api_io import StacApiIO

    from s2koop.catalog._adapter import LocalAdapter

    io = StacApiIO(max_retries=None)
    io.session.trust_env = False  # no proxy and no .netrc stands between us and ourselves
    io.session.mount(ROOT, LocalAdapter(api))
    return Client.open(ROOT, stac_io=io)


#: ``.invalid`` never resolves (RFC 2606): a request that misses the adapter cannot reach anyone.
ROOT = "http://s2koop.invalid"


def _link(rel: str, href: str, media: str = "application/json") -> Document:
    return {"rel": rel, "href": href, "type": media}


def _linked(item: Document, root: str) -> Document:
    """The item with the links of this API in place of those of where it came from."""
    collection = item.get("collection")
    links = [_link("root", root)]
    if collection:
        home = f"{root}/collections/{collection}"
        links += [_link("self", f"{home}/items/{item['id']}", "application/geo+json")]
        links += [_link("collection", home), _link("parent", home)]
    return {**item, "links": links}


def _from_query_string(text: str) -> Document:
    """Parameters of a GET in the form of a POST body."""
    params: Document = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        read = _GET_FORMS.get(key, str)
        try:
            params[key] = read(value)
        except ValueError as error:
            raise BadRequest(f"{key}={value!r} cannot be read: {error}") from error
    return params


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _sort_terms(text: str) -> list[Document]:
    return [
        {"field": term.lstrip("+- "), "direction": "desc" if term.startswith("-") else "asc"} for term in _names(text)
    ]


def _field_terms(text: str) -> Document:
    terms = _names(text)
    return {
        "include": [term.lstrip("+ ") for term in terms if not term.startswith("-")],
        "exclude": [term[1:] for term in terms if term.startswith("-")],
    }


_GET_FORMS: Mapping[str, Callable[[str], Any]] = {
    "bbox": _numbers,
    "intersects": json.loads,
    "ids": _names,
    "collections": _names,
    "query": json.loads,
    "sortby": _sort_terms,
    "fields": _field_terms,
    "limit": int,
    # a GET may carry CQL2 as text or as JSON
    "filter": lambda text: json.loads(text) if text.lstrip().startswith("{") else text,
}


def _from_body(body: bytes | str | None) -> Document:
    try:
        params = json.loads(body or "{}")
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(params, dict):
        raise BadRequest(f"the body is a JSON {type(params).__name__}, expected an object")
    return {key: value for key, value in params.items() if value is not None}


def _page(params: Document) -> tuple[int, int]:
    """Page size and offset."""
    limit, token = params.get("limit", PAGE), params.get("token", "0")
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_PAGE:
        raise BadRequest(f"limit is {limit!r}, expected a whole number from 1 to {MAX_PAGE}")
    if not str(token).isdigit():
        raise BadRequest(f"token {token!r} is not one that this catalogue gave out")
    return limit, int(token)


def _next_link(params: Document, method: str, href: str, start: int) -> Document:
    link = {**_link("next", href, "application/geo+json"), "method": method}
    again = {**params, "token": str(start)}
    if method == "POST":
        return {**link, "body": again, "merge": False}
    if href.endswith("/items"):
        del again["collections"]
    return {**link, "href": f"{href}?{urlencode({key: _to_get(key, value) for key, value in again.items()})}"}


def _to_get(key: str, value: Any) -> str:
    """Write one parameter as a GET carries it; the inverse of `_GET_FORMS`."""
    if key == "sortby":
        return ",".join(("-" if term["direction"] == "desc" else "+") + term["field"] for term in value)
    if key == "fields":
        return ",".join([*value["include"], *(f"-{term}" for term in value["exclude"])])
    if isinstance(value, dict):
        return json.dumps(value)
    return value if isinstance(value, str) else _comma(value)


def _comma(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, Iterable) else str(value)
