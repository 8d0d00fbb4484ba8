"""Claims about carrying out the map: promotions that fail, permissions that go, drains, drift. Real processes and
cluster; the test is the mgr."""
from __future__ import annotations

import signal
from typing import Any

from gateway_host import NQN, GatewayHost, MgrInPlace
from gw_agent.configuration import Listener
from nvmeof_ha_core.model import Availability, Phase
from testbed.waiting import wait_until


def promoting(mgr: MgrInPlace, ana_group_id: int, instance: Any, **changes: Any) -> Any:
    return mgr.phase(ana_group_id, Phase.PROMOTING, incoming=instance, writers=frozenset({instance}), **changes)


def serve_two_groups(mgr: MgrInPlace, host: GatewayHost, listener: Listener) -> Any:
    """gw1 serves, optimized for nothing yet; ANA group 2 belongs to a gateway that is not there."""
    mgr.make(host.name, "gw2")
    mgr.configure({host.name: listener}, namespaces=2)
    host.start()
    return mgr.admit(host.name)


def test_a_promotion_whose_barrier_cannot_be_passed_is_declined(
        mgr: MgrInPlace, host: GatewayHost, listener: Listener, cluster: Any) -> None:
    instance = serve_two_groups(mgr, host, listener)
    mons = [daemon for name, daemon in cluster.daemons.items() if name.startswith("mon")]
    for mon in mons:
        mon.kill(signal.SIGSTOP)
    try:
        since = promoting(mgr, 1, instance, osd_epoch=1000)
        mgr.confirmed(instance, 1, since, "declined")
        assert host.ana(NQN) == "inaccessible"
    finally:
        for mon in mons:
            mon.kill(signal.SIGCONT)
    since = promoting(mgr, 1, instance, osd_epoch=1000)
    mgr.confirmed(instance, 1, since, "optimized")
    assert host.ana(NQN) == "optimized"


def test_what_is_promoted_while_suspected_is_declined(
        mgr: MgrInPlace, host: GatewayHost, listener: Listener) -> None:
    instance = serve_two_groups(mgr, host, listener)
    mgr.change(host.name, availability=Availability.SUSPECT, suspected_at=mgr.next_version)
    since = promoting(mgr, 1, instance)
    mgr.confirmed(instance, 1, since, "declined")
    assert host.ana(NQN) == "inaccessible"


def test_a_target_that_leaves_an_optimized_call_unanswered_dies_with_the_permission(
        mgr: MgrInPlace, host: GatewayHost, listener: Listener) -> None:
    instance = serve_two_groups(mgr, host, listener)
    host.kill("target", signal.SIGSTOP)
    promoting(mgr, 1, instance)
    host.wait_logged("making ANA groups 1 optimized")
    mgr.phase(1, Phase.UNSERVED)
    mgr.hear(host.name, lambda b: instance in b.reaped, "the reaped instance")
    assert "its permission is gone" in host.log()


def test_a_drain_leaves_the_other_ana_group_alone(mgr: MgrInPlace, host: GatewayHost, listener: Listener) -> None:
    instance = serve_two_groups(mgr, host, listener)
    mgr.promote(1, instance)
    mgr.promote(2, instance)
    since = mgr.phase(2, Phase.DRAINING, holder=instance, writers=frozenset({instance}))
    mgr.confirmed(instance, 2, since, "drained")
    assert (host.ana(NQN, 1), host.ana(NQN, 2)) == ("optimized", "inaccessible")
    mgr.phase(2, Phase.ACTIVE, holder=instance, writers=frozenset({instance}))
    host.wait_ana(NQN, "optimized", 2)


def test_a_state_that_somebody_set_by_hand_is_set_right_and_reported(
        mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    listener, = host.rpc("nvmf_subsystem_get_listeners", {"nqn": NQN})
    for ana_group_id, state in ((1, "inaccessible"), (2, "optimized")):
        host.rpc("nvmf_subsystem_listener_set_ana_state", {
            "nqn": NQN, "listen_address": listener["address"], "ana_state": state, "anagrpid": ana_group_id})
    host.wait_ana(NQN, "optimized", 1)
    host.wait_ana(NQN, "inaccessible", 2)
    host.wait_logged("ANA group 2 is optimized on the target, which this agent did not ask for")


def test_a_silent_mgr_ends_no_lease(mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    mgr.answers = False
    states = set()

    def said() -> bool:
        states.add(host.ana(NQN))
        return "no mgr has answered a beacon" in host.log()
    wait_until(said, 60, "word of the silent mgr", interval_s=0.05)
    assert states == {"optimized"}


def test_a_refusal_is_reported_once(mgr: MgrInPlace, host: GatewayHost, serving: Any) -> None:
    mgr.refused = {str(serving): "over: begin a new one"}
    host.wait_logged("over: begin a new one")
    later = mgr.beacons[-1].sequence
    mgr.hear(host.name, lambda b: b.sequence > later, "any later beacon")
    assert host.log().count("over: begin a new one") == 1
