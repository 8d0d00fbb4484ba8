"""What an operator sees of one pair of gateways from its creation through a crash: each command that only looks, as
table and JSON, in a real ceph-mgr; and what it says to bad input.
"""

from __future__ import annotations

import errno
import json
import urllib.request
from typing import Any, Dict, Iterator, Set, Tuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mgr_peer import NQN, Peer, SeatReader, connect, module_options
from nvmeof_ha.core.model import Phase
from nvmeof_ha.transitions import decode_pages
from testbed import status_page
from testbed.cluster import Cluster
from testbed.gateway import nvme_gw
from testbed.waiting import wait_until

GROUP = 'looked-at'


@pytest.fixture(scope='module')
def pair(mgr: Cluster) -> Iterator[Tuple[Cluster, SeatReader, Peer, Peer]]:
    """Two gateways that serve an ANA group each."""
    client = connect(mgr)
    seats = SeatReader(client, GROUP)
    for gateway in ('gw1', 'gw2'):
        mgr.ceph('nvmeof-ha', 'create', gateway, 'rbd', GROUP)
    with module_options(mgr, failback_delay_s='1'):
        with Peer(mgr, GROUP, 'gw1') as one, Peer(mgr, GROUP, 'gw2') as two:
            seats.wait_for(lambda m: [(g.phase, g.holder.gateway if g.holder else '') for g in m.ana_groups]
                           == [(Phase.ACTIVE, 'gw1'), (Phase.ACTIVE, 'gw2')], 20, 'both gateways active')
            yield mgr, seats, one, two
    client.shutdown()


def ask(cluster: Cluster, verb: str, *groups: str, **arguments: object) -> Tuple[int, str, str]:
    """Code, output and text, as a client without the `ceph` command gets them."""
    client = connect(cluster)
    try:
        command = {'prefix': f'nvmeof-ha {verb}', **dict(zip(('pool', 'group'), groups)), **arguments}
        code, output, text = client.mgr_command(json.dumps(command), b'')
        return code, output.decode(), text
    finally:
        client.shutdown()


def look(cluster: Cluster, verb: str, *groups: str, **arguments: object) -> Any:
    code, output, text = ask(cluster, verb, *groups, format='json', **arguments)
    assert (code, text) == (0, '')
    return json.loads(output)


def test_status_shows_who_serves_what_as_json_and_as_a_table(pair):
    mgr, _, one, two = pair
    group, = look(mgr, 'status', 'rbd', GROUP)['groups']
    assert (group['looked_after'], group['problem']) == (True, '')
    assert [(g['id'], g['availability'], g['instance'], g['serves'], g['problems']) for g in group['gateways']] == [
        ('gw1', 'AVAILABLE', str(one.instance), [1], []), ('gw2', 'AVAILABLE', str(two.instance), [2], [])]
    assert [(g['id'], g['phase'], g['holder'], g['namespaces'], g['why']) for g in group['ana_groups']] == [
        (1, 'ACTIVE', 'gw1', 2, ''), (2, 'ACTIVE', 'gw2', 2, '')]
    assert GROUP in [g['group'] for g in look(mgr, 'status')['groups']], 'all groups, without arguments'
    line, = look(mgr, 'ls', 'rbd', GROUP)['groups']
    assert (line['available'], line['gateways'], line['optimized'], line['ana_groups']) == (2, 2, 2, 2)
    assert f'rbd/{GROUP}' in mgr.ceph('nvmeof-ha', 'ls') and '2 of 2' in mgr.ceph('nvmeof-ha', 'ls', 'rbd')
    table = mgr.ceph('nvmeof-ha', 'status', 'rbd')
    assert f'rbd/{GROUP}  map ' in table and f'  gw1      AVAILABLE  {one.instance}' in table


def test_listeners_and_show_all_have_the_shapes_of_the_built_in_commands(pair):
    mgr = pair[0]
    shown = json.loads(nvme_gw(mgr, 'listeners', 'rbd', GROUP, '--format', 'json'))
    assert list(shown) == ['epoch', 'pool', 'group', 'num gws', 'GW-epoch', 'Created listeners']
    assert shown['Created listeners'] == {NQN: [
        {'address_family': 'IPv4', 'address': '127.0.0.2', 'svcid': '4420', 'gw_id': gateway}
        for gateway in ('gw1', 'gw2')]}
    assert look(mgr, 'listeners', 'rbd', 'none')['num gws'] == 0
    assert look(mgr, 'show', 'rbd', GROUP)['Created Gateways:'] in [
        group['Created Gateways:'] for group in look(mgr, 'show-all')]


