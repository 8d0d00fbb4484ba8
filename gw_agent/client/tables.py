"""The texts that nvmeof-gw prints for the API's answers."""
from __future__ import annotations

from typing import List, Optional, Sequence

from tabulate import tabulate

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import ha_pb2
from gw_agent.client import group_view
from gw_agent.client.units import count, size

NUMBERS = frozenset((
    "NSID", "Size", "Block size", "ANA group", "Own ANA group", "Namespaces", "Max", "Subsystems", "Listeners",
    "Queues", "Controller ID", "Requests", "Data", "Average ms", "Longest ms", "IO/s", "MB/s read", "MB/s written",
    "ms read", "ms written"))
"""Headers of columns that are aligned to the right."""
GroupStatus = Optional[ha_pb2.group_status_info]


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> str:
    """`empty` is the text where there is no row."""
    if not rows:
        return empty
    return tabulate(rows, headers, disable_numparse=True,
                    colalign=["right" if header in NUMBERS else "left" for header in headers])


def pairs(rows: Sequence[Sequence[object]]) -> str:
    """Names and values; those without a value are left out."""
    return tabulate([row for row in rows if row[1] not in (None, "")], tablefmt="plain", disable_numparse=True)


def gateway(reply: pb.gateway_info) -> str:
    def limit(name: str) -> Optional[int]:
        return getattr(reply, name) if reply.HasField(name) else None
    return pairs([
        ["Gateway", reply.name], ["Gateway group", reply.group], ["Host name", reply.hostname],
        ["Client version", reply.cli_version], ["Gateway version", reply.version], ["SPDK version", reply.spdk_version],
        ["Load balancing (ANA) group", reply.load_balancing_group], ["Address", reply.addr], ["Port", reply.port],
        ["Max subsystems", limit("max_subsystems")], ["Max namespaces", limit("max_namespaces")],
        ["Max namespaces per subsystem", limit("max_namespaces_per_subsystem")], ["Max hosts", limit("max_hosts")],
        ["Max hosts per subsystem", limit("max_hosts_per_subsystem")]])


def gateway_listeners(reply: pb.gateway_listeners_info) -> str:
    return table(["Host", "Transport", "Address", "Secure", "ANA group", "State"], [
        [entry.listener.host_name, entry.listener.trtype, _address(entry.listener), _yes(entry.listener.secure),
         state.grp_id or "-", pb.ana_state.Name(state.state).lower() if state.grp_id else "not in the target"]
        for entry in reply.gw_listeners for state in entry.lb_states or [pb.ana_group_state()]],
        "This gateway has no listener in the subsystem")


def subsystems(reply: pb.subsystems_info_cli) -> str:
    return table(["NQN", "Serial", "Model", "Controller IDs", "Namespaces", "Max", "Any host", "Key"], [
        [entry.nqn, entry.serial_number, entry.model_number, f"{entry.min_cntlid}-{entry.max_cntlid}",
         entry.namespace_count, entry.max_namespaces, _yes(entry.allow_any_host), _yes(entry.has_dhchap_key)]
        for entry in reply.subsystems], "No subsystems")


def served_subsystems(reply: pb.subsystems_info) -> str:
    """Of the target: one row for each namespace and, under it, where hosts connect."""
    rows: List[Sequence[object]] = []
    for entry in reply.subsystems:
        listening = "\n".join(f"{_bracketed(a.traddr)}:{a.trsvcid}" for a in entry.listen_addresses) or "nowhere"
        hosts = "any" if entry.allow_any_host else "\n".join(host.nqn for host in entry.hosts) or "none"
        rows.append([entry.nqn, listening, hosts, "\n".join(
            f"{n.nsid}: {n.bdev_name}, ANA group {n.anagrpid}" for n in entry.namespaces) or "none"])
    return table(["NQN", "Listens at", "Hosts", "Namespaces"], rows, "The target serves no subsystem")


def listeners(reply: pb.listeners_info, subsystem: str, status: GroupStatus) -> str:
    headers = ["Host", "Transport", "Address", "Secure"]
    rows: List[List[object]] = [[e.host_name, e.trtype, _address(e), _yes(e.secure)] for e in reply.listeners]
    if status is not None:
        headers.append("Optimized for ANA groups")
        for row, entry in zip(rows, reply.listeners):
            groups = group_view.groups_at(status, subsystem, _address(entry))
            row.append(", ".join(map(str, groups)) or "none")
    return table(headers, rows, "No listeners")


