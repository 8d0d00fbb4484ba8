"""Makes a subsystem with namespaces and listeners through a gateway's gRPC API, as an operator's tool would.

Every method raises SetupRefused with the gateway's own words.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence

import grpc

from gw_agent.pb import gateway_pb2, gateway_pb2_grpc

from .cluster import POOL
from .gateway import Gateway
from .waiting import WaitTimeout, wait_until

CALL_TIMEOUT_S = 30
READY_S = 60


class SetupRefused(RuntimeError):
    """The gateway did not do what was asked."""


class GatewayApi:
    """The API of one gateway; a context manager."""

    def __init__(self, gateway: Gateway) -> None:
        self._where = f'unix:{gateway.api_socket}'
        self._channel = grpc.insecure_channel(self._where)
        self._stub = gateway_pb2_grpc.GatewayStub(self._channel)

    def __enter__(self) -> GatewayApi:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._channel.close()

    def wait_ready(self) -> None:
        """Until the gateway serves: before the map names it, it answers UNAVAILABLE."""
        def ready() -> bool:
            self._stub.list_subsystems(gateway_pb2.list_subsystems_req(), timeout=CALL_TIMEOUT_S)
            return True
        try:
            wait_until(ready, READY_S, f'the gRPC API at {self._where}', not_yet=(grpc.RpcError,))
        except WaitTimeout as error:
            raise SetupRefused(str(error)) from None

    def create_subsystem(self, nqn: str, serial_number: str, max_namespaces: int = 64) -> None:
        """For any host."""
        self.ask('create_subsystem', gateway_pb2.create_subsystem_req(
            subsystem_nqn=nqn, serial_number=serial_number, max_namespaces=max_namespaces, enable_ha=True,
            no_group_append=True))
        self.ask('add_host', gateway_pb2.add_host_req(subsystem_nqn=nqn, host_nqn='*'))

    def create_listeners(self, nqn: str, gateways: Sequence[Gateway]) -> None:
        for gateway in gateways:
            self.ask('create_listener', gateway_pb2.create_listener_req(
                nqn=nqn, host_name=gateway.name, traddr=gateway.address, adrfam=gateway_pb2.ipv4,
                trsvcid=gateway.listener_port))

    def add_namespace(self, nqn: str, nsid: int, image: str, image_bytes: int, ana_group: int) -> None:
        """On a new RBD image."""
        self.ask('namespace_add', gateway_pb2.namespace_add_req(
            subsystem_nqn=nqn, nsid=nsid, rbd_pool_name=POOL, rbd_image_name=image, block_size=512,
            create_image=True, size=image_bytes, anagrpid=ana_group))

    def move_namespace(self, nqn: str, nsid: int, ana_group: int) -> None:
        """Returns when it is there."""
        self.ask('namespace_change_load_balancing_group', gateway_pb2.namespace_change_load_balancing_group_req(
            subsystem_nqn=nqn, nsid=nsid, anagrpid=ana_group))

    def ask(self, verb: str, request: Any) -> Any:
        """Any method of the service `Gateway`; its answer."""
        asked = f'{type(request).__name__} ({str(request).strip()})'.replace('\n', ', ')
        try:
            answer = getattr(self._stub, verb)(request, timeout=CALL_TIMEOUT_S)
        except grpc.RpcError as error:
            raise SetupRefused(f'the gateway at {self._where} did not answer {asked}: {error}') from None
        if answer.status:
            raise SetupRefused(f'the gateway at {self._where} refused {asked}: {answer.error_message} '
                               f'({answer.status})')
        return answer

    def listened_in(self) -> List[str]:
        """NQNs of the subsystems in which some gateway has a listener."""
        subsystems = self.ask('list_subsystems', gateway_pb2.list_subsystems_req()).subsystems
        return [s.nqn for s in subsystems
                if self.ask('list_listeners', gateway_pb2.list_listeners_req(subsystem=s.nqn)).listeners]


def start_serving(gateways: Sequence[Gateway], nqn: str, image: str, image_bytes: int, ana_group_of: Mapping[int, int],
                  max_namespaces: int = 64) -> None:
    """Create and start the gateways, and a subsystem with a listener of each and these namespaces (nsid -> ANA group), on
    images that are called `image` with the nsid behind it."""
    for gateway in gateways:
        gateway.create()
        gateway.start()
    with GatewayApi(gateways[0]) as api:
        api.wait_ready()
        api.create_subsystem(nqn, '', max_namespaces)   # a serial number of its own
        api.create_listeners(nqn, gateways)
        for nsid, ana_group in ana_group_of.items():
            api.add_namespace(nqn, nsid, f'{image}{nsid}', image_bytes, ana_group)


def listen_too(gateway: Gateway) -> List[str]:
    """A listener of this gateway in every subsystem that has any; returns their NQNs."""
    with GatewayApi(gateway) as api:
        api.wait_ready()
        found = api.listened_in()
        for nqn in found:
            api.create_listeners(nqn, [gateway])
    return found
