"""Threads that look at the running system while a scenario is played, and tell the timeline what has changed.

An observer only looks. What it cannot bear is kept and raised where the demo asks for it (`check`), so that a
broken observer never passes for "nothing happened".
"""

from __future__ import annotations

import threading
import time
import traceback


class ObserverFailed(RuntimeError):
    """An observer's thread has ended; the text has its traceback."""


class Observer(threading.Thread):
    """Calls `look` every `period_s`, from `start` to `stop`."""

    def __init__(self, name: str, period_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.period_s = period_s
        self._ended = threading.Event()
        self._failure = ''

    def look(self) -> None:
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        """Wait for the next look; `stop` must end it early."""
        self._ended.wait(seconds)

    def close(self) -> None:
        """Give back what looking needs; called in the thread, after the last look."""

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                begun_s = time.monotonic()
                self.look()
                self.pause(max(0.0, begun_s + self.period_s - time.monotonic()))
        except Exception:   # the thread's outermost loop: kept for `check`
            self._failure = traceback.format_exc()
        finally:
            self.close()

    def check(self) -> None:
        """Raises ObserverFailed when the thread has ended by itself."""
        if self._failure:
            raise ObserverFailed(f'observer {self.name} has failed:\n{self._failure}')

    def stop(self) -> None:
        self._ended.set()
        if self.is_alive():
            self.join(10)