def namespaces(reply: pb.namespaces_info, status: GroupStatus) -> str:
    headers = ["NQN", "NSID", "RBD image", "Size", "Block size", "ANA group"]
    headers += ["Optimized at"] if status is not None else []
    return table(headers + ["Visible to", "Limits", "UUID"], [
        [e.ns_subsystem_nqn or reply.subsystem_nqn, e.nsid,
         f"{e.rbd_pool_name}/{e.rbd_image_name}{' (to trash with it)' if e.trash_image else ''}",
         size(e.rbd_image_size), e.block_size, e.load_balancing_group]
        + ([group_view.place_of(status, e.load_balancing_group)] if status is not None else [])
        + [_visible_to(e), limits(e), e.uuid] for e in reply.namespaces], "No namespaces")


def limits(entry: pb.namespace_cli) -> str:
    """The limits that are set."""
    found = [f"{getattr(entry, name)} {unit}" for name, unit in (
        ("rw_ios_per_second", "IO/s"), ("rw_mbytes_per_second", "MiB/s"), ("r_mbytes_per_second", "MiB/s read"),
        ("w_mbytes_per_second", "MiB/s written")) if getattr(entry, name)]
    return "\n".join(found) or "none"


def hosts(reply: pb.hosts_info) -> str:
    rows: List[Sequence[object]] = [["any host", "no", "no"]] if reply.allow_any_host else []
    return table(["Host NQN", "DH-HMAC-CHAP key", "TLS key"], [
        *rows, *([entry.nqn, _yes(entry.use_dhchap), _yes(entry.use_psk)] for entry in reply.hosts)],
        "No hosts may connect")


def connections(reply: pb.connections_info) -> str:
    headers = ["Host NQN", "Connected", "At listener", "Queues", "Controller ID", "TLS", "DH-HMAC-CHAP key",
               "TLS key"]
    return table(headers, [
        [e.nqn, "yes", f"{_bracketed(e.traddr)}:{e.trsvcid}", e.qpairs_count, e.controller_id, _yes(e.secure),
         _yes(e.use_dhchap), _yes(e.use_psk)] if e.connected else
        [e.nqn, "no", "-", "-", "-", "-", _yes(e.use_dhchap), _yes(e.use_psk)]
        for e in reply.connections], "No hosts are allowed or connected")


def io_stats(reply: pb.namespace_io_stats_info) -> str:
    """Latencies are averages since the block device was made."""
    def row(what: str, operations: int, moved: int, ticks: int, most: int) -> List[object]:
        def ms(value: float) -> str:
            return f"{value * 1e3 / reply.tick_rate:.3f}" if operations and reply.tick_rate else "-"
        return [what, operations, size(moved) if moved else "0 B", ms(ticks / max(operations, 1)), ms(most)]
    text = table(["", "Requests", "Data", "Average ms", "Longest ms"], [
        row("read", reply.num_read_ops, reply.bytes_read, reply.read_latency_ticks, reply.max_read_latency_ticks),
        row("written", reply.num_write_ops, reply.bytes_written, reply.write_latency_ticks,
            reply.max_write_latency_ticks),
        row("unmapped", reply.num_unmap_ops, reply.bytes_unmapped, reply.unmap_latency_ticks,
            reply.max_unmap_latency_ticks)], "")
    errors = ", ".join(f"{error.name} {count(error.value)}" for error in reply.io_error if error.value)
    return (f"Namespace {reply.nsid} of {reply.subsystem_nqn}, block device {reply.bdev_name}, at this gateway\n"
            f"{text}\nErrors: {errors or 'none'}")


def target_log(reply: pb.spdk_nvmf_log_flags_and_level_info) -> str:
    return pairs([["Log level", pb.LogLevel.Name(reply.log_level)],
                  ["Print level", pb.LogLevel.Name(reply.log_print_level)],
                  *([f"Flag {flag.name}", "on" if flag.enabled else "off"] for flag in reply.nvmf_log_flags)])


def _visible_to(entry: pb.namespace_cli) -> str:
    return "all hosts" if entry.auto_visible else "\n".join(entry.hosts) or "no host yet"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _address(listener: pb.listener_info) -> str:
    return f"{_bracketed(listener.traddr)}:{listener.trsvcid}"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
