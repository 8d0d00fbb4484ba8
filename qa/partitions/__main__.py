"""partitions.sh: plays cuts, stalls and pauses, prints what followed, and a table at the end.  Exit code 0: all was as
expected.  Leaves nothing running; the logs stay when something was not as expected.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import List, Optional

from conformance import check
from testbed.timeline import Timeline, print_line
from testbed.waiting import WaitTimeout

from .hosts_apart import HostsApart
from .outcome import Outcome, table
from .plays import PLAYS, Play


def main(arguments: Optional[List[str]] = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix='nvmeof-ha-partitions-', dir='/tmp'))
    outcomes: List[Outcome] = []
    problems: List[str] = []
    try:
        with HostsApart(directory / 'cluster', print_line, Timeline()) as apart:
            for play in options.plays * options.runs:
                problems += _play(play, apart, outcomes)
        problems += _replay(directory / 'cluster')
    finally:
        if outcomes:
            print_line('\n' + table(outcomes))
        if options.json:
            options.json.write_text(json.dumps([outcome.to_json() for outcome in outcomes], indent=1) + '\n')
    if problems or options.keep_logs:
        print_line('\n'.join([*problems, f'the logs are in {directory}']))
    else:
        shutil.rmtree(directory)
    return 1 if problems else 0


def _play(play: Play, apart: HostsApart, outcomes: List[Outcome]) -> List[str]:
    try:
        outcome = play.run(apart)
    except WaitTimeout as error:
        problems = [f'{play.name}: {error}']
    else:
        outcomes.append(outcome)
        problems = [f'{play.name}: {problem}' for problem in outcome.problems(play.expected)]
    for problem in problems:
        print_line(f'    UNEXPECTED: {problem}')
    return problems


def _replay(directory: Path) -> List[str]:
    """What mgrs, wardens and agents decided, against the core."""
    replayed = check([directory])
    print_line(replayed.describe())
    return list(replayed.violations)


def _options(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='partitions.sh', description='Cut links between the hosts of a cluster with two gateways, each a network '
        'namespace, stall and pause its daemons, and look who moves, who ends, and how long nobody serves. Needs root.',
        epilog='plays: ' + '; '.join(play.name for play in PLAYS))
    parser.add_argument('--runs', type=int, default=1, metavar='N', help='how often (default: %(default)s)')
    parser.add_argument('--only', action='append', default=[], metavar='TEXT',
                        help='only the plays that have this text in their names; may be repeated')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures of all runs there')
    parser.add_argument('--keep-logs', action='store_true', help='also when all is as expected')
    options = parser.parse_args(arguments)
    options.plays = [play for play in PLAYS
                     if not options.only or any(text in play.name for text in options.only)]
    if not options.plays:
        parser.error(f'no play has {" or ".join(map(repr, options.only))} in its name')
    return options


if __name__ == '__main__':
    sys.exit(main())
