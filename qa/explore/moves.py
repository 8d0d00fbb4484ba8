"""Everything that can happen in one state of the world, as pairs of words and what follows.

The rule is that work is done whole and before time passes, in any order: a host's turn, the write of a map, a fence.
Each exception (a write on one seat, a read of two, an agent that stops after one step, an old beacon that arrives, time
that passes while there is work) costs one of the budget's ``late``, so that a scope is closed and can be explored fully.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Callable, FrozenSet, Iterator, List, Optional, Tuple

from nvmeof_ha.core import gateway, lease, register
from nvmeof_ha.core.events import BeaconReceived, Committed, DeleteGateway, Fenced, FenceFailed, Tick
from nvmeof_ha.core.machine import begin
from nvmeof_ha.core.model import Instance, Map, Phase, Version
from nvmeof_ha.core.timing import TICK_S

from .world import TIMING, UNIT_S, Host, Seat, Violation, World, beacon_of, check_promotion, feed

STEPS = 8

Move = Tuple[str, Callable[[], World]]


def work(world: World) -> Iterator[Move]:
    """What somebody is about to do and does at once and whole: the write of a map, a host's turn, a fence."""
    if world.state.in_flight is not None:
        version = world.state.in_flight.version
        yield f"{version} is stored on all seats and the mgr learns it", lambda: store(world)
    for host in world.hosts:
        if host.up:
            yield f"{host.name} reads all seats, does what follows and beacons", lambda host=host: turn(world, host.name)
    for instance in sorted(world.fences):
        yield f"the mons fence {instance}", lambda instance=instance: fence(world, instance)


def exceptions(world: World, idle: bool) -> Iterator[Move]:
    """What costs some of the budget: work done in part or late, faults, commands; and time that passes, which costs
    nothing while there is no work."""
    yield from _time_moves(world if idle else spend(world, "late")) if idle or world.budget.late else ()
    if _half_written(world):
        yield from _seat_moves(world)   # to begin in part has been paid for
    elif world.budget.late:
        yield from _seat_moves(spend(world, "late"))
    if world.budget.late:
        late = spend(world, "late")
        for host in world.hosts:
            if host.up:
                yield from _host_moves(late, host)
    yield from _mgr_moves(world)
    yield from _fault_moves(world)


def _half_written(world: World) -> bool:
    in_flight = world.state.in_flight
    return in_flight is not None and any(s.claim == in_flight.version for s in world.seats)


def store(world: World) -> World:
    content = world.state.in_flight
    assert content is not None
    for index, seat in enumerate(world.seats):
        if seat.claim < content.version:
            world = land(world, index, content)
    return acknowledge(world)


def turn(world: World, name: str) -> World:
    """A host that is not late: reads all seats, acts until nothing is left to do, and its last beacon arrives."""
    answering = _hindmost(world) if _host(world, name).narrow else tuple(range(register.SEATS))
    world = read(world, _host(world, name), answering)
    for _ in range(STEPS):
        before = _host(world, name)
        world = act(world, before)
        if _host(world, name) == before:
            return world if before.muted else deliver(world, before)
    raise Violation(f"{name} is still at work after {STEPS} steps")


def _hindmost(world: World) -> Tuple[int, ...]:
    return (min(range(register.SEATS), key=lambda i: (world.seats[i].claim, _version(world.seats[i].map))),)


def _host(world: World, name: str) -> Host:
    return next(h for h in world.hosts if h.name == name)


# ---- seats and the mgr's commits ----------------------------------------------------------------------------------

def _seat_moves(world: World) -> Iterator[Move]:
    written = [m for m in (world.state.in_flight or world.state.committed, world.late) if m is not None]
    for content in written:
        for index in _unlike(world, lambda seat: seat.claim < content.version):
            yield (f"the write of {content.version} lands on a seat that held {world.seats[index].claim}",
                   lambda content=content, index=index: land(world, index, content))
    in_flight = world.state.in_flight
    if in_flight is not None and sum(s.claim == in_flight.version for s in world.seats) >= register.QUORUM:
        yield f"the mgr learns that {in_flight.version} is stored", lambda: acknowledge(world)


def _mgr_moves(world: World) -> Iterator[Move]:
    if world.budget.mgr_replacements:
        for seats in _different(world, (2, 3)):
            yield (f"the mgr dies; the next one claims the seats that hold {', '.join(_names(world, seats))}",
                   lambda seats=seats: replace_mgr(world, seats))


