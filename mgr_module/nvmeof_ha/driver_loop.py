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
from queue import Empty, Queue
from typing import Any, Callable, List, Optional, Tuple

from .bounded import Turns


LOOPS = 4


class Slot:
    """One driver's place in a loop."""

    def __init__(self, put: Callable[[Tuple["Slot", Any]], None]) -> None:
        self._put = put
        self.turns: Optional[Turns[Any]] = None
        """Set before the first ``put``; they begin with it.  None: they are over."""
        self.wait_number = 0
        """Of the wait that it is in: an earlier one that ends says nothing.  0: the turns have not begun."""
        self.ended = threading.Event()

    def put(self, item: Any) -> None:
        """By any thread; in callbacks of librados', too, so it imports nothing."""
        self._put((self, item))


class DriverLoop:
    """``start`` it once.  ``stop`` ends it when what was put before is done."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        # No SimpleQueue: before Python 3.13 its `get` waits for ever when the time is up before it begins to wait.
        self._queue: Queue[Tuple[Optional[Slot], Any]] = Queue()
        self._waits: List[Tuple[float, int, Slot]] = []
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=self._run, name="nvmeof_ha.drivers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._queue.put((None, None))

    def slot(self) -> Slot:
        return Slot(self._queue.put)

    def _run(self) -> None:
        while True:
            due = self._due()
            if due is not None:
                self._turn(due, None)
            try:
                slot, item = self._queue.get(timeout=self._longest_s())
            except Empty:
                continue
            if slot is None:
                return
            self._turn(slot, item)

    def _due(self) -> Optional[Slot]:
        """The slot whose wait ended first, if one has."""
        while self._waits and self._waits[0][0] <= self._clock():
            _, number, slot = heapq.heappop(self._waits)
            if number == slot.wait_number:
                return slot
        return None

    def _longest_s(self) -> Optional[float]:
        """Until the next wait ends; None: nobody waits."""
        return max(0.0, self._waits[0][0] - self._clock()) if self._waits else None

    def _turn(self, slot: Slot, item: Any) -> None:
        if slot.turns is None:
            return
        try:
            if not slot.wait_number:
                longest_s = next(slot.turns)
            if slot.wait_number or item is not None:
                longest_s = slot.turns.send(item)
        except StopIteration:
            self._end(slot)
        except Exception:  # the outermost frame of what a driver does
            self._log.exception("a driver ended")
            self._end(slot)
        else:
            slot.wait_number = next(self._numbers)
            heapq.heappush(self._waits, (self._clock() + longest_s, slot.wait_number, slot))

    def _end(self, slot: Slot) -> None:
        slot.turns = None
        slot.ended.set()
