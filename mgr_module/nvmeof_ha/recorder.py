"""Makes records out of what a mgr decided: it is shown the steps of a group's driver and tells which transitions ended.

Pure and passive: nothing of it reaches the driver.  Times of phases are those at which the map that says so was
stored, because only then anybody acts on it; what was noticed and fenced is told by the events.  A transition that
another mgr began is continued as such.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from .core import placement
from .core.events import Beacon, Committed, Event, Fenced, FenceGateway, beacons_in
from .core.model import AnaGroup, Availability, Instance, Map, Phase
from .core.soft import State
from .tables import seconds
from .transitions import FenceNote, Kind, Mark, Outcome, Transition

MARKS_KEPT = 40


class Step(NamedTuple):
    """One step of the core: the event, the state after it, and the mgr's monotonic time."""

    event: Event
    state: State
    now: float


@dataclass
class _Loss:
    """Why an instance is being lost, and when that was seen.  ``heard``: its last beacon."""

    cause: str
    noticed: float
    heard: Optional[float] = None
    suspected: Optional[float] = None
    inherited: bool = False


@dataclass
class _Open:
    """A transition under way; ``began`` in the mgr's monotonic time."""

    kind: Kind
    ana_group: int
    began: float
    cause: str
    source: str = ""
    to: str = ""
    inherited: bool = False
    waits_for: Set[Instance] = field(default_factory=set)
    marks: List[Mark] = field(default_factory=list)
    fences: List[FenceNote] = field(default_factory=list)

    def mark(self, what: str, now: float) -> None:
        self.marks.append(Mark(what, round(max(0.0, now - self.began), 3)))
        del self.marks[1:max(1, len(self.marks) - MARKS_KEPT + 1)]


