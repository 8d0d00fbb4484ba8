"""The texts that nvmeof-gw-cli prints for the API's answers."""
from __future__ import annotations

from typing import List, Sequence

from tabulate import tabulate

from gw_agent.pb import gateway_pb2 as pb

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def gateway(reply: pb.gateway_info) -> str:
    return tabulate([
        ["Gateway", reply.name], ["Gateway group", reply.group], ["Host name", reply.hostname],
        ["Version", reply.version], ["Load balancing (ANA) group", reply.load_balancing_group],
        ["Address", reply.addr], ["Port", reply.port], ["SPDK version", reply.spdk_version]], tablefmt="plain")


def gateway_listeners(reply: pb.gateway_listeners_info) -> str:
    return _table(["Host", "Transport", "Address", "Load Balancing Group", "State"], [
        [entry.listener.host_name, entry.listener.trtype, _address(entry.listener), state.grp_id,
         pb.ana_state.Name(state.state).lower()]
        for entry in reply.gw_listeners for state in entry.lb_states or [pb.ana_group_state()]],
        "This gateway has no listener in the subsystem")


def created_subsystem(reply: pb.subsys_status) -> str:
    return f"Adding subsystem {reply.nqn}: successful"


def subsystems(reply: pb.subsystems_info_cli) -> str:
    return _table(["NQN", "Serial", "Model", "Controller IDs", "Namespaces", "Max", "Any host"], [
        [entry.nqn, entry.serial_number, entry.model_number, f"{entry.min_cntlid}-{entry.max_cntlid}",
         entry.namespace_count, entry.max_namespaces, _yes(entry.allow_any_host)] for entry in reply.subsystems],
        "No subsystems")


def listeners(reply: pb.listeners_info) -> str:
    return _table(["Host", "Transport", "Address", "Secure"], [
        [entry.host_name, entry.trtype, _address(entry), _yes(entry.secure)] for entry in reply.listeners],
        "No listeners")


def added_namespace(reply: pb.nsid_status) -> str:
    return f"Adding namespace {reply.nsid}: successful"


def namespaces(reply: pb.namespaces_info) -> str:
    return _table(["NQN", "NSID", "RBD image", "Size", "Block size", "UUID", "Load Balancing Group"], [
        [entry.ns_subsystem_nqn, entry.nsid, f"{entry.rbd_pool_name}/{entry.rbd_image_name}",
         size(entry.rbd_image_size), entry.block_size, entry.uuid, entry.load_balancing_group]
        for entry in reply.namespaces], "No namespaces")


def hosts(reply: pb.hosts_info) -> str:
    rows: List[Sequence[object]] = [["any host"]] if reply.allow_any_host else []
    return _table(["Host NQN"], [*rows, *([entry.nqn] for entry in reply.hosts)], "No hosts may connect")


def size(size_bytes: int) -> str:
    """In the largest unit in which it is a whole number; "unknown" for 0."""
    if not size_bytes:
        return "unknown"
    unit = 0
    while size_bytes % 1024 == 0 and unit < len(UNITS) - 1:
        size_bytes //= 1024
        unit += 1
    return f"{size_bytes} {UNITS[unit]}"


def _address(listener: pb.listener_info) -> str:
    traddr = f"[{listener.traddr}]" if listener.adrfam == pb.ipv6 else listener.traddr
    return f"{traddr}:{listener.trsvcid}"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> str:
    return tabulate(rows, headers, disable_numparse=True) if rows else empty
