"""One RADOS object beside the seats in which each gateway of the group has an entry: what it tells the others.

For what is neither configuration nor gateway map, because nothing is decided by its being stored. Promises: no call
blocks the event loop, each has a deadline; who dies leaves its entry behind, so readers must know of whom to believe
it. An object that is not there has no entries.
"""
from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict

import rados

from gw_agent.config_store import StoreUnavailable

TIMEOUT_S = 5.0
MOST_ENTRIES = 1024
THREADS = 3


class GatewayEntries:
    """Of the object `oid`. Every call raises StoreUnavailable."""

    def __init__(self, ioctx: "rados.Ioctx", oid: str) -> None:
        self.ioctx = ioctx
        self.oid = oid
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=oid)

    async def write(self, gateway_id: str, text: str) -> None:
        """Replaces this gateway's entry."""
        await self.run("write", self._write, gateway_id, text)

    async def read(self) -> Dict[str, str]:
        """By gateway id."""
        return await self.run("read", self._read)

    async def run(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """Another blocking call on the object. `what`: a verb, for errors."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, call, *args), TIMEOUT_S)
        except asyncio.TimeoutError:
            raise StoreUnavailable(f"RADOS did not {what} object {self.oid} within {TIMEOUT_S:.0f} s; look at "
                                   "`ceph health`") from None
        except rados.Error as error:
            raise StoreUnavailable(f"RADOS could not {what} object {self.oid}: {error}; look at `ceph health`, and at "
                                   "this user's caps") from None

    def in_background(self, call: Callable[[], None]) -> None:
        """Nobody waits for it, and it must raise nothing."""
        self._threads.submit(call)

    # What follows runs in the threads.

    def _write(self, gateway_id: str, text: str) -> None:
        with rados.WriteOpCtx() as operation:
            self.ioctx.set_omap(operation, (gateway_id,), (text,))
            self.ioctx.operate_write_op(operation, self.oid)

    def _read(self) -> Dict[str, str]:
        try:
            with rados.ReadOpCtx() as operation:
                entries, _ = self.ioctx.get_omap_vals(operation, "", "", MOST_ENTRIES)
                self.ioctx.operate_read_op(operation, self.oid)
                return {key: value.decode(errors="replace") for key, value in entries}
        except rados.ObjectNotFound:
            return {}
