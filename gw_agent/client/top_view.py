"""The three looks of `nvmeof-gw top`: a screen that is renewed in place, lines, and JSON."""
from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Protocol, Sequence

import click

from gw_agent.client.io_rates import Key, Load, Row, by_ana_group
from gw_agent.client.tables import table
from gw_agent.client.units import count, megabytes, milliseconds

HOME, REST_OF_LINE, REST_OF_SCREEN, WHOLE_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"
COLUMNS = ("IO/s", "MB/s read", "MB/s written", "ms read", "ms written")
TABLE_HEAD_LINES = 2
ELSEWHERE = "elsewhere"
"""Not at the gateways that were asked."""


@dataclass
class Reading:
    """Rates of one interval. `images`: RBD images by NQN and namespace id, empty where unknown."""

    time_s: float
    gateways: List[str]
    rows: List[Row]
    problems: List[str]
    images: Mapping[Key, str]

    def image(self, row: Row) -> str:
        return self.images.get((row.nqn, row.nsid), "")


class View(Protocol):
    """A way to show readings."""

    def show(self, reading: Reading, how: str) -> None: ...

    def end(self) -> None: ...


class Screen:
    """Renewed in place; as many namespaces as fit."""

    def __init__(self) -> None:
        self._fresh = True

    @staticmethod
    def possible() -> bool:
        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def show(self, reading: Reading, how: str) -> None:
        width, height = shutil.get_terminal_size()
        lines = self._above(reading, how)
        room = max(1, height - len(lines) - TABLE_HEAD_LINES - 2)   # for what is left out, and the cursor
        lines += self._namespaces(reading, reading.rows[:room])
        if len(reading.rows) > room:
            lines.append(f"... {len(reading.rows) - room} more; a taller window shows them")
        text = "".join(f"{line[:width]}{REST_OF_LINE}\n" for line in lines[:height - 1])
        click.echo((WHOLE_SCREEN if self._fresh else "") + HOME + text + REST_OF_SCREEN, nl=False, color=True)
        self._fresh = False

    def end(self) -> None:
        """Ctrl-C shows as ^C in the last line."""
        click.echo()

    def _above(self, reading: Reading, how: str) -> List[str]:
        total = sum((row.load for row in reading.rows), Load())
        head = (f"{_clock(reading)}  {', '.join(reading.gateways) or 'no gateway answers'}  ({how}; Ctrl-C ends)   "
                f"{count(total.iops)} IO/s, {megabytes(total.moved_bytes)} MB/s")
        groups = table(["ANA group", "Optimized at", "Namespaces", *COLUMNS],
                       [[row.ana_group_id, row.optimized_at or ELSEWHERE, row.namespaces, *_cells(row.load)]
                        for row in by_ana_group(reading.rows)], "No namespaces")
        return [head, *(f"! {problem}" for problem in reading.problems), "", *groups.splitlines(), ""]

    def _namespaces(self, reading: Reading, rows: Sequence[Row]) -> List[str]:
        return table(["RBD image", "NSID", "ANA group", *COLUMNS, "Subsystem"],
                     [[reading.image(row), row.nsid, row.ana_group_id, *_cells(row.load), row.nqn] for row in rows],
                     "").splitlines()


class Lines:
    """For files and pipes: each reading a block of lines that all have the same columns."""

    LAYOUT = "{:<8}  {:<10}  {:>9}  {:<13} {:>8} {:>10} {:>12} {:>8} {:>10}  {}"

    def __init__(self) -> None:
        self._headed = False

    def show(self, reading: Reading, how: str) -> None:
        if not self._headed:
            click.echo(self.LAYOUT.format("Time", "What", "ANA group", "Optimized at", *COLUMNS, "Image and subsystem"))
            self._headed = True
        for problem in reading.problems:
            click.echo(f"{_clock(reading)}  ! {problem}")
        for row in by_ana_group(reading.rows):
            self._line(reading, "ANA group", row, f"{row.namespaces} namespace{'s' * (row.namespaces > 1)}")
        for row in reading.rows:
            self._line(reading, "namespace", row, f"{reading.image(row) or '-'} {row.nsid} {row.nqn}")
        sys.stdout.flush()

    def end(self) -> None:
        """Nothing is left open."""

    def _line(self, reading: Reading, what: str, row: Row, name: str) -> None:
        click.echo(self.LAYOUT.format(_clock(reading), what, row.ana_group_id, row.optimized_at or ELSEWHERE,
                                      *_cells(row.load), name))


class JsonLines:
    """One object in a line for each reading; rates per second, latencies in seconds (null: no request)."""

    def show(self, reading: Reading, how: str) -> None:
        click.echo(json.dumps({
            "time_s": round(reading.time_s, 3), "gateways": reading.gateways, "problems": reading.problems,
            "ana_groups": [{"ana_group_id": row.ana_group_id, "optimized_at": row.optimized_at,
                            "namespaces": row.namespaces, **_numbers(row.load)} for row in by_ana_group(reading.rows)],
            "namespaces": [{"nqn": row.nqn, "nsid": row.nsid, "image": reading.image(row),
                            "ana_group_id": row.ana_group_id, "optimized_at": row.optimized_at, **_numbers(row.load)}
                           for row in reading.rows]}))
        sys.stdout.flush()

    def end(self) -> None:
        """Nothing is left open."""


def _numbers(load: Load) -> Dict[str, Any]:
    return {"iops": round(load.iops, 2), "reads": round(load.reads, 2), "writes": round(load.writes, 2),
            "unmaps": round(load.unmaps, 2), "read_bytes": round(load.read_bytes),
            "written_bytes": round(load.written_bytes), "read_latency_s": load.read_latency_s,
            "write_latency_s": load.write_latency_s}


def _cells(load: Load) -> Sequence[str]:
    return (count(load.iops), megabytes(load.read_bytes), megabytes(load.written_bytes),
            milliseconds(load.read_latency_s), milliseconds(load.write_latency_s))


def _clock(reading: Reading) -> str:
    return time.strftime("%H:%M:%S", time.localtime(reading.time_s))
