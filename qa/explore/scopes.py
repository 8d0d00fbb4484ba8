"""The scopes that are explored: how many gateways and ANA groups, from which start, with how many faults on one path.

A scope that is larger than ``most_states`` is cut off there, breadth first, and says so.  ``least_states``: what was
reached when the scope was recorded, but for a little; fewer means lost coverage.  ``seconds`` (of one core, roughly) is for
starting the longest first.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from . import namespace_search, namespace_world, register_search, register_world
from .search import Found, Search, steady
from .world import Budget, World, start


@dataclass(frozen=True)
class Scope:
    """``running``: from the state in which all is well; else from gateways that were created and never ran.
    ``awaited``: NVMe hosts connect to targets, so that failback waits for them.  ``interrupt``: every list of actions is
    broken off, too; of the largest scope only where it is cut off soon."""

    name: str
    gateways: int
    ana_groups: int
    budget: Budget
    least_states: int
    running: bool = True
    awaited: bool = False
    most_states: int = 60_000
    interrupt: bool = True
    seconds: int = 5

    @property
    def begin(self) -> str:
        words = ["explored", "gateways", str(self.gateways), "ana-groups", str(self.ana_groups)]
        words += ["running"] if self.running else []
        words += ["awaited"] if self.awaited else []
        return " ".join(words + _words(vars(self.budget)))

    def explore(self, most_states: Optional[int] = None) -> Found:
        """Explore it; ``most_states`` replaces the scope's own limit."""
        world = first(self.gateways, self.ana_groups, self.budget, self.running, self.awaited)
        return Search(world, self.begin, self.interrupt).run(most_states or self.most_states)


@dataclass(frozen=True)
class RegisterScope:
    """``counts``: arguments of ``register_world.start``."""

    name: str
    counts: Tuple[Tuple[str, int], ...]
    least_states: int
    most_states: int = 60_000
    seconds: int = 5

    @property
    def begin(self) -> str:
        return " ".join(["explored seats", *_words(dict(self.counts))])

    def explore(self, most_states: Optional[int] = None) -> Found:
        world = register_world.start(**dict(self.counts))
        return register_search.explore(world, self.begin, most_states or self.most_states)


@dataclass(frozen=True)
class NamespaceScope:
    """``counts``: arguments of ``namespace_world.start``."""

    name: str
    gateways: int
    counts: Tuple[Tuple[str, int], ...]
    least_states: int
    most_states: int = 60_000
    seconds: int = 5

    @property
    def begin(self) -> str:
        return " ".join(["explored namespace gateways", str(self.gateways), *_words(dict(self.counts))])

    def explore(self, most_states: Optional[int] = None) -> Found:
        world = namespace_world.start(self.gateways, **dict(self.counts))
        return namespace_search.explore(world, self.begin, most_states or self.most_states)


def _words(counts: Dict[str, Any]) -> List[str]:
    return [f"{name.replace('_', '-')} {count}" for name, count in counts.items() if count]


def first(gateways: int, ana_groups: int, budget: Budget, running: bool, awaited: bool) -> World:
    world = start(gateways, ana_groups, budget, awaited)
    return steady(world) if running else world


def from_words(words: Sequence[str]) -> World:
    """The start that a scope's ``begin`` names, without its first word."""
    flags = [w for w in words if w in ("running", "awaited")]
    rest = [w for w in words if w not in flags]
    counts = {name.replace("-", "_"): int(count) for name, count in zip(rest[::2], rest[1::2])}
    known = {f.name for f in fields(Budget)}
    budget = Budget(**{name: count for name, count in counts.items() if name in known})
    return first(counts["gateways"], counts["ana_groups"], budget, "running" in flags, "awaited" in flags)


def register(name: str, least_states: int, most_states: int = 60_000, **counts: int) -> RegisterScope:
    return RegisterScope(name, tuple(counts.items()), least_states, most_states)


def namespace(name: str, least_states: int, gateways: int = 2, most_states: int = 60_000,
              **counts: int) -> NamespaceScope:
    return NamespaceScope(f"namespace, {name}", gateways, tuple(counts.items()), least_states, most_states)


MGR = {"mgr_replacements": 1}

