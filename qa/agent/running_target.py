"""A target process for tests of the gateway side, with the smallest source of cluster contexts.

The target is $NVMF_TGT or the stand-in; tests use only what a stock one has.
"""
from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Awaitable, Callable, Iterator, List, Optional

from gw_agent import settings as settings_module
from gw_agent.settings import DEFAULT_TGT_ARGS, Settings
from gw_agent.spdk_rpc import RpcUnreachable, SpdkRpc

START_S = 60
STOP_S = 30
USE_S = 120
CONTEXT = "nvmeof_ha.1"


class TargetProcess:
    """One target in `directory` that can be ended and started again; `path` is that of its RPC socket."""

    def __init__(self, program: Path, directory: Path) -> None:
        self.path = str(directory / "spdk.sock")
        self._program = program
        self._directory = directory
        self._process: "Optional[subprocess.Popen[bytes]]" = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns once it answers."""
        with open(self._directory / "target.log", "ab") as log:
            self._process = subprocess.Popen([str(self._program), *DEFAULT_TGT_ARGS.split(), "-r", self.path],
                                             stdout=log, stderr=log)
        asyncio.run(_wait_until_ready(self.path, self._process))

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running_target(program: Path, directory: Path) -> Iterator[str]:
    """Starts the target, yields the path of its RPC socket, ends it."""
    target = TargetProcess(program, directory)
    try:
        target.start()
        yield target.path
    finally:
        target.stop()


async def _wait_until_ready(path: str, process: "subprocess.Popen[bytes]") -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_S
    while True:
        try:
            rpc = await SpdkRpc.connect(path)
            try:
                return await rpc.call("framework_wait_init", timeout_s=START_S)
            finally:
                await rpc.close()
        except RpcUnreachable:
            assert process.poll() is None, f"the target ended with {process.returncode}; see target.log"
            assert loop.time() < deadline, f"no target at {path} after {START_S} s"
            await asyncio.sleep(0.05)


def with_rpc(path: str, use: Callable[[SpdkRpc], Awaitable[Any]]) -> Any:
    """Runs `use(rpc)` on a connection of its own; what it makes in the target is its own business."""
    async def body() -> Any:
        rpc = await SpdkRpc.connect(path)
        try:
            return await asyncio.wait_for(use(rpc), USE_S)
        finally:
            await rpc.close()
    return asyncio.run(body())


def gateway_settings(directory: Path, cluster: Any, addr: str = "127.0.0.2", name: str = "gw1",
                     group: str = "g1", more: str = "") -> Settings:
    """Settings of a gateway that uses the cluster as its administrator. `more`: lines of section [gateway]."""
    path = directory / f"{name}.conf"
    run_dir = directory / name
    run_dir.mkdir(mode=0o700, exist_ok=True)
    path.write_text(f"[gateway]\nname = {name}\ngroup = {group}\naddr = {addr}\nport = 0\nrun_dir = {run_dir}\n{more}"
                    f"[ceph]\npool = rbd\nconfig_file = {cluster.conf}\nid = admin\n[discovery]\nport = 0\n")
    return settings_module.load(str(path))


@dataclass
class OneContext:
    """A context source that puts every device into one context, while it permits any."""

    rpc: SpdkRpc
    config_file: str
    permitted: bool = True
    wrong: bool = False
    """True: name a context that does not exist, so that every image is refused."""
    released_names: List[str] = field(default_factory=list)

    async def context_for(self, bdev_name: str) -> Optional[str]:
        if not self.permitted:
            return None
        if self.wrong:
            return "nosuch"
        if CONTEXT not in await self._names():
            await self.rpc.call("bdev_rbd_register_cluster", {
                "name": CONTEXT, "user_id": "admin", "config_file": self.config_file}, 20)
        return CONTEXT

    async def _names(self) -> List[str]:
        listed, = await self.rpc.pipeline([("bdev_rbd_get_clusters_info", None)])
        return [context["cluster_name"] for context in listed] if isinstance(listed, list) else []

    def released(self, bdev_name: str) -> None:
        self.released_names.append(bdev_name)
