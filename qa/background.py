"""Long computations of a test run, done beside its tests of daemons, which wait most of the time.

A test with the mark ``in_background(begin=...)`` comes last and only takes results.  Its ``begin(pool, items)`` is called
with an executor, and all tests that name it, once they are collected; what it submits runs at once, at a low priority and in
as many processes as the machine has cores.  That must be a function of a module, its arguments and its result picklable.
The mark without ``begin`` makes a test come last, too.

Promises: nothing of it is left when the run ends, however it ends, but by SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Callable, Dict, List, Optional

import pytest

Begin = Callable[[Executor, List[pytest.Item]], None]
MARK = 'in_background'
LOW_PRIORITY = 10


class Background:
    """A pytest plugin."""

    def __init__(self) -> None:
        self._pool: Optional[ProcessPoolExecutor] = None

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line('markers', f'{MARK}(begin): {__name__}.py')

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: List[pytest.Item]) -> None:
        items.sort(key=lambda item: item.get_closest_marker(MARK) is not None)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            return
        wanted: Dict[Begin, List[pytest.Item]] = {}
        for item in session.items:
            mark = item.get_closest_marker(MARK)
            if mark is not None and mark.kwargs:
                wanted.setdefault(mark.kwargs['begin'], []).append(item)
        for begin, items in wanted.items():
            if self._pool is None:
                # Spawned: a fork would have the threads' locks of whatever runs in this process.
                self._pool = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context('spawn'), _stand_back)
            begin(self._pool, items)

    def pytest_unconfigure(self) -> None:
        if self._pool is None:
            return
        for process in multiprocessing.active_children():
            if process.pid is not None:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:   # not one of the pool's, or gone
                    pass
        self._pool.shutdown(cancel_futures=True)


def _stand_back() -> None:
    """A process group of its own: it is ended with whatever it has started, and by nothing that is typed at a terminal."""
    os.setpgid(0, 0)
    os.nice(LOW_PRIORITY)
