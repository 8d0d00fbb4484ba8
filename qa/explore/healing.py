"""What must become of a world when faults stop: everybody does his work in turn, time passes, and all is well again."""

from __future__ import annotations

from typing import Optional, Set

from nvmeof_ha.core import register
from nvmeof_ha.core.model import AnaGroup, Map, Phase

from . import moves as play
from .world import Violation, World, check, forget

UNITS = 24
COMMITS = 8


def checked(world: World) -> World:
    check(world)
    return forget(world)


def one_round(world: World) -> World:
    """Everybody does his work, then a unit of time passes."""
    for _ in range(COMMITS):
        before = world.state.map
        while world.state.in_flight is not None:
            world = checked(play.store(world))
        for host in world.hosts:
            world = checked(play.turn(world, host.name)) if host.up else world
            world = play.connect(world, host.name)
        for instance in sorted(world.fences):
            world = checked(play.fence(world, instance))
        if world.state.map == before:
            return checked(play.wait(world))
    raise Violation(f"the mgr decides without end: {world.state.map}")


def unhealed(world: World) -> Optional[str]:
    """Why the world is not well yet, or None."""
    stored = world.state.committed
    if stored is None or stored.content() != world.state.map.content():
        return "something is decided and not stored"
    able = set()
    for host in world.hosts:
        known = stored.gateway(host.name)
        if not host.up or host.muted or host.leaving or known is None or known.deleting or not known.enabled:
            continue
        if not host.running or known.instance != host.instance or host.instance is None:
            return f"{host.name} does not come up"
        if register.judge([s.map for s in world.seats]).suspected(host.instance):
            return f"{host.name} stays suspected"
        if not stored.frozen(known):
            able.add(host.name)
    for group in stored.ana_groups:
        if not able:
            continue
        if group.phase is not Phase.ACTIVE or group.holder is None:
            return f"ANA group {group.id} is {group.phase.value}"
        if group.holder.gateway not in able:
            return f"ANA group {group.id} stays at {group.holder}"
        if group.home in able and group.holder.gateway != group.home:
            return f"ANA group {group.id} is at {group.holder}, not at {group.home} where it belongs"
        if _is_far(stored, group, able):
            return f"ANA group {group.id} is at {group.holder}, and not in its owner's location"
        if not any(h.instance == group.holder and group.id in h.optimized for h in world.hosts):
            return f"ANA group {group.id} is not optimized at {group.holder}"
    recovering = [d.location for d in stored.disasters if d.clearing]
    if any(g.location in recovering for g in stored.gateways if g.id in able):
        return "a recovery does not end"
    return None


def _is_far(stored: Map, group: AnaGroup, able: Set[str]) -> bool:
    owner = stored.gateway(group.owner)
    near = {g.id for g in stored.gateways if owner and owner.location and g.location == owner.location} & able
    assert group.holder is not None
    return bool(near) and group.moved_to is None and group.holder.gateway not in near


def heal(world: World) -> World:
    """Raises ``Violation`` if all is not well after ``UNITS`` units of time."""
    for _ in range(UNITS):
        if unhealed(world) is None:
            return world
        world = one_round(world)
    raise Violation(f"not healed after {UNITS} units of time without faults: {unhealed(world)}")
