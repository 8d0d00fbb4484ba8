"""The pure parts of the mgr module's shell: options, health checks, names of the seats."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from nvmeof_ha import options, seat_names
from nvmeof_ha.core.model import AnaGroup, Availability, Gateway, Instance, Map, Subsystem
from nvmeof_ha.core.timing import Timing
from nvmeof_ha.health import DELETING_S, NOT_RUNNING_S, STUCK_S, UNSERVED_S, Health
from nvmeof_ha.kv_records import GroupKey
from nvmeof_ha.seat_names import Placed
from nvmeof_ha.status import Status

KEY = GroupKey('rbd', 'g1')
ONE = Instance('gw1', 1, 'a')
PAIR = Map('rbd', 'g1', gateways=(Gateway('gw1', 1), Gateway('gw2', 2)),
           ana_groups=(AnaGroup(1, 'gw1'), AnaGroup(2, 'gw2')))


def defaults() -> dict:
    return {option['name']: option['default'] for option in options.declarations()}


def test_every_timer_is_an_option_and_the_defaults_are_those_of_the_core():
    found, problem = options.read(defaults().__getitem__, options.Options())
    assert found == options.Options(Timing()) and not problem
    assert {field.name for field in fields(Timing)} < set(defaults())


@pytest.mark.parametrize('changed, said', [
    ({'suspect_s': 1.0}, 'suspect_s = 1.0 s: must be at least 3 \\* beacon_s'),
    ({'lease_s': 1.0}, 'lease_s'),
    ({'beacon_s': -1}, 'beacon_s'),
    ({'beacon_s': None}, 'beacon_s'),
    ({'blocklist_expire_s': 60.0}, 'blocklist_expire_s = 60.0: must be at least'),
    ({'blocklist_expire_s': 'x'}, "blocklist_expire_s = 'x': must be at least"),
    ({'blocklist_expire_s': float('nan')}, 'blocklist_expire_s = nan: must be at least'),
])
def test_what_breaks_a_rule_is_not_taken_and_the_rule_is_named(changed, said):
    before = options.Options(Timing(promote_s=7.0, lease_s=9.0), True, 9000.0, 'p')
    good = {'promote_s': 8.0, 'blocklist_expire_s': 8000.0, 'failback_doubling': False, 'control_pool': 'q'}
    found, problem = options.read({**defaults(), **good, **changed}.__getitem__, before)
    assert re.search(said, problem) and 'until it is corrected' in problem
    assert (found.failback_doubling, found.control_pool) == (False, 'q'), 'the rest is taken'
    timing_is_bad = 'blocklist_expire_s' not in changed
    assert found.timing == (before.timing if timing_is_bad else Timing(promote_s=8.0))
    assert found.blocklist_expire_s == (8000.0 if timing_is_bad else 9000.0)


def test_without_any_usable_timers_since_the_mgr_began_every_group_keeps_those_of_its_map():
    found, problem = options.read({**defaults(), 'lease_s': 0.1}.__getitem__, options.Options())
    assert found.timing is None and 'every group keeps the timers of its map' in problem


def checks(status: Status, *at: float, option_problem: str = '') -> dict:
    """The checks after looking at the status at these times."""
    health = Health()
    found: dict = {}
    for now in at or (0.0,):
        found = health.checks({KEY: status}, option_problem, now)
    return found


def running(gateway_map: Map, **more: object) -> Status:
    return Status(committed=gateway_map, running=True, **{'published_at': 1000.0, **more})


def test_a_healthy_pair_raises_nothing():
    assert checks(running(PAIR), 0, 1000) == {}


def test_one_gateway_alone_is_a_warning_in_the_words_of_the_built_in_monitor():
    found = checks(running(PAIR.without_gateway('gw2')))
    assert found == {'NVMEOF_SINGLE_GATEWAY': {
        'severity': 'warning', 'count': 1,
        'summary': '1 group(s) have only 1 nvmeof gateway; HA is not possible with single gateway.',
        'detail': ["NVMeoF Gateway Group 'g1' has 1 gateway."]}}


def test_an_unavailable_gateway_is_named():
    down = PAIR.with_gateway(Gateway('gw1', 1, availability=Availability.UNAVAILABLE, last_number=1))
    assert checks(running(down))['NVMEOF_GATEWAY_DOWN']['detail'] == ["NVMeoF Gateway 'gw1' is unavailable."]


def test_a_deletion_that_takes_long_is_a_warning():
    deleting = running(PAIR.with_gateway(replace(PAIR.gateways[0], deleting=True)))
    assert checks(deleting, 0, DELETING_S - 1) == {}
    assert list(checks(deleting, 0, DELETING_S)) == ['NVMEOF_GATEWAY_DELETING']


def with_namespaces(**group: object) -> Map:
    gateway = Gateway('gw2', 2, subsystems=(Subsystem('nqn.a:b', (), ((1, 2),)),))
    return PAIR.with_gateway(gateway).with_ana_group(AnaGroup(1, 'gw1', **group))


def test_namespaces_that_are_optimized_nowhere_are_an_error_once_a_failover_should_be_over():
    unserved = running(with_namespaces())
    assert checks(unserved, 0, UNSERVED_S - 1) == {}
    found = checks(unserved, 0, UNSERVED_S)['NVMEOF_HA_UNSERVED']
    assert found['severity'] == 'error' and 'ANA group 1' in found['detail'][0]


def test_an_outage_that_ended_is_forgotten():
    health = Health()
    health.checks({KEY: running(with_namespaces())}, '', 0)
    health.checks({KEY: running(PAIR)}, '', 1)
    assert health.checks({KEY: running(with_namespaces())}, '', UNSERVED_S) == {}


def test_seats_that_only_a_repair_brings_back_are_an_error_and_one_that_mends_itself_is_not():
    one, two = (replace(running(PAIR), seats_lost=tuple(lost)) for lost in (['a is missing'], ['a is missing', 'b is']))
    assert checks(one, 0, UNSERVED_S) == {} == checks(two, 0, UNSERVED_S - 1)
    assert checks(two, 0, UNSERVED_S)['NVMEOF_HA_SEATS_LOST']['detail'] == [
        'group rbd/g1: a is missing; b is; its gateways go inaccessible. Restore them, or `ceph nvmeof-ha repair rbd g1`']


def test_a_driver_says_why_it_does_not_run():
    waiting = Status(waiting_for='pool gone')
    assert checks(waiting, 0, NOT_RUNNING_S - 1) == {}
    assert checks(waiting, 0, NOT_RUNNING_S)['NVMEOF_HA_GROUP_STOPPED']['detail'] == ['group rbd/g1: pool gone']
    assert list(checks(Status(stopped='deposed'))) == ['NVMEOF_HA_GROUP_STOPPED']
    broken = checks(Status(stopped='two holders', broken=True))['NVMEOF_HA_INVARIANT']
    assert broken['severity'] == 'error' and 'two holders' in broken['detail'][0]


def test_a_driver_that_runs_and_does_nothing_is_an_error():
    stuck = running(PAIR, published_at=100.0)
    assert checks(stuck, 99 + STUCK_S, 100 + STUCK_S) == {}, 'all of the mgr may have stood still until just now'
    found = checks(stuck, 100 + STUCK_S, 101 + STUCK_S)['NVMEOF_HA_GROUP_STOPPED']
    assert found['severity'] == 'error' and 'rbd/g1: its driver has done nothing' in found['detail'][0]
    assert not checks(Status(stopped='deposed', published_at=0.0), 1000.0)['NVMEOF_HA_GROUP_STOPPED']['detail'][1:]


def test_failed_fences_bad_beacons_bad_options_and_open_doors_are_shown_with_their_texts():
    found = checks(running(PAIR, fence_failures=('no mon',), bad_beacons=('client.7: not JSON',),
                           exposed=('subsystem n1 allows any host',)),
                   option_problem='lease_s')
    assert {code: check['detail'] for code, check in found.items()} == {
        'NVMEOF_HA_FENCE_FAILED': ['group rbd/g1: no mon'],
        'NVMEOF_HA_BAD_BEACON': ['group rbd/g1: client.7: not JSON'], 'NVMEOF_HA_BAD_OPTION': ['lease_s'],
        'NVMEOF_HA_EXPOSED': ['group rbd/g1: subsystem n1 allows any host']}


def test_a_mgr_that_doubts_the_silence_of_most_gateways_says_so():
    silent = PAIR.with_gateway(Gateway('gw1', 1, instance=ONE, last_number=1))
    found = checks(running(silent, mass_silence=True))['NVMEOF_HA_MASS_SILENCE']
    assert found['severity'] == 'warning' and 'most gateways fell silent together' in found['summary']
    assert 'group rbd/g1: the network or this mgr may be at fault' in found['detail'][0]
    assert checks(running(PAIR, mass_silence=True)) == {}, 'nobody is waited for any more'


def test_a_passing_problem_with_a_seat_is_not_worth_a_warning():
    stalled = running(PAIR, problems=('seat object x: stalled',))
    assert checks(stalled, 0, UNSERVED_S - 1) == {}
    assert list(checks(stalled, 0, UNSERVED_S)) == ['NVMEOF_HA_CONTROL_OBJECTS']


def test_seats_take_the_names_that_share_the_fewest_hosts():
    def placed(seat: int, *options_: tuple) -> list:
        return [Placed(f'{seat}.{n}', frozenset(hosts), primary) for n, (hosts, primary) in enumerate(options_)]
    chosen = seat_names.choose([placed(0, ('abc', 1)), placed(1, ('abd', 2), ('def', 4)),
                                placed(2, ('abc', 1), ('ghi', 7), ('aef', 4))])
    assert chosen == ('0.0', '1.1', '2.1')


def test_where_all_share_all_hosts_the_primaries_differ():
    options_ = [Placed(f'n{n}', frozenset('abc'), n % 3) for n in range(6)]
    chosen = seat_names.choose([options_[:2], options_[:2], options_])
    assert sorted(int(name[1:]) % 3 for name in chosen) == [0, 1, 2]


def test_osds_belong_to_the_host_above_them_and_lone_ones_to_themselves():
    tree = {'nodes': [{'id': -1, 'type': 'root', 'name': 'default', 'children': [-2]},
                      {'id': -2, 'type': 'host', 'name': 'a', 'children': [0, 1]},
                      {'id': 0, 'type': 'osd', 'name': 'osd.0'}, {'id': 1, 'type': 'osd', 'name': 'osd.1'},
                      {'id': 2, 'type': 'osd', 'name': 'osd.2'}]}
    assert seat_names.hosts_of_osds(tree) == {0: 'a', 1: 'a', 2: 'osd.2'}
