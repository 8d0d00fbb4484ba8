"""RPC methods about the process itself: version, reactors, start-up, notifications."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from .bdev import TICK_RATE
from .rpc_errors import INTERNAL_ERROR, INVALID_PARAMS, RpcError, invalid_params
from .rpc_methods import ALWAYS, METHODS, RUNTIME, STARTUP, method
from .rpc_params import Field, boolean, decode, string, u64

if TYPE_CHECKING:
    from .app import App

VERSION = {
    "version": "SPDK v26.05 git sha1 d519b163cb",
    "fields": {"major": 26, "minor": 5, "patch": 0, "suffix": "", "commit": "d519b163cb"},
}
NOTIFICATION_TYPES = ["bdev_register", "bdev_unregister", "bdev_resize"]
THREADS = ("app_thread", "nvmf_tgt_poll_group_000")
SIGNALS = ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGKILL", "SIGUSR1")


def _no_parameters(params: Any, complaint: str) -> None:
    if params is not None:
        raise RpcError(INVALID_PARAMS, complaint)


@method("spdk_get_version", ALWAYS)
def spdk_get_version(app: App, params: Any) -> dict:
    _no_parameters(params, "spdk_get_version method requires no parameters")
    return VERSION


@method("rpc_get_methods", ALWAYS)
def rpc_get_methods(app: App, params: Any) -> list[str]:
    asked = decode(params, Field("current", boolean), Field("include_aliases", boolean), optional=True)
    return [
        name
        for name in METHODS
        if app.executor.is_known(name) and (not asked.get("current") or app.executor.is_available(name))
    ]


@method("framework_start_init", STARTUP)
async def framework_start_init(app: App, params: Any) -> bool:
    _no_parameters(params, "framework_start_init requires no parameters")
    app.start_init()
    await app.initialized.wait()
    return True


@method("framework_wait_init", ALWAYS)
async def framework_wait_init(app: App, params: Any) -> bool:
    await app.initialized.wait()
    return True


@method("framework_get_reactors", ALWAYS)
def framework_get_reactors(app: App, params: Any) -> dict:
    _no_parameters(params, "`framework_get_reactors` requires no arguments")
    usage = os.times()
    threads = [
        {"name": name, "id": number, "cpumask": "1", "elapsed": time.monotonic_ns() - app.started_ns}
        for number, name in enumerate(THREADS, 1)
    ]
    return {
        "tick_rate": TICK_RATE,
        "pid": os.getpid(),
        "reactors": [
            {
                "lcore": 0,
                "numa_id": 0,
                "tid": os.getpid(),
                "busy": 0,
                "idle": 0,
                "in_interrupt": app.options.interrupt_mode,
                "irq": 0,
                "sys": int(usage.system * 1000),
                "usr": int(usage.user * 1000),
                "lw_threads": threads,
            }
        ],
    }


@method("framework_get_scheduler", ALWAYS)
def framework_get_scheduler(app: App, params: Any) -> dict:
    _no_parameters(params, "'rpc_get_scheduler' requires no arguments")
    return {"scheduler_name": "static", "scheduler_period": 0, "isolated_core_mask": "0", "scheduling_core": 0}


@method("framework_set_scheduler", ALWAYS)
def framework_set_scheduler(app: App, params: Any) -> bool:
    asked = decode(params, Field("name", string, True), Field("period", u64))
    if asked["name"] != "static":
        raise RpcError(INTERNAL_ERROR, "Unknown error -22")
    return True


@method("thread_get_stats", RUNTIME)
def thread_get_stats(app: App, params: Any) -> dict:
    _no_parameters(params, "'thread_get_stats' requires no arguments")
    threads = [
        {
            "name": name,
            "id": number,
            "cpumask": "1",
            "busy": 0,
            "idle": 0,
            "active_pollers_count": 1,
            "timed_pollers_count": int(number == 1),
            "paused_pollers_count": 0,
        }
        for number, name in enumerate(THREADS, 1)
    ]
    return {"tick_rate": TICK_RATE, "threads": threads}


@method("notify_get_types", RUNTIME)
def notify_get_types(app: App, params: Any) -> list[str]:
    _no_parameters(params, "No parameters required")
    return NOTIFICATION_TYPES


@method("notify_get_notifications", RUNTIME)
def notify_get_notifications(app: App, params: Any) -> list[dict]:
    asked = decode(
        params,
        Field("id", u64),
        Field("max", u64),
        optional=True,
        refusal=lambda: RpcError(INVALID_PARAMS, "Invalid argument"),
    )
    start = asked.get("id", 0)
    chosen = app.bdevs.notifications[start : start + asked.get("max", 1 << 32)]
    return [{"type": kind, "ctx": context, "id": number} for number, (kind, context) in enumerate(chosen, start)]


@method("spdk_kill_instance", ALWAYS)
def spdk_kill_instance(app: App, params: Any) -> bool:
    name = decode(params, Field("sig_name", string, True))["sig_name"]
    number = int(name) if name.isdigit() else getattr(signal, name if name.startswith("SIG") else "SIG" + name, 0)
    if number not in {getattr(signal, known) for known in SIGNALS}:
        raise invalid_params()
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
    return True
