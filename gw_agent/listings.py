"""The API's answers that list things: from the stored configuration, or from what the target shows.

Pure: values in, protobuf messages out.
"""
from __future__ import annotations

from typing import Any, Collection, List, Mapping, Optional, Sequence, Tuple

from gw_agent import target_state
from gw_agent.configuration import Configuration, Listener, Namespace, Subsystem
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.target_state import ListenerAddress

STATE_BY_NAME = {"optimized": pb.OPTIMIZED, "non_optimized": pb.NON_OPTIMIZED, "inaccessible": pb.INACCESSIBLE}


def configured_subsystems(configuration: Configuration, cntlid_range: Tuple[int, int], nqn: str,
                          serial_number: str) -> List[pb.subsystem_cli]:
    """All, or only the one with this NQN or serial number (empty: any)."""
    return [pb.subsystem_cli(
        nqn=subsystem.nqn, enable_ha=True, serial_number=subsystem.serial_number,
        model_number=subsystem.model_number, min_cntlid=cntlid_range[0], max_cntlid=cntlid_range[1],
        namespace_count=len(subsystem.namespaces), subtype="NVMe", max_namespaces=subsystem.max_namespaces,
        has_dhchap_key=False, allow_any_host=subsystem.allow_any_host)
        for _, subsystem in sorted(configuration.subsystems.items())
        if nqn in ("", subsystem.nqn) and serial_number in ("", subsystem.serial_number)]


def configured_listeners(subsystem: Subsystem) -> List[pb.listener_info]:
    """Of all gateways."""
    return [listener_info(listener) for listener in subsystem.listeners]


def listener_info(listener: Listener) -> pb.listener_info:
    return pb.listener_info(host_name=listener.host_name, trtype=listener.trtype,
                            adrfam=pb.AddressFamily.Value(listener.adrfam), traddr=listener.traddr,
                            trsvcid=listener.trsvcid, secure=listener.secure)


def configured_hosts(subsystem: Subsystem) -> List[pb.host]:
    return [pb.host(nqn=host, use_psk=False, use_dhchap=False) for host in sorted(subsystem.hosts)]


def configured_namespaces(configuration: Configuration, size_by_bdev: Mapping[str, int], nqn: str,
                          nsid: Optional[int], uuid: Optional[str]) -> List[pb.namespace_cli]:
    """All of a subsystem (empty: of all), or only those that match; size 0 where the target has no such device."""
    return [_namespace(subsystem, namespace, size_by_bdev.get(namespace.bdev_name, 0))
            for subsystem, namespace in configuration.namespaces()
            if nqn in ("", subsystem.nqn) and nsid in (None, 0, namespace.nsid)
            and (uuid or namespace.uuid).lower() == namespace.uuid]


def _namespace(subsystem: Subsystem, namespace: Namespace, size: int) -> pb.namespace_cli:
    return pb.namespace_cli(
        nsid=namespace.nsid, bdev_name=namespace.bdev_name, rbd_image_name=namespace.image,
        rbd_pool_name=namespace.pool, load_balancing_group=namespace.ana_group_id, block_size=namespace.block_size,
        rbd_image_size=size, uuid=namespace.uuid, auto_visible=True, ns_subsystem_nqn=subsystem.nqn)


def served_subsystems(shown: Sequence[Mapping[str, Any]]) -> List[pb.subsystem]:
    """From the target's nvmf_get_subsystems."""
    return [_served_subsystem(subsystem) for subsystem in shown if subsystem["subtype"] == "NVMe"]


def _served_subsystem(shown: Mapping[str, Any]) -> pb.subsystem:
    return pb.subsystem(
        nqn=shown["nqn"], subtype=shown["subtype"], allow_any_host=shown["allow_any_host"],
        serial_number=shown["serial_number"], model_number=shown["model_number"],
        max_namespaces=shown["max_namespaces"], min_cntlid=shown["min_cntlid"], max_cntlid=shown["max_cntlid"],
        hosts=[pb.host(nqn=host["nqn"]) for host in shown["hosts"]],
        listen_addresses=[pb.listen_address(
            trtype=address["trtype"], adrfam=address["adrfam"], traddr=address["traddr"],
            trsvcid=address["trsvcid"], transport=address["trtype"]) for address in shown["listen_addresses"]],
        namespaces=[pb.namespace(
            nsid=namespace["nsid"], name=namespace["name"], bdev_name=namespace["bdev_name"],
            nguid=namespace["nguid"], uuid=namespace["uuid"], anagrpid=namespace.get("anagrpid"),
            auto_visible=True) for namespace in shown["namespaces"]])


def served_listeners(listeners: Sequence[Listener], shown: Sequence[Mapping[str, Any]],
                     ana_groups: Collection[int]) -> List[pb.gateway_listener_info]:
    """Each listener with its ANA states of these groups; none where the target does not have the listener.

    `shown` is from the target's nvmf_subsystem_get_listeners.
    """
    states = {target_state.found_listener(entry["address"]): entry.get("ana_states", []) for entry in shown}
    return [pb.gateway_listener_info(
        listener=listener_info(listener),
        lb_states=[pb.ana_group_state(grp_id=state["ana_group"], state=STATE_BY_NAME.get(state["ana_state"], pb.UNSET))
                   for state in states.get(_address(listener), []) if state["ana_group"] in ana_groups])
        for listener in listeners]


def _address(listener: Listener) -> ListenerAddress:
    return target_state.address(listener)
