"""What all rounds gave: the table, and the data of `--json`.  Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from testbed.report import aligned

from .result import OfKind, Result

COLUMNS = ('fault', 'injected', 'rounds', 'failovers', 'stall s', 'alone s', 'settled s', 'lost', 'stale', 'I/O errors',
           'overlaps', 'excused', 'findings')


def table(results: Sequence[Result]) -> str:
    """One line for each kind of fault, over all rounds in which it was played. `stall`: the longest that began under or
    after such a fault; `alone`: of those with no other kind near. What data and errors give is that of whole rounds."""
    rows: List[Sequence[str]] = [COLUMNS]
    for kind in kinds(results):
        rows.append(_row(kind, [result for result in results if kind in result.kinds], of_kind(results, kind)))
    whole = OfKind(sum(kind.injected for result in results for kind in result.kinds.values()),
                   max((result.stall_s for result in results), default=0.0), 0.0,
                   sum(result.failovers for result in results))
    rows.append(_row('all', results, whole))
    return aligned(rows)


def summary(results: Sequence[Result]) -> str:
    quiet_s = max((result.quiet_stall_s for result in results), default=0.0)
    return (f'{sum(result.failovers for result in results)} failovers and {sum(result.handovers for result in results)} '
            f'handovers by the maps; the longest stall with no fault near: {quiet_s:.1f} s; problems of the history: '
            f'{sum(result.history for result in results)}')


def kinds(results: Sequence[Result]) -> List[str]:
    return sorted({kind for result in results for kind in result.kinds})


def of_kind(results: Sequence[Result], kind: str) -> OfKind:
    found = [result.kinds[kind] for result in results if kind in result.kinds]
    return OfKind(sum(one.injected for one in found), max(one.stall_s for one in found),
                  max(one.alone_s for one in found), sum(one.failovers for one in found))


def _row(name: str, results: Sequence[Result], figures: OfKind) -> Sequence[str]:
    settled = [result.settle_s for result in results if result.settle_s is not None]
    excused = sum(result.excused_errors + result.excused_overlaps for result in results)
    return (name, str(figures.injected), str(len(results)), str(figures.failovers), _seconds(figures.stall_s),
            _seconds(figures.alone_s), f'{max(settled):.1f}' if settled else '-',
            str(sum(result.lost for result in results)), str(sum(result.stale for result in results)),
            str(sum(result.io_errors for result in results)), str(sum(result.overlaps for result in results)),
            str(excused), str(sum(len(result.findings) for result in results)))


def _seconds(longest_s: float) -> str:
    return f'{longest_s:.1f}' if longest_s else '-'


def to_json(minutes: float, seed: int, results: Sequence[Result], replayed: Dict[str, Any]) -> Dict[str, Any]:
    """`replayed`: what the replay of the traces found."""
    found: Dict[str, int] = {}
    for finding in (finding for result in results for finding in result.findings):
        found[finding.kind] = found.get(finding.kind, 0) + 1
    return {
        'layer': 'thrash', 'minutes': round(minutes, 1), 'seed': seed, 'rounds_played': len(results),
        'faults': {kind: vars(of_kind(results, kind)) for kind in kinds(results)},
        'injected': sum(kind.injected for result in results for kind in result.kinds.values()),
        'failovers': sum(result.failovers for result in results),
        'handovers': sum(result.handovers for result in results),
        'longest_stall_s': max((result.stall_s for result in results), default=0.0),
        'lost': sum(result.lost for result in results), 'stale': sum(result.stale for result in results),
        'io_errors': sum(result.io_errors for result in results),
        'overlaps': sum(result.overlaps for result in results),
        'history_problems': sum(result.history for result in results),
        'not_settled': sum(result.settle_s is None for result in results),
        'excused': {'io_errors': sum(result.excused_errors for result in results),
                    'overlaps': sum(result.excused_overlaps for result in results)},
        'findings': found, 'replay': replayed,
        'rounds': [result.to_json() for result in results]}
