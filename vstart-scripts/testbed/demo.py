"""demo.sh: the whole chain on this machine, and everything that can go wrong with it, one after the other.

Ends with exit code 0 when every scenario went as it must; leaves nothing running and no files, whether it succeeds,
fails or is interrupted (unless --keep). After a failure the logs stay, and their ends are printed.
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
from typing import List, Optional, Sequence

from conformance import check
from guest import GuestError, ImageError, PackageError

from . import demo_options, report
from .ceph_install import CephNotInstalled
from .cluster import REPOSITORY, ClusterError, CommandFailed
from .gateway import nvme_gw_prefix
from .nvmeof_setup import SetupRefused
from .observer import ObserverFailed
from .play import Outcome, Play
from .scenarios import SCENARIOS, Scenario
from .stage import Stage
from .timeline import Timeline, print_line
from .vstart import MARK
from .waiting import WaitTimeout

EXPECTED = (ClusterError, CommandFailed, CephNotInstalled, SetupRefused, ObserverFailed, WaitTimeout, GuestError,
            ImageError, PackageError, OSError)
INTERRUPTED = 130


def main(arguments: Optional[List[str]] = None) -> int:
    options = demo_options.read(arguments)
    # SIGTERM is Ctrl-C from somebody who has no keyboard here.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix='nvmeof-ha-demo-', dir='/tmp'))
    demo = Demo(directory, options.keep)
    code = 1
    try:
        code = demo.play([scenario for scenario in SCENARIOS if options.scenario in (None, scenario.name)])
    except KeyboardInterrupt:
        print('\ndemo: interrupted', file=sys.stderr, flush=True)
        code = INTERRUPTED
    except EXPECTED as error:
        demo.report_failure(f'demo: {error}')
    except Exception:   # the outermost frame: nobody else would show the logs
        demo.report_failure(traceback.format_exc())
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if options.json:
            _write_json(options.json, demo.outcomes)
        code = demo.end(code)
    return code


def _write_json(path: Path, outcomes: Sequence[Outcome]) -> None:
    path.write_text(json.dumps({'scenarios': [outcome.to_json() for outcome in outcomes]}, indent=1) + '\n')


class Demo:
    """One run; its files are in `directory`."""

    def __init__(self, directory: Path, keep: bool) -> None:
        self._directory = directory
        self._keep = keep
        self._begun_s = time.monotonic()
        self._stage = Stage(directory, Timeline(), self._say)
        self.outcomes: List[Outcome] = []

    def _say(self, text: str) -> None:
        print_line(f'[{time.monotonic() - self._begun_s:5.1f} s] {text}')

    def play(self, scenarios: Sequence[Scenario]) -> int:
        """Exit code: 0 when all went well."""
        self._stage.start()
        self._say('all is up; the times below are seconds from the event of each scenario')
        for scenario in scenarios:
            play = Play(self._stage, scenario.name, scenario.expectation)
            self.outcomes += play.run(scenario.title, scenario.act)
            if play.problem:
                break   # what is broken now would break all that follows
        self._print_results()
        if all(outcome.ok for outcome in self.outcomes):
            return 0
        self.report_failure('demo: ' + ', '.join(outcome.name for outcome in self.outcomes if not outcome.ok)
                            + ' did not go as it must')
        return 1

    def _print_results(self) -> None:
        untouched = self._stage.gateways['gw2']
        print_line('\n' + report.table(self.outcomes))
        remark = report.remark(self.outcomes, self._stage.guest.check('uname -r').strip())
        if remark:
            print_line('\n' + remark)
        print_line('\n' + report.figures(self.outcomes, untouched, self._stage.started_s) + '\n')

    def report_failure(self, text: str) -> None:
        print(f'{text}\n\n{self._stage.log_tails()}\n', file=sys.stderr, flush=True)

    def end(self, code: int) -> int:
        """Stop everything, or say how to; the exit code, another one if the traces say that what ran was not what was
        proven."""
        if self._keep and code != INTERRUPTED:
            self._stage.stop_observers()
            self._print_what_runs()
            return code
        self._say('stopping everything')
        self._stage.stop()
        if code != INTERRUPTED:
            code = self._replay() or code
        if code == 1:
            self._say(f'nothing runs any more; the logs are in {self._directory}')
        else:
            shutil.rmtree(self._directory)
            self._say('nothing runs any more')
        return code

    def _replay(self) -> int:
        """0 when the logs of the mgrs and gateways can be replayed."""
        replayed = check([self._stage.cluster.directory])
        self._say(replayed.describe())
        for violation in replayed.violations:
            print(violation, file=sys.stderr, flush=True)
        return 1 if replayed.violations else 0

    def _print_what_runs(self) -> None:
        cluster = self._stage.cluster
        if not cluster.daemons:
            return
        (cluster.directory / MARK).touch()   # vstop.sh may end it
        qa, scripts = REPOSITORY / 'qa', REPOSITORY / 'vstart-scripts'
        guest = f'PYTHONPATH={qa} {sys.executable} -m guest'
        print_line(f'All is left up. Files and logs: {self._directory}\n'
                   f'To use the cluster:\n  export CEPH_CONF={cluster.conf}\n  ceph {nvme_gw_prefix(cluster)} show rbd g1\n'
                   f'To use the Linux host:\n  {guest} run -n host -d {self._directory} nvme-state\n'
                   f'To end it:\n  {guest} stop -n host -d {self._directory}\n'
                   f'  {scripts / "vstop.sh"} --dir {cluster.directory}')


if __name__ == '__main__':
    sys.exit(main())
