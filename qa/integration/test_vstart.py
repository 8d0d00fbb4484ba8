"""vstart.sh and vstop.sh, as a user runs them."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from pathlib import Path

from testbed.daemon import CLEAN_ENVIRONMENT, PROC
from testbed.waiting import wait_until

SCRIPTS = Path(__file__).resolve().parents[2] / 'vstart-scripts'


def run(*argv: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(argv, env={**CLEAN_ENVIRONMENT, **variables}, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, check=False)


def processes_naming(directory: Path) -> list:
    found = []
    for cmdline in PROC.glob('[0-9]*/cmdline'):
        try:
            words = cmdline.read_bytes().decode(errors='replace').split('\0')
        except (FileNotFoundError, ProcessLookupError):
            continue
        if any(word.startswith(str(directory)) for word in words):
            found.append(words)
    return found


def test_what_vstart_prints_can_be_used_and_vstop_leaves_nothing(tmp_path):
    directory = tmp_path / 'v'
    started = run(str(SCRIPTS / 'vstart.sh'), '--gateways', '1', '--osds', '1', '--dir', str(directory))
    try:
        assert started.returncode == 0, started.stdout
        conf = re.search(r'export CEPH_CONF=(\S+)', started.stdout).group(1)
        look = re.search(r'  (ceph \S+ status)', started.stdout).group(1)
        shown = run(*look.split(), '--format', 'json', CEPH_CONF=conf)
        gateway, = json.loads(shown.stdout)['groups'][0]['gateways']
        assert (gateway['id'], gateway['availability'], gateway['problems']) == ('gw1', 'AVAILABLE', [])
        page = re.search(r'Status page: (\S+)', started.stdout).group(1)
        with urllib.request.urlopen(page, timeout=20) as answer:
            assert b'<h1>NVMe-oF gateways</h1>' in answer.read()
        # A second start in the same directory is refused and disturbs nothing of the first.
        again = run(str(SCRIPTS / 'vstart.sh'), '--dir', str(directory))
        assert again.returncode == 1 and 'not empty' in again.stdout, again.stdout
        status = run(str(SCRIPTS / 'vstart.sh'), '--status')
        processes = re.search(r'gw1: API .*; (.*)', started.stdout).group(1)
        assert re.match(r'warden \d+, agent \d+, target \d+$', processes), started.stdout
        assert processes in status.stdout
        for line in re.findall(r'  (nvmeof-gw (?:subsystem|listener) add .*)', started.stdout):
            made = run(str(SCRIPTS.parent / '.venv/bin' / line.split()[0]), *line.split()[1:],
                       CEPH_NVMEOF_SERVER_ADDRESS=re.search(r'SERVER_ADDRESS=(\S+)', started.stdout).group(1),
                       CEPH_NVMEOF_SERVER_PORT=re.search(r'SERVER_PORT=(\S+)', started.stdout).group(1))
            assert made.returncode == 0, made.stdout
        added = run(str(SCRIPTS / 'vstart.sh'), '--add', '--dir', str(directory))
        assert added.returncode == 0 and 'gw2: API 127.0.0.3:' in added.stdout, added.stdout
        assert 'listens in 1 subsystems\n    nqn.2016-06.io.spdk:example' in added.stdout
        shown = run(*look.split(), '--format', 'json', CEPH_CONF=conf)
        second = json.loads(shown.stdout)['groups'][0]['gateways'][1]
        assert (second['id'], second['availability']) == ('gw2', 'AVAILABLE')
    finally:
        stopped = run(str(SCRIPTS / 'vstop.sh'), '--dir', str(directory))
    assert stopped.returncode == 0, stopped.stdout
    wait_until(lambda: not processes_naming(directory), 10, f'all processes of {directory} to end')
    assert not directory.exists()


def test_a_wrong_argument_is_refused_before_anything_starts(tmp_path):
    refused = run(str(SCRIPTS / 'vstart.sh'), '--gateways', '33', '--dir', str(tmp_path / 'v'))
    assert refused.returncode == 2 and '0 to 32' in refused.stdout, refused.stdout
    assert not (tmp_path / 'v').exists()


def test_a_gateway_is_added_only_where_a_cluster_runs(tmp_path):
    refused = run(str(SCRIPTS / 'vstart.sh'), '--add', '--dir', str(tmp_path))
    assert refused.returncode == 1 and 'no cluster in' in refused.stdout, refused.stdout


def test_vstop_of_a_directory_without_a_cluster_says_so(tmp_path):
    refused = run(str(SCRIPTS / 'vstop.sh'), '--dir', str(tmp_path))
    assert refused.returncode == 1 and 'no cluster in' in refused.stdout, refused.stdout
    assert tmp_path.exists()
