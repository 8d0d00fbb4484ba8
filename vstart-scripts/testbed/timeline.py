"""The timeline of a scenario: what happened, in seconds from the scenario's event, printed while it happens.

Any thread may add to it. Until the event has come its time is not known; what is added before waits for it.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, List, Optional, Tuple

Entry = Tuple[float, str]


def print_line(line: str) -> None:
    print(line, flush=True)


class Timeline:
    """One for all scenarios; `begin` starts it anew."""

    def __init__(self, write: Callable[[str], None] = print_line) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._entries: List[Entry] = []   # with times of the monotonic clock
        self.zero_s: Optional[float] = None   # when the event came
        self._open = False

    def begin(self, title: str) -> None:
        with self._lock:
            self._entries, self.zero_s, self._open = [], None, True
            self._write(f'\n{title}')

    def end(self) -> None:
        """What comes later is neither kept nor printed."""
        with self._lock:
            self._open = False

    def event(self, text: str, at_s: Optional[float] = None) -> float:
        """The scenario's event, at this time or now: the zero of its clock."""
        with self._lock:
            self.zero_s = time.monotonic() if at_s is None else at_s
            self._entries.append((self.zero_s, text))
            for entry in sorted(self._entries):
                self._print(entry)
            return self.zero_s

    def add(self, text: str, at_s: Optional[float] = None) -> None:
        with self._lock:
            if not self._open:
                return
            entry = (time.monotonic() if at_s is None else at_s, text)
            self._entries.append(entry)
            if self.zero_s is not None:
                self._print(entry)

    def entries(self, from_s: float = float('-inf'), to_s: float = float('inf'),
                zero_s: Optional[float] = None) -> List[Entry]:
        """Those between two times of the monotonic clock, in order, in seconds from the event (or from `zero_s`)."""
        with self._lock:
            zero_s = zero_s if zero_s is not None else self.zero_s
            if zero_s is None:
                zero_s = self._entries[0][0] if self._entries else 0.0
            return [(round(at_s - zero_s, 3), text) for at_s, text in sorted(self._entries) if from_s <= at_s < to_s]

    def _print(self, entry: Entry) -> None:
        assert self.zero_s is not None
        self._write(f'{entry[0] - self.zero_s:8.2f}  {entry[1]}')
