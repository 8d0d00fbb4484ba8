"""``ok-to-stop``: what would become of each ANA group if some gateways stopped now.  Pure; decides nothing.

The answer is of this moment: a gateway that is well now may be lost a second later.  The shape, kept as ``status``'s:

    ok_to_stop    bool: every ANA group has somebody to serve it who reaches all its namespaces that are reached now
    gateways      list of the ids that were asked about
    ana_groups    list: id, namespaces, holder (gateway id or null), taker (gateway id or null: who serves it then,
                  the holder if that one stays), ok (bool), why (text, "" if ok)
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet

from . import reasons
from .core import placement
from .core.model import AnaGroup
from .reasons import Known


def outlook(known: Known, gateway_ids: FrozenSet[str]) -> Dict[str, Any]:
    """``gateway_ids`` are in the map."""
    ana_groups = [_ana_group(known, group, gateway_ids) for group in known.map.ana_groups]
    return {"ok_to_stop": all(g["ok"] for g in ana_groups), "gateways": sorted(gateway_ids), "ana_groups": ana_groups}


def _ana_group(known: Known, group: AnaGroup, stopped: FrozenSet[str]) -> Dict[str, Any]:
    holder = known.map.gateway(group.server.gateway) if group.server else None
    takers = reasons.takers(known, group, stopped)
    taker = next((g for g in takers if g == holder), takers[0] if takers else None)
    reached = 0 if holder is None else placement.covered(known.map, holder, group.id)[1]
    why = ""
    if taker is None:
        why = f"ANA group {group.id} would have no gateway that can serve it" + (
            "" if group.server else ", and has none now")
    elif placement.covered(known.map, taker, group.id)[1] < reached:
        why = f"{taker.id} has no listener for some subsystems of ANA group {group.id}"
    return {"id": group.id, "namespaces": known.map.namespaces_in(group.id), "holder": holder.id if holder else None,
            "taker": taker.id if taker else None, "ok": not why, "why": why}


def reason(found: Dict[str, Any]) -> str:
    """For people: "" or why the gateways must not stop."""
    return "; ".join(g["why"] for g in found["ana_groups"] if not g["ok"])
