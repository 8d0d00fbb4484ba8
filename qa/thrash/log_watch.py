"""Reads what the daemons and gateways have logged since the last look, for words that must never be there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List

# What our code says when it is at its end, and what a crash leaves. Tracebacks of other mgr modules are not ours.
ALARMS = re.compile(r'an invariant is violated|the driver failed|ends on an error of its own|a step of the plan failed'
                    r'|was never retrieved|Caught signal|Segmentation fault|Assertion|std::terminate|Traceback')
LONGEST = 300
MOST = 10


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
