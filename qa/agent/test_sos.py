"""Claims about when an agent calls the standby mgrs, and what it says."""

from __future__ import annotations

from typing import List, Optional

from gw_agent.sos import Unanswered
from nvmeof_ha.core import standby
from nvmeof_ha.core.events import Beacon
from nvmeof_ha.core.model import NO_VERSION, Instance, Version
from nvmeof_ha.core.wire import Ack, Sos

BEACON_S = 0.5
RUNNING = Instance('gw1', 1, 'a')
BEACON = Beacon('gw1', RUNNING, 1)
ACK = Ack(Version(3, 7), gid=4100)


def calls(unanswered: Unanswered, times_s: List[float], beacon: Beacon = BEACON) -> List[Optional[Sos]]:
    """What is said along with beacons at these times."""
    return [unanswered.sent(beacon, at_s, BEACON_S) for at_s in times_s]


def heard(ack: Ack = ACK) -> Unanswered:
    unanswered = Unanswered()
    assert unanswered.sent(BEACON, 0.0, BEACON_S) is None
    unanswered.acked(ack)
    return unanswered


def test_the_fourth_beacon_after_three_that_nobody_answered_comes_with_a_call_and_so_does_each_that_follows():
    said = calls(heard(), [0.5, 1.0, 1.5, 2.0, 2.51, 3.0])
    assert [call is not None for call in said] == [False, False, False, True, True, True]
    assert said[3] == Sos('gw1', RUNNING, 4100, Version(3, 7))


def test_an_answer_now_and_then_keeps_it_silent():
    unanswered = heard()
    for turn in range(10):
        assert calls(unanswered, [turn * 1.5 + 0.5, turn * 1.5 + 1.0]) == [None, None]
        unanswered.acked(ACK)
        assert calls(unanswered, [turn * 1.5 + 1.5]) == [None]


def test_the_first_answer_ends_the_calls():
    unanswered = heard()
    assert calls(unanswered, [0.5, 1.0, 1.5, 2.0])[-1]
    unanswered.acked(ACK)
    assert calls(unanswered, [2.5, 3.0, 3.5]) == [None] * 3


def test_beacons_in_quick_succession_leave_the_mgr_time_to_answer():
    assert calls(heard(), [0.5, 0.51, 0.52, 0.53, 0.54, 1.04, 1.54]) == [None] * 7
    assert calls(heard(), [0.5, 0.51, 0.52, 0.53, 2.0])[-1]


def test_a_mgr_whose_driver_hangs_does_not_answer():
    unanswered = heard()
    for at_s in (0.5, 1.0, 1.5):
        assert calls(unanswered, [at_s]) == [None]
        unanswered.acked(ACK._replace(driver_age_s=standby.DRIVER_STUCK_S, gid=4200))
    assert calls(unanswered, [2.0]) == [Sos('gw1', RUNNING, 4100, Version(3, 7))]


def test_who_never_heard_a_mgr_says_so():
    assert calls(Unanswered(), [0.5, 1.0, 1.5, 2.0])[-1] == Sos('gw1', RUNNING, 0, NO_VERSION)


def test_a_dead_target_leaving_hung_io_and_a_mgr_that_was_stopped_on_purpose_are_told():
    beacon = Beacon('gw1', None, 1, leaving=True, stuck='no progress', reaped=(RUNNING,))
    said = calls(heard(ACK._replace(stopping=True)), [0.5, 1.0, 1.5, 2.0], beacon)[-1]
    assert said == Sos('gw1', None, 4100, Version(3, 7), target_dead=True, leaving=True, stuck=True, stopping=True)
