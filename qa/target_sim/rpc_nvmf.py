"""RPC methods of the NVMe-oF target: transports, subsystems, namespaces, hosts and what hosts are connected."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Optional

from .bdev import TICK_RATE, BdevError
from .nvme_format import (
    IN_CAPSULE_SIZE,
    KEEP_ALIVE_GRANULARITY_MS,
    KEEP_ALIVE_MINIMUM_MS,
    MAX_IO_SIZE,
    MAX_QUEUE_DEPTH,
    MAX_QUEUE_PAIRS,
)
from .rpc_errors import INTERNAL_ERROR, INVALID_PARAMS, RpcError, from_errno, invalid_params
from .rpc_methods import method
from .rpc_params import Field, boolean, hex_bytes, nested, printable, string, u8, u16, u32, u64, uuid_text
from .rpc_params import decode as _decode
from .subsystem import MAX_CNTLID, MIN_CNTLID, HostKeys, InvalidChange, Subsystem, is_valid_nqn

if TYPE_CHECKING:
    from .app import App
    from .keyring import Key

NQN = Field("nqn", string, True)
TARGET_NAME = "nvmf_tgt"
NSID = Field("nsid", u32, True)
POLL_GROUP = "nvmf_tgt_poll_group_000"
TRANSPORT_LIMITS = {
    "max_queue_depth": MAX_QUEUE_DEPTH,
    "max_io_qpairs_per_ctrlr": MAX_QUEUE_PAIRS - 1,
    "in_capsule_data_size": IN_CAPSULE_SIZE,
    "max_io_size": MAX_IO_SIZE,
    "max_aq_depth": MAX_QUEUE_DEPTH,
}
TRANSPORT_DEFAULTS = {
    **TRANSPORT_LIMITS,
    "iobuf_small_cache_size": 4294967295,
    "iobuf_large_cache_size": 4294967295,
    "dif_insert_or_strip": False,
    "zcopy": False,
    "c2h_success": True,
    "sock_priority": 0,
    "abort_timeout_sec": 1,
    "ack_timeout": 0,
    "data_wr_pool_size": 0,
    "disable_command_passthru": False,
    "kas": KEEP_ALIVE_GRANULARITY_MS // 100,
    "min_kato": KEEP_ALIVE_MINIMUM_MS,
}


def decode(params: Any, *fields: Field, relaxed: bool = False, optional: bool = False) -> dict:
    """The parameters of a method that also takes the name of a target, of which there is only one."""
    asked = _decode(params, *fields, Field("tgt_name", string), relaxed=relaxed, optional=optional)
    if asked.pop("tgt_name", TARGET_NAME) != TARGET_NAME:
        raise RpcError(INTERNAL_ERROR, "Unable to find a target.")
    return asked


def find_subsystem(app: App, nqn: str) -> Subsystem:
    """Raises the error that most methods have for an unknown NQN."""
    subsystem = app.target.find_subsystem(nqn)
    if subsystem is None:
        raise invalid_params()
    return subsystem


@method("nvmf_create_transport")
async def nvmf_create_transport(app: App, params: Any) -> bool:
    sizes = tuple(
        Field(name, boolean if isinstance(value, bool) else u32) for name, value in TRANSPORT_DEFAULTS.items()
    )
    ignored = tuple(
        Field(name, u32) for name in ("io_unit_size", "num_shared_buffers", "buf_cache_size", "acceptor_poll_rate")
    )
    asked = decode(params, Field("trtype", string, True), *sizes, *ignored, relaxed=True)
    kind = asked["trtype"].upper()
    if kind != "TCP":
        raise RpcError(INVALID_PARAMS, f"Invalid transport type '{asked['trtype']}'")
    if kind in app.target.transports:
        raise RpcError(INTERNAL_ERROR, f"Transport type '{asked['trtype']}' already exists")
    app.target.transports[kind] = {
        "trtype": kind,
        **TRANSPORT_DEFAULTS,
        **{name: asked[name] for name in TRANSPORT_DEFAULTS if name in asked},
    }
    return True


@method("nvmf_get_transports")
def nvmf_get_transports(app: App, params: Any) -> list[dict]:
    asked = decode(params, Field("trtype", string), optional=True)
    if "trtype" not in asked:
        return list(app.target.transports.values())
    if asked["trtype"].upper() not in app.target.transports:
        raise from_errno(errno.ENODEV)
    return [app.target.transports[asked["trtype"].upper()]]


@method("nvmf_create_subsystem")
async def nvmf_create_subsystem(app: App, params: Any) -> bool:
    asked = decode(
        params,
        NQN,
        Field("serial_number", printable(20)),
        Field("model_number", printable(40)),
        Field("max_namespaces", u32),
        Field("allow_any_host", boolean),
        Field("ana_reporting", boolean),
        Field("min_cntlid", u16),
        Field("max_cntlid", u16),
        Field("max_discard_size_kib", u64),
        Field("max_write_zeroes_size_kib", u64),
        Field("dmrsl", u32),
        Field("wzsl", u8),
        Field("passthrough", boolean),
        Field("enable_nssr", boolean),
    )
    asked.pop("enable_nssr", None)
    if "max_discard_size_kib" in asked:
        asked["dmrsl"] = asked.pop("max_discard_size_kib") * 2
    if "max_write_zeroes_size_kib" in asked:
        asked["wzsl"] = _pages_log2(asked.pop("max_write_zeroes_size_kib"))
    nqn, first, last = asked.pop("nqn"), asked.get("min_cntlid", MIN_CNTLID), asked.get("max_cntlid", MAX_CNTLID)
    if app.target.find_subsystem(nqn) is not None or not is_valid_nqn(nqn):
        raise RpcError(INTERNAL_ERROR, f"Unable to create subsystem {nqn}")
    if not MIN_CNTLID <= first <= last <= MAX_CNTLID:
        raise RpcError(INVALID_PARAMS, f"Invalid cntlid range [{first}-{last}]")
    app.target.add_subsystem(Subsystem(nqn, **asked))
    return True


def _pages_log2(kib: int) -> int:
    if kib and (kib < 8 or kib & (kib - 1)):
        raise RpcError(INVALID_PARAMS, f"Invalid max_write_zeroes_size_kib {kib}")
    return (kib // 4).bit_length() - 1 if kib else 0


@method("nvmf_delete_subsystem")
async def nvmf_delete_subsystem(app: App, params: Any) -> bool:
    subsystem = find_subsystem(app, decode(params, NQN)["nqn"])
    await app.target.delete_subsystem(subsystem)
    return True


@method("nvmf_get_subsystems")
def nvmf_get_subsystems(app: App, params: Any) -> list[dict]:
    asked = decode(params, Field("nqn", string), optional=True)
    if "nqn" not in asked:
        return [subsystem.as_json() for subsystem in app.target.subsystems.values()]
    subsystem = app.target.find_subsystem(asked["nqn"])
    if subsystem is None:
        raise from_errno(errno.ENODEV)
    return [subsystem.as_json()]


@method("nvmf_subsystem_add_ns")
async def nvmf_subsystem_add_ns(app: App, params: Any) -> int:
    namespace_fields = nested(
        Field("nsid", u32),
        Field("bdev_name", string, True),
        Field("ptpl_file", string),
        Field("nguid", hex_bytes(16)),
        Field("eui64", hex_bytes(8)),
        Field("uuid", uuid_text),
        Field("anagrpid", u32),
        Field("no_auto_visible", boolean),
        Field("hide_metadata", boolean),
    )
    asked = decode(params, NQN, Field("namespace", namespace_fields, True), relaxed=True)
    subsystem, wanted = find_subsystem(app, asked["nqn"]), asked["namespace"]
    async with subsystem.state_change(wanted.get("nsid", 0)):
        try:
            namespace = subsystem.add_namespace(
                app.bdevs.get(wanted["bdev_name"]),
                wanted.get("nsid", 0),
                wanted.get("uuid"),
                wanted.get("nguid"),
                wanted.get("eui64"),
                wanted.get("anagrpid", 0),
                not wanted.get("no_auto_visible", False),
            )
        except (BdevError, InvalidChange) as error:
            raise invalid_params() from error
    return namespace.nsid


@method("nvmf_subsystem_remove_ns")
async def nvmf_subsystem_remove_ns(app: App, params: Any) -> bool:
    asked = decode(params, NQN, NSID)
    subsystem = find_subsystem(app, asked["nqn"])
    async with subsystem.state_change(asked["nsid"]):
        _or_invalid(subsystem.remove_namespace, asked["nsid"])
    return True


@method("nvmf_subsystem_set_ns_ana_group")
async def nvmf_subsystem_set_ns_ana_group(app: App, params: Any) -> bool:
    asked = decode(params, NQN, NSID, Field("anagrpid", u32, True))
    subsystem = find_subsystem(app, asked["nqn"])
    async with subsystem.state_change(asked["nsid"]):
        _or_invalid(subsystem.set_namespace_group, asked["nsid"], asked["anagrpid"])
    return True


def _or_invalid(change, *arguments) -> None:
    try:
        change(*arguments)
    except InvalidChange as error:
        raise invalid_params() from error


async def _set_namespace_host(app: App, params: Any, visible: bool) -> bool:
    asked = decode(params, NQN, NSID, Field("host", string, True))
    subsystem = find_subsystem(app, asked["nqn"])
    async with subsystem.state_change(asked["nsid"]):
        _or_invalid(subsystem.set_namespace_host, asked["nsid"], asked["host"], visible)
    return True


@method("nvmf_ns_add_host")
async def nvmf_ns_add_host(app: App, params: Any) -> bool:
    return await _set_namespace_host(app, params, visible=True)


@method("nvmf_ns_remove_host")
async def nvmf_ns_remove_host(app: App, params: Any) -> bool:
    return await _set_namespace_host(app, params, visible=False)


def named_key(app: App, name: Optional[str]) -> Optional[Key]:
    """Raises -32602 for a name that the keyring does not have."""
    if name is None:
        return None
    key = app.target.keyring.find(name)
    if key is None:
        raise invalid_params()
    return key


@method("nvmf_subsystem_add_host")
def nvmf_subsystem_add_host(app: App, params: Any) -> bool:
    asked = decode(
        params,
        NQN,
        Field("host", string, True),
        Field("dhchap_key", string),
        Field("dhchap_ctrlr_key", string),
        Field("psk", string),
        relaxed=True,
    )
    subsystem = find_subsystem(app, asked["nqn"])
    host, psk = asked["host"], app.target.keyring.find(asked.get("psk", ""))
    keys = HostKeys(named_key(app, asked.get("dhchap_key")), named_key(app, asked.get("dhchap_ctrlr_key")), psk)
    wrong_psk = "psk" in asked and (psk is None or not psk.is_tls_key())
    alone = keys.dhchap is None and keys.dhchap_ctrlr is not None
    if not is_valid_nqn(host) or host in subsystem.hosts or alone or wrong_psk:
        raise RpcError(INTERNAL_ERROR, "Internal error")
    subsystem.hosts.insert(0, host)
    subsystem.set_host_keys(host, keys)
    app.target.discovery_changed()
    return True


@method("nvmf_subsystem_remove_host")
async def nvmf_subsystem_remove_host(app: App, params: Any) -> bool:
    asked = decode(params, NQN, Field("host", string, True), Field("timeout_ms", u64))
    subsystem = find_subsystem(app, asked["nqn"])
    if asked["host"] not in subsystem.hosts:
        raise RpcError(INTERNAL_ERROR, "Internal error")
    subsystem.hosts.remove(asked["host"])
    subsystem.set_host_keys(asked["host"], HostKeys())
    await subsystem.disconnect(
        [controller for controller in subsystem.controllers.values() if controller.hostnqn == asked["host"]]
    )
    app.target.discovery_changed()
    return True


@method("nvmf_subsystem_allow_any_host")
def nvmf_subsystem_allow_any_host(app: App, params: Any) -> bool:
    asked = decode(params, NQN, Field("allow_any_host", boolean, True))
    find_subsystem(app, asked["nqn"]).allow_any_host = asked["allow_any_host"]
    app.target.discovery_changed()
    return True


@method("nvmf_subsystem_get_controllers")
def nvmf_subsystem_get_controllers(app: App, params: Any) -> list[dict]:
    subsystem = find_subsystem(app, decode(params, NQN)["nqn"])
    return [controller.as_json() for controller in subsystem.controllers.values()]


@method("nvmf_subsystem_get_qpairs")
def nvmf_subsystem_get_qpairs(app: App, params: Any) -> list[dict]:
    subsystem = find_subsystem(app, decode(params, NQN)["nqn"])
    shown = []
    for controller in subsystem.controllers.values():
        for qid, connection in controller.connections().items():
            host, port = connection.peer
            waiting = controller.must_authenticate
            shown.append(
                {
                    "cntlid": controller.cntlid,
                    "qid": qid,
                    "state": _queue_state(connection.is_open, waiting),
                    "thread": POLL_GROUP,
                    "hostnqn": controller.hostnqn,
                    "listen_address": connection.address.as_json(),
                    "peer_address": connection.address._replace(traddr=host, trsvcid=str(port)).as_json(),
                    **({"auth": {"state": "negotiate", "digest": "unknown", "dhgroup": "null"}} if waiting else {}),
                }
            )
    return shown


def _queue_state(is_open: bool, waiting: bool) -> str:
    if not is_open:
        return "deactivating"
    return "authenticating" if waiting else "enabled"


@method("nvmf_get_stats")
def nvmf_get_stats(app: App, params: Any) -> dict:
    decode(params, optional=True)
    transports = [{"trtype": kind} for kind in app.target.transports]
    return {
        "tick_rate": TICK_RATE,
        "poll_groups": [{"name": POLL_GROUP, **app.target.stats_json(), "transports": transports}],
    }
