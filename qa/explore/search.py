"""Breadth-first search over worlds, and the questions whether each of them heals, and whether a mgr that dies in the
midst of its actions is replaced without harm (``interrupted.py``).

A violation, wherever it is found, is raised with the shortest path from the start, as a scenario file.

Healing: from each world, follow the schedule in which faults have stopped and everybody does his work in turn, and time
passes when nobody has work left.  All its steps are edges of the search anyway.  Within ``UNITS`` units of time it must
reach a world in which every ANA group that some gateway could serve is ACTIVE, at its owner if the owner could serve it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Callable, Deque, Dict, Iterator, List, Tuple

from nvmeof_ha.core.model import ModelError
from quick_values import quick_values

from . import moves as play
from .canonical import Canonical
from .healing import UNITS, checked, one_round, unhealed
from .identity import REMEMBERED
from .interrupted import Interrupted
from .paths import FAULTS_STOP, scenario
from .world import EMITTED, Budget, Violation, World, describe

UNKNOWN, WELL = -1, -2


@dataclass
class Found:
    """The figures of one search.  ``complete``: nothing was left unexplored.  ``healing``: states shown to heal;
    ``slowest``: units of time that the slowest of them takes.  ``lists``, ``deaths``: different lists of actions, and ways
    in which the mgr died in the midst of one; ``worlds``: different ones that had to heal then."""

    states: int = 0
    edges: int = 0
    healing: int = 0
    slowest: int = 0
    deepest: int = 0
    lists: int = 0
    deaths: int = 0
    worlds: int = 0
    seconds: float = 0.0
    complete: bool = False

    def __str__(self) -> str:
        rate = self.edges / self.seconds if self.seconds else 0
        told = [f"{self.states} states", f"{self.edges} edges", f"{rate:.0f} edges/s", f"depth {self.deepest}"]
        if self.healing:
            told.append(f"{self.healing} heal within {self.slowest} units")
        if self.lists:
            told.append(f"{self.lists} lists of actions interrupted in {self.deaths} ways")
        return ", ".join([*told, "complete" if self.complete else "cut off", f"{self.seconds:.0f} s"])


class Search:
    """One search from ``start``.  ``_after``: the state that the schedule leads to next, ``WELL`` if none is needed,
    ``UNKNOWN`` if it was cut off; ``_waits``: a unit of time passes on the way there."""

    def __init__(self, start: World, begin: str = "", interrupt: bool = True) -> None:
        """``begin``: the scenario's words for the start."""
        self._start, self._begin = start, begin
        self._canonical = Canonical()
        self._parents: List[Tuple[int, str]] = [(-1, "")]
        self._index: Dict[int, int] = {self._canonical.key(start): 0}
        self._after: Dict[int, int] = {}
        self._waits: Dict[int, bool] = {}
        self._next = 0
        self._interrupted = Interrupted(self._canonical) if interrupt else None
        self.found = Found()

    def run(self, most_states: int) -> Found:
        """Explore everything reachable, or until ``most_states`` were seen; then see that all of it heals."""
        began = time.process_time()
        with quick_values("nvmeof_ha.core.", "explore."):
            self._explore(most_states)
        self.found.complete = len(self._index) < most_states
        self._see_that_all_heal()
        if self._interrupted is not None:
            self.found.lists, self.found.deaths = self._interrupted.lists, self._interrupted.deaths
            self.found.worlds = self._interrupted.worlds
        self.found.seconds = time.process_time() - began
        REMEMBERED.forget()
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
        EMITTED.clear()
        try:
            after = checked(follow())
        except (Violation, ModelError, AssertionError) as error:
            raise self._violated([*self.path(index), words], str(error), world) from error
        if self._interrupted is not None:
            self._interrupt(index, words, world)
        return after, self._canonical.key(after)

    def _interrupt(self, index: int, words: str, before: World) -> None:
        assert self._interrupted is not None
        for world, actions in tuple(EMITTED):
            try:
                self._interrupted.take(world, actions)
            except Violation as error:
                wrong, died = str(error).rsplit("\n", 1)
                raise self._violated([*self.path(index), words, died, FAULTS_STOP], wrong, before) from error

    def _violated(self, path: List[str], wrong: str, before: World) -> Violation:
        return Violation(scenario(self._begin, path, wrong, describe(before)))

    def path(self, index: int) -> List[str]:
        words: List[str] = []
        while index > 0:
            index, said = self._parents[index]
            words.append(said)
        return words[::-1]

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
                    wrong = f"not healed after {UNITS} units of time without faults: {unhealed(self._world(at))}"
                    raise self._violated([*self.path(at), FAULTS_STOP], wrong, self._world(at))
        self.found.healing = sum(u >= 0 for u in units.values()) - 1
        self.found.slowest = max(units.values())

    def _world(self, index: int) -> World:
        """A world that was seen, made again by the way it was found."""
        way: List[int] = []
        while index > 0:
            way.append(index)
            index = self._parents[index][0]
        world = self._start
        for index in reversed(way):
            key = next(k for k, i in self._index.items() if i == index)
            world = next(w for _, w, k in self._followers(0, world) if k == key)
        return world


def steady(world: World) -> World:
    """The same world once all gateways run and every ANA group is at its owner: most faults matter only then."""
    budget, world = world.budget, replace(world, budget=Budget())
    for _ in range(UNITS):
        if unhealed(world) is None:
            return replace(world, budget=budget)
        world = one_round(world)
    raise Violation(f"the start does not become steady: {unhealed(world)}")