def test_one_of_two_gateways_may_stop_and_both_may_not(pair):
    mgr = pair[0]
    assert mgr.ceph('nvmeof-ha', 'ok-to-stop', 'rbd', GROUP, 'gw1') == 'gw1 may stop\n'
    assert look(mgr, 'ok-to-stop', 'rbd', GROUP, ids=['gw1'])['ana_groups'][0]['taker'] == 'gw2'
    code, output, text = ask(mgr, 'ok-to-stop', 'rbd', GROUP, ids=['gw2', 'gw1'], format='json')
    assert code == -errno.EBUSY and not json.loads(output)['ok_to_stop']
    assert text.startswith('gw1, gw2 must not stop now: ANA group 1 would have no gateway that can serve it; ')


def test_a_gateway_is_drained_and_enabled_and_the_last_one_is_not_drained(pair):
    mgr, seats, _, _ = pair
    assert ask(mgr, 'drain', 'rbd', GROUP, ids=['gw2']) == (0, '', '')
    served = {group.id: group.server.gateway for group in seats.agreed().ana_groups if group.server}
    assert served[2] == 'gw1' == served[1], 'when it returns nothing is served there any more'
    assert ask(mgr, 'drain', 'rbd', GROUP, ids=['gw2']) == (0, '', ''), 'again'
    code, _, text = ask(mgr, 'drain', 'rbd', GROUP, ids=['gw1', 'gw2'])
    assert code == -errno.EBUSY and text.startswith('gw1, gw2 must not be drained now: ANA group 1 would have no gateway')
    mgr.ceph('nvmeof-ha', 'enable', 'gw2', 'rbd', GROUP)
    seats.wait_for(lambda m: m.ana_group(2).holder and m.ana_group(2).holder.gateway == 'gw2', 20, 'the way back')


def test_a_gateway_that_is_declared_dead_is_fenced_at_once_if_it_is_really_meant(pair):
    mgr, seats, one, _ = pair
    lost, address = one.instance, one.address
    code, _, text = ask(mgr, 'fence', 'rbd', GROUP, id='gw1')
    assert code == -errno.EPERM and 'add --yes-i-really-mean-it' in text and seats.agreed().current(lost)
    one.silent = True
    mgr.ceph('nvmeof-ha', 'fence', 'rbd', GROUP, 'gw1', '--yes-i-really-mean-it')
    fenced = seats.wait_for(lambda m: m.ana_group(1).holder and m.ana_group(1).holder.gateway == 'gw2', 15,
                            'the failover')
    assert fenced.departure(lost).osd_epoch <= fenced.ana_group(1).osd_epoch
    assert address in mgr.ceph('osd', 'blocklist', 'ls')
    code, _, text = ask(mgr, 'fence', 'rbd', GROUP, id='gw1', yes_i_really_mean_it=True)
    assert code == 0 and text.startswith(f'{lost} is over already, and is fenced since OSD map ')
    assert f'an operator had {lost} fenced' in wait_until(
        lambda: [r['cause'] for r in recorded(mgr, 1) if r['from'] == str(lost)], 30, 'it to be recorded')[-1]
    one.begin_anew(mgr)
    seats.wait_for(lambda m: m.ana_group(1).holder and m.ana_group(1).holder.gateway == 'gw1', 30, 'the failback')


