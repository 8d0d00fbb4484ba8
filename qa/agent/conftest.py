"""Fixtures of the agent layer: a gateway host with the test in the place of the mgr."""
from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Iterator

import pytest

from gateway_host import GatewayHost, MgrInPlace
from gw_agent.configuration import Listener
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
