"""Blocking calls with a limit: one that hangs keeps others away, one that is done does not."""

from __future__ import annotations

import threading
import time
from typing import Callable

import pytest

from nvmeof_ha.bounded import Bounded, TookTooLong

LIMIT_S = 30.0


def pump(until: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if until():
            return True
        time.sleep(0.001)
    return False


def test_the_next_call_is_tried_while_the_thread_of_the_last_one_is_still_ending():
    ending = threading.Event()
    bounded = Bounded("test", lambda: ending.wait(LIMIT_S))
    try:
        assert [bounded.call(lambda: n, LIMIT_S, "answer", pump) for n in (1, 2, 3)] == [1, 2, 3]
    finally:
        ending.set()


def test_nothing_is_tried_behind_a_call_that_hangs_until_it_has_ended():
    hanging = threading.Event()
    bounded = Bounded("test", lambda: None)
    with pytest.raises(TookTooLong, match="did not answer within 0.01 s to: hang"):
        bounded.call(lambda: hanging.wait(LIMIT_S), 0.01, "hang", pump)
    tried = []
    with pytest.raises(TookTooLong, match="earlier call to RADOS still hangs"):
        bounded.call(lambda: tried.append(1), LIMIT_S, "look", pump)
    assert not tried
    hanging.set()

    def tried_again() -> bool:
        try:
            bounded.call(lambda: tried.append(1), LIMIT_S, "look", pump)
        except TookTooLong:
            return False
        return True
    assert pump(tried_again, LIMIT_S) and tried == [1]


def test_what_the_call_raises_is_raised_to_its_caller():
    def fail() -> None:
        raise OSError(5, "broken")
    with pytest.raises(OSError, match="broken"):
        Bounded("test", lambda: None).call(fail, LIMIT_S, "fail", pump)
