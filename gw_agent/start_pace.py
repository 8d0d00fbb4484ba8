"""When a target may be started again.  Pure.

A target that worked and died is started again at once: every moment counts. One that keeps ending soon after its start
(a wrong argument, no memory) is started ever more seldom, because each start is an instance of its own in the map.
"""
from __future__ import annotations

EARLY_S = 10.0
"""A target that lived longer than this had started well."""
FIRST_DELAY_S = 0.5
MOST_DELAY_S = 30.0


class StartPace:
    """Times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._started_s = 0.0
        self._due_s = 0.0
        self.early_ends = 0
        """Of the last targets, how many in a row ended early."""

    def due(self, now_s: float) -> bool:
        """A target may be started now."""
        return now_s >= self._due_s

    def started(self, now_s: float) -> None:
        self._started_s = now_s

    def ended(self, now_s: float) -> float:
        """The target has ended; returns how long the next one has to wait."""
        self.early_ends = self.early_ends + 1 if now_s - self._started_s < EARLY_S else 0
        delay_s = min(FIRST_DELAY_S * 2 ** (self.early_ends - 2), MOST_DELAY_S) if self.early_ends > 1 else 0.0
        self._due_s = now_s + delay_s
        return delay_s

    def not_started(self, now_s: float, delay_s: float) -> None:
        """Starting it failed; try again in `delay_s`."""
        self._due_s = now_s + delay_s
