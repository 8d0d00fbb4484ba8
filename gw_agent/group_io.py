"""I/O per second of each ANA group, from what the block devices have counted. Pure but for what it remembers.

Does not tell reads from writes, and nothing of a namespace that came since the last look. A group without I/O is left out:
most are served by other gateways, and a beacon goes out twice a second.
"""
from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping, Tuple

from gw_agent.ana import FoundNamespace

COUNTERS = ("num_read_ops", "num_write_ops", "num_unmap_ops")
SHORTEST_S = 0.001


class GroupIo:
    """For one target."""

    def __init__(self) -> None:
        self._counted: Dict[str, int] = {}
        self._at_s = 0.0

    def rates(self, iostat: Mapping[str, Any], namespaces: Iterable[FoundNamespace],
              now_s: float) -> Tuple[Tuple[int, int], ...]:
        """(ANA group id, operations per second since the last call) of every group that had any.

        `iostat`: of `bdev_get_iostat`."""
        counted = {bdev["name"]: sum(bdev.get(counter, 0) for counter in COUNTERS) for bdev in iostat.get("bdevs", ())}
        passed_s = max(now_s - self._at_s, SHORTEST_S)
        done: Dict[int, int] = {}
        for namespace in namespaces:
            name = namespace.bdev_name
            new = max(0, counted.get(name, 0) - self._counted[name]) if name in self._counted else 0
            done[namespace.ana_group_id] = done.get(namespace.ana_group_id, 0) + new
        self._counted, self._at_s = counted, now_s
        return tuple((group, round(count / passed_s)) for group, count in sorted(done.items()) if count)
