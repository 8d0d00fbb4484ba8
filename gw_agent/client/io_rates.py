"""From two readings of the targets' I/O counters to rates. Pure.

Promises: a block device that was made anew between the readings counts from zero, one that went is left out, and a
reading without a usable predecessor gives no rates rather than wrong ones.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from gw_agent.pb import ha_pb2

Key = Tuple[str, int]
"""NQN and namespace id."""
_COUNTERS = ("num_read_ops", "num_write_ops", "num_unmap_ops", "bytes_read", "bytes_written", "read_latency_ticks",
             "write_latency_ticks")


@dataclass(frozen=True)
class Load:
    """Per second. `*_waits`: seconds that requests took, summed: what is in flight on average."""

    reads: float = 0.0
    writes: float = 0.0
    unmaps: float = 0.0
    read_bytes: float = 0.0
    written_bytes: float = 0.0
    read_waits: float = 0.0
    write_waits: float = 0.0

    def __add__(self, other: "Load") -> "Load":
        return Load(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def iops(self) -> float:
        return self.reads + self.writes + self.unmaps

    @property
    def moved_bytes(self) -> float:
        return self.read_bytes + self.written_bytes

    @property
    def read_latency_s(self) -> Optional[float]:
        return self.read_waits / self.reads if self.reads else None

    @property
    def write_latency_s(self) -> Optional[float]:
        return self.write_waits / self.writes if self.writes else None

    @property
    def latency_s(self) -> float:
        """Of reads and writes; 0 without any."""
        return (self.read_waits + self.write_waits) / (self.reads + self.writes) if self.reads + self.writes else 0.0


@dataclass(frozen=True)
class Row:
    """A namespace, or all of an ANA group. `optimized_at`: the gateway, of those that were asked; "" for none."""

    nqn: str
    nsid: int
    ana_group_id: int
    optimized_at: str
    load: Load
    namespaces: int = 1


def of_gateway(before: Optional[ha_pb2.io_counters_info], after: ha_pb2.io_counters_info) -> Optional[Dict[Key, Row]]:
    """None: there is nothing to compare with."""
    if before is None or not after.tick_rate or after.ticks <= before.ticks or before.tick_rate != after.tick_rate:
        return None
    seconds = (after.ticks - before.ticks) / after.tick_rate
    earlier = {(n.nqn, n.nsid, n.bdev_name): n for n in before.namespaces}
    return {(n.nqn, n.nsid): Row(
        n.nqn, n.nsid, n.ana_group_id, after.answered_by if n.ana_state == "optimized" else "",
        _load(earlier.get((n.nqn, n.nsid, n.bdev_name)), n, seconds, after.tick_rate)) for n in after.namespaces}


def _load(before: Optional[ha_pb2.namespace_io_counters], after: ha_pb2.namespace_io_counters, seconds: float,
          tick_rate: int) -> Load:
    if before is None or any(getattr(after, name) < getattr(before, name) for name in _COUNTERS):
        before = ha_pb2.namespace_io_counters()
    reads, writes, unmaps, read_bytes, written_bytes, read_ticks, write_ticks = (
        (getattr(after, name) - getattr(before, name)) / seconds for name in _COUNTERS)
    return Load(reads, writes, unmaps, read_bytes, written_bytes, read_ticks / tick_rate, write_ticks / tick_rate)


def merged(gateways: Sequence[Mapping[Key, Row]]) -> List[Row]:
    """What several gateways carry together, a row for each namespace."""
    rows: Dict[Key, Row] = {}
    for found in gateways:
        for key, row in found.items():
            known = rows.get(key)
            rows[key] = row if known is None else Row(
                row.nqn, row.nsid, row.ana_group_id, known.optimized_at or row.optimized_at, known.load + row.load)
    return [rows[key] for key in sorted(rows)]


def by_ana_group(rows: Sequence[Row]) -> List[Row]:
    """A row for each ANA group."""
    groups: Dict[int, Row] = {}
    for row in rows:
        known = groups.get(row.ana_group_id)
        groups[row.ana_group_id] = Row(
            "", 0, row.ana_group_id, row.optimized_at or (known.optimized_at if known else ""),
            row.load + known.load if known else row.load, known.namespaces + 1 if known else 1)
    return [groups[number] for number in sorted(groups)]
