"""The demo's table says what was measured, and leaves out what was not."""

from __future__ import annotations

from testbed.play import Expectation, Measured, Outcome
from testbed.report import remark, table


def test_the_table_has_a_line_for_each_outcome_and_a_dash_for_what_does_not_apply() -> None:
    lines = table([Outcome('target-crash', True, True, 0.72, 0.7, 0.81, 0, 0, 0, 0, []),
                   Outcome('agent-crash', False, False, None, 0.0, 0.1, 3, 0, 0, 0, [])]).splitlines()
    assert lines[2].split() == ['target-crash', 'yes', 'yes', '0.72', '0.70', '0.81', '0', '0', '0', '0']
    assert lines[3].split() == ['agent-crash', 'no', 'no', '-', '0.00', '0.10', '3', '0', '0', '0']


def test_what_must_move_is_not_met_by_what_stayed_nor_the_other_way_round() -> None:
    assert Expectation().met(True, Measured()) and not Expectation().met(False, Measured())
    stays = Expectation(moves=False)
    assert stays.met(False, Measured()) and not stays.met(True, Measured())
    assert not stays.met(False, Measured(no_path_s=0.1))


def test_errors_and_overlaps_are_tolerated_only_where_the_scenario_says_so_and_lost_data_never() -> None:
    for bad in (Measured(io_errors=1), Measured(overlaps=1)):
        assert not Expectation().met(True, bad)
        assert Expectation(tolerant=True).met(True, bad)
    for bad in (Measured(lost=1), Measured(stale=1)):
        assert not Expectation(tolerant=True).met(True, bad)


def test_the_hosts_own_kernel_is_named_only_where_it_is_the_reason() -> None:
    stuck = [Outcome('frozen-target', True, True, 2.7, 2.7, 7.4, 0, 0, 0, 0, [])]
    assert '4.7 s after the failover' in remark(stuck, '6.1.0-56-cloud-amd64')
    assert remark(stuck, '6.12.117') == ''
    assert remark([Outcome('frozen-target', True, True, 2.7, 2.7, 2.9, 0, 0, 0, 0, [])], '6.1.0-56') == ''
