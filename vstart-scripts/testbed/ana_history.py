"""What the targets said of their ANA states over time, and what follows from it: who was optimized when.

No I/O and no clock; `sampler.py` fills it. A target that did not answer is absent from a sample: that is no
statement about its state. All times are seconds of one monotonic clock. Figures are bounded by the sampling
period: a switch is seen at the first sample that shows it, and a time without an optimized listener is counted
from the last sample with one to the next sample with one, so it is at most two periods too long, never too short.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import FrozenSet, Iterable, List, Mapping, Optional

OPTIMIZED = 'optimized'

States = Mapping[int, str]   # ANA group -> state of a gateway's listener


@dataclass(frozen=True)
class Reading:
    """One target's answer: `at_s` is when it arrived."""

    at_s: float
    states: States


@dataclass(frozen=True)
class Sample:
    """All targets asked at one moment. `overlaps`: the ANA groups for which two of them were optimized at once."""

    at_s: float   # when the last answer was there, or was waited for no longer
    readings: Mapping[str, Reading]   # by gateway
    overlaps: FrozenSet[int] = frozenset()

    def optimized(self, ana_group: int) -> FrozenSet[str]:
        """The gateways that said so."""
        return frozenset(gateway for gateway, reading in self.readings.items()
                         if reading.states.get(ana_group) == OPTIMIZED)


def doubly_optimized(first: Sample, second: Sample, ana_groups: Iterable[int]) -> FrozenSet[int]:
    """ANA groups with two optimized gateways, seen in two samples of which the second began after the first.

    One sample alone proves nothing: its answers are some milliseconds apart, and a handover fits between them.
    With the same two gateways in both, each answer of one lies between two of the other.
    """
    return frozenset(group for group in ana_groups
                     if len(first.optimized(group) & second.optimized(group)) > 1)


@dataclass
class AnaHistory:
    """Samples in the order of their times; one thread appends while others ask."""

    _samples: List[Sample] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def append(self, sample: Sample) -> None:
        with self._lock:
            self._samples.append(sample)

    def between(self, from_s: float, to_s: float = float('inf')) -> List[Sample]:
        with self._lock:
            return [sample for sample in self._samples if from_s <= sample.at_s <= to_s]

    def forget(self, before_s: float) -> None:
        """Of a long run nobody asks about its beginning any more."""
        with self._lock:
            self._samples = [sample for sample in self._samples if sample.at_s >= before_s]

    def latest(self) -> Optional[Sample]:
        with self._lock:
            return self._samples[-1] if self._samples else None

    def holder(self, ana_group: int) -> str:
        """The one gateway that the latest sample shows optimized; '' when it is none, or two."""
        latest = self.latest()
        optimized = latest.optimized(ana_group) if latest else frozenset()
        return next(iter(optimized)) if len(optimized) == 1 else ''

    def first_optimized(self, ana_group: int, gateway: str, from_s: float) -> Optional[float]:
        """When the gateway's listener first read back optimized, from that time on, and no other gateway's did."""
        for sample in self.between(from_s):
            if sample.optimized(ana_group) == {gateway} and sample.readings[gateway].at_s >= from_s:
                return sample.readings[gateway].at_s
        return None

    def last_optimized(self, ana_group: int, gateway: str, before_s: float) -> Optional[float]:
        """When it last read back optimized, before that time."""
        seen = [sample.readings[gateway].at_s for sample in self.between(float('-inf'), before_s)
                if gateway in sample.optimized(ana_group)]
        return seen[-1] if seen else None

    def overlaps(self, from_s: float, to_s: float) -> int:
        """Samples that show two gateways optimized for one ANA group, whichever."""
        return sum(bool(sample.overlaps) for sample in self.between(from_s, to_s))

    def no_path_s(self, ana_group: int, from_s: float, to_s: float) -> float:
        """How long no listener was optimized, between the two times.

        A holder that leaves questions unanswered and is optimized still when it answers again was so all the
        time; one that said otherwise meanwhile, or that another gateway followed, was not.
        """
        dark_s = 0.0
        holders = self._holders_at(ana_group, from_s)
        since_s, lost = from_s, not holders
        for sample in self.between(from_s, to_s):
            optimized = sample.optimized(ana_group)
            if not optimized:
                lost = lost or any(gateway in sample.readings for gateway in holders)
                continue
            at_s = min(sample.readings[gateway].at_s for gateway in optimized)
            if lost or not optimized & holders:
                dark_s += max(0.0, at_s - since_s)
            holders, since_s, lost = optimized, sample.at_s, False
        if lost or self._silent(holders, since_s, to_s):
            dark_s += to_s - since_s
        return dark_s

    def _holders_at(self, ana_group: int, at_s: float) -> FrozenSet[str]:
        before = self.between(at_s - 1.0, at_s)
        return next((sample.optimized(ana_group) for sample in reversed(before) if sample.optimized(ana_group)),
                    frozenset())

    def _silent(self, gateways: FrozenSet[str], from_s: float, to_s: float) -> bool:
        """None of them has answered after `from_s`, though somebody was asked."""
        later = [sample for sample in self.between(from_s, to_s) if sample.at_s > from_s]
        return bool(later) and not any(gateway in sample.readings for sample in later for gateway in gateways)
