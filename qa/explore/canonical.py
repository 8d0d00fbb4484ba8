"""Which worlds are the same: a key that forgets absolute times, versions, OSD map epochs and instance numbers.

The core compares versions and takes the next one of its ballot, compares OSD map epochs, takes the instance number after
the last, and compares times with timers; it knows no other arithmetic.  So versions and epochs are replaced by their rank
among all that the world mentions, instance numbers by rank and whether the one before is mentioned too, and times by how
long ago they were, up to the longest that makes a difference (``UNIT_S`` is longer than each timer but
lease, W and the doubled silence, which end within two units).  Left out: what only shows (load, refusals, replies), the
beacons' sequence (always rising here), and the doubled length of a delay that is over.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from nvmeof_ha.core.events import Beacon
from nvmeof_ha.core.model import NO_VERSION, Availability, Gateway, Instance, Map, Version
from nvmeof_ha.core.register import View
from nvmeof_ha.core.soft import State

from .world import UNIT_S, Host, World

LONGEST_UNITS = 2
MAPS_KEPT = 20000


class Shape:
    """What a world looks like; collects its versions and epochs on the way."""

    def __init__(self) -> None:
        self.versions: List[Version] = [NO_VERSION]
        self.epochs: List[int] = [0]
        self.instances: List[Instance] = []


class Canonical:
    """Keys of worlds.  A key is a hash of 64 bits: among a million worlds, two fall together with a chance of 3e-8."""

    def __init__(self) -> None:
        self._maps: Dict[int, Tuple[Map, Any, Tuple[Version, ...], Tuple[int, ...], Tuple[Instance, ...]]] = {}
        self._shapes: Dict[Any, int] = {}

    def key(self, world: World) -> int:
        shape = Shape()
        fixed = (self._state(world.state, world.now, shape), self._seats(world, shape),
                 tuple(self._host(h, world.now, shape) for h in world.hosts), world.budget, len(world.fences),
                 len(world.fenced), tuple(sorted(g for g, _ in world.dirty)),
                 tuple((r.id, r.instance is None, r.deleting) for r in world.records))
        shape.epochs.append(world.osd_epoch)
        shape.epochs += [epoch for _, epoch in world.fenced]
        shape.instances += [*sorted(world.fences), *(i for i, _ in world.fenced), *(i for _, i in sorted(world.dirty)),
                            *(last(r) for r in world.records)]
        return hash((fixed, _ranks(shape.versions), _ranks(shape.epochs), _numbered(shape.instances)))

    def _map(self, found: Optional[Map], shape: Shape) -> Any:
        if found is None:
            return None
        known = self._maps.get(id(found))
        if known is None:
            if len(self._maps) > MAPS_KEPT:
                self._maps.clear()
            known = self._maps[id(found)] = (found, *self._map_shape(found))
        shape.versions += known[2]
        shape.epochs += known[3]
        shape.instances += known[4]
        return known[1]

    def _map_shape(self, found: Map) -> Tuple[int, Tuple[Version, ...], Tuple[int, ...], Tuple[Instance, ...]]:
        fixed = (
            tuple((g.id, g.ana_group_id, g.enabled, g.deleting, g.availability.value, g.instance is None,
                   bool(g.addresses), g.leaving, bool(g.subsystems), g.digest) for g in found.gateways),
            tuple((g.id, g.owner, g.phase.value, len(g.writers), g.target) for g in found.ana_groups),
            tuple((d.osd_epoch is None, bool(d.addresses)) for d in found.departed), found.number_floor)
        instances = (*(last(g) for g in found.gateways), *(d.instance for d in found.departed),
                     *(i for g in found.ana_groups for i in sorted(g.writers)))
        versions = (found.version, *(g.suspected_at for g in found.gateways), *(g.since for g in found.ana_groups))
        epochs = (*(g.osd_epoch for g in found.ana_groups), *(d.osd_epoch or 0 for d in found.departed))
        return self._shapes.setdefault(fixed, len(self._shapes)), versions, epochs, instances

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
                _until({g: b.until for g, b in soft.declined.items()}, now), _until({str(i): at for i, at in soft.fence_retry.items()}, now),
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
                host.leaving, host.attach, host.muted, host.narrow, _beacon(host.slot, shape),
                _beacon(host.delayed, shape))


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


def _ranks(values: List[Any]) -> Tuple[int, ...]:
    order = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return tuple(order[value] for value in values)
