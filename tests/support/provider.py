"""A provider on 127.0.0.1: a STAC API and a file server with ranges, which counts requests and fails where told to."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from s2koop.catalog._api import LocalApi


@dataclass(frozen=True)
class Seen:
    """One request as it was answered; ``sent`` counts bytes of the body."""

    method: str
    path: str
    span: str | None
    status: int
    sent: int
    body: bytes = b""
    query: str = ""
    authorization: str = ""

    @property
    def asked(self) -> dict[str, Any]:
        """The JSON of a POST."""
        return json.loads(self.body)


@dataclass
class Fault:
    """What happens to requests whose path matches: ``times`` of them, or all, once ``skip`` have passed unharmed.

    With ``share``, only that part of them is hit, drawn at random from ``seed``.

    Kinds: ``status`` (answers with ``status``, ``headers`` and ``content``), ``truncate`` (half of the body, then the
    connection closes), ``garbage`` (the right number of wrong bytes), ``html`` (a page with status 200), ``stall``
    (waits ``seconds`` first), ``drip`` (a byte of the body every ``seconds``), ``reset`` (closes without an answer),
    ``rewrite`` (``change`` turns the JSON of the answer into another).
    """

    pattern: str
    kind: str
    times: float = float("inf")
    status: int = 503
    seconds: float = 0.0
    skip: int = 0
    share: float = 1.0
    seed: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b'{"code": "Fault", "description": "injected"}'
    change: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        self.draws = random.Random(self.seed)

    def takes(self, path: str) -> bool:
        if self.times <= 0 or not fnmatch.fnmatch(path, self.pattern):
            return False
        if self.share < 1 and self.draws.random() >= self.share:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


_KINDS = ("status", "truncate", "garbage", "html", "stall", "drip", "reset", "rewrite")


#: Ports of this process's servers: GDAL remembers files by their address, and the system gives ports out again.
_PORTS: set[int] = set()


def _new_server() -> ThreadingHTTPServer:
    """A server at an address that no earlier one had."""
    while True:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        if server.server_port not in _PORTS:
            _PORTS.add(server.server_port)
            return server
        server.server_close()


@dataclass
class LoopbackProvider:
    """Serves ``items`` at ``api_url`` and the files below ``root`` at ``files_url``; use it in a ``with`` statement.

    Hrefs of assets that are files below ``root`` become addresses of this server. The same files are the S3 bucket
    ``bucket``, if it has a name.
    """

    items: Sequence[dict[str, Any]]
    collections: Sequence[dict[str, Any]] = ()
    root: Path | None = None
    seen: list[Seen] = field(default_factory=list)
    bucket: str | None = None
    #: Most files that were answered at once.
    at_once: int = 0

    def __enter__(self) -> LoopbackProvider:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._busy = 0
        self._server = _new_server()
        self._server.daemon_threads = True
        self._server.provider = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.api_url, self.files_url = f"{self.url}/stac", f"{self.url}/files"
        self.api = LocalApi([self._served(item) for item in self.items], self.collections, title="loopback")
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, pattern: str, kind: str, **options: Any) -> None:
        """Break requests whose path matches the shell pattern; the fault named first is the first to act."""
        assert kind in _KINDS, kind
        self._faults.append(Fault(pattern, kind, **options))

    def heal(self) -> None:
        """Take all faults away."""
        self._faults.clear()

    def count(self, method: str | None = None, pattern: str = "*") -> int:
        """Number of requests seen so far."""
        return sum((method in (None, s.method)) and fnmatch.fnmatch(s.path, pattern) for s in list(self.seen))

    def bytes_sent(self, pattern: str = "*") -> int:
        """Bytes of bodies sent so far."""
        return sum(s.sent for s in list(self.seen) if fnmatch.fnmatch(s.path, pattern))

    def _served(self, item: dict[str, Any]) -> dict[str, Any]:
        assets = {key: {**asset, "href": self._address(asset["href"])} for key, asset in item["assets"].items()}
        return {**item, "assets": assets}

    def _address(self, href: str) -> str:
        if self.root is None or not Path(href).is_relative_to(self.root):
            return href
        return f"{self.files_url}/{Path(href).relative_to(self.root).as_posix()}"

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._busy += 1
            self.at_once = max(self.at_once, self._busy)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def _fault_for(self, path: str) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._faults if fault.takes(path)), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pace = 0.0  # seconds between the bytes of a body that drips
    wbufsize = -1  # header and body in one packet: without it, delayed acknowledgements cost 40 ms a request

    @property
    def provider(self) -> LoopbackProvider:
        return self.server.provider  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/stac"):
            return self._answer_to(path, body)
        with self.provider._counted():
            return self._answer_to(path, body)

    def _answer_to(self, path: str, body: bytes) -> None:
        fault = self.provider._fault_for(path)
        kind = fault.kind if fault else None
        self.pace = fault.seconds if fault else 0.0
        if fault and kind == "stall":
            time.sleep(fault.seconds)
        if fault and kind == "status":
            return self._send(fault.status, fault.content, "application/json", body, extra=fault.headers)
        if kind == "html":
            return self._send(200, b"<!doctype html><title>Portal</title>", "text/html", body)
        if kind == "reset":
            return self._reset(body)
        if path.startswith("/stac"):
            answer = self.provider.api.handle(
                self.command, self.provider.url + self.path, body, root=self.provider.api_url
            )
            content = answer.content
            if fault and fault.change:
                content = json.dumps(fault.change(answer.body)).encode()
            return self._send(answer.status, content, "application/json", body, kind)
        return self._send_file(path, body, kind)

    def _send_file(self, path: str, body: bytes, kind: str | None) -> None:
        root = self.provider.root
        _, top, name = path.split("/", 2) if path.count("/") > 1 else ("", "", "")
        place = (root / name).resolve() if root and top in ("files", self.provider.bucket) else None
        if place is None or root is None or not place.is_relative_to(root.resolve()) or not place.is_file():
            return self._send(404, b"not found", "text/plain", body)
        content = place.read_bytes()
        start, stop = _byte_span(self.headers.get("Range"), len(content))
        if start >= stop:
            return self._send(416, b"", "text/plain", body, extra={"Content-Range": f"bytes */{len(content)}"})
        whole = self.headers.get("Range") is None
        extra = {"Accept-Ranges": "bytes"}
        if not whole:
            extra["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        media = "application/json" if place.suffix == ".json" else "image/tiff"
        return self._send(200 if whole else 206, content[start:stop], media, body, kind, extra)

    def _send(
        self, status: int, content: bytes, media: str, body: bytes, kind: str | None = None,
        extra: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.send_response(status)
        for name, value in {"Content-Type": media, "Content-Length": str(len(content)), **(extra or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if kind == "garbage":
            content = bytes(byte ^ 0x5A for byte in content)
        if kind == "drip":
            return self._drip(status, content, body)
        if kind == "truncate":
            content = content[: len(content) // 2]
            self.close_connection = True
        sent = b"" if self.command == "HEAD" else content
        # noted before the bytes leave: who has an answer finds its request counted
        self._note(status, len(sent), body)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(sent)

    def _drip(self, status: int, content: bytes, body: bytes) -> None:
        self._note(status, len(content), body)
        self.close_connection = True
        with contextlib.suppress(ConnectionError):
            for byte in content:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(self.pace)

    def _reset(self, body: bytes) -> None:
        self._note(0, 0, body)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _note(self, status: int, sent: int, body: bytes) -> None:
        parts = urlsplit(self.path)
        seen = Seen(
            self.command,
            unquote(parts.path),
            self.headers.get("Range"),
            status,
            sent,
            body,
            parts.query,
            self.headers.get("Authorization", ""),
        )
        self.provider.seen.append(seen)


def _byte_span(header: str | None, size: int) -> tuple[int, int]:
    """First byte and the one after the last of a Range header."""
    if header is None:
        return 0, size
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if not match:
        return 0, 0
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def closed_port() -> int:
    """Return a port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def sample_provider() -> Iterator[LoopbackProvider]:
    """Open the embedded catalogue as a remote provider: STAC API and COGs over HTTP."""
    from s2koop.catalog._sample import sample_documents, sample_folder

    items, collections = sample_documents()
    with LoopbackProvider(items, collections, sample_folder()) as provider:
        yield provider


@pytest.fixture
def provider() -> Iterator[LoopbackProvider]:
    """The embedded catalogue served on loopback; import this fixture in the ``conftest.py`` of a test package."""
    with sample_provider() as served:
        yield served
