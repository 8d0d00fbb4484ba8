"""The SPDK process of one instance: its ANA states, its RADOS clients, its I/O in flight.

Facts followed (facts on spdk-rpc, sections 3, 6 and 8): an RPC takes one or two 4 ms ticks, requests of one connection
are carried out in order; ``inaccessible`` ends new I/O and leaves I/O in flight alone; a stopped target answers
nothing, keeps its connections, and carries out what waited when it runs again; it dies with its warden (PDEATHSIG).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet, Tuple

from nvmeof_ha.core.gateway import INACCESSIBLE
from nvmeof_ha.core.model import Instance

from .ceph import Client
from .processes import Clock, Process, World

RPC_S = (0.004, 0.012)
START_S = (0.4, 1.5)
CONTEXTS = 2


class Target:
    def __init__(self, world: World, place: str, instance: Instance, ana_group_ids: Tuple[int, ...], clock: Clock,
                 ended: Callable[["Target"], None]) -> None:
        self.process = Process(world, f"target {instance}", clock, lambda: ended(self))
        self.instance = instance
        self.serves_from_s = world.now + world.between(START_S)
        self.states: Dict[int, str] = {g: INACCESSIBLE for g in ana_group_ids}
        self.in_flight: Dict[int, int] = {g: 0 for g in ana_group_ids}
        self.order: Dict[int, int] = {g: 0 for g in ana_group_ids}
        """By ANA group, the promotion under which it was made optimized last."""
        self.optimized_s: Dict[int, float] = {}
        """By ANA group, when that was."""
        self._clients = [Client(place, f"addr/{instance}/{n}") for n in range(CONTEXTS)]
        self._last_s: Dict[str, float] = {}

    def client(self, ana_group_id: int) -> Client:
        """The RADOS client that carries the ANA group's namespaces."""
        return self._clients[ana_group_id % CONTEXTS]

    @property
    def addresses(self) -> FrozenSet[str]:
        return frozenset(client.address for client in self._clients)

    @property
    def osd_epoch(self) -> int:
        """Every client of it has seen this OSD map."""
        return min(client.osd_epoch for client in self._clients)

    def saw(self, osd_epoch: int) -> None:
        for client in self._clients:
            client.osd_epoch = max(client.osd_epoch, osd_epoch)

    def drained(self, ana_group_id: int) -> bool:
        """Nothing of it can be written any more: no new I/O is taken, and none is in flight."""
        return self.states[ana_group_id] == INACCESSIBLE and not self.in_flight[ana_group_id]

    def ask(self, connection: str, call: Callable[..., None], *args: Any) -> None:
        """One JSON-RPC request on one connection."""
        world = self.process.world
        at_s = max(world.now + world.between(RPC_S), self._last_s.get(connection, 0.0))
        self._last_s[connection] = at_s
        self.process.soon(call, at_s - world.now, *args)