def test_a_lost_site_is_declared_frozen_and_recovers(pair):
    mgr, seats, one, two = pair

    def said(verb: str, **arguments: str) -> Tuple[int, str]:
        code, output, text = ask(mgr, verb, 'rbd', GROUP, **arguments)
        assert not output
        return -code, text
    assert said('set-location', id='gw1', location='west') == (0, '')
    code, text = said('set-location', id='gw1', location='west')
    assert code == errno.EEXIST and "'gw1' is at location 'west' already" in text
    code, text = said('set-location', id='gw9', location='west')
    assert code == errno.EINVAL and f"'gw9' is not in rbd/{GROUP}, where there are: gw1, gw2" in text
    code, text = said('disaster-set', location='west')
    assert code == errno.EINVAL and 'AVAILABLE there: gw1' in text
    assert said('disaster-set', location='east')[0] == errno.EINVAL == said('disaster-clear', location='west')[0]
    one.crash()
    seats.wait_for(lambda m: m.ana_group(1).holder and m.ana_group(1).holder.gateway == 'gw2', 15, 'the failover')
    assert said('disaster-set', location='west') == (0, '')
    assert said('disaster-set', location='west')[0] == errno.EEXIST
    one.begin_anew(mgr)
    seats.wait_for(lambda m: m.gateway('gw1').availability.value == 'AVAILABLE', 15, 'gw1 to be well')
    assert look(mgr, 'show', 'rbd', GROUP)['Created Gateways:'][0]['disaster state'] == 'Disaster'
    group, = look(mgr, 'status', 'rbd', GROUP)['groups']
    assert group['disasters'] == [{'location': 'west', 'recovering': False, 'away': [1]}]
    assert group['ana_groups'][0]['why'] == 'gw1 is at location west, which is in disaster'
    stored = mgr.ceph('config-key', 'get', f'mgr/nvmeof_ha/group/rbd/{GROUP}')
    assert json.loads(stored)['disasters'] == [{'location': 'west', 'clearing': False}]
    assert 'location west is in disaster' in mgr.ceph('nvmeof-ha', 'status', 'rbd', GROUP)
    assert said('disaster-clear', location='west') == (0, '')
    seats.wait_for(lambda m: not m.disasters and m.ana_group(1).holder and m.ana_group(1).holder.gateway == 'gw1', 30,
                   'the recovery')
    assert said('set-location', id='gw1', location='') == (0, '')


def test_a_crash_and_the_return_are_told_by_history_log_and_fences_and_the_next_mgr_knows_them(pair):
    mgr, seats, one, _ = pair
    lost, address = one.instance, one.address
    one.crash()
    seats.wait_for(lambda m: m.ana_group(1).holder and m.ana_group(1).holder.gateway == 'gw2', 15, 'the failover')
    one.begin_anew(mgr)
    seats.wait_for(lambda m: m.ana_group(1).holder and m.ana_group(1).holder.gateway == 'gw1', 30, 'the failback')
    failover, failback = wait_until(
        lambda: [r['kind'] for r in recorded(mgr, 1)][-2:] == ['failover', 'failback'] and recorded(mgr, 1)[-2:], 30,
        'both to be recorded')
    assert [phase['what'] for phase in failover['phases']] == ['noticed', 'departed', 'fenced', 'promoted', 'confirmed']
    assert (failover['kind'], failover['from'], failover['anagrp_id']) == ('failover', str(lost), 1)
    assert (failback['to'], failback['cause']) == (str(one.instance), 'gw1 is well again')
    fence, = [f for f in look(mgr, 'fences', 'rbd', GROUP)['groups'][0]['fences'] if f['instance'] == str(lost)]
    assert (fence['instance'], fence['cause'], fence['transitions']) == (
        str(lost), 'the target of gw1 ended, says its warden', [failover['number']])
    assert fence['addresses'][0]['address'] == address and fence['addresses'][0]['until']
    assert look(mgr, 'status', 'rbd', GROUP)['groups'][0]['last_failover'] == failover
    wait_until(lambda: f'nvmeof_ha rbd/{GROUP}: failover of ANA group 1 from {lost} to gw2#1:' in
               mgr.ceph('log', 'last', '100', 'info', 'cluster'), 10, 'the cluster log to tell')
    before, mgrs = recorded(mgr), mgr.active_mgr()
    wait_until(lambda: {record['number'] for record in before} <= stored_numbers(mgr), 20, 'the history to be stored')
    mgr.ceph('mgr', 'fail')
    wait_until(lambda: mgr.active_mgr() not in ('', mgrs) and recorded(mgr), 60, 'the next mgr to know the history')
    assert recorded(mgr)[:len(before)] == before
    table = mgr.ceph('nvmeof-ha', 'history', 'rbd', GROUP)
    assert f'rbd/{GROUP}\nBEGAN' in table and ' noticed, departed +' in table
    assert str(lost) in ask(mgr, 'fences')[1] and GROUP in ask(mgr, 'history')[1]


def stored_numbers(cluster: Cluster) -> Set[int]:
    """Of the records of the pair that the mons hold."""
    pages = cluster.ceph_json('config-key', 'dump', f'mgr/nvmeof_ha/history/rbd/{GROUP}/')
    return {record.number for record in decode_pages(pages.values())}


