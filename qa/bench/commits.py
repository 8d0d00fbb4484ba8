"""How large the map of a gateway group is and how long a change takes to be stored, at several sizes of a group.

A fleet (``fleet.py``) reads every new map and confirms it, as real gateways do.  *Stored*: a command that changes the map,
from asking to its answer, which comes when two seats hold it.  *One seat*: the write alone, as the mgr measures it.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List, Sequence, Tuple

import rados

from nvmeof_ha import seat_names
from nvmeof_ha.core.register import MAP_KEY
from testbed import status_page
from testbed.cluster import ADMIN, POOL, Cluster
from testbed.stage import MODULE
from testbed.waiting import wait_until

from .ceph_commands import CephCommands
from .fleet_process import FleetProcess

SIZES = (2, 8, 32)
CHANGES = 50
SETTLE_S = 300.0
SUM_OR_COUNT = re.compile(r'nvmeof_ha_seat_commit_duration_seconds_(sum|count)\{(.*)\} ([0-9.e+-]+)')
Figures = Dict[str, float]


def run(directory: Path, say: Callable[[str], None]) -> Figures:
    with Cluster(directory, mgrs=1) as cluster:
        cluster.start(say)
        cluster.enable_module(MODULE)
        return measured(cluster, say)


def measured(cluster: Cluster, say: Callable[[str], None], sizes: Sequence[int] = SIZES,
             changes: int = CHANGES) -> Figures:
    """Figures by name; on a cluster with the module enabled."""
    figures: Figures = {}
    cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/trace', 'false')
    status_page.enable(cluster)
    with rados.Rados(name=ADMIN, conffile=str(cluster.conf)) as client:
        for size in sizes:
            say(f'{size} gateways in a group')
            with FleetProcess(cluster.conf) as fleet:
                group = f'commits{size}'
                _create(CephCommands(cluster, client), fleet, group, size)
                found = _change(cluster, client, group, changes)
            figures.update({f'{size} gateways: {name}': value for name, value in found.items()})
    return figures


def _create(commands: CephCommands, fleet: FleetProcess, group: str, size: int) -> None:
    names = [f'gw{number}' for number in range(size)]
    for name in names:
        commands.gw('create', group=group, id=name)
    fleet.ask('add', group=group, gateways=names, ana_groups=size)
    wait_until(lambda: not fleet.ask('unsettled', groups={group: size}), SETTLE_S,
               'every ANA group to be at its owner', interval_s=0.5)


def _change(cluster: Cluster, client: rados.Rados, group: str, changes: int) -> Figures:
    commands, took_ms = CephCommands(cluster, client), []
    before = _seat_commits(cluster, group)
    for number in range(changes):
        begun_s = time.monotonic()
        commands.gw('set-location', group=group, id='gw0', location=f'place{number % 2}')
        took_ms.append(1000 * (time.monotonic() - begun_s))
    took_s, count = (after - earlier for after, earlier in zip(_seat_commits(cluster, group), before))
    took_ms.sort()
    return {'map bytes': len(_map(client, group)), 'stored ms, median': median(took_ms),
            'stored ms, p99': took_ms[int(0.99 * (len(took_ms) - 1))], 'one seat ms, mean': 1000 * took_s / count}


def _map(client: rados.Rados, group: str) -> bytes:
    with client.open_ioctx(POOL) as ioctx:
        ioctx.set_namespace(seat_names.NAMESPACE)
        with rados.ReadOpCtx() as operation:
            index, _ = ioctx.get_omap_vals_by_keys(operation, ('seat.0',))
            ioctx.operate_read_op(operation, seat_names.index_name(group))
            seat = dict(index)['seat.0'].decode()
        with rados.ReadOpCtx() as operation:
            values, _ = ioctx.get_omap_vals_by_keys(operation, (MAP_KEY,))
            ioctx.operate_read_op(operation, seat)
            return dict(values)[MAP_KEY]


def _seat_commits(cluster: Cluster, group: str) -> Tuple[float, float]:
    """Seconds, and how many, on all seats."""
    found: List[Tuple[str, str, str]] = SUM_OR_COUNT.findall(status_page.metrics(cluster))
    totals = {'sum': 0.0, 'count': 0.0}
    for kind, labels, value in found:
        if f'group="{group}"' in labels:
            totals[kind] += float(value)
    return totals['sum'], totals['count']
