"""Which worlds are the same: a key that forgets absolute times, versions, OSD map epochs and instance numbers.

The core compares versions and takes the next one of its ballot, compares OSD map epochs, takes the instance number after
the last, and compares times with timers; it knows no other arithmetic.  So versions and epochs are replaced by their rank
among all that the world mentions, instance numbers by rank and whether the one before is mentioned too, and times by how
long ago they were, up to the longest that makes a difference (``UNIT_S`` is longer than each timer but
lease, W and the doubled silence, which end within two units).  Left out: what only shows (load, refusals, replies), the
beacons' sequence (always rising here), and the doubled length of a delay that is over.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from nvmeof_ha.core.actions import Action, Commit, Fence, StoreGateway
from nvmeof_ha.core.events import Beacon
from nvmeof_ha.core.model import NO_VERSION, Availability, Gateway, Instance, Map, Version
from nvmeof_ha.core.register import View
from nvmeof_ha.core.soft import State

from .world import UNIT_S, Host, World

LONGEST_UNITS = 2
KEPT = 40000


class Shape:
    """What something looks like (``fixed``), and the versions, epochs and instances that it names, in a fixed order."""

    __slots__ = ("fixed", "versions", "epochs", "instances")

    def __init__(self) -> None:
        self.fixed: Any = None
        self.versions: List[Version] = []
        self.epochs: List[int] = []
        self.instances: List[Instance] = []

    def add(self, part: "Shape") -> Any:
        self.versions += part.versions
        self.epochs += part.epochs
        self.instances += part.instances
        return part.fixed


class Canonical:
    """Keys of worlds.  A key is a hash of 64 bits: among a million worlds, two fall together with a chance of 3e-8.

    Shapes are remembered for each map, state and host, told apart by identity (``identity.py`` says why)."""

    def __init__(self) -> None:
        self._known: Dict[Any, Tuple[Any, Shape]] = {}
        self._numbers: Dict[Any, int] = {}

    def key(self, world: World) -> int:
        whole = Shape()
        whole.instances += sorted(world.fences)
        heard = tuple(world.state.soft.sequence) if any(h.overtaken for h in world.hosts) else ()
        return self._finished(whole, (whole.add(self._shape(self._state, world.state, world.now)),
                                      self._seats(world, whole), self._around(world, whole), len(world.fences), heard))

    def key_without_mgr(self, world: World, actions: Tuple[Action, ...]) -> int:
        """As if the mgr died while it carries out these actions: what is stored, blocklisted and under way on hosts
        counts, and what the actions would do."""
        whole = Shape()
        whole.versions.append(Version(world.state.ballot, 0))
        meant = tuple([self._action(action, whole) for action in actions])
        whole.instances += sorted(world.fences)
        return self._finished(whole, (self._seats(world, whole), self._around(world, whole), len(world.fences), meant))

    def key_adopted(self, world: World, found: Map) -> int:
        """As if a mgr had just adopted this map, whatever the seats and the mgr before it held."""
        whole = Shape()
        whole.versions.append(Version(world.state.ballot + 1, 0))
        return self._finished(whole, ("adopted", self._map(found, whole), self._around(world, whole)))

    def _action(self, action: Action, whole: Shape) -> Any:
        if isinstance(action, Commit):
            return "commit", self._map(action.map, whole)
        if isinstance(action, Fence):
            whole.instances.append(action.instance)
            return "fence"
        if isinstance(action, StoreGateway):
            whole.instances += [last(action.gateway), *(d.instance for d in action.unfenced)]
            return ("store", action.gateway.instance is None, action.gateway.deleting, action.gateway.enabled,
                    len(action.unfenced))
        return "forget", getattr(action, "gateway_id", "")

    def _finished(self, whole: Shape, fixed: Any) -> int:
        return hash((fixed, _ranks(whole.versions, NO_VERSION), _ranks(whole.epochs, 0), _numbered(whole.instances)))

    def _around(self, world: World, whole: Shape) -> Any:
        fixed = (tuple([whole.add(self._shape(self._host, h, world.now)) for h in world.hosts]), world.budget,
                 len(world.fenced), tuple(sorted([g for g, _ in world.dirty])),
                 tuple([(r.gateway.id, r.gateway.instance is None, r.gateway.deleting, r.gateway.enabled, len(r.unfenced))
                        for r in world.records]))
        whole.epochs.append(world.osd_epoch)
        whole.epochs += [epoch for _, epoch in world.fenced]
        whole.instances += [*(i for i, _ in world.fenced), *(i for _, i in sorted(world.dirty)),
                            *(last(r.gateway) for r in world.records), *(d.instance for r in world.records for d in r.unfenced)]
        return fixed

    def _shape(self, make: Callable[[Any, float, Shape], Any], of: Any, now: float) -> Shape:
        key = (id(of), now)
        known = self._known.get(key)
        if known is None:
            if len(self._known) > KEPT:
                self._known.clear()
            shape = Shape()
            fixed = make(of, now, shape)
            shape.fixed = self._numbers.setdefault(fixed, len(self._numbers))
            known = self._known[key] = (of, shape)
        return known[1]

    def _map(self, found: Optional[Map], shape: Shape) -> Any:
        return None if found is None else shape.add(self._shape(self._map_shape, found, 0.0))

    def _map_shape(self, found: Map, _now: float, shape: Shape) -> Any:
        shape.instances += [*map(last, found.gateways), *(d.instance for d in found.departed),
                            *(i for g in found.ana_groups for i in sorted(g.writers)),
                            *(g.moved_to for g in found.ana_groups if g.moved_to)]
        shape.versions += [found.version, *(g.suspected_at for g in found.gateways), *(g.since for g in found.ana_groups)]
        shape.epochs += [*(g.osd_epoch for g in found.ana_groups), *(d.osd_epoch or 0 for d in found.departed),
                         found.osd_epoch_floor]
        return (
            tuple((g.id, g.ana_group_id, g.enabled, g.deleting, g.availability.value, g.instance is None,
                   bool(g.addresses), g.leaving, bool(g.subsystems), g.digest, g.location) for g in found.gateways),
            found.disasters,
            tuple((g.id, g.owner, g.phase.value, len(g.writers), g.target, g.moved_to is None) for g in found.ana_groups),
            tuple((d.osd_epoch is None, bool(d.addresses)) for d in found.departed), found.number_floor)

    def _seats(self, world: World, shape: Shape) -> Any:
        """Seats cannot be told apart, so their order does not count."""
        seats = []
        for seat in sorted(world.seats, key=lambda s: (s.claim, s.map.version if s.map else NO_VERSION)):
            shape.versions.append(seat.claim)
            seats.append(self._map(seat.map, shape))
        return tuple(seats), self._map(world.late, shape)

    def _state(self, state: State, now: float, shape: Shape) -> Any:
        soft = state.soft
        shape.versions.append(Version(state.ballot, 0))
        maps = tuple(self._map(m, shape) for m in (state.map, state.committed, state.in_flight))
        for name, acked in sorted(soft.suspect_acked.items()):
            shape.versions.append(acked.version)
        for _, acked in sorted(soft.phase_acked.items()):
            shape.versions.append(acked.version)
        suspects = {g.id for m in (state.map, state.committed) if m for g in m.gateways
                    if g.availability is Availability.SUSPECT}
        shape.instances += sorted(soft.fencing)
        return (maps, state.stopped, len(soft.fencing), tuple(sorted(soft.stuck)),
                _ages(soft.heard, now, LONGEST_UNITS), _ages(soft.admitted, now, 1), _ages(soft.well_since, now, 1),
                tuple(sorted(g for g, at in soft.flaps.items() if at)),
                tuple((g, _units(now - a.at, LONGEST_UNITS)) for g, a in sorted(soft.suspect_acked.items())
                      if g in suspects),
                tuple((g, _units(now - a.at, 1)) for g, a in sorted(soft.phase_acked.items())),
                _until({g: b.until for g, b in soft.drain_backoff.items()}, now),
                _until({g: b.until for g, b in soft.declined.items()}, now),
                _until({str(i): at for i, at in soft.fence_retry.items()}, now),
                tuple((g, str(i.gateway), _units(now - at, 1)) for g, (i, at) in sorted(soft.uninformed_since.items())),
                tuple(sorted(soft.connections.items())),
                _units(now - soft.hearing_since, 1), bool(soft.records))

    def _view(self, view: View, shape: Shape) -> Any:
        shape.versions.append(view.version)
        others = {m.version: m for m in view.restricts if m is not view.permits}
        return (self._map(view.permits, shape),
                tuple(self._map(others[v], shape) for v in sorted(others)), view.permits in view.restricts)

    def _host(self, host: Host, now: float, shape: Shape) -> Any:
        shape.versions.append(host.applied)
        shape.versions += [v for _, v in host.drained] + [v for _, v in host.declined]
        shape.epochs.append(host.passed)
        shape.instances += [*([host.instance] if host.instance else ()), *host.reaped]
        lease_s = max(0.0, host.lease_until_s - now) if host.running else 0.0
        return (host.up, host.instance is None, host.running, self._view(host.view, shape), host.optimized,
                lease_s, tuple(g for g, _ in host.drained), tuple(g for g, _ in host.declined), len(host.reaped),
                host.awaited, host.connections, host.leaving, host.attach, host.muted, host.narrow,
                _beacon(host.slot, shape),
                _beacon(host.delayed, shape), _beacon(host.overtaken, shape))


def _beacon(beacon: Optional[Beacon], shape: Shape) -> Any:
    if beacon is None:
        return None
    shape.versions.append(beacon.version)
    shape.versions += [c.since for c in beacon.confirmations]
    shape.instances += [*([beacon.instance] if beacon.instance else ()), *beacon.reaped]
    return (beacon.instance is None, beacon.target.value, beacon.leaving, len(beacon.reaped), bool(beacon.addresses),
            tuple((c.ana_group_id, c.outcome.value) for c in beacon.confirmations))


def last(gateway: Gateway) -> Instance:
    """The gateway's instance, or what stands for its last number."""
    return gateway.instance or Instance(gateway.id, gateway.last_number, "")


