"""The whole gateway group in one world: seats, mons, mgr, hosts, writers; and what must never be seen.

Checked while it happens: two targets optimized for one ANA group (but for the exception of DESIGN 1.4: warden and agent
both stopped; counted apart), a write that lands on a newer one, an acknowledged write that is gone.
"""

from __future__ import annotations

from random import Random
from typing import AbstractSet, Dict, List, Optional, Set, Tuple

from nvmeof_ha.core import gateway, register
from nvmeof_ha.core.events import Beacon, CreateGateway
from nvmeof_ha.core.model import Availability, Gateway, Phase, Version
from nvmeof_ha.core.timing import Timing

from .ceph import DataObject, Mons, Seat
from .host import Host, Target
from .mgr import Mgr
from .network import Network
from .processes import World

RETRY_PATH_S = 0.02
KEEP_ALIVE_S = 6.0


class Violation(AssertionError):
    """Something that must never happen did; the text says what."""


class Writer:
    """The initiator of one ANA group: one stamped write at a time, repeated on another path until acknowledged."""

    def __init__(self, group: "Group", ana_group_id: int) -> None:
        self.group, self.id = group, ana_group_id
        self.stamp, self.acknowledged, self.attempt = 1, 0, 0
        self.acknowledged_at_s, self.longest_stall_s = group.world.now, 0.0
        self._silent: Set[Target] = set()
        """Paths whose keep-alive ran out: not taken again before the target answers."""
        group.world.later(0.0, self._issue)

    def _issue(self) -> None:
        self._silent = {t for t in self._silent if t.process.stopped}
        target = self.group.optimized(self.id, self._silent)
        if target is None:
            self.group.world.later(RETRY_PATH_S, self._issue)
            return
        self.attempt += 1
        attempt, stamp, chance = self.attempt, self.stamp, self.group.world.random
        target.in_flight[self.id] = target.in_flight.get(self.id, 0) + 1
        queued_s = chance.uniform(0.0, 0.003) if chance.random() >= self.group.slow_share else chance.uniform(0.0, 1.0)
        target.process.soon(lambda: self._to_osd(target, attempt, stamp), queued_s)
        self._give_up(target, attempt)

    def _to_osd(self, target: Target, attempt: int, stamp: int) -> None:
        """From here on the write is the network's and the OSD's: the target's death does not call it back."""
        data, chance = self.group.data[self.id], self.group.world.random
        slow = chance.random() < self.group.slow_share
        delay_s = chance.uniform(0.0, 4.0) if slow else chance.uniform(0.0005, 0.004)

        def done(applied: bool) -> None:
            if applied:
                self.group.check_order(self.id, stamp)
            target.process.soon(lambda: self._answered(target, attempt, applied))
        self.group.world.later(delay_s, lambda: data.write(target.address(self.id), target.osd_epoch, stamp, done))

    def _answered(self, target: Target, attempt: int, applied: bool) -> None:
        target.in_flight[self.id] -= 1
        if attempt != self.attempt:
            return
        if applied:
            self.acknowledged, self.stamp = self.stamp, self.stamp + 1
            now, before_s = self.group.world.now, self.acknowledged_at_s
            self.acknowledged_at_s, self.longest_stall_s = now, max(self.longest_stall_s, now - before_s)
        self.attempt += 1
        self.group.world.later(0.05 if applied else RETRY_PATH_S, self._issue)

    def _give_up(self, target: Target, attempt: int) -> None:
        """The connection broke (at once), or the keep-alive ran out: the same write goes to another path."""
        deadline_s = self.group.world.now + KEEP_ALIVE_S

        def look() -> None:
            if attempt != self.attempt:
                return
            if not target.process.alive or self.group.world.now >= deadline_s:
                self._silent.add(target)
                self.attempt += 1
                self._issue()
            else:
                self.group.world.later(0.25, look)
        self.group.world.later(0.25, look)


