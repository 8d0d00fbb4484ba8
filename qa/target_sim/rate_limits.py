"""What bdev_set_qos_limit limits: reads and writes a second, megabytes a second.

They really slow a host down, if coarsely: each read or write reserves the time that it costs under every limit that
applies to it, and starts when that time comes. One that waits already is not started earlier when a limit is lifted.
"""

from __future__ import annotations

import asyncio
from typing import Callable, Mapping

IOS, BOTH, READS, WRITES = "rw_ios_per_sec", "rw_mbytes_per_sec", "r_mbytes_per_sec", "w_mbytes_per_sec"
NAMES = (IOS, BOTH, READS, WRITES)
APPLYING = {"read": (IOS, BOTH, READS), "write": (IOS, BOTH, WRITES)}
IOS_STEP = 1000
MIB = 1024 * 1024
MIB_LIMIT = ((1 << 64) - 1) // MIB
SLICE_S = 0.001


class RateLimits:
    """Of one block device; 0 means none."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(NAMES, 0)
        self._free_at_s = dict.fromkeys(NAMES, 0.0)

    def __bool__(self) -> bool:
        return any(self.values.values())

    def set(self, asked: Mapping[str, int]) -> None:
        """Only those that are named; I/O per second is rounded up to thousands."""
        for name, value in asked.items():
            self.values[name] = -(-value // IOS_STEP) * IOS_STEP if name == IOS else min(value, MIB_LIMIT)

    def run(self, kind: str, length: int, start: Callable[[], None]) -> None:
        """Starts a "read" or "write" of so many bytes when the limits allow."""
        if not self:
            start()
            return
        loop = asyncio.get_running_loop()
        now_s, start_s = loop.time(), 0.0
        for name in APPLYING[kind]:
            if self.values[name]:
                cost_s = (1 if name == IOS else length / MIB) / self.values[name]
                free_s = max(self._free_at_s[name], now_s - SLICE_S)
                self._free_at_s[name], start_s = free_s + cost_s, max(start_s, free_s)
        if start_s <= now_s:
            start()
        else:
            loop.call_at(start_s, start)
