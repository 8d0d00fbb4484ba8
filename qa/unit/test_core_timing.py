"""Claims about the timers: unsafe ones are refused with a reason, never adjusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvmeof_ha.core.timing import CLOCK_RATE_ERROR, FAST, TICK_S, Timing, TimingError

REFUSED = [
    ({"suspect_s": 1.4}, "suspect_s = 1.4 s: must be at least 3 * beacon_s (here 1.5 s), because one lost beacon"),
    ({"lease_s": 1.9}, "lease_s = 1.9 s: must be at least 4 * beacon_s (here 2 s), because a lease must outlive"),
    ({"beacon_s": 0.1}, "beacon_s = 0.1 s: must be at least twice the mgr's tick of 0.1 s (here 0.2 s), because silence"),
    ({"restrict_s": 0.1}, "restrict_s = 0.1 s: must be at least 0.2 (here 0.2 s), because an RPC round trip"),
    ({"drain_s": 0}, "drain_s = 0: must be a number of seconds above 0 and below 86400"),
    ({"drain_s": -1}, "drain_s = -1: must be a number of seconds"),
    ({"promote_s": 86400}, "promote_s = 86400: must be a number of seconds"),
    ({"frozen_s": "2"}, "frozen_s = '2': must be a number of seconds"),
    ({"isolated_s": True}, "isolated_s = True: must be a number of seconds"),
    ({"failback_delay_s": float("nan")}, "failback_delay_s = nan: must be a number of seconds"),
]


@pytest.mark.parametrize("values, text", REFUSED, ids=lambda v: str(v)[:30])
def test_an_unsafe_timer_is_refused_with_its_name_value_rule_and_reason(values, text):
    with pytest.raises(TimingError) as caught:
        Timing(**values)
    assert str(caught.value).startswith(text)


def test_the_defaults_and_the_fast_profile_obey_the_rules():
    assert Timing().lease_wait_s == pytest.approx(3.16, abs=0.01)
    assert FAST.lease_wait_s == pytest.approx(1.43, abs=0.01)


def test_a_rule_does_not_refuse_what_is_equal_but_for_binary_rounding():
    assert Timing(beacon_s=0.2, suspect_s=0.6).suspect_s == 0.6


def test_numbers_become_floats_so_that_equal_timings_are_stored_alike():
    assert repr(Timing(drain_s=2).drain_s) == "2.0"


def test_a_mapping_round_trips():
    assert Timing(**FAST.to_dict()) == FAST


@given(st.floats(0.2, 20), st.floats(4, 50), st.floats(0.2, 20))
def test_w_outlasts_lease_and_restriction_on_the_slowest_clock_seen_from_the_fastest(beacon_s, factor, restrict_s):
    timing = Timing(beacon_s=beacon_s, suspect_s=3 * beacon_s, lease_s=factor * beacon_s, restrict_s=restrict_s)
    slow, fast = 1 - CLOCK_RATE_ERROR, 1 + CLOCK_RATE_ERROR
    assert timing.lease_wait_s / fast - TICK_S >= (timing.lease_s + timing.restrict_s) / slow - 1e-9
