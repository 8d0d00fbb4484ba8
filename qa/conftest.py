"""Fixtures of all layers: one Ceph cluster for the whole run, and the target program.

The cluster is started by the first test that asks for it and stopped when the run ends, also by SIGTERM.
A failed test gets the last log lines of every process that its fixtures run.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from background import Background
from conformance import check
from layer_figures import LayerFigures
from testbed.cluster import Cluster

STAND_IN_TARGET = Path(__file__).parent / 'target_sim' / 'nvmf_tgt'


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption('--all-faults', action='store_true', help='every fault of test_killed_anywhere.py, not a sample')
    parser.addoption('--json', type=Path, metavar='FILE', help="write each layer's figures to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Background(), 'background')
    config.pluginmanager.register(LayerFigures(config.getoption('--json')), 'layer_figures')
    # By default SIGTERM ends the interpreter at once, and the cluster would stay behind.
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit('ended by SIGTERM', returncode=143))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell starts what runs in the background; programs under test would ignore Ctrl-C, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """What needs no shared cluster comes first: else it would run beside an idle one, which takes half a core.  (What is
    computed in the background comes after all.)"""
    shared = {item.path for item in items if 'cluster' in getattr(item, 'fixturenames', ())}
    items.sort(key=lambda item: item.path in shared)


@pytest.fixture(scope='session')
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at once, past pytest's capturing: for the progress of long steps."""
    capture = request.config.pluginmanager.getplugin('capturemanager')

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f'\n  {text}', end='', flush=True)
    return line


@pytest.fixture(scope='session')
def cluster(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[Cluster]:
    """A running cluster, shared by all tests: who breaks a part of it mends it again.  At its end everything that its mgrs
    and gateways decided is replayed (`conformance`)."""
    with Cluster(tmp_path_factory.mktemp('cluster')) as shared:
        shared.start(say)
        yield shared
    replayed = check([shared.directory])
    say(replayed.describe())
    if replayed.violations:
        pytest.fail('\n'.join(replayed.violations), pytrace=False)


@pytest.fixture(autouse=True)
def whole_cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """A daemon of the shared cluster that ended by itself is an error of the test that ran, and not of a later one."""
    yield
    if 'cluster' in request.fixturenames:
        shared: Cluster = request.getfixturevalue('cluster')
        try:
            shared.check_daemons()
        finally:
            for daemon in shared.daemons.values():
                if not daemon.alive():
                    daemon.restart()


@pytest.fixture(scope='session')
def nvmf_tgt() -> Path:
    """The target program: $NVMF_TGT, or the stand-in."""
    path = Path(os.environ.get('NVMF_TGT') or STAND_IN_TARGET)
    if not os.access(path, os.X_OK):
        pytest.fail(f'the target program {path} is not an executable file; set NVMF_TGT to the path of an '
                    'nvmf_tgt, or unset it to test with the stand-in')
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        for name, value in getattr(item, 'funcargs', {}).items():
            if hasattr(value, 'log_tails'):   # Cluster, and whatever else runs processes for a test
                report.sections.append((f'logs of {name}', value.log_tails()))
    return report
