"""The thrasher's parts without a cluster: what a seed draws, what is excused, what the table says."""

from __future__ import annotations

from itertools import islice

from thrash import results
from thrash.breaking import _ACTS
from thrash.log_watch import LogWatch
from thrash.round import Result
from thrash.schedule import BY_NAME, KINDS, Fault, hurt, may_move, rounds, unwatched

GATEWAYS = ['gw1', 'gw2', 'gw3']


def fault(name: str, gateway: str = '') -> Fault:
    return Fault(BY_NAME[name], gateway, 0.0, 1.0)


def test_a_seed_gives_the_same_rounds_again_and_another_seed_others():
    first, again, other = (list(islice(rounds(seed, GATEWAYS), 40)) for seed in (7, 7, 8))
    assert first == again != other


def test_every_kind_leads_a_round_before_any_does_so_again():
    leads = [faults[0].kind for faults in islice(rounds(3, GATEWAYS), len(KINDS))]
    assert sorted(leads, key=lambda kind: kind.name) == sorted(KINDS, key=lambda kind: kind.name)


def test_never_are_two_osds_killed_at_once():
    for faults in islice(rounds(1, GATEWAYS), 2000):
        assert [one.kind.name for one in faults].count('kill-osd') < 2


def test_every_kind_can_be_played():
    assert set(_ACTS) == set(BY_NAME)


def test_excused_is_only_the_gateway_whose_warden_was_stopped_with_another_of_its_processes():
    assert unwatched([fault('pause-host', 'gw1'), fault('pause-agent', 'gw2')]) == {'gw1'}
    assert unwatched([fault('pause-warden', 'gw1'), fault('kill-agent', 'gw1')]) == {'gw1'}
    assert unwatched([fault('pause-warden', 'gw1'), fault('kill-agent', 'gw2')]) == frozenset()
    assert unwatched([fault('kill-host', 'gw1'), fault('pause-osds')]) == frozenset()


def test_nothing_may_move_for_an_agent_a_mgr_or_one_osd():
    harmless = [fault('kill-agent', 'gw1'), fault('pause-mgr'), fault('kill-osd')]
    assert not may_move(harmless) and not hurt(harmless)
    assert may_move([*harmless, fault('kill-target', 'gw2')])
    assert hurt([*harmless, fault('kill-target', 'gw2')]) == {'gw2'}


def test_the_table_and_the_data_count_a_round_for_each_of_its_kinds():
    played = [Result(1, [], 2.0, 5.0, True, kinds=('kill-host',)),
              Result(2, [], 7.0, None, kinds=('kill-host', 'pause-mgr'), findings=['not settled'])]
    row = next(line.split() for line in results.table(played).splitlines() if line.startswith('kill-host'))
    assert row == ['kill-host', '2', '1', '7.0', '2.0', '5.0', '0', '0', '0', '1']
    data = results.to_json(1.0, 5, played)
    assert data['not_settled'] == 1
    assert data['faults']['kill-host'] == {'count': 2, 'longest_stall_s': 7.0, 'longest_stall_alone_s': 2.0, 'moved': 1}
    assert data['faults']['pause-mgr']['longest_stall_alone_s'] is None


def test_an_alarm_in_a_log_is_told_once(tmp_path):
    log = tmp_path / 'gateway.log'
    log.write_text('all is well\n')
    logs = LogWatch([log, tmp_path / 'absent.log'])
    assert logs.news() == []
    with open(log, 'a') as more:
        more.write('ERROR the agent ends on an error of its own\n')
    assert len(logs.news()) == 1
    assert logs.news() == []