CORE: Tuple[Scope, ...] = (
    Scope("first start and the mgr is replaced", 2, 2, Budget(**MGR), 10899, running=False, seconds=22),
    # two gateways, two ANA groups, one mgr replacement and one fault or command of each kind: fully
    Scope("a target dies and the mgr is replaced", 2, 2, Budget(crashes=1, **MGR), 4075, seconds=9),
    Scope("a host is lost and the mgr is replaced", 2, 2, Budget(host_losses=1, **MGR), 8271, seconds=20),
    Scope("a gateway is cut off and the mgr is replaced", 2, 2, Budget(cuts=1, **MGR), 15932, seconds=36),
    Scope("an agent restarts and the mgr is replaced", 2, 2, Budget(agent_restarts=1, late=1, **MGR), 1174),
    Scope("beacons are lost for a while and the mgr is replaced", 2, 2, Budget(silences=1, **MGR), 426),
    Scope("a planned stop and the mgr is replaced", 2, 2, Budget(leaves=1, **MGR), 1039),
    Scope("a promotion is declined and the mgr is replaced", 2, 2, Budget(crashes=1, declines=1, **MGR), 7837,
          seconds=17),
    Scope("a fence fails and the mgr is replaced", 2, 2, Budget(crashes=1, fence_failures=1, **MGR), 5621, seconds=9),
    Scope("a gateway is deleted, created again, and the mgr is replaced", 2, 2,
          Budget(deletions=1, creations=1, **MGR), 2924, seconds=4),
    Scope("a gateway is disabled and enabled, and the mgr is replaced", 2, 2, Budget(switches=2, **MGR), 6690,
          seconds=12),
    Scope("an ANA group is moved and the mgr is replaced", 2, 2, Budget(moves=1, **MGR), 514),
    Scope("NVMe hosts come back late, and the mgr is replaced", 2, 2, Budget(crashes=1, **MGR), 8259,
          awaited=True, seconds=17),
    Scope("a site is lost, recovers, and the mgr is replaced", 2, 2, Budget(crashes=1, disasters=2, **MGR), 3000,
          most_states=3000, seconds=8),
    Scope("a site of two gateways is lost and recovers", 3, 3, Budget(crashes=2, disasters=2), 3000, most_states=3000,
          interrupt=False, seconds=8),
    Scope("an operator has a lost host fenced, and the mgr is replaced", 2, 2,
          Budget(host_losses=1, orders=1, **MGR), 3000, most_states=3000, seconds=11),
    Scope("seats are lost, their map is rebuilt, and a target dies", 2, 2, Budget(crashes=1, seat_losses=1), 4000,
          most_states=4000, interrupt=False, seconds=9),
    Scope("seats are lost while a gateway is cut off", 2, 1, Budget(cuts=1, seat_losses=1), 4000, most_states=4000,
          interrupt=False, seconds=9),
    # work that is done in part or late
    Scope("a target dies, anybody is late", 2, 1, Budget(crashes=1, late=1), 6795, seconds=10),
    Scope("a gateway is cut off, anybody is late", 2, 1, Budget(cuts=1, late=1), 4000, most_states=4000, seconds=9),
    Scope("a gateway is cut off, anybody is late twice", 2, 1, Budget(cuts=1, late=2), 4000,
          most_states=4000, seconds=9),
    Scope("a planned stop, anybody is late twice", 2, 1, Budget(leaves=1, late=2), 4000, most_states=4000, seconds=9),
    Scope("an old beacon of a dead target arrives", 2, 1, Budget(crashes=1, old_beacons=1, **MGR), 3000,
          most_states=3000, seconds=9),
    Scope("an ANA group is moved and a target dies", 2, 2, Budget(moves=1, crashes=1), 3000,
          most_states=3000, seconds=6),
    Scope("a gateway is deleted and another one dies", 2, 2, Budget(deletions=1, crashes=1), 3000,
          most_states=3000, seconds=6),
    # three gateways
    Scope("three gateways, a target dies", 3, 1, Budget(crashes=1), 1850),
    Scope("three gateways, a host is lost", 3, 1, Budget(host_losses=1), 4229, seconds=6),
    Scope("three gateways with an ANA group each, two targets die", 3, 3, Budget(crashes=2, **MGR), 16_000,
          most_states=16_000, interrupt=False, seconds=40),
    Scope("three gateways with an ANA group each, the mgr dies in the midst", 3, 3, Budget(crashes=2, **MGR), 800,
          most_states=800, seconds=15),
)

REGISTER: Tuple[RegisterScope, ...] = (
    register("register: two mgrs", 22886, mgrs=2, decisions=1),
    register("register: two mgrs and lost answers", 25_000, 25_000, mgrs=2, decisions=1, lost_answers=1),
    register("register: three mgrs", 25_000, 25_000, mgrs=3, decisions=0),
    register("register: two mgrs and a lost seat", 38776, mgrs=2, decisions=0, losses=1),
    register("register: a mgr and a reader", 3085, mgrs=1, decisions=1, readers=1, rounds=1),
    register("register: a mgr and a reader that restarts", 25_000, 25_000, mgrs=1, decisions=1, readers=1, rounds=2,
             restarts=1),
    register("register: two mgrs and a reader", 25_000, 25_000, mgrs=2, decisions=0, readers=1, rounds=1),
    register("register: a lost seat and a reader", 22118, 25_000, mgrs=1, decisions=1, readers=1, rounds=1, losses=1),
)

NAMESPACE: Tuple[NamespaceScope, ...] = (
    namespace("two moves", 39_252, asks=2),
    namespace("a move while a target dies and another one starts", 60_000, asks=1, crashes=1, starts=1),
    namespace("a move while a gateway freezes", 30_117, asks=1, freezes=1),
    namespace("a move while an agent restarts", 6_772, asks=1, agent_restarts=1),
    namespace("a move while an ANA group is handed over", 60_000, asks=1, handovers=1),
    namespace("others change the group, and a target dies", 6_284, others_change=1, crashes=1),
    namespace("others change the group twice", 52_294, others_change=2),
    namespace("a move while I/O hangs", 1_307, asks=1, hangs=1),
    namespace("three gateways, a move", 20_573, 3, asks=1),
    namespace("three gateways, a move while a target dies", 40_000, 3, 40_000, asks=1, crashes=1),
)

SCOPES: Tuple[Union[Scope, RegisterScope, NamespaceScope], ...] = CORE + REGISTER + NAMESPACE
