"""Puts a large configuration on one gateway: many subsystems, ANA groups and namespaces, and starts it with them.

It is stored in one write, as the gateway's own API would store it, while the gateway does not run.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import rados
import rbd

from gw_agent import configuration as stored
from gw_agent.config_store import Change, ConfigStore
from gw_agent.configuration import Listener, Namespace, Subsystem
from testbed.cluster import ADMIN, POOL, Cluster
from testbed.gateway import Gateway
from testbed.stage import MODULE
from testbed.waiting import wait_until

from .ceph_commands import CephCommands

NAME, ADDRESS = 'gw1', '127.0.0.2'
OTHERS = 'registered{}'
NQN = 'nqn.2016-06.io.spdk:loaded{}'
HOST_NQN = 'nqn.2014-08.org.nvmexpress:uuid:6f1c5bd0-5a4e-4d0e-9c51-0a3d8e4f2b17'
"""The one host that may use the subsystems: what any host may use would be said in each beacon."""
IMAGE_BYTES = 4 << 20
STOP_S, SERVES_S, LOOK_S = 60.0, 600.0, 0.05


class Shape(NamedTuple):
    """Namespaces are spread evenly over subsystems and ANA groups."""

    subsystems: int
    ana_groups: int
    namespaces: int

    def __str__(self) -> str:
        return f'{self.subsystems} subsystems, {self.ana_groups} ANA groups, {self.namespaces} namespaces'


@contextmanager
def running(directory: Path, ana_groups: int, say: Callable[[str], None]
            ) -> Iterator[Tuple[Cluster, rados.Rados, Gateway]]:
    """A cluster and a gateway that holds so many ANA groups, one of its own and those of gateways that are only registered;
    it has nothing to serve yet."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(directory, mgrs=1))
        cluster.start(say)
        cluster.enable_module(MODULE)
        cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/trace', 'false')
        client = stack.enter_context(rados.Rados(name=ADMIN, conffile=str(cluster.conf)))
        commands = CephCommands(cluster, client)
        gateway = Gateway(cluster, NAME, ADDRESS, traced=False)
        gateway.create()
        for number in range(1, ana_groups):
            commands.gw('create', id=OTHERS.format(number))
        stack.callback(stop, gateway)
        start(gateway, commands)
        yield cluster, client, gateway


def store(client: rados.Rados, gateways: Sequence[Gateway], shape: Shape) -> None:
    """For gateways of one group: each gets listeners.  Makes the images too."""
    entries: Dict[str, str] = {}
    with client.open_ioctx(POOL) as pool:
        for number in range(shape.subsystems):
            nqn = NQN.format(number)
            entries.update([
                stored.subsystem_entry(Subsystem(nqn, f'LOADED{number}')), stored.host_entry(nqn, HOST_NQN),
                *(stored.listener_entry(nqn, Listener(gateway.name, gateway.address, gateway.listener_port))
                  for gateway in gateways)])
        for number in range(shape.namespaces):
            image = f'loaded{number}'
            rbd.RBD().create(pool, image, IMAGE_BYTES)
            # Subsystems in turn; with each round of them the next ANA group, so that the two do not move in step.
            nsid, subsystem = divmod(number, shape.subsystems)
            entries.update([stored.namespace_entry(NQN.format(subsystem), Namespace(
                nsid + 1, POOL, image, str(uuid.uuid4()), (number + nsid) % shape.ana_groups + 1))])
    asyncio.run(_store(client, gateways[0].group, entries))


def stop(gateway: Gateway) -> None:
    gateway.stop(STOP_S)


def start(gateway: Gateway, commands: CephCommands) -> float:
    """Seconds until it serves; with all of the configuration, as it begins only then."""
    begun_s = time.monotonic()
    gateway.start()
    wait_serves(gateway, commands)
    return time.monotonic() - begun_s


def wait_serves(gateway: Gateway, commands: CephCommands) -> None:
    """Until it is the active holder of its own ANA group and of those whose owners are away."""
    def serves() -> bool:
        group = commands.group('status')
        there = {g['id'] for g in group['gateways'] if g['availability'] == 'AVAILABLE'} - {gateway.name}
        return all(g['phase'] == 'ACTIVE' and g['holder'].split('#')[0] == gateway.name
                   for g in group['ana_groups'] if g['owner'] not in there)
    wait_until(serves, SERVES_S, f'{gateway.name} to hold its ANA groups', interval_s=LOOK_S)


async def _store(client: rados.Rados, group: str, entries: Dict[str, str]) -> None:
    store_of_group = await ConfigStore.open(client, POOL, group)
    try:
        await store_of_group.change(lambda _before: Change(entries))
    finally:
        await store_of_group.close()
