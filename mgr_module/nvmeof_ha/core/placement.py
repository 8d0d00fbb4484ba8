"""Which gateway should serve an ANA group, and when a served one should move.

Its home first (the owner, unless an operator moved it); else the gateway that covers most, same location as the owner,
least loaded, lowest id.  Pure ranking: it changes nothing and knows no phase; ``machine.py`` decides what follows.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Iterable, List, Mapping, Optional, Tuple

from .model import AnaGroup, Availability, Gateway, Instance, Map
from .timing import BACKOFF_CAP_S, FLAP_WINDOW_S


def covered(gateway_map: Map, gateway: Gateway, ana_group_id: int) -> Tuple[bool, int]:
    """(complete, namespaces): does the gateway have a listener for every subsystem with namespaces in the ANA group,
    and how many of its namespaces do its listeners reach."""
    needed = gateway_map.namespaces_by_nqn(ana_group_id)
    listening = {s.nqn for s in gateway.subsystems if s.listeners}
    reached = sum(count for nqn, count in needed.items() if nqn in listening)
    return listening.issuperset(needed), reached


def lacking_listeners(gateway_map: Map, gateway: Gateway) -> List[str]:
    """NQNs of the subsystems with namespaces, as any gateway reports them, in which the gateway has no listener."""
    return sorted(gateway_map.nqns - {s.nqn for s in gateway.subsystems if s.listeners})


def ready(gateway_map: Map, gateway: Gateway, stored: Mapping[str, Gateway]) -> bool:
    """Well, wanted, outside a disaster location, and with addresses that the mon KV store holds already: it may be
    given ANA groups."""
    record = stored.get(gateway.id)
    return (gateway.availability is Availability.AVAILABLE and gateway.enabled and not gateway.deleting
            and not gateway.leaving and not gateway_map.frozen(gateway)
            and bool(gateway.addresses) and record is not None
            and record.instance == gateway.instance and gateway.addresses <= record.addresses)


def unready(gateway_map: Map, gateway: Gateway, stored: Mapping[str, Gateway]) -> str:
    """Why the gateway cannot be given ANA groups, "" if it can; for people."""
    if ready(gateway_map, gateway, stored):
        return ""
    for so, why in ((gateway.deleting, "is being deleted"), (not gateway.enabled, "is disabled"),
                    (gateway.leaving, "is leaving"),
                    (gateway_map.frozen(gateway), f"is at location {gateway.location}, which is in disaster")):
        if so:
            return why
    return f"is {gateway.availability.value}" if gateway.availability is not Availability.AVAILABLE else (
        "has addresses that the mon KV store does not hold yet")


def choose(gateway_map: Map, group: AnaGroup, stored: Mapping[str, Gateway], load: Mapping[str, int],
           barred: FrozenSet[str] = frozenset(), shaky: FrozenSet[str] = frozenset()) -> Optional[Gateway]:
    """The best gateway for the ANA group, or None.

    ``barred``: gateway ids that just failed to take it.  ``shaky``: were lost lately and have not been well for their
    failback delay since; taken only if nobody else covers as much.
    """
    usable = [g for g in gateway_map.gateways if ready(gateway_map, g, stored) and g.id not in barred]
    if not usable:
        return None
    owner = gateway_map.gateway(group.owner)
    location = "" if owner is None else owner.location
    held = _held(gateway_map, group)

    def rank(gateway: Gateway) -> Tuple:
        complete, reached = covered(gateway_map, gateway, group.id)
        served, namespaces = held.get(gateway.instance, (0, 0))
        return (not complete, -reached, gateway.id in shaky, gateway.id != group.home, gateway.location != location,
                namespaces, served, load.get(gateway.id, 0), gateway.id)
    return min(usable, key=rank)


def _held(gateway_map: Map, but: AnaGroup) -> Dict[Optional[Instance], Tuple[int, int]]:
    """ANA groups and namespaces that each instance serves already, ``but`` not counted."""
    held: Dict[Optional[Instance], Tuple[int, int]] = {}
    for group in gateway_map.ana_groups:
        if group.server is not None and group.id != but.id:
            groups, namespaces = held.get(group.server, (0, 0))
            held[group.server] = groups + 1, namespaces + gateway_map.namespaces_in(group.id)
    return held


def better(gateway_map: Map, group: AnaGroup, candidate: Gateway, holder: Gateway) -> bool:
    """The candidate reaches namespaces of the ANA group that the holder has no listener for."""
    return covered(gateway_map, candidate, group.id)[1] > covered(gateway_map, holder, group.id)[1]


def nearer(gateway_map: Map, group: AnaGroup, candidate: Gateway, holder: Gateway) -> bool:
    """The candidate is where the ANA group's owner is, and the holder is not; an operator's move comes before that."""
    owner = gateway_map.gateway(group.owner)
    return (owner is not None and bool(owner.location) and group.moved_to is None
            and candidate.location == owner.location != holder.location)


def uninformed(gateway_map: Map, group: AnaGroup, holder: Gateway) -> bool:
    """Others report a subsystem with namespaces of the ANA group that the holder does not report at all: they learn of
    a change of the configuration one after the other."""
    return not {s.nqn for s in holder.subsystems}.issuperset(gateway_map.namespaces_by_nqn(group.id))


def failback_due_s(delay_s: float, well_since_s: float, flaps_s: Iterable[float], now: float, doubling: bool) -> float:
    """When an owner that has been well since ``well_since_s`` may have its ANA group back.

    Each flap (an unplanned loss within ``FLAP_WINDOW_S``) after the first doubles the delay, up to ``BACKOFF_CAP_S``.
    """
    flaps = sum(1 for at in flaps_s if now - at < FLAP_WINDOW_S)
    factor = 2 ** min(max(flaps - 1, 0), 16) if doubling else 1
    return well_since_s + min(delay_s * factor, max(BACKOFF_CAP_S, delay_s))
