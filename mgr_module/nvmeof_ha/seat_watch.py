"""Keeps one seat object watched, in a thread of its own, because watching blocks.

Promises: the watch callback only enqueues what came and returns an ack whose text the driver prepared (in a
sub-interpreter it runs in the wrong interpreter, where an import or more would fail); a lost watch is made again.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import Any, Callable, List

import rados

from .core.beacon_reader import is_routine
from .objects import AckSource, Place, describe

WATCH_TIMEOUT_S = 15
"""How long an OSD keeps the watch of a mgr that died; librados pings every 5 s."""
CHECK_EVERY_S = 1.0
REWATCH_FIRST_S = 0.2
REWATCH_CAP_S = 5.0

_CLOSED_WITH_ERROR: List[Any] = []
"""A watch whose ``close`` failed (this mgr was blocklisted) is kept: freed, the binding would close it again through a
pointer that librados has freed already, and the mgr would crash (seen on 16.2.15)."""


class SeatWatch:
    """``objects.Watch``; what it hears goes to ``put`` as ``(seat, notifier, data)``, to ``keep`` if it is routine."""

    def __init__(self, seat: int, name: str, place: Place, put: Callable[[Any], None], keep: Callable[[Any], None],
                 ack: AckSource) -> None:
        self._seat, self._name, self._place, self._ack = seat, name, place, ack
        self._put, self._keep_routine = put, keep
        self._signals: SimpleQueue[str] = SimpleQueue()
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name=f"nvmeof_ha.watch.{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._signals.put("stop")

    def join(self, timeout_s: float) -> bool:
        """True when the watch was given back; False leaves a thread behind that waits for an OSD."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        delay_s = REWATCH_FIRST_S
        while True:
            watch = self._watch()
            if watch is not None:
                delay_s = REWATCH_FIRST_S
                stopping = self._keep(watch)
                self._close(watch)
            else:
                stopping = self._signal(delay_s) == "stop"
                delay_s = min(2 * delay_s, REWATCH_CAP_S)
            if stopping:
                return

    def _watch(self) -> Any:
        put, keep, routine = self._put, self._keep_routine, is_routine
        seat, ack, signal = self._seat, self._ack, self._signals.put

        def heard(_notify_id: int, notifier: int, _watch_id: int, data: bytes) -> bytes:
            data = data or b""  # the binding gives None for an empty notification
            (keep if routine(data) else put)((seat, notifier, data))
            return ack.text()

        def lost(_code: Any, *_rest: Any) -> None:
            signal("lost")
        try:
            watch = self._place.watch(self._name, heard, lost, WATCH_TIMEOUT_S)
        except rados.Error as error:
            self.problem = f"seat object {self._name} cannot be watched: {describe(-abs(error.errno or 0))}"
            return None
        self.problem = ""
        return watch

    def _keep(self, watch: Any) -> bool:
        """Until the watch is lost or the thread is told to stop; True: to stop."""
        while True:
            signal = self._signal(CHECK_EVERY_S)
            if signal:
                return signal == "stop"
            try:
                watch.check()
            except rados.Error:
                return False

    def _signal(self, timeout_s: float) -> str:
        try:
            return self._signals.get(timeout=timeout_s)
        except Empty:
            return ""

    def _close(self, watch: Any) -> None:
        try:
            watch.close()
        except rados.Error as error:
            _CLOSED_WITH_ERROR.append(watch)
            self.problem = f"watch of {self._name} was lost: {describe(-abs(error.errno or 0))}"
