"""Wakes a select loop from any thread, from librados callbacks and from signal handlers.

Promises: `wake` never blocks and never raises for a full pipe; several wake-ups may be seen as one.
"""
from __future__ import annotations

import os


class WakePipe:
    """A pipe whose reading end goes into a selector."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """To register for reading."""
        return self._reader

    @property
    def write_fd(self) -> int:
        """For `signal.set_wakeup_fd`."""
        return self._writer

    def wake(self) -> None:
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass   # full: the loop will wake anyway

    def drain(self) -> None:
        """Takes out what woke the loop."""
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            pass
