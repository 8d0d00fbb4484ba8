"""What a running target serves, as read over JSON-RPC, and the requests that change it.

Reading is one write with a few requests. The request builders are pure and send only parameters that stock SPDK
knows from v24.09 on: a target refuses what it does not know. Which namespaces are hidden from whom is shown by no
other request than the one for its whole configuration.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Set, Tuple

from gw_agent.config_difference import by_subsystem
from gw_agent.configuration import Configuration, Listener, Namespace, QosLimits, Subsystem
from gw_agent.host_keys import KeyNames
from gw_agent.moves import Key
from gw_agent.spdk_rpc import Request, SpdkRpc

READ_TIMEOUT_S = 5.0
OUR_BDEV = re.compile(r"bdev_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Names of block devices that belong to namespaces; any other device is somebody else's."""

READ_CONFIG: Request = ("framework_get_config", {"name": "nvmf"})
VISIBILITY_RPC = "nvmf_subsystem_set_ns_visibility"
"""Of Ceph's SPDK fork only."""
IOS_STEP = 1000
MBYTES_LIMIT = (2 ** 64 - 1) >> 20
LIMIT_PARAMETERS = {"rw_ios_per_second": "rw_ios_per_sec", "rw_mbytes_per_second": "rw_mbytes_per_sec",
                    "r_mbytes_per_second": "r_mbytes_per_sec", "w_mbytes_per_second": "w_mbytes_per_sec"}

ListenerAddress = Tuple[str, str, int]
"""Address family in lower case, address, port."""


@dataclass
class FoundNamespace:
    """A namespace in the target."""

    bdev_name: str
    uuid: str
    ana_group_id: int


@dataclass
class FoundSubsystem:
    """A subsystem in the target; changed as requests succeed, so that it keeps saying what the target has."""

    identity: Tuple[Any, ...]
    allow_any_host: bool = False
    hosts: Set[str] = field(default_factory=set)
    listeners: Set[ListenerAddress] = field(default_factory=set)
    namespaces: Dict[int, FoundNamespace] = field(default_factory=dict)
    hidden: Dict[int, Set[str]] = field(default_factory=dict)
    """By nsid of a namespace that not every host sees: the hosts that do."""
    keys: Dict[str, KeyNames] = field(default_factory=dict)
    """By host that has any."""

    def allow(self, host: str, names: KeyNames) -> None:
        self.hosts.add(host)
        self.keys[host] = names

    def forbid(self, host: str) -> None:
        self.hosts.discard(host)
        self.keys.pop(host, None)

    def note_namespace(self, namespace: Namespace) -> None:
        """It is there, new or in another ANA group."""
        self.namespaces[namespace.nsid] = FoundNamespace(namespace.bdev_name, namespace.uuid, namespace.ana_group_id)
        if not namespace.auto_visible:
            self.hidden.setdefault(namespace.nsid, set())

    def forget_namespace(self, nsid: int) -> None:
        self.namespaces.pop(nsid, None)
        self.hidden.pop(nsid, None)


