"""The agent of one gateway host.  Real are the plan and what may be confirmed (``core.gateway``), the lease and the
rules for reading seats.  A stand-in is what carries the plan out: it does by turns of one process what
``gw_agent.plan_runner`` does by tasks, in the same order and with the same rules for trying, declining and giving
up.

Facts followed (facts on spdk-rpc, sections 6 and 8): a context fetches the newest OSD map when it is made to; a drain
returns when the namespace's I/O is done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Protocol, Set, Tuple

from nvmeof_ha.core import gateway, lease, register
from nvmeof_ha.core.events import Confirmation
from nvmeof_ha.core.gateway import INACCESSIBLE, MIXED, OPTIMIZED
from nvmeof_ha.core.model import NO_VERSION, AnaGroup, Instance, Phase, Version

from .beacons import Beacons, HostOfBeacons
from .ceph import Client
from .mons import Mons
from .processes import Body, Process, World
from .target import Target

BOOT_S = (0.2, 0.8)
ATTACH_S = 0.02
CONFIGURE_S = 0.1
SET_TIMEOUT_S = 2.0
RETRY_S = 0.25
LOOK_AGAIN_S = 0.05
LOOK_S = 1.0
BARRIER_TIMEOUT_S = 3.0
BARRED_RETRY_S = 0.2


class HostOfAgent(HostOfBeacons, Protocol):
    """What an agent needs of its host."""

    world: World
    mons: Mons
    target: Optional[Target]
    barred: bool
    hanging: bool

    def set_state(self, target: Target, ana_group_id: int, state: str) -> None: ...


class Call(NamedTuple):
    """One change of ANA states that was asked for and not answered yet."""

    groups: FrozenSet[int]
    state: str
    sent_s: float


class Agent:
    def __init__(self, host: HostOfAgent, process: Process, client: Client, sequence: int) -> None:
        self._host, self.process, self._client = host, process, client
        self.view, self._fresh = host.warden.view, host.warden.latest
        self.lease_until_s, self._was_valid = 0.0, False
        self.turned_s = process.clock.now()
        self.instance: Optional[Instance] = None
        self.target: Optional[Target] = None
        """The target that it is attached to."""
        self._attaching: Optional[Target] = None
        self._changed = True
        self.beacons = Beacons(host, self, client, sequence)
        self._forget_target()
        process.start(self._run())

    def _forget_target(self) -> None:
        self.target = None
        self._known = gateway.Target()
        self._declining: Dict[int, Version] = {}
        self._tried: Set[Tuple[int, Version]] = set()
        self._busy: Set[object] = set()
        self._retry_at_s: Dict[str, float] = {}
        self._call: Optional[Call] = None
        self._gone_s: Optional[float] = None
        self._presumed, self.serves_from_s, self._look_due_s = False, float("inf"), 0.0
        self.confirmations: Tuple[Confirmation, ...] = ()
        self.version = NO_VERSION

    def guards(self, target: Target) -> bool:
        """It runs, and would make this target inaccessible at the end of its lease."""
        return self.process.alive and not self.process.stopped and self.target is target

    # -- what arrives -----------------------------------------------------------------------------------------------

    def hear_seats(self, fresh: register.View, sent_s: float) -> None:
        self.process.run(self._take_seats, fresh, sent_s)

    def status_changed(self) -> None:
        self.process.run(self._take_status)

    def _take_seats(self, fresh: register.View, sent_s: float) -> None:
        self._fresh = (fresh, sent_s)
        before = self.view
        self.view = register.merge(before, fresh)
        self._extend()
        if self.view != before or self.lease_valid != self._was_valid:
            self._look_again()

    def _take_status(self) -> None:
        candidate = self._host.warden.candidate
        if candidate != self.instance:
            self.instance, self.lease_until_s = candidate, 0.0
        if self.target is not None and self.target is not self._host.target:
            self._forget_target()
        self._extend()
        self._look_again()

    def _extend(self) -> None:
        if self.instance is not None:
            self.lease_until_s = lease.extend(self.lease_until_s, self._fresh[0], self.instance, self._fresh[1])

    @property
    def lease_valid(self) -> bool:
        return self.process.clock.now() < self.lease_until_s

    # -- its loop ---------------------------------------------------------------------------------------------------

    def _run(self) -> Body:
        boots_s = self.process.clock.now() + self._host.world.between(BOOT_S)
        while self.process.clock.now() < boots_s:
            yield boots_s - self.process.clock.now()
        self._take_status()
        while True:
            self._turn(self.process.clock.now())
            yield self._patience_s()

    def _turn(self, now: float) -> None:
        self.turned_s = now
        valid = now < self.lease_until_s
        if valid != self._was_valid or self._retry_at_s or self._call is not None:
            self._was_valid, self._changed = valid, True
        self._look(now)
        if self._changed:
            self._changed = False
            self._attach(now)
            if self.target is not None and not self._host.hanging:
                self._work(self.target, now)
        self.beacons.turn(now)

    def _look(self, now: float) -> None:
        """Read the target back now and then: the warden may have changed it."""
        target = self.target
        if target is not None and self._call is None and now >= self._look_due_s and not target.process.stopped:
            self._look_due_s = now + LOOK_S
            if self._known.states != target.states:
                self._known = replace(self._known, states=dict(target.states))
                self._changed = True

    def _patience_s(self) -> float:
        now = self.process.clock.now()
        due = [self.beacons.due_s, *self._retry_at_s.values()]
        if now < self.lease_until_s:
            due.append(self.lease_until_s)
        if self._call is not None:
            due.append(self._call.sent_s + SET_TIMEOUT_S)
            if self._gone_s is not None:
                due.append(self._gone_s + self._host.warden.timing.restrict_s / 2)
        return max(0.001, min(due) - now)

    def _later(self, delay_s: float, call: Any, *args: Any) -> None:
        """A task of this process that sleeps first."""
        self.process.soon(call, delay_s, *args)

    def _attach(self, now: float) -> None:
        target = self._host.target
        if target is None or target is self._attaching or target.instance != self.instance:
            return
        self._attaching = target
        wait_s = max(0.0, target.serves_from_s - self.process.world.now) + ATTACH_S
        self._later(wait_s, target.ask, "agent", self._attached, target)

    def _attached(self, target: Target) -> None:
        """In the target's process."""
        self.process.run(self._read_back, target, dict(target.states))

    def _read_back(self, target: Target, states: Dict[int, str]) -> None:
        if target is self._host.target and self.target is not target:
            self._forget_target()
            self.target = target
            self._known = gateway.Target(states=states, addresses=target.addresses)
            self._look_again()

    # -- the plan ---------------------------------------------------------------------------------------------------

    def _work(self, target: Target, now: float) -> None:
        self._presume_tried()
        self._forget_past()
        self._retry_at_s = {state: at_s for state, at_s in self._retry_at_s.items() if at_s > now}
        if self._call is not None:
            self._wait_for_call(target, self._call, now)
            return
        known = replace(self._known, declined={**self._known.declined, **self._declining})
        plan = gateway.plan(self.view, target.instance, self.lease_valid, known)
        self._note_confirmations(target)
        self._configure(target)
        if plan.restrict and INACCESSIBLE not in self._retry_at_s:
            self._set(target, plan.restrict, INACCESSIBLE, now)
            return
        for ana_group_id, since in plan.drain:
            self._drain(target, ana_group_id, since, declines=False)
        self._decline_what_is_hopeless(target)
        if plan.barrier is not None:
            self._begin_barrier(target)
        if not plan.restrict and plan.permit and OPTIMIZED not in self._retry_at_s:
            self._permit(target, plan.permit, now)

    def _permit(self, target: Target, groups: FrozenSet[int], now: float) -> None:
        known = replace(self._known, declined={**self._known.declined, **self._declining})
        allowed = frozenset(g for g in groups if gateway.may_be_optimized(
            self.view, target.instance, g, self.lease_valid, known))
        if not allowed:
            self._look_again()
            return
        self._tried.update((g.id, g.since) for g in self._promotions(target.instance) if g.id in allowed)
        self._set(target, allowed, OPTIMIZED, now)

    def _set(self, target: Target, groups: FrozenSet[int], state: str, now: float) -> None:
        call = self._call = Call(groups, state, now)
        self._gone_s = None

        def carry_out() -> None:
            for ana_group_id in sorted(groups):
                self._host.set_state(target, ana_group_id, state)
            self.process.run(self._answered, target, call, dict(target.states))
        target.ask("agent", carry_out)

    def _answered(self, target: Target, call: Call, states: Dict[int, str]) -> None:
        if target is self.target:
            self._known = replace(self._known, states=states)
            self._look_again()
            if self._call is call:
                self._call = None

    def _wait_for_call(self, target: Target, call: Call, now: float) -> None:
        """An optimized call that is unanswered when its permission is gone ends in the target's death."""
        if call.state == OPTIMIZED:
            permitted = all(gateway.may_stay_optimized(self.view, target.instance, g, self.lease_valid)
                            for g in call.groups)
            if self._gone_s is None and not permitted:
                self._gone_s = now
            if self._gone_s is not None and now - self._gone_s >= self._host.warden.timing.restrict_s / 2:
                warden = self._host.warden
                warden.process.run(warden.kill, target, "it left the call that makes it optimized unanswered, and its "
                                                        "permission is gone")
                self._gone_s = now
        if now - call.sent_s >= SET_TIMEOUT_S:
            self._call = None
            self._known = replace(self._known, states={**self._known.states, **{g: MIXED for g in call.groups}})
            self._retry_at_s[call.state] = now + RETRY_S
            if call.state == OPTIMIZED:
                self._decline(target.instance, call.groups)

    # -- what is said -----------------------------------------------------------------------------------------------

    def _promotions(self, instance: Instance) -> List[AnaGroup]:
        groups = () if self.view.permits is None else self.view.permits.ana_groups
        return [g for g in groups if g.phase is Phase.PROMOTING and g.incoming == instance]

    def _presume_tried(self) -> None:
        """Of the first agreed map: an earlier agent may have made optimized what is to be promoted, or declined it."""
        if self._presumed or self.view.permits is None or self.target is None:
            return
        self._presumed = True
        instance = self.target.instance
        self._tried |= {(g.id, g.since) for g in self._promotions(instance)}
        waiting = gateway.declined_at_attach(self.view, instance, self._known.states)
        self._decline(instance, frozenset(waiting))

    def _forget_past(self) -> None:
        if self.view.permits is None:
            return
        current = {g.id: g.since for g in self.view.permits.ana_groups}

        def kept(known: Any) -> Dict[int, Version]:
            return {g: since for g, since in known.items() if current.get(g) == since}
        if self._known.drained or self._known.declined:
            self._known = replace(self._known, drained=kept(self._known.drained), declined=kept(self._known.declined))
        self._declining = kept(self._declining)
        self._tried = {(g, since) for g, since in self._tried if current.get(g) == since}

    def _note_confirmations(self, target: Target) -> None:
        view = self.view
        confirmations = gateway.confirmations(view, target.instance, self._known)
        news = bool(set(confirmations) - set(self.confirmations))
        if view.permits is not None and gateway.restrictions_applied(view, target.instance, self._known):
            news = news or view.permits.version != self.version and view.suspected(target.instance)
            self.version = view.permits.version
        self.confirmations = confirmations
        if news:
            self.beacons.soon(everywhere=True)

    def _decline(self, instance: Instance, ana_group_ids: FrozenSet[int]) -> None:
        for group in self._promotions(instance):
            if group.id in ana_group_ids and self._declining.get(group.id) != group.since:
                self._declining[group.id] = group.since
                self._look_again()

    def _decline_what_is_hopeless(self, target: Target) -> None:
        """While suspected nothing may become optimized; what is to be declined is, once nothing of it is in flight."""
        for group in self._promotions(target.instance):
            inaccessible = self._known.states.get(group.id, INACCESSIBLE) == INACCESSIBLE
            if inaccessible and self.view.suspected(target.instance):
                self._decline(target.instance, frozenset({group.id}))
            declining = self._declining.get(group.id) == group.since
            if not declining or self._known.declined.get(group.id) == group.since or not inaccessible:
                continue
            if (group.id, group.since) in self._tried:
                self._drain(target, group.id, group.since, declines=True)
            else:
                self._known = replace(self._known, declined={**self._known.declined, group.id: group.since})
                self._look_again()

    # -- in the background ------------------------------------------------------------------------------------------

    def _drain(self, target: Target, ana_group_id: int, since: Version, declines: bool) -> None:
        key = (ana_group_id, since, declines)
        if key in self._busy:
            return
        self._busy.add(key)

        def look() -> None:
            done = not target.in_flight[ana_group_id]
            self.process.run(self._drained, target, key, done)
        target.ask("drain", look)

    def _drained(self, target: Target, key: Tuple[int, Version, bool], done: bool) -> None:
        ana_group_id, since, declines = key
        if target is not self.target:
            return
        if not done:
            self._later(LOOK_AGAIN_S, self._drain_again, target, key)
            return
        self._busy.discard(key)
        if declines:
            self._known = replace(self._known, declined={**self._known.declined, ana_group_id: since})
        else:
            self._known = replace(self._known, drained={**self._known.drained, ana_group_id: since})
        self._look_again()

    def _drain_again(self, target: Target, key: Tuple[int, Version, bool]) -> None:
        if target is self.target:
            self._busy.discard(key)
            self._look_again()

    def _begin_barrier(self, target: Target) -> None:
        """So that restrictions do not wait for it: every context fetches the newest OSD map."""
        if "barrier" in self._busy:
            return
        self._busy.add("barrier")
        waiting = frozenset(g.id for g in self._promotions(target.instance)
                            if g.osd_epoch > self._known.passed_osd_epoch)
        key = object()
        self._busy.add(key)
        host = self._host

        def fetch() -> None:
            if host.barred:
                target.process.soon(fetch, BARRED_RETRY_S)
            else:
                host.mons.newest_osd_map(host.name, lambda osd_epoch: target.process.soon(fetched, 0.0, osd_epoch))

        def fetched(osd_epoch: int) -> None:
            target.saw(osd_epoch)
            self.process.run(self._passed, target, key, waiting)
        target.ask("barrier", fetch)
        self._later(BARRIER_TIMEOUT_S, self._barrier_late, target, key, waiting)

    def _passed(self, target: Target, key: object, waiting: FrozenSet[int]) -> None:
        """What waited for it is planned anew: lease and permission may be gone."""
        if target is self.target and key in self._busy:
            self._busy -= {key, "barrier"}
            self._known = replace(self._known, passed_osd_epoch=target.osd_epoch)
            self._look_again()

    def _barrier_late(self, target: Target, key: object, waiting: FrozenSet[int]) -> None:
        if target is self.target and key in self._busy:
            self._busy.discard(key)
            self._decline(target.instance, waiting)
            self._later(RETRY_S, self._barrier_again)

    def _barrier_again(self) -> None:
        self._busy.discard("barrier")
        self._look_again()

    def _look_again(self) -> None:
        self._changed = True
        self.process.wake()

    def _configure(self, target: Target) -> None:
        """The first context may be used once the map names it and it has passed the newest fence."""
        record = gateway.admitted(self.view, target.instance)
        if self.serves_from_s != float("inf") or record is None or not target.addresses <= record.addresses:
            return
        assert self.view.permits is not None
        if max((g.osd_epoch for g in self.view.permits.ana_groups), default=0) > self._known.passed_osd_epoch:
            self._begin_barrier(target)
            return
        self.serves_from_s = self.process.clock.now() + CONFIGURE_S
        self._later(CONFIGURE_S, self.beacons.soon)
