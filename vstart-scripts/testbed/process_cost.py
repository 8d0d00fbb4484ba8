"""What a process has cost so far, and what nobody has used, from /proc."""

from __future__ import annotations

import os
from typing import NamedTuple

from .daemon import PROC


class Cost(NamedTuple):
    """``cpu_s``: of all its threads, in user and in kernel mode; ``resident_mb``: now, in 10^6 bytes."""

    cpu_s: float
    resident_mb: float


def cost(pid: int) -> Cost:
    stat = (PROC / str(pid) / 'stat').read_text()
    fields = stat[stat.rindex(')') + 2:].split()   # from field 3 of proc(5) on
    return Cost((int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK'),
                int(fields[21]) * os.sysconf('SC_PAGE_SIZE') / 1e6)


def machine_idle_s() -> float:
    """Of all cores since the machine's start."""
    fields = (PROC / 'stat').read_text().splitlines()[0].split()
    return int(fields[4]) / os.sysconf('SC_CLK_TCK')
