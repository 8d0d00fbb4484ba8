"""A gateway whose I/O hangs although its beacons pass is replaced; a cluster that stalls moves nothing."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import Dict, Iterator

import pytest

from nvmeof_ha.core.model import Availability, Phase
from served_pair import ServedPair
from target_sim.initiator import ConnectionEnded, Host
from testbed.cluster import Cluster
from testbed.gateway import Gateway
from testbed.waiting import wait_until

WRITE = 0x01
BLOCK = 512
PAUSE_S = 10.0


@pytest.fixture(scope='module')
def pair(cluster: Cluster) -> Iterator[ServedPair]:
    cluster.enable_module('nvmeof_ha')
    with ServedPair(cluster, 'stuckio', 40) as served:
        yield served


def connect(pair: ServedPair, gateway: Gateway) -> Host:
    return Host(gateway.listener_port, pair.nqn, address=gateway.address)


def submit_write(host: Host, nsid: int, block: int, stamp: bytes) -> int:
    return host.io[0].submit(WRITE, nsid, cdw10=block, data=stamp * BLOCK)


def logs(pair: ServedPair) -> Dict[str, str]:
    return {gateway.name: gateway.warden.log.read_text(errors='replace') for gateway in pair.gateways}


@contextmanager
def stopped(cluster: Cluster, *names: str) -> Iterator[None]:
    daemons = [daemon for name, daemon in cluster.daemons.items() if name.startswith(names)]
    for daemon in daemons:
        daemon.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        for daemon in daemons:
            daemon.kill(signal.SIGCONT)


def drop_answers_of_osds(gateway: Gateway) -> None:
    """From now on the target's context hears nothing of any OSD, while its mons, the agent and the warden go on."""
    socket = gateway.run_directory / 'nvmeof_ha.0.asok'
    gateway.cluster.run('ceph', '--admin-daemon', str(socket), 'config', 'set', 'ms_blackhole_osd', 'true')


@pytest.mark.parametrize('stalled', ['osd.0', 'osd'], ids=['one OSD', 'all OSDs'])
def test_io_that_waits_for_stalled_osds_moves_nowhere_and_goes_on_with_them(pair, cluster, stalled):
    before = pair.wait_well()
    instances = {g.id: g.instance for g in before.gateways}
    one, two = connect(pair, pair.one), connect(pair, pair.two)
    with stopped(cluster, stalled):
        waiting = [(host, submit_write(host, nsid, block, b's')) for host, nsid in ((one, 1), (two, 2))
                   for block in range(0, 8192, 1024)]
        until = time.monotonic() + PAUSE_S
        wait_until(lambda: time.monotonic() > until, PAUSE_S + 10, 'the stall to have lasted')
        assert not all(host.io[0].is_done(cid) for host, cid in waiting), 'nothing waited: a test of nothing'
    assert all(host.io[0].wait(cid).status == 0 for host, cid in waiting)
    after = pair.wait_well()
    assert {g.id: g.instance for g in after.gateways} == instances
    assert not any('is stuck' in text for text in logs(pair).values())


def test_a_gateway_whose_context_hangs_is_replaced_and_its_late_writes_are_refused(pair):
    instance = pair.wait_well().gateway(pair.one.name).instance
    one, two = connect(pair, pair.one), connect(pair, pair.two)
    assert one.io[0].wait(submit_write(one, 1, 8, b'a')).status == 0
    drop_answers_of_osds(pair.one)
    began = time.monotonic()
    hanging = submit_write(one, 1, 8, b'b')
    moved = pair.seats.wait_for(lambda m: m.ana_group(1).phase is Phase.ACTIVE and
                                m.ana_group(1).holder.gateway == pair.two.name, 120, 'the failover')
    print(f'moved after {time.monotonic() - began:.1f} s')
    departed = moved.departure(instance)
    assert departed is not None and departed.addresses and departed.osd_epoch is not None, 'it was fenced'
    log = logs(pair)[pair.one.name]
    assert f'the I/O path of {instance} is stuck: context nvmeof_ha.0 got no answer from osd.' in log
    assert "this host's other client is served promptly there" in log
    with pytest.raises(ConnectionEnded):   # without an answer: no error reached the host
        one.io[0].wait(hanging)
    assert two.io[0].wait(submit_write(two, 1, 8, b'c')).status == 0
    pair.seats.wait_for(lambda m: m.gateway(pair.one.name).availability is Availability.AVAILABLE, 20,
                        'its new target, whose contexts are new, to be counted on')
    assert two.read(1, 8, 1).data == b'c' * BLOCK
