"""The world that the exploration walks through: one mgr, three seats, gateway hosts, fencing; immutable values.

What is real: the mgr's state machine, and on the gateway ``register.judge``, ``lease.extend`` and ``gateway.plan``.
What is played, and the facts it follows:

* a seat is an omap object whose writes are guarded by ``claim < new claim``; a write lands on each seat by itself, now,
  later or never (DESIGN 4);
* an instance that was optimized may have writes in flight (``dirty``) until it drained or all its addresses are
  blocklisted, also when its process is dead (facts on librbd: a dead client's writes may wait in an OSD);
* a promoted instance is safe from a fenced one only if its own contexts have seen the fence's OSD map (barrier);
* the warden makes a target inaccessible when its lease is over, without draining it (DESIGN 6).

Time passes in units of ``UNIT_S``, which every timer of the core is a little shorter or longer than, so that each of
them ends after one or two units and lease and W end in the right order.  Between two units everything may happen in
any order.  Not modelled: clock-rate error, frozen hosts, more than one context, I/O stuck in a target, subsystems that
differ between gateways; ``qa/sim`` has these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import FrozenSet, List, NamedTuple, Optional, Tuple

from nvmeof_ha.core import gateway, invariants
from nvmeof_ha.core.actions import Action, Commit, Fence, ForgetGateway, StoreGateway
from nvmeof_ha.core.events import Beacon, BeaconReceived, Event, GatewayStored, Tick
from nvmeof_ha.core.machine import begin, step
from nvmeof_ha.core.model import NO_VERSION, AnaGroup, Gateway, Instance, Map, Version
from nvmeof_ha.core.register import NOTHING_SEEN, SEATS, View
from nvmeof_ha.core.soft import State
from nvmeof_ha.core.timing import Timing

from .identity import REMEMBERED

UNIT_S = 1.5
TIMING = Timing(beacon_s=0.5, suspect_s=1.5, lease_s=2.0, restrict_s=0.2, isolated_s=1.5, frozen_s=1.5, drain_s=1.5,
                promote_s=1.5, failback_delay_s=1.5)

Writers = FrozenSet[Tuple[int, Instance]]


class Violation(AssertionError):
    """An invariant does not hold; the search adds the path that leads here."""


class Seat(NamedTuple):
    claim: Version
    map: Optional[Map]


@dataclass(frozen=True)
class Host:
    """One gateway host: warden, agent and target.

    ``instance``: proposed, or running (``running``).  ``optimized``: ANA groups, as the target has them.  ``slot``: the
    beacon last made; it is sent until the agent makes the next one.  ``attach``: the agent is new at a running target.
    ``begun``: how many instances it began; makes their tokens.  ``delayed``: an earlier beacon that may still arrive, as
    long as no later one did.  ``overtaken``: one that arrives after a later one, or after its target died.  ``muted``: no
    beacon arrives.  ``narrow``: besides, only the seat that is furthest behind answers it.  ``awaited``: NVMe hosts
    connect to the target once it runs.
    """

    name: str
    up: bool = True
    instance: Optional[Instance] = None
    running: bool = False
    view: View = NOTHING_SEEN
    optimized: FrozenSet[int] = frozenset()
    passed: int = 0
    lease_until_s: float = 0.0
    drained: Tuple[Tuple[int, Version], ...] = ()
    declined: Tuple[Tuple[int, Version], ...] = ()
    applied: Version = NO_VERSION
    reaped: Tuple[Instance, ...] = ()
    leaving: bool = False
    attach: bool = False
    begun: int = 0
    slot: Optional[Beacon] = None
    delayed: Optional[Beacon] = None
    muted: bool = False
    narrow: bool = False
    overtaken: Optional[Beacon] = None
    awaited: bool = False
    connections: int = 0

    @property
    def address(self) -> str:
        return f"addr/{self.instance}"

    def target(self) -> gateway.Target:
        states = {g.id: gateway.OPTIMIZED if g.id in self.optimized else gateway.INACCESSIBLE
                  for g in (self.view.permits.ana_groups if self.view.permits else ())}
        states.update(dict.fromkeys(self.optimized, gateway.OPTIMIZED))
        return gateway.Target(states, self.passed, frozenset({self.address}) if self.running else frozenset(),
                              dict(self.drained), dict(self.declined))


@dataclass(frozen=True)
class Budget:
    """How many of each fault and command may still happen on a path."""

    mgr_replacements: int = 0
    crashes: int = 0
    host_losses: int = 0
    agent_restarts: int = 0
    declines: int = 0
    fence_failures: int = 0
    leaves: int = 0
    deletions: int = 0
    creations: int = 0
    switches: int = 0
    moves: int = 0
    disasters: int = 0
    orders: int = 0
    old_beacons: int = 0
    silences: int = 0
    cuts: int = 0
    seat_losses: int = 0
    late: int = 0

    def less(self, name: str) -> "Budget":
        return replace(self, **{name: getattr(self, name) - 1})


@dataclass(frozen=True)
class World:
    """``late``: the write that a replaced mgr left under way.  ``fences``: asked for and not answered.  ``fenced``:
    instance -> OSD map epoch.  ``dirty``: (ANA group, instance) that may have writes in flight."""

    state: State
    seats: Tuple[Seat, ...]
    hosts: Tuple[Host, ...]
    budget: Budget
    now: float = 0.0
    late: Optional[Map] = None
    osd_epoch: int = 1
    fences: FrozenSet[Instance] = frozenset()
    fenced: Tuple[Tuple[Instance, int], ...] = ()
    dirty: Writers = frozenset()
    records: Tuple[StoreGateway, ...] = ()

    def with_host(self, host: Host) -> "World":
        return replace(self, hosts=tuple(host if h.name == host.name else h for h in self.hosts))


def start(gateways: int, ana_groups: int, budget: Budget, awaited: bool = False) -> World:
    """Gateways were created and never ran; ANA groups beyond the gateways' own are not possible, fewer are: then only
    the first gateways own one that has namespaces.  Where sites are lost, the first gateway is at one and the others
    are at another."""
    names = [f"gw{n}" for n in range(1, gateways + 1)]
    found = Map("rbd", "g1", Version(1, 1), tuple(Gateway(name, n, location=_site(n, budget)) for n, name in enumerate(names, 1)),
                tuple(AnaGroup(n, names[n - 1]) for n in range(1, ana_groups + 1)), timing=TIMING)
    seats = tuple(Seat(found.version, found) for _ in range(SEATS))
    state, _ = begin(found, (), 2, TIMING, 0.0, failback_doubling=False)
    seats = tuple(Seat(Version(2, 0), found) for _ in seats)
    return World(state, seats, tuple(Host(name, awaited=awaited) for name in names), budget)


def _site(number: int, budget: Budget) -> str:
    return ("here" if number == 1 else "there") if budget.disasters else ""


def feed(world: World, event: Event) -> World:
    """One event for the mgr; the mon KV store answers at once, fences are noted, commits show in the state."""
    if isinstance(event, BeaconReceived):
        state, actions = REMEMBERED.call(_stepped, (world.state, event), (world.now,))
    elif isinstance(event, Tick):
        state, actions = _stepped(world.state, event, world.now)   # a state that time has changed is a new object
    else:
        state, actions = REMEMBERED.call(_stepped, (world.state,), (event, world.now))
    world = replace(world, state=state)
    if actions:
        EMITTED.append((world, actions))
    return _carry_out(world, actions)


EMITTED: List[Tuple[World, Tuple[Action, ...]]] = []
"""The lists of actions since somebody emptied this, each with the world before the first action was carried out."""


def _stepped(state: State, event: Event, now: float) -> Tuple[State, Tuple[Action, ...]]:
    after, actions = step(state, event, now)
    try:
        invariants.check_map(after.map)
        invariants.check_step(state.map, after.map)
    except invariants.InvariantViolated as error:
        raise Violation(str(error)) from None
    return _as_before(state, after), actions


def _as_before(before: State, after: State) -> State:
    """The same state, made of the objects it was made of before wherever they are equal, and without the beacons'
    numbers: ``moves.py`` says which are old."""
    if any(after.soft.sequence.values()):
        after = after.with_soft(sequence=dict.fromkeys(after.soft.sequence, 0))
    if after.map is not before.map and after.map == before.map:
        after = replace(after, map=before.map)
    if after.soft is not before.soft and after.soft == before.soft:
        after = replace(after, soft=before.soft)
    same = after.soft is before.soft and after.map is before.map and (
        after.committed is before.committed and after.in_flight is before.in_flight and after.stopped == before.stopped)
    return before if same else after


def _carry_out(world: World, actions: Tuple[Action, ...]) -> World:
    stored: List[StoreGateway] = []
    for action in actions:
        if isinstance(action, Fence):
            world = replace(world, fences=world.fences | {action.instance})
        elif isinstance(action, StoreGateway):
            stored.append(action)
        elif isinstance(action, ForgetGateway):
            world = replace(world, records=tuple(r for r in world.records if r.gateway.id != action.gateway_id))
        elif isinstance(action, Commit):
            assert action.map == world.state.in_flight
    for record in stored:
        known = record.gateway
        world = feed(kept(world, record), GatewayStored(known.id, known.instance, known.addresses))
    return world


def kept(world: World, record: StoreGateway) -> World:
    """The mon KV store holds this record."""
    others = [r for r in world.records if r.gateway.id != record.gateway.id]
    return replace(world, records=tuple(sorted(others + [record], key=lambda r: r.gateway.id)))


def recorded(world: World) -> Tuple[Gateway, ...]:
    """The gateways as the mon KV store has them."""
    return tuple(record.gateway for record in world.records)


def forget(world: World) -> World:
    """Drop what cannot matter any more: writes of a fenced instance, once every map that anybody goes by asks for a
    barrier behind that fence, and the fences of instances that nobody mentions."""
    maps = [m for m in (world.state.map, world.late, *(s.map for s in world.seats),
                        *(h.view.permits for h in world.hosts)) if m is not None]
    fenced = dict(world.fenced)

    def matters(number: int, writer: Instance) -> bool:
        epoch = fenced.get(writer)
        groups = [m.ana_group(number) for m in maps]
        return epoch is None or any(g is not None and g.osd_epoch < epoch for g in groups)
    dirty = frozenset(d for d in world.dirty if matters(*d))
    named = {w for _, w in dirty} | {h.instance for h in world.hosts}
    return replace(world, dirty=dirty, fenced=tuple(f for f in world.fenced if f[0] in named))


def check(world: World) -> None:
    """Safety of what really happens on the targets, whatever the map says."""
    fenced = {instance for instance, _ in world.fenced}
    for group in world.state.map.ana_groups:
        optimized = [h.instance for h in world.hosts if h.running and group.id in h.optimized]
        if len(optimized) > 1:
            raise Violation(f"ANA group {group.id} is optimized at {' and '.join(map(str, optimized))}")
        for instance in optimized:
            if instance in fenced:
                raise Violation(f"{instance} is fenced and still optimized for ANA group {group.id}")
    if world.state.committed is not None:
        _check_stored(world, world.state.committed)


def _check_stored(world: World, committed: Map) -> None:
    """Two seats hold what the mgr believes to be stored, or something newer of a later mgr."""
    holding = [s for s in world.seats if s.map is not None and s.claim >= committed.version]
    if len(holding) < 2:
        raise Violation(f"the mgr believes that {committed.version} is stored; seats: {[str(s.claim) for s in world.seats]}")


def check_promotion(world: World, instance: Instance, passed: int, ana_group_id: int) -> None:
    """Nobody else's writes can land once this instance is optimized: each is drained or fenced behind the barrier."""
    fenced = dict(world.fenced)
    for number, writer in world.dirty:
        if number == ana_group_id and writer != instance:
            epoch = fenced.get(writer)
            if epoch is None:
                raise Violation(f"{instance} becomes optimized for ANA group {ana_group_id} while {writer} is "
                                "neither drained nor fenced")
            if epoch > passed:
                raise Violation(f"{instance} becomes optimized for ANA group {ana_group_id} without having seen "
                                f"OSD map {epoch}, which fences {writer}")


