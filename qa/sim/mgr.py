"""One ceph-mgr with the module: takes the seats over, feeds the core, carries out its actions.

The rules of the register come from ``core.register``; only the asking and waiting is here.  A commit is repeated until
it is certain; ops are never cancelled and may land late.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Set

from nvmeof_ha.core import invariants, machine, register
from nvmeof_ha.core.actions import Action, Commit, Fence, ForgetGateway, StoreGateway, Wake
from nvmeof_ha.core.events import BeaconReceived, Committed, Deposed, Event, Fenced, FenceFailed, GatewayStored, Tick
from nvmeof_ha.core.model import Gateway, Map, Version
from nvmeof_ha.core.soft import State
from nvmeof_ha.core.timing import TICK_S, Timing

from .ceph import Mons, Seat
from .network import Network
from .processes import Body, Clock, Process, World

RETRY_S = 1.0


class Mgr:
    def __init__(self, world: World, network: Network, seats: List[Seat], mons: Mons, records: Dict[str, Gateway],
                 ballot: int, timing: Timing, wake: Callable[[Version], None]) -> None:
        self.world, self.network, self.seats, self.mons, self.records = world, network, seats, mons, records
        self.ballot, self.timing, self.wake = ballot, timing, wake
        self.process = Process(world, f"mgr {ballot}", Clock(world, 1.0))
        self.state: Optional[State] = None
        self._claimed: Set[int] = set()
        self._read: Dict[int, Optional[Map]] = {}
        self._tally: Optional[register.Tally] = None
        self._canary_sent, self._canary_seen = 0.0, {}  # type: ignore[var-annotated]
        self.process.start(self._run())

    @property
    def working(self) -> bool:
        return self.process.alive and self.state is not None and not self.state.stopped

    # -- taking over ------------------------------------------------------------------------------------------------

    def _run(self) -> Body:
        claim = Version(self.ballot, 0)
        while len(self._read) < register.QUORUM:
            for index in range(register.SEATS):
                self._claim(index, claim)
            yield RETRY_S
            if self.state is not None and self.state.stopped:
                return
        found = register.adopt(self._read, self._claimed)
        self._begin(found or Map("rbd", "g1"))
        while not (self.state and self.state.stopped):
            yield TICK_S
            self._send_canaries()
            limit = self.process.clock.now() - 2 * self.timing.beacon_s - TICK_S
            self.feed(Tick(sum(at >= limit for at in self._canary_seen.values())))

    def _send_canaries(self) -> None:
        """As often as beacons; green is a seat whose token came back to this process lately."""
        now = self.process.clock.now()
        if now - self._canary_sent < self.timing.beacon_s:
            return
        self._canary_sent = now
        for index in range(register.SEATS):
            self.network.send("mgr", "cluster", lambda index=index: self._return_canary(index))

    def _return_canary(self, index: int) -> None:
        def seen() -> None:
            self._canary_seen[index] = self.process.clock.now()
        if not self.seats[index].stalled:
            self.network.send("cluster", "mgr", lambda: self.process.soon(seen))

    def _claim(self, index: int, claim: Version) -> None:
        seat = self.seats[index]

        def write() -> None:
            stored = seat.write(claim, None)
            if stored is None or stored == claim:
                self._answer(lambda: self._claimed.add(index))
                seat.submit(lambda: self._answer(lambda: self._read.setdefault(index, seat.map)))
            elif stored.ballot > self.ballot:
                self._answer(lambda: self._deposed("a higher ballot holds the seats"))
        self.network.send("mgr", "cluster", lambda: seat.submit(write), lossless=True)

    def _answer(self, call) -> None:
        self.network.send("cluster", "mgr", lambda: self.process.soon(call), lossless=True)

    def _begin(self, found: Map) -> None:
        self.state, actions = machine.begin(found, tuple(self.records.values()), self.ballot, self.timing,
                                            self.process.clock.now())
        self._carry_out(actions)

    def _deposed(self, reason: str) -> None:
        if self.state is None:
            self.process.kill()
        else:
            self.feed(Deposed(reason))

    # -- running ----------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        assert self.state is not None
        before = self.state.map
        self.state, actions = machine.step(self.state, event, self.process.clock.now())
        invariants.check_map(self.state.map)
        invariants.check_step(before, self.state.map)
        self._carry_out(actions)

    def hear(self, beacon) -> None:
        def take() -> None:
            if self.working:
                self.feed(BeaconReceived(beacon))
        self.process.soon(take)

    def _carry_out(self, actions: "tuple[Action, ...]") -> None:
        for action in actions:
            if isinstance(action, Commit):
                self._tally = register.Tally(action.map.version)
                self._commit(action.map, set(range(register.SEATS)))
            elif isinstance(action, Wake):
                self.wake(action.version)
            elif isinstance(action, Fence):
                self._fence(action)
            elif isinstance(action, StoreGateway):
                self.records[action.gateway.id] = action.gateway
                stored = GatewayStored(action.gateway.id, action.gateway.instance, action.gateway.addresses)
                self.process.soon(lambda stored=stored: self.feed(stored), self.mons.election_s + 0.004)
            elif isinstance(action, ForgetGateway):
                self.records.pop(action.gateway_id, None)

    def _commit(self, stored: Map, left: Set[int]) -> None:
        """Offer the map to every seat that has not taken it; again after a while, unchanged."""
        for index in sorted(left):
            self._offer(index, stored, left)

        def again() -> None:
            newest = self.state is not None and (self.state.in_flight or self.state.committed) == stored
            if self.working and left and newest:
                self._commit(stored, left)
        self.process.soon(again, RETRY_S)

    def _offer(self, index: int, stored: Map, left: Set[int]) -> None:
        seat, version = self.seats[index], stored.version

        def write() -> None:
            claim = seat.write(version, stored)
            self._answer(lambda: self._tallied(index, version, claim, left))
        self.network.send("mgr", "cluster", lambda: seat.submit(write), lossless=True)

    def _tallied(self, index: int, version: Version, claim: Optional[Version], left: Set[int]) -> None:
        if self._tally is None or self._tally.version != version or not self.working:
            return
        was = self._tally.progress
        self._tally = (self._tally.acknowledged(index) if claim is None else self._tally.refused(index, claim))
        if index in self._tally.seats:
            left.discard(index)
        if self._tally.progress is register.Progress.DEPOSED:
            self._deposed(f"seat {index} holds {claim}")
        elif self._tally.progress is register.Progress.DONE and was is register.Progress.PENDING:
            self.feed(Committed(version))

    def _fence(self, action: Fence) -> None:
        def answered(osd_epoch: Optional[int]) -> None:
            event = FenceFailed(action.instance, "refused") if osd_epoch is None else Fenced(action.instance, osd_epoch)
            self._answer(lambda: self.feed(event))
        self.network.send("mgr", "cluster", lambda: self.mons.blocklist(set(action.addresses), answered), lossless=True)
