"""A timeline counts from the event of its scenario, and prints what happens when it happens."""

from __future__ import annotations

from typing import List

from testbed.timeline import Timeline


def test_what_came_before_the_event_is_printed_with_it_in_order() -> None:
    lines: List[str] = []
    timeline = Timeline(lines.append)
    timeline.begin('a scenario')
    timeline.add('prepared', 99.5)
    assert lines == ['\na scenario']
    timeline.event('killed', 100.0)
    timeline.add('noticed', 100.12)
    assert lines[1:] == ['   -0.50  prepared', '    0.00  killed', '    0.12  noticed']
    assert timeline.entries() == [(-0.5, 'prepared'), (0.0, 'killed'), (0.12, 'noticed')]


def test_a_part_of_it_has_its_own_zero() -> None:
    timeline = Timeline(lambda _line: None)
    timeline.begin('a scenario')
    timeline.event('killed', 100.0)
    timeline.add('drains', 105.0)
    timeline.add('is back', 105.1)
    assert timeline.entries(from_s=102.0, zero_s=105.0) == [(0.0, 'drains'), (0.1, 'is back')]
    assert timeline.entries(to_s=102.0) == [(0.0, 'killed')]


def test_nothing_is_kept_between_two_scenarios() -> None:
    timeline = Timeline(lambda _line: None)
    timeline.begin('one')
    timeline.event('killed', 100.0)
    timeline.end()
    timeline.add('too late')
    timeline.begin('two')
    assert timeline.entries() == []
