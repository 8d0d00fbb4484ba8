"""`ceph nvme-gw create|delete|show` and the module's options, in a real ceph-mgr.

`nvme_gw` asks by the name that the commands have in the installed release.
"""

from __future__ import annotations

import json
import time

import pytest

from mgr_peer import SeatReader, connect, module_options, show, wait_for_health, wait_for_no_health
from testbed.cluster import Cluster, CommandFailed
from testbed.gateway import nvme_gw, nvme_gw_prefix
from testbed.waiting import wait_until

BAD_OPTION, STOPPED = 'NVMEOF_HA_BAD_OPTION', 'NVMEOF_HA_GROUP_STOPPED'


def refused(cluster: Cluster, *args: str) -> CommandFailed:
    with pytest.raises(CommandFailed) as error:
        nvme_gw(cluster, *args)
    return error.value


def test_created_gateways_are_shown_in_the_shape_of_the_built_in_command(mgr):
    for gateway in ('gw1', 'gw2'):
        assert nvme_gw(mgr, 'create', gateway, 'rbd', 'shape') == ''
    text = nvme_gw(mgr, 'show', 'rbd', 'shape', '--format', 'json').strip()
    shown = json.loads(text)
    rows = [{'gw-id': f'gw{n}', 'anagrp-id': n, 'location': '', 'admin state': 'ENABLED', 'num-namespaces': 0,
             'performed-full-startup': 1, 'Availability': 'CREATED', 'num-listeners': 0,
             'ana states': ' 1: STANDBY ,  2: STANDBY '} for n in (1, 2)]
    expected = {'epoch': shown['epoch'], 'pool': 'rbd', 'group': 'shape', 'beacon_diff_enabled': True,
                'features': 'LB', 'rebalance_ana_group': shown['rebalance_ana_group'], 'num gws': 2,
                'GW-epoch': shown['epoch'], 'Anagrp list': '[ 1 2 ]', 'num-namespaces': 0, 'Created Gateways:': rows}
    assert text == json.dumps(expected, separators=(',', ':'))
    pretty = nvme_gw(mgr, 'show', 'rbd', 'shape')
    assert '\n    "epoch": ' in pretty and list(json.loads(pretty)) == list(expected)


def test_what_is_not_there_is_neither_enabled_nor_moved(mgr):
    nvme_gw(mgr, 'create', 'gw1', 'rbd', 'nothing')
    for args, code, text in (
            (('enable', 'gw9', 'rbd', 'nothing'), 22, "gateway 'gw9' is not in rbd/nothing, where there are: gw1"),
            (('disable', 'gw1', 'rbd', 'none'), 22, 'there is no gateway group rbd/none; there are: '),
            (('failover', 'rbd', 'nothing', '2'), 2, 'ANA group 2 is not in rbd/nothing, where there are: 1'),
            (('failover', 'rbd', 'nothing', '1'), 11, 'ANA group 1 is UNSERVED: it can be moved once it is ACTIVE'),
            (('failover', 'rbd', 'nothing', 'x'), 22, 'x')):
        error = refused(mgr, *args)
        assert error.rc == code and text in error.stderr


def test_one_name_of_the_commands_works_on_every_release(mgr):
    mgr.ceph('nvmeof-ha', 'create', 'gw1', 'rbd', 'named')
    assert mgr.ceph_json('nvmeof-ha', 'show', 'rbd', 'named') == show(mgr, 'named')
    assert [row['gw-id'] for row in show(mgr, 'named')['Created Gateways:']] == ['gw1']
    mgr.ceph('nvmeof-ha', 'delete', 'gw1', 'rbd', 'named')
    wait_until(lambda: show(mgr, 'named')['num gws'] == 0, 10, 'gw1 to be gone')


def test_commands_that_the_mon_has_under_that_name_still_reach_the_mon(mgr):
    mgr.ceph('nvmeof-ha', 'create', 'of-the-module', 'rbd', 'same')
    if nvme_gw_prefix(mgr) == 'nvme-gw':   # up to Ceph 19 the mons have none, so both names are the module's
        assert mgr.ceph_json('nvme-gw', 'show', 'rbd', 'same') == mgr.ceph_json('nvmeof-ha', 'show', 'rbd', 'same')
        return
    mgr.ceph('nvme-gw', 'create', 'of-the-mon', 'rbd', 'same')
    of_the_mon = mgr.ceph_json('nvme-gw', 'show', 'rbd', 'same')
    for shown, name in ((of_the_mon, 'of-the-mon'), (show(mgr, 'same'), 'of-the-module')):
        assert [row['gw-id'] for row in shown['Created Gateways:']] == [name]
    mgr.ceph('nvme-gw', 'delete', 'of-the-mon', 'rbd', 'same')


def test_create_of_what_exists_and_delete_of_what_does_not_are_silent_and_change_nothing(mgr):
    nvme_gw(mgr, 'create', 'gw1', 'rbd', 'again')
    before = show(mgr, 'again')['GW-epoch']
    assert nvme_gw(mgr, 'create', 'gw1', 'rbd', 'again') == ''
    assert nvme_gw(mgr, 'delete', 'nobody', 'rbd', 'again') == ''
    assert nvme_gw(mgr, 'delete', 'gw1', 'rbd', 'no-such-group') == ''
    assert show(mgr, 'again')['GW-epoch'] == before


