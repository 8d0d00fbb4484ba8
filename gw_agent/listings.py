"""The API's answers that list things: from the stored configuration, or from what the target shows.

Pure: values in, protobuf messages out.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Collection, List, Mapping, Optional, Sequence, Set, Tuple

from gw_agent import target_state
from gw_agent.configuration import Configuration, Listener, Namespace, Subsystem
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.target_state import ListenerAddress

_COUNTERS = tuple(
    [f"bytes_{done}" for done in ("read", "written", "unmapped")]
    + [f"num_{kind}_ops" for kind in ("read", "write", "unmap")]
    + [f"{bound}{kind}_latency_ticks" for kind in ("read", "write", "unmap", "copy") for bound in ("", "max_", "min_")])
STATE_BY_NAME = {"optimized": pb.OPTIMIZED, "non_optimized": pb.NON_OPTIMIZED, "inaccessible": pb.INACCESSIBLE}


def configured_subsystems(configuration: Configuration, cntlid_range: Tuple[int, int], nqn: str,
                          serial_number: str) -> List[pb.subsystem_cli]:
    """All, or only the one with this NQN or serial number (empty: any)."""
    return [pb.subsystem_cli(
        nqn=subsystem.nqn, enable_ha=True, serial_number=subsystem.serial_number,
        model_number=subsystem.model_number, min_cntlid=cntlid_range[0], max_cntlid=cntlid_range[1],
        namespace_count=len(subsystem.namespaces), subtype="NVMe", max_namespaces=subsystem.max_namespaces,
        has_dhchap_key=subsystem.dhchap_key is not None, allow_any_host=subsystem.allow_any_host)
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
    return [pb.host(nqn=host, use_psk=subsystem.keys_of(host).psk is not None,
                    use_dhchap=subsystem.keys_of(host).dhchap is not None) for host in sorted(subsystem.hosts)]


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
        rbd_image_size=size, uuid=namespace.uuid, auto_visible=namespace.auto_visible, hosts=sorted(namespace.hosts),
        ns_subsystem_nqn=subsystem.nqn, trash_image=namespace.trash_image, **dataclasses.asdict(namespace.qos))


def io_stats(nqn: str, namespace: Namespace, shown: Mapping[str, Any]) -> pb.namespace_io_stats_info:
    """From the target's bdev_get_iostat of one device."""
    device, = shown["bdevs"]
    counters = {name: device[name] for name in _COUNTERS if name in device}
    errors = [pb.namespace_io_error(name=name, value=count) for name, count in sorted(device["io_error"].items())
              if isinstance(count, int)]
    return pb.namespace_io_stats_info(
        status=0, subsystem_nqn=nqn, nsid=namespace.nsid, uuid=namespace.uuid, bdev_name=namespace.bdev_name,
        tick_rate=shown["tick_rate"], ticks=shown["ticks"], io_error=errors, **counters)


def connections(subsystem: Subsystem, controllers: Sequence[Mapping[str, Any]],
                qpairs: Sequence[Mapping[str, Any]]) -> List[pb.connection]:
    """Each connected host's controller with the listener that it came through, then the allowed hosts that are not
    connected. From the target's nvmf_subsystem_get_controllers and nvmf_subsystem_get_qpairs."""
    came_through = {qpair["cntlid"]: target_state.found_listener(qpair["listen_address"]) for qpair in qpairs
                    if qpair["qid"] == 0}
    authenticated = {qpair["cntlid"] for qpair in qpairs if "auth" in qpair}
    secure = {_address(listener) for listener in subsystem.listeners if listener.secure}
    shown = []
    for controller in controllers:
        address = came_through.get(controller["cntlid"])
        if address is None:   # it left between the two looks
            continue
        adrfam, traddr, trsvcid = address
        shown.append(pb.connection(
            nqn=controller["hostnqn"], connected=True, traddr=traddr, trsvcid=trsvcid, trtype="TCP",
            adrfam=pb.AddressFamily.Value(adrfam), qpairs_count=controller["num_io_qpairs"],
            controller_id=controller["cntlid"], secure=address in secure,
            use_psk=address in secure, use_dhchap=controller["cntlid"] in authenticated))
    connected = {connection.nqn for connection in shown}
    return shown + [pb.connection(nqn=host, connected=False, traddr="<n/a>", trsvcid=0, qpairs_count=-1,
                                  controller_id=-1, use_psk=False, use_dhchap=False)
                    for host in sorted(subsystem.hosts - connected)]


def served_subsystems(shown: Sequence[Mapping[str, Any]], config: List[Mapping[str, Any]]) -> List[pb.subsystem]:
    """From the target's nvmf_get_subsystems and framework_get_config."""
    hidden = target_state.hidden_namespaces(config)
    return [_served_subsystem(subsystem, hidden) for subsystem in shown if subsystem["subtype"] == "NVMe"]


def _served_subsystem(shown: Mapping[str, Any], hidden: Mapping[Tuple[str, int], Set[str]]) -> pb.subsystem:
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
            auto_visible=(shown["nqn"], namespace["nsid"]) not in hidden,
            hosts=sorted(hidden.get((shown["nqn"], namespace["nsid"]), ()))) for namespace in shown["namespaces"]])


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
