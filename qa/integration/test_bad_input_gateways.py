"""What comes in from outside while two real gateways serve: it is named, and disturbs neither of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Iterator

import pytest

from mgr_peer import notify, wait_for_health
from nvmeof_ha.core import register, wire
from nvmeof_ha.core.events import Beacon
from nvmeof_ha.core.model import Instance, Version
from served_pair import ServedPair
from target_sim.target_process import RpcClient
from testbed.cluster import Cluster
from testbed.daemon import Daemon
from testbed.gateway import nvme_gw
from testbed.waiting import wait_until


@pytest.fixture(scope='module')
def pair(cluster: Cluster) -> Iterator[ServedPair]:
    cluster.enable_module('nvmeof_ha')
    with ServedPair(cluster, 'badinput', 20) as served:
        yield served


@pytest.fixture
def second(pair: ServedPair, tmp_path: Path) -> Iterator[Daemon]:
    """The warden of a second machine that has the first gateway's settings but for address and run directory."""
    one = pair.one
    settings = tmp_path / 'gateway.ini'
    settings.write_text(one.settings.read_text().replace(one.address, '127.0.0.29')
                        .replace(f'port = {one.api_port}', 'port = 0')
                        .replace(str(one.run_directory), str(tmp_path / 'run')))
    log = tmp_path / 'gateway.log'
    warden = Daemon('second', [sys.executable, '-m', 'gw_agent.warden', '--config', str(settings)], log, log)
    try:
        yield warden
    finally:
        warden.stop()


def logged(daemon: Daemon, text: str, timeout_s: float = 40) -> None:
    wait_until(lambda: text in daemon.log.read_text(errors='replace'), timeout_s, f'{daemon.log} to say {text!r}')


def test_a_second_machine_waits_undisturbing_and_takes_over_when_the_first_is_stopped(pair, second):
    first = pair.wait_well().gateway(pair.one.name).instance
    with pair.undisturbed():
        second.start()
        logged(second, f'no target yet: gateway id {pair.one.name!r} is in use by instance {first}')
        logged(second, 'give this one an id of its own (option name in section [gateway])')
        logged(second, f'gateway id {pair.one.name!r} is in use by instance {first}')   # the mgr's own words
    assert pair.seats.agreed().gateway(pair.one.name).instance == first
    pair.one.stop()
    successor = pair.seats.wait_for(lambda m: m.gateway(pair.one.name).instance and
                                    m.gateway(pair.one.name).instance != first, 30, 'the second to be admitted')
    logged(second, f'instance {successor.gateway(pair.one.name).instance} serves 1 subsystems')
    second.stop()
    pair.one.start()
    pair.wait_well()


def test_beacons_of_strangers_older_instances_and_earlier_moments_change_nothing(pair):
    before = pair.wait_well()
    own = before.gateway(pair.one.name).instance
    older = Instance(own.gateway, own.number, 'ffffffff')
    stray = [Beacon(own.gateway, own, sequence=0, leaving=True, subsystems=()),
             Beacon(own.gateway, older, sequence=2 ** 60, leaving=True, reaped=(older,)),
             Beacon(own.gateway, Instance(own.gateway, own.number + 7, 'e'), sequence=1, version=Version(10 ** 6, 1)),
             Beacon('never-created', Instance('never-created', 1, 'a'), sequence=1)]
    newer = json.dumps({**json.loads(wire.encode_beacon(stray[0])), 'format': 2})
    texts = [wire.encode_beacon(beacon).decode() for beacon in stray] + [newer, '', 'garbage', '[]', 'x' * 200_000]

    answers = {texts[1]: f'gateway id {own.gateway!r} is in use by instance {own}',
               texts[3]: "gateway 'never-created' is not in rbd/badinput: create it first",
               newer: 'format 2, this release understands 1 only: upgrade the older side'}

    def refused(text: str) -> bool:
        """The mgr has worked the text off: the answer to it was prepared before that."""
        said = wire.decode_ack(notify(pair.seats, texts[0])).refused.values()
        return any(answers.get(text, '') in why for why in said) or text not in answers
    with pair.undisturbed():
        for text in texts:
            notify(pair.seats, text)
            wait_until(lambda: refused(text), 10, f'the answer to {text[:60]}')
        agreed = pair.seats.agreed()
    assert agreed == before, 'nothing was stored'
    wait_for_health(pair.cluster, 'NVMEOF_HA_BAD_BEACON', 'not JSON')


def test_health_names_a_subsystem_that_allows_any_host(pair):
    wait_for_health(pair.cluster, 'NVMEOF_HA_EXPOSED', f'subsystem {pair.nqn} allows any host')


ON_A_BUSY_MACHINE = {'NVMEOF_HA_CONTROL_OBJECTS', 'NVMEOF_HA_MGR_LATE', 'NVMEOF_HA_MASS_SILENCE',
                     'NVMEOF_HA_SEATS_CLOSE'}


