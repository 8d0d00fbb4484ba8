"""What an operator or a crash does to the mgr: nothing acknowledged is lost, and what cannot be used is not taken."""

from __future__ import annotations

import signal
import threading
from typing import Dict, List, Optional

import pytest
import rados

from mgr_peer import SeatReader, module_options, show, wait_for_health, wait_for_no_health
from nvmeof_ha.core import register
from testbed.cluster import Cluster, CommandFailed
from testbed.gateway import nvme_gw
from testbed.waiting import wait_until

BAD_OPTION = 'NVMEOF_HA_BAD_OPTION'


def next_mgr(cluster: Cluster, signal_number: int = 0) -> None:
    """The active mgr gets the signal, if any, and is replaced; it is started again if it ended."""
    wait_until(lambda: cluster.ceph_json('mgr', 'dump')['standbys'], 60, 'a standby')
    before = cluster.ceph_json('mgr', 'dump')
    daemon = cluster.daemons[f'mgr.{before["active_name"]}']
    if signal_number:
        daemon.kill(signal_number)
    cluster.ceph('mgr', 'fail', before['active_name'])
    wait_until(lambda: cluster.active_mgr() and cluster.ceph_json('mgr', 'dump')['active_gid'] != before['active_gid'],
               60, 'another mgr')
    if signal_number == signal.SIGKILL:
        daemon.restart()


def test_timers_that_break_a_rule_leave_those_in_force_also_when_another_mgr_begins(mgr, client):
    nvme_gw(mgr, 'create', 'gw1', 'rbd', 'timers')
    seats = SeatReader(client, 'timers')
    with module_options(mgr, lease_s='3.5', suspect_s='1.5') as set_option:
        kept = seats.wait_for(lambda m: m.timing.lease_s == 3.5, 30, 'the longer lease').timing
        set_option('suspect_s', '0.1')
        wait_for_health(mgr, BAD_OPTION, 'suspect_s = 0.1 s: must be at least 3 * beacon_s', 'lease_s 3.5')
        ballot = seats.agreed().version.ballot
        next_mgr(mgr)
        after = seats.wait_for(lambda m: m.version.ballot > ballot, 60, 'the next mgr')
        assert after.timing == kept, 'not the defaults'
        wait_for_health(mgr, BAD_OPTION, 'every group keeps the timers of its map')


def test_an_option_that_cannot_be_used_holds_no_other_one_back(mgr):
    with module_options(mgr, blocklist_expire_s='5', control_pool='no-such-pool'):
        wait_for_health(mgr, BAD_OPTION, 'blocklist_expire_s = 5.0: must be at least 600 s')
        with pytest.raises(CommandFailed, match='no-such-pool.*which the option mgr/nvmeof_ha/control_pool names'):
            nvme_gw(mgr, 'create', 'gw1', 'rbd', 'in-another-pool')
    wait_for_no_health(mgr, BAD_OPTION)


@pytest.mark.parametrize('name, value', [('lease_s', 'soon'), ('failback_doubling', 'maybe'), ('no_such_option', '1')])
def test_a_value_of_the_wrong_kind_and_an_unknown_option_are_refused_and_not_stored(mgr, name, value):
    with pytest.raises(CommandFailed) as refused:
        mgr.ceph('config', 'set', 'mgr', f'mgr/nvmeof_ha/{name}', value)
    assert refused.value.rc == 22 and (value in refused.value.stderr or name in refused.value.stderr)
    assert f'mgr/nvmeof_ha/{name} {value}' not in ' '.join(mgr.ceph('config', 'dump').split())


def test_a_lost_index_and_wake_object_are_written_anew_by_the_next_mgr(mgr, client):
    nvme_gw(mgr, 'create', 'gw1', 'rbd', 'signposts')
    seats = SeatReader(client, 'signposts')
    before = seats.wait_for(lambda m: m.gateway('gw1'), 20, 'the gateway')
    index, wake = 'nvmeof_ha.signposts.index', 'nvmeof_ha.signposts.wake'
    written = seats.omap(index)
    seats.put(index, {'seat.1': b'garbage', 'format': b'9'})
    seats.ioctx.remove_object(wake)
    next_mgr(mgr)
    wait_until(lambda: seats.omap(index) == written and seats.ioctx.stat(wake), 60, 'index and wake object',
               not_yet=(rados.ObjectNotFound,))
    assert seats.wait_for(lambda m: m.version > before.version, 20, 'the next mgr').gateways == before.gateways
    assert len(seats.names) == register.SEATS


class Operator(threading.Thread):
    """Creates and deletes the gateways of one group in turn, and notes what was acknowledged."""

    def __init__(self, cluster: Cluster, group: str, count: int) -> None:
        super().__init__(name='operator', daemon=True)
        self._cluster, self._group = cluster, group
        self._ended = threading.Event()
        self.exists: Dict[str, Optional[bool]] = {f'gw{number}': False for number in range(count)}
        """None: the last command was not acknowledged."""
        self.acknowledged = 0
        self.refusals: List[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            for gateway_id in self.exists:
                if self._ended.is_set():
                    return
                self._turn(gateway_id)

    def _turn(self, gateway_id: str) -> None:
        wanted = not self.exists[gateway_id]
        self.exists[gateway_id] = None
        try:
            nvme_gw(self._cluster, 'create' if wanted else 'delete', gateway_id, 'rbd', self._group)
        except CommandFailed as error:
            self.refusals.append(str(error))
            return
        self.exists[gateway_id] = wanted
        self.acknowledged += 1

    def wait(self, more: int) -> None:
        enough = self.acknowledged + more
        wait_until(lambda: self.acknowledged >= enough, 120, f'{more} more acknowledged commands; refused so far: '
                                                             f'{self.refusals[-3:]}')

    def stop(self) -> None:
        self._ended.set()
        self.join(120)


def test_a_mgr_killed_between_creates_and_deletes_loses_none_that_it_acknowledged(mgr):
    operator = Operator(mgr, 'killed', 9)
    operator.start()
    try:
        for _ in range(2):
            operator.wait(12)
            next_mgr(mgr, signal.SIGKILL)
            operator.wait(3)
    finally:
        operator.stop()
    certain = {gateway_id: there for gateway_id, there in operator.exists.items() if there is not None}
    assert len(certain) >= 7

    def as_acknowledged() -> bool:
        """A deleted gateway is gone, or DELETING while others are left and none of them has told what its group holds."""
        rows = show(mgr, 'killed').get('Created Gateways:', [])
        there = {row['gw-id'] for row in rows if row['Availability'] != 'DELETING'}
        return {gateway_id: gateway_id in there for gateway_id in certain} == certain
    wait_until(as_acknowledged, 60, f'the gateways to be {certain}', not_yet=(CommandFailed,))
