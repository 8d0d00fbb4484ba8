"""Two real gateways through a failover, a failback, another mgr and another agent: what was proven is what ran.

Every other test's part of the shared cluster is replayed at its end (`conftest.py`); here it must be a good deal.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

from conformance import check
from mgr_peer import module_options
from served_pair import ServedPair
from testbed.cluster import Cluster
from testbed.gateway import TRACE
from testbed.waiting import wait_until

GROUP = 'replayed'
LOGGED = 40
"""Lines; a mgr that was a standby once stopped logging some seconds after it took over."""


def test_all_that_mgrs_and_gateways_decided_is_what_the_core_decides_again(cluster: Cluster) -> None:
    cluster.enable_module('nvmeof_ha')
    with module_options(cluster, failback_delay_s='1', failback_doubling='false'), \
            ServedPair(cluster, GROUP, 40) as pair:
        before = pair.wait_well()
        pair.one.kill('target')
        pair.seats.wait_for(lambda m: m.ana_group(1).holder and m.ana_group(1).holder.gateway == pair.two.name, 20,
                            'the failover')
        pair.wait_well()
        cluster.ceph('mgr', 'fail', cluster.active_mgr())
        pair.seats.wait_for(lambda m: m.version.ballot > before.version.ballot, 60, 'the next mgr')
        lines = len(traced(cluster))
        pair.two.kill('agent')
        wait_until(lambda: len(traced(cluster)) >= lines + LOGGED, 60, 'the next mgr to log what it does')
        after = pair.wait_well()
    assert after.version > before.version
    result = check([*logs(cluster), *(gateway.directory / TRACE for gateway in pair.gateways)], f'rbd/{GROUP}')
    assert not result.violations, '\n'.join(result.violations)
    print(result.describe())
    assert result.take_overs >= 2 and result.unjudged == 0
    # What happened in any case, however quickly: about half of what a quick machine shows.
    assert result.steps - result.ticks > 90 and result.ticks > 35 and result.calls > 500 and result.maps_compared > 10
    assert result.processes == 5, 'two wardens and three agents'


def logs(cluster: Cluster) -> List[Path]:
    return sorted(cluster.directory.glob('logs/mgr.*.log'))


def traced(cluster: Cluster) -> List[str]:
    mark = f' trace rbd/{GROUP} '
    return [line for log in logs(cluster) for line in log.read_text(errors='replace').splitlines() if mark in line]