def _unlike(world: World, wanted: Callable[[Seat], bool]) -> List[int]:
    """One seat of each kind: seats that hold the same cannot be told apart."""
    found = {}
    for index, seat in enumerate(world.seats):
        if wanted(seat):
            found.setdefault((seat.claim, seat.map and seat.map.version), index)
    return list(found.values())


def _different(world: World, sizes: Tuple[int, ...]) -> List[Tuple[int, ...]]:
    """Choices of seats that differ in what they hold."""
    found = {}
    for size in sizes:
        for chosen in combinations(range(len(world.seats)), size):
            kinds = tuple(sorted((world.seats[i].claim, _version(world.seats[i].map)) for i in chosen))
            found.setdefault(kinds, chosen)
    return list(found.values())


def _version(found: Optional[Map]) -> Version:
    return register.NO_VERSION if found is None else found.version


def _names(world: World, seats: Tuple[int, ...]) -> List[str]:
    return [str(_version(world.seats[i].map)) for i in seats]


def land(world: World, index: int, content: Map) -> World:
    seats = list(world.seats)
    seats[index] = Seat(content.version, content)
    return replace(world, seats=tuple(seats))


def acknowledge(world: World) -> World:
    assert world.state.in_flight is not None
    return feed(world, Committed(world.state.in_flight.version))


def replace_mgr(world: World, claimed: Tuple[int, ...]) -> World:
    """The old mgr's write may still land on the seats that were not claimed; its fences may or may not be carried out."""
    ballot = world.state.ballot + 1
    seats = tuple(Seat(Version(ballot, 0), s.map) if i in claimed else s for i, s in enumerate(world.seats))
    found = register.adopt({i: seats[i].map for i in claimed}, claimed)
    assert found is not None
    state, _ = begin(found, world.records, ballot, TIMING, world.now, failback_doubling=False)
    return replace(world, seats=seats, state=state, late=world.state.in_flight, fences=frozenset(),
                   budget=world.budget.less("mgr_replacements"))


# ---- gateway hosts ------------------------------------------------------------------------------------------------

def _host_moves(world: World, host: Host) -> Iterator[Move]:
    for seats in _different(world, (1, 2, 3)) if not host.narrow else ():
        yield (f"{host.name} reads {', '.join(_names(world, seats))}",
               lambda seats=seats: read(world, host, seats))
    yield f"the agent of {host.name} takes its next step and makes a beacon", lambda: act(world, host)
    if host.slot is not None and not host.muted:
        yield f"the last beacon of {host.name} arrives", lambda: deliver(world, host)
    if host.delayed is not None:
        yield f"a delayed beacon of {host.name} arrives", lambda: deliver_delayed(world, host)


def read(world: World, host: Host, seats: Tuple[int, ...]) -> World:
    """Warden and agent take one read of the seats: lease, view, and whether the instance is over."""
    fresh = register.judge([world.seats[i].map for i in seats], host.view.version)
    host = replace(host, view=register.merge(host.view, fresh))
    if host.running and host.instance is not None:
        host = replace(host, lease_until_s=lease.extend(host.lease_until_s, fresh, host.instance, world.now))
        if fresh.over(host.instance):
            return world.with_host(_reaped(host))
        if host.attach and host.view.permits is not None:
            host = _attached(host, host.instance)
            world = _drained(world, host, [g for g, _ in host.declined])
    return world.with_host(_admitted(world, host))


def _attached(host: Host, instance: Instance) -> Host:
    declined = gateway.declined_at_attach(host.view, instance, host.target().states)
    return replace(host, attach=False, declined=tuple(sorted(declined.items())))


def _drained(world: World, host: Host, ana_groups: List[int]) -> World:
    """Inaccessible and without I/O in flight."""
    assert not host.optimized & set(ana_groups)
    return replace(world, dirty=frozenset(d for d in world.dirty if d[1] != host.instance or d[0] not in ana_groups))


