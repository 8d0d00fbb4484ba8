"""Serves the module's pages over HTTP: a thread that opens, keeps and closes the server as the options say.

Promises: nothing that goes wrong here reaches the module; ``problem`` says in a sentence why nothing is served, and
what can be tried again is.  Once ``stop`` has returned the module is not called any more, so that ceph-mgr may take it
down; ``stop`` and ``join`` take about two seconds at most, whoever is connected.

The server is CherryPy's own (cheroot), with a WSGI application of ours.  CherryPy's engine, tree and configuration are
left alone: each is one for the whole interpreter, which from Ceph 20 on is shared with the dashboard and prometheus
modules, whose settings would apply here and ours there.  There is neither a login nor TLS: all that is served is
read-only, so who may reach the port may know what it shows.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any, Callable, Iterable, Optional, Protocol, TypeVar

from .options import WebOptions
from .web_feed import MOST_STREAMS

LOOK_S = 0.2
OPTIONS_S = 1.0
RETRY_S = 2.0
STOP_S = 2.0
THREADS = MOST_STREAMS + 4
"""One for each stream, and some for what is answered at once."""
CLIENT_S = 3.0
"""A client that neither asks nor takes for this long is dropped; bounds how long the server takes to end."""
HEADERS_BYTES, BODY_BYTES = 16384, 1024

Value = TypeVar("Value")


class Application(Protocol):
    """WSGI, and what its server tells it; ``look`` is called about every ``LOOK_S`` while it is served."""

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]: ...
    def look(self) -> None: ...
    def open(self) -> None: ...
    def close(self) -> None: ...


class WebServer:
    """``start`` it once; ``stop`` and ``join`` end it.  ``problem``: why nothing is served although it should be."""

    def __init__(self, options: Callable[[], WebOptions], application: Application, log: logging.Logger,
                 own_address: Callable[[], str] = socket.gethostname,
                 announce: Callable[[str], None] = lambda url: None) -> None:
        """``own_address``: how others reach this host.  ``announce``: told the URL, "" once nothing is served."""
        self._options, self._application, self._log = options, application, log
        self._own_address, self._announce = own_address, announce
        self.problem = ""
        self.url = ""
        self._stopping = threading.Event()
        self._calling = threading.Lock()
        self._asked = WebOptions()
        self._options_at = self._retry_at = 0.0
        self._server: Any = None
        self._serving: Optional[threading.Thread] = None
        self._thread = threading.Thread(target=self._run, name="nvmeof_ha.web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is streamed ends, and no call of the module is under way when this returns."""
        self._stopping.set()
        waited = self._calling.acquire(timeout=STOP_S)
        self._application.close()
        if waited:
            self._calling.release()

    def join(self, timeout_s: float = STOP_S) -> bool:
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _ask(self, call: Callable[[], Value], instead: Value) -> Value:
        """Call the module, unless it is ending."""
        with self._calling:
            return instead if self._stopping.is_set() else call()

    # -- its thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow_options(time.monotonic())
                if self._server is not None:
                    self._application.look()
            except Exception as error:  # the outermost loop: seen in the log and in health
                self._log.exception("serving the status page failed")
                self._close()
                self._later(f"it failed ({type(error).__name__}: {error}); report this")
            self._stopping.wait(OPTIONS_S if self._server is None else LOOK_S)
        self._close()

    def _follow_options(self, now: float) -> None:
        if now >= self._options_at:
            self._options_at = now + OPTIONS_S
            asked = self._ask(self._options, self._asked)
            if asked != self._asked:
                self._close()
                self._asked, self.problem, self._retry_at = asked, "", 0.0
        if self._serving is not None and not self._serving.is_alive():
            self._close()
            self._later("its server ended by itself; see the log")
        if self._asked.enabled and self._server is None and now >= self._retry_at:
            self._open()

    def _later(self, problem: str) -> None:
        if problem != self.problem:
            self._log.warning("the status page is not served: %s", problem)
        self.problem, self._retry_at = problem, time.monotonic() + RETRY_S

    def _open(self) -> None:
        asked = self._asked
        if asked.problem:
            self._later(asked.problem)
            return
        try:
            server = _server(_listen_at(asked), asked.port, self._application, self._say)
        except ImportError as error:
            self._later(f"CherryPy's server cannot be loaded ({error}): install python3-cherrypy3 on this host, or set "
                        "web_enabled to false")
            return
        except (OSError, ValueError, OverflowError) as error:
            self._later(f"nothing can listen at {asked.addr or 'any address'}, port {asked.port} ({error}): free it, "
                        "or set web_addr and web_port, for one mgr as mgr/nvmeof_ha/<mgr>/web_port")
            return
        self._server, self.problem = server, ""
        self._ask(self._application.open, None)
        self._serving = threading.Thread(target=server.serve, name="nvmeof_ha.web.accept", daemon=True)
        self._serving.start()
        host = server.bind_addr[0]
        self.url = _url(self._ask(self._own_address, "") if host in ("::", "0.0.0.0") else host, server.bind_addr[1])
        self._log.info("the status page is served at %s", self.url)
        self._ask(lambda: self._announce(self.url), None)

    def _say(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """What the server has to log."""
        self._ask(lambda: self._log.log(level, "web server: %s", msg, exc_info=traceback), None)

    def _close(self) -> None:
        server, self._server, self._serving = self._server, None, None
        if server is None:
            return
        self._application.close()
        self.url = ""
        self._ask(lambda: self._announce(""), None)
        server.stop()


def _server(host: str, port: int, application: Application, say: Callable[..., None]) -> Any:
    """Listens when this returns.  Raises ``ImportError``, ``OSError``, ``ValueError``, ``OverflowError``."""
    from cheroot import wsgi  # optional: without it the rest of the module works

    server = wsgi.Server((host, port), application, numthreads=THREADS, server_name="nvmeof_ha", timeout=CLIENT_S,
                         shutdown_timeout=STOP_S / 2, request_queue_size=32)
    server.max_request_header_size, server.max_request_body_size = HEADERS_BYTES, BODY_BYTES
    server.error_log = say
    server.prepare()
    return server


def _listen_at(asked: WebOptions) -> str:
    return asked.addr or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
