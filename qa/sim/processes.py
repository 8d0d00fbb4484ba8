"""Virtual time, and processes that can be killed, stopped and continued.

A process is a generator: it yields how long it waits at most (seconds of its host's clock), and is sent what came for
it (``post``), or None when the time is over or somebody woke it (``wake``); what takes no turn of it is a call
(``run``, ``soon``).  SIGSTOP holds all of that back until SIGCONT; SIGKILL ends it where it stands.  Host clocks differ
in rate, by ``timing.CLOCK_RATE_ERROR`` at most.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from typing import Any, Callable, Deque, Generator, List, Optional, Tuple

Body = Generator[float, Any, None]
NEVER = float("inf")


class World:
    """The event loop: ``now`` is true time in seconds, ``random`` the only source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self.now = 0.0
        self.random = chance
        self._queue: List[Tuple[float, int, Callable[..., None], tuple]] = []
        self._order = 0
        self.timeline: List[Tuple[float, str]] = []

    def later(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        self._order += 1
        heapq.heappush(self._queue, (self.now + delay_s if delay_s > 0.0 else self.now, self._order, call, args))

    def run_until(self, end_s: float) -> None:
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= end_s:
            self.now, _, call, args = pop(queue)
            call(*args)
        self.now = end_s

    def between(self, bounds: Tuple[float, float]) -> float:
        low, high = bounds
        return low + (high - low) * self.random.random()

    def note(self, text: str) -> None:
        self.timeline.append((self.now, text))


class Clock:
    """A host's monotonic clock: its own offset, and a rate that is wrong by up to the allowed error."""

    def __init__(self, world: World, rate: float) -> None:
        self._world, self.rate, self._offset = world, rate, float(world.random.getrandbits(10))

    def now(self) -> float:
        return self._offset + self._world.now * self.rate


class Process:
    """One process; ``alive`` until it is killed or its body ends."""

    def __init__(self, world: World, name: str, clock: Clock, ended: Callable[[], None] = lambda: None) -> None:
        """``ended``: called once, when the process is gone."""
        self.world, self.name, self.clock = world, name, clock
        self.alive, self.stopped, self.woke_s = True, False, -NEVER
        self._ended = ended
        self._body: Optional[Body] = None
        self._items: Deque[Any] = deque()
        self._held: List[Tuple[Callable[..., None], tuple]] = []
        self._draining = False
        self._due_s = self._timer_s = NEVER

    def start(self, body: Body) -> None:
        self._body = body
        self._due_s = self._timer_s = self.world.now
        self.world.later(0.0, self._time_over, self.world.now)

    def post(self, item: Any) -> None:
        """Something came for the process."""
        if self.alive:
            self._items.append(item)
            self._drain_soon()

    def wake(self) -> None:
        """Its next turn is due now."""
        if self.alive and self._due_s > self.world.now:
            self._due_s = self.world.now
            if self._timer_s > self._due_s and not self.stopped:
                self._set_timer()

    def _drain_soon(self) -> None:
        if not (self._draining or self.stopped):
            self._draining = True
            self.world.later(0.0, self._drain)

    def _drain(self) -> None:
        self._draining = False
        while self._items and self.alive and not self.stopped:
            self._advance(self._items.popleft())

    def _time_over(self, timer_s: float) -> None:
        """One timer is set at most; it is set again when what was waited for moved on meanwhile."""
        if timer_s != self._timer_s or not self.alive:
            return
        self._timer_s = NEVER
        if self.stopped:
            return
        if self.world.now >= self._due_s - 1e-9:
            self._advance(None)
        else:
            self._set_timer()

    def _advance(self, item: Any) -> None:
        assert self._body is not None
        try:
            wait_s = self._body.send(item)
        except StopIteration:
            self.kill()
            return
        self._due_s = self.world.now + wait_s / self.clock.rate
        if self._due_s < self._timer_s:
            self._set_timer()

    def _set_timer(self) -> None:
        self._timer_s = max(self._due_s, self.world.now)
        self.world.later(self._timer_s - self.world.now, self._time_over, self._timer_s)

    def soon(self, call: Callable[..., None], delay_s: float = 0.0, *args: Any) -> None:
        """Run ``call`` in this process after true seconds; held while it is stopped, dropped once it is dead."""
        self.world.later(delay_s, self.run, call, *args)

    def run(self, call: Callable[..., None], *args: Any) -> None:
        """The same now."""
        if not self.alive:
            return
        if self.stopped:
            self._held.append((call, args))
        else:
            call(*args)

    def kill(self) -> None:
        if self.alive:
            self.alive = False
            self._held.clear()
            self._items.clear()
            self._ended()

    def stop(self) -> None:
        self.stopped = True

    def go_on(self) -> None:
        if not self.stopped:
            return
        self.stopped, self.woke_s = False, self.world.now
        held, self._held = self._held, []
        for call, args in held:
            self.soon(call, 0.0, *args)
        if self._items:
            self._drain_soon()
        if self._body is not None and self._timer_s == NEVER:
            self._set_timer()
