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

from . import agent_cost, capacity, commits, core, data_path, failovers, growth, many_at_once, namespaces, plots

Figures = Dict[str, float]


def _capacity(directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [capacity.run(directory / str(number), print_line, options.gateways) for number in range(options.runs)]


def _commits(directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [commits.run(directory / str(number), print_line) for number in range(options.runs)]


def _core(_directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [core.run(print_line) for _ in range(options.runs)]


def _failovers(directory: Path, options: argparse.Namespace) -> List[Figures]:
    return failovers.run(directory, print_line, options.runs)


def _growth(_directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [growth.run(print_line) for _ in range(options.runs)]


def _many_at_once(directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [many_at_once.run(directory / str(number), print_line) for number in range(options.runs)]


def _namespaces(directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [namespaces.run(directory / str(number), print_line, options.namespaces) for number in range(options.runs)]


def _agent(directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [agent_cost.run(directory / str(number), print_line) for number in range(options.runs)]


def _data_path(directory: Path, options: argparse.Namespace) -> List[Figures]:
    return [data_path.run(directory / str(number), print_line) for number in range(options.runs)]


BENCHES: Dict[str, Callable[[Path, argparse.Namespace], List[Figures]]] = {
    'agent': _agent, 'capacity': _capacity, 'commits': _commits, 'core': _core, 'data-path': _data_path,
    'failovers': _failovers, 'growth': _growth, 'many-at-once': _many_at_once, 'namespaces': _namespaces}
TEXTS: Dict[str, Callable[[List[Figures]], str]] = {'growth': growth.table}
"""What is shown of benchmarks whose figures are too many to be listed."""


def main(arguments: Optional[List[str]] = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    measured: Dict[str, List[Figures]] = {}
    for name in options.only or list(BENCHES):
        print_line(name)
        directory = Path(tempfile.mkdtemp(prefix=f'nvmeof-ha-bench-{name}-', dir='/tmp'))
        try:
            measured[name] = BENCHES[name](directory / 'cluster', options)
        except BaseException:
            print_line(f'the logs are in {directory}')
            raise
        shutil.rmtree(directory)
    print_line('\n'.join(_text(name, runs) for name, runs in measured.items()))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + '\n')
    if options.results:
        _keep(options.results, measured)
    return 0


def _keep(directory: Path, measured: Dict[str, List[Figures]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, runs in measured.items():
        (directory / f'{name}.json').write_text(json.dumps(runs, indent=1) + '\n')
        (directory / f'{name}.txt').write_text(_text(name, runs).lstrip() + '\n')
        for plot, svg in plots.of(name, runs).items():
            (directory / f'{plot}.svg').write_text(svg)


def _text(name: str, runs: List[Figures]) -> str:
    return TEXTS[name](runs) if name in TEXTS else _table(name, runs)


def _table(name: str, runs: List[Figures]) -> str:
    rows: List[List[str]] = [[name, 'least', 'median', 'p99', 'most']]
    for figure in runs[0]:
        values = sorted(run[figure] for run in runs if figure in run)
        p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
        rows.append([figure, *(f'{value:.3f}'.rstrip('0').rstrip('.')
                               for value in (values[0], median(values), p99, values[-1]))])
    return '\n' + aligned(rows)


def _options(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='bench.sh', description='Measure on real clusters, each started for it; '
                                     '`growth` simulates what is too large to be started.')
    parser.add_argument('--only', action='append', choices=sorted(BENCHES), help='only this one; may be repeated')
    parser.add_argument('--runs', type=int, default=1, metavar='N',
                        help='how often, failovers all on one cluster (default: %(default)s)')
    parser.add_argument('--namespaces', type=int, default=1000, metavar='N',
                        help='for the benchmark of that name (default: %(default)s)')
    parser.add_argument('--gateways', type=lambda text: [int(word) for word in text.split(',')], metavar='N,N,...',
                        default=capacity.SIZES, help='for `capacity`: how many at once, growing (default: 2,16,128,1000)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures of all runs there')
    parser.add_argument('--results', type=Path, metavar='DIR',
                        help='write figures, table and plots of each benchmark to files there')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
