"""The scopes that are explored: how many gateways and ANA groups, from which start, with how many faults on one path.

``most_states`` keeps a run of all scopes near a minute; a scope that is larger is cut off there, breadth first, and says
so.  ``least_states``: a little less than was reached when the scope was recorded; fewer means lost coverage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from .search import Found, Search, steady
from .world import Budget, start


CUT_OFF = 7_000


@dataclass(frozen=True)
class Scope:
    name: str
    gateways: int
    ana_groups: int
    budget: Budget
    least_states: int
    from_steady: bool = True
    most_states: int = 20_000

    def explore(self, most_states: Optional[int] = None) -> Found:
        """Explore it; ``most_states`` replaces the scope's own limit."""
        world = start(self.gateways, self.ana_groups, self.budget)
        return Search(steady(world) if self.from_steady else world).run(most_states or self.most_states)


SCOPES: Tuple[Scope, ...] = (
    Scope("first start", 2, 2, Budget(), 1000, from_steady=False),
    Scope("a target dies, anybody is late", 2, 1, Budget(crashes=1, late=1), 5000),
    Scope("a target dies and the mgr is replaced", 2, 1, Budget(crashes=1, mgr_replacements=1), 3200),
    Scope("a host is lost", 2, 2, Budget(host_losses=1), 800),
    Scope("a gateway is cut off, anybody is late", 2, 1, Budget(cuts=1, late=1), CUT_OFF, most_states=CUT_OFF),
    Scope("a gateway is cut off, anybody is late twice", 2, 1, Budget(cuts=1, late=2), CUT_OFF, most_states=CUT_OFF),
    Scope("a gateway is cut off and the mgr is replaced", 2, 1, Budget(cuts=1, mgr_replacements=1, late=1), CUT_OFF,
          most_states=CUT_OFF),
    Scope("a planned stop, anybody is late twice", 2, 1, Budget(leaves=1, late=2), CUT_OFF, most_states=CUT_OFF),
    Scope("a planned stop and the mgr is replaced", 2, 1, Budget(leaves=1, mgr_replacements=1, late=1), CUT_OFF,
          most_states=CUT_OFF),
    Scope("a promotion is declined, an agent restarts", 2, 1, Budget(crashes=1, declines=1, agent_restarts=1), 1400),
    Scope("a fence fails", 2, 2, Budget(crashes=1, fence_failures=1), 500),
    Scope("a gateway is deleted and another one dies", 2, 2, Budget(deletions=1, crashes=1), 8000),
    Scope("three gateways, one dies", 3, 1, Budget(crashes=1), 1000),
)
