"""Everything that can happen in one state of the world, as pairs of words and what follows.

The rule is that work is done whole and before time passes, in any order: a host's turn, the write of a map, a fence.
Each exception (a write on one seat, a read of two, an agent that stops after one step, an old beacon that arrives, time
that passes while there is work) costs one of the budget's ``late``, so that a scope is closed and can be explored fully.

What the rule leaves out without a loss: steps of a host between which nobody else acts commute with everything that
others do, because a host acts on nothing but what it read and nobody sees it but by its beacon; seats that hold the same
may change places; a turn that changes nothing leads back to where it began.  What it leaves out and ``late`` gives back, one
or two at a time: others that act between the parts of one's work, and time that passes meanwhile.  So "fully" means every
order of whole work, of faults in any state between, of commands, and of as many parts as ``late`` allows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from itertools import combinations
from typing import Callable, FrozenSet, Iterator, List, Optional, Tuple

from nvmeof_ha.core import locations, register
from nvmeof_ha.core.events import (Beacon, BeaconReceived, ClearDisaster, Committed, CreateGateway, DeleteGateway, Event,
                                   Fenced, FenceFailed, FenceGateway, MoveAnaGroup, SetDisaster, SetEnabled, Tick)
from nvmeof_ha.core.machine import begin
from nvmeof_ha.core.model import Availability, Disaster, Instance, Map, Version
from nvmeof_ha.core.rebuild import Left, rebuild
from nvmeof_ha.core.timing import TICK_S

from . import hosts as alone
from .identity import REMEMBERED
from .world import TIMING, UNIT_S, Host, Seat, World, check_promotion, feed, recorded

Move = Tuple[str, Callable[[], World]]


def work(world: World) -> Iterator[Move]:
    """What somebody is about to do and does at once and whole: the write of a map, a host's turn, a fence."""
    if world.state.in_flight is not None:
        version = world.state.in_flight.version
        yield f"{version} is stored on all seats and the mgr learns it", lambda: store(world)
    for host in world.hosts:
        if host.up:
            yield f"{host.name} reads all seats, does what follows and beacons", lambda host=host: turn(world, host.name)
        if host.running and host.awaited and not host.connections:
            yield f"NVMe hosts connect to {host.name}", lambda host=host: connect(world, host.name)
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
    return acknowledge(without_late(world))


def turn(world: World, name: str) -> World:
    """A host that is not late: reads all seats, acts until nothing is left to do, and its last beacon arrives."""
    host = _host(world, name)
    maps = tuple(world.seats[i].map for i in (_hindmost(world) if host.narrow else range(register.SEATS)))
    done = REMEMBERED.call(alone.turn, (host, *maps), (world.now, world.osd_epoch, _in_use(world)))
    world = carry(world, done)
    return world if host.muted else deliver(world, done.host)


def connect(world: World, name: str) -> World:
    """NVMe hosts that lost their path to this gateway find it again, as soon as its target runs."""
    host = _host(world, name)
    if not (host.running and host.awaited) or host.connections:
        return world
    return world.with_host(replace(host, connections=1))


def carry(world: World, done: alone.Done) -> World:
    """What a host did by itself, in the world: writes that may be in flight from now on, or are no more."""
    for instance, ana_groups, passed in done.happened:
        if passed is None:
            dirty = frozenset(d for d in world.dirty if d[1] != instance or d[0] not in ana_groups)
        else:
            for ana_group_id in sorted(ana_groups):
                check_promotion(world, instance, passed, ana_group_id)
            dirty = world.dirty | {(g, instance) for g in ana_groups}
        world = replace(world, dirty=dirty)
    return world.with_host(done.host)


def _in_use(world: World) -> int:
    """How many ANA groups have namespaces."""
    return len(world.state.map.ana_groups)


def _hindmost(world: World) -> Tuple[int, ...]:
    return (min(range(register.SEATS), key=lambda i: (world.seats[i].claim, version_of(world.seats[i].map))),)


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
        for seats in different(world, (2, 3)):
            yield (f"the mgr dies; the next one claims the seats that hold {', '.join(names(world, seats))}",
                   lambda seats=seats: replace_mgr(world, seats))
    if world.budget.seat_losses:
        for left in ((), *different(world, (1,))):
            yield (f"all seats are lost but {', '.join(names(world, left)) or 'none'}, and the map is rebuilt",
                   lambda left=left: spend(rebuilt(world, left), "seat_losses"))


def _unlike(world: World, wanted: Callable[[Seat], bool]) -> List[int]:
    """One seat of each kind: seats that hold the same cannot be told apart."""
    found = {}
    for index, seat in enumerate(world.seats):
        if wanted(seat):
            found.setdefault((seat.claim, seat.map and seat.map.version), index)
    return list(found.values())


