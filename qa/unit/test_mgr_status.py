"""What `status` says of a group: ages, holders, and the reasons why something is not as it should be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict

import pytest

from .driven import GW1, GW2, GW3, Driven, ana_group, serving, stored_map, subsystems
from nvmeof_ha import overview
from nvmeof_ha.core.actions import Commit, StoreGateway
from nvmeof_ha.core.events import BeaconReceived, Beacon, FenceFailed, MoveAnaGroup, Outcome, Confirmation, SetEnabled
from nvmeof_ha.core.model import Availability, Departed, Instance, Phase
from nvmeof_ha.kv_records import GroupKey
from nvmeof_ha.reasons import Known
from nvmeof_ha.tables import seconds, table

KEY = GroupKey("rbd", "g1")


def shown(mgr: Driven) -> Dict[str, Any]:
    assert mgr.state.committed is not None
    return overview.group(KEY, Known(mgr.state.committed, mgr.state.soft, mgr.now), True, "")


def gateway(mgr: Driven, name: str = "gw1") -> Dict[str, Any]:
    return next(g for g in shown(mgr)["gateways"] if g["id"] == name)


def why(mgr: Driven, number: int = 1) -> str:
    return shown(mgr)["ana_groups"][number - 1]["why"]


def pair(**answers: Any) -> Driven:
    """Both gateways serve their own ANA groups."""
    mgr = Driven(**answers)
    mgr.create("gw1", "gw2")
    mgr.wait(12)
    assert [g.holder.gateway for g in mgr.map.ana_groups if g.holder] == ["gw1", "gw2"]
    return mgr


def lose_gw1(mgr: Driven) -> None:
    """Its warden says that its target ended."""
    mgr.sequence += 1
    instance = mgr.instances.pop("gw1")
    mgr.do(BeaconReceived(Beacon("gw1", None, mgr.sequence, reaped=(instance,))))


def test_a_pair_that_is_well_has_nothing_to_say_but_where_all_is():
    mgr = pair()
    found = shown(mgr)
    assert [g["problems"] for g in found["gateways"]] == [[], []]
    assert found["ana_groups"][0] == {
        "id": 1, "namespaces": 2, "owner": "gw1", "home": "gw1", "phase": "ACTIVE", "since": str(mgr.group().since),
        "phase_for_s": pytest.approx(12, abs=1), "phase_for_longer": False, "holder": "gw1",
        "holder_instance": "gw1#1:t", "optimized": True, "why": ""}
    assert {name: gateway(mgr)[name] for name in ("availability", "instance", "anagrp_id", "serves", "flaps")} == {
        "availability": "AVAILABLE", "instance": "gw1#1:t", "anagrp_id": 1, "serves": [1], "flaps": 0}
    assert gateway(mgr)["beacon_age_s"] < 0.6 and gateway(mgr)["well_for_s"] == pytest.approx(12, abs=1)


def test_a_silent_gateway_says_since_when_and_when_it_is_given_up():
    mgr = pair()
    mgr.silent = frozenset({"gw1"})
    mgr.wait(3)
    assert gateway(mgr)["availability"] == "SUSPECT"
    text, = gateway(mgr)["problems"]
    assert text.startswith("is suspected, last heard ") and " s ago; it is given up in " in text
    assert why(mgr) == "", "it is still the holder"


def test_a_lost_owner_is_named_and_after_its_return_the_time_of_the_failback():
    mgr = pair()
    lose_gw1(mgr)
    mgr.wait(1)
    assert why(mgr) == "gw1 is UNAVAILABLE"
    assert gateway(mgr)["problems"] == ["no instance of it runs: start its warden, or see its log"]
    assert gateway(mgr)["flaps"] == 1 and gateway(mgr)["instance"] is None and gateway(mgr)["beacon_age_s"] is None
    mgr.instances["gw1"] = Instance("gw1", 2, "u")
    mgr.wait(4)
    assert why(mgr).startswith("gw1 gets it back in ")
    mgr.connections = {"gw2": 3, "gw1": 1}
    mgr.wait(10)
    assert why(mgr).startswith("gw1 gets it back once as many hosts are connected to it (1) as to gw2 (3), or in ")


def test_a_fence_that_fails_is_the_reason_why_nobody_serves():
    mgr = pair(answers=(Commit, StoreGateway))
    lose_gw1(mgr)
    assert why(mgr) == "gw1#1:t is being fenced"
    mgr.do(FenceFailed(Instance("gw1", 1, "t"), "no quorum"))
    assert why(mgr) == "gw1#1:t is being fenced (no quorum)"
    assert gateway(mgr)["problems"][0].startswith("no instance of it runs, gw1#1:t is not fenced yet (no quorum)")


def test_writers_that_may_still_write_are_named():
    group = ana_group(1, Phase.FENCING, writers=frozenset({GW1, GW3}))
    found = stored_map((serving(GW2),), (group,), departed=(Departed(GW1, frozenset({"a"})),))
    known = Known(found, None, 0.0)
    assert overview.group(KEY, known, False, "x")["ana_groups"][0]["why"] == (
        "gw1#1:aa is being fenced; gw3#1:cc may still write: its lease is not certainly over")


def test_a_move_by_an_operator_says_how_it_is_undone():
    mgr = pair()
    mgr.do(MoveAnaGroup(9, 1, "gw2"))
    assert why(mgr) == "gw1 finishes its I/O, then gw2 takes over"
    mgr.wait(1)
    assert why(mgr) == "an operator moved it here; `failover rbd g1 1 gw1` moves it back"
    assert shown(mgr)["ana_groups"][0]["home"] == "gw2"


def test_a_disabled_owner_a_declined_promotion_and_nobody_at_all():
    mgr = pair()
    mgr.do(SetEnabled(9, "gw1", False))
    mgr.wait(1)
    assert why(mgr) == "gw1 is disabled" and gateway(mgr)["problems"] == ["is disabled: `enable` lets it serve again"]
    mgr.do(SetEnabled(9, "gw2", False))
    mgr.silent = frozenset({"gw1", "gw2"})
    lose_gw1(mgr)
    mgr.do(BeaconReceived(Beacon("gw2", None, 999, reaped=(mgr.instances.pop("gw2"),))))
    assert why(mgr) == "no gateway can take it: gw1 is disabled; gw2 is disabled"


def test_who_declined_is_asked_again_later():
    mgr = Driven()
    mgr.create("gw1")
    group = mgr.group()
    assert group.phase is Phase.PROMOTING and why(mgr) == "gw1 has not confirmed yet that it is optimized"
    mgr.beacon(mgr.instances["gw1"], confirmations=(Confirmation(1, group.since, Outcome.DECLINED),))
    assert why(mgr).startswith("no gateway can take it: gw1 could not take it, is asked again in 1.50 s")


def test_a_gateway_without_some_listener_and_one_in_every_other_state():
    half = serving(GW2, subsystems=subsystems(1, 2, listeners=()))
    starting = serving(GW3, availability=Availability.CREATED, addresses=frozenset(), leaving=True, deleting=True)
    suspect = serving(Instance("gw4", 1, "d"), availability=Availability.SUSPECT)
    silent = replace(serving(Instance("gw5", 1, "e")), instance=None, availability=Availability.CREATED,
                     addresses=frozenset())
    known = Known(stored_map((serving(GW1), half, starting, suspect, silent), (ana_group(3),)), None, 0.0)
    problems = {g["id"]: g["problems"] for g in overview.group(KEY, known, False, "")["gateways"]}
    assert problems == {
        "gw1": [], "gw2": ["no listener of nqn.2016-06.io.spdk:a, which has namespaces"],
        "gw3": ["does not serve yet: its target starts, or is being configured, no RADOS address of it is known yet",
                "is being stopped", "is being deleted"],
        "gw4": ["is suspected"], "gw5": ["was not heard of yet: start its warden"]}


def test_stuck_io_and_a_refused_second_machine_are_problems_of_that_gateway_alone():
    mgr = pair()
    mgr.beacon(mgr.instances["gw2"], stuck="osd.3 answers nothing")
    mgr.sequence += 1
    mgr.do(BeaconReceived(Beacon("gw1", Instance("gw1", 7, "other"), mgr.sequence)))
    assert gateway(mgr)["problems"] == ["refused: gateway id 'gw1' is in use by instance gw1#1:t"]
    assert "its I/O makes no progress: osd.3 answers nothing" in gateway(mgr, "gw2")["problems"]


def test_a_copy_of_the_map_has_no_ages_and_no_map_no_rows():
    found = stored_map((serving(GW1),), (ana_group(1, Phase.ACTIVE, GW1),))
    copy = overview.group(KEY, Known(found, None, 0.0), False, "not ready")
    assert copy["gateways"][0]["beacon_age_s"] is None and copy["ana_groups"][0]["phase_for_s"] is None
    empty = overview.group(KEY, None, False, "pool gone")
    assert (empty["gateways"], empty["ana_groups"], empty["version"]) == ([], [], None)
    assert overview.tables([empty]) == "rbd/g1  NOT LOOKED AFTER\n  pool gone\n"


def test_a_phase_that_began_under_the_mgr_before_lasts_longer_than_this_one_knows():
    mgr = Driven(stored_map((serving(GW1), serving(GW2)), (ana_group(1, Phase.ACTIVE, GW1),)), ballot=2)
    mgr.wait(2)
    assert shown(mgr)["ana_groups"][0]["phase_for_longer"] is True
    assert "> 2.00 s" in overview.tables([shown(mgr)])


def test_the_tables_are_aligned_and_empty_cells_are_dashes():
    mgr = pair()
    lines = overview.tables([shown(mgr)]).splitlines()
    assert lines[0] == f"rbd/g1  map {mgr.state.committed.version}"
    assert lines[1].split() == ["GATEWAY", "STATE", "INSTANCE", "OWNS", "SERVES", "LISTENERS", "HOSTS", "BEACON",
                                "FLAPS", "PROBLEMS"]
    assert lines[2].split()[:6] == ["gw1", "AVAILABLE", "gw1#1:t", "1", "1", "1"] and lines[2].endswith(" -")
    assert lines[2].index("gw1#1:t") == lines[1].index("INSTANCE")
    assert overview.tables([]) == "there is no gateway group; `create` makes one\n"
    assert table(("A", "LONG"), [("", None), (1, "x")], " ") == " A  LONG\n -  -\n 1  x\n"


@pytest.mark.parametrize("value, text", [
    (None, ""), (0.314, "0.31 s"), (9.999, "10.00 s"), (12.34, "12.3 s"), (99.95, "1 min 39 s"), (125, "2 min 5 s"),
    (3600 * 3 + 125, "3 h 2 min"), (86400 * 4 + 3700, "4 d 1 h")])
def test_ages_are_told_as_people_do(value, text):
    assert seconds(value) == text
