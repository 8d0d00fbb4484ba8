"""What the gateway group's status says of one ANA group or one listener, for the tables of other commands."""
from __future__ import annotations

from typing import List, Optional

from gw_agent.pb import ha_pb2
from gw_agent.client.api_client import ApiClient, Failure


def known(client: ApiClient) -> Optional[ha_pb2.group_status_info]:
    """None where the gateway does not tell (it is of another kind, or has read no map): columns are left out then."""
    try:
        info = client.look("group_status", ha_pb2.group_status_req())
    except Failure:
        return None
    return info if info.map_version else None


def optimized_at(group: ha_pb2.ana_group_status) -> str:
    """Where hosts find an ANA group optimized."""
    if group.phase == "ACTIVE":
        return group.holder
    if group.phase == "PROMOTING":
        return f"{group.incoming} (taking over)"
    return f"nowhere ({group.phase.lower()})"


def place_of(info: ha_pb2.group_status_info, ana_group_id: int) -> str:
    """As `optimized_at`, by id."""
    return next((optimized_at(group) for group in info.ana_groups if group.id == ana_group_id), "no gateway owns it")


def groups_at(info: ha_pb2.group_status_info, nqn: str, address: str) -> List[int]:
    """ANA groups that hosts find optimized at a listener, which its gateway must have told the mgr."""
    gateways = {gateway.name for gateway in info.gateways for subsystem in gateway.subsystems
                if subsystem.nqn == nqn and address in subsystem.listeners}
    return [group.id for group in info.ana_groups if group.phase == "ACTIVE" and group.holder in gateways]
