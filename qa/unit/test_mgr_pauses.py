"""Pauses of threads that compute for long."""

from __future__ import annotations

from typing import List

import pytest

from nvmeof_ha.pauses import PAUSE_S, WORK_S, Pauses, paced


class Worker:
    """A clock, and work that takes time by it."""

    def __init__(self) -> None:
        self.now = 10.0
        self.slept: List[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """As a loaded machine sleeps: longer."""
        self.slept.append(seconds)
        self.now += 2 * seconds


@pytest.mark.parametrize('piece_s', [WORK_S / 20, WORK_S / 3, WORK_S * 1.5])
def test_nobody_works_for_longer_than_a_piece_beyond_what_is_allowed(piece_s):
    worker = Worker()
    pauses, begun, worked_s, longest_s = Pauses(worker.clock, worker.sleep), worker.now, 0.0, 0.0
    for _ in range(200):
        worker.now += piece_s
        worked_s += piece_s
        longest_s, before = max(longest_s, worked_s), len(worker.slept)
        pauses()
        if len(worker.slept) > before:
            worked_s = 0.0
    assert longest_s <= WORK_S + piece_s + 1e-9
    assert set(worker.slept) == {PAUSE_S} and len(worker.slept) <= 200 * piece_s / WORK_S + 1e-6
    assert pauses.paused_s == pytest.approx(2 * PAUSE_S * len(worker.slept))
    assert worker.now - begun == pytest.approx(200 * piece_s + pauses.paused_s)


def test_a_pause_may_come_after_the_work_on_each_item():
    told: List[str] = []
    for item in paced('ab', lambda: told.append('pause')):
        told.append(item)
    assert told == ['a', 'pause', 'b', 'pause']
