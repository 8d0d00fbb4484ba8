"""Drains an ANA group: waits until none of its namespaces has I/O in flight.

`nvmf_subsystem_set_ns_ana_group` with the unchanged group returns when the namespace's I/O is done. While it waits,
every later ANA change of that subsystem waits behind it, so it is not sent while I/O hangs: what the block devices did
lately is looked at first, and, where the target can tell, how many requests they have in flight.

Promises: `drain` returns only when each namespace answered. Only to be called when nothing new can arrive (every
listener inaccessible). Does not promise to return: the mgr abandons a move that does not drain.
"""
from __future__ import annotations

import asyncio
import logging
from typing import FrozenSet, List, Mapping, Optional, Sequence

from gw_agent import queue_depths
from gw_agent.ana import FoundNamespace
from gw_agent.io_counters import MOST_AT_ONCE, IoCounters
from gw_agent.queue_depths import QueueDepths
from gw_agent.spdk_rpc import SpdkRpc

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 0.05
IDLE_LOOKS = 4
"""A target that cannot tell its queue depth: silent for this many looks counts as idle, not as hung."""
CALL_TIMEOUT_S = 30.0


class Drain:
    """For one target. `note_progress` is called now and then."""

    def __init__(self, rpc: SpdkRpc, counters: IoCounters, methods: FrozenSet[str]) -> None:
        self._rpc, self._counters = rpc, counters
        self.depths = QueueDepths(rpc, counters)
        self._can_sample = queue_depths.METHOD in methods
        self._operations: Mapping[str, int] = {}

    def note_progress(self, operations: Mapping[str, int]) -> None:
        """How many operations each block device has completed so far."""
        self._operations = operations

    async def drain(self, namespaces: Sequence[FoundNamespace]) -> None:
        """Raises RpcFailure."""
        if not namespaces:
            return
        await self.look_first(sorted({n.bdev_name for n in namespaces}))
        await self._rpc.results([("nvmf_subsystem_set_ns_ana_group", {
            "nqn": n.nqn, "nsid": n.nsid, "anagrpid": n.ana_group_id}) for n in namespaces], CALL_TIMEOUT_S)

    async def look_first(self, bdevs: List[str], most_looks: Optional[int] = None) -> bool:
        """Returns when no block device seems to hang; false when one still did after `most_looks`."""
        before, looks = self._operations, 0
        while looks != most_looks:
            counted = await self._counters.counted(bdevs, MOST_AT_ONCE)
            now = {name: device.operations for name, device in counted.items()}
            quiet = [b for b in bdevs if now.get(b, 0) > 0 and now.get(b) == before.get(b)]
            if not quiet or (await self._idle(quiet) if self._can_sample else looks >= IDLE_LOOKS):
                return True
            if looks == IDLE_LOOKS:
                log.warning("I/O in flight makes no progress on %s: not draining yet", ", ".join(quiet))
            looks += 1
            await asyncio.sleep(LOOK_AGAIN_S)
            before = now
        return False

    async def _idle(self, bdevs: List[str]) -> bool:
        """No request of theirs is in flight."""
        return all(depth == 0 for depth in (await self.depths.of(bdevs)).values())
