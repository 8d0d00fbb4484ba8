"""A mgr that dies or hangs, beside a standby mgr and two gateways: replaced soon when a decision waits for it, at most
once in a while; one that hung decides nothing when it goes on.  The tests share the gateways, in the order in which
they stand.
"""

from __future__ import annotations

import json
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Tuple

import pytest
import rados

from mgr_peer import module_options
from nvmeof_ha import seat_names
from nvmeof_ha.core.model import Map, Phase
from nvmeof_ha.core.standby import GRACE_S, SILENT_S
from served_pair import ServedPair
from testbed.ceph_client import CommandFailed
from testbed.cluster import ADMIN, POOL, Cluster
from testbed.daemon import Daemon
from testbed.waiting import wait_until

FOUND_S = 7.0
"""Within this a standby has found a new gateway group and has asked the active mgr for the first time."""
PAUSE_S = 20.0
SOON_S = 60.0
"""Far less than the mons wait here; usual are two to three seconds."""


class Stage(NamedTuple):
    cluster: Cluster
    pair: ServedPair
    set_option: Any

    def active(self) -> Tuple[int, Daemon]:
        def available() -> dict:
            """A mgr takes the groups over a moment before the mons call it available."""
            dump = self.cluster.ceph_json('mgr', 'dump')
            return dump if dump['available'] else {}
        dump = wait_until(available, 60, 'an active mgr')
        return dump['active_gid'], self.cluster.daemons[f"mgr.{dump['active_name']}"]

    def all_mgrs_up(self) -> bool:
        return self.cluster.mgrs_up()

    def log_tails(self) -> str:
        return f'{self.cluster.log_tails()}\n{self.pair.log_tails()}'

    def wait_replaced(self, gid: int, before: Map, timeout_s: float) -> Map:
        """The first map of another mgr."""
        found = self.pair.seats.wait_for(lambda m: m.version.ballot > before.version.ballot, timeout_s, 'another mgr')
        assert self.active()[0] != gid
        return found

    def wait_served_by_two(self) -> Map:
        two = self.pair.two.name
        return self.pair.seats.wait_for(lambda m: all(g.phase is Phase.ACTIVE and g.holder.gateway == two
                                                      for g in m.ana_groups), 60, f'{two} to serve both ANA groups')

    def noted(self) -> dict:
        return json.loads(self.cluster.ceph('config-key', 'get', 'mgr/nvmeof_ha/standby_failed'))


@pytest.fixture(scope='module')
def stage(cluster: Cluster) -> Iterator[Stage]:
    cluster.enable_module('nvmeof_ha')
    # The mons alone would replace nobody for as long as these tests last.
    cluster.ceph('config', 'set', 'mon', 'mon_mgr_beacon_grace', '300')
    begun = time.monotonic()
    try:
        with module_options(cluster, failback_delay_s='1', failback_doubling='false',
                            standby_fail_interval_s='1') as set_option, ServedPair(cluster, 'standby', 70) as pair:
            known_s = begun + FOUND_S + GRACE_S
            wait_until(lambda: time.monotonic() > known_s, 60, 'the standby to have known the active mgr for a while')
            yield Stage(cluster, pair, set_option)
            for gateway in pair.gateways:
                gateway.kill('all')   # nobody needs to hand over any more
    finally:
        cluster.ceph('config', 'rm', 'mon', 'mon_mgr_beacon_grace')


@contextmanager
def paused(daemon: Daemon) -> Iterator[None]:
    daemon.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.kill(signal.SIGCONT)


def log_since(path: Path, offset: int) -> str:
    with open(path, 'rb') as log:
        log.seek(offset)
        return log.read().decode(errors='replace')


def test_a_standby_whose_watch_is_lost_watches_again(stage):
    sos = seat_names.sos_name('standby')

    def watched() -> bool:
        return 'watcher=' in stage.cluster.run('rados', '-p', POOL, '-N', seat_names.NAMESPACE, 'listwatchers', sos)
    wait_until(watched, 30, 'the standby to watch for calls', not_yet=(CommandFailed,))
    with rados.Rados(name=ADMIN, conffile=str(stage.cluster.conf)) as client, client.open_ioctx(POOL) as ioctx:
        ioctx.set_namespace(seat_names.NAMESPACE)
        ioctx.remove_object(sos)
        ioctx.write_full(sos, b'')
    wait_until(watched, 30, 'it to be watched again')


def test_a_dead_mgr_is_replaced_soon_when_a_target_dies(stage):
    before = stage.pair.wait_well()
    gid, daemon = stage.active()
    daemon.kill()
    stage.pair.one.kill('target')
    stage.wait_replaced(gid, before, SOON_S)
    stage.wait_served_by_two()
    noted = stage.noted()
    assert noted['gid'] == gid and 'the target of gateway standby-1 is dead' in noted['why']
    stage.set_option('standby_fail_interval_s', '600')
    daemon.restart()
    wait_until(stage.all_mgrs_up, 30, 'the dead mgr to be a standby')


def test_a_mgr_that_wakes_before_it_is_replaced_fails_nobody_over_and_no_standby_acts_twice_in_the_interval(stage):
    before = stage.pair.wait_well()
    gid, daemon = stage.active()
    offset = daemon.log.stat().st_size

    def held_back() -> bool:
        logs = (stage.cluster.directory / 'logs').glob('mgr.*.log')
        return any('a mgr was failed less than 600 s ago' in log.read_text(errors='replace') for log in logs)
    with stage.pair.undisturbed():
        with paused(daemon):
            assert PAUSE_S > SILENT_S
            time.sleep(PAUSE_S)
            wait_until(held_back, 60, 'the standby to say that it acts once in the interval only')
        suspicion_s = before.timing.suspect_s + before.lease_wait_s
        until = time.monotonic() + suspicion_s + 1
        wait_until(lambda: time.monotonic() > until, suspicion_s + 5, 'a wrong suspicion to have had its effect')
    after = stage.pair.seats.agreed()
    assert stage.active()[0] == gid and after.version.ballot == before.version.ballot
    assert [g.instance for g in after.gateways] == [g.instance for g in before.gateways]
    assert all(g.suspected_at == b.suspected_at for g, b in zip(after.gateways, before.gateways))
    assert 'fencing' not in log_since(daemon.log, offset)


def test_a_mgr_that_hangs_is_replaced_and_decides_nothing_when_it_goes_on(stage):
    stage.set_option('standby_fail_interval_s', '1')
    before = stage.pair.wait_well()
    gid, daemon = stage.active()
    with paused(daemon):
        stage.pair.one.kill('target')
        stage.wait_replaced(gid, before, SOON_S)
        served = stage.wait_served_by_two()
        offset = daemon.log.stat().st_size
    wait_until(stage.all_mgrs_up, 30, 'the former active mgr to be a standby')
    assert stage.pair.seats.agreed().version.ballot == served.version.ballot, 'nobody else has written a map'
    assert stage.active()[0] not in (gid, 0)
    said = log_since(daemon.log, offset)
    assert 'fencing' not in said and 'takes over' not in said
