"""One mgr's core driven by hand: for tests of the state machine.

``Driven`` plays the driver: it feeds events at a time of its own, answers commits, records and fences at once unless
told to hold them back, and checks the invariants after every step.  Gateways do exactly what the stored map says,
unless they are silent.  Nothing of our own is mocked: only the driver's outside is played.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from nvmeof_ha.core import invariants
from nvmeof_ha.core.actions import Action, Commit, Fence, Reply, StoreGateway
from nvmeof_ha.core.events import (Beacon, BeaconReceived, Committed, Confirmation, CreateGateway, Event, Fenced,
                                   GatewayStored, Outcome, TargetState, Tick)
from nvmeof_ha.core.machine import begin, step
from nvmeof_ha.core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Subsystem, Version
from nvmeof_ha.core.timing import Timing

START_S = 100.0
TIMING = Timing()
W = TIMING.lease_wait_s

GW1, GW2, GW3 = Instance("gw1", 1, "aa"), Instance("gw2", 1, "bb"), Instance("gw3", 1, "cc")
STORED = Version(1, 7)


def address(instance: Instance) -> str:
    return f"10.0.0.{instance.gateway[-1]}:0/{instance.number}"


def subsystems(*ana_groups: int, listeners: Tuple[str, ...] = ("10.0.0.9:4420",)) -> Tuple[Subsystem, ...]:
    return (Subsystem("nqn.2016-06.io.spdk:a", listeners, tuple((g, 2) for g in ana_groups)),)


def serving(instance: Instance, **changes: Any) -> Gateway:
    """A gateway that is AVAILABLE and serves two namespaces in ANA groups 1 and 2 each."""
    made = Gateway(instance.gateway, int(instance.gateway[-1]), availability=Availability.AVAILABLE, instance=instance,
                   last_number=instance.number, addresses=frozenset({address(instance)}),
                   subsystems=subsystems(1, 2), digest="d")
    return replace(made, **changes)


def ana_group(number: int, phase: Phase = Phase.UNSERVED, server: Optional[Instance] = None,
              **changes: Any) -> AnaGroup:
    """An ANA group of that phase; the writers follow from its server."""
    role = {Phase.PROMOTING: "incoming", Phase.ACTIVE: "holder", Phase.DRAINING: "holder"}.get(phase)
    fields: Dict[str, Any] = {"since": STORED, "writers": frozenset({server} if server else ())}
    if role is not None:
        fields[role] = server
    return AnaGroup(**{"id": number, "owner": f"gw{number}", "phase": phase, **fields, **changes})


def stored_map(gateways: Tuple[Gateway, ...], ana_groups: Tuple[AnaGroup, ...], **changes: Any) -> Map:
    return Map("rbd", "g1", STORED, gateways, ana_groups, **changes)


class Driven:
    """A mgr that took over ``found`` at ``START_S`` and has committed it, unless ``answers`` leaves ``Commit`` out."""

    def __init__(self, found: Map = Map("rbd", "g1"), records: Tuple[Gateway, ...] = (), ballot: int = 1,
                 answers: Tuple[type, ...] = (Commit, StoreGateway, Fence)) -> None:
        self.now = START_S
        self.answers = answers
        self.asked: List[Action] = []
        self.replies: Dict[int, Reply] = {}
        self.sequence = 0
        self.ticks = 0
        self.osd_epoch = 70
        self.silent: FrozenSet[str] = frozenset()
        self.connections: Dict[str, int] = {}
        self.instances: Dict[str, Instance] = {g.id: g.instance for g in found.gateways if g.instance}
        self.state, actions = begin(found, records, ballot, TIMING, self.now)
        self._carry_out(actions)

    @property
    def map(self) -> Map:
        return self.state.map

    def phase(self, number: int = 1) -> Phase:
        return self.group(number).phase

    def group(self, number: int = 1) -> AnaGroup:
        found = self.map.ana_group(number)
        assert found is not None, f"no ANA group {number}"
        return found

    def gateway(self, gateway_id: str = "gw1") -> Gateway:
        found = self.map.gateway(gateway_id)
        assert found is not None, f"no gateway {gateway_id}"
        return found

    def do(self, event: Event) -> Tuple[Action, ...]:
        """Feed one event and what follows from it at once; returns the actions of the event alone."""
        before = self.state.map
        self.state, actions = step(self.state, event, self.now)
        invariants.check_map(self.state.map)
        invariants.check_step(before, self.state.map)
        self.stepped(event)
        self._carry_out(actions)
        return actions

    def stepped(self, event: Event) -> None:
        """For who watches each step."""

    def _carry_out(self, actions: Tuple[Action, ...]) -> None:
        for action in actions:
            self.asked.append(action)
            if isinstance(action, Reply):
                self.replies[action.request_id] = action
            elif type(action) in self.answers:
                self.do(self.answer(action))

    def answer(self, action: Action) -> Event:
        if isinstance(action, Commit):
            return Committed(action.map.version)
        if isinstance(action, StoreGateway):
            return GatewayStored(action.gateway.id, action.gateway.instance, action.gateway.addresses)
        assert isinstance(action, Fence)
        self.osd_epoch += 1
        return Fenced(action.instance, self.osd_epoch)

    def last(self, kind: type) -> Any:
        """The latest action of that kind."""
        return next(action for action in reversed(self.asked) if isinstance(action, kind))

    def beacon(self, instance: Instance, /, **changes: Any) -> Tuple[Action, ...]:
        """A beacon of a target that is well and obeys the stored map; ``changes`` say otherwise."""
        self.sequence += 1
        committed = self.state.committed
        made = Beacon(instance.gateway, instance, self.sequence, Version(0, 0) if committed is None else
                      committed.version, TargetState.SERVING, addresses=frozenset({address(instance)}),
                      confirmations=self.confirmations(instance), digest="d", subsystems=subsystems(1, 2),
                      connections=self.connections.get(instance.gateway, 0))
        return self.do(BeaconReceived(replace(made, **changes)))

    def confirmations(self, instance: Instance) -> Tuple[Confirmation, ...]:
        said = {Phase.PROMOTING: Outcome.OPTIMIZED, Phase.DRAINING: Outcome.DRAINED}
        groups = () if self.state.committed is None else self.state.committed.served_by(instance)
        return tuple(Confirmation(g.id, g.since, said[g.phase]) for g in groups if g.phase in said)

    def create(self, *gateway_ids: str) -> None:
        """Create gateways and bring their first instances up."""
        for number, gateway_id in enumerate(gateway_ids, 1):
            self.do(CreateGateway(number, gateway_id))
            self.instances[gateway_id] = Instance(gateway_id, 1, "t")
            self.beacon(self.instances[gateway_id])

    def wait(self, seconds: float, **changes: Any) -> None:
        """Let time pass in ticks of 0.1 s; every gateway that is not silent beacons twice a second."""
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            self.ticks += 1
            self.do(Tick())
            if self.ticks % 5 == 0:
                for gateway_id, instance in self.instances.items():
                    if gateway_id not in self.silent:
                        self.beacon(instance, **changes)
