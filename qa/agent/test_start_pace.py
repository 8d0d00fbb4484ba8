"""Claims about when a target is started again."""
from __future__ import annotations

from gw_agent.start_pace import EARLY_S, MOST_DELAY_S, StartPace


def live(pace: StartPace, now_s: float, life_s: float) -> float:
    pace.started(now_s)
    return pace.ended(now_s + life_s)


def test_the_first_end_of_a_target_delays_nothing_however_soon_it_comes():
    pace = StartPace()
    assert live(pace, 100.0, 0.01) == 0.0
    assert pace.due(100.01)


def test_a_target_that_keeps_ending_early_is_started_ever_more_seldom():
    pace, delays = StartPace(), []
    for _ in range(10):
        delays.append(live(pace, 100.0, 0.0))
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, MOST_DELAY_S, MOST_DELAY_S, MOST_DELAY_S]
    assert not pace.due(100.0 + MOST_DELAY_S - 0.1) and pace.due(100.0 + MOST_DELAY_S)


def test_a_target_that_lived_long_wipes_the_slate_clean():
    pace = StartPace()
    for _ in range(5):
        live(pace, 100.0, 0.0)
    assert live(pace, 200.0, EARLY_S) == 0.0
    assert live(pace, 300.0, 0.0) == 0.0


def test_a_start_that_failed_is_tried_again_after_the_given_time():
    pace = StartPace()
    pace.not_started(100.0, 2.0)
    assert not pace.due(101.9) and pace.due(102.0)
