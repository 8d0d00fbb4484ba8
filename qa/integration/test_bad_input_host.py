"""A gateway host that is set up wrongly, on a real cluster: what its log says, and that mending it is enough."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from mgr_peer import SeatReader, connect
from testbed.cluster import POOL, Cluster
from testbed.gateway import Gateway
from testbed.ports import free_ports
from testbed.waiting import wait_until

NUMBERS = itertools.count(1)
MOST_STARTS = 7
"""Of a target that ends at once, in the 10 s for which such a test may last."""


@pytest.fixture
def gateway(cluster: Cluster) -> Iterator[Gateway]:
    """Created, not started, in a group of its own."""
    cluster.enable_module('nvmeof_ha')
    group = f'host{next(NUMBERS)}'
    made = Gateway(cluster, f'{group}-1', '127.0.0.31', group)
    made.create()
    try:
        yield made
    finally:
        made.stop()


def change(gateway: Gateway, old: str, new: str) -> None:
    text = gateway.settings.read_text()
    assert old in text
    gateway.settings.write_text(text.replace(old, new))


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(mode)
    return path


def log_of(gateway: Gateway) -> str:
    return gateway.warden.log.read_text(errors='replace')


def logged(gateway: Gateway, text: str, timeout_s: float = 40) -> None:
    wait_until(lambda: text in log_of(gateway), timeout_s, f'the log to say {text!r}')


@pytest.fixture
def last_number(cluster: Cluster, gateway: Gateway) -> Iterator[Callable[[], int]]:
    """How many instances the map has seen of the gateway."""
    client = connect(cluster)
    seats = SeatReader(client, gateway.group)
    yield lambda: seats.wait_for(lambda m: m, 20, 'a map').gateway(gateway.name).last_number
    client.shutdown()


@pytest.mark.parametrize('make, said', [
    (lambda directory: directory / 'no-such-target', 'No such file or directory'),
    (lambda directory: script(directory / 'not-executable', 'exit 0', 0o644), 'Permission denied'),
    (lambda directory: directory, 'Permission denied'),
], ids=['missing', 'not executable', 'a directory'])
def test_a_target_that_cannot_be_started_is_named_once_and_started_once_that_is_mended(
        gateway, last_number, tmp_path, make, said):
    target = make(tmp_path)
    change(gateway, f'tgt_path = {gateway.target}', f'tgt_path = {target}')
    gateway.start()
    logged(gateway, f'the target {target} cannot be started: ')
    assert said in log_of(gateway) and 'correct the option tgt_path in section [spdk]' in log_of(gateway)
    assert gateway.availability() == 'CREATED'
    gateway.stop()
    assert log_of(gateway).count('cannot be started') == 1
    change(gateway, f'tgt_path = {target}', f'tgt_path = {gateway.target}')
    gateway.start()
    gateway.wait_available()
    assert last_number() <= 3, 'starts that failed were no instances'


def test_a_target_that_ends_at_once_is_started_ever_more_seldom_and_its_words_are_in_the_log(
        gateway, last_number, tmp_path):
    broken = script(tmp_path / 'broken', 'echo "no memory, says this target" >&2; exit 3')
    change(gateway, f'tgt_path = {gateway.target}', f'tgt_path = {broken}')
    gateway.start()
    logged(gateway, 'the last 4 targets have all ended within 10 s of their start, this one: it ended by itself '
                    '(exit status 3)')
    text = log_of(gateway)
    assert 'no memory, says this target' in text and 'tgt_path and tgt_cmd_extra_args in section [spdk]' in text
    assert last_number() <= MOST_STARTS, 'every start is an instance of its own in the map'
    gateway.stop()
    change(gateway, f'tgt_path = {broken}', f'tgt_path = {gateway.target}')
    gateway.start()
    gateway.wait_available()


def test_a_wrong_argument_of_the_target_is_seen_in_the_log(gateway):
    change(gateway, '[spdk]', '[spdk]\ntgt_cmd_extra_args = --no-such-option')
    gateway.start()
    logged(gateway, 'no-such-option')
    logged(gateway, 'tgt_cmd_extra_args in section [spdk]')


@pytest.mark.parametrize('caps, said', [
    ({}, "the mons refuse client.nvmeof."),
    ({'mon': 'profile rbd'}, "this gateway's user lacks caps"),   # EPERM, or no answer from Ceph 18 on
    ({'mon': 'profile rbd', 'osd': f'profile rbd pool={POOL} namespace=tenant'}, "this gateway's user lacks caps"),
], ids=['none', 'mon only', 'another namespace'])
def test_missing_caps_are_named_with_those_that_are_needed(gateway, cluster, caps, said):
    words: List[str] = [word for pair in caps.items() for word in pair]
    cluster.ceph('auth', 'caps', f'client.nvmeof.{gateway.name}', *(words or ['mgr', 'allow r']))
    gateway.start()
    logged(gateway, said)
    assert "mon 'profile rbd' osd 'profile rbd pool=rbd'" in log_of(gateway)
    assert 'target' not in gateway.pids()


def test_a_group_of_another_name_is_waited_for_and_a_name_that_cannot_be_is_refused(gateway):
    change(gateway, f'group = {gateway.group}', 'group = elsewhere')
    gateway.start()
    logged(gateway, 'nvmeof_ha.elsewhere.index cannot be read (ENOENT): this gateway group has no gateway map here '
                    "yet, or the option group, pool or control_pool is not the group's")
    gateway.stop()
    change(gateway, 'group = elsewhere', 'group = a/b')
    gateway.start()
    logged(gateway, "option group in section [gateway] is 'a/b'; allowed is 1 to 128 characters out of letters")
    wait_until(lambda: not gateway.warden.alive(), 10, 'the warden to end')


def test_an_unreachable_mon_is_asked_again_and_found_when_it_is_there(gateway, tmp_path):
    conf = tmp_path / 'ceph.conf'
    conf.write_text(f"[global]\nmon_host = 127.0.0.1:{free_ports(1)[0]}\n")
    change(gateway, f'config_file = {gateway.cluster.conf}', f'config_file = {conf}')
    gateway.start()
    logged(gateway, f'the mons named in {conf} did not answer within 5 s')
    logged(gateway, 'Trying again in')
    conf.write_text(gateway.cluster.conf.read_text())
    gateway.wait_available()


def cli(address: str, port: int, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', 'gw_agent.client', '--server-address', address, '--server-port',
                           str(port), *args], text=True, capture_output=True, timeout=90, check=False)


def test_the_client_says_whether_a_gateway_is_not_there_or_does_not_serve_yet(gateway):
    absent = cli(gateway.address, gateway.api_port, 'subsystem', 'list')
    assert absent.returncode == 1 and absent.stdout == ''
    assert f'the gateway at {gateway.address}:{gateway.api_port} did not answer list_subsystems' in absent.stderr
    change(gateway, f'name = {gateway.name}', 'name = never-created')
    gateway.start()
    wait_until(lambda: (gateway.run_directory / 'api.json').exists(), 40, 'the API')
    assert json.loads((gateway.run_directory / 'api.json').read_text())['port'] == gateway.api_port

    def waiting() -> str:
        return cli(gateway.address, gateway.api_port, 'subsystem', 'add', '-n', 'nqn.2016-06.io.spdk:early').stderr
    said = wait_until(lambda: (text := waiting()) and 'does not name it' in text and text, 20, 'the reason')
    assert 'gateway never-created does not serve yet: the gateway map does not name it; create it with: ceph ' in said
    assert f'create never-created {POOL} {gateway.group}' in said
    status = cli(gateway.address, gateway.api_port, 'status')
    assert status.returncode == 0 and 'never-created does not serve: the gateway map does not name it' in status.stdout
    assert re.search(rf'^{gateway.name} +created .*$', status.stdout, re.MULTILINE), status.stdout


def test_a_target_without_an_rpc_socket_is_named_and_waited_for(gateway, tmp_path):
    mute = script(tmp_path / 'mute', 'exec sleep 600')
    change(gateway, f'tgt_path = {gateway.target}', f'tgt_path = {mute}')
    gateway.start()
    logged(gateway, f'does not answer JSON-RPC at {gateway.rpc_socket} yet')
    assert gateway.availability() == 'CREATED'
