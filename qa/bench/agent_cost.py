"""What warden and agent cost their host, with nothing to serve and with much: processor time, memory, start-up, a change of
all ANA states, the size of beacons.

One gateway that owns one ANA group and holds those of all others, which are registered only.  A change of all ANA states is
what the agent does (`gw_agent/ana.py`: all calls in one write, then read back), done in its place while it stands still;
the target's share is in it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List, Sequence

import rados

from gw_agent.ana import AnaStates
from gw_agent.spdk_rpc import SpdkRpc
from nvmeof_ha.core.gateway import INACCESSIBLE, OPTIMIZED
from testbed.cluster import Cluster
from testbed.gateway import Gateway
from testbed.process_cost import cost

from . import loaded_gateway
from .beacon_watch import BeaconWatch
from .ceph_commands import CephCommands
from .loaded_gateway import Shape
from .standing_still import long_leases, standing_still

SHAPE = Shape(subsystems=64, ana_groups=32, namespaces=1000)
STEADY_S = 60.0
"""How long processor time is counted."""
CHANGES = 5
"""There and back, each of them."""
FEW_ANA_GROUPS = 4
"""Changed alone, beside all of them."""
SET_S = 60.0
KINDS = ('warden', 'agent', 'target')
Figures = Dict[str, float]


def run(directory: Path, say: Callable[[str], None], shape: Shape = SHAPE) -> Figures:
    """On a cluster of its own."""
    with loaded_gateway.running(directory, shape.ana_groups, say) as (cluster, client, gateway):
        return measure(cluster, client, [gateway], shape, say)


def measure(cluster: Cluster, client: rados.Rados, gateways: Sequence[Gateway], shape: Shape,
            say: Callable[[str], None]) -> Figures:
    """Of the first of a group's gateways, which all run.  It is restarted and configured here."""
    gateway = gateways[0]
    commands = CephCommands(cluster, client)
    loaded_gateway.wait_serves(gateway, commands)
    with BeaconWatch(client, commands.seat_names()) as beacons:
        say(f'idle for {STEADY_S:g} s')
        figures = _steady(gateway, beacons, 'idle')
        loaded_gateway.stop(gateway)
        figures['idle: start until serving, s'] = loaded_gateway.start(gateway, commands)
        loaded_gateway.stop(gateway)
        say(f'storing {shape}')
        loaded_gateway.store(client, gateways, shape)
        figures['loaded: start until serving, s'] = loaded_gateway.start(gateway, commands)
        say(f'loaded for {STEADY_S:g} s')
        figures.update(_steady(gateway, beacons, 'loaded'))
        say('changing all ANA states')
        with long_leases(cluster, gateway, beacons), standing_still(gateway, beacons):
            figures.update(asyncio.run(_changes(gateway, shape)))
    return figures


def _steady(gateway: Gateway, beacons: BeaconWatch, state: str) -> Figures:
    pids = gateway.pids()
    before, begun_s, heard = {kind: cost(pids[kind]) for kind in KINDS}, time.monotonic(), len(beacons.of(gateway.name))
    time.sleep(STEADY_S)
    took_s, figures = time.monotonic() - begun_s, {}
    for kind in KINDS:
        after = cost(pids[kind])
        figures[f'{kind}, % of a core'] = 100 * (after.cpu_s - before[kind].cpu_s) / took_s
        figures[f'{kind}, MB resident'] = after.resident_mb
    figures['warden and agent, % of a core'] = figures['warden, % of a core'] + figures['agent, % of a core']
    sizes = [size for size, _ in beacons.of(gateway.name)[heard:]]
    figures.update({'beacon, bytes': median(sizes), 'largest beacon, bytes': max(sizes)})
    return {f'{state}: {name}': value for name, value in figures.items()}


async def _changes(gateway: Gateway, shape: Shape) -> Figures:
    """Everything is optimized before, and after."""
    rpc = await SpdkRpc.connect(str(gateway.rpc_socket))
    try:
        ana, figures = AnaStates(rpc), {}
        await ana.read_back()
        held = sorted(group for group, state in ana.states.items() if state == OPTIMIZED)
        for groups in (held[:FEW_ANA_GROUPS], held):
            took_s: List[float] = []
            for state in (INACCESSIBLE, OPTIMIZED) * CHANGES:
                begun_s = time.monotonic()
                assert not await ana.set(groups, state, SET_S)
                await ana.read_back()
                took_s.append(time.monotonic() - begun_s)
                assert {ana.states[group] for group in groups} == {state}
            figures[f'change of {len(groups) * shape.subsystems} ANA states, s'] = median(took_s)
        return figures
    finally:
        await rpc.close()
