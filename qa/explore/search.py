"""Breadth-first search over worlds, and the question whether each of them heals.

A violation, wherever it is found, is raised with the shortest path from the start.

Healing: from each world, follow the schedule in which faults have stopped and everybody does his work in turn, and time
passes when nobody has work left.  All its steps are edges of the search anyway.  Within ``UNITS`` units of time it must
reach a world in which every ANA group that some gateway could serve is ACTIVE, at its owner if the owner could serve it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Callable, Deque, Dict, Iterator, List, Optional, Tuple

from nvmeof_ha.core import register
from nvmeof_ha.core.model import ModelError, Phase

from . import moves as play
from .canonical import Canonical
from .quick import quick_values
from .world import Budget, Violation, World, check, describe, forget

UNITS = 24
COMMITS = 8
UNKNOWN, WELL = -1, -2


@dataclass
class Found:
    """The figures of one search.  ``complete``: nothing was left unexplored.  ``healing``: states shown to heal;
    ``slowest``: units of time that the slowest of them takes."""

    states: int = 0
    edges: int = 0
    healing: int = 0
    slowest: int = 0
    deepest: int = 0
    seconds: float = 0.0
    complete: bool = False

    def __str__(self) -> str:
        rate = self.edges / self.seconds if self.seconds else 0
        return (f"{self.states} states, {self.edges} edges, {rate:.0f} edges/s, depth {self.deepest}, "
                f"{self.healing} heal within {self.slowest} units, {'complete' if self.complete else 'cut off'}, "
                f"{self.seconds:.0f} s")


class Search:
    """One search from ``start``.  ``_after``: the state that the schedule leads to next, ``WELL`` if none is needed,
    ``UNKNOWN`` if it was cut off; ``_waits``: a unit of time passes on the way there."""

    def __init__(self, start: World) -> None:
        self._start = start
        self._canonical = Canonical()
        self._parents: List[Tuple[int, str]] = [(-1, "")]
        self._index: Dict[int, int] = {self._canonical.key(start): 0}
        self._after: Dict[int, int] = {}
        self._waits: Dict[int, bool] = {}
        self._next = 0
        self.found = Found()

    def run(self, most_states: int) -> Found:
        """Explore everything reachable, or until ``most_states`` were seen; then see that all of it heals."""
        began = time.monotonic()
        with quick_values():
            self._explore(most_states)
        self.found.complete = len(self._index) < most_states
        self._see_that_all_heal()
        self.found.seconds = time.monotonic() - began
        return self.found

    def _explore(self, most_states: int) -> None:
        queue: Deque[Tuple[int, int, World]] = deque([(0, 0, self._start)])
        while queue:
            index, depth, world = queue.popleft()
            self.found.states += 1
            self.found.deepest = max(self.found.deepest, depth)
            for words, after, key in self._followers(index, world):
                if key not in self._index and len(self._index) < most_states:
                    self._index[key] = len(self._parents)
                    self._parents.append((index, words))
                    queue.append((self._index[key], depth + 1, after))
            self._after[index] = WELL if unhealed(world) is None else self._index.get(self._next, UNKNOWN)

    def _followers(self, index: int, world: World) -> Iterator[Tuple[str, World, int]]:
        """All worlds that may follow.  ``_next`` is left behind: the first that work changes, or else the one that time
        alone leads to."""
        own = self._next = self._canonical.key(world)
        for words, follow in play.work(world):
            after, key = self._follow(index, words, world, follow)
            self._next = key if self._next == own else self._next
            yield words, after, key
        idle = self._next == own
        self._waits[index] = idle
        for words, follow in play.exceptions(world, idle):
            after, key = self._follow(index, words, world, follow)
            if idle:
                self._next, idle = key, False
            yield words, after, key

    def _follow(self, index: int, words: str, world: World, follow: Callable[[], World]) -> Tuple[World, int]:
        self.found.edges += 1
        try:
            after = _checked(follow())
        except (Violation, ModelError, AssertionError) as error:
            raise Violation("\n".join([str(error), *self.path(index), f"    {words}", f"    then: {error}",
                                       "    before that:", describe(world)])) from error
        return after, self._canonical.key(after)

    def path(self, index: int) -> List[str]:
        words: List[str] = []
        while index > 0:
            index, said = self._parents[index]
            words.append(said)
        return [f"{n:3} {said}" for n, said in enumerate(reversed(words), 1)]

    # -- healing ----------------------------------------------------------------------------------------------------

    def _see_that_all_heal(self) -> None:
        units: Dict[int, int] = {WELL: 0, UNKNOWN: -1}
        for index in range(self.found.states):
            way, at = [], index
            while at not in units:
                way.append(at)
                units[at] = UNITS + 1   # if the way comes round to here, it leads nowhere
                at = self._after[at]
            for at in reversed(way):
                reached = units[self._after[at]]
                units[at] = reached + self._waits[at] if reached >= 0 else UNKNOWN
                if units[at] > UNITS:
                    raise Violation("\n".join([f"not healed after {UNITS} units of time without faults",
                                               *self.path(at), *self._in_vain(at)]))
        self.found.healing = sum(u >= 0 for u in units.values()) - 1
        self.found.slowest = max(units.values())

    def _in_vain(self, index: int) -> List[str]:
        """The world that does not heal, after its path was walked again, and what it is after some more time."""
        way: List[int] = []
        while index > 0:
            way.append(index)
            index = self._parents[index][0]
        world = self._start
        for index in reversed(way):
            key = next(k for k, i in self._index.items() if i == index)
            world = next(w for _, w, k in self._followers(0, world) if k == key)
        before = describe(world)
        for _ in range(UNITS):
            world = one_round(world)
        return [f"    {unhealed(world)}; before:", before, "    after:", describe(world)]


def _checked(world: World) -> World:
    check(world)
    return forget(world)


def steady(world: World) -> World:
    """The same world once all gateways run and every ANA group is at its owner: most faults matter only then."""
    budget, world = world.budget, replace(world, budget=Budget())
    for _ in range(UNITS):
        if unhealed(world) is None:
            return replace(world, budget=budget)
        world = one_round(world)
    raise Violation(f"the start does not become steady: {unhealed(world)}")


def one_round(world: World) -> World:
    """Everybody does his work, then a unit of time passes."""
    for _ in range(COMMITS):
        before = world.state.map
        while world.state.in_flight is not None:
            world = _checked(play.store(world))
        for host in world.hosts:
            world = _checked(play.turn(world, host.name)) if host.up else world
        for instance in sorted(world.fences):
            world = _checked(play.fence(world, instance))
        if world.state.map == before:
            return _checked(play.wait(world))
    raise Violation(f"the mgr decides without end: {world.state.map}")


def unhealed(world: World) -> Optional[str]:
    """Why the world is not well yet, or None."""
    stored = world.state.committed
    if stored is None or stored.content() != world.state.map.content():
        return "something is decided and not stored"
    able = set()
    for host in world.hosts:
        known = stored.gateway(host.name)
        if not host.up or host.muted or host.leaving or known is None or known.deleting:
            continue
        if not host.running or known.instance != host.instance or host.instance is None:
            return f"{host.name} does not come up"
        if register.judge([s.map for s in world.seats]).suspected(host.instance):
            return f"{host.name} stays suspected"
        able.add(host.name)
    for group in stored.ana_groups:
        if not able:
            continue
        if group.phase is not Phase.ACTIVE or group.holder is None:
            return f"ANA group {group.id} is {group.phase.value}"
        if group.holder.gateway not in able:
            return f"ANA group {group.id} stays at {group.holder}"
        if group.owner in able and group.holder.gateway != group.owner:
            return f"ANA group {group.id} is at {group.holder}, not at its owner {group.owner}"
        if not any(h.instance == group.holder and group.id in h.optimized for h in world.hosts):
            return f"ANA group {group.id} is not optimized at {group.holder}"
    return None
