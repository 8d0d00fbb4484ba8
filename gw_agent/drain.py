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

from gw_agent.ana import FoundNamespace
from gw_agent.io_counters import IoCounters
from gw_agent.spdk_rpc import SpdkRpc

log = logging.getLogger(__name__)

SAMPLING_RPC = "bdev_set_qd_sampling_period"
SAMPLING_US = 5000
SAMPLES_S = 0.02
LOOK_AGAIN_S = 0.05
IDLE_LOOKS = 4
"""A target that cannot tell its queue depth: silent for this many looks counts as idle, not as hung."""
CALL_TIMEOUT_S = 30.0


class Drain:
    """For one target. `note_progress` is called now and then."""

    def __init__(self, rpc: SpdkRpc, counters: IoCounters, methods: FrozenSet[str]) -> None:
        self._rpc, self._counters = rpc, counters
        self._can_sample = SAMPLING_RPC in methods
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
        before, sampled, looks, quick = self._operations, False, 0, True
        while looks != most_looks:
            counted = await self._counters.counted(bdevs)
            now = {name: device.operations for name, device in counted.items()}
            quiet = [b for b in bdevs if now.get(b, 0) > 0 and now.get(b) == before.get(b)]
            if not quiet:
                break
            if sampled and all(counted[b].queue_depth == 0 for b in quiet):
                break
            if not self._can_sample and looks >= IDLE_LOOKS:
                break
            if looks == IDLE_LOOKS:
                log.warning("I/O in flight makes no progress on %s: not draining yet", ", ".join(quiet))
            if self._can_sample and not sampled:
                await self._sample(quiet, SAMPLING_US)
                sampled = True
            looks += 1
            await asyncio.sleep(SAMPLES_S if looks == 1 else LOOK_AGAIN_S)
            before = now
        else:
            quick = False
        if sampled:
            await self._sample(bdevs, 0)
        return quick

    async def _sample(self, bdevs: List[str], period_us: int) -> None:
        await self._rpc.pipeline([(SAMPLING_RPC, {"name": b, "period": period_us}) for b in bdevs])
