"""Claims about who else on the host gets at a running gateway's files."""
from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

from nvmeof_ha.core.release import RELEASE
from target_sim.initiator import Host
from testbed.waiting import wait_until

READS = 20
FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def test_a_subsystem_that_allows_any_host_is_said_to_the_mgr(serving, mgr, host):
    beacon = mgr.hear(host.name, lambda b: b.exposed, "what is open to anybody")
    assert beacon.exposed == ("subsystem nqn.2016-06.io.spdk:cnode1 allows any host",)


def test_beacons_carry_what_operators_are_told(serving, mgr, host, listener):
    beacon = mgr.hear(host.name, lambda b: b.notes.lease_left_s > 0, "notes of a gateway that has a lease")
    assert beacon.notes.release == RELEASE and not beacon.notes.hung_moves and not beacon.notes.problems
    assert not beacon.notes.io, "nobody does any"
    with Host(listener.trsvcid, "nqn.2016-06.io.spdk:cnode1", address=listener.traddr) as initiator:
        def told(beacon):
            assert not any(initiator.read(1, 0, 8).status for _ in range(READS))
            return beacon.notes.io
        assert [group for group, _ in mgr.hear(host.name, told, "the I/O of its ANA groups").notes.io] == [1]


def test_sockets_and_files_of_a_gateway_are_for_its_own_user_alone(serving, host):
    run = host.directory / "run"
    wait_until(lambda: (run / "api.json").exists(), 60, "the API")
    assert os.umask(os.umask(0o022)) == 0o022, "what the gateway inherits is wide"
    paths = [run, *run.rglob("*"), host.trace_path]
    assert {"api.sock", "spdk.sock"} <= {path.name for path in paths if stat.S_ISSOCK(path.stat().st_mode)}
    wide = {str(path): oct(path.stat().st_mode) for path in paths if path.stat().st_mode & FOR_OTHERS}
    assert not wide
    mine = {pid for pid in host.pids().values()}
    shared = [path for path in Path("/dev/shm").iterdir() if path.name.rpartition("pid")[2] in map(str, mine)]
    assert not [path for path in shared if path.stat().st_mode & FOR_OTHERS]


def test_keys_of_hosts_do_not_outlive_the_gateway(serving, host):
    keys = host.directory / "run" / "keys"
    keys.mkdir(mode=0o700)
    (keys / "left").write_text("DHHC-1:00:")
    host.kill("warden", signal.SIGTERM)
    assert host.exit_status() == 0 and not keys.exists()
