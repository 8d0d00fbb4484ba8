"""Reads what the mgrs' traces say of commits and confirmations, line by line as they grow, into a history."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterator, List

from nvmeof_ha import trace
from nvmeof_ha.core.actions import Commit
from nvmeof_ha.core.events import Committed, beacons_in
from nvmeof_ha.core.plain import PlainError

from .history import History

LINE = re.compile(rb' trace (\S+) (\{.*\})$')
# Most lines have none of these, and to decode a line takes a millisecond.
TELLING = re.compile(rb'"Commit"|"Committed"|"confirmations"|"Began"')


class MgrTrace:
    """`logs`: of all mgrs; `key`: the gateway group, as the trace names it."""

    def __init__(self, logs: List[Path], key: str, history: History) -> None:
        self._read: Dict[Path, int] = {path: 0 for path in logs}
        self._key = key.encode()
        self._history = history

    def take_news(self) -> None:
        """Also of a line that is only half there: that one comes next time."""
        for path in self._read:
            for text in self._new_lines(path):
                match = LINE.search(text)
                if match and match.group(1) == self._key and TELLING.search(text):
                    self._take(match.group(2).decode(errors='replace'))

    def _new_lines(self, path: Path) -> Iterator[bytes]:
        if not path.exists():
            return
        with open(path, 'rb') as log:
            log.seek(self._read[path])
            data = log.read()
        whole = data.rfind(b'\n') + 1
        self._read[path] += whole
        yield from data[:whole].splitlines()

    def _take(self, text: str) -> None:
        try:
            line = trace.decode(text)
        except PlainError:
            return   # cut off where a mgr was killed; any other is found by the replay
        if isinstance(line, trace.Stands):
            return
        for beacon in beacons_in(line.event) if isinstance(line, trace.Stepped) else ():
            self._history.confirmed(beacon)
        if isinstance(line, trace.Stepped) and isinstance(line.event, Committed):
            self._history.acknowledged(tuple(line.event.version), line.now)
        for action in line.actions:
            if isinstance(action, Commit):
                self._history.sent(action.map, line.now)
