"""The contexts of the running target: RADOS clients that its images are opened through, and what fencing needs of them.

A context's address is what gets blocklisted, so no context may do I/O that could hurt before the committed map names
its address: it is registered, its address goes out in beacons, and it gets its first image only after a committed map
names it and it has passed the barrier. Promises: at most `bdevs_per_context` images each; `passed_osd_epoch` is an OSD
map epoch that every permitted context has certainly seen.

Settings of every context, and why: no librbd cache (SPDK tells hosts that there is no volatile cache); no blocklisting
when a lock is broken (the mgr has fenced already; librbd would wait a second for a second fence); a short mount time-out
and no time-out for mon operations (the target stands still while it connects; and a barrier that ended by a time-out
would look as if it had passed); an admin socket, on which it tells what it waits for.
"""
from __future__ import annotations

import asyncio
import errno
import logging
import re
from dataclasses import dataclass, field
from typing import Callable, Dict, FrozenSet, List, Optional, Set, Tuple

from gw_agent.context_requests import client_options
from gw_agent.probe_images import ProbeFailed, ProbeImages
from gw_agent.pulse import Pulse
from gw_agent.settings import Settings
from gw_agent.spdk_rpc import Request, RpcError, RpcFailure, SpdkRpc
from nvmeof_ha_core.model import Gateway

log = logging.getLogger(__name__)

NAME = re.compile(r"nvmeof_ha\.(\d+)\Z")
ADDRESS = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[0-9.]+):\d+/\d+\Z")
LATEST_OSDMAP_RPC = "bdev_rbd_wait_for_latest_osdmap"
NO_SUCH_POOL = "nvmeof_ha.no-such-pool"
PROBE_BLOCK_BYTES = 512
NOT_TRIED_CODES = (-32600, -32601, -32602, -32603)
REGISTER_TIMEOUT_S = 5.0
BARRIER_TIMEOUT_S = 3.0
PERMIT_WAIT_S = 5.0
MOUNT_TIMEOUT_S = 1
"""Well below `frozen_s`: the whole target waits while a context connects."""


class ContextFailed(Exception):
    """A context could not be made, or did not pass the barrier; the text says why."""


@dataclass
class Context:
    """`addresses` is empty until it is known (one too many is harmless, see `probe_images.py`); `watched_before`: who
    watched its probe image before it did; `bdevs` are the images opened through it."""

    number: int
    addresses: FrozenSet[str] = frozenset()
    permitted: bool = False
    passed_osd_epoch: int = 0
    watched_before: Optional[FrozenSet[str]] = None
    bdevs: Set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"nvmeof_ha.{self.number}"

    @property
    def probe_bdev(self) -> str:
        return f"nvmeof_ha_probe_{self.number}"


