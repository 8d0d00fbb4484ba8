"""A gateway's configuration side without its HA side, for tests: store, target, API; nobody sets ANA states.

It runs in an event loop of its own thread, so that tests and the command line client can call it as from outside.
"""
from __future__ import annotations

import asyncio
import errno
import threading
from concurrent.futures import Future
from typing import Any, Coroutine, Dict, FrozenSet, Optional, Tuple

from nvmeof_ha_core.model import controller_ids
from running_target import OneContext

from gw_agent.apply_report import Report
from gw_agent import api, ending
from gw_agent.changes import Refused
from gw_agent.config_store import ConfigStore, Stored
from gw_agent.group_status import Known
from gw_agent.images import Images
from gw_agent.moves import Fences, Key
from gw_agent.reconcile import Reconciler
from gw_agent.settings import Settings
from gw_agent.spdk_rpc import SpdkRpc

START_S = 60


class StandaloneGateway:
    """A context manager; `address` is that of its API while it is open."""

    def __init__(self, ceph: Any, settings: Settings, socket_path: str, ana_group_id: int = 1) -> None:
        self.settings = settings
        self.ana_group_id = ana_group_id
        self.groups: Tuple[int, ...] = (1, 2)
        self.operations: Dict[Key, float] = {}
        self.not_ready: Optional[str] = None
        self.knows = Known()
        self.address = ""
        self.addresses: FrozenSet[str] = frozenset()
        self.fenced = Fences()
        self._applied: Optional[Stored] = None
        self._ceph = ceph
        self._socket_path = socket_path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    # LocalGateway.

    def ready(self) -> Optional[str]:
        return self.not_ready

    async def known_loads(self) -> Tuple[Tuple[int, ...], Dict[Key, float]]:
        return (), self.operations

    async def pause_rebalance(self, paused: bool) -> None:
        """Alone it moves nothing anyway."""

    async def move_namespace(self, nqn: str, nsid: int, to: int) -> None:
        raise Refused(errno.EAGAIN, f"namespace {nsid} of {nqn} is not moved to ANA group {to}: nobody else is there")

    def ana_groups(self) -> Tuple[int, ...]:
        return self.groups

    def group_addresses(self) -> FrozenSet[str]:
        return self.addresses

    def fences(self) -> Fences:
        return self.fenced

    def known(self) -> Known:
        return self.knows

    async def apply_now(self) -> Report:
        self._applied = await self.store.load()
        return await self.reconciler.apply(self._applied.configuration)

    async def watchers(self, pool: str, image: str) -> FrozenSet[str]:
        """RADOS addresses of those that have an image open."""
        found = await Images(self._ceph).look(pool, image)
        return frozenset() if found is None else found.watchers

    # Life.

    def __enter__(self) -> "StandaloneGateway":
        self._thread.start()
        try:
            self.run(self._start())
        except BaseException:
            self._end_loop()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self.run(self._stop())
        finally:
            self._end_loop()

    def answer(self, verb: str, request: Any) -> Any:
        """As a client of the API gets it."""
        return self.run(getattr(self.service, verb)(request, None))

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs it in the gateway's loop and returns its result."""
        future: "Future[Any]" = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(START_S)

    async def _start(self) -> None:
        self.rpc = await SpdkRpc.connect(self._socket_path)
        self.store = await ConfigStore.open(self._ceph, self.settings.ceph.pool, self.settings.gateway.group)
        self.contexts = OneContext(self.rpc, self.settings.ceph.config_file)
        self.reconciler = Reconciler(self.rpc, self.settings, self.contexts, controller_ids(self.ana_group_id))
        await self.apply_now()
        self.service = api.GatewayService(self.store, self, self.settings)
        self._server, port = await api.start_server(self.service, self.settings)
        self.address = f"{self.settings.gateway.addr}:{port}"
        self._tasks = [asyncio.ensure_future(work) for work in (self._follow(), self.service.trash.serve(
            lambda: self._applied))]

    async def _follow(self) -> None:
        while True:
            await self.store.wait_for_change(self.settings.gateway.state_update_interval_sec)
            await self.apply_now()

    async def _stop(self) -> None:
        await ending.end(self._tasks)
        await self._server.stop(api.STOP_S)
        await self.store.close()
        await self.rpc.close()
