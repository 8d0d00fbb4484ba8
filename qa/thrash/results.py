"""What all rounds gave: the table, and the data of `--json`.  Pure."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from testbed.report import aligned

from .round import Result

COLUMNS = ('fault', 'rounds', 'moved', 'stall s', 'alone s', 'settled s', 'I/O errors', 'overlaps', 'excused',
           'findings')


def table(results: Sequence[Result]) -> str:
    """One line for each kind of fault, over all rounds in which it was played; `alone`: those with no other fault."""
    rows: List[Sequence[str]] = [COLUMNS]
    for kind in sorted({kind for result in results for kind in result.kinds}):
        rows.append(_row(kind, [result for result in results if kind in result.kinds]))
    rows.append(_row('all', results))
    return aligned(rows)


def _row(name: str, results: Sequence[Result]) -> Sequence[str]:
    alone = [result.stall_s for result in results if len(result.kinds) == 1]
    settled = [result.settle_s for result in results if result.settle_s is not None]
    excused = sum(result.excused_errors + result.excused_overlaps for result in results)
    return (name, str(len(results)), str(sum(result.moved for result in results)),
            _longest(result.stall_s for result in results), _longest(alone), _longest(settled),
            str(sum(result.io_errors for result in results)), str(sum(result.overlaps for result in results)),
            str(excused), str(sum(bool(result.findings) for result in results)))


def _longest(seconds: Any) -> str:
    found = list(seconds)
    return f'{max(found):.1f}' if found else '-'


def to_json(minutes: float, seed: int, results: Sequence[Result]) -> Dict[str, Any]:
    kinds = sorted({kind for result in results for kind in result.kinds})
    return {
        'minutes': round(minutes, 1), 'seed': seed,
        'faults': {kind: _fault([result for result in results if kind in result.kinds]) for kind in kinds},
        'lost': sum(result.lost for result in results), 'stale': sum(result.stale for result in results),
        'io_errors': sum(result.io_errors for result in results),
        'overlaps': sum(result.overlaps for result in results),
        'not_settled': sum(result.settle_s is None for result in results),
        'excused': {'io_errors': sum(result.excused_errors for result in results),
                    'overlaps': sum(result.excused_overlaps for result in results)},
        'rounds': [result.to_json() for result in results]}


def _fault(results: Sequence[Result]) -> Dict[str, Any]:
    alone: List[float] = [result.stall_s for result in results if len(result.kinds) == 1]
    longest_alone: Optional[float] = max(alone) if alone else None
    return {'count': len(results), 'longest_stall_s': max(result.stall_s for result in results),
            'longest_stall_alone_s': longest_alone, 'moved': sum(result.moved for result in results)}