class Recorder:
    """Of one group, from its take-over by this mgr on, or from its repair on."""

    def __init__(self, next_number: int, repaired: bool) -> None:
        self._number, self._repaired = next_number, repaired
        self._stored: Optional[Map] = None
        self._decided: Optional[Map] = None
        self._losses: Dict[Instance, _Loss] = {}
        self._open: Dict[int, _Open] = {}
        self._lost: Dict[Instance, _Open] = {}
        self._ended: List[Transition] = []
        self._wall_ahead_s = 0.0

    def note(self, step: Step, wall_ahead_s: float) -> List[Transition]:
        """What ended with this step.  ``wall_ahead_s``: the wall clock less the mgr's monotonic one."""
        self._ended, self._wall_ahead_s = [], wall_ahead_s
        event, state, now = step
        for beacon in beacons_in(event):
            self._notice_reaped(beacon, now)
        if isinstance(event, FenceGateway):
            self._notice_order(event, now)
        if isinstance(event, Fenced):
            self._fenced(event, state, now)
        if state.map is not self._decided:
            self._decided = state.map
            self._notice_suspicions(state, now)
        if state.committed is not None and isinstance(event, Committed) and state.committed is not self._stored:
            before, self._stored = self._stored, state.committed
            if before is None:
                self._inherit(self._stored, now)
            else:
                self._compare(before, self._stored, now)
        return self._ended

    # -- who is being lost, and why ---------------------------------------------------------------------------------

    def _notice_reaped(self, beacon: Beacon, now: float) -> None:
        for instance in beacon.reaped:
            if self._decided is None or self._decided.current(instance) is None:
                continue
            known = self._losses.get(instance)
            if known is None:
                self._losses[instance] = _Loss(f"the target of {instance.gateway} ended, says its warden", now)
            else:
                known.cause += "; then its target ended, says its warden"

    def _notice_order(self, event: FenceGateway, now: float) -> None:
        gateway = self._decided.gateway(event.gateway_id) if self._decided is not None else None
        if gateway is None or gateway.instance is None:
            return
        known = self._losses.setdefault(gateway.instance, _Loss("", now))
        known.cause += f"{'; then ' if known.cause else ''}an operator had {gateway.instance} fenced"

    def _notice_suspicions(self, state: State, now: float) -> None:
        current = set()
        for gateway in state.map.gateways:
            if gateway.instance is None or gateway.availability is not Availability.SUSPECT:
                continue
            current.add(gateway.instance)
            if gateway.instance not in self._losses:
                self._losses[gateway.instance] = _suspicion(state, gateway.instance, now)
        for instance in set(self._losses) - current:
            if state.map.current(instance) is not None:
                del self._losses[instance]  # it was acquitted

    # -- what was stored --------------------------------------------------------------------------------------------

    def _inherit(self, found: Map, now: float) -> None:
        """The map that this mgr took over, or went on with after a repair."""
        when = "when an operator had the group repaired" if self._repaired else "under the mgr before"
        for gateway in found.gateways:
            if gateway.instance is not None and gateway.availability is Availability.SUSPECT:
                self._losses[gateway.instance] = _Loss(f"{gateway.id} was suspected {when}", now, None, now,
                                                       inherited=not self._repaired)
        for group in found.ana_groups:
            begun = {Phase.FENCING: Kind.FAILOVER, Phase.DRAINING: Kind.HANDOVER, Phase.PROMOTING: Kind.START}
            if group.phase not in begun:
                continue
            source = group.holder or min(group.writers - {group.incoming}, default=None)
            self._open[group.id] = _Open(begun[group.phase], group.id, now, f"begun {when}",
                                         str(source or ""), str(group.incoming or ""), inherited=not self._repaired,
                                         waits_for=set(group.writers))

    def _compare(self, before: Map, after: Map, now: float) -> None:
        for gateway in after.gateways:
            loss = self._losses.get(gateway.instance) if gateway.instance else None
            if loss is not None and loss.suspected is None and gateway.availability is Availability.SUSPECT:
                loss.suspected = now
        for group in after.ana_groups:
            old = before.ana_group(group.id) or AnaGroup(group.id, group.owner)
            if old.since != group.since:
                self._change(old, group, after, now)
        for number in set(self._open) - {group.id for group in after.ana_groups}:
            self._end(self._open.pop(number), Outcome.REMOVED)
        for gateway in before.gateways:
            if gateway.instance is not None and after.current(gateway.instance) is None:
                self._departed(gateway.instance, before, after, now)

    def _change(self, old: AnaGroup, new: AnaGroup, after: Map, now: float) -> None:
        """The ANA group has another phase, or the same anew."""
        self._end_phase(old, new, now)
        if new.phase is Phase.FENCING:
            self._lose(old, new, now)
        elif new.phase is Phase.DRAINING:
            kind, cause = planned(after, old, new)
            self._open[new.id] = _Open(kind, new.id, now, cause, str(new.holder), marks=[Mark("draining", 0.0)])
        elif new.phase is Phase.PROMOTING:
            if new.id not in self._open:
                self._open[new.id] = _Open(Kind.START, new.id, now, "nobody served it")
            self._open[new.id].to = str(new.incoming)
            self._open[new.id].mark("promoted", now)

    def _end_phase(self, old: AnaGroup, new: AnaGroup, now: float) -> None:
        under_way = self._open.get(old.id)
        if under_way is None or new.phase is Phase.FENCING:
            return
        if old.phase is Phase.PROMOTING:
            if new.holder is not None and new.holder == old.incoming:
                under_way.mark("confirmed", now)
                self._end(self._open.pop(old.id), Outcome.DONE)
            else:
                under_way.mark("declined", now)
        elif old.phase is Phase.DRAINING:
            if new.holder is not None:
                under_way.mark("abandoned", now)
                self._end(self._open.pop(old.id), Outcome.ABANDONED)
            else:
                under_way.mark("drained", now)

    def _lose(self, old: AnaGroup, new: AnaGroup, now: float) -> None:
        """Who served the ANA group departed."""
        under_way = self._open.get(new.id)
        if under_way is not None and under_way.kind is not Kind.FAILOVER:
            under_way.mark("departed", now)
            self._end(self._open.pop(new.id), Outcome.BROKEN_OFF)
            under_way = None
        if under_way is None:
            under_way = self._open[new.id] = self._lost_one(Kind.FAILOVER, new.id, old.server, now)
        under_way.waits_for |= new.writers
        under_way.mark("departed", now)

    def _lost_one(self, kind: Kind, ana_group: int, instance: Optional[Instance], now: float) -> _Open:
        loss = self._losses.get(instance) if instance is not None else None
        if loss is None:
            loss = _Loss(f"{instance or 'its holder'} departed", now)
        began = loss.noticed if loss.heard is None else loss.heard
        begun = _Open(kind, ana_group, began, loss.cause, str(instance or ""), inherited=loss.inherited)
        if loss.heard is not None:
            begun.mark("heard", loss.heard)
        if not loss.inherited:
            begun.mark("noticed", loss.noticed)
        if loss.suspected is not None and not loss.inherited:
            begun.mark("suspected", loss.suspected)
        return begun

    def _departed(self, instance: Instance, before: Map, after: Map, now: float) -> None:
        departed = after.departure(instance)
        if after.gateway(instance.gateway) is None:
            self._losses[instance] = _Loss(f"{instance.gateway} was deleted while its target ran", now)
        waited_for = any(instance in under_way.waits_for for under_way in self._open.values())
        if departed is not None and departed.addresses and departed.osd_epoch is None and not waited_for:
            lost = self._lost[instance] = self._lost_one(Kind.LOSS, 0, instance, now)
            lost.mark("departed", now)
        self._losses.pop(instance, None)

    def _fenced(self, event: Fenced, state: State, now: float) -> None:
        departed = state.map.departure(event.instance)
        note = FenceNote(str(event.instance), tuple(sorted(departed.addresses)) if departed else (), event.osd_epoch)
        lost = self._lost.pop(event.instance, None)
        for under_way in [*self._open.values(), *([lost] if lost else [])]:
            if under_way is lost or event.instance in under_way.waits_for:
                under_way.waits_for.discard(event.instance)
                under_way.mark("fenced", now)
                under_way.fences.append(note)
        if lost is not None:
            self._end(lost, Outcome.DONE)

    def _end(self, ended: _Open, outcome: Outcome) -> None:
        self._ended.append(Transition(
            self._number, ended.kind, ended.ana_group, round(ended.began + self._wall_ahead_s, 3), ended.source,
            ended.to, ended.cause, outcome, tuple(ended.marks), tuple(ended.fences), ended.inherited))
        self._number += 1