def describe(world: World) -> str:
    """The end of a path, for people."""
    lines = [f"time {world.now:g} s; ballot {world.state.ballot}; seats "
             + ", ".join(f"{s.claim}/{s.map.version if s.map else '-'}" for s in world.seats)]
    for name, found in (("decided", world.state.map), ("stored", world.state.committed)):
        for group in found.ana_groups if found else ():
            lines.append(f"{name} {found.version}: ANA group {group.id} {group.phase.value} "  # type: ignore[union-attr]
                         f"{group.server or ''} since {group.since} writers {sorted(map(str, group.writers))}")
        for known in found.gateways if found else ():
            lines.append(f"{name}: {known.id} {known.availability.value} {known.instance or ''} "
                         f"suspected {known.suspected_at}{' leaving' if known.leaving else ''}"
                         f"{' deleting' if known.deleting else ''}")
    for host in world.hosts:
        lines.append(f"{host.name}: {'up' if host.up else 'DOWN'} {host.instance or ''} "
                     f"{'runs' if host.running else 'no target'} optimized {sorted(host.optimized)} "
                     f"read {host.view.permits.version if host.view.permits else '-'} lease "
                     f"{host.lease_until_s - world.now:g} s, applied {host.applied}")
    lines.append(f"in flight: {sorted((n, str(i)) for n, i in world.dirty)}; fenced: "
                 f"{[(str(i), e) for i, e in world.fenced]}; asked: {sorted(map(str, world.fences))}; "
                 f"refused: {dict(world.state.soft.refused)}")
    return "\n".join("    " + line for line in lines)
