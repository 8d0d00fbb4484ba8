"""Fixtures of the agent layer: a gateway host with the test in the place of the mgr; a gateway without its HA side."""
from __future__ import annotations

import itertools
import uuid
from pathlib import Path
from typing import Any, Iterator

import grpc
import pytest
import rados

from gateway_host import GatewayHost, MgrInPlace
from gw_agent.configuration import Listener
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc
from running_target import gateway_settings, running_target
from standalone_gateway import StandaloneGateway
from testbed.ports import free_ports

_numbers = itertools.count(1)


@pytest.fixture
def mgr(cluster: Any) -> Iterator[MgrInPlace]:
    """A gateway group of the test's own, still without control objects."""
    in_place = MgrInPlace(cluster, f"group{next(_numbers)}")
    try:
        yield in_place
    finally:
        in_place.close()


@pytest.fixture
def host(mgr: MgrInPlace, cluster: Any, nvmf_tgt: Path, tmp_path: Path) -> Iterator[GatewayHost]:
    """Gateway gw1 of that group, not started yet."""
    gateway = GatewayHost(tmp_path, cluster, nvmf_tgt, group=mgr.seats.group)
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
def listener(host: GatewayHost) -> Listener:
    """A listener of gw1 on a free port."""
    return Listener(host.name, host.addr, free_ports(1, host.addr)[0])


@pytest.fixture
def serving(mgr: MgrInPlace, host: GatewayHost, listener: Listener) -> Any:
    """gw1 runs, serves a subsystem with two namespaces, and is optimized for ANA group 1; its instance."""
    mgr.make(host.name)
    mgr.configure({host.name: listener}, namespaces=2)
    host.start()
    instance = mgr.admit(host.name)
    mgr.promote(1, instance)
    return instance


# For tests of the API: a gateway's configuration side, without its HA side.


@pytest.fixture(scope="module")
def ceph(cluster: Any) -> Iterator[rados.Rados]:
    """A RADOS client."""
    with rados.Rados(conffile=str(cluster.conf), name="client.admin") as handle:
        yield handle


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def target(nvmf_tgt: Path, directory: Path) -> Iterator[str]:
    """The path of a running target's RPC socket."""
    with running_target(nvmf_tgt, directory) as path:
        yield path


@pytest.fixture
def group() -> str:
    """The name of a gateway group of the test's own."""
    return "g" + uuid.uuid4().hex[:8]


@pytest.fixture
def gateway(target: str, cluster: Any, ceph: rados.Rados, directory: Path,
            group: str) -> Iterator[StandaloneGateway]:
    """A gateway of a new gateway group."""
    with StandaloneGateway(ceph, gateway_settings(directory, cluster, group=group), target) as running:
        yield running


@pytest.fixture
def stub(gateway: StandaloneGateway) -> Iterator[Any]:
    """A client of its API."""
    with grpc.insecure_channel(gateway.address) as channel:
        yield gateway_pb2_grpc.GatewayStub(channel)


@pytest.fixture
def nqn(stub: Any) -> str:
    """A subsystem."""
    reply = stub.create_subsystem(pb.create_subsystem_req(subsystem_nqn="nqn.2016-06.io.spdk:api", enable_ha=True))
    assert reply.status == 0, reply.error_message
    return reply.nqn


@pytest.fixture
def image(cluster: Any) -> str:
    """An image of 8 MiB."""
    name = f"api-{uuid.uuid4().hex[:8]}"
    cluster.run("rbd", "create", "--size", "8M", f"rbd/{name}")
    return name
