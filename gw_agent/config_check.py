"""--check-config: everything that is wrong with a gateway host's settings, at once, for people or as JSON.

The same for nvmeof-gw-warden and nvmeof-gw-agent. Reads the settings as they do (`settings.py`), then looks at the host
(`host_checks.py`) and, if asked to, at the cluster (`cluster_checks.py`). Changes nothing.

Exit status: 0 when the gateway can start, warnings or not; 1 when there is a problem.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Dict, List

from gw_agent import cluster_checks, host_checks, settings
from gw_agent.settings import Problem


@dataclass(frozen=True)
class Report:
    """What was found. `connected`: the cluster was asked too."""

    path: str
    problems: List[Problem]
    connected: bool

    @property
    def well(self) -> bool:
        return all(problem.warning for problem in self.problems)

    def text(self) -> str:
        """A line for each problem, and the last one in sum."""
        lines = [("warning: " if problem.warning else "") + problem.text(self.path) for problem in self.problems]
        warnings = sum(problem.warning for problem in self.problems)
        counted = [_count(len(self.problems) - warnings, "problem")] + [_count(warnings, "warning")] * bool(warnings)
        asked = "the cluster was asked too" if self.connected else "the cluster was not asked (--connect does that)"
        return "\n".join([*lines, f"{self.path}: {', '.join(counted)}; {asked}"])

    def as_json(self) -> str:
        found: Dict[str, Any] = {"file": self.path, "ok": self.well, "connected": self.connected, "problems": [
            {"severity": "warning" if p.warning else "error", "line": p.line, "section": p.section, "option": p.option,
             "found": p.found, "expected": p.expected} for p in self.problems]}
        return json.dumps(found, indent=2)


def check(path: str, connect: bool) -> Report:
    """Looks at everything. `connect`: at the cluster too."""
    examined = settings.examine(path)
    problems = list(examined.problems)
    if any(examined.values.values()):   # else the file could not be read at all
        problems += host_checks.look(examined.values)
        if connect:
            problems += cluster_checks.look(examined.values)
    placed = [p if p.line is not None else replace(p, line=examined.line(p.section, p.option)) for p in problems]
    return Report(path, sorted(placed, key=lambda p: (p.line is None, p.line or 0)), connect)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
