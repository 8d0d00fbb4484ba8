"""Interrupted actions: the mgr dies after each part of each list of actions, and the next one must converge.

For every list that the core emits in the search, told apart by what it would do and by everything that a mgr leaves
behind (seats, records, fences, hosts):

* records of the mon KV store are written in order, so a prefix of them is written and the rest is not;
* a fence was asked for and took effect, or did not; the answer is never seen;
* a commit has landed on no seat, one, two or three, of each kind of seats, and what has not landed does so after the next
  mgr claimed two seats, on the third, or never.

Then a mgr claims two or three seats, of each kind, adopts, and goes on while nothing else fails: every invariant holds on
the way, and within ``UNITS`` units of time all is well again.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple

from nvmeof_ha.core import register
from nvmeof_ha.core.actions import Action, Commit, Fence, ForgetGateway, StoreGateway
from nvmeof_ha.core.model import Map

from . import moves as play
from .canonical import Canonical
from .healing import UNITS, one_round, unhealed
from .world import EMITTED, Budget, Violation, World, check, forget, kept

LASTING = (Commit, Fence, StoreGateway, ForgetGateway)
NO_MORE_FAULTS = Budget()

Outcome = Tuple[str, World]


class Death(NamedTuple):
    """``left``: the world without the mgr.  ``claimed``: the seats that the next one claims and reads.  ``late``: what lands
    after that, and where."""

    words: str
    left: World
    claimed: Tuple[int, ...]
    late: Optional[Tuple[int, Map]] = None

    def followed(self) -> World:
        """The world with the next mgr."""
        after = forget(play.successor(self.left, self.claimed))
        return after if self.late is None else play.land(after, *self.late)

    def adopted(self) -> Map:
        found = register.adopt({i: self.left.seats[i].map for i in self.claimed}, self.claimed)
        assert found is not None
        return found


class Interrupted:
    """``lists``: different lists of actions; ``deaths``: ways in which a mgr died in the midst of one; ``worlds``: different
    ones on the way from there until all was well; ``slowest``: units of time that the slowest took."""

    def __init__(self, canonical: Canonical) -> None:
        self._canonical = canonical
        self._known: Set[int] = set()
        self._units: Dict[int, int] = {}
        self.lists = self.deaths = self.slowest = 0

    @property
    def worlds(self) -> int:
        return len(self._units)

    def take(self, world: World, actions: Tuple[Action, ...]) -> None:
        """Raises ``Violation``; its last line says how the mgr died, what is before it what went wrong."""
        lasting = tuple(a for a in actions if isinstance(a, LASTING))
        if not lasting:
            return
        world = replace(world, budget=NO_MORE_FAULTS)
        key = self._canonical.key_without_mgr(world, lasting)
        if key in self._known:
            return
        self._known.add(key)
        self.lists += 1
        for death in deaths(world, lasting):
            self.deaths += 1
            try:
                self._heals(death)
            except (AssertionError, ValueError) as error:
                raise Violation(f"{error}\n{death.words}") from error

    def _heals(self, death: Death) -> None:
        # the next mgr's first commit overwrites all seats, so it does not matter which were behind
        key = self._canonical.key_adopted(death.left, death.adopted())
        if key in self._units:
            return
        world = death.followed()
        check(world)
        way: List[int] = []
        while key not in self._units:
            way.append(key)
            if unhealed(world) is None:
                break
            if len(way) > UNITS:
                raise Violation(f"not healed after {UNITS} units of time without faults: {unhealed(world)}")
            world = one_round(world)
            key = self._canonical.key(world)
        units = self._units.get(key, -1)
        for key in reversed(way):
            units = self._units[key] = units + 1
        self.slowest = max(self.slowest, units)
        EMITTED.clear()


def deaths(world: World, actions: Tuple[Action, ...]) -> Iterator[Death]:
    """Every way in which the mgr may die while it carries these actions out."""
    actions = tuple(a for a in actions if isinstance(a, LASTING))
    commits = any(isinstance(a, Commit) for a in actions)
    late = None if commits else world.state.in_flight
    outcomes: List[Outcome] = list(_fences_or_not(world))
    for number in range(len(actions) + 1):
        if number:
            outcomes = [after for outcome in outcomes for after in _carried_out(outcome, actions[number - 1])]
            last = actions[number - 1]
            late = last.map if isinstance(last, Commit) else late
        for words, left in outcomes:
            begun = f"the mgr dies after {number} of {len(actions)} actions{words}"
            yield from _successors(begun, left, late)


def _fences_or_not(world: World) -> Iterable[Outcome]:
    """Fences that were asked for earlier and not answered may have taken effect."""
    asked = sorted(world.fences)
    for count in range(len(asked) + 1):
        for done in combinations(asked, count):
            after = world
            for instance in done:
                after = play.blocklisted(after, instance)
            yield "".join(f", the mons have fenced {i}" for i in done), after


def _carried_out(outcome: Outcome, action: Action) -> List[Outcome]:
    words, world = outcome
    if isinstance(action, StoreGateway):
        return [(f"{words}, the record of {action.gateway.id} is stored", kept(world, action))]
    if isinstance(action, ForgetGateway):
        records = tuple(r for r in world.records if r.gateway.id != action.gateway_id)
        return [(f"{words}, the record of {action.gateway_id} is removed", replace(world, records=records))]
    if isinstance(action, Fence):
        return [(f"{words}, {action.instance} is not fenced", world),
                (f"{words}, {action.instance} is fenced", play.blocklisted(world, action.instance))]
    assert isinstance(action, Commit)
    return list(_landed(words, world, action.map))


def _landed(words: str, world: World, content: Map) -> Iterator[Outcome]:
    """The write has reached some of the seats, of each kind."""
    for seats in ((), *play.different(world, (1, 2, 3))):
        after = world
        for index in seats:
            after = play.land(after, index, content)
        told = " and ".join(play.names(world, seats)) or "nothing"
        yield f"{words}, {content.version} is on the seats that held {told}", after


def _successors(words: str, world: World, late: Optional[Map]) -> Iterator[Death]:
    for seats in play.different(world, (2, 3)):
        told = f"{words}; the next mgr claims the seats that hold {', '.join(play.names(world, seats))}"
        yield Death(told, world, seats)
        for index in set(range(register.SEATS)) - set(seats):
            if late is not None and world.seats[index].claim < late.version:
                yield Death(f"{told}; {late.version} lands on the other one", world, seats, (index, late))
