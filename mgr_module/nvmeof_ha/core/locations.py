"""Locations (sites) of gateways, and sites that an operator declared lost.

``disaster-set`` freezes a lost site: its gateways, also those that come back, are given no ANA group (``Map.frozen``).
``disaster-clear`` begins its recovery: the gateways may serve again, and the site's ANA groups come home one at a time,
each move beginning once the one before is ACTIVE; what has no path at all is promoted at once.  The recovery is over,
and forgotten, once the site serves all its ANA groups: each at its owner, those of owners that are still down at any
gateway of the site.  Decides no transition of an ANA group: ``handover.py`` asks ``waits_for_another``.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import List, Optional, Tuple

from .actions import Reply
from .events import ClearDisaster, SetDisaster, SetLocation
from .intent import Handled, not_yet, unknown_gateway
from .model import AnaGroup, Availability, Disaster, Gateway, Map, ModelError, Phase, check_name
from .soft import State


def set_location(state: State, event: SetLocation, now: float) -> Handled:
    """"" unsets it.  Where the ANA groups are follows from it by itself."""
    if state.committed is None:
        return not_yet(state, event.request_id)
    gateway = state.map.gateway(event.gateway_id)
    if gateway is None:
        return unknown_gateway(state, event.request_id, event.gateway_id)
    try:
        check_name("location", event.location or "none")
    except ModelError as error:
        return state, (Reply(event.request_id, errno.EINVAL, str(error)),)
    if gateway.location == event.location:
        where = f"at location {event.location!r}" if event.location else "without a location"
        return state, (Reply(event.request_id, errno.EEXIST, f"gateway {gateway.id!r} is {where} already: nothing was "
                             "changed"),)
    return state.with_map(state.map.with_gateway(replace(gateway, location=event.location))), (
        Reply(event.request_id, 0),)


def set_disaster(state: State, event: SetDisaster, now: float) -> Handled:
    """A site whose recovery has begun may be lost again."""
    if state.committed is None:
        return not_yet(state, event.request_id)
    place, location = f"{state.map.pool}/{state.map.group}", event.location
    at = _gateways_at(state.map, location) if location else []
    if not at:
        known = ", ".join(sorted({g.location for g in state.map.gateways if g.location})) or "none"
        return state, (Reply(event.request_id, errno.EINVAL, f"no gateway of {place} is at location {location!r}; there "
                             f"are: {known}"),)
    if Disaster(location) in state.map.disasters:
        return state, (Reply(event.request_id, errno.EEXIST, f"location {location!r} is in disaster already; "
                             "`disaster-clear` brings its ANA groups home"),)
    alive = [g.id for g in at if g.availability is Availability.AVAILABLE]
    if alive:
        return state, (Reply(event.request_id, errno.EINVAL, f"location {location!r} is not lost: AVAILABLE "
                             f"there: {', '.join(alive)}; to take them out of service, `drain` them"),)
    return _with(state, Disaster(location)), (Reply(event.request_id, 0),)


def clear_disaster(state: State, event: ClearDisaster, now: float) -> Handled:
    if state.committed is None:
        return not_yet(state, event.request_id)
    known = disaster_at(state.map, event.location)
    if known is None:
        there = ", ".join(d.location for d in state.map.disasters) or "none"
        return state, (Reply(event.request_id, errno.EINVAL, f"location {event.location!r} of {state.map.pool}/"
                             f"{state.map.group} is not in disaster; those that are: {there}"),)
    if known.clearing:
        waits = ", ".join(map(str, away(state.map, known)))
        return state, (Reply(event.request_id, errno.EEXIST, f"the recovery of location {event.location!r} runs "
                             f"already; it waits for ANA groups {waits}"),)
    return _with(state, known._replace(clearing=True)), (Reply(event.request_id, 0),)


def _with(state: State, disaster: Disaster) -> State:
    others = [d for d in state.map.disasters if d.location != disaster.location]
    return state.with_map(replace(state.map, disasters=tuple(sorted(others + [disaster]))))


def disaster_at(gateway_map: Map, location: str) -> Optional[Disaster]:
    return next((d for d in gateway_map.disasters if d.location == location), None)


def _gateways_at(gateway_map: Map, location: str) -> List[Gateway]:
    return [g for g in gateway_map.gateways if g.location == location]


def away(gateway_map: Map, disaster: Disaster) -> Tuple[int, ...]:
    """Numbers of the ANA groups that the site's recovery waits for; all of its own while nobody there runs."""
    running = {g.id for g in _gateways_at(gateway_map, disaster.location)
               if g.instance is not None and g.enabled and not (g.deleting or g.leaving)}
    found = []
    for group in gateway_map.ana_groups:
        owner = gateway_map.gateway(group.owner)
        if owner is None or owner.location != disaster.location or owner.deleting or group.moved_to is not None:
            continue
        holder = group.holder.gateway if group.phase is Phase.ACTIVE and group.holder else ""
        if holder not in running or (owner.id in running and holder != owner.id):
            found.append(group.id)
    return tuple(found)


def forget_recovered(state: State) -> State:
    """Recoveries that are over, and sites without any gateway, are sites like others."""
    left = tuple(d for d in state.map.disasters
                 if _gateways_at(state.map, d.location) and not (d.clearing and not away(state.map, d)))
    return state if left == state.map.disasters else state.with_map(replace(state.map, disasters=left))


def waits_for_another(gateway_map: Map, group: AnaGroup, candidate: Gateway) -> bool:
    """During its recovery a site is given one ANA group at a time: the move before must be ACTIVE first."""
    if Disaster(candidate.location, True) not in gateway_map.disasters:
        return False
    site = {g.id for g in _gateways_at(gateway_map, candidate.location)}
    return any((other.phase is Phase.DRAINING and other.target in site)
               or (other.incoming is not None and other.incoming.gateway in site)
               for other in gateway_map.ana_groups if other.id != group.id)
