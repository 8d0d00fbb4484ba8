"""What ``show``, ``show-all`` and ``listeners`` print: the shapes of the commands that are built into Ceph's mons from
release 20 on.

Key order, the colon in "Created Gateways:" and the text form of "ana states" are that command's, because tools cut
strings out of it ("1: ACTIVE").  Its state words are the nearest to ours:

    ACTIVE                          holder of an ACTIVE group
    WAIT_BLOCKLIST_CMPL             incoming of a PROMOTING group
    WAIT_FAILBACK_PREPARED          holder of a DRAINING group
    OWNER_WAIT_FAILBACK_PREPARED    where a DRAINING group goes
    STANDBY                         everything else

A suspected gateway is shown UNAVAILABLE: tools know four words, and nothing is heard of it.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from .core import locations
from .core.model import AnaGroup, Availability, Gateway, Map, Phase
from .kv_records import GroupKey

JSON_COMPACT = "json"


def group(key: GroupKey, gateway_map: Optional[Map], epoch: int, minutes: int) -> Dict[str, Any]:
    """``gateway_map`` None: there is no such group.  ``epoch``: shown for a group without gateways.  ``minutes`` of
    wall-clock time choose the one ANA group whose gateway may move namespaces now."""
    shown = {**_named(key, gateway_map, epoch), "beacon_diff_enabled": True, "features": "LB"}
    if gateway_map is None or not gateway_map.gateways:
        return {**shown, "num gws": 0}
    gateways = gateway_map.gateways
    staying = [str(g.ana_group_id) for g in gateways if not g.deleting]
    return {**shown, "rebalance_ana_group": gateways[minutes % len(gateways)].ana_group_id, "num gws": len(gateways),
            "GW-epoch": gateway_map.version.epoch, "Anagrp list": " ".join(["[", *staying, "]"]),
            "num-namespaces": max(g.namespace_count() for g in gateways),
            "Created Gateways:": [_gateway(gateway_map, g) for g in gateways]}


def _named(key: GroupKey, gateway_map: Optional[Map], epoch: int) -> Dict[str, Any]:
    known = gateway_map is not None and bool(gateway_map.gateways)
    return {"epoch": gateway_map.version.epoch if gateway_map and known else epoch, "pool": key.pool,
            "group": key.group}


def listeners(key: GroupKey, gateway_map: Optional[Map], epoch: int) -> Dict[str, Any]:
    """Listeners of the gateways that are AVAILABLE, by subsystem; arguments as for ``group``."""
    shown = _named(key, gateway_map, epoch)
    if gateway_map is None or not gateway_map.gateways:
        return {**shown, "num gws": 0}
    found: Dict[str, List[Dict[str, str]]] = {}
    for gateway in gateway_map.gateways:
        if gateway.deleting or gateway.availability is not Availability.AVAILABLE:
            continue
        for subsystem in gateway.subsystems:
            found.setdefault(subsystem.nqn, []).extend(_listener(text, gateway) for text in subsystem.listeners)
    return {**shown, "num gws": len(gateway_map.gateways), "GW-epoch": gateway_map.version.epoch,
            "Created listeners": dict(sorted(found.items()))}


def _listener(text: str, gateway: Gateway) -> Dict[str, str]:
    address, _, port = text.rpartition(":")
    address = address.strip("[]")
    return {"address_family": "IPv6" if ":" in address else "IPv4", "address": address, "svcid": port,
            "gw_id": gateway.id}


def _gateway(gateway_map: Map, gateway: Gateway) -> Dict[str, Any]:
    availability = "DELETING" if gateway.deleting else _AVAILABILITY[gateway.availability]
    starting = gateway.instance is not None and gateway.availability is Availability.CREATED
    shown: Dict[str, Any] = {
        "gw-id": gateway.id, "anagrp-id": gateway.ana_group_id, "location": gateway.location,
        **_disaster(gateway_map, gateway), "admin state": "ENABLED" if gateway.enabled else "DISABLED",
        "num-namespaces": gateway_map.namespaces_in(gateway.ana_group_id),
        "performed-full-startup": 0 if starting else 1, "Availability": availability}
    if availability in ("AVAILABLE", "CREATED"):
        shown["num-listeners"] = gateway.listener_count()
    words = [f" {g.id}: {_state(g, gateway)} " for g in gateway_map.ana_groups]
    return {**shown, "ana states": ", ".join(words)}


def _disaster(gateway_map: Map, gateway: Gateway) -> Dict[str, str]:
    disaster = locations.disaster_at(gateway_map, gateway.location)
    if disaster is None:
        return {}
    return {"disaster state": "Disaster-cleanup" if disaster.clearing else "Disaster"}


_AVAILABILITY = {Availability.CREATED: "CREATED", Availability.AVAILABLE: "AVAILABLE",
                 Availability.SUSPECT: "UNAVAILABLE", Availability.UNAVAILABLE: "UNAVAILABLE"}


def _state(ana_group: AnaGroup, gateway: Gateway) -> str:
    serves = gateway.instance is not None and ana_group.server == gateway.instance
    if ana_group.phase is Phase.DRAINING and ana_group.target == gateway.id and not serves:
        return "OWNER_WAIT_FAILBACK_PREPARED"
    return _SERVING.get(ana_group.phase, "STANDBY") if serves else "STANDBY"


_SERVING = {Phase.ACTIVE: "ACTIVE", Phase.PROMOTING: "WAIT_BLOCKLIST_CMPL", Phase.DRAINING: "WAIT_FAILBACK_PREPARED"}


def formatted(value: Any, output_format: str) -> str:
    """Compact for ``--format json``, as the mons print it; indented by 4 otherwise."""
    if output_format == JSON_COMPACT:
        return json.dumps(value, separators=(",", ":"))
    return json.dumps(value, indent=4) + "\n"
