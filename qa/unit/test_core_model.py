"""Claims about the stored values: what must not exist cannot be built."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core.model import (AnaGroup, Availability, Departed, Gateway, Instance, Map, ModelError, Phase,
                                  Subsystem, Version, controller_ids, smallest_free)
from nvmeof_ha.core.release import RELEASE
from nvmeof_ha.core.timing import FAST, Timing

from .driven import GW1, GW2, ana_group, serving, stored_map

WRITERS = {"writers": frozenset({GW1})}

IMPOSSIBLE = [
    ("an ANA group id of 0", lambda: Gateway("gw1", 0), "ANA group id 0 is outside 1..32"),
    ("an ANA group id of 33", lambda: Gateway("gw1", 33), "ANA group id 33 is outside 1..32"),
    ("a gateway without a name", lambda: Gateway("", 1), "gateway id '' cannot be stored: use 1 to 128 characters"),
    ("a gateway named with a slash", lambda: Gateway("a/b", 1), "gateway id 'a/b' cannot be stored"),
    ("available without an instance", lambda: Gateway("gw1", 1, availability=Availability.AVAILABLE),
     "gw1 is AVAILABLE without an instance"),
    ("addresses without an instance", lambda: Gateway("gw1", 1, addresses=frozenset({"a"})),
     "gw1 has addresses without an instance"),
    ("another gateway's instance", lambda: Gateway("gw1", 1, instance=GW2, last_number=1), "gateway gw1 runs gw2#1:bb"),
    ("an instance that is not the last", lambda: Gateway("gw1", 1, instance=GW1, last_number=2), "not the last instance"),
    ("unavailable with an instance", lambda: replace(serving(GW1), availability=Availability.UNAVAILABLE),
     "gw1 is UNAVAILABLE and yet has gw1#1:aa"),
    ("a fence without an address", lambda: Departed(GW1, frozenset(), 7), "gw1#1:aa cannot be fenced: it has no address"),
    ("two holders", lambda: AnaGroup(1, "gw1", Phase.ACTIVE, holder=GW1, incoming=GW2, **WRITERS), "is ACTIVE with holder"),
    ("active without a holder", lambda: AnaGroup(1, "gw1", Phase.ACTIVE), "is ACTIVE with holder None"),
    ("promoting with a holder", lambda: AnaGroup(1, "gw1", Phase.PROMOTING, holder=GW1, **WRITERS), "is PROMOTING with"),
    ("fencing with a holder", lambda: AnaGroup(1, "gw1", Phase.FENCING, holder=GW1, **WRITERS), "is FENCING with holder"),
    ("unserved with an incoming", lambda: AnaGroup(1, "gw1", incoming=GW1, **WRITERS), "is UNSERVED with"),
    ("a server beside another writer", lambda: ana_group(1, Phase.ACTIVE, GW1, writers=frozenset({GW1, GW2})),
     "is ACTIVE at gw1#1:aa while writers are \\['gw1#1:aa', 'gw2#1:bb'\\]"),
    ("a server that is no writer", lambda: ana_group(1, Phase.ACTIVE, GW1, writers=frozenset()), "while writers are"),
    ("unserved with writers", lambda: AnaGroup(1, "gw1", **WRITERS), "is UNSERVED while \\['gw1#1:aa'\\] may write"),
    ("one gateway twice", lambda: stored_map((Gateway("gw1", 1), Gateway("gw1", 2)), ()), "gateway named twice in rbd/g1"),
    ("one ANA group twice", lambda: stored_map((), (ana_group(1), ana_group(1))), "ANA group named twice"),
    ("one departed twice", lambda: stored_map((), (), departed=(Departed(GW1), Departed(GW1))), "departed instance named"),
    ("two owners of one id", lambda: stored_map((Gateway("a", 1), Gateway("b", 1)), ()), "ANA group ids used twice"),
]


@pytest.mark.parametrize("build, text", [row[1:] for row in IMPOSSIBLE], ids=[row[0] for row in IMPOSSIBLE])
def test_it_cannot_be_built(build, text):
    with pytest.raises(ModelError, match=text):
        build()


def test_only_promoting_and_active_permit_anybody():
    permitted = {phase: ana_group(1, phase, GW1 if phase in (Phase.PROMOTING, Phase.ACTIVE, Phase.DRAINING) else None)
                 for phase in Phase}
    assert {p: g.permitted for p, g in permitted.items()} == {
        Phase.UNSERVED: None, Phase.PROMOTING: GW1, Phase.ACTIVE: GW1, Phase.DRAINING: None, Phase.FENCING: None}


def test_versions_are_ordered_by_ballot_before_epoch():
    assert Version(2, 1) > Version(1, 99) > Version(1, 98)
    assert str(Version(3, 14)) == "3.14"


def test_w_of_a_map_is_never_shorter_than_its_timing_needs():
    assert stored_map((), (), timing=Timing()).lease_wait_s == Timing().lease_wait_s
    assert stored_map((), (), timing=FAST, lease_wait_s=3.5).lease_wait_s == 3.5


def test_an_instance_is_over_once_a_later_one_was_admitted_or_its_gateway_is_gone():
    found = stored_map((replace(serving(GW1), instance=Instance("gw1", 4, "x"), last_number=4),), ())
    assert found.is_over(Instance("gw1", 3, "y"))
    assert found.is_over(Instance("gw1", 4, "y")), "another token of the same number lost the race"
    assert not found.is_over(Instance("gw1", 4, "x"))
    assert not found.is_over(Instance("gw1", 5, "y")), "it waits to be admitted"
    assert found.is_over(GW2), "its gateway was deleted"


def test_only_the_admitted_instance_is_current():
    found = stored_map((serving(GW1),), ())
    assert found.current(GW1) == serving(GW1)
    assert found.current(GW1._replace(token="zz")) is None
    assert found.current(GW2) is None


def test_a_removed_gateways_numbers_are_remembered():
    found = stored_map((replace(serving(GW1), instance=GW1._replace(number=9), last_number=9),), ())
    assert found.without_gateway("gw1").number_floor == 9
    assert found.without_gateway("gw1").without_gateway("none").number_floor == 9


def test_replacing_keeps_maps_sorted_and_other_entries():
    found = stored_map((serving(GW2),), (ana_group(2),)).with_gateway(serving(GW1)).with_ana_group(ana_group(1))
    found = found.with_departed(Departed(GW2)).with_departed(Departed(GW1)).with_departed(Departed(GW1, frozenset("a")))
    assert [g.id for g in found.gateways] == ["gw1", "gw2"]
    assert [g.id for g in found.ana_groups] == [1, 2]
    assert [d.instance for d in found.departed] == [GW1, GW2]
    assert found.departure(GW1) == Departed(GW1, frozenset("a"))
    assert found.without_ana_group(1).ana_group(1) is None


def test_namespaces_are_counted_as_the_best_informed_gateway_sees_them():
    found = stored_map((serving(GW1), replace(serving(GW2), subsystems=())), ())
    assert found.namespaces_in(1) == 2
    assert found.namespaces_in(3) == 0
    assert serving(GW1).namespace_count() == 4
    assert serving(GW1).listener_count() == 1
    assert Subsystem("nqn", (), ((1, 5),)).namespaces_in(2) == 0


def test_namespaces_of_a_subsystem_are_counted_as_its_best_informed_gateway_sees_them():
    more = (Subsystem("nqn.a", ("10.0.0.9:4420",), ((1, 3), (2, 0))), Subsystem("nqn.b", (), ((1, 1),)))
    fewer = (Subsystem("nqn.a", ("10.0.0.9:4420",), ((1, 2),)),)
    found = stored_map((replace(serving(GW1), subsystems=more), replace(serving(GW2), subsystems=fewer)), ())
    assert found.namespaces_by_nqn(1) == {"nqn.a": 3, "nqn.b": 1}
    assert found.namespaces_by_nqn(2) == {}
    same = found.with_ana_group(ana_group(1))
    assert same.namespaces_by_nqn(1) is found.namespaces_by_nqn(1), "what the gateways report is looked at once"
    assert same.without_gateway("gw1").namespaces_by_nqn(1) == {"nqn.a": 2}


def test_the_release_has_a_major_a_minor_and_a_patch_number():
    assert all(part.isdigit() for part in RELEASE.split(".")) and RELEASE.count(".") == 2


def test_controller_ids_of_all_gateways_are_disjoint_and_allowed_by_nvme():
    ranges = [controller_ids(number) for number in range(1, 33)]
    assert ranges[0] == (1, 2040)
    assert all(low == high + 1 for (_, high), (low, _) in zip(ranges, ranges[1:]))
    assert ranges[-1][1] <= 65519


def test_the_smallest_free_number_fills_gaps():
    assert smallest_free([]) == 1
    assert smallest_free([1, 2, 4]) == 3


def test_served_groups_are_found_by_instance():
    groups = (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.DRAINING, GW1), ana_group(3))
    assert stored_map((serving(GW1),), groups).served_by(GW1) == groups[:2]


def test_content_is_the_map_without_its_name():
    assert stored_map((), ()).content() == Map("rbd", "g1")
