"""Why a gateway does not serve, and why an ANA group is not where it belongs: texts for operators.

Reads the map and what this mgr knows beside it with the very rules that decide (``core/placement.py``), and decides
nothing.  Pure.  Promises: "" or an empty list means that nothing is out of order.
"""

from __future__ import annotations

from typing import FrozenSet, List, NamedTuple, Optional

from .core import locations, placement
from .core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase
from .core.soft import Soft
from .core.timing import FLAP_WINDOW_S, HOSTS_RETURN_S
from .tables import seconds


class Known(NamedTuple):
    """A group's stored map, and what its mgr knows beside it at monotonic time ``now``.

    ``soft``: None where only a copy of the map is left to look at.
    """

    map: Map
    soft: Optional[Soft]
    now: float


# ---- gateways -----------------------------------------------------------------------------------------------------

def of_gateway(known: Known, gateway: Gateway) -> List[str]:
    """What keeps the gateway from serving, or from serving all; the worst first."""
    found = _state(known, gateway)
    found += [text for so, text in ((not gateway.enabled, "is disabled: `enable` lets it serve again"),
                                    (gateway.leaving, "is being stopped"),
                                    (gateway.deleting, _deleting(known, gateway)),
                                    (known.map.frozen(gateway), f"its location {gateway.location} is in disaster: "
                                     "`disaster-clear` lets it serve again")) if so]
    soft = known.soft
    if soft is not None:
        stuck = soft.stuck.get(gateway.id)
        found += [f"its I/O makes no progress: {stuck}"] if stuck else []
        found += [f"refused: {why}" for who, why in sorted(soft.refused.items()) if _is_of(who, gateway)]
        if not found and not placement.ready(known.map, gateway, soft.stored):
            found.append(placement.unready(known.map, gateway, soft.stored))
    return found + _missing_listeners(known, gateway)


def _state(known: Known, gateway: Gateway) -> List[str]:
    if gateway.availability is Availability.UNAVAILABLE:
        return [f"no instance of it runs{_not_fenced(known, gateway)}: start its warden, or see its log"]
    if gateway.instance is None:
        return ["was not heard of yet: start its warden"]
    if gateway.availability is Availability.SUSPECT:
        return [_suspected(known, gateway)]
    if gateway.availability is Availability.CREATED:
        lacks = "" if gateway.addresses else ", no RADOS address of it is known yet"
        return [f"does not serve yet: its target starts, or is being configured{lacks}"]
    return []


def _suspected(known: Known, gateway: Gateway) -> str:
    soft = known.soft
    if soft is None:
        return "is suspected"
    acked = soft.suspect_acked.get(gateway.id)
    text = f"is suspected, last heard {seconds(max(0.0, known.now - soft.heard.get(gateway.id, known.now)))} ago"
    if acked is None or acked.version != gateway.suspected_at:
        return text
    left_s = acked.at + known.map.lease_wait_s - known.now
    return f"{text}; it is given up in {seconds(left_s)} unless it shows that it obeys" if left_s > 0 else text


def _not_fenced(known: Known, gateway: Gateway) -> str:
    unfenced = [d for d in known.map.departed
                if d.instance.gateway == gateway.id and d.addresses and d.osd_epoch is None]
    if not unfenced:
        return ""
    return f", {unfenced[-1].instance} is not fenced yet{_fence_error(known, unfenced[-1].instance)}"


def _fence_error(known: Known, instance: Instance) -> str:
    error = known.soft.fence_errors.get(instance) if known.soft is not None else None
    return f" ({error})" if error else ""


def _deleting(known: Known, gateway: Gateway) -> str:
    namespaces = known.map.namespaces_in(gateway.ana_group_id)
    return "is being deleted" + (
        f": it stays until no namespace is left in ANA group {gateway.ana_group_id} (now {namespaces})"
        if namespaces else "")


def _is_of(who: str, gateway: Gateway) -> bool:
    """``who``: a gateway id, or an instance of it, as refusals name them."""
    return who == gateway.id or who.startswith(f"{gateway.id}#")


def _missing_listeners(known: Known, gateway: Gateway) -> List[str]:
    if gateway.availability is not Availability.AVAILABLE:
        return []
    return [f"no listener of {nqn}, which has namespaces" for nqn in placement.lacking_listeners(known.map, gateway)]


# ---- ANA groups ---------------------------------------------------------------------------------------------------

