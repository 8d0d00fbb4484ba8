"""RPC methods for keys: the keyring, and which keys hosts of a subsystem have."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from .keyring import KeyFailed
from .rpc_errors import INTERNAL_ERROR, INVALID_PARAMS, RpcError, from_errno
from .rpc_methods import method
from .rpc_nvmf import NQN, TARGET_NAME, find_subsystem, named_key
from .rpc_params import Field, decode, string
from .subsystem import HostKeys

if TYPE_CHECKING:
    from .app import App

NAME = Field("name", string, True)


def _invalid_argument() -> RpcError:
    return RpcError(INVALID_PARAMS, "Invalid argument")


@method("keyring_file_add_key")
def keyring_file_add_key(app: App, params: Any) -> bool:
    asked = decode(params, NAME, Field("path", string, True), relaxed=True, refusal=_invalid_argument)
    try:
        app.target.keyring.add(asked["name"], asked["path"])
    except KeyFailed as error:
        raise from_errno(error.number) from error
    return True


@method("keyring_file_remove_key")
def keyring_file_remove_key(app: App, params: Any) -> bool:
    asked = decode(params, NAME, refusal=_invalid_argument)
    try:
        app.target.keyring.remove(asked["name"])
    except KeyFailed as error:
        raise from_errno(error.number) from error
    return True


@method("keyring_get_keys")
def keyring_get_keys(app: App, params: Any) -> list[dict]:
    return app.target.keyring.as_json()


@method("nvmf_subsystem_set_keys")
def nvmf_subsystem_set_keys(app: App, params: Any) -> bool:
    """What is not given is taken away. Connected hosts stay."""
    asked = decode(
        params,
        NQN,
        Field("host", string, True),
        Field("tgt_name", string),
        Field("dhchap_key", string),
        Field("dhchap_ctrlr_key", string),
    )
    if asked.get("tgt_name", TARGET_NAME) != TARGET_NAME:
        raise RpcError(INTERNAL_ERROR, "Invalid parameters")
    subsystem, host = find_subsystem(app, asked["nqn"]), asked["host"]
    key, controller_key = named_key(app, asked.get("dhchap_key")), named_key(app, asked.get("dhchap_ctrlr_key"))
    if host not in subsystem.hosts or (key is None and controller_key is not None):
        raise from_errno(errno.EINVAL)
    subsystem.set_host_keys(host, HostKeys(key, controller_key, subsystem.keys_of(host).psk))
    return True
