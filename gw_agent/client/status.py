"""`nvmeof-gw status`: the whole gateway group at one look, from any of its gateways."""
from __future__ import annotations

from typing import List

import click

from gw_agent.pb import ha_pb2
from gw_agent.client.api_client import ApiClient, pass_client
from gw_agent.client.group_view import optimized_at
from gw_agent.client.options import command
from gw_agent.client.tables import table
from gw_agent.client.units import age

STALE_S = 3.0
"""Seats are read twice a second, and permissions last a few seconds."""


@command("status", """
nvmeof-gw status
nvmeof-gw --format json status
""")
@pass_client
def status(client: ApiClient) -> None:
    """The gateway group at one look: gateways, ANA groups, problems.

    Any gateway of the group tells it, also one that does not serve, from the gateway map as it last read it. What is
    decided, and why, is known to the mgr: `ceph nvmeof-ha status`, `ceph health detail`.
    """
    reply = client.look("group_status", ha_pb2.group_status_req())
    client.print(reply, text(reply))


def text(info: ha_pb2.group_status_info) -> str:
    """Two tables, and what is not well."""
    head = f"Gateway group {info.pool}/{info.group} as gateway {info.answered_by} sees it"
    if not info.map_version:
        return f"{head}: it has read no gateway map yet\n{_problems(info)}"
    head += f": map {info.map_version}, read {age(info.map_age_s)} ago"
    return "\n\n".join([head, _gateways(info), _ana_groups(info), _problems(info)])


def _gateways(info: ha_pb2.group_status_info) -> str:
    return table(["Gateway", "State", "Own ANA group", "Optimized for", "Subsystems", "Listeners", "Instance"], [
        [g.name, _state(g), g.ana_group_id,
         ", ".join(str(a.id) for a in info.ana_groups if a.phase == "ACTIVE" and a.holder == g.name) or "none",
         len(g.subsystems), sum(len(s.listeners) for s in g.subsystems), g.instance or "none"]
        for g in info.gateways], "The map names no gateway")


def _state(gateway: ha_pb2.gateway_status) -> str:
    flags = (("deleting", gateway.deleting), ("stopping", gateway.leaving), ("disabled", not gateway.enabled))
    return ", ".join([gateway.availability.lower(), *(word for word, on in flags if on)])


def _ana_groups(info: ha_pb2.group_status_info) -> str:
    return table(["ANA group", "State", "Optimized at", "Owner", "Namespaces", f"Target of {info.answered_by}"], [
        [g.id, g.phase.lower(), optimized_at(g), g.owner, g.namespaces, g.target_state or "-"]
        for g in info.ana_groups], "There is no ANA group")


def _problems(info: ha_pb2.group_status_info) -> str:
    found: List[str] = []
    if info.not_serving:
        found.append(f"{info.answered_by} does not serve: {info.not_serving}")
    if info.newer_version:
        found.append(f"map {info.newer_version} is in one seat only so far: what it forbids is obeyed, what it allows "
                     "is not")
    if info.map_age_s > STALE_S:
        found.append(f"{info.answered_by} has read no map for {age(info.map_age_s)}: what is shown here may be over")
    found += [f"{gateway.name}: {problem}" for gateway in info.gateways for problem in gateway.problems]
    found += [f"ANA group {group.id}: {text}" for group in info.ana_groups for text in [_away(info, group)] if text]
    return "\n".join(["Problems:", *(f"  {click.unstyle(line)}" for line in found)]) if found else "No problems"


def _away(info: ha_pb2.group_status_info, group: ha_pb2.ana_group_status) -> str:
    """Why an ANA group is nowhere, or not with its owner; "" when it is."""
    if group.waits_for or group.holder == group.owner:
        return group.waits_for
    if group.moved_to:
        return (f"an operator moved it to {group.moved_to}, where it stays; `ceph nvmeof-ha failover {info.pool} "
                f"{info.group} {group.id} {group.owner}` undoes that")
    return f"{group.holder} serves it; it goes back to {group.owner} once that one has been well for long enough"
