"""The map in RADOS under damage and stalls: garbage, lost objects, stopped OSDs."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Callable, Iterator

import pytest
import rados

from mgr_peer import Peer, SeatReader, show, wait_for_health, wait_for_no_health
from nvmeof_ha.core import register, wire
from nvmeof_ha.core.model import Instance, Map, Phase
from nvmeof_ha.kv_records import GroupKey, RecordError, Records
from testbed.cluster import Cluster, CommandFailed
from testbed.gateway import nvme_gw
from testbed.waiting import wait_until

OBJECTS_EVERYWHERE = 300
"""So many that each placement group of the pool (16) has one of them."""

CONTROL_OBJECTS, STOPPED = 'NVMEOF_HA_CONTROL_OBJECTS', 'NVMEOF_HA_GROUP_STOPPED'
INVARIANT, LOST = 'NVMEOF_HA_INVARIANT', 'NVMEOF_HA_SEATS_LOST'


def group_of_two(cluster: Cluster, client: rados.Rados, group: str, pool: str = 'rbd') -> SeatReader:
    for gateway in ('gw1', 'gw2'):
        nvme_gw(cluster, 'create', gateway, pool, group)
    seats = SeatReader(client, group, pool)
    seats.wait_for(lambda m: m.gateway('gw2'), 10, 'both gateways in the map')
    return seats


def wait_for_equal_seats(seats: SeatReader) -> Map:
    """All three seats hold the same map."""
    return wait_until(lambda: len(set(seats.maps())) == 1 and seats.maps()[0], 20, 'three equal seats')


def next_mgr(cluster: Cluster, damage: Callable[[], None] = lambda: None) -> None:
    """Another mgr takes over, and finds the `damage` that the one before it had no time to mend."""
    wait_until(lambda: cluster.ceph_json('mgr', 'dump')['standbys'], 60, 'a standby')
    before = cluster.ceph_json('mgr', 'dump')
    cluster.daemons[f'mgr.{before["active_name"]}'].kill(signal.SIGSTOP)
    try:
        damage()
        cluster.ceph('mgr', 'fail')
        wait_until(lambda: cluster.active_mgr() and cluster.ceph_json('mgr', 'dump')['active_gid'] !=
                   before['active_gid'], 60, 'another mgr')
    finally:
        cluster.daemons[f'mgr.{before["active_name"]}'].kill(signal.SIGCONT)


def test_the_index_names_three_seats_with_different_primaries_that_hold_the_same_map(mgr, client):
    seats = group_of_two(mgr, client, 'index')
    assert len(set(seats.names)) == 3
    primaries = {mgr.ceph_json('osd', 'map', 'rbd', name, 'nvmeof_ha')['acting_primary'] for name in seats.names}
    assert len(primaries) == 3
    gateway_map = wait_for_equal_seats(seats)
    for name in seats.names:
        claim = register.decode_claim(seats.omap(name)[register.CLAIM_KEY].decode())
        assert claim == gateway_map.version
    assert mgr.ceph_json('config-key', 'get', 'mgr/nvmeof_ha/group/rbd/index')['seats'] == list(seats.names)


def test_garbage_in_one_seat_is_outvoted_and_replaced_by_the_next_commit(mgr, client):
    seats = group_of_two(mgr, client, 'garbled')
    before = wait_for_equal_seats(seats)
    next_mgr(mgr, lambda: seats.put(seats.names[1], {register.MAP_KEY: b'\x00garbage'}))
    after = seats.wait_for(lambda m: m.version > before.version, 30, 'the next mgr')
    assert after.gateways == before.gateways
    wait_for_equal_seats(seats)


@pytest.mark.parametrize('garbage', [b'zzz', b'9999999999.000000000001'], ids=['no claim', 'no ballot'])
def test_garbage_in_a_claim_is_replaced_once_the_other_two_hold_the_newest_map(mgr, client, garbage):
    seats = group_of_two(mgr, client, f'claim{len(garbage)}')
    wait_for_equal_seats(seats)
    seats.put(seats.names[0], {register.CLAIM_KEY: garbage})
    nvme_gw(mgr, 'create', 'gw3', 'rbd', f'claim{len(garbage)}')
    seats.wait_for(lambda m: m.gateway('gw3'), 10, 'a commit on the other two')
    wait_for_equal_seats(seats)
    claim = seats.omap(seats.names[0])[register.CLAIM_KEY]
    assert claim == seats.omap(seats.names[1])[register.CLAIM_KEY]
    assert nvme_gw(mgr, 'repair', 'rbd', f'claim{len(garbage)}') == ''


def test_two_seats_that_cannot_be_used_stop_the_group_and_nothing_is_overwritten(mgr, client):
    unusable = {b'{"format": 2}': 'format 2, this release understands 1 only: upgrade the older side',
                b'no map at all': 'not JSON'}
    seats = group_of_two(mgr, client, 'unusable')
    wait_for_equal_seats(seats)
    key = GroupKey('rbd', 'unusable')
    copy_name = key.map_key(0)

    def copied() -> bool:
        copy = Records({copy_name: mgr.ceph('config-key', 'get', f'mgr/nvmeof_ha/{copy_name}')}).map_copy(key)
        return copy is not None and copy.gateway('gw2') is not None
    wait_until(copied, 10, "the mons' copy of the map", not_yet=(CommandFailed, RecordError))
    good = [seats.omap(name)[register.MAP_KEY] for name in seats.names]
    next_mgr(mgr, lambda: [seats.put(name, {register.MAP_KEY: value})
                           for name, value in zip(seats.names, unusable)] and None)
    wait_for_health(mgr, STOPPED, 'rbd/unusable', *seats.names[:2], *unusable.values())
    assert [seats.omap(name)[register.MAP_KEY] for name in seats.names] == [*unusable, good[2]]
    assert show(mgr, 'unusable')['num gws'] == 2, "shown from the mons' copy"
    with pytest.raises(CommandFailed, match='EAGAIN.*cannot use'):
        nvme_gw(mgr, 'create', 'gw3', 'rbd', 'unusable')
    with pytest.raises(CommandFailed, match='EAGAIN.*has not lost its seats, but is not ready'):
        nvme_gw(mgr, 'repair', 'rbd', 'unusable', '--yes-i-really-mean-it')
    for name in seats.names[:2]:
        seats.put(name, {register.MAP_KEY: good[0]})
    wait_for_no_health(mgr, STOPPED)
    wait_for_equal_seats(seats)


def test_a_map_that_breaks_an_invariant_stops_its_group_alone_and_is_an_error(mgr, client):
    seats = group_of_two(mgr, client, 'impossible')
    good = wait_for_equal_seats(seats)
    instance = Instance('gw1', 1, 'x')
    serves = replace(good.gateways[0], instance=instance, last_number=1)  # and no address to fence it by
    bad = good.with_gateway(serves).with_ana_group(
        replace(good.ana_groups[0], phase=Phase.ACTIVE, holder=instance, writers=frozenset({instance})))
    next_mgr(mgr, lambda: [seats.put(name, {register.MAP_KEY: wire.encode_map(bad)}) for name in seats.names] and None)
    try:
        wait_for_health(mgr, INVARIANT, 'rbd/impossible', 'only an instance with known addresses serves')
        assert seats.maps() == [bad] * 3
        group_of_two(mgr, client, 'still-possible')
    finally:
        for name in seats.names:
            seats.put(name, {register.MAP_KEY: wire.encode_map(good)})
        next_mgr(mgr)
    wait_for_no_health(mgr, INVARIANT)
    wait_for_equal_seats(seats)


def test_a_lost_seat_is_made_again_from_the_other_two(mgr, client):
    seats = group_of_two(mgr, client, 'lost')
    wait_for_equal_seats(seats)
    seats.ioctx.remove_object(seats.names[2])
    nvme_gw(mgr, 'create', 'gw3', 'rbd', 'lost')
    assert wait_for_equal_seats(seats).gateway('gw3')
    next_mgr(mgr, lambda: seats.ioctx.remove_object(seats.names[0]))
    assert wait_for_equal_seats(seats).gateway('gw3')


def both_own(gateway_map: Map) -> bool:
    groups = [g for g in gateway_map.ana_groups if g.owner in ('gw1', 'gw2')]
    return all(g.phase is Phase.ACTIVE and g.holder.gateway == g.owner for g in groups)


@pytest.mark.parametrize('damage', ['two are gone while a mgr looks after them', 'all are gone when a mgr takes over'])
def test_lost_seats_are_rebuilt_when_an_operator_says_so_and_all_who_may_write_are_fenced_first(mgr, client, damage):
    group = 'two-gone' if damage.startswith('two') else 'all-gone'
    seats = group_of_two(mgr, client, group)

    def lose(count: int) -> None:
        for name in seats.names[:count]:
            seats.ioctx.remove_object(name)
    with Peer(mgr, group, 'gw1'), Peer(mgr, group, 'gw2'):
        before = seats.wait_for(both_own, 20, 'both gateways active')
        if group == 'two-gone':
            lose(2)
        else:
            next_mgr(mgr, lambda: lose(3))
        wait_for_health(mgr, LOST, f'rbd/{group}', seats.names[0], 'is missing', f'repair rbd {group}')
        line, = json.loads(mgr.ceph('nvmeof-ha', 'ls', 'rbd', group, '--format', 'json'))['groups']
        assert 'seats' in line['problem'] or line['problem'].startswith('group')
        with pytest.raises(CommandFailed, match='EPERM.*is missing.*restore them.*--yes-i-really-mean-it'):
            nvme_gw(mgr, 'repair', 'rbd', group)
        nvme_gw(mgr, 'repair', 'rbd', group, '--yes-i-really-mean-it')
        old = {g.instance for g in before.gateways}
        after = seats.wait_for(lambda m: not any(g.writers for g in m.ana_groups), 60, 'everybody is fenced')
        assert after.version > before.version
        fenced = {d.instance: d.osd_epoch for d in after.departed}
        assert all(fenced[instance] for instance in old)
        assert all(g.osd_epoch >= max(fenced.values()) for g in after.ana_groups)
        blocked = mgr.ceph('osd', 'blocklist', 'ls')
        assert all(address in blocked for g in before.gateways for address in g.addresses)
    with Peer(mgr, group, 'gw1'), Peer(mgr, group, 'gw2'):
        seats.wait_for(both_own, 60, 'new instances serve')
        wait_until(lambda: 'when an operator had the group repaired' in mgr.ceph('nvmeof-ha', 'history', 'rbd', group), 30,
                   'the history to tell of the repair')
    wait_for_no_health(mgr, LOST)
    wait_for_equal_seats(seats)


@pytest.fixture
def solo_pool(mgr: Cluster) -> Iterator[str]:
    """A pool of size 1: its placement groups stall apart from one another."""
    mgr.ceph('osd', 'pool', 'create', 'solo', '64')   # with few, one OSD may have hardly any
    mgr.ceph('osd', 'pool', 'set', 'solo', 'size', '1', '--yes-i-really-mean-it')
    yield 'solo'


def test_while_the_osd_of_one_seat_is_stopped_commits_go_on_with_the_other_two(mgr, client, solo_pool):
    seats = group_of_two(mgr, client, 'stall', solo_pool)
    wait_for_equal_seats(seats)
    placed = [mgr.ceph_json('osd', 'map', solo_pool, name, 'nvmeof_ha')['acting'] for name in seats.names]
    assert len({osd for acting in placed for osd in acting}) == 3
    names, others = seats.names, SeatReader(client, 'stall', solo_pool)
    stopped = mgr.daemons[f'osd.{placed[0][0]}']
    mgr.ceph('osd', 'set', 'nodown')
    stopped.kill(signal.SIGSTOP)
    try:
        nvme_gw(mgr, 'create', 'gw3', solo_pool, 'stall')
        told = f'{names[0]}: its placement group takes no writes'
        wait_for_health(mgr, CONTROL_OBJECTS, told)
        for name in names[1:]:
            assert b'"gw3"' in others.omap(name)[register.MAP_KEY]
    finally:
        stopped.kill(signal.SIGCONT)
        mgr.ceph('osd', 'unset', 'nodown')
    assert wait_for_equal_seats(seats).gateway('gw3')


def wait_for_writes(ioctx: rados.Ioctx) -> None:
    """Until every placement group takes them again: the tests that follow share this cluster."""
    for number in range(OBJECTS_EVERYWHERE):
        ioctx.write_full(f'everywhere{number}', b'')
        ioctx.remove_object(f'everywhere{number}')


def test_a_cluster_that_stands_still_hangs_no_command_and_nobody_is_blamed_for_the_silence(mgr, client):
    seats = group_of_two(mgr, client, 'still')
    with Peer(mgr, 'still', 'gw1'), Peer(mgr, 'still', 'gw2'):
        before = seats.wait_for(both_own, 20, 'both gateways active')
        osds = [daemon for name, daemon in mgr.daemons.items() if name.startswith('osd.')]
        mgr.ceph('osd', 'set', 'nodown')
        for osd in osds:
            osd.kill(signal.SIGSTOP)
        try:
            assert show(mgr, 'still')['num gws'] == 2
            with pytest.raises(CommandFailed, match='EAGAIN.*may still take effect'):
                nvme_gw(mgr, 'create', 'gw3', 'rbd', 'still')
            assert json.loads(mgr.ceph('balancer', 'status'))
        finally:
            for osd in osds:
                osd.kill(signal.SIGCONT)
            mgr.ceph('osd', 'unset', 'nodown')
            wait_for_writes(seats.ioctx)
        after = seats.wait_for(lambda m: m.gateway('gw3'), 30, 'the command that was asked for meanwhile')
        assert both_own(after)
        assert [g.instance for g in after.gateways[:2]] == [g.instance for g in before.gateways]
