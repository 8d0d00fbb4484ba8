"""Calls that librados offers only in a blocking form, with a limit on the wait."""

from __future__ import annotations

import threading
from typing import Any, Callable, List, Optional, Tuple

Pump = Callable[[Callable[[], bool], float], bool]


class TookTooLong(RuntimeError):
    """The call did not return in time; its thread is left to itself and its result is thrown away."""


class Bounded:
    """Runs one such call at a time; a thread that is stuck keeps the next call from piling up behind it."""

    def __init__(self, name: str, wake: Callable[[], Any]) -> None:
        """``wake``: makes the caller's ``pump`` look at once."""
        self._name, self._wake = name, wake
        self._hangs = False

    def call(self, function: Callable[[], Any], timeout_s: float, what: str, pump: Pump) -> Any:
        """The function's result, or the exception that it raised.

        Raises:
            TookTooLong: no result within ``timeout_s``, or an earlier call still hangs.
        """
        if self._hangs:
            raise TookTooLong(f"an earlier call to RADOS still hangs, so this is not tried: {what}; check that "
                              "the mons answer (`ceph -s`)")
        results: List[Tuple[Any, Optional[Exception]]] = []

        def run() -> None:
            result: Tuple[Any, Optional[Exception]]
            try:
                result = function(), None
            except Exception as error:  # handed to the caller below
                result = None, error
            # Not judged by whether the thread is alive: it takes a while to end after its result was taken.
            self._hangs = False
            results.append(result)
            self._wake()
        self._hangs = True
        threading.Thread(target=run, name=f"{self._name}.call", daemon=True).start()
        if not pump(lambda: bool(results), timeout_s):
            raise TookTooLong(f"RADOS did not answer within {timeout_s:g} s to: {what}; check that the mons answer "
                              "(`ceph -s`)")
        result, error = results[0]
        if error is not None:
            raise error
        return result
