"""Virtual time, and processes that can be killed, stopped and continued.

A process is a generator that yields how long it sleeps (seconds of its host's clock).  SIGSTOP holds back its wake-ups
until SIGCONT; SIGKILL ends it where it stands.  Host clocks differ in rate (timing.CLOCK_RATE_ERROR at most).
"""

from __future__ import annotations

import heapq
import itertools
import random
from typing import Callable, Generator, List, Optional, Tuple

Body = Generator[float, None, None]


class World:
    """The event loop: ``now`` is true time in seconds, ``random`` the only source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self.now = 0.0
        self.random = chance
        self._queue: List[Tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.timeline: List[Tuple[float, str]] = []

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + max(delay_s, 0.0), next(self._order), call))

    def run_until(self, end_s: float) -> None:
        while self._queue and self._queue[0][0] <= end_s:
            self.now, _, call = heapq.heappop(self._queue)
            call()
        self.now = end_s

    def note(self, text: str) -> None:
        self.timeline.append((self.now, text))


class Clock:
    """A host's monotonic clock: its own offset, and a rate that is wrong by up to the allowed error."""

    def __init__(self, world: World, rate: float) -> None:
        self._world, self._rate, self._offset = world, rate, float(world.random.getrandbits(10))

    def now(self) -> float:
        return self._offset + self._world.now * self._rate

    def true_seconds(self, local_s: float) -> float:
        return local_s / self._rate


class Process:
    """One process; ``alive`` until it is killed or its body ends."""

    def __init__(self, world: World, name: str, clock: Clock) -> None:
        self.world, self.name, self.clock = world, name, clock
        self.alive, self.stopped = True, False
        self._body: Optional[Body] = None
        self._held: List[Callable[[], None]] = []

    def start(self, body: Body) -> None:
        self._body = body
        self.world.later(0.0, self._step)

    def soon(self, call: Callable[[], None], delay_s: float = 0.0) -> None:
        """Run ``call`` in this process after true seconds; held while it is stopped, dropped once it is dead."""
        self.world.later(delay_s, lambda: self._deliver(call))

    def _deliver(self, call: Callable[[], None]) -> None:
        if not self.alive:
            return
        if self.stopped:
            self._held.append(call)
        else:
            call()

    def _step(self) -> None:
        def advance() -> None:
            assert self._body is not None
            try:
                delay_s = next(self._body)
            except StopIteration:
                self.alive = False
                return
            self.world.later(self.clock.true_seconds(delay_s), self._step)
        self._deliver(advance)

    def kill(self) -> None:
        self.alive = False
        self._held.clear()

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        self.stopped = False
        held, self._held = self._held, []
        for call in held:
            self.soon(call)
