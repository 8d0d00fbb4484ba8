"""What one mgr measures for its metrics: histograms of durations, how punctual a driver's ticks are, what has ended.

Everything counts from the mgr's beginning and only grows, as scrapers expect of counters.  One thread notes, any thread
takes a snapshot; nothing waits.  Decides nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import Deque, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from .core.timing import TICK_S
from .transitions import Transition

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LATE_KEPT_S = 60.0


class Histogram:
    """Of durations in seconds, in the buckets that ``BOUNDS_S`` end, and one without an end."""

    def __init__(self) -> None:
        self._counts: List[int] = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def note(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += max(0.0, seconds)

    def snapshot(self) -> "Durations":
        return Durations(tuple(self._counts), self._sum_s)


class Durations(NamedTuple):
    """A histogram as it was: how many fell into each bucket, and their sum."""

    counts: Tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)

    def cumulative(self) -> Iterable[Tuple[str, int]]:
        """(upper bound as text, how many were not longer)."""
        total = 0
        for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], self.counts):
            total += count
            yield bound, total


class Pace:
    """How late the ticks of a driver are: after a late one nothing that the mgr did not hear counts as silence."""

    def __init__(self) -> None:
        self.lateness = Histogram()
        self._late_at: Deque[float] = deque()
        self._ticked: Optional[float] = None

    def ticked(self, now: float, due: float, beacon_s: float) -> None:
        """``due``: when it should have come."""
        passed_s = TICK_S if self._ticked is None else now - self._ticked
        self._ticked = now
        self.lateness.note(now - due)
        if passed_s > max(beacon_s, 2 * TICK_S):  # the rule of ``core/detector.py``
            self._late_at.append(now)
        while self._late_at and self._late_at[0] < now - LATE_KEPT_S:
            self._late_at.popleft()

    @property
    def late_lately(self) -> int:
        return len(self._late_at)


class SeatTimes(NamedTuple):
    """Of one seat object: how long the commits and the probes that it took were under way."""

    commits: Durations
    probes: Durations


class Measured(NamedTuple):
    """What a driver has measured so far; ``seats`` by the number of the seat."""

    tick_lateness: Durations = Durations()
    fences: Durations = Durations()
    seats: Mapping[int, SeatTimes] = {}


class Totals:
    """What has ended under this mgr: transitions by kind and outcome, how long they took, and each phase of them."""

    def __init__(self) -> None:
        self.ended: Dict[Tuple[str, str], int] = {}
        self.took: Dict[str, Histogram] = {}
        self.phases: Dict[Tuple[str, str], Histogram] = {}

    def note(self, record: Transition) -> None:
        """A phase is named by what ended it; of a transition that another mgr began the first is not known."""
        kind = record.kind.value
        outcome = kind, record.outcome.value
        self.ended = {**self.ended, outcome: self.ended.get(outcome, 0) + 1}
        if not record.inherited:
            self.took = {kind: Histogram(), **self.took}  # others may be reading the one before
            self.took[kind].note(record.took_s)
        for before, mark in zip(record.marks, record.marks[1:]):
            self.phases = {(kind, mark.what): Histogram(), **self.phases}
            self.phases[kind, mark.what].note(mark.at_s - before.at_s)