def test_a_deleted_gateway_that_serves_nothing_disappears_and_its_record_too(mgr):
    for gateway in ('gw1', 'gw2'):
        nvme_gw(mgr, 'create', gateway, 'rbd', 'gone')
    nvme_gw(mgr, 'delete', 'gw1', 'rbd', 'gone')
    nvme_gw(mgr, 'delete', 'gw2', 'rbd', 'gone')
    wait_until(lambda: show(mgr, 'gone')['num gws'] == 0, 10, 'an empty group')
    wait_until(lambda: 'mgr/nvmeof_ha/gw/rbd/gone/gw1' not in mgr.ceph_json('config-key', 'ls'), 10, 'no record')


def test_an_unknown_group_is_shown_empty(mgr):
    shown = show(mgr, 'nobody-made-this')
    assert shown['num gws'] == 0 and 'Created Gateways:' not in shown


@pytest.mark.parametrize('args, code, said', [
    (('create', 'gw1', 'nopool', 'g'), 2, "pool 'nopool' does not exist; create it with `ceph osd pool create nopool`"),
    (('create', 'gw/1', 'rbd', 'bad'), 22, "gateway id 'gw/1' cannot be stored: use 1 to 128 characters"),
    (('create', 'x' * 129, 'rbd', 'bad'), 22, 'cannot be stored'),
    (('create', 'gw1', 'rbd', 'a b'), 22, "group 'a b' cannot be stored"),
    (('create', 'gw1', 'rbd', ''), 22, "group '' cannot be stored"),
])
def test_what_cannot_be_created_is_refused_with_the_way_out_and_stores_nothing(mgr, args, code, said):
    keys = mgr.ceph_json('config-key', 'ls')
    error = refused(mgr, *args)
    assert error.rc == code and said in error.stderr
    assert mgr.ceph_json('config-key', 'ls') == keys


def test_a_group_takes_32_gateways_and_no_more(mgr):
    client = connect(mgr)

    def ask(verb: str, gateway: str) -> tuple:
        command = {'prefix': f'{nvme_gw_prefix(mgr)} {verb}', 'id': gateway, 'pool': 'rbd', 'group': 'full'}
        code, _, text = client.mgr_command(json.dumps(command), b'')
        return code, text
    try:
        assert [ask('create', f'gw{number}') for number in range(32)] == [(0, '')] * 32
        code, text = ask('create', 'one-more')
        assert code == -22 and 'rbd/full has 32 gateways' in text and 'delete one first' in text
        assert show(mgr, 'full')['num gws'] == 32
        assert [ask('delete', f'gw{number}') for number in range(32)] == [(0, '')] * 32
    finally:
        client.shutdown()


def test_the_control_objects_live_in_the_control_pool_of_the_time_of_creation(mgr):
    mgr.ceph('osd', 'pool', 'create', 'control')
    with module_options(mgr, control_pool='control') as set_option:
        def created() -> bool:
            nvme_gw(mgr, 'create', 'gw1', 'rbd', f'elsewhere{time.monotonic_ns()}')
            return bool(mgr.run('rados', '-p', 'control', '-N', 'nvmeof_ha', 'ls').strip())
        wait_until(created, 20, 'control objects in pool control')
        set_option('control_pool', 'missing')

        def refused_for_it() -> bool:
            try:
                nvme_gw(mgr, 'create', 'gw1', 'rbd', f'nowhere{time.monotonic_ns()}')
            except CommandFailed as error:
                return error.rc == 2 and 'mgr/nvmeof_ha/control_pool' in error.stderr
            return False
        wait_until(refused_for_it, 20, 'the missing control pool to be refused')


def test_timers_that_break_a_rule_are_not_taken_and_health_says_which_and_why(mgr):
    client = connect(mgr)
    try:
        nvme_gw(mgr, 'create', 'gw1', 'rbd', 'timed')
        seats = SeatReader(client, 'timed')
        with module_options(mgr, lease_s='1.0') as set_option:
            wait_for_health(mgr, BAD_OPTION, 'lease_s = 1.0 s: must be at least 4 * beacon_s', 'lease_s 2.5')
            assert seats.wait_for(lambda m: m, 5, 'a map').timing.lease_s == 2.5
            set_option('lease_s', '3.5')
            seats.wait_for(lambda m: m.timing.lease_s == 3.5, 20, 'the new lease in the map')
            wait_for_no_health(mgr, BAD_OPTION)
    finally:
        client.shutdown()


def test_a_group_whose_pool_was_deleted_is_reported_and_can_be_deleted(mgr):
    mgr.ceph('osd', 'pool', 'create', 'doomed')
    nvme_gw(mgr, 'create', 'gw1', 'doomed', 'g')
    mgr.ceph('osd', 'pool', 'delete', 'doomed', 'doomed', '--yes-i-really-really-mean-it')
    wait_for_health(mgr, STOPPED, 'doomed/g', 'the pool of its control objects does not exist')
    assert show(mgr, 'g', 'doomed')['num gws'] == 1
    nvme_gw(mgr, 'delete', 'gw1', 'doomed', 'g')
    wait_for_no_health(mgr, STOPPED)
    assert show(mgr, 'g', 'doomed')['num gws'] == 0
    assert not [key for key in mgr.ceph_json('config-key', 'ls') if '/doomed/' in key]
