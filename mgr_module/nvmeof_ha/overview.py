"""What ``status`` shows of a gateway group: typed values for programs, tables for people.  Pure.

The shape is documented here and kept: fields are added, never renamed or given another type.  A group:

    pool, group          texts
    version              "<ballot>.<epoch>" of the map that is shown; null without a map
    looked_after         bool: this mgr decides for the group
    problem              text: why it does not, or what is wrong with what is shown; "" if nothing is
    gateways             list, by id:
        id, location     texts
        anagrp_id        number of the ANA group that it owns
        availability     "CREATED" | "AVAILABLE" | "SUSPECT" | "UNAVAILABLE"
        enabled, leaving, deleting                  bools
        instance         "<id>#<number>:<token>" of the running target, null without one
        addresses        list: RADOS addresses of its clients, which a fence names
        beacon_age_s     seconds since it was last heard, null if never
        well_for_s       seconds since it became AVAILABLE, null if it is not
        flaps            unplanned losses in the last 10 minutes
        hosts            connections of hosts, each counted once for each subsystem
        listeners        number of listeners
        serves           list: numbers of the ANA groups that are optimized there, or about to be
        problems         list of texts: what keeps it from serving; empty if nothing does
    ana_groups           list, by number:
        id, namespaces   numbers
        owner            gateway id: whose it is in good times
        home             gateway id: the owner, or where an operator moved it to
        phase            "UNSERVED" | "PROMOTING" | "ACTIVE" | "DRAINING" | "FENCING"
        since            "<ballot>.<epoch>" of the commit that began the phase
        phase_for_s      seconds since then, null if unknown
        phase_for_longer bool: it lasts longer than that, since before this mgr began
        holder           gateway id that serves it or is about to, null for nobody
        holder_instance  its instance, null for nobody
        optimized        bool: hosts have a path (phase ACTIVE)
        why              text: why it is not served, or not by its owner; "" if it is
    disasters            list, by location:
        location         text: a site that an operator declared lost
        recovering       bool: `disaster-clear` brings its ANA groups home; else its gateways get none
        away             list: numbers of the ANA groups that a recovery waits for
    last_failover        the newest record of ``history`` whose kind is "failover", in that command's shape, or null

Ages are null where the mgr that is asked has no driver for the group.

``ls`` has one line of each group: pool, group, looked_after, problem as above, and ``gateways``, ``available``,
``ana_groups``, ``optimized`` (those that are served), ``namespaces``: numbers.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import reasons, transitions
from .core import locations
from .core.model import AnaGroup, Availability, Gateway, Phase
from .kv_records import GroupKey
from .reasons import Known
from .tables import seconds, table
from .transitions import Kind, Outcome, Transition


NO_GROUPS = "there is no gateway group; `create` makes one\n"


class Past(NamedTuple):
    """The history of a group, oldest first, and the wall clock now."""

    records: Tuple[Transition, ...] = ()
    wall: float = 0.0


def group(key: GroupKey, known: Optional[Known], looked_after: bool, problem: str,
          past: Past = Past()) -> Dict[str, Any]:
    """One group in the shape above.  ``known`` None: there is no map to show."""
    shown = {"pool": key.pool, "group": key.group, "version": str(known.map.version) if known else None,
             "looked_after": looked_after, "problem": problem}
    return {**shown, "gateways": [_gateway(known, g) for g in known.map.gateways] if known else [],
            "ana_groups": [_ana_group(known, g, past) for g in known.map.ana_groups] if known else [],
            "disasters": [{"location": d.location, "recovering": d.clearing,
                           "away": list(locations.away(known.map, d))} for d in known.map.disasters] if known else [],
            "last_failover": next((transitions.shown(r) for r in reversed(past.records) if r.kind is Kind.FAILOVER),
                                  None)}


def _gateway(known: Known, gateway: Gateway) -> Dict[str, Any]:
    soft, instance = known.soft, gateway.instance
    well = gateway.availability is Availability.AVAILABLE and soft is not None
    return {
        "id": gateway.id, "anagrp_id": gateway.ana_group_id, "location": gateway.location,
        "availability": gateway.availability.value, "enabled": gateway.enabled, "leaving": gateway.leaving,
        "deleting": gateway.deleting, "instance": str(instance) if instance else None,
        "addresses": sorted(gateway.addresses),
        "beacon_age_s": _age(known, soft.heard.get(gateway.id) if soft and instance else None),
        "well_for_s": _age(known, soft.well_since.get(gateway.id) if soft and well else None),
        "flaps": reasons.recent_flaps(known, gateway),
        "hosts": soft.connections.get(gateway.id, 0) if soft and instance else 0,
        "listeners": gateway.listener_count(),
        "serves": [g.id for g in known.map.served_by(instance)] if instance else [],
        "problems": reasons.of_gateway(known, gateway)}


def _ana_group(known: Known, ana_group: AnaGroup, past: Past) -> Dict[str, Any]:
    server = ana_group.server
    lasts_s, longer = _lasts(known, ana_group, past)
    return {
        "id": ana_group.id, "namespaces": known.map.namespaces_in(ana_group.id), "owner": ana_group.owner,
        "home": ana_group.home, "phase": ana_group.phase.value, "since": str(ana_group.since),
        "phase_for_s": lasts_s, "phase_for_longer": longer,
        "holder": server.gateway if server else None, "holder_instance": str(server) if server else None,
        "optimized": ana_group.phase is Phase.ACTIVE, "why": reasons.of_ana_group(known, ana_group)}


def _lasts(known: Known, ana_group: AnaGroup, past: Past) -> Tuple[Optional[float], bool]:
    """How long the phase lasts, and whether it began before this mgr and no record tells when."""
    acked = known.soft.phase_acked.get(ana_group.id) if known.soft else None
    age = _age(known, acked.at) if acked is not None and acked.version == ana_group.since else None
    if ana_group.since.ballot == known.map.version.ballot:
        return age, False
    last = next((r for r in reversed(past.records) if r.ana_group == ana_group.id), None)
    if (last is not None and ana_group.phase is Phase.ACTIVE and last.outcome is Outcome.DONE
            and last.to == str(ana_group.holder)):
        return round(max(0.0, past.wall - last.began - last.took_s), 3), False
    return age, age is not None


def _age(known: Known, at: Optional[float]) -> Optional[float]:
    return None if at is None else round(max(0.0, known.now - at), 3)


def summary(shown: Dict[str, Any]) -> Dict[str, Any]:
    """What ``ls`` says of a group that ``status`` shows so."""
    gateways, ana_groups = shown["gateways"], shown["ana_groups"]
    return {**{name: shown[name] for name in ("pool", "group", "looked_after", "problem")},
            "gateways": len(gateways), "available": sum(g["availability"] == "AVAILABLE" for g in gateways),
            "ana_groups": len(ana_groups), "optimized": sum(g["optimized"] for g in ana_groups),
            "namespaces": sum(g["namespaces"] for g in ana_groups)}


def summaries(shown: List[Dict[str, Any]]) -> str:
    """The same for people."""
    rows = [(f"{s['pool']}/{s['group']}", f"{s['available']} of {s['gateways']}", f"{s['optimized']} of {s['ana_groups']}",
             s["namespaces"], s["problem"] or ("" if s["looked_after"] else "not looked after")) for s in shown]
    return table(("GROUP", "AVAILABLE", "OPTIMIZED", "NAMESPACES", "PROBLEM"), rows) if rows else NO_GROUPS


def tables(shown: List[Dict[str, Any]]) -> str:
    """The same for people."""
    return "\n".join(map(_tables, shown)) or NO_GROUPS


def _tables(shown: Dict[str, Any]) -> str:
    title = f"{shown['pool']}/{shown['group']}" + (f"  map {shown['version']}" if shown["version"] else "")
    lines = f"{title}{'' if shown['looked_after'] else '  NOT LOOKED AFTER'}\n"
    lines += f"  {shown['problem']}\n" if shown["problem"] else ""
    if shown["gateways"]:
        lines += table(("GATEWAY", "STATE", "INSTANCE", "OWNS", "SERVES", "LISTENERS", "HOSTS", "BEACON", "FLAPS",
                        "PROBLEMS"), [_gateway_row(g) for g in shown["gateways"]], "  ")
    if shown["ana_groups"]:
        lines += table(("ANA GROUP", "PHASE", "FOR", "OWNER", "HOLDER", "NAMESPACES", "WHY"),
                       [_ana_group_row(g) for g in shown["ana_groups"]], "  ")
    for site in shown["disasters"]:
        numbers = ", ".join(map(str, site["away"])) or "none"
        lines += (f"  location {site['location']} recovers, ANA groups that are not home yet: {numbers}\n"
                  if site["recovering"] else f"  location {site['location']} is in disaster, its gateways get nothing; ANA "
                  f"groups that are elsewhere or nowhere: {numbers}\n")
    last = shown["last_failover"]
    if last is not None:
        lines += (f"  last failover: {last['began']} ANA group {last['anagrp_id']} from {last['from']} to {last['to']} "
                  f"in {seconds(last['took_s'])}: {last['cause']}\n")
    return lines


def _gateway_row(gateway: Dict[str, Any]) -> List[object]:
    words = [gateway["availability"]] + [word for word in ("leaving", "deleting") if gateway[word]]
    words += [] if gateway["enabled"] else ["disabled"]
    return [gateway["id"], ",".join(words), gateway["instance"], gateway["anagrp_id"],
            ",".join(map(str, gateway["serves"])), gateway["listeners"], gateway["hosts"],
            seconds(gateway["beacon_age_s"]), gateway["flaps"], "; ".join(gateway["problems"])]


def _ana_group_row(ana_group: Dict[str, Any]) -> List[object]:
    lasts = seconds(ana_group["phase_for_s"])
    lasts = f"> {lasts}" if ana_group["phase_for_longer"] else lasts
    return [ana_group["id"], ana_group["phase"], lasts, ana_group["owner"], ana_group["holder"],
            ana_group["namespaces"], ana_group["why"]]
