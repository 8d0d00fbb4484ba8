"""The shared cluster with the module enabled, and a client of it."""

from __future__ import annotations

from typing import Iterator

import pytest
import rados

from mgr_peer import connect
from testbed.cluster import Cluster


@pytest.fixture(scope='module')
def mgr(cluster: Cluster) -> Cluster:
    cluster.enable_module('nvmeof_ha')
    return cluster


@pytest.fixture
def client(mgr: Cluster) -> Iterator[rados.Rados]:
    client = connect(mgr)
    yield client
    client.shutdown()
