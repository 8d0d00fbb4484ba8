"""What warden and agent take from the data path: I/O of a host with them, and while they stand still.

Rounds with and without by turns, through the same target and the same connections (`standing_still.py`), on a namespace
of the fully loaded gateway of `agent_cost.py`: once with so many commands in flight that all cores are used up, and once
with so few that some are left.  Everything is on one machine: what warden and agent use, the host, the OSDs and the target
lack where nothing is left; they have hosts of their own elsewhere.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Dict, List

import rados

from testbed.cluster import Cluster
from testbed.gateway import Gateway
from testbed.process_cost import machine_idle_s

from . import agent_cost, loaded_gateway
from .beacon_watch import BeaconWatch
from .ceph_commands import CephCommands
from .loaded_gateway import Shape
from .standing_still import long_leases, standing_still
from .steady_io import Compared, Round, SteadyHost, compare

PAIRS = 25
ROUND_S = 3.0
WARM_UP_S = 2.0
IN_FLIGHT = (1, 4)
NSID = 1
Figures = Dict[str, float]


def run(directory: Path, say: Callable[[str], None], shape: Shape = agent_cost.SHAPE) -> Figures:
    """On a cluster of its own."""
    with loaded_gateway.running(directory, shape.ana_groups, say) as (cluster, client, gateway):
        commands = CephCommands(cluster, client)
        loaded_gateway.stop(gateway)
        say(f'storing {shape}')
        loaded_gateway.store(client, [gateway], shape)
        loaded_gateway.start(gateway, commands)
        return measure(cluster, client, gateway, say)


def measure(cluster: Cluster, client: rados.Rados, gateway: Gateway, say: Callable[[str], None]) -> Figures:
    """Of a gateway that serves what `loaded_gateway.store` stored."""
    figures: Figures = {}
    with ExitStack() as stack:
        beacons = stack.enter_context(BeaconWatch(client, CephCommands(cluster, client).seat_names()))
        stack.enter_context(long_leases(cluster, gateway, beacons))
        for commands in IN_FLIGHT:
            say(f'{PAIRS} pairs of rounds of {ROUND_S:g} s, {commands} commands of 4 KiB in flight, half of them writes')
            found = _compare(gateway, beacons, commands, say)
            figures.update({f'{commands} in flight: {name}': value for name, value in found.items()})
    return figures


def _compare(gateway: Gateway, beacons: BeaconWatch, commands: int, say: Callable[[str], None]) -> Figures:
    with_: List[Round] = []
    without: List[Round] = []
    with SteadyHost(gateway, loaded_gateway.HOST_NQN, loaded_gateway.NQN.format(0), NSID, loaded_gateway.IMAGE_BYTES,
                    commands) as host:
        host.round(WARM_UP_S)
        begun_s, idle_s = time.monotonic(), machine_idle_s()
        for number in range(PAIRS):   # each is the first of every other pair: the machine may become slower or faster
            if number % 2 == 0:
                with_.append(host.round(ROUND_S))
            with standing_still(gateway, beacons):
                without.append(host.round(ROUND_S))
            if number % 2:
                with_.append(host.round(ROUND_S))
        left = (machine_idle_s() - idle_s) / (time.monotonic() - begun_s)
    iops = compare([r.iops for r in with_], [r.iops for r in without])
    p99 = compare([r.p99_ms for r in with_], [r.p99_ms for r in without])
    say(_told('IOPS', iops))
    say(_told('p99 in ms', p99))
    return {**_figures('IOPS', iops), **_figures('p99 ms', p99), 'CPU share left': left}


def _figures(name: str, compared: Compared) -> Figures:
    return {f'{name} with': compared.first, f'{name} without': compared.second,
            f'{name}: difference, %': compared.percent, f'{name}: noise, %': compared.noise}


def _told(name: str, compared: Compared) -> str:
    return (f'{name}: {compared.first:.2f} with warden and agent, {compared.second:.2f} without: {compared.percent:+.1f} %, '
            f'noise {compared.noise:.1f} %, so ' + ('this is a difference' if compared.differs else 'no difference is seen'))