@dataclass
class TargetState:
    """All that the reconciler compares with the configuration."""

    has_transport: bool
    subsystems: Dict[str, FoundSubsystem]
    bdevs: Dict[str, Tuple[str, str]]
    """Pool and image by device name; only devices that belong to namespaces."""
    limits: Dict[str, QosLimits] = field(default_factory=dict)
    """By device name."""
    changes_visibility: bool = False
    """It can hide a namespace, or show it to all, while hosts use it."""

    @property
    def groups(self) -> Dict[str, Dict[int, int]]:
        """ANA group id by namespace id, by NQN."""
        return {nqn: {nsid: namespace.ana_group_id for nsid, namespace in subsystem.namespaces.items()}
                for nqn, subsystem in self.subsystems.items()}

    def part(self, keys: FrozenSet[Key], wanted: Configuration) -> "TargetState":
        """With these namespaces only, and the block devices that they use and are to use. Hosts and listeners are left
        alone in it; `take_over` notes what became of the rest."""
        subsystems, devices = {}, {namespace.bdev_name for _, namespace in wanted.namespaces()}
        for nqn, nsids in by_subsystem(keys):
            found = self.subsystems[nqn]
            namespaces = {nsid: found.namespaces[nsid] for nsid in nsids if nsid in found.namespaces}
            devices.update(namespace.bdev_name for namespace in namespaces.values())
            subsystems[nqn] = replace(found, namespaces=namespaces, hidden={
                nsid: found.hidden[nsid] for nsid in nsids if nsid in found.hidden})
        return replace(self, subsystems=subsystems,
                       bdevs={name: self.bdevs[name] for name in devices & self.bdevs.keys()},
                       limits={name: self.limits[name] for name in devices & self.limits.keys()})

    def take_over(self, before: "TargetState", after: "TargetState", keys: FrozenSet[Key]) -> None:
        """`before`, `after`: the `part` of these namespaces as it was and as it is now."""
        for mine, old, new in ((self.bdevs, before.bdevs, after.bdevs), (self.limits, before.limits, after.limits)):
            for name in old.keys() - new.keys():
                del mine[name]
            mine.update(new)   # type: ignore[arg-type]
        for nqn, nsids in by_subsystem(keys):
            found, now = self.subsystems[nqn], after.subsystems[nqn]
            for nsid in nsids:
                found.forget_namespace(nsid)
            found.namespaces.update(now.namespaces)
            found.hidden.update(now.hidden)

    def can_keep(self, there: FoundNamespace, hidden: bool, wanted: Optional[Namespace]) -> bool:
        """A namespace that is there can become the wanted one; otherwise it is made anew."""
        return (wanted is not None and there.bdev_name == wanted.bdev_name and there.uuid == wanted.uuid
                and self.bdevs.get(there.bdev_name) == (wanted.pool, wanted.image)
                and (self.changes_visibility or wanted.auto_visible == (not hidden)))


def identity(subsystem: Subsystem, cntlid_range: Tuple[int, int]) -> Tuple[Any, ...]:
    """What of a subsystem cannot be changed while it exists."""
    return (subsystem.serial_number, subsystem.model_number, subsystem.max_namespaces, *cntlid_range)


def address(listener: Listener) -> ListenerAddress:
    """How a listener is recognised in the target."""
    return listener.adrfam, listener.traddr, listener.trsvcid


async def read(rpc: SpdkRpc) -> TargetState:
    """Reads the target. Raises RpcFailure."""
    transports, subsystems, bdevs, config, methods = await rpc.results([
        ("nvmf_get_transports", None), ("nvmf_get_subsystems", None), ("bdev_get_bdevs", None),
        READ_CONFIG, ("rpc_get_methods", None)], READ_TIMEOUT_S)
    found = {subsystem["nqn"]: _found_subsystem(subsystem) for subsystem in subsystems
             if subsystem["subtype"] == "NVMe"}
    for (nqn, nsid), hosts in hidden_namespaces(config).items():
        if nqn in found:
            found[nqn].hidden[nsid] = hosts
    for (nqn, host), names in key_names(config).items():
        if nqn in found:
            found[nqn].keys[host] = names
    ours = [bdev for bdev in bdevs if OUR_BDEV.fullmatch(bdev["name"])]
    return TargetState(
        any(transport["trtype"].upper() == "TCP" for transport in transports), found,
        {bdev["name"]: _image(bdev) for bdev in ours}, {bdev["name"]: _limits(bdev) for bdev in ours},
        VISIBILITY_RPC in methods)


def found_listener(listen_address: Mapping[str, Any]) -> ListenerAddress:
    """The same from the target's own notation (adrfam "IPv4", the port as text)."""
    return (listen_address.get("adrfam", "ipv4").lower(), listen_address.get("traddr", ""),
            int(listen_address.get("trsvcid") or 0))


