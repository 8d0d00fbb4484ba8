"""A cluster with two gateways on loopback addresses, for benchmarks: no host, no observers, nothing that costs time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Callable, List, Sequence

import rados
import rbd

from testbed.cluster import ADMIN, POOL, Cluster
from testbed.gateway import Gateway
from testbed.nvmeof_setup import GatewayApi
from testbed.stage import MODULE

ADDRESSES = {'gw1': '127.0.0.2', 'gw2': '127.0.0.3'}
OPTIONS = {'failback_delay_s': '2', 'failback_doubling': 'false', 'trace': 'true'}


class TwoGateways:
    """A context manager; `gateways` serve, and are the owners of ANA groups 1 and 2. `apis`: theirs."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.cluster = Cluster(directory)
        self.gateways: List[Gateway] = [Gateway(self.cluster, name, address) for name, address in ADDRESSES.items()]
        self.apis: List[GatewayApi] = []
        self._say = say
        self._stack = ExitStack()

    def __enter__(self) -> TwoGateways:
        with ExitStack() as stack:
            stack.callback(self._stop)
            self.cluster.start(self._say)
            for name, value in OPTIONS.items():
                self.cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/{name}', value)
            self.cluster.enable_module(MODULE)
            for gateway in self.gateways:
                gateway.create()
                gateway.start()
            for gateway in self.gateways:
                gateway.wait_available()
                self.apis.append(stack.enter_context(GatewayApi(gateway)))
                self.apis[-1].wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def _stop(self) -> None:
        for gateway in self.gateways:
            gateway.kill('all')
            gateway.stop()
        self.cluster.stop()

    def make_images(self, names: Sequence[str], size_bytes: int) -> None:
        with rados.Rados(name=ADMIN, conffile=str(self.cluster.conf)) as client, client.open_ioctx(POOL) as pool:
            for name in names:
                rbd.RBD().create(pool, name, size_bytes)
