"""Watch and notify: beacons in, acks and wake-ups out, and the canary that shows whether this mgr can hear at all.

Promises: the watch callback only enqueues what came and returns an ack whose text the driver prepared (in a
sub-interpreter it runs in the wrong interpreter, where an import or more would fail); a lost watch is made again; no
call here blocks the driver: watching itself blocks, so each seat has a thread for it.
A seat's canary is green when the mgr's own callback saw a token that the mgr had notified to itself, lately; that the
notify completes proves nothing, because a dead watcher delays that by half a minute.
"""

from __future__ import annotations

import secrets
import threading
import time
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import rados

from .core import wire
from .core.model import Version
from .core.timing import TICK_S
from .rados_ops import Operations, describe

CANARY = b"canary:"
WATCH_TIMEOUT_S = 15
"""How long an OSD keeps the watch of a mgr that died; librados pings every 5 s."""
CHECK_EVERY_S = 1.0
REWATCH_FIRST_S = 0.2
REWATCH_CAP_S = 5.0
NOTIFY_TIMEOUT_MS = 1000
MOST_CANARIES = 6
"""Outstanding on one seat; more wait only behind a dead watcher or a stalled placement group."""

_NO_AGE = b"0.0"
_AGE_MARK = b'"driver_age_s":' + _NO_AGE

_CLOSED_WITH_ERROR: List[Any] = []
"""A watch whose ``close`` failed (this mgr was blocklisted) is kept: freed, the binding would close it again through a
pointer that librados has freed already, and the mgr would crash (seen on 16.2.15)."""


class Heard(NamedTuple):
    """What a watch callback puts into the driver's queue."""

    seat: int
    notifier: int
    data: bytes


class BadBeacons:
    """Who sent a beacon that cannot be used, lately, and what was wrong with it."""

    KEPT_S = 30.0
    KEPT = 8

    def __init__(self) -> None:
        self._last: Dict[str, Tuple[float, str]] = {}

    def note(self, notifier: int, why: str) -> bool:
        """True when this is news, worth a line in the log."""
        sender = f"client.{notifier}"
        news = self._last.pop(sender, (0.0, ""))[1] != why
        self._last[sender] = (time.monotonic(), why)
        while len(self._last) > self.KEPT:
            self._last.pop(next(iter(self._last)))
        return news

    def recent(self) -> Dict[str, str]:
        limit = time.monotonic() - self.KEPT_S
        return {sender: why for sender, (at, why) in self._last.items() if at >= limit}


class AckText:
    """The ack as of the driver's last step; the callback only fills in the age of that step."""

    def __init__(self) -> None:
        self.prepare(wire.Ack(Version(0, 0)))

    def prepare(self, ack: wire.Ack) -> None:
        """Called by the driver after each step; the age starts anew."""
        if ack != getattr(self, "_ack", None):
            self._ack = ack
            before, mark, self._after = wire.encode_ack(ack).partition(_AGE_MARK)
            self._before = before + mark[:-len(_NO_AGE)]
        self._parts = (self._before, self._after, time.monotonic())

    def text(self, now: float) -> bytes:
        before, after, prepared = self._parts
        return before + b"%.3f" % (now - prepared) + after


class SeatWatch:
    """Keeps one seat object watched, in a thread of its own."""

    def __init__(self, seat: int, name: str, ioctx: Any, put: Any, ack: AckText) -> None:
        self._seat, self._name, self._ioctx, self._put, self._ack = seat, name, ioctx, put, ack
        self._signals: SimpleQueue[str] = SimpleQueue()
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name=f"nvmeof_ha.watch.{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._signals.put("stop")

    def join(self, timeout_s: float) -> bool:
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
        put, seat, ack, now, signal = self._put, self._seat, self._ack, time.monotonic, self._signals.put

        def heard(_notify_id: int, notifier: int, _watch_id: int, data: bytes) -> bytes:
            put((seat, notifier, data or b""))  # the binding gives None for an empty notification
            return ack.text(now())

        def lost(_code: Any, *_rest: Any) -> None:
            signal("lost")
        try:
            watch = self._ioctx.watch(self._name, heard, lost, WATCH_TIMEOUT_S)
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


class Channel:
    """Used by one group's driver thread only; ``put`` receives ``Heard`` as a plain tuple."""

    def __init__(self, operations: Operations, ioctx: Any, seat_names: Sequence[str], wake: str, put: Any) -> None:
        self._operations, self._ioctx, self._seat_names, self._wake = operations, ioctx, seat_names, wake
        self._session = secrets.token_hex(4)
        self._count = 0
        self._sent_at = float("-inf")
        self._outstanding: Dict[int, int] = {n: 0 for n in range(len(seat_names))}
        self._seen: Dict[int, float] = {}
        self._period_s = 0.5
        self.ack = AckText()
        self._watches = [SeatWatch(n, name, ioctx, put, self.ack) for n, name in enumerate(seat_names)]

    def poll(self, beacon_s: float) -> None:
        """Called each tick: canaries go out as often as each gateway's beacons."""
        now = time.monotonic()
        self._period_s = beacon_s
        if now - self._sent_at < beacon_s:
            return
        self._sent_at, self._count = now, self._count + 1
        token = f"{CANARY.decode()}{self._session}:{self._count}"
        for seat, name in enumerate(self._seat_names):
            if self._outstanding[seat] < MOST_CANARIES:
                self._outstanding[seat] += 1
                self._operations.notify(self._ioctx, name, token, NOTIFY_TIMEOUT_MS,
                                        partial(self._canary_ended, seat))

    def _canary_ended(self, seat: int, _code: int) -> None:
        self._outstanding[seat] -= 1

    def is_canary(self, heard: Heard) -> bool:
        """A canary, of this mgr or of one before it; of this one it makes the seat green."""
        if not heard.data.startswith(CANARY):
            return False
        if heard.data[len(CANARY):].startswith(self._session.encode()):
            self._seen[heard.seat] = time.monotonic()
        return True

    def green_seats(self) -> int:
        limit = time.monotonic() - 2 * self._period_s - TICK_S
        return sum(at >= limit for at in self._seen.values())

    def wake(self, version: Version) -> None:
        """A lost wake-up costs a warden one ``beacon_s`` at most: nobody looks at how this ends."""
        self._operations.notify(self._ioctx, self._wake, wire.encode_wake(version).decode(), NOTIFY_TIMEOUT_MS,
                                lambda _code: None)

    def problems(self) -> List[str]:
        return [watch.problem for watch in self._watches if watch.problem]

    def stop(self) -> None:
        for watch in self._watches:
            watch.stop()

    def join(self, timeout_s: float) -> bool:
        """True when every watch was given back; False leaves a thread behind that waits for an OSD."""
        deadline = time.monotonic() + timeout_s
        return all([watch.join(max(0.0, deadline - time.monotonic())) for watch in self._watches])
