"""The demo, whole, as a user runs it: what it measured is as the issue asks, and it leaves nothing running.

Speed is printed and not asserted: on a busy machine it says more of the machine than of the code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

import pytest

from testbed.cluster import REPOSITORY
from testbed.daemon import PROC
from testbed.demo_options import SCENARIO_NAMES
from testbed.scenarios import SCENARIOS
from testbed.waiting import wait_until

DEMO = REPOSITORY / 'vstart-scripts' / 'demo.sh'
DEMO_S = 900
STAYING = ('agent-crash', 'namespace-moved')
"""Scenarios in which no ANA group moves."""
MOVING = [name for name in SCENARIO_NAMES if name not in STAYING]
PAUSED = 'paused-host'

pytestmark = pytest.mark.timeout(DEMO_S + 60)


class Run(NamedTuple):
    code: int
    output: str
    scenarios: List[Dict[str, Any]]

    def entry(self, name: str) -> Dict[str, Any]:
        found = [entry for entry in self.scenarios if entry['name'] == name]
        assert len(found) == 1, f'{len(found)} entries named {name}\n{self.output}'
        return found[0]


class RunningDemo:
    """demo.sh in a process group of its own; ended when the test ends."""

    def __init__(self, *arguments: str) -> None:
        self.lines: List[str] = []
        self.process = subprocess.Popen([str(DEMO), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, errors='replace', start_new_session=True)

    def read_until(self, wanted: str, say: Callable[[str], None]) -> str:
        """Its output up to the line that has `wanted`, or to its end."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            say(line.rstrip('\n'))
            if wanted and wanted in line:
                break
        return ''.join(self.lines)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[Run]:
    """All scenarios, played once."""
    data = tmp_path_factory.mktemp('demo') / 'demo.json'
    demo = RunningDemo('--json', str(data))
    try:
        output = demo.read_until('', say)
        code = demo.process.wait()
        yield Run(code, output, json.loads(data.read_text())['scenarios'] if data.exists() else [])
    finally:
        demo.end()


def test_it_succeeds_and_plays_every_scenario_in_order(run: Run) -> None:
    assert run.code == 0, run.output
    expected = [name for scenario in SCENARIO_NAMES
                for name in ((scenario, 'failback') if scenario in MOVING else (scenario,))]
    assert [entry['name'] for entry in run.scenarios] == expected


@pytest.mark.parametrize('name', SCENARIO_NAMES)
def test_a_scenario_goes_as_it_must(run: Run, name: str) -> None:
    entry = run.entry(name)
    assert entry['ok'], entry
    assert entry['moved'] == (name in MOVING)
    assert (entry['switch_s'] is not None) == (name in MOVING)
    assert (entry['lost'], entry['stale']) == (0, 0), entry
    if name != PAUSED:
        assert (entry['io_errors'], entry['overlaps']) == (0, 0), entry
    times = [seconds for seconds, _text in entry['timeline']]
    assert times == sorted(times) and 0 in times


@pytest.mark.parametrize('name', STAYING)
def test_where_no_ana_group_moves_none_loses_its_path(run: Run, name: str) -> None:
    assert run.entry(name)['no_path_s'] == 0


def test_every_failback_returns_the_ana_group_without_loss_or_error(run: Run) -> None:
    failbacks = [entry for entry in run.scenarios if entry['name'] == 'failback']
    assert len(failbacks) == len(MOVING)
    for entry in failbacks:
        assert entry['ok'] and entry['moved'] and entry['switch_s'] is not None, entry
        assert (entry['io_errors'], entry['lost'], entry['stale'], entry['overlaps']) == (0, 0, 0, 0), entry


def test_the_output_ends_with_the_table_and_the_figures(run: Run) -> None:
    after = run.output[run.output.index('host stall s'):]
    for name in (*SCENARIO_NAMES, 'failback', 'target crash: to the new optimized listener', 'of a core'):
        assert name in after


def test_it_leaves_nothing_running_and_no_files(run: Run) -> None:
    assert directories_named_by_processes(run.output) == []
    assert 'nothing runs any more' in run.output


def test_interrupted_while_it_starts_it_leaves_nothing_running(say: Callable[[str], None]) -> None:
    demo = RunningDemo()
    try:
        demo.read_until('osd', say)
        os.killpg(demo.process.pid, signal.SIGINT)   # as the terminal does it
        output = demo.read_until('', say)
        assert demo.process.wait(120) == 130, output
    finally:
        demo.end()
    wait_until(lambda: not directories_named_by_processes(output), 10, 'the last processes to end')


def test_a_scenario_that_is_not_there_is_refused_with_the_names_of_those_that_are() -> None:
    done = subprocess.run([str(DEMO), '--scenario', 'nonsense'], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert all(name in done.stderr for name in SCENARIO_NAMES)


def test_every_scenario_that_can_be_asked_for_is_there() -> None:
    assert tuple(scenario.name for scenario in SCENARIOS) == SCENARIO_NAMES


def directories_named_by_processes(output: str) -> List[str]:
    """Command lines of processes that use the demo's directory, which its output names."""
    words = [Path(word) for word in output.split() if word.startswith('/tmp/nvmeof-ha-demo-')]
    assert words, f'the demo names no directory\n{output}'
    directory = Path(*words[0].parts[:3])
    found = []
    for cmdline in PROC.glob('[0-9]*/cmdline'):
        try:
            text = cmdline.read_bytes().decode(errors='replace')
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in text:
            found.append(text.replace('\0', ' '))
    if directory.exists():
        found.append(f'{directory} still exists')
    return found
