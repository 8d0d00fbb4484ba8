"""Whatever faults a group goes through: a driver that runs lets others see that it does."""

from __future__ import annotations

from typing import Any, Iterator, List

from nvmeof_ha.driver import PUBLISH_S, GroupDriver
from sim import mgr, runs

SEEDS = range(4)
LONGEST_WAIT_S = 0.5
"""Between two ticks of a group at rest, with what a slow clock adds."""


def test_a_driver_that_runs_publishes_each_second(monkeypatch):
    ages_s: List[float] = []

    class Watched(GroupDriver):
        def body(self) -> Iterator[float]:
            turns = super().body()
            item: Any = None
            while True:
                try:
                    wait_s = turns.send(item)
                except StopIteration:
                    return
                if self.status.running:
                    ages_s.append(self._clock() + wait_s - self.status.published_at)
                item = yield wait_s
    monkeypatch.setattr(mgr, 'GroupDriver', Watched)
    for seed in SEEDS:
        assert not runs.run(seed).problem
    assert len(ages_s) > 1000 and max(ages_s) < PUBLISH_S + LONGEST_WAIT_S
