"""What this gateway can say of its whole gateway group: the gateway map as it was last read, in words for people.

Pure: values in, a message of ha.proto out. Decides nothing, and says nothing that the map or the target does not show.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Mapping, Optional, Sequence, Tuple

from gw_agent.pb import ha_pb2
from nvmeof_ha_core import placement
from nvmeof_ha_core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase
from nvmeof_ha_core.register import NOTHING_SEEN, View

NAMED_SUBSYSTEMS = 3
"""A problem that many subsystems have names this many."""


@dataclass(frozen=True)
class Known:
    """What the agent knows. `agreed_age_s`: since two seats last gave it the same map; None: never. `ana_states`: of
    its target, ANA group id -> state. `problems`: of this gateway alone, beyond what the map tells."""

    view: View = NOTHING_SEEN
    agreed_age_s: Optional[float] = None
    ana_states: Mapping[int, str] = field(default_factory=dict)
    problems: Tuple[str, ...] = ()


def describe(pool: str, group: str, gateway_id: str, not_serving: Optional[str],
             known: Known) -> ha_pb2.group_status_info:
    """The answer of gateway `gateway_id`; `not_serving`: why it does not serve."""
    info = ha_pb2.group_status_info(pool=pool, group=group, answered_by=gateway_id, not_serving=not_serving or "")
    gateway_map = known.view.permits
    if gateway_map is None:
        return info
    info.map_version = str(gateway_map.version)
    if known.agreed_age_s is not None:
        info.map_age_s = known.agreed_age_s
    newest = max((m.version for m in known.view.restricts), default=gateway_map.version)
    if newest > gateway_map.version:
        info.newer_version = str(newest)
    for gateway in gateway_map.gateways:
        own = known.problems if gateway.id == gateway_id else ()
        info.gateways.append(_gateway(gateway, [*_problems(gateway_map, gateway), *own]))
    for ana_group in gateway_map.ana_groups:
        info.ana_groups.append(_ana_group(gateway_map, ana_group, known.ana_states.get(ana_group.id, "")))
    return info


def _gateway(gateway: Gateway, problems: Sequence[str]) -> ha_pb2.gateway_status:
    return ha_pb2.gateway_status(
        name=gateway.id, ana_group_id=gateway.ana_group_id, availability=gateway.availability.value,
        enabled=gateway.enabled, deleting=gateway.deleting, leaving=gateway.leaving,
        instance=_text(gateway.instance), location=gateway.location, problems=problems,
        subsystems=[ha_pb2.served_subsystem(nqn=s.nqn, listeners=s.listeners,
                                            namespaces=sum(count for _, count in s.namespaces))
                    for s in gateway.subsystems])


def _problems(gateway_map: Map, gateway: Gateway) -> List[str]:
    place = f"{gateway.id} {gateway_map.pool} {gateway_map.group}"
    found = []
    if gateway.deleting:
        found.append("is being deleted; it goes once another gateway serves its namespaces")
    if not gateway.enabled:
        found.append(f"is disabled; `ceph nvmeof-ha enable {place}` lets it serve again")
    if gateway.leaving:
        found.append("was asked to stop, and hands over what it serves")
    if gateway.availability is Availability.AVAILABLE:
        missing = placement.lacking_listeners(gateway_map, gateway)
        if missing:
            found.append(f"has no listener in {_some(missing)}, so it can serve no namespace there; add one with "
                         "`nvmeof-gw listener add`")
    elif gateway.availability is Availability.SUSPECT:
        found.append(f"is silent, or does not do what the map says (suspected in map {gateway.suspected_at}); unless "
                     "it is heard of in time, it is fenced and replaced")
    elif gateway.availability is Availability.UNAVAILABLE:
        found.append("has no running target: it ended, or was cut off and fenced; its host starts another by itself")
    elif gateway.instance is None:
        found.append("was created and has not started yet: does nvmeof-gw-warden run on its host?")
    else:
        found.append("is starting")
    return found


def _some(names: Sequence[str]) -> str:
    left_out = len(names) - NAMED_SUBSYSTEMS
    return ", ".join(names[:NAMED_SUBSYSTEMS]) + (f" and {left_out} more" if left_out > 0 else "")


def _ana_group(gateway_map: Map, group: AnaGroup, target_state: str) -> ha_pb2.ana_group_status:
    return ha_pb2.ana_group_status(
        id=group.id, owner=group.owner, phase=group.phase.value, holder=_id(group.holder), incoming=_id(group.incoming),
        target=group.target, moved_to=_id(group.moved_to), namespaces=gateway_map.namespaces_in(group.id),
        waits_for=_waits_for(gateway_map, group), target_state=target_state)


def _waits_for(gateway_map: Map, group: AnaGroup) -> str:
    """Why nobody is optimized, or not for certain."""
    if group.phase is Phase.ACTIVE:
        return ""
    if group.phase is Phase.PROMOTING:
        barrier = f", once it has seen OSD map {group.osd_epoch}" if group.osd_epoch else ""
        return f"{_id(group.incoming)} becomes optimized{barrier}"
    if group.phase is Phase.DRAINING:
        towards = f", then {group.target} takes over" if group.target else ""
        return f"{_id(group.holder)} finishes the I/O in flight{towards}"
    if group.phase is Phase.FENCING:
        return "; ".join(_fence_of(gateway_map, writer) for writer in sorted(group.writers)) or "a fence"
    return "no gateway can serve it: none is available and enabled with a listener, or the last one just failed to"


def _fence_of(gateway_map: Map, writer: Instance) -> str:
    departed = gateway_map.departure(writer)
    if departed is None:
        return f"{writer} may still write until its lease is over"
    if departed.osd_epoch is not None:
        return f"{writer} is fenced since OSD map {departed.osd_epoch}"
    if not departed.addresses:
        return f"{writer} cannot be fenced, because no address of it is known (`ceph health detail`)"
    return f"{writer} is being fenced (osd blocklist)"


def _id(instance: Optional[Instance]) -> str:
    return "" if instance is None else instance.gateway


def _text(instance: Optional[Instance]) -> str:
    return "" if instance is None else str(instance)