def different(world: World, sizes: Tuple[int, ...]) -> List[Tuple[int, ...]]:
    """Choices of seats that differ in what they hold."""
    found = {}
    for size in sizes:
        for chosen in combinations(range(len(world.seats)), size):
            kinds = tuple(sorted((world.seats[i].claim, version_of(world.seats[i].map)) for i in chosen))
            found.setdefault(kinds, chosen)
    return list(found.values())


def version_of(found: Optional[Map]) -> Version:
    return register.NO_VERSION if found is None else found.version


def names(world: World, seats: Tuple[int, ...]) -> List[str]:
    return [str(version_of(world.seats[i].map)) for i in seats]


def land(world: World, index: int, content: Map) -> World:
    seats = list(world.seats)
    seats[index] = Seat(content.version, content)
    return without_late(replace(world, seats=tuple(seats)))


def acknowledge(world: World) -> World:
    assert world.state.in_flight is not None
    return feed(world, Committed(world.state.in_flight.version))


def replace_mgr(world: World, claimed: Tuple[int, ...]) -> World:
    """The old mgr's write may still land on the seats that were not claimed; its fences may or may not be carried out."""
    return spend(without_late(replace(successor(world, claimed), late=world.state.in_flight)), "mgr_replacements")


def without_late(world: World) -> World:
    """Without the write of the mgr before, once no seat can take it any more."""
    late = world.late
    can_land = late is not None and any(seat.claim < late.version for seat in world.seats)
    return world if late is None or can_land else replace(world, late=None)


def successor(world: World, claimed: Tuple[int, ...]) -> World:
    """A new mgr claims some seats, reads them and adopts what they hold."""
    ballot = world.state.ballot + 1
    seats = tuple(Seat(Version(ballot, 0), s.map) if i in claimed else s for i, s in enumerate(world.seats))
    found = register.adopt({i: seats[i].map for i in claimed}, claimed)
    assert found is not None
    state, _ = begin(found, recorded(world), ballot, TIMING, world.now, failback_doubling=False)
    return replace(world, seats=seats, state=state, fences=frozenset(), late=None)


def rebuilt(world: World, left: Tuple[int, ...]) -> World:
    """A mgr goes on from one seat or none, and from the records of the mon KV store."""
    ballot = world.state.ballot + 1
    seats = tuple(Seat(Version(ballot, 0), s.map) if i in left else Seat(register.NO_VERSION, None)
                  for i, s in enumerate(world.seats))
    records = world.records
    found = rebuild("rbd", "g1", Left(
        [seats[i].map for i in left], recorded(world), tuple(d for r in records for d in r.unfenced),
        world.state.map.disasters, world.osd_epoch))
    state, _ = begin(found, recorded(world), ballot, TIMING, world.now, failback_doubling=False)
    return replace(world, seats=seats, state=state, fences=frozenset(), late=None)


# ---- gateway hosts ------------------------------------------------------------------------------------------------

def _host_moves(world: World, host: Host) -> Iterator[Move]:
    for seats in different(world, (1, 2, 3)) if not host.narrow else ():
        yield (f"{host.name} reads {', '.join(names(world, seats))}",
               lambda seats=seats: read(world, host, seats))
    yield f"the agent of {host.name} takes its next step and makes a beacon", lambda: act(world, host)
    if host.slot is not None and not host.muted:
        yield f"the last beacon of {host.name} arrives", lambda: deliver(world, host)
    if host.delayed is not None:
        yield f"a delayed beacon of {host.name} arrives", lambda: deliver_delayed(world, host)


def read(world: World, host: Host, seats: Tuple[int, ...]) -> World:
    return carry(world, alone.read(host, tuple(world.seats[i].map for i in seats), world.now))


def act(world: World, host: Host) -> World:
    return carry(world, alone.act(host, world.now, world.osd_epoch, _in_use(world)))


def deliver(world: World, host: Host) -> World:
    """The last beacon arrives: earlier ones are out of order from now on."""
    assert host.slot is not None
    if host.delayed is not None:
        overtaken = host.delayed if world.budget.old_beacons else None
        world = world.with_host(replace(host, delayed=None, overtaken=overtaken))
    return _hear(world, host.slot)


def deliver_delayed(world: World, host: Host) -> World:
    assert host.delayed is not None
    return _hear(world.with_host(replace(host, delayed=None)), host.delayed)


def deliver_overtaken(world: World, host: Host) -> World:
    assert host.overtaken is not None
    sequence = OLD if host.overtaken.instance == host.instance else NEW   # each instance counts for itself
    return _hear(spend(world.with_host(replace(host, overtaken=None)), "old_beacons"), host.overtaken, sequence)


OLD, NEW = 0, 1
"""Sequence numbers: what a mgr heard last is always noted as ``OLD`` (``world.feed``)."""


