"""Prints what the scenarios gave: a table, and the figures that the project promises beside what was measured."""

from __future__ import annotations

import statistics
import time
from typing import Callable, List, Optional, Sequence, Tuple

from .gateway import Gateway
from .play import FAILBACK, Outcome
from .process_cost import cost

LATE_S = 1.0
COLUMNS = ('scenario', 'ok', 'moved', 'switch s', 'no path s', 'host stall s', 'I/O errors', 'lost', 'stale',
           'overlaps')


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [COLUMNS]
    rows += [(outcome.name, _yes(outcome.ok), _yes(outcome.moved), _seconds(outcome.switch_s),
              _seconds(outcome.no_path_s), _seconds(outcome.host_stall_s), str(outcome.io_errors), str(outcome.lost),
              str(outcome.stale), str(outcome.overlaps)) for outcome in outcomes]
    return aligned(rows)


def remark(outcomes: Sequence[Outcome], kernel: str) -> str:
    """Why the host was stuck longer than the failover took, where its own kernel is the reason; '' if it was not."""
    late_s = [outcome.host_stall_s - outcome.switch_s for outcome in outcomes
              if outcome.name == 'frozen-target' and outcome.host_stall_s and outcome.switch_s]
    if not kernel.startswith('6.1.') or not late_s or max(late_s) < LATE_S:
        return ''
    return (f'frozen-target: the host went on {max(late_s):.1f} s after the failover. Its Linux {kernel} does not\n'
            'give up a dead connection before a keep-alive command that was under way has timed out (5 s).\n'
            'Linux 6.12 does: NVME_GUEST_SUITE=trixie.')


def figures(outcomes: Sequence[Outcome], untouched: Gateway, since_s: float) -> str:
    """Measured against promised; a machine that is too busy misses them, so nothing fails for it.

    `untouched`: a gateway that no scenario does anything to, running since `since_s` (monotonic).
    """
    rows = [('figure', 'measured', 'promised')]
    for name, text, value, most_s in (
            ('target-crash', 'target crash: to the new optimized listener', lambda o: o.switch_s, 1.0),
            ('host-loss', 'host loss: to the new optimized listener', lambda o: o.switch_s, 6.0),
            ('orderly-stop', 'orderly stop: without a usable path', lambda o: o.no_path_s, 0.3),
            (FAILBACK, 'failback: without a usable path', lambda o: o.no_path_s, 0.3)):
        measured = _values(outcomes, name, value)
        if measured:
            spread = f'median of {len(measured)}, worst {max(measured):.2f}: ' if len(measured) > 1 else ''
            rows.append((text, f'{spread}{statistics.median(measured):.2f} s', f'at most {most_s:g} s'))
    return aligned(rows + _footprint(untouched, since_s))


def _footprint(gateway: Gateway, since_s: float) -> List[Tuple[str, str, str]]:
    rows, cpu_s = [], 0.0
    pids = gateway.pids()
    for kind, most_mb in (('warden', 60), ('agent', 120)):
        if kind in pids:
            of_it = cost(pids[kind])
            cpu_s += of_it.cpu_s
            rows.append((f"{gateway.name}'s {kind}: resident", f'{of_it.resident_mb:.0f} MB', f'at most {most_mb} MB'))
    share = 100 * cpu_s / (time.monotonic() - since_s)
    rows.append((f"{gateway.name}'s warden and agent: of a core, over the whole run (promised: idle)",
                 f'{share:.1f} %', 'at most 4 %'))
    return rows


def _values(outcomes: Sequence[Outcome], name: str, value: Callable[[Outcome], Optional[float]]) -> List[float]:
    found = [value(outcome) for outcome in outcomes if outcome.name == name]
    return [seconds for seconds in found if seconds is not None]


def _yes(holds: bool) -> str:
    return 'yes' if holds else 'no'


def _seconds(seconds: Optional[float]) -> str:
    return '-' if seconds is None else f'{seconds:.2f}'


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """First column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ['  '.join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
             for row in rows]
    return '\n'.join([lines[0], '  '.join('-' * width for width in widths), *lines[1:]])
