"""The demo's figures follow from the samples as `ana_history.py` promises."""

from __future__ import annotations

from typing import Dict, Optional

import pytest

from testbed.ana_history import AnaHistory, Reading, Sample, doubly_optimized

PERIOD_S = 0.05


def sample(at_s: float, **states: Optional[str]) -> Sample:
    """Of ANA group 1: o(ptimized), i(naccessible), or None for no answer."""
    names = {'o': 'optimized', 'i': 'inaccessible'}
    readings: Dict[str, Reading] = {gateway: Reading(at_s, {1: names[state]})
                                    for gateway, state in states.items() if state}
    return Sample(at_s, readings)


def history(text_1: str, text_2: str) -> AnaHistory:
    """One letter a sample, 0.05 s apart from 0 on; '-' for no answer."""
    made = AnaHistory()
    for number, (first, second) in enumerate(zip(text_1, text_2)):
        made.append(sample(number * PERIOD_S, gw1=first.strip('-') or None, gw2=second.strip('-') or None))
    return made


def test_a_switch_is_seen_at_the_first_sample_that_shows_it() -> None:
    seen = history('oo------', 'iiiiioo')
    assert seen.first_optimized(1, 'gw2', 0.0) == pytest.approx(0.25)
    assert seen.first_optimized(1, 'gw1', 0.09) is None
    assert seen.last_optimized(1, 'gw1', 1.0) == pytest.approx(0.05)
    assert seen.holder(1) == 'gw2'


def test_a_gateway_that_wakes_with_an_old_state_has_not_taken_over() -> None:
    assert history('ooii', 'iooo').first_optimized(1, 'gw2', 0.0) == pytest.approx(0.10)
    assert history('--oo--ii', 'oooooooo').first_optimized(1, 'gw1', 0.0) is None


def test_no_path_lasts_from_the_last_optimized_sample_to_the_next_one() -> None:
    assert history('oo-----', 'iiiiioo').no_path_s(1, 0.0, 0.3) == pytest.approx(0.20)


def test_no_path_begins_with_the_event_when_that_is_later_than_the_last_sample() -> None:
    assert history('oo-----', 'iiiiioo').no_path_s(1, 0.07, 0.3) == pytest.approx(0.18)


def test_a_handover_between_two_samples_counts_as_their_distance() -> None:
    assert history('iiioo', 'ooiii').no_path_s(1, 0.0, 0.2) == pytest.approx(0.10)
    assert history('iioo', 'ooii').no_path_s(1, 0.0, 0.15) == pytest.approx(0.05)


def test_a_holder_that_misses_questions_and_is_optimized_still_was_so_all_the_time() -> None:
    assert history('oo--oo', 'iiiiii').no_path_s(1, 0.0, 0.25) == 0


def test_a_holder_that_said_otherwise_meanwhile_was_not() -> None:
    assert history('ooiioo', 'iiiiii').no_path_s(1, 0.0, 0.25) == pytest.approx(0.15)


def test_a_time_without_a_path_that_has_not_ended_counts_to_the_end() -> None:
    assert history('oo----', 'iiiiii').no_path_s(1, 0.0, 0.25) == pytest.approx(0.20)
    assert history('ooiiii', 'iiiiii').no_path_s(1, 0.0, 0.25) == pytest.approx(0.20)


def test_two_optimized_gateways_in_both_of_two_samples_overlap() -> None:
    both = sample(0.0, gw1='o', gw2='o')
    assert doubly_optimized(both, sample(0.01, gw1='o', gw2='o'), [1]) == {1}


@pytest.mark.parametrize('second', [{'gw1': 'i', 'gw2': 'o'}, {'gw1': None, 'gw2': 'o'}])
def test_two_optimized_gateways_in_one_sample_only_may_be_a_handover(second: Dict[str, Optional[str]]) -> None:
    assert doubly_optimized(sample(0.0, gw1='o', gw2='o'), sample(0.01, **second), [1]) == frozenset()
