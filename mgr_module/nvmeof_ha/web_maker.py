"""Makes what the server's many threads send, in one thread.

What for: the C library keeps memory for each thread that ever made much, and Prometheus is answered by another of the server's
threads each time: with 1,000 gateways that was about 7 MB a thread, and there are 28.  Promises: one thing is made at a time; once ``close`` has
returned nothing is being made, and nothing will be until ``open``.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Optional, TypeVar

from .pauses import Pause, Pauses

Made = TypeVar("Made")


class Closed(Exception):
    """Nothing is made any more."""


class _Thread:
    def __init__(self) -> None:
        self.closing = False
        self.calls = ThreadPoolExecutor(1, "nvmeof_ha.web.make")


class Maker:
    """``open`` it first; ``open`` and ``close`` may be called again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: Optional[_Thread] = None

    def open(self) -> None:
        with self._lock:
            self._thread = self._thread or _Thread()

    def close(self) -> None:
        """Waits for what is being made; who waits for anything else gets ``Closed``."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                thread.closing = True
        if thread is not None:
            thread.calls.shutdown()

    def made(self, make: Callable[[Pause], Made]) -> Made:
        """What ``make`` returns, which is to pause; raises what it raises, or ``Closed``."""
        with self._lock:
            thread = self._thread
            if thread is None:
                raise Closed
            soon = thread.calls.submit(_unless_closing, thread, make)
        return soon.result()


def _unless_closing(thread: _Thread, make: Callable[[Pause], Made]) -> Made:
    if thread.closing:
        raise Closed
    return make(Pauses())
