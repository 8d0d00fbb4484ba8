"""Watch and notify: beacons in, acks and wake-ups out, and the canary that shows whether this mgr can hear at all.

Promises: a beacon is answered at once with the ack that the driver prepared at its last step, whatever the driver does
meanwhile (``seat_watch.py``); no call here blocks the driver.
A seat is green when the mgr's own callback saw something lately: a beacon, or, where nobody says anything, the canary,
a notification of the mgr's to itself.  That the notify completes proves nothing, because a dead watcher delays that by half
a minute.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from .core import wire
from .core.model import Version
from .core.timing import TICK_S
from .objects import GroupIo, Place

CANARY = b"canary:"
NOTIFY_TIMEOUT_MS = 1000
MOST_CANARIES = 6
"""Outstanding on one seat; more wait only behind a dead watcher or a stalled placement group."""

_NEVER = float("-inf")
_NO_AGE = b"0.0"
_AGE_MARK = b'"driver_age_s":' + _NO_AGE


class Heard(NamedTuple):
    """What a watch puts into the driver's queue, there a plain tuple."""

    seat: int
    notifier: int
    data: bytes


class BadBeacons:
    """Who sent a beacon that cannot be used, lately, and what was wrong with it."""

    KEPT_S = 30.0
    KEPT = 8

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: Dict[str, Tuple[float, str]] = {}

    def note(self, notifier: int, why: str) -> bool:
        """True when this is news, worth a line in the log."""
        sender = f"client.{notifier}"
        news = self._last.pop(sender, (0.0, ""))[1] != why
        self._last[sender] = (self._clock(), why)
        while len(self._last) > self.KEPT:
            self._last.pop(next(iter(self._last)))
        return news

    def recent(self) -> Dict[str, str]:
        limit = self._clock() - self.KEPT_S
        return {sender: why for sender, (at, why) in self._last.items() if at >= limit}


class AckText:
    """The ack as of the driver's last step; the watch callback only fills in the age of that step.

    That callback may run in another interpreter, so nothing that ``text`` needs is made or imported there.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.prepare(wire.Ack(Version(0, 0)))

    def prepare(self, ack: wire.Ack) -> None:
        """Called by the driver after each step; the age starts anew."""
        if ack != getattr(self, "_ack", None):
            self._ack = ack
            before, mark, self._after = wire.encode_ack(ack).partition(_AGE_MARK)
            self._before = before + mark[:-len(_NO_AGE)]
        self._parts = (self._before, self._after, self._clock())

    def text(self) -> bytes:
        before, after, prepared = self._parts
        return before + b"%.3f" % (self._clock() - prepared) + after


class Channel:
    """Used by one group's driver only."""

    def __init__(self, io: GroupIo, place: Place, seat_names: Sequence[str], wake: str,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._io, self._place, self._seat_names, self._wake, self._clock = io, place, seat_names, wake, clock
        self._sent_at: Dict[int, float] = {}
        self._outstanding: Dict[int, int] = {n: 0 for n in range(len(seat_names))}
        self._seen: Dict[int, float] = {}
        self._period_s = 0.5
        self.ack = AckText(clock)
        self._watches = [io.watch(n, name, place, self.ack) for n, name in enumerate(seat_names)]

    def poll(self, period_s: float) -> None:
        """Called each tick: a canary goes out on each seat that was silent for about ``period_s``."""
        for watch in self._watches:
            watch.poll()
        now = self._clock()
        self._period_s = period_s
        quiet = now - period_s + TICK_S
        for seat, name in enumerate(self._seat_names):
            last = max(self._sent_at.get(seat, _NEVER), self._seen.get(seat, _NEVER))
            if last <= quiet and self._outstanding[seat] < MOST_CANARIES:
                self._sent_at[seat] = now
                self._outstanding[seat] += 1
                self._io.notify(self._place, name, CANARY.decode(), NOTIFY_TIMEOUT_MS,
                                partial(self._canary_ended, seat))

    def _canary_ended(self, seat: int, _code: int) -> None:
        self._outstanding[seat] -= 1

    def is_canary(self, heard: Heard) -> bool:
        """True: a canary, of this mgr or of one before it.  Whatever it is, it makes the seat green."""
        self._seen[heard.seat] = self._clock()
        return heard.data.startswith(CANARY)

    def green_seats(self) -> int:
        limit = self._clock() - 2 * self._period_s - TICK_S
        return sum(at >= limit for at in self._seen.values())

    def wake(self, version: Version) -> None:
        """A lost wake-up costs a warden one ``beacon_s`` at most: nobody looks at how this ends."""
        self._io.notify(self._place, self._wake, wire.encode_wake(version).decode(), NOTIFY_TIMEOUT_MS,
                        lambda _code: None)

    def problems(self) -> List[str]:
        return [watch.problem for watch in self._watches if watch.problem]

    def stop(self) -> None:
        for watch in self._watches:
            watch.stop()
