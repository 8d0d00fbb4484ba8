"""What one play gave, what was expected of it, and the table of several.  Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Dict, FrozenSet, List, Optional, Sequence

from testbed.report import aligned

NOBODY: FrozenSet[Any] = frozenset()


@dataclass(frozen=True)
class Expectation:
    """`moves`: ANA groups that must leave their owner; `ends`: gateways whose target must end before the play mends
    what it broke; no others may; None: whichever.  `dark_s`, `served_s`: the most of what `Outcome` has."""

    dark_s: float = 0.0
    served_s: Optional[float] = None
    moves: Optional[FrozenSet[int]] = NOBODY
    ends: Optional[FrozenSet[str]] = NOBODY


@dataclass(frozen=True)
class Outcome:
    """`ended`: whose target ended before the mending, `ended_late`: after it.  Times in seconds:

    `dark_s`: the longest time for which no listener of an ANA group was optimized;
    `served_s`: where an ANA group moved to a gateway that was there all the time, from the event until that was
    optimized for it; else from the mending until every ANA group had an optimized listener;
    `rados_s`: the longest time for which RADOS itself let a write wait;
    `settled_s`: from the mending until all was as before.
    """

    name: str
    moved: FrozenSet[int]
    ended: FrozenSet[str]
    ended_late: FrozenSet[str]
    dark_s: float
    served_s: float
    rados_s: float
    settled_s: float
    overlaps: int

    def problems(self, expected: Expectation) -> List[str]:
        found = []
        if expected.moves is not None and self.moved != expected.moves:
            found.append(f'ANA groups that moved: {sorted(self.moved)}, expected: {sorted(expected.moves)}')
        if expected.ends is not None and self.ended != expected.ends:
            found.append(f'targets that ended: {sorted(self.ended)}, expected: {sorted(expected.ends)}')
        if self.ended_late:
            found.append(f'targets that ended only when all was mended: {sorted(self.ended_late)}')
        if self.overlaps:
            found.append(f'{self.overlaps} samples show two optimized gateways')
        if self.dark_s > expected.dark_s:
            found.append(f'{self.dark_s:.2f} s without an optimized listener, at most {expected.dark_s:g} are allowed')
        if expected.served_s is not None and self.served_s > expected.served_s:
            found.append(f'served after {self.served_s:.2f} s, at most {expected.served_s:g} are allowed')
        return found

    def to_json(self) -> Dict[str, Any]:
        return {**asdict(self), 'moved': sorted(self.moved), 'ended': sorted(self.ended),
                'ended_late': sorted(self.ended_late)}


COLUMNS = ('play', 'runs', 'moves', 'ends', 'without a path s', 'served s', 'RADOS waits s', 'settled s')


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each play; times of several runs as least / median / most."""
    rows: List[Sequence[str]] = [COLUMNS]
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        runs = [outcome for outcome in outcomes if outcome.name == name]
        rows.append((name, str(len(runs)), _set([run.moved for run in runs]),
                     _set([run.ended | run.ended_late for run in runs]), _spread([run.dark_s for run in runs]),
                     _spread([run.served_s for run in runs]),
                     _spread([run.rados_s for run in runs]), _spread([run.settled_s for run in runs])))
    return aligned(rows)


def _set(sets: Sequence[FrozenSet[Any]]) -> str:
    return ' or '.join(dict.fromkeys(', '.join(map(str, sorted(one))) or '-' for one in sets))


def _spread(values: Sequence[float]) -> str:
    spread = dict.fromkeys(f'{value:.2f}' for value in (min(values), median(values), max(values)))
    return ' / '.join(spread) if len(values) > 1 else f'{values[0]:.2f}'
