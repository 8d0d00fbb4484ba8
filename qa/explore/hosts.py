"""What a gateway host does by itself: the warden and the agent read seats, the agent acts, step by step.

Pure: a host and what it sees go in, the host after that comes out, with what happened to I/O on the way (``Happened``):
an instance drained ANA groups, or was made optimized for them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import FrozenSet, List, NamedTuple, Optional, Tuple

from nvmeof_ha.core import gateway, lease, register
from nvmeof_ha.core.events import Beacon, TargetState
from nvmeof_ha.core.model import Instance, Map, Phase, Subsystem

from .world import Host, Violation

STEPS = 8


class Happened(NamedTuple):
    """``passed``: the OSD map epoch that the instance had passed when it became optimized; None: it drained."""

    instance: Instance
    ana_groups: FrozenSet[int]
    passed: Optional[int]


class Done(NamedTuple):
    host: Host
    happened: Tuple[Happened, ...] = ()


@lru_cache(maxsize=None)
def subsystems(ana_groups: int) -> Tuple[Subsystem, ...]:
    return (Subsystem("nqn.a", ("a:1",), tuple((n, 1) for n in range(1, ana_groups + 1))),)


def turn(host: Host, *seen: object) -> Done:
    """A host that is not late: reads, then acts until nothing is left to do.

    ``seen``: the map of each seat that answers, then the time, the OSD map epoch and how many ANA groups have
    namespaces.
    """
    *answers, now, osd_epoch, ana_groups = seen
    done = read(host, tuple(answers), now)  # type: ignore[arg-type]
    happened = done.happened
    for _ in range(STEPS):
        before = done.host
        done = act(before, now, osd_epoch, ana_groups)  # type: ignore[arg-type]
        happened += done.happened
        if done.host == before:
            return Done(before, happened)
    raise Violation(f"{host.name} is still at work after {STEPS} steps")


def read(host: Host, answers: Tuple[Optional[Map], ...], now: float) -> Done:
    """Warden and agent take one read of the seats: lease, view, and whether the instance is over."""
    happened: Tuple[Happened, ...] = ()
    fresh = register.judge(answers, host.view.version)
    view = register.merge(host.view, fresh)
    host = host if view == host.view else replace(host, view=view)
    if host.running and host.instance is not None:
        lease_until_s = lease.extend(host.lease_until_s, fresh, host.instance, now)
        if lease_until_s != host.lease_until_s:
            host = replace(host, lease_until_s=lease_until_s)
        if fresh.over(host.instance):
            return Done(reaped(host))
        if host.attach and host.view.permits is not None:
            host = _attached(host, host.instance)
            happened = _drained(host, [g for g, _ in host.declined])
    return Done(_admitted(host), happened)


def _attached(host: Host, instance: Instance) -> Host:
    declined = gateway.declined_at_attach(host.view, instance, host.target().states)
    return replace(host, attach=False, declined=tuple(sorted(declined.items())))


def _drained(host: Host, ana_groups: List[int]) -> Tuple[Happened, ...]:
    """Inaccessible and without I/O in flight."""
    assert not host.optimized & set(ana_groups) and host.instance is not None
    return (Happened(host.instance, frozenset(ana_groups), None),) if ana_groups else ()


def _admitted(host: Host) -> Host:
    """Propose a new instance, or start the target of the one that the agreed map admits."""
    record = None if host.view.permits is None else host.view.permits.gateway(host.name)
    if record is None or host.running or host.leaving:
        return host
    if host.instance is not None and record.instance == host.instance:
        return replace(host, running=True)
    if host.instance is None or record.last_number >= host.instance.number:
        return replace(host, instance=Instance(host.name, record.last_number + 1, f"t{host.begun}"), begun=host.begun + 1)
    return host


def reaped(host: Host) -> Host:
    """The target is dead and its warden knows it."""
    assert host.instance is not None
    return Host(host.name, view=host.view, reaped=host.reaped + (host.instance,), leaving=host.leaving, begun=host.begun,
                muted=host.muted, narrow=host.narrow, overtaken=host.overtaken,
                awaited=host.awaited)


def restarted_agent(host: Host) -> Host:
    return replace(host, view=register.NOTHING_SEEN, drained=(), declined=(), applied=register.NO_VERSION, attach=True,
                   slot=None, delayed=None, overtaken=None)


def act(host: Host, now: float, osd_epoch: int, ana_groups: int) -> Done:
    """One step of the agent: restrict, else drain, else permit, else barrier; then a beacon says what holds."""
    happened: Tuple[Happened, ...] = ()
    if host.running and host.instance is not None:
        host, happened = _step(host, host.instance, now, osd_epoch)
        if host.leaving and gateway.may_leave(host.view, host.instance):  # type: ignore[arg-type]
            host = reaped(host)
    permits = host.view.permits
    if permits is not None and host.reaped:
        host = replace(host, reaped=tuple(i for i in host.reaped if permits.current(i) is not None))
    said = beacon_of(host, ana_groups)
    if host.slot == said:
        return Done(host, happened)
    return Done(replace(host, slot=said, delayed=host.delayed or host.slot), happened)


def _step(host: Host, instance: Instance, now: float, osd_epoch: int) -> Done:
    happened: Tuple[Happened, ...] = ()
    plan = gateway.plan(host.view, instance, now < host.lease_until_s, host.target())
    if plan.restrict:
        host = replace(host, optimized=host.optimized - plan.restrict)
    elif plan.drain:
        happened = _drained(host, [g for g, _ in plan.drain])
        host = replace(host, drained=tuple(sorted({**dict(host.drained), **dict(plan.drain)}.items())))
    elif plan.permit:
        happened = (Happened(instance, plan.permit, host.passed),)
        host = replace(host, optimized=host.optimized | plan.permit)
    elif plan.barrier is not None:
        host = replace(host, passed=osd_epoch)
    if host.view.permits is not None:
        current = {g.id: g.since for g in host.view.permits.ana_groups}
        if host.drained or host.declined:
            host = replace(host, drained=tuple(d for d in host.drained if current.get(d[0]) == d[1]),
                           declined=tuple(d for d in host.declined if current.get(d[0]) == d[1]))
        if (host.applied != host.view.permits.version
                and gateway.restrictions_applied(host.view, instance, host.target())):
            host = replace(host, applied=host.view.permits.version)
    return Done(host, happened)


def beacon_of(host: Host, ana_groups: int) -> Beacon:
    """What the agent says now; without a running target it says what it proposes and whom it reaped."""
    if not host.running:
        return Beacon(host.name, host.instance, 0, reaped=host.reaped, leaving=host.leaving)
    assert host.instance is not None
    confirmations = gateway.confirmations(host.view, host.instance, host.target())
    return Beacon(host.name, host.instance, 0, host.applied, TargetState.SERVING, host.leaving,
                  addresses=frozenset({host.address}), confirmations=confirmations, reaped=host.reaped, digest="d",
                  subsystems=subsystems(ana_groups), connections=host.connections)


def declinable(host: Host) -> List[int]:
    """Promotions that wait for this instance and did not make it optimized, or do no more."""
    groups = () if host.view.permits is None else host.view.permits.ana_groups
    declined = dict(host.declined)
    return [g.id for g in groups if g.phase is Phase.PROMOTING and g.incoming == host.instance
            and g.id not in host.optimized and declined.get(g.id) != g.since]


def decline(host: Host, ana_group_id: int) -> Done:
    assert host.view.permits is not None
    group = host.view.permits.ana_group(ana_group_id)
    assert group is not None
    host = replace(host, declined=tuple(sorted({**dict(host.declined), ana_group_id: group.since}.items())))
    return Done(host, _drained(host, [ana_group_id]))
