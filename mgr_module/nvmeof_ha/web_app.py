"""The WSGI applications: the status page of the active mgr, and the signpost to it that a standby mgr serves.

Promises: only what is listed here is served, by GET and HEAD alone, no file is read while it is served; a browser is
told to load nothing from elsewhere, to run no script but the page's own, and to show the page in no frame.
"""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple
from urllib.parse import urlsplit

from .metrics_text import CONTENT_TYPE
from .pauses import Pause
from .web_feed import Feed
from .web_maker import Closed, Maker

PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
PLAIN, JSON = "text/plain; charset=utf-8", "application/json"
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
HEADERS = [("Content-Security-Policy", POLICY), ("X-Content-Type-Options", "nosniff"),
           ("Referrer-Policy", "no-referrer"), ("Cross-Origin-Resource-Policy", "same-origin"),
           ("Cache-Control", "no-store")]
RETRY_S = 5
WAIT_S = 2


class Answer(NamedTuple):
    status: str
    kind: str
    body: Iterable[bytes]
    more: Tuple[Tuple[str, str], ...] = ()


def _text(status: str, text: str, *more: Tuple[str, str]) -> Answer:
    return Answer(status, PLAIN, [text.encode()], more)


def _later(text: str) -> Answer:
    return _text("503 Service Unavailable", text, ("Retry-After", str(RETRY_S)))


class _Application:
    """What both have in common: methods, headers, lengths."""

    def __call__(self, environ: Dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            answer = _text("405 Method Not Allowed", "everything here is read-only: use GET\n", ("Allow", "GET, HEAD"))
        else:
            answer = self._answer(environ["PATH_INFO"], environ)
        headers = [("Content-Type", answer.kind), *HEADERS, *answer.more]
        if isinstance(answer.body, list):
            headers.append(("Content-Length", str(sum(map(len, answer.body)))))
        start_response(answer.status, headers)
        if method != "HEAD":
            return answer.body
        close = getattr(answer.body, "close", None)
        if close is not None:
            close()
        return []

    def _answer(self, path: str, environ: Dict[str, Any]) -> Answer:
        raise NotImplementedError


class StatusSite(_Application):
    """The page, what it is told (``/events``), the same once as JSON (``/api/status``), and ``/metrics``."""

    def __init__(self, feed: Feed, metrics: Callable[[Pause], List[bytes]] = lambda _pause: []) -> None:
        """``metrics``: makes the text for Prometheus, in pieces."""
        self._metrics_text = metrics
        self._feed = feed
        self._maker = Maker()
        self._answers: Dict[str, Callable[[], Answer]] = {"/events": self._events, "/api/status": self._status,
                                                          "/metrics": self._metrics}

    @cached_property
    def _files(self) -> Dict[str, Tuple[str, bytes]]:
        return {"/" + ("" if path.name == "index.html" else path.name): (KINDS[path.suffix], path.read_bytes())
                for path in sorted(PAGE.iterdir()) if path.suffix in KINDS}

    def look(self) -> None:
        self._feed.look()

    def open(self) -> None:
        """Raises ``OSError`` where the module was copied without its page: that is no reason not to load it."""
        assert self._files
        self._feed.open()
        self._maker.open()

    def close(self) -> None:
        self._feed.close()
        self._maker.close()

    def _answer(self, path: str, environ: Dict[str, Any]) -> Answer:
        if path in self._files:
            kind, content = self._files[path]
            return Answer("200 OK", kind, [content])
        if path in self._answers:
            return self._answers[path]()
        return _text("404 Not Found", f"there is: {', '.join(sorted([*self._files, *self._answers]))}\n")

    def _events(self) -> Answer:
        stream = self._feed.stream()
        if stream is None:
            return _later("too many are listening; /api/status answers\n")
        return Answer("200 OK", "text/event-stream", stream)

    def _metrics(self) -> Answer:
        return self._made(CONTENT_TYPE, self._metrics_text)

    def _status(self) -> Answer:
        return self._made(JSON, lambda pause: [self._feed.answer(pause)])

    def _made(self, kind: str, make: Callable[[Pause], List[bytes]]) -> Answer:
        try:
            return Answer("200 OK", kind, self._maker.made(make))
        except Closed:
            return _later("the module is being stopped, or its options changed\n")


class Signpost(_Application):
    """Sends browsers to the active mgr.  ``/metrics`` is empty: what a scraper follows would be counted twice."""

    FORWARDED: List[str] = ["/api/status"]
    """Every other path leads to the page."""

    def __init__(self, active_url: Callable[[], str]) -> None:
        self._active_url = active_url
        self._asking = threading.Lock()
        self._closed = False

    def look(self) -> None:
        """Nothing is due."""

    def open(self) -> None:
        with self._asking:
            self._closed = False

    def close(self) -> None:
        """``active_url`` is not called any more."""
        with self._asking:
            self._closed = True

    def _answer(self, path: str, environ: Dict[str, Any]) -> Answer:
        if path == "/metrics":
            return _text("200 OK", "")
        with self._asking:
            url = "" if self._closed else self._active_url()
        # For a moment after a change of the mgr this one may still be named.
        if not url or urlsplit(url).netloc == environ.get("HTTP_HOST"):
            return _text("503 Service Unavailable", "This is a standby mgr, and no active one serves the status page "
                         f"at the moment. Looking again every {WAIT_S} s.\n", ("Refresh", str(WAIT_S)))
        to = url.rstrip("/") + (path if path in self.FORWARDED else "/")
        return _text("307 Temporary Redirect", f"the active mgr serves it: {to}\n", ("Location", to))
