"""framework_get_config, of the NVMe-oF target only: the requests that would make it as it is. Settings that can only be
made before a start are not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .rpc_errors import INVALID_PARAMS, RpcError
from .rpc_methods import method
from .rpc_params import Field, decode, string
from .subsystem import Namespace, Subsystem

if TYPE_CHECKING:
    from .app import App


@method("framework_get_config")
def framework_get_config(app: App, params: Any) -> list[dict]:
    asked = decode(
        params, Field("name", string, True), refusal=lambda: RpcError(INVALID_PARAMS, "Invalid arguments")
    )
    if asked["name"] != "nvmf":
        raise RpcError(INVALID_PARAMS, f"Subsystem '{asked['name']}' not found")
    subsystems = [subsystem for subsystem in app.target.subsystems.values() if not subsystem.is_discovery]
    shown = [_request("nvmf_create_transport", **transport) for transport in app.target.transports.values()]
    shown += [_create_subsystem(subsystem) for subsystem in subsystems]
    for part in (_hosts, _namespaces, _listeners):
        shown += [request for subsystem in subsystems for request in part(subsystem)]
    return shown


def _request(name: str, **params: Any) -> dict:
    return {"method": name, "params": params}


def _create_subsystem(subsystem: Subsystem) -> dict:
    return _request(
        "nvmf_create_subsystem",
        nqn=subsystem.nqn,
        allow_any_host=subsystem.allow_any_host,
        serial_number=subsystem.serial_number,
        model_number=subsystem.model_number,
        max_namespaces=subsystem.max_namespaces,
        min_cntlid=subsystem.min_cntlid,
        max_cntlid=subsystem.max_cntlid,
        ana_reporting=subsystem.ana_reporting,
        dmrsl=subsystem.dmrsl,
        wzsl=subsystem.wzsl,
        passthrough=subsystem.passthrough,
        enable_nssr=False,
    )


def _hosts(subsystem: Subsystem) -> list[dict]:
    return [
        _request("nvmf_subsystem_add_host", nqn=subsystem.nqn, host=host, **subsystem.keys_of(host).as_json(with_psk=True))
        for host in subsystem.hosts
    ]


def _namespaces(subsystem: Subsystem) -> list[dict]:
    shown = []
    for nsid in sorted(subsystem.namespaces):
        namespace = subsystem.namespaces[nsid]
        shown.append(_request("nvmf_subsystem_add_ns", nqn=subsystem.nqn, namespace=_namespace(subsystem, namespace)))
        shown += [
            _request("nvmf_ns_add_host", nqn=subsystem.nqn, nsid=nsid, host=host) for host in sorted(namespace.hosts)
        ]
    return shown


def _namespace(subsystem: Subsystem, namespace: Namespace) -> dict:
    shown: dict[str, Any] = {"nsid": namespace.nsid, "bdev_name": namespace.bdev.name}
    if any(namespace.nguid):
        shown["nguid"] = namespace.nguid.hex().upper()
    if any(namespace.eui64):
        shown["eui64"] = namespace.eui64.hex().upper()
    shown["uuid"] = str(namespace.uuid)
    if subsystem.ana_reporting:
        shown["anagrpid"] = namespace.anagrpid
    return {**shown, "no_auto_visible": not namespace.always_visible}


def _listeners(subsystem: Subsystem) -> list[dict]:
    return [
        _request(
            "nvmf_subsystem_add_listener",
            nqn=subsystem.nqn,
            listen_address=listener.address.as_json(),
            secure_channel=listener.secure_channel,
        )
        for listener in subsystem.listeners
    ]