def _found_subsystem(shown: Mapping[str, Any]) -> FoundSubsystem:
    return FoundSubsystem(
        (shown["serial_number"], shown["model_number"], shown["max_namespaces"], shown["min_cntlid"],
         shown["max_cntlid"]),
        shown["allow_any_host"], {host["nqn"] for host in shown["hosts"]},
        {found_listener(listen_address) for listen_address in shown["listen_addresses"]},
        {namespace["nsid"]: FoundNamespace(namespace["bdev_name"], namespace["uuid"].lower(),
                                           namespace.get("anagrpid", namespace["nsid"]))
         for namespace in shown["namespaces"]})


def hidden_namespaces(config: List[Mapping[str, Any]]) -> Dict[Tuple[str, int], Set[str]]:
    """By NQN and nsid, the hosts that see a namespace which not all see. `config`: the requests that would make the
    target's present configuration, from framework_get_config."""
    hidden: Dict[Tuple[str, int], Set[str]] = {}
    for request in config:
        params = request["params"]
        if request["method"] == "nvmf_subsystem_add_ns" and params["namespace"].get("no_auto_visible"):
            hidden.setdefault((params["nqn"], params["namespace"]["nsid"]), set())
        elif request["method"] == "nvmf_ns_add_host":
            hidden.setdefault((params["nqn"], params["nsid"]), set()).add(params["host"])
    return hidden


def key_names(config: List[Mapping[str, Any]]) -> Dict[Tuple[str, str], KeyNames]:
    """By NQN and host; `config` as above."""
    made = [request["params"] for request in config if request["method"] == "nvmf_subsystem_add_host"]
    return {(params["nqn"], params["host"]): KeyNames(
        params.get("dhchap_key", ""), params.get("dhchap_ctrlr_key", ""), params.get("psk", "")) for params in made}


def _limits(bdev: Mapping[str, Any]) -> QosLimits:
    shown = bdev.get("assigned_rate_limits", {})
    return QosLimits(**{name: shown.get(parameter, 0) for name, parameter in LIMIT_PARAMETERS.items()})


