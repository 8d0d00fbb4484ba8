"""RPC methods for discovery referrals: entries of the discovery log that name other discovery services (or, with the
NQN of a subsystem, that subsystem) elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .rpc_errors import INTERNAL_ERROR, INVALID_PARAMS, RpcError
from .rpc_listeners import ADDRESS, parse_address
from .rpc_methods import method
from .rpc_nvmf import TARGET_NAME, decode
from .rpc_params import Field, boolean, decode as decode_strictly, string
from .subsystem import DISCOVERY_NQN, Referral

if TYPE_CHECKING:
    from .app import App

REFERRED = ADDRESS._replace(name="address")
SUBNQN = Field("subnqn", string)
MAX_NQN = 223


def _referral(asked: dict) -> Referral:
    nqn = asked.get("subnqn", DISCOVERY_NQN)
    if len(nqn.encode()) > MAX_NQN:
        raise RpcError(INVALID_PARAMS, "Invalid subsystem NQN")
    return Referral(parse_address(asked["address"]), nqn, asked.get("secure_channel", False))


@method("nvmf_discovery_add_referral")
def nvmf_discovery_add_referral(app: App, params: Any) -> bool:
    """Adding one again changes nothing."""
    referral = _referral(decode(params, REFERRED, Field("secure_channel", boolean), SUBNQN, relaxed=True))
    if referral.address.trtype == "TCP" and not referral.address.trsvcid:
        raise RpcError(INTERNAL_ERROR, "Service ID is required.")
    if app.target.find_referral(referral) is None:
        app.target.referrals.insert(0, referral)
        app.target.discovery_changed()
    return True


@method("nvmf_discovery_remove_referral")
def nvmf_discovery_remove_referral(app: App, params: Any) -> bool:
    found = app.target.find_referral(_referral(decode(params, REFERRED, SUBNQN)))
    if found is None:
        raise RpcError(INTERNAL_ERROR, "Unable to remove a referral.")
    app.target.referrals.remove(found)
    app.target.discovery_changed()
    return True


@method("nvmf_discovery_get_referrals")
def nvmf_discovery_get_referrals(app: App, params: Any) -> list[dict]:
    asked = decode_strictly(params, Field("tgt_name", string), optional=True)
    if asked.get("tgt_name", TARGET_NAME) != TARGET_NAME:
        raise RpcError(INTERNAL_ERROR, "Unable to find a target")
    return [
        {"address": referral.address.as_json(), "secure_channel": referral.secure_channel, "subnqn": referral.nqn}
        for referral in app.target.referrals
    ]
