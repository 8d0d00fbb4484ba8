"""Keeps one seat object watched.  Used by one group's driver only.

Promises: the driver never waits: what may wait for an OSD, to watch and to give a watch back, runs in a thread that lasts as
long as that call, so a stalled placement group holds up its own seat alone; a lost watch is made again.  The watch callback
only enqueues what came and returns an ack whose text the driver prepared (in a sub-interpreter it runs in the wrong
interpreter, where an import or more would fail).
"""

from __future__ import annotations

import errno
import time
from functools import partial
from itertools import count
from typing import Any, Callable, Dict

import rados

from .callback_threads import keep_this
from .core.beacon_reader import is_routine
from .objects import AckSource, LongEnded, Place, describe

WATCH_TIMEOUT_S = 15
"""How long an OSD keeps the watch of a mgr that died; librados pings every 5 s."""
CHECK_EVERY_S = 1.0
REWATCH_FIRST_S = 0.2
REWATCH_CAP_S = 5.0

_NUMBERS = count(1)
_WATCHES: Dict[int, Any] = {}
"""Nobody else holds the binding's watches.  One whose ``close`` failed (this mgr was blocklisted) stays: freed, the binding
would close it again through a pointer that librados has freed already, and the mgr would crash (seen on 16.2.15); so it would
if the garbage collector found one in a cycle."""


class SeatWatch:
    """``objects.Watch``; what it hears goes to ``put`` as ``(seat, notifier, data)``, to ``keep`` if it is routine."""

    def __init__(self, seat: int, name: str, place: Place, put: Callable[[Any], None], keep: Callable[[Any], None],
                 ack: AckSource, in_thread: Callable[[Callable[[], Any], LongEnded], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        """``put``: into the driver's queue.  ``in_thread``: runs a call that may hang, and tells its end in the driver's
        turn."""
        self._seat, self._name, self._place, self._ack = seat, name, place, ack
        self._put, self._keep_routine, self._in_thread, self._clock = put, keep, in_thread, clock
        self._number = 0
        """Of the watch that there is, or that is being made or closed; 0: none."""
        self._calling = self._lost = self._stopping = False
        self._due, self._delay_s = 0.0, REWATCH_FIRST_S
        self.problem = ""
        self._begin()

    def poll(self) -> None:
        now = self._clock()
        if self._calling or now < self._due:
            return
        if not self._number:
            if not self._stopping:
                self._begin()
            return
        self._due = now + CHECK_EVERY_S
        try:
            _WATCHES[self._number].check()   # looks at what this client knows, and asks no OSD
        except rados.Error:
            self._end()

    def stop(self) -> None:
        self._stopping = True
        if self._number and not self._calling:
            self._end()

    def _begin(self) -> None:
        self._calling, self._lost, self._number = True, False, next(_NUMBERS)
        lost = partial(self._was_lost, self._number)
        self._in_thread(partial(_watch, self._number, self._place, self._name, self._heard_by(), self._put, lost), self._begun)

    def _heard_by(self) -> Callable[..., bytes]:
        put, keep, routine, seat, ack = self._put, self._keep_routine, is_routine, self._seat, self._ack

        def heard(_notify_id: int, notifier: int, _watch_id: int, data: bytes) -> bytes:
            keep_this()
            data = data or b""  # the binding gives None for an empty notification
            (keep if routine(data) else put)((seat, notifier, data))
            return ack.text()
        return heard

    def _begun(self, code: Any) -> None:
        if isinstance(code, Exception):
            raise code
        self._calling = False
        if code:
            self._number = 0
            self.problem = f"seat object {self._name} cannot be watched: {describe(code)}"
            self._due, self._delay_s = self._clock() + self._delay_s, min(2 * self._delay_s, REWATCH_CAP_S)
            return
        self.problem = ""
        self._due, self._delay_s = self._clock() + CHECK_EVERY_S, REWATCH_FIRST_S
        if self._stopping or self._lost:
            self._end()

    def _was_lost(self, number: int) -> None:
        if number == self._number:
            self._lost = True
            if not self._calling:
                self._end()

    def _end(self) -> None:
        self._calling = True
        self._in_thread(partial(_close, self._number), self._ended)

    def _ended(self, code: Any) -> None:
        if isinstance(code, Exception):
            raise code
        self._calling, self._number = False, 0
        if code:
            self.problem = f"watch of {self._name} was lost: {describe(code)}"
        if not self._stopping:
            self._begin()


def _watch(number: int, place: Place, name: str, heard: Callable[..., bytes], put: Callable[[Any], None],
           lost: Callable[[], None]) -> int:
    """0, and the watch is among ``_WATCHES``; or a negative errno."""
    def told(_code: Any, *_rest: Any) -> None:
        put(lost)
    try:
        _WATCHES[number] = place.watch(name, heard, told, WATCH_TIMEOUT_S)
    except rados.Error as error:
        return -abs(error.errno or errno.EIO)
    return 0


def _close(number: int) -> int:
    """0, or a negative errno."""
    try:
        _WATCHES[number].close()
    except rados.Error as error:
        return -abs(error.errno or errno.EIO)
    del _WATCHES[number]
    return 0
