"""RPC methods about the target's own log. The levels and flags are kept and shown; what this program prints does not
depend on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .rpc_errors import INVALID_PARAMS, RpcError, undecodable
from .rpc_methods import ALWAYS, method
from .rpc_params import Field, decode, one_of, string

if TYPE_CHECKING:
    from .app import App

LEVELS = ("ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")
FLAGS = ("bdev", "bdev_malloc", "bdev_rbd", "log_rpc", "nvmf", "nvmf_auth", "nvmf_tcp", "reactor", "rpc", "thread")


class LogSettings:
    def __init__(self) -> None:
        self.flags = dict.fromkeys(FLAGS, False)
        self.level, self.print_level = "NOTICE", "INFO"


def _no_parameters(params: Any, name: str) -> None:
    if params is not None:
        raise RpcError(INVALID_PARAMS, f"{name} requires no parameters")


def _level(params: Any) -> str:
    return decode(params, Field("level", one_of(*LEVELS), True), refusal=undecodable)["level"]


def _set_flag(app: App, params: Any, enabled: bool) -> bool:
    flag = decode(params, Field("flag", string, True), refusal=undecodable)["flag"].lower()
    chosen = FLAGS if flag == "all" else [flag]
    if any(name not in FLAGS for name in chosen):
        raise RpcError(INVALID_PARAMS, "invalid log flag")
    app.log.flags.update(dict.fromkeys(chosen, enabled))
    return True


@method("log_get_flags", ALWAYS)
def log_get_flags(app: App, params: Any) -> dict:
    _no_parameters(params, "log_get_flags")
    return dict(app.log.flags)


@method("log_set_flag", ALWAYS)
def log_set_flag(app: App, params: Any) -> bool:
    return _set_flag(app, params, True)


@method("log_clear_flag", ALWAYS)
def log_clear_flag(app: App, params: Any) -> bool:
    return _set_flag(app, params, False)


@method("log_get_level", ALWAYS)
def log_get_level(app: App, params: Any) -> str:
    _no_parameters(params, "log_get_level")
    return app.log.level


@method("log_set_level", ALWAYS)
def log_set_level(app: App, params: Any) -> bool:
    app.log.level = _level(params)
    return True


@method("log_get_print_level", ALWAYS)
def log_get_print_level(app: App, params: Any) -> str:
    _no_parameters(params, "log_get_print_level")
    return app.log.print_level


@method("log_set_print_level", ALWAYS)
def log_set_print_level(app: App, params: Any) -> bool:
    app.log.print_level = _level(params)
    return True
