"""Several gateways lost at the same moment: how long until every ANA group is served again.

``Size.gateways`` whole gateways (warden, agent, target) in two locations, each the owner of an ANA group of
``Size.namespaces`` namespaces.  Killed, all processes of a gateway at once: one gateway, every other one, all of a location.
*Served*: the first look at which some survivor's target read back optimized; targets are asked 20 times a second.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

import rados

from testbed.cluster import ADMIN, Cluster
from testbed.gateway import Gateway
from testbed.sampler import Sampler
from testbed.stage import MODULE
from testbed.waiting import wait_until

from . import loaded_gateway
from .ceph_commands import CephCommands
from .loaded_gateway import NQN, Shape
from .two_gateways import OPTIONS

LOCATIONS = ('east', 'west')
WAIT_S, LOOK_S = 300.0, 0.5
SETTLED_S = 3.0
"""At its owner for so long: what the owner's return has begun has ended."""
Figures = Dict[str, float]


class Size(NamedTuple):
    """``namespaces``: of each ANA group."""

    gateways: int = 8
    namespaces: int = 32
    subsystems: int = 4


def run(directory: Path, say: Callable[[str], None], size: Size = Size()) -> Figures:
    """Figures by name."""
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(directory, mgrs=1))
        cluster.start(say)
        for name, value in OPTIONS.items():
            cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/{name}', value)
        cluster.enable_module(MODULE)
        client = stack.enter_context(rados.Rados(name=ADMIN, conffile=str(cluster.conf)))
        gateways = [Gateway(cluster, f'gw{number}', f'127.0.0.{number + 1}') for number in range(1, size.gateways + 1)]
        stack.callback(_stop, gateways)
        say(f'{size.gateways} gateways, each with {size.namespaces} namespaces of its own')
        _begin(cluster, gateways, client, size)
        half = size.gateways // 2
        return measure(cluster, client, gateways, NQN.format(size.subsystems - 1), {
            'one gateway': gateways[:1], f'{half} gateways': gateways[::2], f'a location of {half}': gateways[:half]}, say)


def _begin(cluster: Cluster, gateways: List[Gateway], client: rados.Rados, size: Size) -> None:
    commands = CephCommands(cluster, client)
    for number, gateway in enumerate(gateways):
        gateway.create()
        commands.gw('set-location', id=gateway.name, location=LOCATIONS[2 * number // size.gateways])
    loaded_gateway.store(client, gateways, Shape(size.subsystems, size.gateways, size.gateways * size.namespaces))
    for gateway in gateways:
        gateway.start()


def _stop(gateways: List[Gateway]) -> None:
    for gateway in gateways:
        gateway.kill('all')
        gateway.stop()


def measure(cluster: Cluster, client: rados.Rados, gateways: List[Gateway], nqn: str, losses: Dict[str, List[Gateway]],
            say: Callable[[str], None]) -> Figures:
    """Loses what ``losses`` says one after the other; gateway n of the list owns ANA group n.  ``nqn``: a subsystem that has
    listeners of all of them."""
    bench = _Bench(cluster, client, gateways)
    figures: Figures = {}
    bench.wait_at_home()
    sampler = Sampler({gateway.name: gateway.rpc_socket for gateway in gateways}, nqn, range(1, len(gateways) + 1),
                      lambda _text, _at_s: None)
    sampler.start()
    try:
        for what, lost in losses.items():
            say(f'lost: {what}')
            figures.update({f'{what}: {name}': value for name, value in bench.lose(lost, sampler).items()})
            sampler.check()
            for gateway in lost:
                wait_until(lambda: not gateway.processes(), WAIT_S, 'all of it to end')  # noqa: B023  within the turn
                gateway.start()
            bench.wait_at_home()
    finally:
        sampler.stop()
    return figures


class _Bench:

    def __init__(self, cluster: Cluster, client: rados.Rados, gateways: List[Gateway]) -> None:
        self._gateways = gateways
        self._commands = CephCommands(cluster, client)

    def lose(self, lost: List[Gateway], sampler: Sampler) -> Figures:
        before = self._osd_map()
        names = {gateway.name for gateway in lost}
        orphans = [number for number, gateway in enumerate(self._gateways, 1) if gateway in lost]
        begun_s = time.monotonic()
        for gateway in lost:
            gateway.kill('all', signal.SIGKILL)
        killed_s = time.monotonic() - begun_s

        def served_s(ana_group: int) -> float:
            """0.0: not yet."""
            seen = [sample.at_s for sample in sampler.history.between(begun_s)
                    if sample.optimized(ana_group) - names]
            return seen[0] - begun_s if seen else 0.0
        wait_until(lambda: all(map(served_s, orphans)), WAIT_S, 'every ANA group to be served', interval_s=LOOK_S)
        after, took_s = self._osd_map(), sorted(map(served_s, orphans))
        return {'killed within s': killed_s, 'first ANA group served after s': took_s[0],
                'last ANA group served after s': took_s[-1],
                'addresses fenced': len(set(after['blocklist']) - set(before['blocklist'])),
                'OSD maps made': after['epoch'] - before['epoch'],
                'ANA groups of the fullest survivor': max(self._held().values())}

    def _osd_map(self) -> dict:
        return json.loads(self._commands.mon('osd dump', format='json'))

    def _held(self) -> Dict[str, int]:
        """How many ANA groups each gateway serves."""
        holders = [(group['holder'] or '').split('#')[0] for group in self._commands.group('status')['ana_groups']]
        return {name: holders.count(name) for name in holders if name}

    def wait_at_home(self) -> None:
        since_s = time.monotonic()

        def at_home() -> bool:
            nonlocal since_s
            group = self._commands.group('status')
            well = (all(g['availability'] == 'AVAILABLE' for g in group['gateways'])
                    and all(g['phase'] == 'ACTIVE' and g['holder'].split('#')[0] == g['owner']
                            for g in group['ana_groups']))
            since_s = since_s if well else time.monotonic()
            return time.monotonic() - since_s >= SETTLED_S
        wait_until(at_home, WAIT_S, 'every ANA group to be at its owner', interval_s=LOOK_S)