class Group:
    slow_share = 0.03
    """Of all writes: queued in the target for up to a second, or on their way to the OSD for up to four."""

    def __init__(self, chance: Random, gateways: int = 3, timing: Timing = Timing(failback_delay_s=2.0),
                 create: bool = True) -> None:
        """``create``: the operator creates all gateways and starts them as soon as a mgr answers."""
        self.world = World(chance)
        self.network = Network(self.world)
        self.seats = [Seat(self.world) for _ in range(register.SEATS)]
        self.mons = Mons(self.world)
        self.timing = timing
        self.records: Dict[str, Gateway] = {}
        self.ana_group_ids: Tuple[int, ...] = tuple(range(1, gateways + 1))
        self.data = {g: DataObject(self.world, self.mons) for g in self.ana_group_ids}
        self.excused = 0
        self.ballot = 0
        self.mgrs: List[Mgr] = []
        self.new_mgr()
        self.hosts = [Host(self.world, self.network, self.seats, f"gw{i}", self) for i in self.ana_group_ids]
        self.targets: List[Tuple[Host, Target]] = []
        if create:
            self.world.later(0.5, self._create)
        self.writers = [Writer(self, g) for g in self.ana_group_ids]

    def _create(self) -> None:
        if not (self.mgr.working and self.mgr.state and self.mgr.state.committed):
            self.world.later(0.5, self._create)
            return
        for host in self.hosts:
            self.mgr.feed(CreateGateway(0, host.name))
            host.boot()

    @property
    def mgr(self) -> Mgr:
        return self.mgrs[-1]

    def new_mgr(self) -> None:
        self.ballot += self.world.random.randint(1, 3)
        self.mgrs.append(Mgr(self.world, self.network, self.seats, self.mons, self.records, self.ballot, self.timing,
                             self.wake))

    # -- what hosts and mgr need ------------------------------------------------------------------------------------

    def told(self, text: str) -> None:
        """Something that a narrator may want to tell happened."""

    def wake(self, version: Version) -> None:
        for host in self.hosts:
            if host.warden.alive:
                self.network.send("mgr", "cluster", lambda host=host: self.network.send(
                    "cluster", host.name, lambda: host.warden.soon(host.read_seats)))

    def send_beacon(self, host: Host, beacon: Beacon) -> None:
        def through(seat: Seat = self.seats[beacon.sequence % register.SEATS]) -> None:
            if not seat.stalled:
                for mgr in self.mgrs[-2:]:
                    self.network.send("cluster", "mgr", lambda mgr=mgr: mgr.hear(beacon))
        self.network.send(host.name, "cluster", through)

    def target_started(self, host: Host, target: Target) -> None:
        target.states = {g: gateway.INACCESSIBLE for g in self.ana_group_ids}
        self.targets.append((host, target))

    def target_ended(self, host: Host, target: Target) -> None:
        self.targets = [(h, t) for h, t in self.targets if t is not target]

    def set_state(self, host: Host, target: Target, ana_group_id: int, state: str) -> None:
        if not target.process.alive:
            return
        if target.states.get(ana_group_id) != state:
            self.told(f"{host.name} is {state} for ANA group {ana_group_id}")
        target.states[ana_group_id] = state
        if state == gateway.OPTIMIZED:
            self.check_alone(ana_group_id)

    def optimized(self, ana_group_id: int, silent: AbstractSet[Target] = frozenset()) -> Optional[Target]:
        """The path that an initiator takes; one that froze still looks optimized."""
        found = [t for _, t in self.targets if t.process.alive and t.states.get(ana_group_id) == gateway.OPTIMIZED
                 and t not in silent]
        return self.world.random.choice(found) if found else None

    # -- what must never be seen ------------------------------------------------------------------------------------

    def check_alone(self, ana_group_id: int) -> None:
        optimized = [(h, t) for h, t in self.targets
                     if t.process.alive and t.states.get(ana_group_id) == gateway.OPTIMIZED]
        if len(optimized) < 2:
            return
        blind = [h for h, t in optimized if h.blind or t.process.stopped]
        if len(optimized) - len(blind) >= 2:
            names = ", ".join(str(t.instance) for _, t in optimized)
            raise Violation(f"ANA group {ana_group_id} is optimized at {names}")
        self.excused += 1

    def check_order(self, ana_group_id: int, stamp: int) -> None:
        applied = self.data[ana_group_id].applied
        newest = max((s for _, _, s in applied[:-1]), default=0)
        if stamp < newest:
            raise Violation(f"ANA group {ana_group_id}: write {stamp} of {applied[-1][1]} landed after write {newest}")
        del applied[:-2]

    def check_data(self) -> None:
        for writer in self.writers:
            newest = max((s for _, _, s in self.data[writer.id].applied), default=0)
            if newest < writer.acknowledged:
                raise Violation(f"ANA group {writer.id}: acknowledged write {writer.acknowledged} is gone")

    def settled(self) -> bool:
        """Every ANA group is ACTIVE at its owner, and optimized there."""
        committed = self.mgr.state.committed if self.mgr.state else None
        if committed is None or not committed.ana_groups:
            return False
        for group in committed.ana_groups:
            owner = committed.gateway(group.owner)
            if group.phase is not Phase.ACTIVE or owner is None or group.holder != owner.instance:
                return False
            if owner.availability is not Availability.AVAILABLE:
                return False
        return all(self.optimized(g) is not None for g in self.ana_group_ids)

    def describe(self) -> str:
        committed = self.mgr.state.committed if self.mgr.state else None
        lines = [f"{at:8.3f}  {text}" for at, text in self.world.timeline[-60:]]
        return "\n".join(lines + [f"{self.world.now:8.3f}  map: {committed}"])
