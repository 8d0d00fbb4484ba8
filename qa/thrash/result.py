"""The figures and findings of one round.  Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .schedule import Played

BEFORE_S, AFTER_S = 0.5, 15.0
"""A stall or failover that begins this long before or after a fault is laid to it: what it does may take a suspicion,
a lease and a failback to show."""

SPEED = frozenset(('moved', 'restarted'))
"""Findings that a machine that is too busy may bring about; all others are wrong on any machine."""


@dataclass(frozen=True)
class Finding:
    """`around`: what the logs say of that moment."""

    kind: str
    text: str
    around: List[str] = field(default_factory=list)


@dataclass
class OfKind:
    """What a round gave for one kind of fault. `alone_s`: the longest stall that can be laid to no other kind."""

    injected: int = 0
    stall_s: float = 0.0
    alone_s: float = 0.0
    failovers: int = 0


@dataclass
class Result:
    """Figures of one round. `excused`: I/O errors and overlaps of targets that nobody could restrict (`unwatched`).
    `quiet_stall_s`: the longest stall that no fault is near."""

    number: int
    faults: List[str]
    stall_s: float = 0.0
    quiet_stall_s: float = 0.0
    settle_s: Optional[float] = None   # after all was mended
    moved: bool = False
    failovers: int = 0
    handovers: int = 0
    io_errors: int = 0
    overlaps: int = 0
    history: int = 0
    excused_errors: int = 0
    excused_overlaps: int = 0
    lost: int = 0
    stale: int = 0
    findings: List[Finding] = field(default_factory=list)
    kinds: Dict[str, OfKind] = field(default_factory=dict)

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)

    def lay_to_faults(self, played: Sequence[Played], stalls: Sequence[Tuple[float, float]],
                      failovers: Sequence[float]) -> None:
        """Each stall (time, length) and each failover (time) to every kind of fault that was under way."""
        for one in played:
            self.kinds.setdefault(one.fault.kind.name, OfKind()).injected += 1
        for at_s, seconds in stalls:
            names = _under_way(played, at_s)
            for name in names:
                kind = self.kinds[name]
                kind.stall_s = max(kind.stall_s, round(seconds, 2))
                if len(names) == 1:
                    kind.alone_s = max(kind.alone_s, round(seconds, 2))
            if not names:
                self.quiet_stall_s = max(self.quiet_stall_s, round(seconds, 2))
        for at_s in failovers:
            for name in _under_way(played, at_s):
                self.kinds[name].failovers += 1


def _under_way(played: Sequence[Played], at_s: float) -> List[str]:
    return sorted({one.fault.kind.name for one in played if one.covers(at_s, BEFORE_S, AFTER_S)})
