"""Claims about a whole gateway host (real warden, agent and target) on a real cluster; the test is the mgr."""
from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from gateway_host import NQN, POOL, GatewayHost, MgrInPlace
from nvmeof_ha_core.model import Availability, Phase
from testbed.waiting import wait_until


def test_no_target_runs_before_the_map_names_and_admits_the_gateway(mgr: MgrInPlace, host: GatewayHost) -> None:
    mgr.make("other")
    host.start()
    host.wait_logged(f"create it with: ceph nvmeof-ha create gw1 {POOL} {mgr.seats.group}")
    assert "target" not in host.pids()
    mgr.commit(replace(mgr.map, gateways=(replace(mgr.map.gateways[0], id="gw1"),)))
    instance = mgr.hear("gw1", lambda b: b.instance, "a proposed instance").instance
    assert (instance.gateway, instance.number) == ("gw1", 1)
    assert "target" not in host.pids()
    mgr.admit("gw1")
    assert "target" in host.pids()


def test_a_dead_agent_is_replaced_without_any_change_of_the_target(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    target, agent = host.pids()["target"], host.kill("agent")
    states = set()

    def new_agent_serves() -> bool:
        states.add(host.ana(NQN))
        return host.pids().get("agent", agent) != agent and mgr.beacons[-1].target.value == "serving" \
            and mgr.beacons[-1].sequence > last
    last = mgr.beacons[-1].sequence
    wait_until(new_agent_serves, 60, "a new agent to serve", interval_s=0.01)
    assert states == {"optimized"}
    assert host.pids()["target"] == target
    assert mgr.beacons[-1].instance == serving
    assert mgr.map.gateway("gw1").addresses
    mgr.hear("gw1", lambda b: not b.addresses, "a beacon that leaves out the addresses that the map names")
    assert not any(b.subsystems == () for b in mgr.beacons if b.sequence > last)


def test_a_dead_target_is_reported_as_reaped_and_followed_by_the_next_instance(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    host.kill("target")
    beacon = mgr.hear("gw1", lambda b: serving in b.reaped, "the reaped instance", timeout_s=5)
    assert beacon.instance is None or beacon.instance.number == serving.number + 1
    assert mgr.admit("gw1").number == serving.number + 1
    host.wait_ana(NQN, "inaccessible")


def test_a_suspected_instance_goes_inaccessible_at_lease_end_and_optimized_again_when_acquitted(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    target = host.pids()["target"]
    suspected = mgr.change("gw1", availability=Availability.SUSPECT, suspected_at=mgr.next_version).version
    mgr.hear("gw1", lambda b: b.version == suspected, "word that it applied the suspecting map")
    assert host.ana(NQN) == "optimized", "a suspicion alone makes nothing inaccessible"
    host.wait_ana(NQN, "inaccessible", timeout_s=mgr.map.timing.lease_s + 5)
    mgr.change("gw1", availability=Availability.AVAILABLE)
    host.wait_ana(NQN, "optimized", timeout_s=5)
    assert host.pids()["target"] == target


def test_lease_end_makes_the_target_inaccessible_even_when_the_agent_is_stopped(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    host.kill("agent", signal.SIGSTOP)
    mgr.change("gw1", availability=Availability.SUSPECT, suspected_at=mgr.next_version)
    host.wait_ana(NQN, "inaccessible", timeout_s=mgr.map.timing.lease_s + 5)


def test_a_gateway_whose_warden_is_stopped_falls_silent_and_goes_inaccessible_until_it_goes_on(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    timing, last = mgr.map.timing, (0, 0.0)

    def silent() -> bool:
        nonlocal last
        if len(mgr.beacons) != last[0]:
            last = len(mgr.beacons), time.monotonic()
        return time.monotonic() - last[1] > timing.suspect_s
    host.kill("warden", signal.SIGSTOP)
    wait_until(silent, 30, "the beacons to end", interval_s=0.02)
    host.wait_ana(NQN, "inaccessible", timeout_s=timing.lease_s + 5)
    host.kill("warden", signal.SIGCONT)
    host.wait_ana(NQN, "optimized")
    wait_until(lambda: not silent(), 30, "beacons again", interval_s=0.02)


def test_an_instance_that_the_map_calls_over_is_killed_and_another_proposed(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    target = host.pids()["target"]
    mgr.commit(replace(mgr.map, ana_groups=(replace(mgr.map.ana_groups[0], phase=Phase.UNSERVED, holder=None,
                                                    writers=frozenset()),),
                       gateways=(replace(mgr.map.gateways[0], instance=None, addresses=frozenset(),
                                         availability=Availability.UNAVAILABLE),)))
    mgr.hear("gw1", lambda b: b.instance and b.instance.number == serving.number + 1, "the next instance", 5)
    assert host.pids().get("target") != target


def test_a_frozen_target_is_killed(mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    host.kill("target", signal.SIGSTOP)
    mgr.hear("gw1", lambda b: serving in b.reaped, "the reaped instance", timeout_s=mgr.map.timing.frozen_s + 5)
    assert "left JSON-RPC unanswered" in host.log()


def test_what_restricts_counts_from_one_seat_and_what_permits_does_not(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    active = mgr.map
    drain = replace(active.ana_group(1), phase=Phase.DRAINING, since=mgr.next_version)
    mgr.commit(active.with_ana_group(drain), seats=range(1))
    host.wait_ana(NQN, "inaccessible")
    mgr.commit(active, seats=range(1))
    later = mgr.beacons[-1].sequence
    mgr.hear("gw1", lambda b: b.sequence > later, "any later beacon")
    assert host.ana(NQN) == "inaccessible", "one seat alone must not permit"
    mgr.commit(active)
    host.wait_ana(NQN, "optimized")


def test_garbage_and_a_newer_format_in_a_seat_count_as_no_answer(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    newer = replace_epoch(mgr.map, 1)
    mgr.seats.store(0, b"\x00garbage", newer)
    host.wait_logged("not JSON")
    mgr.seats.store(0, b'{"format": 99}', newer)
    host.wait_logged("this release understands 1 only")
    assert host.ana(NQN) == "optimized"
    mgr.phase(1, Phase.DRAINING, holder=serving, writers=frozenset({serving}))
    host.wait_ana(NQN, "inaccessible")


def test_an_older_map_is_never_acted_on(mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    old = mgr.map
    since = mgr.phase(1, Phase.DRAINING, holder=serving, writers=frozenset({serving}))
    mgr.confirmed(serving, 1, since, "drained")
    newest, mgr.seats.map = mgr.map, replace(old, version=replace_epoch(old, -1))
    mgr.commit(old)
    mgr.seats.map = newest
    later = mgr.beacons[-1].sequence
    mgr.hear("gw1", lambda b: b.sequence > later, "any later beacon")
    assert host.ana(NQN) == "inaccessible"


def replace_epoch(gateway_map: Any, by: int) -> Any:
    return gateway_map.version._replace(epoch=gateway_map.version.epoch + by)


def test_sigterm_hands_over_then_ends_the_target_and_reports_it(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    host.kill("warden", signal.SIGTERM)
    mgr.hear("gw1", lambda b: b.leaving, "leaving")
    assert host.ana(NQN) == "optimized", "it serves until the map has given its ANA group away"
    mgr.change("gw1", leaving=True)
    since = mgr.phase(1, Phase.DRAINING, holder=serving, writers=frozenset({serving}))
    mgr.confirmed(serving, 1, since, "drained")
    mgr.phase(1, Phase.UNSERVED)
    assert host.exit_status() == 0
    assert serving in mgr.beacons[-1].reaped


def test_a_killed_warden_takes_target_and_agent_along_and_the_next_one_reports_the_instance(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    pids = host.pids()
    host.kill("warden")
    host.exit_status()
    wait_until(lambda: not any(_runs(pid) for pid in pids.values()), 5, "all three to be gone", interval_s=0.01)
    host.start()
    mgr.hear("gw1", lambda b: serving in b.reaped, "the reaped instance of the earlier warden")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_second_host_with_the_same_id_waits_and_disturbs_nobody(
        mgr: MgrInPlace, host: GatewayHost, serving: Any, cluster: Any, nvmf_tgt: Path, tmp_path: Path) -> None:
    second = GatewayHost(tmp_path / "second", cluster, nvmf_tgt, group=mgr.seats.group, keyring=host.keyring)
    try:
        second.start()
        second.wait_logged("gateway id 'gw1' is in use by instance " + str(serving))
        assert "target" not in second.pids()
        assert host.ana(NQN) == "optimized"
    finally:
        second.stop()


def test_a_second_warden_in_the_same_run_directory_is_refused(
        mgr: MgrInPlace, host: GatewayHost, cluster: Any, nvmf_tgt: Path, tmp_path: Path) -> None:
    host.start()
    host.wait_logged("no target yet")
    first = host.warden
    try:
        host.start()
        assert host.exit_status() == 1
        assert f"another warden (process {first.pid}) uses run_dir" in host.log()
    finally:
        host.warden = first


def test_a_deleted_gateway_ends_its_target_and_its_warden(mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    mgr.commit(replace(mgr.map, gateways=(), ana_groups=()))
    assert host.exit_status() == 0
    assert "was deleted" in host.log()


def test_a_waiting_warden_ends_at_once_when_asked(mgr: MgrInPlace, host: GatewayHost) -> None:
    mgr.make()
    host.start()
    host.wait_logged("does not name gateway 'gw1'")
    host.kill("warden", signal.SIGTERM)
    assert host.exit_status(timeout_s=5) == 0
