"""A short run of the thrasher, as a user starts it: nothing is lost, stale, or optimized twice, and all comes back.

Three minutes with its start. What is found must not depend on how busy the machine is, so nothing here is about speed;
longer runs are made by hand: `./qa/thrash.sh --minutes 10 --seed N`.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import tempfile
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from testbed.cluster import REPOSITORY
from testbed.daemon import PROC
from testbed.namespaces import Network, NetworkError
from thrash.result import SPEED

RUN_S = 1200   # far more than it takes; a round that does not settle is waited for
SEED = 2675
ARGUMENTS = ['--minutes', '3', '--rounds', '2', '--seed', str(SEED), '--fault-seconds', '15', '--heal-seconds', '0']
ON_ANY_MACHINE_NONE = ('lost', 'stale', 'overlaps', 'history_problems', 'not_settled')
MAY_BE = SPEED | {'errors'}
"""A host that waits for too long on a busy machine may give up an I/O."""

class Thrasher:
    """A run of it, under way since this was made."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix='nvmeof-ha-test-run-')
        self._figures, self._output = (Path(self._directory.name) / name for name in ('thrash.json', 'output'))
        self.command = [str(REPOSITORY / 'qa/thrash.sh'), *ARGUMENTS, *_network()]
        with self._output.open('wb') as output:
            self._process = subprocess.Popen([*self.command, '--json', str(self._figures)], stdout=output,
                                             stderr=subprocess.STDOUT, start_new_session=True)

    def figures(self) -> Dict[str, Any]:
        """Waits for its end; `output` has what it printed."""
        self._process.wait(RUN_S)
        output = self._output.read_text(errors='replace')
        assert self._figures.exists(), f'it gave no figures\n{output}'
        return {**json.loads(self._figures.read_text()), 'output': output}

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(120)
        self._directory.cleanup()


RUNNING: List[Thrasher] = []


def start(_pool: Executor, items: List[pytest.Item]) -> None:
    """Beside the tests of other layers: it waits most of the time, as they do."""
    RUNNING.append(Thrasher())
    items[0].config.add_cleanup(RUNNING[0].end)


pytestmark = [pytest.mark.timeout(RUN_S + 60), pytest.mark.in_background(begin=start)]


@pytest.fixture(scope='module')
def run(say: Callable[[str], None]) -> Dict[str, Any]:
    """Its figures."""
    say(f'seed {SEED}; to repeat it: {shlex.join(RUNNING[0].command)}')
    figures = RUNNING[0].figures()
    for line in figures['output'].splitlines():
        say(line)
    return figures


def _network() -> List[str]:
    try:
        with Network():
            return []
    except NetworkError:
        return ['--one-network']


def test_two_rounds_are_played_and_break_something(run: Dict[str, Any]) -> None:
    assert run['rounds_played'] == 2
    assert run['injected'] >= 2


@pytest.mark.parametrize('figure', ON_ANY_MACHINE_NONE)
def test_none(run: Dict[str, Any], figure: str) -> None:
    assert run[figure] == 0, run['findings']


def test_there_is_no_finding_that_is_wrong_on_any_machine(run: Dict[str, Any]) -> None:
    assert set(run['findings']) <= MAY_BE, run['findings']


def test_what_ran_is_what_was_proven(run: Dict[str, Any], figures: Callable[..., None]) -> None:
    figures(rounds=run['rounds_played'], faults=run['injected'], steps=run['replay']['steps'])
    assert run['replay']['steps'] > 0
    assert run['replay']['violations'] == 0


def test_it_leaves_nothing_running(run: Dict[str, Any]) -> None:
    directories = {str(Path(*Path(word).parts[:3])) for word in run['output'].split()
                   if word.startswith('/tmp/nvmeof-ha-thrash-')}
    assert len(directories) == 1
    left = []
    for cmdline in PROC.glob('[0-9]*/cmdline'):
        try:
            text = cmdline.read_bytes().decode(errors='replace')
        except (FileNotFoundError, ProcessLookupError):
            continue
        left += [text for directory in directories if directory in text]
    assert left == []
