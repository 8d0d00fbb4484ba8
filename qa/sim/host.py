"""One gateway host: warden, agent and target, with their real cores.

Facts followed (facts on spdk-rpc, sections 3, 6 and 8): an RPC takes one or two 4 ms ticks; ``inaccessible`` ends new
I/O and leaves I/O in flight alone; a stopped target answers nothing and keeps its connections; the agent and the target
die with their warden (PDEATHSIG).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, FrozenSet, Generator, List, Mapping, Optional, Protocol, Tuple

from nvmeof_ha.core import gateway, lease, register
from nvmeof_ha.core.events import Beacon, Confirmation, TargetState
from nvmeof_ha.core.model import Instance, Map, Phase, Subsystem, Version

from .ceph import Mons, Seat
from .network import Network
from .processes import Body, Clock, Process, World

RPC_S = (0.004, 0.012)
START_S = (0.4, 1.5)
LOOK_S = 0.1
BARRIER_S = 2.0
"""A barrier that was not passed for this long is declined, well within ``promote_s``."""
AGENT_SILENT_S = 6.0
"""An agent that tells its warden nothing for this long is replaced."""
WARDEN_SILENT_S = 1.0
"""The agent of a warden that tells it nothing for this long sends no beacons."""
TELL_S = 1.0
"""From the end of a leaving gateway's target to its own: for the beacon that says so."""
IDLE_S = 0.05
WAKE_S = 1.0


class Target:
    """The SPDK process of one instance: its ANA states, its RADOS client, its I/O in flight."""

    def __init__(self, world: World, instance: Instance, clock: Clock) -> None:
        self.process = Process(world, f"target {instance}", clock)
        self.instance = instance
        self.states: Dict[int, str] = {}
        self.in_flight: Dict[int, int] = {}
        self.osd_epoch = 1

    def address(self, ana_group_id: int) -> str:
        """Of the RADOS client that carries the ANA group's namespaces: there are two in each target."""
        return f"addr/{self.instance}/{ana_group_id % 2}"

    @property
    def addresses(self) -> FrozenSet[str]:
        return frozenset({self.address(0), self.address(1)})


