"""What a replay counts and what it finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import List, NamedTuple


class Place(NamedTuple):
    """A line of a log."""

    path: Path
    number: int

    def __str__(self) -> str:
        return f"{self.path}:{self.number}"


class Violation(Exception):
    """The replay came to something else than the log, or an invariant does not hold; the text says what and where."""


@dataclass
class Result:
    """``steps``: of the mgrs' core, ticks among them; ``calls``: of the gateways' pure parts.  ``unjudged``: lines
    after a violation, or before a log has anything to begin at.  ``log_bytes``: of the lines of the traces."""

    steps: int = 0
    ticks: int = 0
    take_overs: int = 0
    calls: int = 0
    processes: int = 0
    maps_compared: int = 0
    unjudged: int = 0
    log_bytes: int = 0
    seconds: float = 0.0
    violations: List[str] = field(default_factory=list)

    def describe(self) -> str:
        found = f"{len(self.violations)} violations" if self.violations else "all as logged"
        return (f"conformance: {self.steps} steps of the core ({self.ticks} ticks, {self.take_overs} take-overs), "
                f"{self.calls} calls in {self.processes} gateway processes, {self.maps_compared} agreed maps: {found}"
                + (f", {self.unjudged} lines not judged" if self.unjudged else "") + f"; {self.seconds:.1f} s")
