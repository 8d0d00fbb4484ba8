"""The process: socket and lock file, start-up states, signals, shutdown.

A normal stop closes every connection and exits 0, but only when no I/O is left in Ceph's hands: while it hangs,
the process stays and its RPC socket answers, as measured on the real one. SIGKILL leaves socket and lock file
behind; the lock, not the file, decides whether a path is in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time

# Importing these fills the table of methods.
from . import (  # noqa: F401
    rpc_bdev,
    rpc_config,
    rpc_discovery,
    rpc_framework,
    rpc_keyring,
    rpc_listeners,
    rpc_log,
    rpc_nvmf,
)
from .bdev import BdevRegistry
from .bdev_rbd import Clusters, SizeWatcher
from .json_text import first_value
from .options import Options, UsageError, load_config, parse
from .rpc_methods import Executor
from .rpc_server import BACKLOG, RpcServer
from .target import NvmfTarget

SOCKET_IN_USE = 234
CORE_IN_USE = 1
BAD_CONFIG = 255
GIL_SWITCH_S = 0.0005
CORE_LOCK = "/var/tmp/spdk_cpu_lock_{:03d}"


class StartError(Exception):
    """The process cannot start; `exit_code` is what the real one returns."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class App:
    """What RPC handlers act on. Made inside the running loop."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.started_ns = time.monotonic_ns()
        self.bdevs = BdevRegistry()
        self.clusters = Clusters()
        self.size_watcher = SizeWatcher(self.bdevs)
        self.target = NvmfTarget()
        self.log = rpc_log.LogSettings()
        self.initialized = asyncio.Event()
        self.stopping = asyncio.Event()
        self.executor = Executor(self, options.rpcs_allowed)

    @property
    def is_initialized(self) -> bool:
        return self.initialized.is_set()

    def start_init(self) -> None:
        self.initialized.set()

    def ticks(self) -> int:
        return time.monotonic_ns() - self.started_ns

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    async def load(self, calls: list[dict]) -> None:
        """Runs the calls of a configuration file. Raises StartError."""
        for call in calls:
            params, _ = first_value(json.dumps(call.get("params")), 0)
            outcome: asyncio.Future = asyncio.get_running_loop().create_future()
            self.executor(call["method"], params, lambda result, error: outcome.set_result(error))
            error = await outcome
            if error is not None and not self.options.ignore_config_errors:
                raise StartError(f"{call['method']} of the configuration file failed: {error.message}", BAD_CONFIG)

    async def shutdown(self) -> None:
        """Returns when nothing is left to wait for."""
        for subsystem in list(self.target.subsystems.values()):
            await self.target.delete_subsystem(subsystem)
        for bdev in self.bdevs:
            await self.bdevs.remove(bdev)
        self.size_watcher.stop()
        for cluster in self.clusters:
            self.clusters.unregister(cluster.name)


class _RpcSocket:
    """The listening socket with its lock file."""

    def __init__(self, path: str) -> None:
        """Raises StartError: another process has it, or the path cannot be used."""
        self._path = path
        self._lock_path = path + ".lock"
        try:
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StartError(f"cannot open the lock file of the RPC socket: {error}", SOCKET_IN_USE) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"RPC Unix domain socket path {path} in use. Specify another.", SOCKET_IN_USE) from error
        if os.path.exists(path):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.bind(path)
        except OSError as error:
            raise StartError(f"cannot bind the RPC socket {path}: {error}", SOCKET_IN_USE) from error
        self.socket.listen(BACKLOG)

    def remove(self) -> None:
        for path in (self._path, self._lock_path):
            if os.path.exists(path):
                os.unlink(path)


def _cores(mask: str) -> list[int]:
    if mask.startswith("["):
        return [int(core) for core in mask.strip("[]").split(",")]
    bits = int(mask, 16)
    return [core for core in range(bits.bit_length()) if bits >> core & 1]


def _lock_cores(mask: str, locks: contextlib.ExitStack) -> None:
    """Claims the cores of the mask, as every process of this kind does, for as long as `locks` lasts. Raises
    StartError.
    """
    for core in _cores(mask):
        path = CORE_LOCK.format(core)
        lock = locks.enter_context(open(path, "wb"))
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"Cannot create lock on core {core}, probably another process has claimed it ({path}).", CORE_IN_USE
            ) from error


async def _run(options: Options, calls: list[dict]) -> None:
    loop = asyncio.get_running_loop()
    app = App(options)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stopping.set)
    rpc_socket = _RpcSocket(options.rpc_socket) if options.rpc_socket else None
    server = RpcServer(loop, rpc_socket.socket, app.executor) if rpc_socket else None
    if not options.wait_for_rpc:
        app.start_init()
    await app.load(calls)
    await app.stopping.wait()
    await app.shutdown()
    if server:
        server.close()
        rpc_socket.remove()


def main(arguments: list[str]) -> int:
    try:
        options = parse(arguments)
        if options.show == "version":
            print(rpc_framework.VERSION["version"])
            return 0
        if options.show == "help":
            print(
                "nvmf_tgt [options]: those of SPDK's nvmf_tgt; what is about memory, PCI and tracing does nothing here"
            )
            return 0
        calls = load_config(options.config_file) if options.config_file else []
        with contextlib.ExitStack() as locks:
            if options.lock_cpumask:
                _lock_cores(options.cpumask, locks)
            sys.setswitchinterval(GIL_SWITCH_S)
            asyncio.run(_run(options, calls))
    except (UsageError, StartError) as error:
        print(f"nvmf_tgt: {error}", file=sys.stderr)
        return error.exit_code
    return 0
