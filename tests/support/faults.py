"""A file server on loopback that answers range requests, and misbehaves on demand."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class FaultyFiles:
    """Serves a folder; ``faults[name]`` lists the faults that the next requests for that file meet, one each.

    A fault is an HTTP status, ``"truncated"`` (the body stops half way) or ``"garbage"`` (the right length of
    wrong bytes); ``"ok"`` lets a request pass, and a fault in a one-tuple holds for ever. ``requests`` and
    ``sent`` count requests and bytes by file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, list] = defaultdict(list)
        self.requests: dict[str, int] = defaultdict(int)
        self.sent: dict[str, int] = defaultdict(int)
        self.queries: list[str] = []
        self.lock = threading.Lock()
        self.url = ""

    def next_fault(self, name: str) -> object:
        with self.lock:
            self.requests[name] += 1
            waiting = self.faults[name]
            if not waiting:
                return "ok"
            return waiting[0][0] if isinstance(waiting[0], tuple) else waiting.pop(0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: FaultyFiles

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        name = parts.path.lstrip("/")
        self.files.queries.append(parts.query)
        fault = self.files.next_fault(name)
        path = self.files.folder / name
        if isinstance(fault, int) or not path.is_file():
            self._status(fault if isinstance(fault, int) else 404)
            return
        self._send(path.read_bytes(), fault, body=body)

    def _status(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, fault: object, *, body: bool) -> None:
        start, stop = self._range(len(content))
        part = content[start:stop]
        self.send_response(206 if self.headers.get("Range") else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if self.headers.get("Range"):
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return
        if fault == "garbage":
            part = bytes(len(part))
        if fault == "truncated":
            part = part[: len(part) // 2]
            self.close_connection = True
        self.files.sent[urlsplit(self.path).path.lstrip("/")] += len(part)
        self.wfile.write(part)

    def _range(self, length: int) -> tuple[int, int]:
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        start, _, stop = asked.partition("-")
        return int(start), min(int(stop) + 1 if stop else length, length)


@contextmanager
def serve(folder: Path):
    """Serve a folder on a free port of 127.0.0.1; gives a :class:`FaultyFiles` with its ``url``."""
    files = FaultyFiles(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"files": files}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    files.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
