"""Block devices: what a namespace reads and writes.

`Bdev` is the interface the I/O path uses. Every operation calls `done(ok, data)` exactly once, on the event
loop's thread, and never before it returned. `BdevRegistry` holds them by name and keeps the notifications that
notify_get_notifications shows.
"""

from __future__ import annotations

import asyncio
import errno
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional

from .rate_limits import RateLimits

if TYPE_CHECKING:
    from .subsystem import Namespace, Subsystem

TICK_RATE = 1_000_000_000
IO_TYPES = (
    "read",
    "write",
    "unmap",
    "flush",
    "reset",
    "nvme_admin",
    "nvme_io",
    "nvme_io_md",
    "write_zeroes",
    "zcopy",
    "get_zone_info",
    "zone_management",
    "zone_append",
    "compare",
    "compare_and_write",
    "abort",
    "seek_hole",
    "seek_data",
    "copy",
    "nvme_iov_md",
    "nvme_nssr",
    "write_uncorrectable",
)
PARTICIPLES = {"read": "read", "write": "written", "unmap": "unmapped", "copy": "copied"}
Done = Callable[[bool, bytes], None]


class BdevError(Exception):
    """A bdev operation failed with an errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, str(number)))
        self.errno = number


@dataclass
class IoCounter:
    """Requests of one kind that succeeded."""

    length: int = 0
    operations: int = 0
    ticks: int = 0
    longest: int = 0
    shortest: int = 0

    def add(self, length: int, ticks: int) -> None:
        self.shortest = min(self.shortest, ticks) if self.operations else ticks
        self.longest = max(self.longest, ticks)
        self.length, self.operations, self.ticks = self.length + length, self.operations + 1, self.ticks + ticks


class DepthSampler:
    """How many requests a device has in flight, sampled each `period_us` (0: not at all)."""

    NOT_YET = (1 << 64) - 1

    def __init__(self, bdev: Bdev) -> None:
        self._bdev = bdev
        self._timer: Optional[asyncio.TimerHandle] = None
        self.period_us = self.io_time_us = self.weighted_io_time_us = 0
        self.depth = self.NOT_YET

    def set_period(self, period_us: int) -> None:
        if period_us == self.period_us:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.period_us, self._timer = period_us, None
        self._arm()

    def _arm(self) -> None:
        if self.period_us:
            self._timer = asyncio.get_running_loop().call_later(self.period_us / 1e6, self._sample)

    def _sample(self) -> None:
        self.depth = 0 if self._bdev.user is None else self._bdev.user[1].in_flight
        if self.depth:
            self.io_time_us += self.period_us
            self.weighted_io_time_us += self.period_us * self.depth
        self._arm()

    def as_json(self) -> dict:
        if not self.period_us:
            return {}
        return {"queue_depth_polling_period": self.period_us, "queue_depth": self.depth, "io_time": self.io_time_us,
                "weighted_io_time": self.weighted_io_time_us}


class Bdev:
    product_name = ""
    numa_json: dict = {}
    supported: frozenset = frozenset()

    def __init__(self, name: str, identity: Optional[uuid.UUID], block_size: int, num_blocks: int) -> None:
        self.name = name
        self.uuid = identity or uuid.uuid4()
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.counters = {kind: IoCounter() for kind in PARTICIPLES}
        self.limits = RateLimits()
        self.user: Optional[tuple[Subsystem, Namespace]] = None
        self.depth_sampler = DepthSampler(self)

    @property
    def is_claimed(self) -> bool:
        return self.user is not None

    def claim(self, subsystem: Subsystem, namespace: Namespace) -> None:
        self.user = (subsystem, namespace)

    def release(self) -> None:
        self.user = None

    def read(self, offset: int, length: int, done: Done) -> None:
        raise NotImplementedError

    def write(self, offset: int, data: bytes, done: Done) -> None:
        raise NotImplementedError

    def write_zeroes(self, offset: int, length: int, done: Done) -> None:
        raise NotImplementedError

    def unmap(self, offset: int, length: int, done: Done) -> None:
        raise NotImplementedError

    def flush(self, done: Done) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what the device holds. No I/O may be in flight."""

    def driver_json(self) -> dict:
        return {}

    def count(self, kind: str, length: int, started: int) -> None:
        """A request that succeeded; `started`: ticks."""
        self.counters[kind].add(length, time.monotonic_ns() - started)

    def as_json(self) -> dict:
        shown: dict[str, Any] = {
            "name": self.name,
            "aliases": [str(self.uuid)],
            "product_name": self.product_name,
            "block_size": self.block_size,
            "num_blocks": self.num_blocks,
            "preferred_write_alignment": 0,
            "preferred_write_granularity": 0,
            "optimal_write_size": 0,
            "preferred_unmap_alignment": 0,
            "preferred_unmap_granularity": 0,
            "uuid": str(self.uuid),
            **self.numa_json,
            "assigned_rate_limits": dict(self.limits.values),
            "claimed": self.is_claimed,
        }
        if self.is_claimed:
            shown["claim_type"] = "exclusive_write"
        shown["zoned"] = False
        shown["supported_io_types"] = {kind: kind in self.supported for kind in IO_TYPES}
        shown["driver_specific"] = self.driver_json()
        return shown

    def iostat_json(self) -> dict:
        shown: dict[str, Any] = {"name": self.name}
        for kind, counter in self.counters.items():
            shown[f"bytes_{PARTICIPLES[kind]}"], shown[f"num_{kind}_ops"] = counter.length, counter.operations
        for kind, counter in self.counters.items():
            shown[f"{kind}_latency_ticks"] = counter.ticks
            shown[f"max_{kind}_latency_ticks"], shown[f"min_{kind}_latency_ticks"] = counter.longest, counter.shortest
        return {**shown, "io_error": {}, **self.depth_sampler.as_json()}