def of_ana_group(known: Known, group: AnaGroup) -> str:
    """Why the ANA group is not served, or not by its owner; "" if it is."""
    if group.phase is Phase.ACTIVE:
        return _away(known, group)
    return {Phase.UNSERVED: _unserved, Phase.PROMOTING: _promoting, Phase.DRAINING: _draining,
            Phase.FENCING: _fencing}[group.phase](known, group)


def _unserved(known: Known, group: AnaGroup) -> str:
    if not known.map.gateways:
        return "there is no gateway"
    return "no gateway can take it: " + "; ".join(f"{g.id} {_unable(known, group, g) or 'takes it now'}"
                                                  for g in known.map.gateways)


def _unable(known: Known, group: AnaGroup, gateway: Gateway) -> str:
    """Why this gateway cannot be given the ANA group, "" if it can."""
    soft = known.soft or Soft()
    unready = placement.unready(known.map, gateway, soft.stored)
    if unready:
        return unready
    bar = soft.declined.get((group.id, gateway.id))
    if bar is not None and known.now < bar.until:
        return f"could not take it, is asked again in {seconds(bar.until - known.now)}"
    return ""


def _promoting(known: Known, group: AnaGroup) -> str:
    assert group.incoming is not None
    return f"{group.incoming.gateway} has not confirmed yet that it is optimized"


def _draining(known: Known, group: AnaGroup) -> str:
    assert group.holder is not None
    return f"{group.holder.gateway} finishes its I/O, then {group.target or 'nobody'} takes over"


def _fencing(known: Known, group: AnaGroup) -> str:
    texts = []
    for writer in sorted(group.writers):
        departed = known.map.departure(writer)
        if departed is None:
            texts.append(f"{writer} may still write: its lease is not certainly over")
        else:
            texts.append(f"{writer} is being fenced{_fence_error(known, writer)}")
    return "; ".join(texts)


def _away(known: Known, group: AnaGroup) -> str:
    assert group.holder is not None
    holder, home = known.map.gateway(group.holder.gateway), known.map.gateway(group.home)
    if holder is None or holder.id == group.owner:
        return ""
    if holder.id == group.home:
        return f"an operator moved it here; `failover {known.map.pool} {known.map.group} {group.id} {group.owner}` " \
               "moves it back"
    if home is None:
        return f"{group.home} does not exist any more"
    return f"{home.id} {_unable(known, group, home) or _waits(known, group, home, holder)}"


def _waits(known: Known, group: AnaGroup, home: Gateway, holder: Gateway) -> str:
    """What a failback to a gateway that is well waits for."""
    if placement.better(known.map, group, holder, home):
        return "has no listener for some of its subsystems"
    soft = known.soft
    if soft is None:
        return "could take it"
    bar = soft.drain_backoff.get(group.id)
    if bar is not None and known.now < bar.until:
        return (f"gets it once {holder.id}, whose I/O did not finish in time, was asked again in "
                f"{seconds(bar.until - known.now)}")
    flaps = soft.flaps.get(home.id, ())
    due = placement.failback_due_s(known.map.timing.failback_delay_s, soft.well_since.get(home.id, known.now), flaps,
                                   known.now, soft.failback_doubling)
    if known.now < due:
        lost = recent_flaps(known, home)
        often = f": it was lost {lost} times lately" if lost > 1 else ""
        return f"gets it back in {seconds(due - known.now)}{often}"
    if locations.waits_for_another(known.map, group, home):
        return f"gets it back once the ANA group that comes home to {home.location} before it is ACTIVE"
    hosts, here = soft.connections.get(home.id, 0), soft.connections.get(holder.id, 0)
    if hosts < here:
        return (f"gets it back once as many hosts are connected to it ({hosts}) as to {holder.id} ({here}), or in "
                f"{seconds(max(0.0, due + HOSTS_RETURN_S - known.now))}")
    return "gets it back now"


def recent_flaps(known: Known, gateway: Gateway) -> int:
    flaps = () if known.soft is None else known.soft.flaps.get(gateway.id, ())
    return sum(1 for at in flaps if known.now - at < FLAP_WINDOW_S)


def takers(known: Known, group: AnaGroup, without: FrozenSet[str]) -> List[Gateway]:
    """Who could be given the ANA group now if these gateways were gone; who reaches most of its namespaces first."""
    able = [g for g in known.map.gateways if g.id not in without and not _unable(known, group, g)]
    return sorted(able, key=lambda g: (-placement.covered(known.map, g, group.id)[1], g.id))
