"""Pauses of a thread that computes for long, so that beacons are answered meanwhile.

Why: RADOS calls back in Python's main interpreter, and before Python 3.13 who waits there does not have the interpreter given up by
a thread of the module's own one: it waits until that thread waits for something.  (From 3.13 on, and for threads of the module
itself, it is given up after 5 ms by itself.)
"""

from __future__ import annotations

import time
from typing import Callable, Iterable, Iterator, TypeVar

WORK_S = 0.002
PAUSE_S = 0.001

Item = TypeVar("Item")
Pause = Callable[[], None]
"""Called between small pieces of work."""


def paced(items: Iterable[Item], pause: Pause) -> Iterator[Item]:
    """The items; after work on each of them there may be a pause."""
    for item in items:
        yield item
        pause()


class Pauses:
    """A ``Pause``: it waits for ``PAUSE_S`` whenever ``WORK_S`` have gone by since it last did.  ``paused_s``: so long in all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._worked_since = clock()
        self.paused_s = 0.0

    def __call__(self) -> None:
        now = self._clock()
        if now - self._worked_since < WORK_S:
            return
        self._sleep(PAUSE_S)
        self._worked_since = self._clock()
        self.paused_s += self._worked_since - now
