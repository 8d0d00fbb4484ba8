"""The beacons of one agent, and what the mgr answers: by the rules of ``gw_agent.beacons`` and ``gw_agent.agent``,
which need librados and an event loop, for when one goes out, to which seats, what it names and what an ack leads to.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import List, Optional, Protocol, Tuple

from nvmeof_ha.core import register, wire
from nvmeof_ha.core.events import Beacon, Confirmation, TargetState
from nvmeof_ha.core.model import NO_VERSION, Instance, Subsystem, Version

from .ceph import Client, ControlObjects
from .processes import Process
from .target import Target
from .warden import Warden

OUTSTANDING_PER_SEAT = 6
NOTIFY_TIMEOUT_S = 2.0


class HostOfBeacons(Protocol):
    name: str
    objects: ControlObjects
    warden: Warden

    def subsystems(self) -> Tuple[Subsystem, ...]: ...


class Speaker(Protocol):
    """The agent, as far as its beacons go."""

    process: Process
    view: register.View
    instance: Optional[Instance]
    target: Optional[Target]
    version: Version
    confirmations: Tuple[Confirmation, ...]
    serves_from_s: float


class Beacons:
    def __init__(self, host: HostOfBeacons, agent: Speaker, client: Client, sequence: int) -> None:
        """``sequence``: the highest that an earlier agent has used."""
        self._host, self._agent, self._client = host, agent, client
        self.sequence = sequence
        self.due_s = 0.0
        self._everywhere = False
        self._said_urgent: tuple = ()
        self._turn, self._outstanding = 0, [0] * register.SEATS
        self._full_wanted, self._digest_sent = True, ""
        self._asked_for = NO_VERSION

    def soon(self, everywhere: bool = False) -> None:
        self.due_s, self._everywhere = 0.0, self._everywhere or everywhere
        self._agent.process.wake()

    def turn(self, now: float) -> None:
        agent, warden = self._agent, self._host.warden
        suspected = agent.instance is not None and agent.view.suspected(agent.instance)
        urgent = (agent.instance, warden.reaped, warden.leaving.asked > 0, suspected, agent.target)
        if urgent != self._said_urgent:
            self._said_urgent = urgent
            self.soon(everywhere=True)
        if now < self.due_s:
            return
        timing = warden.timing
        self.due_s = now + timing.beacon_s
        mute = now - warden.turned_s > timing.suspect_s - timing.beacon_s
        if mute or agent.instance is None and not warden.reaped:
            return
        everywhere = self._everywhere or suspected or warden.leaving.asked > 0 or bool(warden.reaped)
        self._everywhere = False
        self._send(self._build(now), everywhere)

    def _build(self, now: float) -> Beacon:
        agent, warden = self._agent, self._host.warden
        self.sequence = max(self.sequence + 1, int(now * 1e6))
        beacon = Beacon(self._host.name, agent.instance, self.sequence, leaving=warden.leaving.asked > 0,
                        reaped=warden.reaped)
        if agent.target is None or agent.target.instance != agent.instance:
            return beacon
        serves = now >= agent.serves_from_s
        subsystems = self._host.subsystems() if serves else ()
        beacon = replace(beacon, version=agent.version, addresses=agent.target.addresses, digest=str(subsystems),
                         target=TargetState.SERVING if serves else TargetState.STARTING,
                         confirmations=agent.confirmations)
        if self._full_wanted or beacon.digest != self._digest_sent:
            self._full_wanted, self._digest_sent = False, beacon.digest
            beacon = replace(beacon, subsystems=subsystems)
        return beacon

    def _send(self, beacon: Beacon, everywhere: bool) -> None:
        data = wire.encode_beacon(beacon)
        self._turn += 1
        for number, name in enumerate(self._host.warden.names):
            mine = everywhere or number == self._turn % register.SEATS
            if mine and self._outstanding[number] < OUTSTANDING_PER_SEAT:
                self._outstanding[number] += 1
                self._host.objects.notify(self._client, name, data, NOTIFY_TIMEOUT_S,
                                          partial(self._notified, number, beacon))

    def _notified(self, number: int, beacon: Beacon, _code: int, acks: List[bytes]) -> None:
        self._agent.process.run(self._acked, number, beacon, acks)

    def _acked(self, number: int, beacon: Beacon, acks: List[bytes]) -> None:
        self._outstanding[number] -= 1
        warden = self._host.warden
        for ack in map(wire.decode_ack, filter(None, acks)):
            if ack.version > self._agent.view.version and ack.version != self._asked_for:
                self._asked_for = ack.version
                warden.process.run(warden.read_now)
            self._full_wanted = self._full_wanted or beacon.gateway in ack.want_full
            if beacon.reaped:
                warden.process.run(warden.leaving.told, beacon.reaped)
