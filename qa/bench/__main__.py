"""bench.sh: runs benchmarks on clusters of their own and prints what they measured.  Leaves nothing running."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List, Optional

from testbed.report import aligned
from testbed.timeline import print_line

from . import core, namespaces

Figures = Dict[str, float]
BENCHES: Dict[str, Callable[[Path, argparse.Namespace], Figures]] = {
    'core': lambda _directory, _options: core.run(print_line),
    'namespaces': lambda directory, options: namespaces.run(directory, print_line, options.namespaces),
}


def main(arguments: Optional[List[str]] = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    measured: Dict[str, List[Figures]] = {}
    for name in options.only or list(BENCHES):
        for number in range(options.runs):
            print_line(f'{name}, run {number + 1} of {options.runs}')
            directory = Path(tempfile.mkdtemp(prefix=f'nvmeof-ha-bench-{name}-', dir='/tmp'))
            try:
                measured.setdefault(name, []).append(BENCHES[name](directory / 'cluster', options))
            except BaseException:
                print_line(f'the logs are in {directory}')
                raise
            shutil.rmtree(directory)
    print_line('\n'.join(_table(name, runs) for name, runs in measured.items()))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + '\n')
    return 0


def _table(name: str, runs: List[Figures]) -> str:
    rows: List[List[str]] = [[name, 'least', 'median', 'most']]
    for figure in runs[0]:
        values = [run[figure] for run in runs]
        rows.append([figure, *(f'{value:.3f}'.rstrip('0').rstrip('.')
                               for value in (min(values), median(values), max(values)))])
    return '\n' + aligned(rows)


def _options(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='bench.sh', description='Measure on real clusters, each started for it.')
    parser.add_argument('--only', action='append', choices=sorted(BENCHES), help='only this one; may be repeated')
    parser.add_argument('--runs', type=int, default=1, metavar='N', help='how often (default: %(default)s)')
    parser.add_argument('--namespaces', type=int, default=1000, metavar='N',
                        help='for the benchmark of that name (default: %(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures of all runs there')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
