"""RPC methods for listeners and their ANA states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .rpc_errors import INTERNAL_ERROR, INVALID_PARAMS, RpcError, invalid_params
from .rpc_methods import method
from .rpc_nvmf import NQN, decode, find_subsystem
from .rpc_params import Field, boolean, nested, one_of, string, u32
from .subsystem import ANA_NAMES, ANA_STATES, OPTIMIZED, Address, InvalidChange

if TYPE_CHECKING:
    from .app import App

ADDRESS = Field(
    "listen_address",
    nested(Field("trtype", string), Field("adrfam", string), Field("traddr", string, True), Field("trsvcid", string)),
    True,
)
ANA_STATE = one_of(*ANA_STATES)
ADDRESS_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6", "ib": "IB", "fc": "FC"}
MAX_TRADDR, MAX_TRSVCID = 256, 32


def parse_address(asked: dict) -> Address:
    """Raises -32602 for what no listener could have."""
    family = ADDRESS_FAMILIES.get(asked.get("adrfam", "ipv4").lower())
    service = asked.get("trsvcid", "")
    if family is None or len(asked["traddr"]) > MAX_TRADDR or len(service) > MAX_TRSVCID:
        raise invalid_params()
    return Address(asked.get("trtype", "TCP").upper(), family, asked["traddr"], service)


@method("nvmf_subsystem_add_listener")
async def nvmf_subsystem_add_listener(app: App, params: Any) -> bool:
    asked = decode(
        params,
        NQN,
        ADDRESS,
        Field("secure_channel", boolean),
        Field("ana_state", ANA_STATE),
        Field("sock_impl", string),
        relaxed=True,
    )
    subsystem = find_subsystem(app, asked["nqn"])
    address = parse_address(asked["listen_address"])
    secure = asked.get("secure_channel", False)
    if secure and subsystem.allow_any_host:
        raise RpcError(INTERNAL_ERROR, "Cannot establish secure channel, when 'allow_any_host' is set")
    async with subsystem.state_change():
        try:
            await app.target.add_listener(
                subsystem, address, ANA_STATES.get(asked.get("ana_state", ""), OPTIMIZED), secure
            )
        except InvalidChange as error:
            raise invalid_params() from error
    return True


@method("nvmf_subsystem_remove_listener")
async def nvmf_subsystem_remove_listener(app: App, params: Any) -> bool:
    asked = decode(params, NQN, ADDRESS)
    subsystem = find_subsystem(app, asked["nqn"])
    address = parse_address(asked["listen_address"])
    if address.trtype not in app.target.transports:
        raise invalid_params()
    async with subsystem.state_change():
        try:
            await app.target.remove_listener(subsystem, address)
        except InvalidChange as error:
            raise invalid_params() from error
    return True


@method("nvmf_subsystem_listener_set_ana_state")
async def nvmf_subsystem_listener_set_ana_state(app: App, params: Any) -> bool:
    asked = decode(params, NQN, ADDRESS, Field("ana_state", ANA_STATE, True), Field("anagrpid", u32))
    subsystem = app.target.find_subsystem(asked["nqn"])
    if subsystem is None:
        raise RpcError(INVALID_PARAMS, f"Unable to find subsystem with NQN {asked['nqn']}")
    address = parse_address(asked["listen_address"])
    async with subsystem.state_change():
        try:
            subsystem.set_ana_state(address, ANA_STATES[asked["ana_state"]], asked.get("anagrpid", 0))
        except InvalidChange as error:
            raise RpcError(INTERNAL_ERROR, "error setting ANA state: -22") from error
    return True


@method("nvmf_subsystem_get_listeners")
def nvmf_subsystem_get_listeners(app: App, params: Any) -> list[dict]:
    subsystem = find_subsystem(app, decode(params, NQN)["nqn"])
    shown: list[dict] = []
    for listener in subsystem.listeners:
        entry: dict[str, Any] = {"address": listener.address.as_json()}
        if subsystem.ana_reporting:
            entry["ana_states"] = [
                {"ana_group": group, "ana_state": ANA_NAMES[state]}
                for group, state in enumerate(listener.ana_states, 1)
            ]
        shown.append(entry)
    return shown
