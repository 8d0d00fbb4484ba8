"""What the agent of one gateway has to do next: a pure plan from the map it read and what its target shows.

Level-triggered: the agent plans, carries out one step, looks at the target again and plans anew, until nothing is
left.  Promises: nothing is made optimized outside the lease, without a permitting read, before every context passed
the ANA group's fence (barrier), or while a context's address is missing from the committed map; restrictions come
before permissions; a confirmation is given only for what was read back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, Mapping, Optional, Tuple

from .events import Confirmation, Outcome
from .model import AnaGroup, Gateway, Instance, Phase, Version
from .register import View

OPTIMIZED = "optimized"
INACCESSIBLE = "inaccessible"
MIXED = "mixed"
"""Listeners differ, or the last read-back failed: neither confirmed nor safe."""


@dataclass(frozen=True)
class Target:
    """What the agent knows of its target.

    ``states``: ANA group id -> OPTIMIZED, INACCESSIBLE or MIXED over all listeners, as last read back.
    ``passed_osd_epoch``: every context has certainly seen this OSD map epoch.  ``addresses``: of all contexts.
    ``drained`` / ``declined``: ANA group id -> the commit for which this was reached.
    """

    states: Mapping[int, str] = field(default_factory=dict)
    passed_osd_epoch: int = 0
    addresses: FrozenSet[str] = frozenset()
    drained: Mapping[int, Version] = field(default_factory=dict)
    declined: Mapping[int, Version] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One step: ``restrict`` (set inaccessible), then ``drain`` (wait for I/O), then ``barrier`` (an OSD map epoch that
    every context must pass), then ``permit`` (set optimized).  ``confirmations`` are true already."""

    restrict: FrozenSet[int] = frozenset()
    drain: Tuple[Tuple[int, Version], ...] = ()
    barrier: Optional[int] = None
    permit: FrozenSet[int] = frozenset()
    confirmations: Tuple[Confirmation, ...] = ()

    @property
    def idle(self) -> bool:
        return not (self.restrict or self.drain or self.barrier is not None or self.permit)


def may_be_optimized(view: View, instance: Instance, ana_group_id: int, lease_valid: bool, target: Target) -> bool:
    """Permission, lease and addresses; asked again after the barrier and before every ``optimized`` call."""
    if not lease_valid or view.permits is None or not view.may_serve(instance, ana_group_id):
        return False
    gateway = view.permits.current(instance)
    group = view.permits.ana_group(ana_group_id)
    assert gateway is not None and group is not None  # may_serve says so
    return (bool(target.addresses) and target.addresses <= gateway.addresses
            and target.declined.get(ana_group_id) != group.since)


def may_stay_optimized(view: View, instance: Instance, ana_group_id: int, lease_valid: bool) -> bool:
    """A suspicion alone makes nothing inaccessible: it ends the lease's extension, and the lease's end restricts."""
    return lease_valid and view.may_keep(instance, ana_group_id)


def plan(view: View, instance: Instance, lease_valid: bool, target: Target) -> Plan:
    """The next step towards what the map wants of this instance."""
    wanted = {g for g in _group_ids(view, target) if may_be_optimized(view, instance, g, lease_valid, target)}
    kept = {g for g, state in target.states.items()
            if state == OPTIMIZED and may_stay_optimized(view, instance, g, lease_valid)}
    restrict = frozenset(g for g, state in target.states.items() if state != INACCESSIBLE and g not in wanted | kept)
    groups = () if view.permits is None else view.permits.ana_groups
    missing = [g for g in groups if g.id in wanted and target.states.get(g.id) != OPTIMIZED]
    barrier = max((g.osd_epoch for g in missing), default=0)
    return Plan(
        restrict=restrict,
        drain=tuple((g.id, g.since) for g in groups if _must_drain(g, instance, target)),
        barrier=barrier if barrier > target.passed_osd_epoch else None,
        permit=frozenset(g.id for g in missing if g.osd_epoch <= target.passed_osd_epoch),
        confirmations=confirmations(view, instance, target))


def _group_ids(view: View, target: Target) -> FrozenSet[int]:
    permitted = () if view.permits is None else view.permits.ana_groups
    return frozenset(target.states) | frozenset(g.id for g in permitted)


def _must_drain(group: AnaGroup, instance: Instance, target: Target) -> bool:
    """Draining starts once nothing new can arrive, for exactly this commit, and is done once."""
    return (group.phase is Phase.DRAINING and group.holder == instance
            and target.states.get(group.id, INACCESSIBLE) == INACCESSIBLE
            and target.drained.get(group.id) != group.since)


def confirmations(view: View, instance: Instance, target: Target) -> Tuple[Confirmation, ...]:
    """What may be said of each phase that waits for this instance; only of a map that two seats agree on."""
    if view.permits is None:
        return ()
    found = []
    for group in view.permits.ana_groups:
        outcome = _outcome(group, instance, target)
        if outcome is not None:
            found.append(Confirmation(group.id, group.since, outcome))
    return tuple(found)


def _outcome(group: AnaGroup, instance: Instance, target: Target) -> Optional[Outcome]:
    state = target.states.get(group.id, INACCESSIBLE)
    if group.phase is Phase.DRAINING and group.holder == instance:
        done = state == INACCESSIBLE and target.drained.get(group.id) == group.since
        return Outcome.DRAINED if done else None
    if group.phase is Phase.PROMOTING and group.incoming == instance:
        if state == OPTIMIZED:
            return Outcome.OPTIMIZED
        declined = state == INACCESSIBLE and target.declined.get(group.id) == group.since
        return Outcome.DECLINED if declined else None
    return None


def restrictions_applied(view: View, instance: Instance, target: Target) -> bool:
    """Every ANA group that the agreed map does not give to this instance reads back inaccessible."""
    if view.permits is None:
        return False
    return all(state == INACCESSIBLE or view.may_keep(instance, group) for group, state in target.states.items())


def admitted(view: View, instance: Instance) -> Optional[Gateway]:
    """This gateway's record once the agreed map admits the instance."""
    return None if view.permits is None else view.permits.current(instance)


def may_leave(view: View, instance: Instance) -> bool:
    """A leaving instance serves nothing any more, so that its end needs no fence."""
    return view.permits is not None and not view.permits.served_by(instance)


def declined_at_attach(view: View, instance: Instance, states: Mapping[int, str]) -> Mapping[int, Version]:
    """What an agent that attaches to a running target must decline: every promotion that waits for this instance and
    does not read back optimized.

    An agent that died may have declined it already, and the mgr may have acted on that: becoming optimized now would
    break a promise that only the dead agent remembers.  Declining twice is harmless.
    """
    if view.permits is None:
        return {}
    return {g.id: g.since for g in view.permits.ana_groups
            if g.phase is Phase.PROMOTING and g.incoming == instance and states.get(g.id) != OPTIMIZED}
