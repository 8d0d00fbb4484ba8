"""Claims about the lease: who extends it, and what the warden does when it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha.core.lease import KEEP, Order, Verdict, Ward, extend, permitting, valid
from nvmeof_ha.core.model import Availability, Map, Phase, Version
from nvmeof_ha.core.register import NOTHING_SEEN, View, judge
from nvmeof_ha.core.timing import FAST, Timing

from .driven import GW1, ana_group, serving, stored_map

T = Timing()


def shown(**gw1: object) -> Map:
    return stored_map((serving(GW1, **gw1),), (ana_group(1, Phase.ACTIVE, GW1),))


WELL = judge([shown()] * 3)
SUSPECTED = judge([shown(availability=Availability.SUSPECT)] * 2)
GONE = judge([stored_map((), ())] * 2)


def ward(lease_until_s: float = 12.5, **changes: object) -> Ward:
    """Started at 10 s; everybody was heard at 10 s."""
    return replace(Ward(GW1, 10.0, lease_until_s=lease_until_s), **changes)


@pytest.mark.parametrize("view, extends", [
    (WELL, True), (SUSPECTED, False), (GONE, False), (NOTHING_SEEN, False), (judge([shown(), None, None]), False),
    (judge([shown(), shown(), replace(shown(availability=Availability.SUSPECT), version=Version(1, 8))]), False),
    (judge([stored_map((replace(serving(GW1), instance=GW1._replace(token="b")),), ())] * 2), False),
], ids=["well", "suspected", "deleted", "nothing", "one answer", "one newer suspects", "another instance"])
def test_only_a_read_that_two_seats_answer_alike_and_nobody_restricts_extends_the_lease(view, extends):
    assert permitting(view, GW1) == extends
    assert extend(11.0, view, GW1, 20.0) == (22.5 if extends else 11.0)


def test_the_lease_counts_from_the_sending_of_the_read_and_is_never_shortened():
    assert extend(0.0, WELL, GW1, 20.0) == 20.0 + T.lease_s
    assert extend(30.0, WELL, GW1, 20.0) == 30.0


def test_a_ward_begins_without_a_lease_and_with_everybody_just_heard():
    begun = Ward(GW1, 10.0)
    assert (begun.contact_s, begun.target_heard_s, begun.looked_s) == (10.0, 10.0, 10.0)
    assert begun.verdict(10.0).order is Order.RESTRICT


def test_inside_the_lease_nothing_is_done():
    assert ward().verdict(11.9) == KEEP


def test_lease_end_restricts_and_what_is_not_confirmed_within_half_of_d_is_killed():
    ending = ward().target_answered(12.5)
    assert ending.verdict(12.5) == Verdict(Order.RESTRICT, "the lease is over")
    ending = ending.restrict_asked(12.5).restrict_asked(12.7)
    assert ending.verdict(12.74).order is Order.RESTRICT, "asking again gives no more time"
    verdict = ending.verdict(12.75)
    assert verdict.order is Order.KILL and "did not confirm being inaccessible within 0.25 s" in verdict.reason


def test_a_confirmed_restriction_lets_the_target_live():
    ended = ward().target_answered(13).restrict_asked(12.5).restrict_confirmed()
    assert ended.verdict(13.0) == KEEP


def test_a_confirmation_that_was_not_asked_for_counts_for_nothing():
    assert not ward().restrict_confirmed().restricted


def test_a_lease_that_begins_anew_forgets_the_restriction():
    again = ward().restrict_asked(12.5).restrict_confirmed().target_answered(13.0).seats_read(WELL, 13.0, 13.1)
    assert again.restrict_since_s is None and not again.restricted
    assert again.verdict(13.2) == KEEP and again.lease_until_s == 15.5


def test_a_read_that_does_not_permit_leaves_a_restriction_in_force():
    ended = ward().restrict_asked(12.5).restrict_confirmed()
    assert ended.seats_read(SUSPECTED, 13.0, 13.1).restricted


def test_an_unanswered_read_changes_nothing_at_all():
    assert ward().seats_read(NOTHING_SEEN, 12.0, 12.1) == ward()


def test_one_answer_is_contact_but_neither_lease_nor_timers():
    read = ward().seats_read(judge([replace(shown(), timing=FAST), None, None]), 12.0, 12.1)
    assert (read.contact_s, read.lease_until_s, read.timing) == (12.1, 12.5, T)


def test_the_timers_are_those_of_the_map_that_permits():
    assert ward().seats_read(judge([replace(shown(), timing=FAST)] * 2), 12.0, 12.1).timing == FAST


def test_a_lease_is_valid_until_its_end_and_not_at_it():
    assert [valid(12.5, now) for now in (12.4, 12.5, 12.6)] == [True, False, False]


def test_a_map_that_calls_the_instance_over_kills_it_at_once_inside_the_lease():
    verdict = ward().seats_read(GONE, 11.0, 11.1).verdict(11.1)
    assert verdict == Verdict(Order.KILL, "the map 1.7 says that gw1#1:aa is over")


def test_the_mons_copy_can_call_the_instance_over_but_their_answer_alone_is_only_contact():
    assert ward().mons_answered(11.5).contact_s == 11.5
    assert ward().mons_answered(11.5).verdict(11.5) == KEEP
    assert ward().mons_answered(11.5, out=True).verdict(11.5).order is Order.KILL
    assert ward().mons_answered(11.5, out=True).mons_answered(11.6).over, "over stays over"


def test_a_frozen_target_is_killed_inside_the_lease():
    assert ward(99.0).target_answered(20.0).verdict(21.9) == KEEP
    verdict = ward(99.0).target_answered(20.0).verdict(22.0)
    assert verdict == Verdict(Order.KILL, "the target left JSON-RPC unanswered for 2 s")


def test_isolation_after_lease_end_kills_so_that_stuck_io_is_released():
    cut_off = ward().restrict_asked(12.5).restrict_confirmed().target_answered(15.4)
    assert cut_off.verdict(15.4) == KEEP
    verdict = cut_off.verdict(15.5)
    assert verdict.order is Order.KILL and "neither seats nor mons were reachable for 3 s" in verdict.reason


def test_contact_with_the_mons_alone_keeps_a_restricted_target_alive():
    ended = ward().restrict_asked(12.5).restrict_confirmed().target_answered(20.0).mons_answered(20.0)
    assert ended.verdict(20.1) == KEEP


def test_a_warden_that_was_paused_doubts_its_clocks_but_not_its_lease():
    paused = ward().restrict_asked(12.5).restrict_confirmed()
    assert paused.verdict(30.0).order is Order.KILL
    woken = paused.look(30.0)
    assert woken.verdict(30.0) == KEEP, "neither frozen nor isolated: nobody looked"
    assert ward().look(30.0).verdict(30.0).order is Order.RESTRICT, "the lease is over nevertheless"


def test_looking_in_time_hides_no_silence():
    looked = ward(99.0)
    for tenths in range(101, 120):
        looked = looked.look(tenths / 10)
    assert looked.verdict(12.0).order is Order.KILL


VIEWS = st.sampled_from([WELL, SUSPECTED, judge([shown(), None, None]), NOTHING_SEEN])
PACES = st.lists(st.tuples(st.sampled_from([0.05, 0.1, 0.2, 0.6, 4.0]), VIEWS, st.booleans(), st.booleans()),
                 min_size=5, max_size=40)


@settings(max_examples=100, deadline=None)
@given(PACES)
def test_a_running_warden_has_the_target_restricted_or_killed_by_half_of_d_after_lease_end(paces):
    """While the warden is not paused itself: after a look, silence of at most one step passes unseen."""
    kept, now, ended_s = ward(), 10.0, None
    for step_s, view, target_answers, confirms in paces:
        now += step_s
        kept = kept.look(now)
        view_of: View = view
        kept = kept.seats_read(view_of, now - 0.01, now)
        kept = kept.target_answered(now) if target_answers else kept
        verdict = kept.verdict(now)
        if now < kept.lease_until_s:
            ended_s = None
        elif not kept.restricted:
            assert verdict.order is not Order.KEEP, "outside the lease an unrestricted target is never left alone"
            ended_s = now if ended_s is None else ended_s
            assert verdict.order is Order.KILL or now - ended_s < kept.timing.restrict_s / 2
        if verdict.order is Order.KILL:
            return
        if verdict.order is Order.RESTRICT:
            kept = kept.restrict_asked(now)
            kept = kept.restrict_confirmed() if confirms else kept
