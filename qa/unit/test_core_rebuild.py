"""Claims about the map that is rebuilt when the seats are lost: whoever may still write is fenced first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha.core import invariants
from nvmeof_ha.core.actions import Commit, Fence, StoreGateway
from nvmeof_ha.core.model import (NO_VERSION, Availability, Departed, Disaster, Gateway, Instance, Map, Phase, Version)
from nvmeof_ha.core.rebuild import EPOCH_LEAP, NUMBER_LEAP, Left, leapt, rebuild

from .driven import GW1, GW2, GW3, W, Driven, address, ana_group, serving, stored_map

OSD_EPOCH = 90
NEXT = Instance("gw1", 2, "next")


def record(instance: Instance, **changes: Any) -> Gateway:
    return serving(instance, availability=Availability.CREATED, subsystems=(), digest="", **changes)


def departed(instance: Instance, osd_epoch: Any = None) -> Departed:
    return Departed(instance, frozenset({address(instance)}), osd_epoch)


def made(*gateways: Gateway, maps: Sequence[Map] = (), unfenced: Sequence[Departed] = (),
         disasters: Sequence[Disaster] = ()) -> Map:
    found = rebuild("rbd", "g1", Left(tuple(maps), gateways, tuple(unfenced), tuple(disasters), OSD_EPOCH))
    invariants.check_map(found)
    return found


def both_serve(**changes: Any) -> Map:
    return stored_map((serving(GW1), serving(GW2)), (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.ACTIVE, GW2)),
                      **changes)


def test_every_recorded_instance_is_a_suspect_writer_of_every_ana_group():
    mgr = Driven(made(record(GW1), record(GW2), Gateway("gw3", 3)), answers=(Commit, StoreGateway))
    assert {g.id: g.availability for g in mgr.map.gateways} == {
        "gw1": Availability.SUSPECT, "gw2": Availability.SUSPECT, "gw3": Availability.CREATED}
    for group in mgr.map.ana_groups:
        assert (group.phase, group.writers, group.osd_epoch) == (Phase.FENCING, {GW1, GW2}, OSD_EPOCH)
    mgr.wait(W - 0.3)
    assert not [a for a in mgr.asked if isinstance(a, Fence)], "their leases are not certainly over"
    mgr.wait(0.6)
    assert {a.instance for a in mgr.asked if isinstance(a, Fence)} == {GW1, GW2}


def test_nobody_is_acquitted_by_a_beacon_however_well_it_is():
    mgr = Driven(made(record(GW1), record(GW2)), answers=(Commit, StoreGateway))
    mgr.beacon(GW1)
    assert mgr.gateway().availability is Availability.SUSPECT
    mgr.wait(W + 0.3)
    assert mgr.gateway().instance is None


def test_who_leaves_in_order_meanwhile_is_fenced_all_the_same():
    mgr = Driven(made(record(GW1), record(GW2)), answers=(Commit, StoreGateway))
    mgr.beacon(GW1, leaving=True)
    mgr.beacon(GW1, instance=None, reaped=(GW1,), leaving=True)
    assert mgr.last(Fence).instance == GW1 and mgr.map.departure(GW1) == departed(GW1)


def test_without_any_instance_nothing_is_fenced_and_the_barrier_covers_all_that_was():
    mgr = Driven(made(Gateway("gw3", 3, last_number=4)))
    assert (mgr.group(3).phase, mgr.group(3).osd_epoch, mgr.map.osd_epoch_floor) == (Phase.UNSERVED, OSD_EPOCH, OSD_EPOCH)


def test_an_earlier_instance_that_a_record_names_as_unfenced_is_a_writer_too():
    found = made(record(NEXT), unfenced=(departed(GW1),))
    assert found.ana_group(1).writers == {GW1, NEXT} and found.departure(GW1) == departed(GW1)


def test_what_only_an_older_map_names_is_a_writer_and_over():
    found = made(record(NEXT), maps=[both_serve()])
    assert found.gateway("gw1").instance == NEXT
    assert found.ana_group(1).writers == {GW1, NEXT, GW2}, "gw2 has no record: it was removed, or is being"
    assert {d.instance for d in found.departed} == {GW1, GW2}


def test_what_an_older_map_shows_as_fenced_is_no_writer():
    found = made(Gateway("gw1", 1, last_number=1), maps=[both_serve(departed=(departed(Instance("gw1", 0, "a"), 80),))])
    assert found.ana_group(1).writers == {GW1, GW2}


def test_a_newer_instance_of_an_older_map_is_the_present_one():
    newer = stored_map((serving(NEXT),), (ana_group(1),))
    found = made(record(GW1), maps=[newer])
    assert (found.gateway("gw1").instance, found.gateway("gw1").last_number) == (NEXT, 2)
    assert found.departure(GW1) == departed(GW1)


def test_addresses_are_those_that_anything_names():
    found = made(record(GW1, addresses=frozenset({"a"})), maps=[both_serve()])
    assert found.gateway("gw1").addresses == {"a", address(GW1)}


def test_an_instance_of_which_no_address_is_known_was_never_permitted_anything():
    found = made(record(GW1, addresses=frozenset()), record(GW2))
    assert found.ana_group(1).writers == {GW2} and found.gateway("gw1").availability is Availability.SUSPECT


def test_versions_and_numbers_go_on_where_nothing_was_before():
    older, newer = both_serve(), replace(both_serve(), version=Version(3, 50), number_floor=7)
    found = made(record(GW1), maps=[newer, older])
    assert found.version == leapt(newer).version == Version(3, 50 + EPOCH_LEAP)
    assert found.number_floor == 7 + NUMBER_LEAP
    assert found.gateway("gw1").suspected_at == found.ana_group(1).since == found.version


def test_leases_given_out_under_any_older_timing_are_waited_for():
    assert made(maps=[replace(both_serve(), lease_wait_s=77.0), replace(both_serve(), version=Version(9, 9))]).lease_wait_s == 77


def test_operators_intent_comes_from_the_records():
    found = made(record(GW1, enabled=False, location="row-a"), Gateway("gw2", 2, deleting=True),
                 disasters=(Disaster("row-b"),), maps=[both_serve()])
    assert (found.gateway("gw1").enabled, found.gateway("gw1").location) == (False, "row-a")
    assert found.gateway("gw2").deleting and found.disasters == (Disaster("row-b"),)


def test_who_inherited_an_ana_group_keeps_it():
    found = made(Gateway("gw1", 1, deleting=True), record(Instance("gw4", 1, "d"), ana_group_id=1))
    assert {g.id: g.ana_group_id for g in found.gateways} == {"gw1": 2, "gw4": 1}
    assert {g.id: g.owner for g in found.ana_groups} == {1: "gw4", 2: "gw1"}


INSTANCES = st.builds(Instance, st.sampled_from(["gw1", "gw2"]), st.integers(1, 3), st.sampled_from("ab"))


@st.composite
def old_maps(draw: Any) -> Map:
    current = [draw(st.none() | INSTANCES.filter(lambda i, n=name: i.gateway == n)) for name in ("gw1", "gw2")]
    gateways = tuple(Gateway(f"gw{n}", n) if i is None else serving(i) for n, i in enumerate(current, 1))
    gone = draw(st.lists(st.builds(departed, INSTANCES, st.none() | st.integers(1, 80)), max_size=3))
    return stored_map(gateways, (), departed=tuple({d.instance: d for d in gone}.values()))


@st.composite
def records(draw: Any) -> Gateway:
    instance = draw(st.sampled_from([GW1, GW2, GW3, NEXT]))
    return record(instance) if draw(st.booleans()) else Gateway(instance.gateway, int(instance.gateway[-1]),
                                                                last_number=instance.number)


@settings(max_examples=200, deadline=None)
@given(st.lists(old_maps(), max_size=3), st.lists(records(), max_size=3, unique_by=lambda g: g.id),
       st.lists(st.builds(departed, INSTANCES), max_size=2))
def test_whatever_is_left_everybody_with_an_address_is_fenced_or_a_writer_of_every_group(maps, gateways, unfenced):
    found = made(*gateways, maps=maps, unfenced=unfenced)
    fenced = {d.instance for m in maps for d in m.departed if d.osd_epoch is not None}
    named = {g.instance for g in [*gateways, *(g for m in maps for g in m.gateways)] if g.instance and g.addresses}
    named |= {d.instance for d in unfenced} | {d.instance for m in maps for d in m.departed}
    for group in found.ana_groups:
        assert group.writers == named - fenced
        assert group.server is None and group.osd_epoch >= OSD_EPOCH
    assert all(g.suspected_at != NO_VERSION for g in found.gateways if g.instance)
    assert found.version > max([m.version for m in maps], default=NO_VERSION)