class Contexts:
    """Of one target. `committed`: this instance's record in the agreed map, None while it has none."""

    def __init__(self, rpc: SpdkRpc, settings: Settings, methods: FrozenSet[str], images: ProbeImages, pulse: Pulse,
                 committed: Callable[[], Optional[Gateway]], osd_epoch: Callable[[], int]) -> None:
        """`osd_epoch`: the newest fence in the agreed map."""
        self._rpc = rpc
        self._settings = settings
        self._tells_latest_osdmap = LATEST_OSDMAP_RPC in methods
        self._images = images
        self._pulse = pulse
        self._committed = committed
        self._osd_epoch = osd_epoch
        self._contexts: List[Context] = []
        self._extending = asyncio.Lock()

    @property
    def addresses(self) -> FrozenSet[str]:
        """Of all contexts."""
        return frozenset(address for c in self._contexts for address in c.addresses)

    @property
    def news(self) -> FrozenSet[str]:
        """Addresses that the agreed map does not name yet, for beacons: the mgr forgets none while the instance lives, and
        a target with thousands of images has many."""
        record = self._committed()
        return self.addresses - (frozenset() if record is None else record.addresses)

    @property
    def names(self) -> Tuple[str, ...]:
        """Of all contexts."""
        return tuple(c.name for c in self._contexts)

    @property
    def permitted_addresses(self) -> FrozenSet[str]:
        """Of the contexts that may have images."""
        return frozenset(address for c in self._contexts if c.permitted for address in c.addresses)

    @property
    def passed_osd_epoch(self) -> int:
        return min((c.passed_osd_epoch for c in self._contexts if c.permitted), default=0)

    async def attach(self, dead: FrozenSet[str]) -> None:
        """Learn what the target has (nothing, if it is new). `dead`: addresses of departed instances, which may still
        be listed as watchers. Raises RpcFailure, ContextFailed."""
        try:
            clusters = await self._rpc.call("bdev_rbd_get_clusters_info")
        except RpcError:
            return   # it has none
        names = (NAME.match(cluster["cluster_name"]) for cluster in clusters)
        self._contexts = [Context(number) for number in sorted(int(match[1]) for match in names if match)]
        bdevs = [bdev["name"] for bdev in await self._rpc.call("bdev_get_bdevs")]
        ours = [name for name in bdevs if name.startswith("bdev_")]
        for context in self._contexts:
            # Which image is in which context cannot be asked; only the number of free places matters.
            places = self._settings.gateway.bdevs_per_context
            context.bdevs, ours = set(ours[:places]), ours[places:]
            if context.probe_bdev not in bdevs:
                await self._open_probe(context)
                continue
            record = self._committed()
            committed = frozenset() if record is None else record.addresses
            watchers = await self._watchers(context) - dead
            # Nobody watches: the watch was lost in a stall of the cluster. What is committed has the address in it.
            context.addresses = (watchers & committed) or watchers or committed
            context.permitted = bool(context.addresses) and context.addresses <= committed

    async def context_for(self, bdev_name: str) -> Optional[str]:
        """The name of a permitted context with room for this device; None: not permitted in time."""
        async with self._extending:
            try:
                context = next((c for c in self._contexts if bdev_name in c.bdevs), None) or await self._with_room()
            except (ContextFailed, RpcFailure) as error:
                log.warning("no context for %s yet: %s", bdev_name, error)
                return None
            if context is not None:
                context.bdevs.add(bdev_name)
        return None if context is None else context.name

    def released(self, bdev_name: str) -> None:
        for context in self._contexts:
            context.bdevs.discard(bdev_name)

    async def first(self) -> None:
        """Every gateway has a context, images or not: without an address it could not be promoted. Returns once it is
        permitted; tries again until then."""
        said = ""
        while True:
            async with self._extending:
                try:
                    if await self._with_room(any_room=True) is not None:
                        return
                except (ContextFailed, RpcError) as error:
                    if str(error) != said:
                        said = str(error)
                        log.warning("no context yet: %s", error)
            await self._pulse.after(self._pulse.count, 1.0)

    async def barrier(self, osd_epoch: int) -> None:
        """Returns when every permitted context has seen an OSD map at least as new as `osd_epoch`, which is a past
        one: each is made to fetch the newest. Raises ContextFailed, RpcFailure."""
        await self._pass_barrier([c for c in self._contexts if c.permitted], osd_epoch)

    async def _with_room(self, any_room: bool = False) -> Optional[Context]:
        places = self._settings.gateway.bdevs_per_context
        context = next((c for c in self._contexts if any_room or len(c.bdevs) < places), None)
        if context is None:
            context = Context(max((c.number for c in self._contexts), default=-1) + 1)
            await self._register(context)
            self._contexts.append(context)
        if not context.addresses:
            await self._open_probe(context)
        self._pulse.beat()
        return context if context.permitted or await self._permit(context) else None

    async def _permit(self, context: Context) -> bool:
        """Wait until a committed map names the address, then pass the barrier; False: not in time."""
        deadline_s = asyncio.get_running_loop().time() + PERMIT_WAIT_S
        while True:
            seen, record = self._pulse.count, self._committed()
            if record is not None and context.addresses <= record.addresses:
                break
            left_s = deadline_s - asyncio.get_running_loop().time()
            if left_s <= 0 or not await self._pulse.after(seen, left_s):
                log.info("context %s (%s) waits for a committed map that names its address", context.name,
                         ", ".join(context.addresses))
                return False
        await self._pass_barrier([context], self._osd_epoch())
        context.permitted = True
        log.info("context %s with address %s is permitted", context.name, ", ".join(context.addresses))
        self._pulse.beat()
        return True

    async def _register(self, context: Context) -> None:
        ceph = self._settings.ceph
        params: Dict[str, str] = {
            "rbd_cache": "false", "rbd_blocklist_on_break_lock": "false",
            "client_mount_timeout": str(MOUNT_TIMEOUT_S), "rados_mon_op_timeout": "0",
            **client_options(self._settings.gateway.run_dir, context.name)}
        if ceph.keyring:
            params["keyring"] = ceph.keyring
        reply = await self._rpc.call("bdev_rbd_register_cluster", {
            "name": context.name, "user_id": ceph.id, "config_file": ceph.config_file, "config_param": params},
            REGISTER_TIMEOUT_S)
        if isinstance(reply, str) and ADDRESS.match(reply):
            context.addresses = frozenset({reply})

    async def _open_probe(self, context: Context) -> None:
        """Open the context's own image through it, and read its address from the watchers."""
        try:
            name = await self._images.make(context.number)
        except ProbeFailed as error:
            raise ContextFailed(str(error)) from None
        if context.watched_before is None:
            context.watched_before = await self._watchers(context)
        try:
            await self._rpc.call("bdev_rbd_create", {
                "name": context.probe_bdev, "pool_name": self._images.pool, "rbd_name": name,
                "block_size": PROBE_BLOCK_BYTES, "cluster_name": context.name}, REGISTER_TIMEOUT_S)
        except RpcError as error:
            if error.code != -errno.EEXIST:   # an earlier try opened it
                raise
        context.addresses = await self._watchers(context) - context.watched_before
        if not context.addresses:
            raise ContextFailed(f"the address of context {context.name} is not known: nobody new watches its image "
                                f"{self._images.pool}/{name}; look at `ceph health`")

    async def _watchers(self, context: Context) -> FrozenSet[str]:
        try:
            return await self._images.watchers(context.number)
        except ProbeFailed as error:
            raise ContextFailed(str(error)) from None

    async def _pass_barrier(self, contexts: List[Context], osd_epoch: int) -> None:
        try:
            await self._images.newest_osd_map()
        except ProbeFailed as error:
            raise ContextFailed(f"no barrier while the mons do not answer: {error}") from None
        if self._tells_latest_osdmap:
            requests: List[Request] = [(LATEST_OSDMAP_RPC, {"name": c.name}) for c in contexts]
        else:
            requests = [("bdev_rbd_create", {
                "name": f"nvmeof_ha_barrier_{c.number}", "pool_name": NO_SUCH_POOL, "rbd_name": "none",
                "block_size": PROBE_BLOCK_BYTES, "cluster_name": c.name}) for c in contexts]
        replies = await self._rpc.pipeline(requests, BARRIER_TIMEOUT_S) if requests else []
        for context, reply in zip(contexts, replies):
            if not (_refused_the_pool(reply) if not self._tells_latest_osdmap else not isinstance(reply, RpcFailure)):
                raise ContextFailed(f"context {context.name} did not fetch the newest OSD map: {reply}")
            context.passed_osd_epoch = max(context.passed_osd_epoch, osd_epoch)


def _refused_the_pool(reply: object) -> bool:
    """The target looked the pool up, which takes the newest OSD map, and did not find it; a request that it could not
    even read says nothing."""
    return isinstance(reply, RpcError) and reply.code not in NOT_TRIED_CODES
