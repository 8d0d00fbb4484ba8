"""How late the agent's event loop is: what it does too long at a stretch delays beacons, seat reads and the lease.

Promises: a stall is seen by `take` once, whole or, while it lasts, not at all. Measures in steps of `STEP_S`, so that
it costs next to nothing.
"""
from __future__ import annotations

import asyncio

from gw_agent.boot_clock import boottime_s

STEP_S = 0.25


class LoopLag:
    """Call `run` once, in the loop that is measured."""

    def __init__(self) -> None:
        self._worst_s = 0.0

    async def run(self) -> None:
        """Never returns."""
        while True:
            before_s = boottime_s()
            await asyncio.sleep(STEP_S)
            self._worst_s = max(self._worst_s, boottime_s() - before_s - STEP_S)

    def take(self) -> float:
        """The longest lag since the last call, in seconds."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return worst_s
