"""Ends tasks.

Promises: when `end` returns, all of them have ended. A task that a cancellation did not reach is cancelled again: before
Python 3.12 `asyncio.wait_for` swallows one that comes in the moment in which its work ends. Does not promise how soon: what
a task still does in its `finally` clauses has `AGAIN_S` each time.
"""
from __future__ import annotations

import asyncio
from typing import Any, Iterable, Set

AGAIN_S = 2.0


async def end(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancels them until all have ended; what they raise is dropped."""
    left: "Set[asyncio.Future[Any]]" = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=AGAIN_S)
        await asyncio.gather(*ended, return_exceptions=True)