def _admitted(world: World, host: Host) -> Host:
    """Propose a new instance, or start the target of the one that the agreed map admits."""
    record = None if host.view.permits is None else host.view.permits.gateway(host.name)
    if record is None or host.running or host.leaving:
        return host
    if host.instance is not None and record.instance == host.instance:
        return replace(host, running=True)
    if host.instance is None or record.last_number >= host.instance.number:
        return replace(host, instance=Instance(host.name, record.last_number + 1, f"t{host.begun}"), begun=host.begun + 1)
    return host


def _reaped(host: Host) -> Host:
    """The target is dead and its warden knows it."""
    assert host.instance is not None
    return Host(host.name, view=host.view, reaped=host.reaped + (host.instance,), leaving=host.leaving, begun=host.begun,
                muted=host.muted, narrow=host.narrow)


def act(world: World, host: Host) -> World:
    """One step of the agent: restrict, else drain, else permit, else barrier; then a beacon says what holds."""
    if host.running and host.instance is not None:
        world, host = _step(world, host, host.instance)
        if host.leaving and gateway.may_leave(host.view, host.instance):
            host = _reaped(host)
    permits = host.view.permits
    if permits is not None:
        host = replace(host, reaped=tuple(i for i in host.reaped if permits.current(i) is not None))
    said = beacon_of(world, host)
    delayed = host.delayed if host.slot == said else host.delayed or host.slot
    return world.with_host(replace(host, slot=said, delayed=delayed))


def _step(world: World, host: Host, instance: Instance) -> Tuple[World, Host]:
    plan = gateway.plan(host.view, instance, world.now < host.lease_until_s, host.target())
    if plan.restrict:
        host = replace(host, optimized=host.optimized - plan.restrict)
    elif plan.drain:
        world = _drained(world, host, [g for g, _ in plan.drain])
        host = replace(host, drained=tuple(sorted({**dict(host.drained), **dict(plan.drain)}.items())))
    elif plan.permit:
        for ana_group_id in sorted(plan.permit):
            check_promotion(world, host, ana_group_id)
        host = replace(host, optimized=host.optimized | plan.permit)
        world = replace(world, dirty=world.dirty | {(g, instance) for g in plan.permit})
    elif plan.barrier is not None:
        host = replace(host, passed=world.osd_epoch)
    if host.view.permits is not None:
        current = {g.id: g.since for g in host.view.permits.ana_groups}
        host = replace(host, drained=tuple(d for d in host.drained if current.get(d[0]) == d[1]),
                       declined=tuple(d for d in host.declined if current.get(d[0]) == d[1]))
        if gateway.restrictions_applied(host.view, instance, host.target()):
            host = replace(host, applied=host.view.permits.version)
    return world, host


def deliver(world: World, host: Host) -> World:
    """The last beacon arrives: earlier ones would be out of order from now on."""
    assert host.slot is not None
    world = world.with_host(replace(host, delayed=None))
    return feed(world, BeaconReceived(replace(host.slot, sequence=_next_sequence(world, host))))


def deliver_delayed(world: World, host: Host) -> World:
    assert host.delayed is not None
    world = world.with_host(replace(host, delayed=None))
    return feed(world, BeaconReceived(replace(host.delayed, sequence=_next_sequence(world, host))))


def _next_sequence(world: World, host: Host) -> int:
    return world.state.soft.sequence.get(host.name, 0) + 1


# ---- fencing and time ---------------------------------------------------------------------------------------------

def fence(world: World, instance: Instance, answered: bool = True) -> World:
    epoch = world.osd_epoch + 1
    fenced = tuple(sorted({instance: epoch, **dict(world.fenced)}.items()))
    world = replace(world, fences=world.fences - {instance}, fenced=fenced, osd_epoch=epoch)
    if answered:
        return feed(world, Fenced(instance, epoch))
    return feed(replace(world, budget=world.budget.less("fence_failures")), FenceFailed(instance, "timed out"))


def _time_moves(world: World) -> Iterator[Move]:
    alive = [h.name for h in world.hosts if h.up and not h.muted]
    for size in range(min(world.budget.silences, len(alive)) + 1):
        for silent in combinations(alive, size):
            words = "a while passes" + (f", nothing is heard of {' and '.join(silent)}" if silent else "")
            yield words, lambda silent=silent: wait(world, frozenset(silent))


