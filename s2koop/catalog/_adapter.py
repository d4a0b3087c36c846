"""Requests to a `LocalApi` answered in the process: a transport adapter for `requests`."""

from __future__ import annotations

import io
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from s2koop.catalog._api import ROOT, LocalApi


class LocalAdapter(BaseAdapter):
    """Mounted in a session, it answers every request under its prefix from ``api``."""

    def __init__(self, api: LocalApi) -> None:
        super().__init__()
        self.api = api

    def send(self, request: PreparedRequest, *_transport: Any, **_options: Any) -> Response:
        """Answer a prepared request; options of a transport (timeout, proxies) mean nothing here."""
        answer = self.api.handle(request.method or "GET", request.url or "", _content(request.body), root=ROOT)
        response = Response()
        response.status_code = answer.status
        response.url = request.url or ""
        response.request = request
        response.headers["Content-Type"] = "application/json"
        response.raw = io.BytesIO(answer.content)
        return response

    def close(self) -> None:
        """Nothing is held open."""


def memory_of(catalog: Any) -> LocalApi | None:
    """What answers a client in this process: by what its requests go through, not by what it says."""
    session = getattr(getattr(catalog, "_stac_io", None), "session", None)
    adapter = session.get_adapter(ROOT) if session is not None else None
    return adapter.api if isinstance(adapter, LocalAdapter) else None


def _content(body: Any) -> bytes | str | None:
    """Body of a JSON request, which is never a stream."""
    return body if isinstance(body, bytes | str) else None
