"""Claims about when a standby mgr has the active one failed, and when it must not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core import standby
from nvmeof_ha.core.model import AnaGroup, Availability, Gateway, Phase, Version
from nvmeof_ha.core.standby import (Answered, Ask, Called, Fail, IntervalSet, MonsSaid, MonsSilent, ReadSeats, Tick,
                                    Watched)
from nvmeof_ha.core.wire import Ack

from .driven_standby import ACTIVE, GROUP, MAP, NEXT, ONE, TWO, World, gateway, sos, well


@pytest.mark.parametrize('said, why', [({'target_dead': True}, 'the target of gateway gw1 is dead'),
                                       ({'leaving': True}, 'gateway gw1 is leaving'),
                                       ({'stuck': True}, 'the I/O of gateway gw1 is stuck')])
def test_a_gateway_that_needs_a_decision_has_a_silent_mgr_failed_by_its_gid_within_a_second(said, why):
    world = well()
    world.dies(sos(ONE, **said), sos(TWO))
    world.run(1.0)
    assert world.failed == [Fail(ACTIVE, f'in group {GROUP} {why}')]
    assert world.said == [f'has mgr {ACTIVE} failed: in group {GROUP} {why}, and it does not answer']


def test_a_gateway_that_is_missing_among_the_calls_has_a_silent_mgr_failed_after_suspect_s():
    world = well()
    world.dies(sos(TWO))
    world.run(1.9)
    assert not world.failed
    world.run(0.4)
    assert [fail.why for fail in world.failed] == [f'in group {GROUP} gateway gw1 is silent']


def test_a_gateway_that_stops_calling_counts_as_silent():
    world = well()
    world.dies(sos(ONE), sos(TWO))
    world.run(4)
    assert not world.failed, 'nothing is overdue'
    del world.calling['gw2']
    world.run(1.8)
    assert [fail.why for fail in world.failed] == [f'in group {GROUP} gateway gw2 is silent']


def test_a_suspicion_in_the_map_is_a_decision_that_waits():
    world = well()
    world.found = MAP.with_gateway(gateway(TWO, 2, Availability.SUSPECT))
    world.dies(sos(ONE), sos(TWO))
    world.run(1.0)
    assert [fail.why for fail in world.failed] == [f'in group {GROUP} gateway gw2 is suspected']


@pytest.mark.parametrize('phase, server', [(Phase.FENCING, {}), (Phase.PROMOTING, {'incoming': TWO}),
                                           (Phase.DRAINING, {'holder': ONE})])
def test_a_phase_that_a_mgr_has_to_end_is_a_decision_that_waits(phase, server):
    world = well()
    writers = frozenset(server.values())
    world.found = MAP.with_ana_group(AnaGroup(1, 'gw1', phase, writers=writers, **server))
    world.dies(sos(ONE), sos(TWO))
    world.run(1.0)
    assert [fail.why for fail in world.failed] == [f'in group {GROUP} ANA group 1 is {phase.value}']


def test_gateways_that_serve_nothing_are_not_missed():
    world = well()
    created = Gateway('gw3', 3)
    world.found = replace(MAP, gateways=(*MAP.gateways, created))
    world.dies(sos(ONE), sos(TWO))
    world.run(5)
    assert not world.failed and not world.said


def test_without_anything_overdue_a_mgr_is_failed_once_it_was_silent_for_15_seconds():
    world = well()
    world.dies(sos(ONE), sos(TWO))
    world.run(14.5)
    assert not world.failed
    world.run(1.5)
    assert world.failed == [Fail(ACTIVE, 'it has answered nothing for 15 s')]


def test_a_group_without_any_gateway_that_calls_is_no_reason_to_wait_longer():
    world = well()
    world.dies()
    world.run(17)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


def test_a_mgr_that_answers_this_standby_is_not_failed_whatever_agents_say():
    world = well()
    world.calling = {'gw1': sos(ONE, target_dead=True)}
    world.run(60)
    assert not world.failed and not world.asked_mons


def test_a_mgr_whose_callback_answers_while_its_driver_hangs_does_not_answer():
    world = well()
    world.calling = {'gw1': sos(ONE, target_dead=True), 'gw2': sos(TWO)}
    world.ack = world.ack._replace(driver_age_s=standby.DRIVER_STUCK_S)
    world.run(1.0)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


def test_a_mgr_that_the_mons_have_replaced_already_is_not_failed_and_its_successor_is_known():
    world = well()
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.named = NEXT
    world.run(1.0)
    assert not world.failed and world.said[-1].endswith(f'the mons name mgr {NEXT} as the active one')
    world.answering, world.calling = NEXT, {}
    world.run(2.0)
    assert world.state.active.gid == NEXT and not world.failed


def test_agents_that_have_not_heard_the_new_mgr_yet_do_not_have_it_failed():
    world = well()
    world.answering = NEXT
    world.run(15)
    world.dies(sos(ONE, target_dead=True), sos(TWO))   # of ACTIVE, which is long gone
    world.run(10)
    assert not world.failed and not world.asked_mons


def test_an_agent_that_never_heard_a_mgr_proves_nothing():
    world = well()
    world.dies(sos(ONE, gid=0, target_dead=True))
    world.run(10)
    assert not world.failed and not world.asked_mons


def test_a_new_mgr_gets_time_to_start():
    world = well(5.0)
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(2)
    assert not world.failed and world.said == [
        f'does not have mgr {ACTIVE} failed although in group {GROUP} the target of gateway gw1 is dead: it was first '
        'heard of less than 10 s ago']
    world.run(5)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


def test_a_standby_that_never_heard_the_active_mgr_itself_learns_of_it_from_agents():
    world = World()
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(9)
    assert not world.failed
    world.run(3)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


def test_silence_of_a_mgr_that_nobody_ever_heard_proves_nothing():
    world = World()
    world.dies()
    world.run(60)
    assert not world.failed and not world.said


@pytest.mark.parametrize('to', ['agents', 'standby'])
def test_a_mgr_that_was_stopped_on_purpose_is_not_failed(to):
    world = well()
    if to == 'standby':
        world.ack = world.ack._replace(stopping=True)
        world.run(2)
    world.dies(sos(ONE, target_dead=True, stopping=to == 'agents'), sos(TWO))
    world.run(10)
    assert not world.failed and world.said[0].endswith('it was stopped on purpose')


@pytest.mark.parametrize('broken, text', [('seats', 'two seats could not be read'),
                                          ('echoes', "RADOS does not bring this mgr's own notifications back")])
def test_while_rados_does_not_answer_this_standby_nobody_is_failed(broken, text):
    world = well()
    world.dies(sos(ONE), sos(TWO))
    world.run(1)                      # the map is known
    world.answering = ACTIVE
    world.run(2)
    setattr(world, broken, False)
    if broken == 'echoes':
        world.run(3)
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(10)
    assert not world.failed and text in world.said[0]
    setattr(world, broken, True)
    world.run(2)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


def test_silence_counts_only_while_rados_delivers_the_questions():
    world = well()
    world.dies()
    world.run(10)
    world.delivers = world.echoes = False
    world.run(10)
    assert not world.failed
    world.delivers = world.echoes = True
    world.run(14)
    assert not world.failed, 'the count began anew'
    world.run(3)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


@pytest.mark.parametrize('broken', ['delivers', 'echoes'])
def test_a_long_silence_that_rados_may_be_the_cause_of_has_nobody_failed(broken):
    world = well()
    world.dies()
    world.run(13)
    setattr(world, broken, False)
    world.run(10)
    assert not world.failed
    assert world.said[0].endswith("RADOS does not bring this mgr's own notifications back")


def test_while_the_mons_do_not_answer_they_are_asked_again_in_vain_and_seldom():
    world = well()
    world.mons = False
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(12)
    assert not world.failed and world.asked_mons == 2
    world.step(MonsSilent('no quorum'))
    world.step(MonsSilent('no quorum'))
    assert world.said == ['the mons are no help: no quorum']
    world.mons = True
    world.run(3)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


def test_an_order_that_failed_is_given_again():
    world = well()
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(1)
    world.step(MonsSilent('mgr fail: EPERM'))
    world.run(3)
    assert [fail.gid for fail in world.failed] == [ACTIVE, ACTIVE]


def test_a_mgr_that_was_failed_is_not_failed_again_while_its_successor_starts():
    world = well(interval_s=0.0)
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(60)
    assert len(world.failed) == 1 and len(world.said) == 1


def test_another_one_is_failed_only_when_the_interval_is_over():
    world = well()
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(1)
    world.answering, world.named, world.calling = NEXT, NEXT, {}
    world.run(30)
    world.dies(sos(ONE, target_dead=True, gid=NEXT), sos(TWO, gid=NEXT))
    world.run(30)
    assert len(world.failed) == 1 and 'a mgr was failed less than 600 s ago' in world.said[-1]
    world.step(IntervalSet(60.0))
    world.run(1)
    assert [fail.gid for fail in world.failed] == [ACTIVE, NEXT]


@pytest.mark.parametrize('ago_s', [30.0, -30.0], ids=['ago', 'by a clock that is ahead'])
def test_a_failure_that_another_standby_ordered_counts(ago_s):
    world = well()
    world.failed_ago_s = ago_s
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(10)
    assert not world.failed and world.asked_mons == 1
    assert 'a mgr was failed less than 600 s ago (standby_fail_interval_s)' in world.said[0]


def test_one_of_long_ago_does_not():
    world = well()
    world.failed_ago_s = 601.0
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(1)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


@pytest.mark.parametrize('gap_s', [1.2, 20.0])
def test_what_came_before_this_standby_did_not_run_for_a_while_proves_nothing(gap_s):
    world = well()
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(0.5)
    assert world.state.groups[GROUP].calls
    world.calling = {}
    world.at_s += gap_s
    world.step(Tick())
    assert not world.state.groups[GROUP].calls and world.state.silent_since == world.at_s
    world.run(10)
    assert not world.failed


def test_calls_that_cease_end_the_matter():
    world = well()
    world.dies(sos(ONE), sos(TWO))
    world.run(2)
    world.calling = {}
    world.run(2)
    assert world.state.groups[GROUP].since is None and not world.failed


def test_seats_that_do_not_agree_leave_the_map_that_was_known():
    world = well()
    world.dies(sos(ONE), sos(TWO))
    world.run(1)
    world.found = None
    world.run(2)
    assert world.state.groups[GROUP].found == MAP
    del world.calling['gw1']
    world.run(2)
    assert [fail.gid for fail in world.failed] == [ACTIVE]


def test_without_a_map_nothing_is_known_to_be_overdue():
    world = well()
    world.found = None
    world.dies(sos(ONE, target_dead=True))
    world.run(5)
    assert not world.failed


def test_an_answer_of_an_earlier_mgr_that_comes_late_does_not_bring_it_back():
    world = well()
    world.answering = NEXT
    world.run(2)
    world.step(Answered(GROUP, Ack(Version(7, 30), gid=ACTIVE)))
    assert world.state.active.gid == NEXT


def test_what_was_decided_is_judged_again_when_the_mons_have_answered():
    world = well()
    world.mons = False
    world.dies(sos(ONE, target_dead=True), sos(TWO))
    world.run(1)
    assert world.asked_mons == 1
    world.step(Answered(GROUP, Ack(Version(7, 30), gid=ACTIVE)))
    world.step(MonsSaid(ACTIVE, 12, None))
    assert not world.failed


def test_questions_are_asked_each_second_and_each_beacon_while_agents_call():
    world = well()
    asked = []
    act = world._act
    world._act = lambda action: (asked.append(action), act(action))
    world.run(10)
    assert asked == [Ask(GROUP, False)] * 10
    asked.clear()
    world.dies(sos(ONE), sos(TWO))
    world.run(10)
    assert 17 <= asked.count(Ask(GROUP, True)) <= 21 and 9 <= asked.count(ReadSeats(GROUP)) <= 11


def test_what_comes_of_a_group_that_is_not_looked_after_any_more_is_overlooked():
    world = well()
    world.step(Watched(()))
    assert world.step(Called(GROUP, sos(ONE, target_dead=True))) == ()
    world.dies(sos(ONE, target_dead=True))
    world.run(30)
    assert not world.failed


def test_two_standbys_do_not_fail_two_mgrs():
    """Both decide at the same moment, and the order of one makes the other the active mgr."""
    first, second = well(), well()
    for world in (first, second):
        world.dies(sos(ONE, target_dead=True), sos(TWO))
        world.run(1)
    assert [fail.gid for world in (first, second) for fail in world.failed] == [ACTIVE] * 2, 'harmless twice'
    first.named = second.named = NEXT
    first.run(8)      # its successor is still starting
    second.step(Called(GROUP, sos(ONE, target_dead=True)))
    second.run(8)
    assert len(first.failed) == len(second.failed) == 1
