"""A cluster with two gateways on loopback addresses, for benchmarks: no host, no observers, nothing that costs time."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Callable, List, Optional, Sequence, Type

import grpc
import rados
import rbd

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc
from testbed.cluster import ADMIN, POOL, Cluster
from testbed.gateway import Gateway
from testbed.stage import MODULE
from testbed.waiting import wait_until

ADDRESSES = {'gw1': '127.0.0.2', 'gw2': '127.0.0.3'}
OPTIONS = {'failback_delay_s': '2', 'failback_doubling': 'false', 'trace': 'true'}
CALL_S, READY_S = 60.0, 120.0


class Refused(RuntimeError):
    """A gateway did not do what was asked; its own words."""


class TwoGateways:
    """A context manager; `gateways` serve, and are the owners of ANA groups 1 and 2."""

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.cluster = Cluster(directory)
        self.gateways: List[Gateway] = [Gateway(self.cluster, name, address) for name, address in ADDRESSES.items()]
        self.stubs: List[gateway_pb2_grpc.GatewayStub] = []
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
                channel = stack.enter_context(grpc.insecure_channel(f'unix:{gateway.api_socket}', options=[
                    ('grpc.max_receive_message_length', -1)]))
                self.stubs.append(gateway_pb2_grpc.GatewayStub(channel))
            for number in range(len(self.gateways)):
                self.wait_ready(number)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._stack.close()

    def _stop(self) -> None:
        for gateway in self.gateways:
            gateway.kill('all')
            gateway.stop()
        self.cluster.stop()

    def wait_ready(self, number: int) -> None:
        def ready() -> bool:
            self.stubs[number].list_subsystems(pb.list_subsystems_req(), timeout=CALL_S)
            return True
        wait_until(ready, READY_S, f'the API of {self.gateways[number].name}', not_yet=(grpc.RpcError,))

    def ask(self, verb: str, request: object, number: int = 0) -> object:
        """One call of gateway `number`'s API. Raises Refused, grpc.RpcError."""
        answer = getattr(self.stubs[number], verb)(request, timeout=CALL_S)
        if answer.status:
            raise Refused(f'{verb} ({request}): {answer.error_message}')
        return answer

    def make_images(self, names: Sequence[str], size_bytes: int) -> float:
        """Returns the seconds it took."""
        begun_s = time.monotonic()
        with rados.Rados(name=ADMIN, conffile=str(self.cluster.conf)) as client, client.open_ioctx(POOL) as pool:
            for name in names:
                rbd.RBD().create(pool, name, size_bytes)
        return time.monotonic() - begun_s