class Host:
    def __init__(self, world: World, network: Network, seats: List[Seat], name: str, group: "GroupOfHosts") -> None:
        self.world, self.network, self.seats, self.name, self.group = world, network, seats, name, group
        self.clock = Clock(world, 1.0 + world.random.uniform(-1, 1) * 0.0049)
        self.target: Optional[Target] = None
        self.reaped: Tuple[Instance, ...] = ()
        self._sequence = 0
        self.leaving = False
        self._woke_at = -1000.0
        self.listening, self.namespaces = True, {g: 1 for g in group.ana_group_ids}
        self.barred = False
        """The mons do not answer the target's clients: no barrier can be passed."""
        self.hanging = False
        """The agent sends beacons and carries nothing out."""
        self._barrier_of: Optional[Target] = None
        """The target whose barrier is under way."""
        self.warden = self.agent = Process(world, f"{name} none", self.clock)
        self.warden.alive = self.agent.alive = False

    # -- processes --------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start a warden (which starts the rest); an old target is gone with its old warden."""
        assert not self.warden.alive
        if self.target is not None:
            self.reaped += (self.target.instance,)
        self.target, self.leaving, self._warden_heard_s = None, False, self.clock.now()
        self.view = self.agent_view = register.NOTHING_SEEN
        self.instance: Optional[Instance] = None
        self.ward: Optional[lease.Ward] = None
        self._latest, self._leaving_since_s = (register.NOTHING_SEEN, 0.0), None  # type: ignore[var-annotated]
        self.warden = Process(self.world, f"{self.name} warden", self.clock)
        self.warden.start(self._watch_over())
        self._start_agent()

    def _start_agent(self) -> None:
        """It is given the warden's latest read with its send time, and so has the same lease."""
        self.agent = Process(self.world, f"{self.name} agent", self.clock)
        fresh, sent_at_s = self._latest
        self.lease_until_s = 0.0 if self.instance is None else lease.extend(0.0, fresh, self.instance, sent_at_s)
        self.known, self._barrier_of = gateway.Target(), None
        self.agent_view, self.attached = self.view, False
        self.agent.start(self._act())

    def kill_warden(self) -> None:
        for process in (self.warden, self.agent):
            process.kill()
        if self.target is not None:
            self.target.process.kill()

    def woke(self, now: float) -> None:
        """Processes of this host were continued."""
        self._woke_at = now

    @property
    def blind(self) -> bool:
        """Warden and agent are both stopped, or woke so lately that the kill is still on its way (DESIGN 1.4)."""
        both = self.warden.stopped and self.agent.stopped
        return both or self.world.now - self._woke_at < WAKE_S

    def running(self) -> List[Process]:
        found = [p for p in (self.warden, self.agent) if p.alive]
        return found + ([self.target.process] if self.target and self.target.process.alive else [])

    # -- warden -----------------------------------------------------------------------------------------------------

    def _watch_over(self) -> Body:
        next_read_s, looked_s, heard_s = 0.0, 0.0, 0.0
        while True:
            now = self.clock.now()
            if not self.agent.stopped or now - looked_s > 1.0:
                heard_s = now  # what a warden did not hear while it was stopped itself proves nothing
            looked_s = self._warden_heard_s = now
            if now - heard_s > AGENT_SILENT_S:
                self.agent.kill()
            if self.leaving and self._left(now):
                self.kill_warden()
                return
            if not self.agent.alive:
                self._start_agent()
            if now >= next_read_s:
                self.read_seats()
                next_read_s = now + 0.5
            if self.target is not None and self.ward is not None:
                self._judge(now)
            yield LOOK_S

    def _left(self, now: float) -> bool:
        """SIGTERM was asked for: hand over, end the target, say so, and be gone.  True once all is done."""
        timing = lease.Timing() if self.ward is None else self.ward.timing
        if self._leaving_since_s is None:
            self._leaving_since_s = now
        if self.target is None:
            return now - self._leaving_since_s >= TELL_S
        record = gateway.admitted(self.view, self.target.instance)
        handed_over = self.view.permits is not None and (
            record is None or record.leaving and gateway.may_leave(self.view, self.target.instance))
        if handed_over or now - self._leaving_since_s >= 2 * timing.drain_s + timing.promote_s:
            self.target.process.kill()
            self._reap("it has left")
            self._leaving_since_s = now
        return False

    def _judge(self, now: float) -> None:
        assert self.target is not None and self.ward is not None
        if not self.target.process.alive:
            self._reap("died")
            return
        self.ward = self.ward.look(now)
        if not self.target.process.stopped:
            self.ward = self.ward.target_answered(now)
        verdict = self.ward.verdict(now)
        if verdict.order is lease.Order.KILL:
            self.target.process.kill()
            self._reap(verdict.reason)
        elif verdict.order is lease.Order.RESTRICT:
            self.ward = self.ward.restrict_asked(now)
            self._ask_target(self._restrict_all)

    def _restrict_all(self) -> None:
        assert self.target is not None
        for group in self.target.states:
            self.group.set_state(self, self.target, group, gateway.INACCESSIBLE)
        if self.ward is not None:
            self.warden.soon(self._restricted)

    def _restricted(self) -> None:
        if self.ward is not None:
            self.ward = self.ward.restrict_confirmed()

    def _ask_target(self, call) -> None:
        """One JSON-RPC request: carried out by the target if it runs, a tick or two later."""
        target = self.target
        if target is not None:
            target.process.soon(call, self.world.random.uniform(*RPC_S))

    def _reap(self, reason: str) -> None:
        assert self.target is not None
        self.world.note(f"{self.name}: target {self.target.instance} reaped ({reason})")
        self.group.told(f"{self.name} has reaped its target: {reason}")
        self.reaped += (self.target.instance,)
        self.group.target_ended(self, self.target)
        self.target, self.ward, self.instance = None, None, None
        self.known = gateway.Target()
        self.beacon()

    def read_seats(self) -> None:
        """All three at once; what has not answered within the period counts as no answer."""
        sent_at_s, answers = self.clock.now(), {}  # type: ignore[var-annotated]
        target_of = self.warden

        def ask(index: int) -> None:
            seat = self.seats[index]

            def answer() -> None:
                stored = seat.map
                self.network.send("cluster", self.name, lambda: answers.__setitem__(index, stored), lossless=True)
            self.network.send(self.name, "cluster", lambda: seat.submit(answer), lossless=True)
        for index in range(register.SEATS):
            ask(index)

        def judge() -> None:
            self._read_done([answers.get(i) for i in range(register.SEATS)], sent_at_s)
        # a read is judged as soon as it can be: early when all answered, else when the time is up
        target_of.soon(lambda: judge() if len(answers) == register.SEATS else None, 0.05)
        target_of.soon(judge, 0.3)

    def _read_done(self, answers: List[Optional[Map]], sent_at_s: float) -> None:
        fresh = register.judge(answers, self.view.version)
        self.view, self._latest = register.merge(self.view, fresh), (fresh, sent_at_s)
        if self.ward is not None:
            self.ward = self.ward.seats_read(fresh, sent_at_s, self.clock.now())
        self.agent.soon(lambda: self._agent_reads(fresh, sent_at_s))
        self._begin_instance()

    def _begin_instance(self) -> None:
        permits = self.view.permits
        record = None if permits is None else permits.gateway(self.name)
        if record is None or self.leaving or self.target is not None:
            return
        if self.instance is None or (record.instance != self.instance and record.last_number >= self.instance.number):
            self.instance = Instance(self.name, record.last_number + 1, f"{self.world.random.getrandbits(32):08x}")
        elif record.instance == self.instance:
            now = self.clock.now()
            self.target = Target(self.world, self.instance, self.clock)
            self.ward = lease.Ward(self.instance, now, permits.timing if permits else lease.Timing())
            self.known = gateway.Target()
            self.attached = True
            self.group.target_started(self, self.target)

    # -- agent ------------------------------------------------------------------------------------------------------

    def _agent_reads(self, fresh: register.View, sent_at_s: float) -> None:
        self.agent_view = register.merge(self.agent_view, fresh)
        if self.instance is not None:
            self.lease_until_s = lease.extend(self.lease_until_s, fresh, self.instance, sent_at_s)

    def _act(self) -> Body:
        """Plan, do one step, look again; a beacon every period and after every news."""
        next_beacon_s, said = 0.0, ()
        yield self.world.random.uniform(0.1, 0.6)
        while True:
            busy = yield from self._one_step()
            now, news = self.clock.now(), self._confirmations()
            if now >= next_beacon_s or news != said:
                self.beacon()
                next_beacon_s, said = now + 0.5, news
            yield 0.001 if busy else IDLE_S

    def _confirmations(self) -> Tuple[Confirmation, ...]:
        if self.target is None or self.instance is None:
            return ()
        return gateway.confirmations(self.agent_view, self.instance, self.known)

    def _lease_valid(self) -> bool:
        return self.clock.now() < self.lease_until_s

    def _one_step(self) -> "Generator[float, None, bool]":
        """One step of the plan; True if there was something to do."""
        target, instance = self.target, self.instance
        if self.hanging or target is None or instance is None or target.process.stopped or not target.process.alive:
            return False
        self.known = replace(self.known, states=dict(target.states), addresses=target.addresses)
        if not self.attached:
            self.attached = True
            waiting = gateway.declined_at_attach(self.agent_view, instance, target.states)
            self.known = replace(self.known, declined=waiting)
        plan = gateway.plan(self.agent_view, instance, self._lease_valid(), self.known)
        if plan.restrict:
            for group in plan.restrict:
                self._ask_target(lambda group=group: self.group.set_state(self, target, group, gateway.INACCESSIBLE))
            yield RPC_S[1]
        elif plan.drain:
            for group, since in plan.drain:
                if target.in_flight.get(group, 0) == 0 and self.target is target:
                    self.known = replace(self.known, drained={**self.known.drained, group: since})
            yield RPC_S[1]
        elif plan.barrier is not None:
            self._begin_barrier(target)
            yield RPC_S[0]
        elif plan.permit:
            self._permit(target, instance, plan.permit)
            yield RPC_S[1]
        return not plan.idle

    def _begin_barrier(self, target: Target) -> None:
        """In the background, so that restrictions do not wait for it: every context fetches the newest OSD map."""
        if self._barrier_of is target:
            return
        self._barrier_of = target
        permits = self.agent_view.permits
        waiting = {} if permits is None else {g.id: g.since for g in permits.ana_groups if g.incoming == target.instance
                                              and g.osd_epoch > self.known.passed_osd_epoch}
        began_s = self.clock.now()

        def answered() -> None:
            if target is not self.target or target is not self._barrier_of:
                return
            unanswered = self.barred or self.network.cut & {(self.name, "cluster"), ("cluster", self.name)}
            if unanswered and self.clock.now() - began_s < BARRIER_S:
                self.agent.soon(answered, 0.1)
                return
            self._barrier_of = None
            if unanswered:
                self.known = replace(self.known, declined={**self.known.declined, **waiting})
            else:
                self._passed(target, waiting)
        self.agent.soon(answered, self.world.random.uniform(*RPC_S))

    def _passed(self, target: Target, waiting: Mapping[int, Version]) -> None:
        """What waited for it is planned anew: lease and permission may be gone."""
        target.osd_epoch = self.group.mons.osd_epoch
        self.known = replace(self.known, passed_osd_epoch=target.osd_epoch)

    def _permit(self, target: Target, instance: Instance, groups: "frozenset[int]") -> None:
        for group in groups:
            if gateway.may_be_optimized(self.agent_view, instance, group, self._lease_valid(), self.known):
                self._ask_target(lambda group=group: self.group.set_state(self, target, group, gateway.OPTIMIZED))

    def beacon(self) -> None:
        mute = self.clock.now() - self._warden_heard_s > WARDEN_SILENT_S
        if mute or not self.agent.alive or self.agent.stopped:
            return
        self._sequence += 1
        listeners = (self.name,) if self.listening else ()
        held = tuple((g, count) for g, count in self.namespaces.items() if count)
        subsystems = (Subsystem("nqn", listeners, held),) if held else ()
        target = self.target
        applied = (self.instance is not None
                   and gateway.restrictions_applied(self.agent_view, self.instance, self.known))
        beacon = Beacon(
            self.name, self.instance, self._sequence, self.agent_view.version if applied else Version(0, 0),
            TargetState.SERVING if target is not None else TargetState.STARTING, self.leaving,
            addresses=target.addresses if target else frozenset(), subsystems=subsystems,
            digest=f"{held} {self.listening}",
            confirmations=self._confirmations(), reaped=self.reaped[-3:])
        self.group.send_beacon(self, beacon)


class GroupOfHosts(Protocol):
    """What a host needs of the group: the mons' epoch, somebody to take beacons, and a history."""

    ana_group_ids: Tuple[int, ...]
    mons: Mons

    def set_state(self, host: Host, target: Target, ana_group_id: int, state: str) -> None:
        """The target carries out ``set_ana_state``."""

    def told(self, text: str) -> None: ...

    def target_started(self, host: Host, target: Target) -> None: ...

    def target_ended(self, host: Host, target: Target) -> None: ...

    def send_beacon(self, host: Host, beacon: Beacon) -> None: ...
