"""One standby mgr's core driven by hand: for tests of when it has the active one failed.

``World`` plays RADOS, the mons, the agents and an active mgr around it; nothing of our own is mocked.
"""

from __future__ import annotations

from typing import List, Optional

from nvmeof_ha.core import standby
from nvmeof_ha.core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Version
from nvmeof_ha.core.standby import (Answered, Ask, AskMons, Called, Echoed, Fail, MonsSaid, ReadSeats, Say, SeatsRead,
                                    Tick, Unanswered, Watched)
from nvmeof_ha.core.wire import Ack, Sos

GROUP = 'rbd/g1'
ACTIVE, NEXT = 4200, 4100   # the standby that follows may have started earlier
BALLOTS = {ACTIVE: Version(7, 30), NEXT: Version(9, 31)}
ONE, TWO = Instance('gw1', 1, 'a'), Instance('gw2', 1, 'b')
TICK_S = 0.1


def gateway(instance: Instance, number: int, availability: Availability = Availability.AVAILABLE) -> Gateway:
    return Gateway(instance.gateway, number, availability=availability, instance=instance, last_number=1)


def active_group(number: int, instance: Instance) -> AnaGroup:
    return AnaGroup(number, instance.gateway, Phase.ACTIVE, holder=instance, writers=frozenset({instance}))


MAP = Map('rbd', 'g1', Version(7, 30), (gateway(ONE, 1), gateway(TWO, 2)), (active_group(1, ONE), active_group(2, TWO)))


class World:
    """RADOS, mons, agents and an active mgr around the core; each can be made to fail.

    ``calling``: what the agents say, by gateway.  ``at_s``: seconds since the standby began.
    """

    def __init__(self, interval_s: float = 600.0) -> None:
        self.at_s = 0.0
        self.state = standby.begin(interval_s, 0.0)
        self.answering: Optional[int] = ACTIVE
        self.ack = Ack(Version(7, 30), gid=ACTIVE)
        self.named = ACTIVE
        self.failed_ago_s: Optional[float] = None
        self.calling: dict = {}
        self.found: Optional[Map] = MAP
        self.echoes = self.seats = self.delivers = self.mons = True
        self.failed: List[Fail] = []
        self.said: List[str] = []
        self.asked_mons = 0
        self.step(Watched((GROUP,)))

    def step(self, event: standby.Event) -> tuple:
        self.state, actions = standby.step(self.state, event, self.at_s)
        for action in actions:
            self._act(action)
        return actions

    def _act(self, action: standby.Action) -> None:
        if isinstance(action, Ask):
            if self.echoes:
                self.step(Echoed(action.group))
            if self.answering:
                ack = self.ack._replace(gid=self.answering, version=BALLOTS[self.answering])
                self.step(Answered(action.group, ack))
            elif self.delivers:
                self.step(Unanswered(action.group))
        elif isinstance(action, ReadSeats) and self.seats:
            self.step(SeatsRead(action.group, self.found))
        elif isinstance(action, AskMons):
            self.asked_mons += 1
            if self.mons:
                self.step(MonsSaid(self.named, 12, self.failed_ago_s))
        elif isinstance(action, Fail):
            self.failed.append(action)
        elif isinstance(action, Say):
            self.said.append(action.text)

    def run(self, for_s: float, tick_s: float = TICK_S) -> None:
        """Ticks, and each half second the agents' calls."""
        for _ in range(round(for_s / tick_s)):
            before, self.at_s = self.at_s, round(self.at_s + tick_s, 6)
            if int(before / 0.5) != int(self.at_s / 0.5):
                for name, sos in self.calling.items():
                    self.step(Called(GROUP, sos))
            self.step(Tick())

    def dies(self, *calling: Sos) -> None:
        """The active mgr falls silent; these agents call from now on."""
        self.answering, self.calling = None, {sos.gateway: sos for sos in calling}


def sos(instance: Instance, gid: int = ACTIVE, **said: bool) -> Sos:
    return Sos(instance.gateway, instance, gid, BALLOTS.get(gid, Version(0, 0)), **said)


def well(for_s: float = 20.0, **how: float) -> World:
    """A standby that has watched an active mgr for a while."""
    world = World(**how)
    world.run(for_s)
    assert not world.failed and not world.said and not world.asked_mons
    return world