class MallocBdev(Bdev):
    """A device in memory, for tests without Ceph."""

    product_name = "Malloc disk"
    supported = frozenset(
        ("read", "write", "unmap", "flush", "reset", "write_zeroes", "zcopy", "compare", "abort", "copy")
    )
    numa_json = {"numa_id": -1}

    def __init__(self, name: str, identity: Optional[uuid.UUID], block_size: int, num_blocks: int) -> None:
        super().__init__(name, identity, block_size, num_blocks)
        self._loop = asyncio.get_running_loop()
        self._data = bytearray(block_size * num_blocks)

    def read(self, offset: int, length: int, done: Done) -> None:
        self._loop.call_soon(done, True, bytes(self._data[offset : offset + length]))

    def write(self, offset: int, data: bytes, done: Done) -> None:
        self._data[offset : offset + len(data)] = data
        self._loop.call_soon(done, True, b"")

    def write_zeroes(self, offset: int, length: int, done: Done) -> None:
        self.write(offset, bytes(length), done)

    def unmap(self, offset: int, length: int, done: Done) -> None:
        self.write(offset, bytes(length), done)

    def flush(self, done: Done) -> None:
        self._loop.call_soon(done, True, b"")


class BdevRegistry:
    def __init__(self) -> None:
        self._bdevs: dict[str, Bdev] = {}
        self._by_alias: dict[str, Bdev] = {}
        self.notifications: list[tuple[str, str]] = []
        self._numbers: dict[str, int] = {}

    def __iter__(self) -> Iterator[Bdev]:
        return iter(list(self._bdevs.values()))

    def next_name(self, prefix: str) -> str:
        number = self._numbers.get(prefix, 0)
        self._numbers[prefix] = number + 1
        return f"{prefix}{number}"

    def find(self, name: str) -> Optional[Bdev]:
        """By name or by its alias, the uuid."""
        return self._bdevs.get(name) or self._by_alias.get(name)

    def get(self, name: str) -> Bdev:
        """Raises BdevError ENODEV."""
        bdev = self.find(name)
        if bdev is None:
            raise BdevError(errno.ENODEV)
        return bdev

    def add(self, bdev: Bdev) -> None:
        """Raises BdevError EEXIST: the name or the uuid is taken."""
        if self.find(bdev.name) is not None or self.find(str(bdev.uuid)) is not None:
            raise BdevError(errno.EEXIST)
        self._bdevs[bdev.name] = self._by_alias[str(bdev.uuid)] = bdev
        self.notifications.append(("bdev_register", bdev.name))

    def resize(self, bdev: Bdev, num_blocks: int) -> None:
        """Takes over a new size and tells the hosts of its namespace."""
        if bdev.num_blocks != num_blocks:
            bdev.num_blocks = num_blocks
            self.notifications.append(("bdev_resize", bdev.name))
            if bdev.user is not None:
                subsystem, namespace = bdev.user
                subsystem.namespace_changed(namespace)

    async def remove(self, bdev: Bdev) -> None:
        """Removes its namespace first, which waits for the I/O in flight."""
        if bdev.user is not None:
            subsystem, namespace = bdev.user
            async with subsystem.state_change(namespace.nsid):
                if subsystem.namespaces.get(namespace.nsid) is namespace:
                    subsystem.remove_namespace(namespace.nsid)
        bdev.depth_sampler.set_period(0)
        if self._bdevs.pop(bdev.name, None) is not None:
            del self._by_alias[str(bdev.uuid)]
            self.notifications.append(("bdev_unregister", bdev.name))
            bdev.close()
