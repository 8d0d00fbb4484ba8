"""Reads what the daemons and gateways have logged: words that must never be there, and what was said at a time."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Dict, List

# What our code says when it is at its end, and what a crash leaves. Tracebacks of other mgr modules are not ours.
ALARMS = re.compile(r'an invariant is violated|the driver failed|ends on an error of its own|a step of the plan failed'
                    r'|was never retrieved|Caught signal|Segmentation fault|Assertion|std::terminate|Traceback')
TRACE = ' trace '
LONGEST = 300
MOST = 10
AROUND_S, AROUND_LINES = 1.0, 60
TAIL_BYTES = 8 << 20


class LogWatch:
    """`paths` of files that grow; those that are not there yet are empty."""

    def __init__(self, paths: List[Path]) -> None:
        self._read: Dict[Path, int] = {path: 0 for path in paths}

    def news(self) -> List[str]:
        """Lines with an alarm since the last call, at most some of each file."""
        found: List[str] = []
        for path, position in self._read.items():
            if not path.exists():
                continue
            with open(path, 'rb') as log:
                log.seek(position)
                text = log.read()
                self._read[path] = log.tell()
            lines = [line for line in text.decode(errors='replace').splitlines() if ALARMS.search(line)]
            found += [f'{path.name}: {line[:LONGEST]}' for line in lines[:MOST]]
        return found

    def around(self, epoch_s: float) -> List[str]:
        """What all of them said within `AROUND_S` of that time, in its order; not the traces, which are for programs."""
        from_, to = (datetime.fromtimestamp(at_s).strftime('%Y-%m-%dT%H:%M:%S.%f')[:-3]
                     for at_s in (epoch_s - AROUND_S, epoch_s + AROUND_S))
        found = []
        for path in self._read:
            found += [f'{line[:LONGEST]}   [{path.parent.name}/{path.name}]' for line in _tail(path)
                      if from_ <= line[:len(from_)] <= to and TRACE not in line]
        return sorted(found)[:AROUND_LINES]


def _tail(path: Path) -> List[str]:
    if not path.exists():
        return []
    with open(path, 'rb') as log:
        log.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return log.read().decode(errors='replace').splitlines()
