"""Claims about what a gateway tells of its group, and how `nvmeof-gw status` shows it."""
from __future__ import annotations

from dataclasses import replace

import pytest

from gw_agent.group_status import Known, describe
from gw_agent.pb import ha_pb2
from gw_agent.client import group_view, status
from nvmeof_ha_core.model import AnaGroup, Availability, Departed, Gateway, Instance, Map, Phase, Subsystem, Version
from nvmeof_ha_core.register import View

NQN = "nqn.2016-06.io.spdk:cnode1"
ONE, TWO = Instance("gw1", 1, "aa"), Instance("gw2", 4, "bb")


def serving(instance: Instance, ana_group_id: int, address: str) -> Gateway:
    return Gateway(instance.gateway, ana_group_id, availability=Availability.AVAILABLE, instance=instance,
                   last_number=instance.number, addresses=frozenset({f"{address}:0/1"}),
                   subsystems=(Subsystem(NQN, (f"{address}:4420",), ((1, 2), (2, 3))),))


def active(ana_group_id: int, owner: str, instance: Instance, **more: object) -> AnaGroup:
    return AnaGroup(ana_group_id, owner, Phase.ACTIVE, instance, writers=frozenset({instance}), **more)


WELL = Map("rbd", "g1", Version(3, 20), (serving(ONE, 1, "10.0.0.1"), serving(TWO, 2, "10.0.0.2")),
           (active(1, "gw1", ONE), active(2, "gw2", TWO)))


def told(gateway_map: Map, **more: object) -> ha_pb2.group_status_info:
    known = Known(View(gateway_map, (gateway_map,), gateway_map.version), 0.25, {1: "optimized", 2: "inaccessible"})
    return describe("rbd", "g1", "gw1", None, replace(known, **more))


def with_group(group: AnaGroup) -> Map:
    return WELL.with_ana_group(group)


def test_a_group_that_is_well_has_no_problems_and_each_ana_group_its_place():
    info = told(WELL)
    assert [group_view.optimized_at(g) for g in info.ana_groups] == ["gw1", "gw2"]
    assert [g.namespaces for g in info.ana_groups] == [2, 3]
    assert [g.target_state for g in info.ana_groups] == ["optimized", "inaccessible"]
    text = status.text(info)
    assert "map 3.20, read 0.2 s ago" in text and text.endswith("\nNo problems"), text


def test_before_a_map_was_read_the_gateway_says_why_it_does_not_serve():
    info = describe("rbd", "g1", "gw1", "the gateway map was not read yet", Known())
    text = status.text(info)
    assert not info.map_version and "no gateway map yet" in text and "gw1 does not serve: the gateway map was" in text


def test_what_one_seat_alone_shows_is_named_by_its_version():
    newer = replace(WELL, version=Version(3, 21))
    info = told(WELL, view=View(WELL, (WELL, newer), WELL.version))
    assert info.newer_version == "3.21" and "map 3.21 is in one seat only" in status.text(info)


@pytest.mark.parametrize("change, said", [
    ({"enabled": False}, "ceph nvmeof-ha enable gw2 rbd g1"),
    ({"deleting": True}, "is being deleted"),
    ({"leaving": True}, "asked to stop"),
    ({"availability": Availability.SUSPECT, "suspected_at": Version(3, 19)}, "suspected in map 3.19"),
    ({"availability": Availability.CREATED}, "is starting"),
    ({"availability": Availability.CREATED, "instance": None, "addresses": frozenset()}, "has not started yet"),
    ({"availability": Availability.UNAVAILABLE, "instance": None, "addresses": frozenset()}, "no running target"),
    ({"subsystems": (Subsystem(NQN, (), ((1, 2), (2, 3))),)}, f"no listener in {NQN}"),
    ({"subsystems": ()}, f"no listener in {NQN}")])
def test_what_is_wrong_with_a_gateway_is_said_with_what_to_do(change, said):
    gateway = replace(WELL.gateway("gw2"), **change)
    info = told(WELL.with_gateway(gateway))
    assert said in info.gateways[1].problems[0] and not info.gateways[0].problems
    assert f"gw2: {info.gateways[1].problems[0]}" in status.text(info)


def test_a_problem_of_many_subsystems_names_a_few():
    many = tuple(Subsystem(f"{NQN}{n}", (), ((1, 1),)) for n in range(10))
    info = told(WELL.with_gateway(replace(WELL.gateway("gw2"), subsystems=many)))
    assert "and 8 more" in info.gateways[1].problems[0]


def test_own_problems_are_those_of_the_gateway_that_answers():
    info = told(WELL, problems=("its I/O path is stuck",))
    assert list(info.gateways[0].problems) == ["its I/O path is stuck"] and not info.gateways[1].problems


@pytest.mark.parametrize("group, departed, place, waits_for", [
    (AnaGroup(2, "gw2"), (), "nowhere (unserved)", "no gateway can serve it"),
    (AnaGroup(2, "gw2", Phase.PROMOTING, incoming=ONE, writers=frozenset({ONE}), osd_epoch=77), (),
     "gw1 (taking over)", "gw1 becomes optimized, once it has seen OSD map 77"),
    (AnaGroup(2, "gw2", Phase.DRAINING, TWO, writers=frozenset({TWO}), target="gw1"), (),
     "nowhere (draining)", "gw2 finishes the I/O in flight, then gw1 takes over"),
    (AnaGroup(2, "gw2", Phase.FENCING, writers=frozenset({TWO})), (), "nowhere (fencing)", "until its lease is over"),
    (AnaGroup(2, "gw2", Phase.FENCING, writers=frozenset({TWO})), (Departed(TWO, frozenset({"10.0.0.2:0/1"})),),
     "nowhere (fencing)", "gw2#4:bb is being fenced"),
    (AnaGroup(2, "gw2", Phase.FENCING, writers=frozenset({TWO})), (Departed(TWO, frozenset({"10.0.0.2:0/1"}), 78),),
     "nowhere (fencing)", "gw2#4:bb is fenced since OSD map 78"),
    (AnaGroup(2, "gw2", Phase.FENCING, writers=frozenset({TWO})), (Departed(TWO),), "nowhere (fencing)",
     "cannot be fenced, because no address of it is known")])
def test_an_ana_group_that_is_optimized_nowhere_says_what_it_waits_for(group, departed, place, waits_for):
    info = told(replace(with_group(group), departed=departed))
    assert group_view.place_of(info, 2) == place and waits_for in info.ana_groups[1].waits_for
    assert f"ANA group 2: {info.ana_groups[1].waits_for}" in status.text(info)


def test_an_ana_group_that_an_operator_moved_says_how_to_undo_it():
    info = told(with_group(active(2, "gw2", ONE, moved_to=ONE)))
    assert "ceph nvmeof-ha failover rbd g1 2 gw2" in status.text(info)


def test_an_ana_group_that_is_not_with_its_owner_is_named():
    assert "ANA group 2: gw1 serves it; it goes back to gw2" in status.text(told(with_group(active(2, "gw2", ONE))))


def test_a_map_that_was_read_long_ago_is_called_so():
    assert "gw1 has read no map for 14 s" in status.text(told(WELL, agreed_age_s=14.2))


def test_the_groups_of_a_listener_are_those_of_its_gateway():
    info = told(with_group(active(2, "gw2", ONE)))
    assert group_view.groups_at(info, NQN, "10.0.0.1:4420") == [1, 2]
    assert group_view.groups_at(info, NQN, "10.0.0.2:4420") == []
    assert group_view.groups_at(info, "nqn.2016-06.io.spdk:other", "10.0.0.1:4420") == []
