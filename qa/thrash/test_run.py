"""A short run of the thrasher, as a user starts it: nothing is lost, stale, or optimized twice, and all comes back.

Three minutes with its start. What is found must not depend on how busy the machine is, so nothing here is about speed;
longer runs are made by hand: `./qa/thrash.sh --minutes 10 --seed N`.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

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

pytestmark = pytest.mark.timeout(RUN_S + 60)


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[Dict[str, Any]]:
    """Its figures; `output` has what it printed."""
    file = tmp_path_factory.mktemp('thrash') / 'thrash.json'
    command = [str(REPOSITORY / 'qa/thrash.sh'), *ARGUMENTS, *_network(), '--json', str(file)]
    say(f'seed {SEED}; to repeat it: {shlex.join(command[:-2])}')
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace',
                               start_new_session=True)
    lines: List[str] = []
    try:
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            say(line.rstrip('\n'))
        process.wait()
        assert file.exists(), 'it gave no figures'
        yield {**json.loads(file.read_text()), 'output': ''.join(lines)}
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)


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
