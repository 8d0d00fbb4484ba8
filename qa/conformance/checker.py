"""Reads logs and traces, line by line, and gives each line to the replay it belongs to."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Tuple

from testbed.gateway import TRACE

from .across import Across
from .findings import Place, Result, Violation
from .gateway_trace import ProcessReplay
from .mgr_log import DriverReplay

MGR_LINE = re.compile(r"^(\S+) .*? trace (\S+/\S+) (\{.*)$")
GATEWAY_LINE = '{"process":'
OF_A_CLUSTER = ("logs/mgr.*.log", f"gateways/*/{TRACE}")
"""Where a testbed cluster has them."""


def check(paths: Iterable[Path], group: str = "") -> Result:
    """Replay mgr logs, gateway traces, and all that directories of testbed clusters have of both.

    ``group``: ``POOL/GROUP``; of the mgrs' logs only this one.
    """
    began, result = time.monotonic(), Result()
    reader = _Reader(result, group)
    for path in _files(paths):
        reader.read(path)
    reader.across.judge()
    result.seconds = time.monotonic() - began
    return result


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(found for pattern in OF_A_CLUSTER for found in path.glob(pattern))
        else:
            yield path


class _Reader:
    def __init__(self, result: Result, group: str) -> None:
        self._result, self._group = result, group
        self.across = Across(result)

    def read(self, path: Path) -> None:
        drivers: Dict[str, DriverReplay] = {}
        processes: Dict[Tuple[str, int], ProcessReplay] = {}
        ended: List[ProcessReplay] = []   # after a violation; what follows from it says nothing new
        with open(path, encoding="utf-8", errors="replace") as log:
            for number, text in enumerate(log, 1):
                place = Place(path, number)
                try:
                    if text.startswith(GATEWAY_LINE):
                        self._gateway(place, text, processes, ended)
                    elif " trace " in text:
                        self._mgr(place, text, drivers)
                except Violation as violation:
                    self._result.violations.append(str(violation))
        self._result.processes += len(processes)

    def _mgr(self, place: Place, text: str, drivers: Dict[str, DriverReplay]) -> None:
        match = MGR_LINE.match(text)
        if match is None or self._group not in ("", match.group(2)):
            return
        self._result.log_bytes += len(text)
        at, key, plain = match.groups()
        if key not in drivers:
            drivers[key] = DriverReplay(self._result)
        line = drivers[key].take(place, plain)
        if line is not None:
            self.across.mgr_line(at, key, place, line)

    def _gateway(self, place: Place, text: str, processes: Dict[Tuple[str, int], ProcessReplay],
                 ended: List[ProcessReplay]) -> None:
        self._result.log_bytes += len(text)
        try:
            line = json.loads(text)
            who = line["process"], line["pid"]
        except (ValueError, KeyError) as error:
            if text.endswith("\n"):
                raise Violation(f"{place}: the line is damaged: {error}") from None
            return   # the last line of a process that was killed while it wrote
        if who not in processes:
            processes[who] = ProcessReplay(self._result)
        process = processes[who]
        if process in ended:
            self._result.unjudged += 1
            return
        try:
            process.take(line)
        except Violation as violation:
            ended.append(process)
            raise Violation(f"{place}: {who[0]} {who[1]} of {line.get('gateway')}: {violation}") from None
        for gateway_map in process.agreed:
            self.across.agreed(gateway_map, place)
        process.agreed.clear()
