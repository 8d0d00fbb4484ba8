"""How many requests block devices have in flight, from a target that can be made to sample them.

A target samples each device by itself, in time that its hosts' I/O lacks, and goes on to ask for the next sample before it has
the last: made to sample 1,000 devices each 5 ms, it fell behind within a second and aborted ("msg could not be enqueued",
SPDK v26.05). So all devices that anybody asks about are sampled together, in turns, the more of them the more seldom, and
only until each was sampled. Promises: every depth was sampled after it was asked for; nothing is sampled afterwards.
"""
from __future__ import annotations

import asyncio
from typing import Dict, Iterable, List, Mapping, Optional, Set

from gw_agent.io_counters import MOST_AT_ONCE, Counted, IoCounters
from gw_agent.spdk_rpc import SpdkRpc

METHOD = "bdev_set_qd_sampling_period"
SHORTEST_US = 5000
EACH_US = 50
"""For each device that is sampled: several times what a sample takes."""
SAMPLED_S = 0.015
"""From the end of a period until a target that is busy has sampled."""


def period_us(devices: int) -> int:
    """How often so many devices may be sampled."""
    return max(SHORTEST_US, EACH_US * devices)


class QueueDepths:
    """Of one target."""

    def __init__(self, rpc: SpdkRpc, counters: IoCounters) -> None:
        self._rpc, self._counters = rpc, counters
        self._turn = asyncio.Lock()
        self._wanted: Set[str] = set()
        self._found: Dict[str, Counted] = {}
        """Of the last turn; whoever asked before it began reads this before the next turn."""

    async def of(self, bdev_names: Iterable[str]) -> Dict[str, Optional[int]]:
        """By device, without those that are gone; None: the target does not tell. Raises RpcUnreachable."""
        names = set(bdev_names)
        self._wanted |= names
        async with self._turn:
            if names & self._wanted:
                await self._sample()
            return {name: self._found[name].queue_depth for name in names & self._found.keys()}

    async def _sample(self) -> None:
        names, self._wanted = sorted(self._wanted), set()
        period = period_us(len(names))
        try:
            await self._set(names, period)
            await asyncio.sleep(period / 1e6 + SAMPLED_S)
            self._found = await self._counters.counted(names, MOST_AT_ONCE)
        finally:
            await self._set(names, 0)

    async def end_leftovers(self, counted: Mapping[str, Counted]) -> None:
        """An agent that was killed may have left devices sampled. `counted`: as read while nobody asked here."""
        left = [name for name, device in counted.items() if device.queue_depth is not None]
        if left and not self._turn.locked():
            await self._set(left, 0)

    async def _set(self, names: List[str], period: int) -> None:
        await self._rpc.pipeline([(METHOD, {"name": name, "period": period}) for name in names])
