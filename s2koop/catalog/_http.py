"""Requests that end: every one has a time limit, and what may pass is tried again (429, 5xx, a lost connection)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from s2koop._hrefs import is_network, leads_inside
from s2koop._redact import bare_address, redact_logs, redacted
from s2koop.errors import CatalogError

if TYPE_CHECKING:
    import pystac
    from pystac_client.stac_api_io import StacApiIO
    from requests import PreparedRequest, Response
    from urllib3 import Retry

TIMEOUT = (10.0, 60.0)  # seconds to connect, seconds without an answer; pystac-client itself waits for ever
HALVES = 2  # further tries after half an answer, which urllib3 does not try again
LONGEST_ANSWER = 300.0  # seconds until an answer is complete
BACKOFF = 0.5  # seconds, doubled before each further try
MOST_BYTES = 256 * 2**20  # of an answer; a page of a hundred items has some ten megabytes
_SELF = "http://localhost"  # where a catalogue on this machine lies: it may name what answers here
LONGEST_WAIT = 60.0  # seconds; Planetary Computer asks for some twenty, and a server may ask for hours


def api_io(origin: str) -> StacApiIO:
    """Make the requests of a client of ``origin``, and those to where it sends us, but not into this machine."""
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO
    from requests.exceptions import ChunkedEncodingError, ContentDecodingError

    class WholeAnswers(StacApiIO):
        def request(self, *args: Any, **options: Any) -> str:
            for attempt in range(HALVES):
                try:
                    return super().request(*args, **options)
                except APIError as error:
                    if not isinstance(error.__context__, ChunkedEncodingError | ContentDecodingError):
                        raise
                    time.sleep(BACKOFF * 2**attempt)
            return super().request(*args, **options)

    io = WholeAnswers(max_retries=_retries(), timeout=TIMEOUT)
    io.session.hooks["response"].append(_bounded)
    send = io.session.send

    def guarded(request: PreparedRequest, **options: Any) -> Response:
        if leads_inside(str(request.url), origin):  # redirects and links to further pages come this way, too
            raise CatalogError(
                f"{bare_address(origin)} sends us to {bare_address(str(request.url))}, which is this machine"
            )
        return send(request, **options)

    io.session.send = guarded  # type: ignore[method-assign]
    redact_logs()
    return io


def _bounded(response: Response, **_: Any) -> None:
    """Read an answer within a limit of time: one that comes byte by byte is never without an answer for long."""
    from requests.exceptions import RequestException, Timeout

    late = threading.Event()

    def stop() -> None:
        late.set()
        getattr(response.raw, "shutdown", response.close)()

    timer = threading.Timer(LONGEST_ANSWER, stop)
    timer.daemon = True
    timer.start()
    try:
        _read_bounded(response)
    except RequestException:
        if late.is_set():
            raise Timeout(f"the answer was not complete after {LONGEST_ANSWER:.0f} s") from None
        raise
    finally:
        timer.cancel()


def _read_bounded(response: Response) -> None:
    """Read an answer up to a limit of size, unpacked: a small one may unpack to any size."""
    parts, size = [], 0
    for part in response.iter_content(2**16):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            response.close()
            raise CatalogError(f"the answer is larger than {MOST_BYTES / 2**20:.0f} MB; ask for less at once")
    response._content, response._content_consumed = b"".join(parts), True


def reader(origin: str) -> pystac.StacIO:
    """Read the documents of a static catalogue; one that lies elsewhere is not followed into files of this machine."""
    from pystac.stac_io import DefaultStacIO

    remote = is_network(origin)
    io = api_io(origin if remote else _SELF)

    class Reader(DefaultStacIO):
        def read_text_from_href(self, href: str) -> str:
            if href.startswith(("http://", "https://")):
                return io.read_text(href)
            if remote:
                raise CatalogError(
                    f"the catalogue links to {redacted(href)[:100]!r}, which is no address on the network"
                )
            return super().read_text_from_href(href)

    return Reader()


def _retries() -> Retry:
    from urllib3 import BaseHTTPResponse, Retry
    from urllib3.exceptions import InvalidHeader

    class Patient(Retry):
        def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
            try:
                seconds = super().get_retry_after(response)
            except (InvalidHeader, ValueError, OverflowError):  # neither seconds nor a date: as if nothing was said
                return None
            return None if seconds is None else min(seconds, LONGEST_WAIT)

    return Patient(
        total=5,
        connect=1,  # no route or no name: trying for half a minute helps nobody
        read=2,
        status=4,
        backoff_factor=BACKOFF,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,  # a search by POST changes nothing and may be repeated
        raise_on_status=False,
    )
