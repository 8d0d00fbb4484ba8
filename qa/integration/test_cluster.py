"""The testbed's cluster itself: what the other integration tests take for granted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import rados
import rbd

from testbed.cluster import Cluster, ClusterError, CommandFailed, running_clusters
from testbed.daemon import PROC, Daemon, ProcessIdentity
from testbed.waiting import wait_until

BLOCK = bytes(range(256)) * 256


def processes_naming(directory: Path) -> list:
    """Command lines of the running processes that name the directory."""
    found = []
    for cmdline in PROC.glob('[0-9]*/cmdline'):
        try:
            line = cmdline.read_bytes().decode(errors='replace')
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(directory) in line and 'ceph-' in line.split('\0')[0]:
            found.append(line)
    return found


def connect(cluster: Cluster, user: str, keyring: Path) -> rados.Rados:
    client = rados.Rados(conffile=str(cluster.conf), name=f'client.{user}', conf={'keyring': str(keyring)})
    client.connect(timeout=10)
    return client


def test_an_image_written_by_a_cephx_user_survives_the_death_and_return_of_an_osd(cluster):
    keyring = cluster.create_user('writer', {'mon': 'profile rbd', 'osd': 'profile rbd pool=rbd'})
    client = connect(cluster, 'writer', keyring)
    try:
        with client.open_ioctx('rbd') as pool:
            rbd.RBD().create(pool, 'survivor', 16 << 20)
            with rbd.Image(pool, 'survivor') as image:
                image.write(BLOCK, 0)
                cluster.daemons['osd.0'].kill()
                wait_until(lambda: cluster.ceph_json('osd', 'stat')['num_up_osds'] == 2, 60, 'osd.0 down')
                image.write(BLOCK, 4 << 20)
                cluster.daemons['osd.0'].restart()
                wait_until(cluster.is_clean, 120, 'osd.0 up, and refilled')
                assert image.read(0, len(BLOCK)) == BLOCK
                assert image.read(4 << 20, len(BLOCK)) == BLOCK
            rbd.RBD().remove(pool, 'survivor')
    finally:
        client.shutdown()


def test_cephx_refuses_a_user_with_another_key(cluster, tmp_path):
    cluster.create_user('honest', {'mon': 'allow r'})
    forged = tmp_path / 'forged.keyring'
    cluster.run('ceph-authtool', '--create-keyring', str(forged), '--gen-key', '-n', 'client.honest')
    with pytest.raises(rados.PermissionDeniedError):
        connect(cluster, 'honest', forged)


def test_a_failed_command_says_what_was_asked_and_what_came_back(cluster):
    with pytest.raises(CommandFailed) as failed:
        cluster.ceph('osd', 'pool', 'get', 'nosuchpool', 'size')
    assert failed.value.rc == 2
    assert 'ceph osd pool get nosuchpool size' in str(failed.value)
    assert 'nosuchpool' in failed.value.stderr


def test_another_process_stops_one_of_two_clusters_and_leaves_nothing_of_it(cluster, tmp_path):
    second = Cluster(tmp_path / 'second', mgrs=1, osds=1)
    with second:
        second.start()
        assert second.ceph('fsid') != cluster.ceph('fsid')
        assert second.directory in running_clusters()
        program = f'from testbed.cluster import Cluster; Cluster.attach({str(second.directory)!r}).stop()'
        subprocess.run([sys.executable, '-c', program], check=True, timeout=60,
                       cwd=Path(sys.modules['testbed'].__file__).parents[1])
        wait_until(lambda: not processes_naming(second.directory), 10, 'all of its processes to end')
        assert second.directory not in running_clusters()
        cluster.check_daemons()


def test_a_start_that_fails_halfway_leaves_no_process(tmp_path):
    def interrupt(line: str) -> None:
        if 'osd' in line:
            raise KeyboardInterrupt

    halfway = Cluster(tmp_path / 'halfway')
    with pytest.raises(KeyboardInterrupt):
        halfway.start(interrupt)
    assert set(halfway.daemons) == {'mon.a', 'mgr.x', 'mgr.y'}
    assert not processes_naming(halfway.directory)


def test_a_directory_that_holds_something_is_left_alone(tmp_path):
    precious = tmp_path / 'precious'
    precious.write_text('mine')
    with pytest.raises(ClusterError, match='not empty'):
        Cluster(tmp_path).start()
    assert list(tmp_path.iterdir()) == [precious]


def test_a_process_that_got_the_pid_of_a_dead_daemon_is_never_signalled(tmp_path):
    bystander = Daemon('bystander', ['/usr/bin/sleep', '60'], tmp_path / 'log', tmp_path / 'log')
    bystander.start()
    try:
        state = bystander.to_state()
        state['process']['start_ticks'] -= 1
        dead = Daemon.from_state(state)
        assert not dead.alive()
        assert not dead.kill()
        dead.stop()
        assert bystander.alive()
    finally:
        bystander.stop()
    assert not bystander.alive()


def test_a_process_of_which_a_thread_executes_another_program_is_never_taken_for_dead(tmp_path):
    """Its first thread is a zombie for a moment, as a ceph-mgr's is that is to load a module."""
    program = tmp_path / 'again.py'
    program.write_text('import os, sys, threading, time\n'
                       'left = int(sys.argv[1])\n'
                       'again = [sys.executable, sys.argv[0], str(left - 1)]\n'
                       'if left:\n'
                       '    threading.Timer(0.002, os.execv, [sys.executable, again]).start()\n'
                       'time.sleep(60 if left else 0)\n')
    process = subprocess.Popen([sys.executable, str(program), '40'])
    identity = ProcessIdentity.of(process.pid)
    dead_while_it_ran = 0
    while process.poll() is None:
        dead = not identity.alive()
        dead_while_it_ran += dead and process.poll() is None
    assert dead_while_it_ran == 0 and not identity.alive()