def kept_limits(limits: QosLimits) -> QosLimits:
    """As a target keeps them: I/O per second rounded up to thousands, megabytes up to what 64 bits of bytes can say."""
    ios = min(-(-limits.rw_ios_per_second // IOS_STEP), (2 ** 64 - 2) // IOS_STEP) * IOS_STEP
    return QosLimits(ios, *(min(mbytes, MBYTES_LIMIT) for mbytes in (
        limits.rw_mbytes_per_second, limits.r_mbytes_per_second, limits.w_mbytes_per_second)))


def _image(bdev: Mapping[str, Any]) -> Tuple[str, str]:
    rbd = bdev.get("driver_specific", {}).get("rbd", {})
    return rbd.get("pool_name", ""), rbd.get("rbd_name", "")


def create_transport(options: Mapping[str, Any]) -> Request:
    """`options`: what the settings add to the target's defaults."""
    return "nvmf_create_transport", {"trtype": "TCP", **options}


def create_subsystem(subsystem: Subsystem, cntlid_range: Tuple[int, int]) -> Request:
    """Without hosts and listeners. Each gateway has a controller id range of its own, so that a host that sees the
    subsystem through several gateways never meets one controller id twice."""
    return "nvmf_create_subsystem", {
        "nqn": subsystem.nqn, "serial_number": subsystem.serial_number, "model_number": subsystem.model_number,
        "max_namespaces": subsystem.max_namespaces, "allow_any_host": False, "ana_reporting": True,
        "min_cntlid": cntlid_range[0], "max_cntlid": cntlid_range[1]}


def delete_subsystem(nqn: str) -> Request:
    return "nvmf_delete_subsystem", {"nqn": nqn}


def create_bdev(namespace: Namespace, context: str) -> Request:
    """`context` is the name of a registered cluster context."""
    return "bdev_rbd_create", {"name": namespace.bdev_name, "pool_name": namespace.pool, "rbd_name": namespace.image,
                               "block_size": namespace.block_size, "cluster_name": context, "uuid": namespace.uuid}


def delete_bdev(name: str) -> Request:
    return "bdev_rbd_delete", {"name": name}


def add_namespace(nqn: str, namespace: Namespace) -> Request:
    """The uuid goes along, so that every gateway shows the same uuid and NGUID."""
    hidden = {} if namespace.auto_visible else {"no_auto_visible": True}
    return "nvmf_subsystem_add_ns", {"nqn": nqn, "namespace": {
        "nsid": namespace.nsid, "bdev_name": namespace.bdev_name, "anagrpid": namespace.ana_group_id,
        "uuid": namespace.uuid, **hidden}}


def show_namespace(nqn: str, nsid: int, host: str, visible: bool) -> Request:
    """To one host, or no more to it."""
    return "nvmf_ns_add_host" if visible else "nvmf_ns_remove_host", {"nqn": nqn, "nsid": nsid, "host": host}


def set_visibility(nqn: str, nsid: int, auto_visible: bool) -> Request:
    return VISIBILITY_RPC, {"nqn": nqn, "nsid": nsid, "auto_visible": auto_visible}


def set_limits(bdev_name: str, limits: QosLimits) -> Request:
    """All four, so that what nobody asks for any more ends. A target changes only those of a device in use."""
    kept = kept_limits(limits)
    return "bdev_set_qos_limit", {"name": bdev_name, **{
        parameter: getattr(kept, name) for name, parameter in LIMIT_PARAMETERS.items()}}


def remove_namespace(nqn: str, nsid: int) -> Request:
    return "nvmf_subsystem_remove_ns", {"nqn": nqn, "nsid": nsid}


def set_ana_group(nqn: str, namespace: Namespace) -> Request:
    return "nvmf_subsystem_set_ns_ana_group", {"nqn": nqn, "nsid": namespace.nsid,
                                               "anagrpid": namespace.ana_group_id}


def allow_any_host(nqn: str, allow: bool) -> Request:
    return "nvmf_subsystem_allow_any_host", {"nqn": nqn, "allow_any_host": allow}


def add_host(nqn: str, host: str, names: KeyNames) -> Request:
    """The keys are in the keyring."""
    return "nvmf_subsystem_add_host", {"nqn": nqn, "host": host, **names.parameters}


def set_keys(nqn: str, host: str, names: KeyNames) -> Request:
    """Those for DH-HMAC-CHAP; what is not named is taken away. The host stays connected."""
    return "nvmf_subsystem_set_keys", {
        "nqn": nqn, "host": host, **{name: key for name, key in names.parameters.items() if name != "psk"}}


def remove_host(nqn: str, host: str) -> Request:
    return "nvmf_subsystem_remove_host", {"nqn": nqn, "host": host}


def add_listener(nqn: str, listener: Listener) -> Request:
    """Inaccessible from its first moment; a target's own default is optimized for every ANA group."""
    params: Dict[str, Any] = {"nqn": nqn, "listen_address": listen_address(address(listener)),
                              "ana_state": "inaccessible"}
    if listener.secure:
        params["secure_channel"] = True
    return "nvmf_subsystem_add_listener", params


def remove_listener(nqn: str, found: ListenerAddress) -> Request:
    return "nvmf_subsystem_remove_listener", {"nqn": nqn, "listen_address": listen_address(found)}


def get_listeners(nqns: Iterable[str]) -> List[Request]:
    """Reads the ANA states of all listeners of these subsystems."""
    return [("nvmf_subsystem_get_listeners", {"nqn": nqn}) for nqn in nqns]


def listen_address(found: ListenerAddress) -> Dict[str, str]:
    """In the target's parameters."""
    adrfam, traddr, trsvcid = found
    return {"trtype": "TCP", "adrfam": adrfam, "traddr": traddr, "trsvcid": str(trsvcid)}