def recorded(cluster: Cluster, ana_group: int = 0) -> list:
    """Records of the pair, of one ANA group or of all; [] while no mgr answers."""
    code, output, _ = ask(cluster, 'history', 'rbd', GROUP, format='json')
    records = json.loads(output)['groups'][0]['records'] if code == 0 else []
    return [record for record in records if ana_group in (0, record['anagrp_id'])]


def scraped(cluster: Cluster) -> Dict[str, Dict[Tuple[str, ...], float]]:
    """What the active mgr tells Prometheus of the pair: series name -> values of the other labels -> value."""
    with urllib.request.urlopen(f'{status_page.url(cluster)}metrics', timeout=10) as answer:
        assert answer.headers['Content-Type'].startswith('text/plain; version=0.0.4')
        text = answer.read().decode()
    found: Dict[str, Dict[Tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get('group', GROUP) == GROUP:
                other = tuple(v for k, v in sorted(sample.labels.items()) if k not in ('pool', 'group'))
                found.setdefault(sample.name, {})[other] = sample.value
    return found


def test_prometheus_is_told_of_the_pair_by_the_active_mgr(pair):
    mgr = pair[0]
    status_page.enable(mgr)
    wait_until(lambda: status_page.url(mgr), 60, 'the page to be served')
    wait_until(lambda: 'nvmeof_ha_mgr_beacon_grace_seconds' in scraped(mgr), 60, 'the mons to tell the grace')
    told = scraped(mgr)
    assert told['nvmeof_ha_group_looked_after'] == {(): 1} and told['nvmeof_ha_mgr_standbys'][()] >= 0
    assert told['nvmeof_ha_mgr_beacon_grace_seconds'][()] > 0
    assert told['nvmeof_ha_ana_group_phase']['1', 'ACTIVE'] == told['nvmeof_ha_ana_group_phase']['2', 'ACTIVE'] == 1
    assert {('1', 'gw1', 'gw1'), ('2', 'gw2', 'gw2')} == set(told['nvmeof_ha_ana_group_holder_info'])
    assert set(told['nvmeof_ha_gateway_beacon_age_seconds']) == {('gw1',), ('gw2',)}
    assert told['nvmeof_ha_mgr_tick_lateness_seconds_count'][()] > 0
    assert set(told['nvmeof_ha_seat_probe_duration_seconds_count']) == {('0',), ('1',), ('2',)}


@pytest.mark.parametrize('verb, groups, more, code, said', [
    ('status', ('rbd', 'none'), {}, errno.ENOENT, 'there is no gateway group rbd/none; there are: '),
    ('status', ('nopool',), {}, errno.ENOENT, "pool 'nopool' has no gateway group; there are: "),
    ('status', ('rbd', GROUP), {'format': 'xml'}, errno.EINVAL, "there is no format 'xml' here: use one of plain, "),
    ('history', ('rbd', 'none'), {}, errno.ENOENT, 'there is no gateway group rbd/none; there are: '),
    ('fences', ('rbd', 'none'), {}, errno.ENOENT, 'there is no gateway group rbd/none; there are: '),
    ('drain', ('rbd', 'none'), {'ids': ['gw1']}, errno.EINVAL, 'there is no gateway group rbd/none; there are: '),
    ('drain', ('rbd', GROUP), {'ids': ['gw9']}, errno.EINVAL, f"gateway 'gw9' is not in rbd/{GROUP}, where there are: "),
    ('fence', ('rbd', GROUP), {'id': 'gw9', 'yes_i_really_mean_it': True}, errno.EINVAL,
     f"gateway 'gw9' is not in rbd/{GROUP}, where there are: "),
    ('ok-to-stop', ('rbd', 'none'), {'ids': ['gw1']}, errno.ENOENT, 'there is no gateway group rbd/none; there are: '),
    ('ok-to-stop', ('rbd', GROUP), {'ids': ['gw1', 'gw9']}, errno.ENOENT,
     f"gateway 'gw9' is not in rbd/{GROUP}, where there are: gw1, gw2"),
])
def test_what_is_not_there_is_said_with_what_there_is(pair, verb, groups, more, code, said):
    assert ask(pair[0], verb, *groups, **more)[:2] == (-code, '')
    assert said in ask(pair[0], verb, *groups, **more)[2]
