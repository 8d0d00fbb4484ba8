"""All scopes, explored in several processes, and their figures."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

from .scopes import SCOPES
from .search import Found
from .world import Violation


class Result(NamedTuple):
    """``violation``: the text of what was found, "" if all is well."""

    name: str
    found: Found
    violation: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {'VIOLATION' + self.violation if self.violation else self.found}"


def explore(name: str, most_states: Optional[int] = None) -> Result:
    """Explore the scope of this name."""
    scope = next(s for s in SCOPES if s.name == name)
    try:
        return Result(name, scope.explore(most_states))
    except Violation as violation:
        return Result(name, Found(), str(violation))


def begin(pool: Executor, names: Iterable[str], most_states: Optional[int] = None) -> "Dict[str, Future[Result]]":
    """Have the pool explore these scopes, the longest first; each is a future from now on."""
    wanted = set(names)
    order = sorted((s for s in SCOPES if s.name in wanted), key=lambda s: -s.seconds)
    return {scope.name: pool.submit(explore, scope.name, most_states) for scope in order}


def figures(results: List[Result], began: float) -> Dict[str, Any]:
    """For ``--json``.  ``began``: of ``time.monotonic``."""
    total = {name: sum(getattr(r.found, name) for r in results)
             for name in ("states", "edges", "healing", "lists", "deaths")}
    return {"layer": "explore", **total, "violations": sum(bool(r.violation) for r in results),
            "complete": sum(r.found.complete for r in results), "scopes": {r.name: vars(r.found) for r in results},
            "seconds": round(time.monotonic() - began, 1)}
