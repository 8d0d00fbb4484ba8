"""``fences``: which instances are kept out by the OSD blocklist, why, and until when.  Pure.

The blocklist names addresses only; whose they are is told by the map (each gateway's last departed instance) and by the
history (all that were fenced lately).  The shape of one, kept as ``status``'s:

    instance, gateway    texts
    addresses            list: address, until (as the mons print it; null: not on the blocklist)
    osd_epoch            OSD map at which all were listed, null while it is not fenced yet
    cause                text: why it was lost; "" if no record tells
    lost_at              when that began, null if no record tells
    anagrp_ids           list: what it served then
    transitions          list: numbers of the records of ``history`` that say so
    problem              text: why it is not fenced yet; "" if it is
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

from . import transitions
from .core.model import Map
from .core.soft import Soft
from .osd_dumps import plain
from .tables import table
from .transitions import Transition

Blocklist = Mapping[str, str]
"""Address without messenger version -> until when."""


def blocklist(osd_map: Mapping[str, Any]) -> Blocklist:
    """From the JSON of `osd dump`."""
    return {plain(address): until for address, until in osd_map["blocklist"].items()}


def of_group(gateway_map: Optional[Map], soft: Optional[Soft], records: Iterable[Transition],
             listed: Blocklist) -> List[Dict[str, Any]]:
    """Instances that have an address on the blocklist, or should have; the latest last."""
    found: Dict[str, Tuple[Tuple[str, ...], Optional[int]]] = {}
    for record in records:
        for note in record.fences:
            found[note.instance] = (note.addresses, note.osd_epoch)
    problems: Dict[str, str] = {}
    for departed in gateway_map.departed if gateway_map is not None else ():
        name = str(departed.instance)
        if departed.addresses:
            found[name] = (tuple(sorted(departed.addresses)), departed.osd_epoch)
            if departed.osd_epoch is None:
                problems[name] = (soft.fence_errors.get(departed.instance) if soft else None) or "it is being fenced"
    shown = [_shown(name, *found[name], problems.get(name, ""), records, listed) for name in found]
    shown = [fence for fence in shown if fence["problem"] or any(a["until"] for a in fence["addresses"])]
    return sorted(shown, key=lambda fence: (fence["lost_at"] or "", fence["instance"]))


def _shown(name: str, addresses: Tuple[str, ...], osd_epoch: Optional[int], problem: str,
           records: Iterable[Transition], listed: Blocklist) -> Dict[str, Any]:
    telling = [r for r in records if any(note.instance == name for note in r.fences)]
    lost = [r for r in telling if r.source == name] or telling
    return {"instance": name, "gateway": name.partition("#")[0],
            "addresses": [{"address": plain(a), "until": listed.get(plain(a))} for a in addresses],
            "osd_epoch": osd_epoch, "cause": lost[0].cause if lost else "",
            "lost_at": transitions.stamp(lost[0].began) if lost else None,
            "anagrp_ids": sorted({r.ana_group for r in lost if r.ana_group}),
            "transitions": [r.number for r in telling], "problem": problem}


def rows(shown: List[Dict[str, Any]]) -> str:
    return table(("INSTANCE", "ADDRESSES", "UNTIL", "OSD EPOCH", "LOST AT", "ANA GROUPS", "WHY"), [
        (fence["instance"], len(fence["addresses"]),
         max((a["until"] or "" for a in fence["addresses"]), default="") or "NOT LISTED", fence["osd_epoch"],
         fence["lost_at"], ",".join(map(str, fence["anagrp_ids"])),
         "; ".join(filter(None, (fence["problem"] and f"NOT FENCED: {fence['problem']}", fence["cause"]))))
        for fence in shown])
