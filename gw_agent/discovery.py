"""Discovery: a host that asks any one gateway learns the listeners of all gateways of the group.

Each target answers discovery at its own listeners' addresses, there at the listeners' ports and at the well-known one,
and refers to the discovery services of the other gateways, which it knows from the stored listeners. A target tells each
host only of subsystems that it may use, so nobody learns of others by a referral. Hosts that stay connected are told of
changes by the target.

Promises: by difference only; what cannot be done is a problem and keeps nothing else from being served. Does not
promise: that a gateway that is referred to answers. Listeners that need TLS are left out: its keys belong to subsystems,
and discovery has none.
"""
from __future__ import annotations

import ipaddress
from typing import Any, Dict, List, Set

from gw_agent import target_state
from gw_agent.configuration import Configuration, Listener
from gw_agent.nqn import DISCOVERY_NQN
from gw_agent.settings import Settings
from gw_agent.spdk_rpc import RpcError, RpcFailure, SpdkRpc
from gw_agent.target_state import ListenerAddress
from gw_agent.target_steps import Step, StepSender

READ_TIMEOUT_S = 5.0
SUBJECT = "discovery"


async def apply(rpc: SpdkRpc, steps: StepSender, wanted: Configuration, listening: Set[ListenerAddress],
                settings: Settings) -> None:
    """`listening`: where the target listens for subsystems now. Raises RpcUnreachable."""
    replies = await rpc.pipeline([("nvmf_get_subsystems", {"nqn": DISCOVERY_NQN}),
                                  ("nvmf_discovery_get_referrals", None)], READ_TIMEOUT_S)
    for reply in replies:
        if isinstance(reply, RpcError):
            steps.problem_of[SUBJECT] = f"hosts cannot discover the group at this gateway: {reply}"
            return
        if isinstance(reply, RpcFailure):
            raise reply
    (itself,), shown = replies
    here = {target_state.found_listener(address) for address in itself["listen_addresses"]}
    referred = {target_state.found_listener(referral["address"]) for referral in shown
                if referral.get("subnqn", DISCOVERY_NQN) == DISCOVERY_NQN}
    own = own_addresses(wanted, listening, settings.gateway.host_name, settings.discovery.port)
    others = addresses_of_others(wanted, settings.gateway.host_name)
    await steps.send([_step("stop answering discovery at", address,
                            target_state.remove_listener(DISCOVERY_NQN, address)) for address in sorted(here - own)]
                     + [_step("answer discovery (is the port free?) at", address, (
                         "nvmf_subsystem_add_listener",
                         {"nqn": DISCOVERY_NQN, "listen_address": target_state.listen_address(address)}))
                        for address in sorted(own - here)]
                     + [_step("stop referring to", address, _referral("remove", address))
                        for address in sorted(referred - others)]
                     + [_step("refer to", address, _referral("add", address)) for address in sorted(others - referred)])


def own_addresses(wanted: Configuration, listening: Set[ListenerAddress], host_name: str,
                  port: int) -> Set[ListenerAddress]:
    """Where this gateway answers. `port`: the well-known one, 0: none."""
    served = listening & {target_state.address(listener) for listener in _open_listeners(wanted)
                          if listener.host_name == host_name}
    return served | {(adrfam, traddr, port) for adrfam, traddr, _ in served if port}


def addresses_of_others(wanted: Configuration, host_name: str) -> Set[ListenerAddress]:
    """Of every other gateway each address once: all its listeners give the same answer. The lowest port, because other
    gateways may have another well-known one."""
    lowest: Dict[Any, int] = {}
    for listener in _open_listeners(wanted):
        if listener.host_name != host_name and not ipaddress.ip_address(listener.traddr).is_unspecified:
            where = (listener.adrfam, listener.traddr)
            lowest[where] = min(listener.trsvcid, lowest.get(where, listener.trsvcid))
    return {(adrfam, traddr, port) for (adrfam, traddr), port in lowest.items()}


def _open_listeners(wanted: Configuration) -> List[Listener]:
    return [listener for subsystem in wanted.subsystems.values() for listener in subsystem.listeners
            if not listener.secure]


def _step(what: str, address: ListenerAddress, request: Any) -> Step:
    _, traddr, port = address
    return Step(f"{SUBJECT} {traddr}:{port}", f"{what} {traddr} port {port}", request, lambda: None)


def _referral(verb: str, address: ListenerAddress) -> Any:
    return f"nvmf_discovery_{verb}_referral", {"address": target_state.listen_address(address)}
