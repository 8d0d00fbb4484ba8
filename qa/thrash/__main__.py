"""thrash.sh: plays rounds until the time is over, prints a line for each, the whole story of one with a finding, and a
table at the end. Exit code 0: nothing was found. Leaves nothing running; after a finding the logs stay.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from conformance import check
from guest import Image
from testbed.demo import EXPECTED, INTERRUPTED
from testbed.layout import Layout
from testbed.namespaces import Network, NetworkError
from testbed.stage import MODULE, Stage
from testbed.timeline import Entry, Timeline, print_line

from . import options as command_line, results, schedule
from .evidence import Evidence
from .links import Links
from .result import Finding, Result
from .round import Round

# The writers of all namespaces share a host with one processor, which is emulated.
INTERVAL_US = 40_000
# Each mgr that dies in a run is to be replaced by the standby.
OPTIONS = {'standby_fail_interval_s': '30'}
OUR_HOST = 'clients'   # the Linux host's, too
LOG_LINES = 60
REPETITIONS = 3
STORIES = 'rounds.txt'   # of all rounds, beside the logs


class Thrash:
    """One run; its files are in `directory`."""

    def __init__(self, directory: Path, options: Namespace, network: Optional[Network]) -> None:
        self.results: List[Result] = []
        self.replayed: Dict[str, Any] = {}
        self.minutes = 0.0
        self._options = options
        self._begun_s = time.monotonic()
        self._directory = directory
        layout = Layout(gateways=options.gateways, mons=options.mons, interval_us=INTERVAL_US)
        kinds = [kind for kind in schedule.KINDS if (not options.kinds or kind.name in options.kinds)
                 and not (kind.network and network is None)]
        self._rounds = schedule.rounds(options.seed, list(layout.addresses), options.fault_s, kinds)
        self._timeline = Timeline(lambda _line: None)   # printed when it is worth it
        self._links = Links(network) if network else None
        self.stage = Stage(directory, self._timeline, self.say, layout, network)
        self._evidence: Optional[Evidence] = None

    def say(self, text: str) -> None:
        print_line(f'[{time.monotonic() - self._begun_s:5.1f} s] {text}')

    def play(self) -> None:
        options = self._options
        self.stage.start()
        for name, value in OPTIONS.items():
            self.stage.cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/{name}', value)
        self._evidence = Evidence(self.stage)
        begun_s = time.monotonic()
        for number, lanes in enumerate(self._rounds, 1):
            played = Round(self.stage, self._links, number, lanes, self._evidence, options.fault_s, options.heal_s)
            self.say(played.title)
            self.results.append(played.result)
            try:
                played.play()
            except EXPECTED as error:
                played.result.findings.append(Finding('stage', f'the stage is broken: {error}'[:2000]))
            self._print_round(played.result)
            self.minutes = (time.monotonic() - begun_s) / 60
            if not played.settled or self.minutes >= options.minutes or number == options.rounds:
                break

    def _print_round(self, result: Result) -> None:
        settled = f'settled in {result.settle_s} s' if result.settle_s is not None else 'NOT settled'
        excused = result.excused_errors + result.excused_overlaps
        self.say(f'    {len(result.faults)} faults, stall {result.stall_s} s, {result.failovers} failovers, '
                 f'{result.handovers} handovers, {settled}'
                 + (f', {result.excused_errors} errors and {result.excused_overlaps} overlaps of an unwatched target'
                    if excused else ''))
        story = '\n'.join(f'    {seconds:8.2f}  {text}' for seconds, text in _brief(self._timeline.entries()))
        findings = '\n'.join('\n        '.join([f'    FINDING: {finding.kind}: {finding.text}', *finding.around])
                             for finding in result.findings)
        with open(self._directory / STORIES, 'a', encoding='utf-8') as stories:
            stories.write(f'round {result.number}: {"; ".join(result.faults)}; stall {result.stall_s} s\n{story}\n'
                          f'{findings}\n')
        if result.findings:
            print_line(f'{findings}\n{story}\n{self.stage.log_tails(LOG_LINES)}')

    @property
    def found(self) -> bool:
        return any(result.findings for result in self.results) or bool(self.replayed.get('violations'))

    def end(self, keep: bool) -> bool:
        """Whether something was found."""
        self.say('stopping everything')
        try:
            if self._evidence:
                self._evidence.close()
        finally:
            self.stage.stop()
        if self.results:
            self._replay()
        if keep or self.found:
            self.say(f'nothing runs any more; the logs are in {self._directory}')
        else:
            shutil.rmtree(self._directory)
            self.say('nothing runs any more')
        return self.found

    def _replay(self) -> None:
        """Of what the mgrs and gateways traced."""
        replayed = check([self.stage.cluster.directory])
        self.say(replayed.describe())
        for violation in replayed.violations:
            print_line(violation)
        self.replayed = {'steps': replayed.steps, 'calls': replayed.calls, 'violations': len(replayed.violations)}

    def print_results(self) -> None:
        if self.results:
            print_line(f'\n{results.table(self.results)}\n\n{results.summary(self.results)}\n')
        if self._options.json:
            figures = results.to_json(self.minutes, self._options.seed, self.results, self.replayed)
            self._options.json.write_text(json.dumps(figures, indent=1) + '\n')


def _brief(entries: List[Entry]) -> Iterator[Entry]:
    """Without repetitions: dozens of samples show one overlap, and dozens of writes one outage."""
    told: Dict[str, int] = {}
    for seconds, text in entries:
        kind = text.split('{')[0]
        told[kind] = told.get(kind, 0) + 1
        if not text.startswith(('OVERLAP', 'writer')) or told[kind] <= REPETITIONS:
            yield seconds, text


def main(arguments: Optional[List[str]] = None) -> int:
    options = command_line.read(arguments)
    # SIGTERM is Ctrl-C from somebody who has no keyboard here.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.one_network:
        return _run(options, None)
    Image().ensure(print_line)   # the hosts of the network reach no mirror of packages
    try:
        with Network() as network, network.host(OUR_HOST).entered():
            return _run(options, network)
    except NetworkError as error:
        print(f'thrash: {error}\nOr run all on one network: --one-network', file=sys.stderr, flush=True)
        return 1


def _run(options: Namespace, network: Optional[Network]) -> int:
    thrash = Thrash(Path(tempfile.mkdtemp(prefix='nvmeof-ha-thrash-', dir='/tmp')), options, network)
    code = 1
    try:
        thrash.play()
        code = 0
    except KeyboardInterrupt:
        print('\nthrash: interrupted', file=sys.stderr, flush=True)
        code = INTERRUPTED
    except EXPECTED as error:
        print(f'thrash: {error}\n\n{thrash.stage.log_tails()}', file=sys.stderr, flush=True)
    except Exception:   # the outermost frame: nobody else would show the logs
        print(f'{traceback.format_exc()}\n{thrash.stage.log_tails()}', file=sys.stderr, flush=True)
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        found = thrash.end(options.keep_logs or code == 1)
        thrash.print_results()
    return code or int(found)


if __name__ == '__main__':
    sys.exit(main())
