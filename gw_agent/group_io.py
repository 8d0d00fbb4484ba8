"""I/O per second of each ANA group, from what the block devices have counted. Pure but for what it remembers.

Does not tell reads from writes, and nothing of a namespace that came since the last look. A group without I/O is left out:
most are served by other gateways, and a beacon goes out twice a second. For the same reason devices of groups that no host
reaches here are not worth asking about.
"""
from __future__ import annotations

from typing import Collection, Dict, List, Mapping, Set, Tuple

from gw_agent.ana import FoundNamespace
from nvmeof_ha_core.gateway import INACCESSIBLE

SHORTEST_S = 0.001


class GroupIo:
    """For one target. `operations`: of each block device, as it was counted last."""

    def __init__(self) -> None:
        self.operations: Mapping[str, int] = {}
        self._at_s = 0.0
        self._reached: Set[int] = set()

    def worth_asking(self, namespaces: Collection[FoundNamespace], ana_states: Mapping[int, str]) -> List[str]:
        """The devices that may have done I/O since the last call."""
        reached = {group for group, state in ana_states.items() if state != INACCESSIBLE}
        lately, self._reached = reached | self._reached, reached
        return [namespace.bdev_name for namespace in namespaces if namespace.ana_group_id in lately]

    def rates(self, counted: Mapping[str, int], namespaces: Collection[FoundNamespace],
              now_s: float) -> Tuple[Tuple[int, int], ...]:
        """(ANA group id, operations per second since the last call) of every group that had any.

        `counted`: operations of each device that was asked about; any other has counted none since."""
        passed_s = max(now_s - self._at_s, SHORTEST_S)
        done: Dict[int, int] = {}
        known, now = self.operations, {**self.operations, **counted}
        self.operations = {n.bdev_name: now[n.bdev_name] for n in namespaces if n.bdev_name in now}
        for namespace in namespaces:
            name = namespace.bdev_name
            new = max(0, now[name] - known[name]) if name in known else 0
            done[namespace.ana_group_id] = done.get(namespace.ana_group_id, 0) + new
        self._at_s = now_s
        return tuple((group, round(count / passed_s)) for group, count in sorted(done.items()) if count)
