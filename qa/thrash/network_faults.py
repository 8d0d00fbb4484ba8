"""What is done to the network: hosts cut from one another, links that lose packets or are narrow."""

from __future__ import annotations

from typing import Callable, Dict, List

from testbed.namespaces import Network

from .cluster_faults import ClusterFaults
from .links import Disturbance

LOST_PERCENT = 10
NARROW_KBIT_S = 1000
"""Enough for beacons, seat reads and keep-alives, not for the writers."""


class NetworkFaults(ClusterFaults):
    def _disturb(self, text: str, disturb: Disturbance) -> None:
        assert self.links, 'the stage has no network of its own'
        self.tell(text)
        with self.links.disturbed(disturb):
            self.hold()

    def _cut(self, one: str, others: List[str], one_way: bool = False) -> None:
        arrow = 'nothing gets to' if one_way else 'nothing passes to or from'
        self._disturb(f'{one}: {arrow} {", ".join(others)}',
                      lambda network: network.cut_from(one, others, one_way=one_way))

    def _names(self, *kinds: str) -> List[str]:
        return [daemon.name for daemon in self.daemons(*kinds)]

    # -- a gateway's host: the initiator still reaches it ---------------------------------------------

    def cut_gateway(self) -> None:
        self._cut(self.fault.gateway, self._names('mon', 'mgr', 'osd'))

    def cut_gateway_one_way(self) -> None:
        """What it says is lost, what it is told arrives."""
        self._cut(self.fault.gateway, self._names('mon', 'mgr', 'osd'), one_way=True)

    def cut_gateway_from_osds(self) -> None:
        self._cut(self.fault.gateway, self._names('osd'))

    def cut_gateway_from_one_osd(self) -> None:
        self._cut(self.fault.gateway, [self.drawn('osd').name])

    def cut_gateway_from_mons(self) -> None:
        self._cut(self.fault.gateway, self._names('mon'))

    def cut_gateway_from_mgrs(self) -> None:
        self._cut(self.fault.gateway, self._names('mgr'))

    def lossy_gateway(self) -> None:
        self._disturb(f'{self.fault.gateway} loses {LOST_PERCENT} % of its packets',
                      lambda network: network.lossy(self.fault.gateway, LOST_PERCENT))

    def narrow_gateway(self) -> None:
        self._disturb(f'{self.fault.gateway} has {NARROW_KBIT_S} kbit/s',
                      lambda network: network.narrow(self.fault.gateway, NARROW_KBIT_S))

    # -- others ---------------------------------------------------------------------------------------

    def cut_gateways(self) -> None:
        """From one another."""
        names = list(self.stage.gateways)

        def disturb(network: Network) -> None:
            for name in names:
                network.cut_from(name, names)
        self._disturb(f'nothing passes between {", ".join(names)}', disturb)

    def cut_mgr(self) -> None:
        mgr = self._mgr().name
        self._cut(mgr, [name for name in self._names('mon', 'mgr', 'osd') if name != mgr])

    def cut_mgr_from_mons(self) -> None:
        self._cut(self._mgr().name, self._names('mon'))

    def cut_mon(self) -> None:
        mon = self.drawn('mon').name
        self._disturb(f'{mon} is cut from all', lambda network: network.isolate(mon))

    def cut_osd(self) -> None:
        osd = self.drawn('osd').name
        self._disturb(f'{osd} is cut from all', lambda network: network.isolate(osd))

    def lossy_osd(self) -> None:
        osd = self.drawn('osd').name
        self._disturb(f'{osd} loses {LOST_PERCENT} % of its packets', lambda network: network.lossy(osd, LOST_PERCENT))


ACTS: Dict[str, Callable[[NetworkFaults], None]] = {
    'cut-gateway': NetworkFaults.cut_gateway,
    'cut-gateway-one-way': NetworkFaults.cut_gateway_one_way,
    'cut-gateway-osds': NetworkFaults.cut_gateway_from_osds,
    'cut-gateway-one-osd': NetworkFaults.cut_gateway_from_one_osd,
    'cut-gateway-mons': NetworkFaults.cut_gateway_from_mons,
    'cut-gateway-mgrs': NetworkFaults.cut_gateway_from_mgrs,
    'cut-gateways': NetworkFaults.cut_gateways,
    'cut-mgr': NetworkFaults.cut_mgr,
    'cut-mgr-mons': NetworkFaults.cut_mgr_from_mons,
    'cut-mon': NetworkFaults.cut_mon,
    'cut-osd': NetworkFaults.cut_osd,
    'lossy-gateway': NetworkFaults.lossy_gateway,
    'lossy-osd': NetworkFaults.lossy_osd,
    'narrow-gateway': NetworkFaults.narrow_gateway,
}