def wait(world: World, silent: FrozenSet[str] = frozenset()) -> World:
    """One unit of time.  Who is not silent was heard without news; a target whose lease ended is made inaccessible."""
    now = world.now + UNIT_S
    budget = world.budget
    for _ in silent:
        budget = budget.less("silences")
    hosts = tuple(replace(h, optimized=frozenset()) if h.running and now >= h.lease_until_s else h for h in world.hosts)
    heard = {h.name: now for h in hosts if h.up and not h.muted and h.name not in silent and _is_admitted(world, h)}
    state = world.state.with_soft(heard={g: heard.get(g, at) for g, at in world.state.soft.heard.items()},
                                  ticked=now - TICK_S)
    return feed(replace(world, now=now, hosts=hosts, state=state, budget=budget), Tick())


def _is_admitted(world: World, host: Host) -> bool:
    """Beacons of another instance are refused and count as silence."""
    return host.instance is not None and world.state.map.current(host.instance) is not None


# ---- faults and commands ------------------------------------------------------------------------------------------

def _fault_moves(world: World) -> Iterator[Move]:
    budget = world.budget
    for host in world.hosts:
        if not host.up:
            continue
        if budget.crashes and host.running:
            yield f"the target of {host.name} dies", lambda host=host: spend(crash(world, host), "crashes")
        if budget.host_losses:
            yield f"the host of {host.name} loses power and boots", lambda host=host: spend(
                world.with_host(Host(host.name, begun=host.begun)), "host_losses")
            yield f"the host of {host.name} loses power for good", lambda host=host: spend(
                world.with_host(Host(host.name, up=False)), "host_losses")
        if host.muted:
            yield f"{host.name} is connected again", lambda host=host: world.with_host(
                replace(host, muted=False, narrow=False))
        elif budget.cuts:
            yield f"beacons of {host.name} arrive no more", lambda host=host: spend(
                world.with_host(replace(host, muted=True)), "cuts")
            yield f"{host.name} is cut off but for the seat that is furthest behind", lambda host=host: spend(
                world.with_host(replace(host, muted=True, narrow=True)), "cuts")
        if budget.agent_restarts and host.running:
            yield f"the agent of {host.name} restarts", lambda host=host: spend(
                restart_agent(world, host), "agent_restarts")
        if budget.leaves and host.running and not host.leaving:
            yield f"{host.name} is asked to leave", lambda host=host: spend(
                world.with_host(replace(host, leaving=True)), "leaves")
        if budget.declines and host.running:
            informed = read(world, host, tuple(range(register.SEATS)))
            for ana_group_id in declinable(_host(informed, host.name)):
                yield (f"{host.name} reads all seats, cannot take ANA group {ana_group_id} and declines",
                       lambda name=host.name, informed=informed, ana_group_id=ana_group_id: spend(
                           decline(informed, _host(informed, name), ana_group_id), "declines"))
    if budget.fence_failures:
        for instance in sorted(world.fences):
            yield (f"the mons fence {instance}, but the mgr sees an error",
                   lambda instance=instance: fence(world, instance, answered=False))
    if budget.deletions and world.state.committed is not None:
        for known in world.state.map.gateways:
            if not known.deleting:
                yield (f"nvme-gw delete {known.id}", lambda known=known: spend(
                    feed(world, DeleteGateway(1, known.id)), "deletions"))


def spend(world: World, name: str) -> World:
    return replace(world, budget=world.budget.less(name))


def crash(world: World, host: Host) -> World:
    return world.with_host(_reaped(host))


def restart_agent(world: World, host: Host) -> World:
    return world.with_host(replace(host, view=register.NOTHING_SEEN, drained=(), declined=(),
                                   applied=register.NO_VERSION, attach=True, slot=None, delayed=None))


def declinable(host: Host) -> List[int]:
    """Promotions that wait for this instance and did not make it optimized, or do no more."""
    groups = () if host.view.permits is None else host.view.permits.ana_groups
    declined = dict(host.declined)
    return [g.id for g in groups if g.phase is Phase.PROMOTING and g.incoming == host.instance
            and g.id not in host.optimized and declined.get(g.id) != g.since]


def decline(world: World, host: Host, ana_group_id: int) -> World:
    assert host.view.permits is not None
    group = host.view.permits.ana_group(ana_group_id)
    assert group is not None
    host = replace(host, declined=tuple(sorted({**dict(host.declined), ana_group_id: group.since}.items())))
    return _drained(world, host, [ana_group_id]).with_host(host)
