"""Watches how long each of the host's writers has waited for a write, and keeps every stall with its time.

A writer's own figures have only the longest one of a window; here each counts, so that it can be laid to the fault that
was under way. The length of the longest one is exact; others, which ended between two looks, are too short by less than
the time between these.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Mapping

from guest import GuestError, Writer
from testbed.observer import Observer

PERIOD_S = 0.5
SHORTEST_S = 0.3


@dataclass(frozen=True)
class Stall:
    """`from_s` is of the monotonic clock."""

    nsid: int
    from_s: float
    seconds: float


class StallWatch(Observer):
    """`stalls` in the order of their ends; the ones that still last are among them."""

    def __init__(self, writers: Mapping[int, Writer], tell: Callable[[str, float], None]) -> None:
        """`writers`: by namespace."""
        super().__init__('stall watch', PERIOD_S)
        self._writers = writers
        self._tell = tell
        self._open: Dict[int, Stall] = {}
        self._past: List[Stall] = []
        self._longest: Dict[int, float] = {}   # of each writer's window, at the last look

    def stalls(self, from_s: float) -> List[Stall]:
        """Those that began then or later."""
        return [stall for stall in [*self._past, *self._open.values()] if stall.from_s >= from_s]

    def look(self) -> None:
        for nsid, writer in self._writers.items():
            try:
                status = writer.status()
            except GuestError:
                continue   # whether the guest is gone is looked at elsewhere
            self.take(nsid, time.monotonic(), status['gap_s'], status['longest_gap_s'])

    def take(self, nsid: int, now_s: float, gap_s: float, window_longest_s: float) -> None:
        """What a writer said: how long it waits by now, and the longest wait of its window."""
        waits = Stall(nsid, now_s - gap_s, gap_s)
        open_one = self._open.get(nsid)
        if open_one is not None and waits.from_s > open_one.from_s + open_one.seconds:
            # It ended between two looks; if the window's longest has grown meanwhile, it was that one.
            grew = window_longest_s > self._longest.get(nsid, 0.0)
            longest_s = min(waits.from_s - open_one.from_s, window_longest_s)
            seconds = max(open_one.seconds, longest_s if grew else 0.0)
            self._past.append(replace(open_one, seconds=seconds))
            self._tell(f'host: a write to namespace {nsid} took {seconds:.2f} s', now_s)
            del self._open[nsid]
        self._longest[nsid] = window_longest_s
        if gap_s >= SHORTEST_S:
            began_s = self._open[nsid].from_s if nsid in self._open else waits.from_s
            self._open[nsid] = Stall(nsid, began_s, now_s - began_s)
