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
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from testbed.demo import EXPECTED, INTERRUPTED
from testbed.layout import Layout
from testbed.stage import Stage
from testbed.timeline import Entry, Timeline, print_line

from . import options as command_line, results, schedule
from .log_watch import LogWatch
from .round import Result, Round

# Three writers' pairs share a host with one processor, which is emulated.
LAYOUT_GATEWAYS, INTERVAL_US = 3, 40_000
LOG_LINES = 60
REPETITIONS = 3
STORIES = 'rounds.txt'   # of all rounds, beside the logs


class Thrash:
    """One run; its files are in `directory`."""

    def __init__(self, directory: Path, seed: int, mons: int, kinds: Optional[List[str]]) -> None:
        self.results: List[Result] = []
        self.minutes = 0.0
        self._begun_s = time.monotonic()
        self._directory = directory
        layout = Layout(gateways=LAYOUT_GATEWAYS, mons=mons, interval_us=INTERVAL_US)
        self._rounds = schedule.rounds(seed, list(layout.addresses),
                                       [schedule.BY_NAME[kind] for kind in kinds] if kinds else schedule.KINDS)
        self._timeline = Timeline(lambda _line: None)   # printed when it is worth it
        self.stage = Stage(directory, self._timeline, self.say, layout)

    def say(self, text: str) -> None:
        print_line(f'[{time.monotonic() - self._begun_s:5.1f} s] {text}')

    def play(self, minutes: float) -> None:
        self.stage.start()
        gateways, daemons = self.stage.gateways.values(), self.stage.cluster.daemons.values()
        logs = LogWatch([gateway.warden.log for gateway in gateways]
                        + [path for daemon in daemons for path in (daemon.log, daemon.output)])
        begun_s = time.monotonic()
        for number, faults in enumerate(self._rounds, 1):
            played = Round(self.stage, number, faults, logs)
            self.say(played.title)
            self.results.append(played.result)
            try:
                played.play()
            except EXPECTED as error:
                played.result.findings.append(f'the stage is broken: {error}'[:2000])
            self._print_round(played.result)
            self.minutes = (time.monotonic() - begun_s) / 60
            if not played.settled or self.minutes >= minutes:
                break

    def _print_round(self, result: Result) -> None:
        settled = f'settled in {result.settle_s} s' if result.settle_s is not None else 'NOT settled'
        excused = result.excused_errors + result.excused_overlaps
        self.say(f'    stall {result.stall_s} s, {"moved" if result.moved else "not moved"}, {settled}'
                 + (f', {result.excused_errors} errors and {result.excused_overlaps} overlaps of an unwatched target'
                    if excused else ''))
        story = '\n'.join(f'    {seconds:8.2f}  {text}' for seconds, text in _brief(self._timeline.entries()))
        with open(self._directory / STORIES, 'a', encoding='utf-8') as stories:
            stories.write(f'round {result.number}: {"; ".join(result.faults)}; stall {result.stall_s} s\n{story}\n')
        if result.findings:
            for finding in result.findings:
                print_line(f'    FINDING: {finding}')
            print_line(story)
            print_line(self.stage.log_tails(LOG_LINES))

    @property
    def found(self) -> bool:
        return any(result.findings for result in self.results)

    def end(self, keep: bool) -> None:
        self.say('stopping everything')
        self.stage.stop()
        if keep:
            self.say(f'nothing runs any more; the logs are in {self._directory}')
        else:
            shutil.rmtree(self._directory)
            self.say('nothing runs any more')


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
    thrash = Thrash(Path(tempfile.mkdtemp(prefix='nvmeof-ha-thrash-', dir='/tmp')), options.seed, options.mons,
                    options.kinds)
    code = 1
    try:
        thrash.play(options.minutes)
        code = 1 if thrash.found else 0
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
        if thrash.results:
            print_line('\n' + results.table(thrash.results) + '\n')
        if options.json:
            figures = results.to_json(thrash.minutes, options.seed, thrash.results)
            options.json.write_text(json.dumps(figures, indent=1) + '\n')
        thrash.end(options.keep_logs or code == 1)
    return code


if __name__ == '__main__':
    sys.exit(main())
