"""Claims about sampling how many requests devices have in flight: never more than a target can do, and never for longer."""
from __future__ import annotations

import asyncio
from typing import Any, Dict, List, Sequence, Tuple

import pytest

from gw_agent import queue_depths
from gw_agent.io_counters import Counted
from gw_agent.queue_depths import EACH_US, METHOD, QueueDepths, period_us
from gw_agent.spdk_rpc import Request


class Target:
    """Samples at once. ``turns``: the devices of each, and the period in microseconds."""

    def __init__(self, **depths: int) -> None:
        self.depths = depths
        self.sampled: Dict[str, int] = {}
        self.turns: List[Tuple[List[str], int]] = []
        self.reading = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def pipeline(self, requests: Sequence[Request]) -> List[bool]:
        for method, params in requests:
            assert method == METHOD and params is not None
            self.sampled[params["name"]] = params["period"]
        self.sampled = {name: period for name, period in self.sampled.items() if period}
        assert round(sum(1e6 / period for period in self.sampled.values())) <= 1e6 / EACH_US
        if self.sampled:
            self.turns.append((sorted(self.sampled), max(self.sampled.values())))
        return [True] * len(requests)

    async def counted(self, names: Sequence[str], _at_once: int) -> Dict[str, Counted]:
        self.reading.set()
        await self.goes_on.wait()
        assert set(self.sampled) == set(names)
        return {name: Counted(7, self.depths[name]) for name in names if name in self.depths}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_depths, "SAMPLED_S", 0.0)


def test_however_many_devices_a_target_takes_so_many_samples_a_second_at_most():
    assert [period_us(devices) for devices in (1, 100, 101, 1000)] == [5000, 5000, 5050, 50_000]


def test_who_asks_together_is_answered_by_one_turn_and_who_asks_later_by_the_next():
    async def use() -> None:
        target = Target(a=0, b=3, c=1)
        depths = QueueDepths(target, target)  # type: ignore[arg-type]
        assert await depths.of([]) == {} and not target.turns
        target.goes_on.clear()
        first = asyncio.ensure_future(depths.of(["a", "gone"]))
        await target.reading.wait()
        later = [asyncio.ensure_future(depths.of(names)) for names in (["a", "b"], ["c"], ["b"])]
        await asyncio.sleep(0)
        target.goes_on.set()
        assert await first == {"a": 0}
        assert await asyncio.gather(*later) == [{"a": 0, "b": 3}, {"c": 1}, {"b": 3}]
        assert [names for names, _ in target.turns] == [["a", "gone"], ["a", "b", "c"]]
        assert not target.sampled
    asyncio.run(use())


def test_many_drains_at_once_never_ask_for_more_than_a_target_can_do():
    async def use() -> None:
        names = [f"d{number}" for number in range(992)]
        target = Target(**dict.fromkeys(names, 0))
        depths = QueueDepths(target, target)  # type: ignore[arg-type]
        await asyncio.gather(*(depths.of(names[number::32]) for number in range(32)))
        assert len(target.turns) <= 2 and not target.sampled
    asyncio.run(use())


def test_nothing_stays_sampled_when_the_wait_is_given_up_or_an_agent_was_killed():
    async def use() -> None:
        target = Target(a=0, b=0)
        depths = QueueDepths(target, target)  # type: ignore[arg-type]
        target.goes_on.clear()
        given_up = asyncio.ensure_future(depths.of(["a"]))
        await target.reading.wait()
        counted: Dict[str, Any] = {"a": Counted(7, 0), "b": Counted(7, None)}
        await depths.end_leftovers(counted)
        assert list(target.sampled) == ["a"], "somebody waits for it"
        given_up.cancel()
        await asyncio.wait([given_up])
        assert not target.sampled
        target.sampled = {"a": 5000}
        await depths.end_leftovers(counted)
        assert not target.sampled
        target.goes_on.set()
        assert await depths.of(["b"]) == {"b": 0}
    asyncio.run(use())