def test_health_tells_of_an_ana_state_set_by_hand_and_of_nothing_else_that_is_well(pair):
    checks = pair.cluster.ceph_json('health', 'detail')['checks']
    told = {code for code, check in checks.items() if code.startswith('NVMEOF_')
            and any(f'rbd/{pair.group}' in line['message'] for line in check['detail'])}
    assert told - ON_A_BUSY_MACHINE <= {'NVMEOF_HA_EXPOSED', 'NVMEOF_HA_BAD_BEACON'}
    with closing(RpcClient(pair.two.rpc_socket)) as target:
        where = {'trtype': 'TCP', 'adrfam': 'IPv4', 'traddr': pair.two.address, 'trsvcid': str(pair.two.listener_port)}
        target.call('nvmf_subsystem_listener_set_ana_state', nqn=pair.nqn, ana_state='non_optimized', anagrpid=1,
                    listen_address=where)
    wait_for_health(pair.cluster, 'NVMEOF_HA_ANA_DRIFT',
                    f'gateway {pair.two.name} found ANA states that it had not set')
    pair.wait_well()


def test_each_gateway_tells_the_whole_group_and_its_counters(pair):
    for gateway in pair.gateways:
        told = json.loads(cli(gateway, '--format', 'json', 'status').stdout)
        assert (told['answered_by'], told['not_serving']) == (gateway.name, '') and told['map_age_s'] < 5
        assert [(g['name'], g['availability'], g['problems']) for g in told['gateways']] == [
            (pair.one.name, 'AVAILABLE', []), (pair.two.name, 'AVAILABLE', [])]
        assert [(a['holder'], a['phase'], a['namespaces']) for a in told['ana_groups']] == [
            (pair.one.name, 'ACTIVE', 1), (pair.two.name, 'ACTIVE', 1)]
        assert {a['id']: a['target_state'] for a in told['ana_groups']} == pair.well[gateway.name]
    also = f'{pair.two.address}:{pair.two.api_port}'
    seen = json.loads(cli(pair.one, '--format', 'json', 'top', '-i', '0.5', '-c', '1', '--also', also).stdout)
    assert [(n['nsid'], n['optimized_at']) for n in seen['namespaces']] == [(1, pair.one.name), (2, pair.two.name)]


@pytest.mark.parametrize('damaged', [1, 2, 3])
@pytest.mark.parametrize('value, said', [(b'\x00garbage', 'not JSON'), (b'{"format": 2}', 'format 2, this release')])
def test_seats_with_garbage_or_a_newer_map_get_theirs_back_while_the_gateways_serve(pair, damaged, value, said):
    before = pair.wait_well()
    wait_until(lambda: pair.seats.maps() == [before] * 3, 20, 'three equal seats')
    names = pair.seats.names[:damaged]
    with pair.undisturbed():
        for name in names:
            pair.seats.put(name, {register.MAP_KEY: value})
        wait_until(lambda: None not in pair.seats.maps(), 10, 'the maps to be back')
        lease_end = time.monotonic() + before.timing.lease_s
        wait_until(lambda: time.monotonic() > lease_end, 10, 'a lease that nobody could have extended to end')
    told = [f'{name} was written by somebody else (map: {said}' for name in names]
    wait_for_health(pair.cluster, 'NVMEOF_HA_CONTROL_OBJECTS', *told)
    assert pair.seats.maps() == [before] * 3, 'the same version: nothing else was decided'


def test_a_lost_seat_comes_back_while_the_gateways_serve(pair):
    before = pair.wait_well()
    with pair.undisturbed():
        pair.seats.ioctx.remove_object(pair.seats.names[0])
        wait_until(lambda: pair.seats.maps() == [before] * 3, 20, 'three equal seats')


def cli(gateway, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', 'gw_agent.client', '--server-address', gateway.address, '--server-port',
                           str(gateway.api_port), *args], text=True, capture_output=True, timeout=90, check=False)


def test_a_listener_on_a_port_in_use_and_one_that_exists_are_refused_and_not_stored(pair):
    where = ('-n', pair.nqn, '-t', pair.one.name, '-a', pair.one.address, '-s')
    before = cli(pair.one, 'listener', 'list', '-n', pair.nqn).stdout
    for port, said in ((pair.one.api_port, 'is the port free?'), (pair.one.listener_port, 'already')):
        refused = cli(pair.one, 'listener', 'add', *where, str(port))
        assert refused.returncode == 1 and said in refused.stderr, refused
    assert cli(pair.one, 'listener', 'list', '-n', pair.nqn).stdout == before


def test_a_deleted_gateway_that_served_is_handed_over_and_can_be_created_again(pair):
    nvme_gw(pair.cluster, 'delete', pair.two.name, 'rbd', pair.group)
    pair.seats.wait_for(lambda m: m.ana_group(2) and m.ana_group(2).holder and
                        m.ana_group(2).holder.gateway == pair.one.name, 30, 'the handover')
    assert nvme_gw(pair.cluster, 'delete', pair.two.name, 'rbd', pair.group) == ''
    nvme_gw(pair.cluster, 'create', pair.two.name, 'rbd', pair.group)
    if not pair.two.warden.alive():
        pair.two.start()
    pair.wait_well()