def _numbered(instances: List[Instance]) -> Tuple[Tuple[str, int], ...]:
    """Each instance by its rank among those of its gateway; gaps between numbers count as gaps, whatever their width."""
    places: Dict[Instance, Tuple[str, int]] = {}
    before: Optional[Instance] = None
    place = 0
    for instance in sorted(set(instances)):
        if before is None or before.gateway != instance.gateway:
            place = min(instance.number, 1)
        else:
            place += 1 + min(instance.number - before.number, 2)
        places[instance] = (instance.gateway, place)
        before = instance
    return tuple(places[instance] for instance in instances)


def _units(seconds: float, most: int) -> int:
    return min(most, int(seconds / UNIT_S + 1e-6))


def _ages(times: Mapping[str, float], now: float, most: int) -> Any:
    return tuple((name, _units(now - at, most)) for name, at in sorted(times.items()))


def _until(times: Mapping[Any, float], now: float) -> Any:
    """Only what still lasts; a delay that is over leaves no trace."""
    return tuple((name, min(LONGEST_UNITS, -int(-(until - now) // UNIT_S)))
                 for name, until in sorted(times.items()) if until > now)


def _ranks(values: List[Any], least: Any) -> Tuple[int, ...]:
    """Each value's place among all, ``least`` being the first."""
    order = {value: rank for rank, value in enumerate(sorted({least, *values}))}
    return tuple([order[value] for value in values])
