"""Two real gateways of a group of their own, each with an ANA group that it serves, for tests of what must not disturb
them. A context manager.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Dict, Iterator

from mgr_peer import SeatReader, connect
from nvmeof_ha.core.model import Map, Phase
from testbed.cluster import Cluster
from testbed.gateway import Gateway, nvme_gw
from testbed.nvmeof_setup import start_serving
from testbed.sampler import Sampler
from testbed.waiting import wait_until

IMAGE_BYTES = 4 << 20
ANA_GROUPS = (1, 2)


def own_groups(gateway_map: Map) -> bool:
    """Every ANA group is served by its owner."""
    groups = gateway_map.ana_groups
    return len(groups) == 2 and all(g.phase is Phase.ACTIVE and g.holder.gateway == g.owner for g in groups)


class ServedPair:
    """`names`: of the two gateways, unlike those of any other test; `host`: last number of their loopback addresses."""

    def __init__(self, cluster: Cluster, group: str, host: int) -> None:
        self.cluster, self.group = cluster, group
        self.nqn = f'nqn.2016-06.io.spdk:{group}'
        self.one, self.two = (Gateway(cluster, f'{group}-{n}', f'127.0.0.{host + n}', group) for n in (1, 2))
        self.gateways = (self.one, self.two)

    def __enter__(self) -> ServedPair:
        self._client = connect(self.cluster)
        self.seats = SeatReader(self._client, self.group)
        try:
            start_serving(self.gateways, self.nqn, self.group, IMAGE_BYTES, {group: group for group in ANA_GROUPS})
            self.wait_well()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for gateway in self.gateways:
            gateway.stop()
            nvme_gw(self.cluster, 'delete', gateway.name, 'rbd', self.group)
        self._client.shutdown()

    def wait_well(self) -> Map:
        """Until both serve what they own, in the map and on the targets."""
        found = self.seats.wait_for(own_groups, 90, f'both gateways of {self.group} to serve what they own')
        wait_until(lambda: self.states() == self.well, 20, 'the targets to obey the map')
        return found

    @property
    def well(self) -> Dict[str, Dict[int, str]]:
        return {self.one.name: {1: 'optimized', 2: 'inaccessible'}, self.two.name: {1: 'inaccessible', 2: 'optimized'}}

    def states(self) -> Dict[str, Dict[int, str]]:
        """What the targets say now, by gateway and ANA group."""
        sampler = self._sampler()
        sampler.look()
        sampler.close()
        return {name: dict(reading.states) for name, reading in sampler.history.between(0)[-1].readings.items()}

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """What is done inside restarts no process and changes no ANA state, not even for a moment."""
        processes = {gateway.name: gateway.pids() for gateway in self.gateways}
        sampler = self._sampler()
        sampler.start()
        started = time.monotonic()
        try:
            yield
        finally:
            sampler.stop()
            sampler.check()
        seen = [(name, reading.states) for sample in sampler.history.between(started)
                for name, reading in sample.readings.items()]
        assert seen and all(states == self.well[name] for name, states in seen), \
            [row for row in seen if row[1] != self.well[row[0]]][:4]
        assert {gateway.name: gateway.pids() for gateway in self.gateways} == processes

    def _sampler(self) -> Sampler:
        sockets = {gateway.name: gateway.rpc_socket for gateway in self.gateways}
        return Sampler(sockets, self.nqn, ANA_GROUPS, lambda _text, _at_s: None)

    def log_tails(self) -> str:
        return '\n'.join(gateway.log_tails() for gateway in self.gateways)
