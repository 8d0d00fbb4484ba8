"""The output of `show` is byte for byte that of the command built into Ceph 20.2.4, as captured from it."""

from __future__ import annotations

from dataclasses import replace

from nvmeof_ha import show
from nvmeof_ha.core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Subsystem, Version
from nvmeof_ha.kv_records import GroupKey

KEY = GroupKey('rbd', 'grp1')
ONE, TWO = Instance('gw1', 1, 'a'), Instance('gw2', 4, 'b')
CREATED = Map('rbd', 'grp1', Version(9, 4), gateways=(Gateway('gw1', 1), Gateway('gw2', 2)),
              ana_groups=(AnaGroup(1, 'gw1'), AnaGroup(2, 'gw2')))

CAPTURED = (
    '{"epoch":4,"pool":"rbd","group":"grp1","beacon_diff_enabled":true,"features":"LB","rebalance_ana_group":2,'
    '"num gws":2,"GW-epoch":4,"Anagrp list":"[ 1 2 ]","num-namespaces":0,"Created Gateways:":[{"gw-id":"gw1",'
    '"anagrp-id":1,"location":"","admin state":"ENABLED","num-namespaces":0,"performed-full-startup":1,'
    '"Availability":"CREATED","num-listeners":0,"ana states":" 1: STANDBY ,  2: STANDBY "},{"gw-id":"gw2",'
    '"anagrp-id":2,"location":"","admin state":"ENABLED","num-namespaces":0,"performed-full-startup":1,'
    '"Availability":"CREATED","num-listeners":0,"ana states":" 1: STANDBY ,  2: STANDBY "}]}')


def running(instance: Instance, **more: object) -> Gateway:
    subsystem = Subsystem('nqn.a:b', ('127.0.0.2:4420', '127.0.0.2:4421'), ((1, 3), (2, 1)))
    number = {'gw1': 1, 'gw2': 2}[instance.gateway]
    return Gateway(instance.gateway, number, availability=Availability.AVAILABLE, instance=instance,
                   last_number=instance.number, addresses=frozenset({'127.0.0.1:0/1'}), subsystems=(subsystem,),
                   **more)


def states(gateway_map: Map) -> dict:
    shown = show.group(KEY, gateway_map, 0, 0)
    return {g['gw-id']: g['ana states'] for g in shown['Created Gateways:']}


def test_two_created_gateways_print_as_captured():
    assert show.formatted(show.group(KEY, CREATED, 0, 1), 'json') == CAPTURED


def test_an_unknown_group_prints_as_captured():
    printed = show.formatted(show.group(GroupKey('rbd', 'nogrp'), None, 4, 0), 'json')
    assert printed == ('{"epoch":4,"pool":"rbd","group":"nogrp","beacon_diff_enabled":true,"features":"LB",'
                       '"num gws":0}')


def test_a_group_whose_gateways_are_all_deleted_prints_like_an_unknown_one():
    emptied = Map('rbd', 'grp1', Version(9, 8))
    assert show.group(KEY, emptied, 8, 0) == show.group(KEY, None, 8, 0)


def test_a_deleting_gateway_is_shown_without_listeners_and_its_ana_group_is_left_out_of_the_list():
    deleting = CREATED.with_gateway(replace(CREATED.gateways[0], deleting=True))
    shown = show.group(KEY, deleting, 0, 0)
    assert shown['Anagrp list'] == '[ 2 ]' and shown['num gws'] == 2
    assert shown['Created Gateways:'][0]['Availability'] == 'DELETING'
    assert 'num-listeners' not in shown['Created Gateways:'][0]


def test_without_a_format_the_output_is_indented_by_four():
    printed = show.formatted(show.group(KEY, CREATED, 0, 0), '')
    assert printed.startswith('{\n    "epoch": 4,\n    "pool": "rbd",\n') and printed.endswith('}\n')


def test_every_phase_has_the_nearest_word_of_the_built_in_command():
    served = replace(CREATED, gateways=(running(ONE), running(TWO)), ana_groups=(
        AnaGroup(1, 'gw1', Phase.DRAINING, holder=TWO, writers=frozenset({TWO}), target='gw1'),
        AnaGroup(2, 'gw2', Phase.ACTIVE, holder=TWO, writers=frozenset({TWO})),
        AnaGroup(3, 'gw3', Phase.PROMOTING, incoming=ONE, writers=frozenset({ONE})),
        AnaGroup(4, 'gw4', Phase.FENCING, writers=frozenset({Instance('gw4', 1, 'x')}))))
    assert states(served) == {
        'gw1': ' 1: OWNER_WAIT_FAILBACK_PREPARED ,  2: STANDBY ,  3: WAIT_BLOCKLIST_CMPL ,  4: STANDBY ',
        'gw2': ' 1: WAIT_FAILBACK_PREPARED ,  2: ACTIVE ,  3: STANDBY ,  4: STANDBY '}


def test_counts_are_those_that_the_gateways_report():
    served = replace(CREATED, gateways=(running(ONE), running(TWO)))
    shown = show.group(KEY, served, 0, 0)
    assert shown['num-namespaces'] == 4
    assert [(g['num-namespaces'], g['num-listeners']) for g in shown['Created Gateways:']] == [(3, 2), (1, 2)]


def test_a_suspected_gateway_is_shown_unavailable_and_a_starting_one_has_not_started_up():
    suspect = running(ONE, suspected_at=Version(9, 3))
    suspect = replace(suspect, availability=Availability.SUSPECT)
    starting = replace(running(TWO), availability=Availability.CREATED)
    shown = show.group(KEY, replace(CREATED, gateways=(suspect, starting)), 0, 0)['Created Gateways:']
    assert [(g['Availability'], g['performed-full-startup']) for g in shown] == [('UNAVAILABLE', 1), ('CREATED', 0)]


def test_listeners_of_two_created_gateways_and_of_an_unknown_group_print_as_captured():
    printed = show.formatted(show.listeners(KEY, CREATED, 0), 'json')
    assert printed == '{"epoch":4,"pool":"rbd","group":"grp1","num gws":2,"GW-epoch":4,"Created listeners":{}}'
    assert show.formatted(show.listeners(KEY, None, 7), 'json') == '{"epoch":7,"pool":"rbd","group":"grp1","num gws":0}'


def test_listeners_are_those_of_available_gateways_by_subsystem():
    one = replace(running(ONE), subsystems=(Subsystem('nqn.z:z', ('[2001:db8::1]:4420',)), Subsystem('nqn.a:b', ())))
    gone = Gateway('gw3', 3, availability=Availability.UNAVAILABLE, subsystems=one.subsystems)
    leaving = replace(running(TWO), id='gw4', ana_group_id=4, instance=Instance('gw4', 4, 'd'), deleting=True)
    shown = show.listeners(KEY, replace(CREATED, gateways=(one, running(TWO), gone, leaving)), 0)
    assert list(shown['Created listeners']) == ['nqn.a:b', 'nqn.z:z']
    assert shown['Created listeners'] == {
        'nqn.a:b': [{'address_family': 'IPv4', 'address': '127.0.0.2', 'svcid': port, 'gw_id': 'gw2'}
                    for port in ('4420', '4421')],
        'nqn.z:z': [{'address_family': 'IPv6', 'address': '2001:db8::1', 'svcid': '4420', 'gw_id': 'gw1'}]}
