"""Seats are looked at in turn; what a stranger did to several of them is found before a lease ends for it."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, List

import pytest

from nvmeof_ha.core.events import Committed, Event
from nvmeof_ha.core.model import Map, Version
from nvmeof_ha.core.register import MAP_KEY
from nvmeof_ha.core.timing import TICK_S, Timing
from nvmeof_ha.objects import ObjectWrite
from nvmeof_ha.seats import CHECK_EVERY_S, Seats

NAMES = ("a", "b", "c")
GATEWAY_MAP = Map("rbd", "g1", Version(3, 1))


class Objects:
    """In place of RADOS: writes and reads land at once, guards are not looked at; ``turns`` are told later."""

    def __init__(self) -> None:
        self.omaps: Dict[str, Dict[str, bytes]] = {name: {} for name in NAMES}
        self.read: List[str] = []
        self.turns: List[Callable[[], None]] = []

    def write(self, _place: Any, name: str, what: ObjectWrite, ended: Callable[[int], None]) -> None:
        self.omaps.setdefault(name, {}).update(what.omap)
        self.turns.append(lambda: ended(0))

    def read_omap(self, _place: Any, name: str, ended: Callable[[int, Dict[str, bytes]], None]) -> None:
        self.read.append(name)
        held = dict(self.omaps[name])
        self.turns.append(lambda: ended(0, held))


class Ticked:
    """Seats that hold a map, polled every tick."""

    def __init__(self) -> None:
        self.objects, self.now, reported = Objects(), 100.0, []   # type: Objects, float, List[Event]
        self.seats = Seats(self.objects, None, NAMES, [None] * 3, reported.append, lambda: self.now)
        self.seats.poll()
        self.told()
        self.seats.commit(GATEWAY_MAP)
        self.told()
        assert reported == [Committed(GATEWAY_MAP.version)]

    def told(self) -> None:
        while self.objects.turns:
            self.objects.turns.pop(0)()

    def tick(self, after_s: float = TICK_S) -> None:
        self.now += after_s
        self.seats.poll()
        self.told()

    def damaged(self) -> List[str]:
        return [name for name in NAMES if self.objects.omaps[name][MAP_KEY] == b"garbage"]


def test_one_seat_is_looked_at_in_its_turn():
    ticked = Ticked()
    for _ in range(round(6.5 * CHECK_EVERY_S / TICK_S)):
        ticked.tick()
    turns = ticked.objects.read
    assert 4 <= len(turns) <= 7 and all(set(turns[n:n + 3]) == set(NAMES) for n in range(len(turns) - 2))


@pytest.mark.parametrize("names", list(itertools.combinations(NAMES, 2)) + [NAMES])
@pytest.mark.parametrize("after_s", [TICK_S, Timing().beacon_s / 2, Timing().beacon_s / 2 + 0.003])
@pytest.mark.parametrize("ticks", range(24))
def test_several_that_are_damaged_at_once_are_mended_before_a_lease_ends_for_it(names, ticks, after_s):
    """Ticks come so often in a group that is out of order, at rest, and at rest in a mgr that has something to do."""
    ticked = Ticked()
    for _ in range(ticks):
        ticked.tick(after_s)
    for name in names:
        ticked.objects.omaps[name][MAP_KEY] = b"garbage"
    damaged_at, timing = ticked.now, Timing()
    while ticked.damaged():
        ticked.tick(after_s)
    assert ticked.now - damaged_at < timing.lease_s - timing.beacon_s
    assert not ticked.seats.lost() and len(ticked.seats.problems()) == len(names)
