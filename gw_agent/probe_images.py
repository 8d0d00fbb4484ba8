"""Finds the RADOS address of a context on a target that does not tell it: by the watchers of a tiny image of its own.

The context opens the image, which leaves a watch on the image's header object, and whoever may read the image sees the
watcher's address. What watched before and does not any more (an earlier target that was killed stays listed for 30 s)
is told apart by looking before and after. An address too many is harmless: fencing blocklists clients that are dead.
"""
from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, FrozenSet

import rados
import rbd

log = logging.getLogger(__name__)

THREADS = 3
"""So that a call which hangs does not hold up the next one."""
IMAGE_BYTES = 1024 * 1024
CALL_TIMEOUT_S = 10.0
OSD_MAP_TIMEOUT_S = 2.0
"""Short, so that a promotion that cannot be carried out is declined well within `promote_s`."""


class ProbeFailed(Exception):
    """The image could not be made or looked at; the text says why."""


def image_name(gateway: str, number: int) -> str:
    """The image of a gateway's n-th context."""
    return f"nvmeof_ha.{gateway}.{number}"


class ProbeImages:
    """The images of one gateway, in its pool. The calls run in a thread, each with a deadline."""

    def __init__(self, client: "rados.Rados", pool: str, gateway: str) -> None:
        self.pool = pool
        self._client = client
        self._gateway = gateway
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="probe-images")

    async def make(self, number: int) -> str:
        """Make sure the image exists; returns its name. Raises ProbeFailed."""
        name = image_name(self._gateway, number)
        await self._run(f"make image {self.pool}/{name}", self._create, name)
        return name

    async def watchers(self, number: int) -> FrozenSet[str]:
        """Addresses (`ip:0/nonce`) of the clients that have the image open. Raises ProbeFailed."""
        name = image_name(self._gateway, number)
        return await self._run(f"see who has image {self.pool}/{name} open", self._watchers, name)

    async def newest_osd_map(self) -> None:
        """Wait until this process's own client has the newest OSD map: it shows that the mons answer now, so that the
        target, which waits for them with all I/O standing still, will not wait long. Raises ProbeFailed."""
        await self._run("get the newest OSD map", self._client.wait_for_latest_osdmap, timeout_s=OSD_MAP_TIMEOUT_S)

    async def _run(self, what: str, call: Callable[..., Any], *args: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._threads, call, *args),
                                          timeout_s)
        except asyncio.TimeoutError:
            raise ProbeFailed(f"could not {what} within {timeout_s:g} s; look at `ceph health`") from None
        except (rados.Error, rbd.Error) as error:
            raise ProbeFailed(f"could not {what}: {error}; does the user have the osd cap 'profile rbd' on the "
                              "pool?") from None

    def _create(self, name: str) -> None:
        with self._client.open_ioctx(self.pool) as ioctx:
            try:
                rbd.RBD().create(ioctx, name, IMAGE_BYTES, old_format=False, features=rbd.RBD_FEATURE_LAYERING)
            except rbd.ImageExists:
                pass

    def _watchers(self, name: str) -> FrozenSet[str]:
        with self._client.open_ioctx(self.pool) as ioctx, rbd.Image(ioctx, name, read_only=True) as image:
            return frozenset(watcher["addr"] for watcher in image.watchers_list())
