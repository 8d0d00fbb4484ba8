"""Calls that may hang, with a limit: one that hangs keeps others away, one that has ended does not."""

from __future__ import annotations

from typing import Any, Callable, List

import pytest

from nvmeof_ha.bounded import Bounded, TookTooLong, Turns
from nvmeof_ha.objects import NoSuchPool

LIMIT_S = 5.0


def pump(until: Callable[[], bool], timeout_s: float) -> Turns[bool]:
    """Waits once, as long as it may."""
    if not until():
        yield timeout_s
    return until()


def finish(turns: Turns[Any]) -> Any:
    """What the turns return when all their waiting is in vain."""
    while True:
        try:
            next(turns)
        except StopIteration as stop:
            return stop.value


class Calls:
    """Calls that end when the test says so."""

    def __init__(self) -> None:
        self.under_way: List[Callable[[Any], None]] = []

    def __call__(self, ended: Callable[[Any], None]) -> None:
        self.under_way.append(ended)


def test_the_result_of_a_call_is_waited_for_as_long_as_the_limit():
    calls = Calls()
    turns = Bounded(pump).call(calls, LIMIT_S, 'look')
    assert next(turns) == LIMIT_S
    calls.under_way[0](7)
    assert finish(turns) == 7


def test_nothing_is_tried_behind_a_call_that_hangs_until_it_has_ended():
    calls, bounded = Calls(), Bounded(pump)
    with pytest.raises(TookTooLong, match='did not answer within 5 s to: hang'):
        finish(bounded.call(calls, LIMIT_S, 'hang'))
    with pytest.raises(TookTooLong, match='earlier call to RADOS still hangs, so this is not tried: look'):
        finish(bounded.call(calls, LIMIT_S, 'look'))
    assert len(calls.under_way) == 1
    calls.under_way[0]('too late')
    assert [finish(bounded.call(lambda ended: ended(n), LIMIT_S, 'look')) for n in (1, 2)] == [1, 2]


def test_the_exception_that_a_call_ends_with_is_raised_to_its_caller_and_the_next_is_tried():
    bounded = Bounded(pump)
    with pytest.raises(NoSuchPool, match='no pool'):
        finish(bounded.call(lambda ended: ended(NoSuchPool('no pool')), LIMIT_S, 'open'))
    assert finish(bounded.call(lambda ended: ended(1), LIMIT_S, 'look')) == 1