def _suspicion(state: State, instance: Instance, now: float) -> _Loss:
    """Why the core suspects the instance: the reasons are ``machine._settle_gateway``'s."""
    soft, name, promote_s = state.soft, instance.gateway, state.map.timing.promote_s
    heard = soft.heard.get(name, now)
    if name in soft.stuck:
        return _Loss(f"the I/O of {name} makes no progress: {soft.stuck[name]}", now, heard)
    for group in state.map.served_by(instance):
        acked = soft.phase_acked.get(group.id)
        if group.phase is Phase.PROMOTING and acked and acked.version == group.since and now >= acked.at + promote_s:
            return _Loss(f"{name} left its promotion unanswered for {seconds(promote_s)}", now, heard)
    return _Loss(f"{name} was silent for {seconds(now - heard)}", now, heard)


def planned(after: Map, old: AnaGroup, new: AnaGroup) -> Tuple[Kind, str]:
    """Why an ANA group drains: the reasons are ``handover.planned_move``'s."""
    assert new.holder is not None
    holder, target = after.gateway(new.holder.gateway), after.gateway(new.target)
    assert holder is not None
    for so, why in ((holder.deleting, "is being deleted"), (not holder.enabled, "was disabled"),
                    (holder.leaving, "is being stopped"),
                    (after.frozen(holder), f"is at location {holder.location}, which is in disaster")):
        if so:
            return Kind.HANDOVER, f"{holder.id} {why}"
    if target is None:
        return Kind.HANDOVER, f"{new.owner} is being deleted and nothing needs the ANA group any more"
    if new.moved_to is not None and new.moved_to.gateway == target.id:
        return Kind.HANDOVER, "an operator moved it"
    if old.moved_to is not None and new.moved_to is None:
        return Kind.HANDOVER, "an operator moved it back"
    if placement.better(after, new, target, holder):
        return Kind.HANDOVER, f"{target.id} reaches more of its namespaces"
    if target.id != new.owner:
        return Kind.HANDOVER, f"{target.id} is at its owner's location {target.location}"
    return Kind.FAILBACK, f"{target.id} is well again"
