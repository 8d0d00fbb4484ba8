"""Claims about how tasks are ended."""
from __future__ import annotations

import asyncio

from gw_agent import ending


def test_a_task_that_swallowed_a_cancellation_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(ending, "AGAIN_S", 0.01)
    ended = []

    async def deaf() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("deaf")

    async def failing() -> None:
        raise ValueError("of no interest any more")

    async def use() -> None:
        tasks = [asyncio.ensure_future(deaf()), asyncio.ensure_future(failing())]
        await asyncio.sleep(0)
        await ending.end(tasks)
        assert all(task.done() for task in tasks)

    asyncio.run(use())
    assert ended == ["deaf"]


def test_nothing_is_ended_at_once():
    asyncio.run(ending.end([]))
