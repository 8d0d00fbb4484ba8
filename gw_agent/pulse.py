"""Tells the agent's tasks that something may have changed, so that they look again at once instead of polling.

Promises: nobody who compares counts misses a change that came while it was busy. It does not say what changed.
"""
from __future__ import annotations

import asyncio
from typing import Optional, Set


class Pulse:
    """For one event loop. Read `count`, look at the world, then wait `after` that count."""

    def __init__(self) -> None:
        self.count = 0
        self._waiters: Set["asyncio.Future[None]"] = set()

    def beat(self) -> None:
        """Something may have changed."""
        self.count += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def after(self, count: int, timeout_s: Optional[float] = None) -> bool:
        """True once there was a beat after `count` was read, False after `timeout_s`."""
        if self.count != count:
            return True
        waiter: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
            return waiter.done()
        finally:
            self._waiters.discard(waiter)
            waiter.cancel()