def _hear(world: World, beacon: Beacon, sequence: int = NEW) -> World:
    return feed(world, REMEMBERED.call(_numbered, (beacon,), (sequence,)))


def _numbered(beacon: Beacon, sequence: int) -> BeaconReceived:
    return BeaconReceived(replace(beacon, sequence=sequence))


# ---- fencing and time ---------------------------------------------------------------------------------------------

def fence(world: World, instance: Instance, answered: bool = True) -> World:
    world = blocklisted(world, instance)
    if answered:
        return feed(world, Fenced(instance, world.osd_epoch))
    return feed(spend(world, "fence_failures"), FenceFailed(instance, "timed out"))


def blocklisted(world: World, instance: Instance) -> World:
    epoch = world.osd_epoch + 1
    fenced = tuple(sorted({instance: epoch, **dict(world.fenced)}.items()))
    return replace(world, fences=world.fences - {instance}, fenced=fenced, osd_epoch=epoch)


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
        if host.overtaken is not None and not host.muted:
            yield f"an old beacon of {host.name} arrives, though newer ones may have", lambda host=host: deliver_overtaken(
                world, host)
        if budget.crashes and host.running:
            yield f"the target of {host.name} dies", lambda host=host: spend(crash(world, host), "crashes")
        if budget.host_losses:
            yield f"the host of {host.name} loses power and boots", lambda host=host: spend(
                world.with_host(Host(host.name, begun=host.begun, awaited=host.awaited)), "host_losses")
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
                world.with_host(alone.restarted_agent(host)), "agent_restarts")
        if budget.leaves and host.running and not host.leaving:
            yield f"{host.name} is asked to leave", lambda host=host: spend(
                world.with_host(replace(host, leaving=True)), "leaves")
        if budget.declines and host.running:
            informed = read(world, host, tuple(range(register.SEATS)))
            for ana_group_id in alone.declinable(_host(informed, host.name)):
                yield (f"{host.name} reads all seats, cannot take ANA group {ana_group_id} and declines",
                       lambda name=host.name, informed=informed, ana_group_id=ana_group_id: spend(carry(
                           informed, alone.decline(_host(informed, name), ana_group_id)), "declines"))
    if budget.fence_failures:
        for instance in sorted(world.fences):
            yield (f"the mons fence {instance}, but the mgr sees an error",
                   lambda instance=instance: fence(world, instance, answered=False))
    if world.state.committed is not None:
        yield from _commands(world)


def _commands(world: World) -> Iterator[Move]:
    budget, found = world.budget, world.state.map

    def given(name: str, *commands: Event) -> Callable[[], World]:
        return lambda: spend(reduce(feed, commands, world), name)
    for known in found.gateways:
        if budget.deletions and not known.deleting:
            yield f"nvme-gw delete {known.id}", given("deletions", DeleteGateway(1, known.id))
        if budget.switches:
            verb = "disable" if known.enabled else "enable"
            yield f"nvme-gw {verb} {known.id}", given("switches", SetEnabled(1, known.id, not known.enabled))
    for known in found.gateways if budget.orders else ():
        # an operator who says the truth: the target does not run any more
        if known.instance is not None and known.instance not in {h.instance for h in world.hosts if h.running}:
            yield f"nvme-gw fence {known.id}", given("orders", FenceGateway(1, known.id))
    for site in sorted({g.location for g in found.gateways}) if budget.disasters else ():
        if locations.disaster_at(found, site) == Disaster(site):
            yield f"nvme-gw disaster-clear {site}", given("disasters", ClearDisaster(1, site))
        elif not any(g.location == site and g.availability is Availability.AVAILABLE for g in found.gateways):
            yield f"nvme-gw disaster-set {site}", given("disasters", SetDisaster(1, site))
    for host in world.hosts if budget.creations else ():
        gateway = found.gateway(host.name)
        if gateway is None or gateway.deleting:
            yield f"nvme-gw create {host.name}", given("creations", CreateGateway(1, host.name))
    for group in found.ana_groups if budget.moves else ():
        for to in ("", *(g.id for g in found.gateways)):
            yield (f"nvme-gw failover {group.id} to {to or 'any other'}",
                   given("moves", MoveAnaGroup(1, group.id, to)))


def spend(world: World, name: str) -> World:
    return replace(world, budget=world.budget.less(name))


def crash(world: World, host: Host) -> World:
    """Its last beacon may still be under way."""
    overtaken = host.slot if world.budget.old_beacons else None
    return world.with_host(replace(alone.reaped(host), overtaken=overtaken))


def everything(world: World) -> Iterator[Move]:
    """All moves, as if nobody had work left to do."""
    yield from work(world)
    yield from exceptions(world, idle=True)
