"""A thread that drivers of groups take their turns in; a mgr has ``LOOPS`` of them.

Promises: items reach a driver in the order in which they were put; one that is due and one that has an item take turns, so
neither keeps the other waiting; a driver that fails ends alone.  Groups do not wait for one another, because no turn waits for
anything: what may hang runs in threads of ``rados_ops.py`` and ``mon.py``.
Why not a thread each: Python runs one at a time, and each call of librados' gives the turn away.  With 63 of them, the callbacks
that answer beacons queued behind threads that wanted it back.  Why not one for all: beside others that compute, or on a machine
without a core to spare, it gets its turn back too seldom and is late for all.  (1,000 gateways on two cores, of which half a one
was free, or nothing: p99 of an ack with 63 threads 37 to 50 and 85 to 156 ms, with one 19 to 35 and 103 to 190, with four 31 and
50 to 102; p99 of a late tick 25 and 50 ms, 50 to 250 and up to 1,000, 25 and 50 to 100.)
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from queue import Empty, SimpleQueue
from typing import Any, Callable, List, Optional, Tuple

from .bounded import Turns


LOOPS = 4


class Guest:
    """One driver in the loop, or one that will be."""

    def __init__(self, put: Callable[[Tuple["Guest", Any]], None]) -> None:
        self._put = put
        self.turns: Optional[Turns[Any]] = None
        """Set before the first ``put``; they begin with it.  None: they are over."""
        self.begun = False
        self.wait_number = 0
        """Of the wait that it is in: an earlier one that ends says nothing."""
        self.ended = threading.Event()

    def put(self, item: Any) -> None:
        """By any thread; in callbacks of librados', too, so it imports nothing."""
        self._put((self, item))


class DriverLoop:
    """``start`` it once.  ``stop`` ends it when what was put before is done."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._queue: SimpleQueue[Tuple[Optional[Guest], Any]] = SimpleQueue()
        self._waits: List[Tuple[float, int, Guest]] = []
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=self._run, name="nvmeof_ha.drivers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._queue.put((None, None))

    def guest(self) -> Guest:
        return Guest(self._queue.put)

    def _run(self) -> None:
        while True:
            due = self._due()
            if due is not None:
                self._turn(due, None)
            try:
                guest, item = self._queue.get(timeout=self._longest_s())
            except Empty:
                continue
            if guest is None:
                return
            self._turn(guest, item)

    def _due(self) -> Optional[Guest]:
        """The guest whose wait ended first, if one has."""
        while self._waits and self._waits[0][0] <= self._clock():
            _, number, guest = heapq.heappop(self._waits)
            if number == guest.wait_number:
                return guest
        return None

    def _longest_s(self) -> Optional[float]:
        """Until the next wait ends; None: nobody waits."""
        return max(0.0, self._waits[0][0] - self._clock()) if self._waits else None

    def _turn(self, guest: Guest, item: Any) -> None:
        if guest.turns is None:
            return
        try:
            if not guest.begun:
                guest.begun = True
                longest_s = next(guest.turns)
            if item is not None or guest.wait_number:
                longest_s = guest.turns.send(item)
        except StopIteration:
            self._end(guest)
        except Exception:  # the outermost frame of what a driver does
            self._log.exception("a driver ended")
            self._end(guest)
        else:
            guest.wait_number = next(self._numbers)
            heapq.heappush(self._waits, (self._clock() + longest_s, guest.wait_number, guest))

    def _end(self, guest: Guest) -> None:
        guest.turns, guest.wait_number = None, 0
        guest.ended.set()
