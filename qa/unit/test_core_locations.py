"""Claims about sites: where an ANA group goes that its owner cannot serve, a site that is lost, and its recovery."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import List, Tuple

import pytest

from nvmeof_ha.core import invariants, locations, wire
from nvmeof_ha.core.actions import Fence, StoreDisasters
from nvmeof_ha.core.events import ClearDisaster, DeleteGateway, MoveAnaGroup, SetDisaster, SetEnabled, SetLocation
from nvmeof_ha.core.model import Availability, Disaster, Gateway, Instance, Phase

from .driven import GW1, GW2, GW3, TIMING, Driven, ana_group, serving, stored_map, subsystems

A, D = Phase.ACTIVE, Phase.DRAINING
GW4 = Instance("gw4", 1, "dd")
FAILBACK_S = TIMING.failback_delay_s + 1.0


def sites(*changes: Gateway) -> Driven:
    """gw1 and gw2 at east, gw3 and gw4 at west, each with its own ANA group; ``changes``: gateways instead of theirs."""
    gateways = {g.id: g for g in (serving(GW1, location="east"), serving(GW2, location="east"),
                                  serving(GW3, location="west"), serving(GW4, location="west"))}
    gateways.update({g.id: g for g in changes})
    holders = {g.id: g.instance for g in gateways.values()}
    groups = tuple(ana_group(n, A, holders[f"gw{n}"]) if holders[f"gw{n}"] else ana_group(n) for n in (1, 2, 3, 4))
    return Driven(stored_map(tuple(gateways.values()), groups))


def lose(mgr: Driven, *names: str) -> None:
    mgr.silent = mgr.silent | set(names)
    mgr.wait(2 * TIMING.suspect_s + 2 * TIMING.lease_wait_s)


def come_back(mgr: Driven, *names: str, seconds: float = 1.5) -> None:
    """New instances begin to serve."""
    mgr.silent = mgr.silent - set(names)
    for name in names:
        number = mgr.gateway(name).last_number + 1
        mgr.instances[name] = Instance(name, number, "new")
    mgr.wait(seconds)


def lost_site() -> Driven:
    """West died and was declared lost."""
    mgr = sites()
    lose(mgr, "gw3", "gw4")
    mgr.do(SetDisaster(1, "west"))
    assert mgr.replies[1].code == 0
    return mgr


def holders(mgr: Driven) -> List[str]:
    return [g.server.gateway if g.server else "" for g in mgr.map.ana_groups]


def moving(mgr: Driven) -> List[int]:
    return [g.id for g in mgr.map.ana_groups if g.phase in (Phase.DRAINING, Phase.PROMOTING)]


# ---- same location ------------------------------------------------------------------------------------------------

def test_what_a_lost_gateway_served_goes_to_its_own_location():
    mgr = sites()
    lose(mgr, "gw4")
    assert holders(mgr) == ["gw1", "gw2", "gw3", "gw3"], "gw3 has an ANA group already, and is near"


def test_an_ana_group_returns_to_its_owners_location_by_a_drained_handover_although_its_owner_is_down():
    mgr = sites()
    lose(mgr, "gw3", "gw4")
    assert sorted(holders(mgr)[2:]) == ["gw1", "gw2"]
    fences = len([a for a in mgr.asked if isinstance(a, Fence)])
    come_back(mgr, "gw3", seconds=TIMING.failback_delay_s - 1.0)
    assert "gw3" not in holders(mgr)
    mgr.wait(4 * FAILBACK_S)
    assert holders(mgr) == ["gw1", "gw2", "gw3", "gw3"]
    assert len([a for a in mgr.asked if isinstance(a, Fence)]) == fences


def test_without_a_location_nothing_is_near():
    mgr = sites(serving(GW3), serving(GW4))
    lose(mgr, "gw3", "gw4")
    come_back(mgr, "gw3", seconds=4 * FAILBACK_S)
    assert holders(mgr)[2] == "gw3" and holders(mgr)[3] in ("gw1", "gw2")


def test_an_ana_group_that_an_operator_moved_away_stays_there():
    mgr = sites()
    mgr.do(MoveAnaGroup(1, 3, "gw1"))
    mgr.wait(3 * FAILBACK_S)
    assert holders(mgr) == ["gw1", "gw2", "gw1", "gw4"]


def test_a_gateway_that_reaches_less_is_not_nearer():
    deaf = serving(GW3, location="west", subsystems=subsystems(1, 2, 4, listeners=()))
    gone = Gateway("gw4", 4, availability=Availability.UNAVAILABLE, last_number=1, location="west")
    mgr = Driven(stored_map((serving(GW1, location="east", subsystems=subsystems(1, 2, 4)), deaf, gone),
                            (ana_group(1, A, GW1), ana_group(4, A, GW1))))
    mgr.wait(3 * FAILBACK_S, subsystems=None)
    assert holders(mgr) == ["gw1", "gw1"]


# ---- set-location -------------------------------------------------------------------------------------------------

def test_a_location_is_set_unset_stored_and_kept_in_the_gateways_record():
    mgr = sites()
    mgr.do(SetLocation(1, "gw1", "north"))
    assert mgr.replies[1].code == 0 and mgr.state.committed.gateway("gw1").location == "north"
    assert mgr.state.soft.stored["gw1"].location == "north"
    mgr.do(SetLocation(2, "gw1", ""))
    assert mgr.replies[2].code == 0 and mgr.gateway().location == ""


@pytest.mark.parametrize("event, code, text", [
    (SetLocation(1, "gw9", "x"), errno.EINVAL, "gateway 'gw9' is not in rbd/g1, where there are: gw1, gw2, gw3, gw4"),
    (SetLocation(1, "gw1", "a b"), errno.EINVAL, "location 'a b' cannot be stored: use 1 to 128"),
    (SetLocation(1, "gw1", "east"), errno.EEXIST, "gateway 'gw1' is at location 'east' already"),
    (SetDisaster(1, "south"), errno.EINVAL, "no gateway of rbd/g1 is at location 'south'; there are: east, west"),
    (SetDisaster(1, ""), errno.EINVAL, "no gateway of rbd/g1 is at location ''"),
    (SetDisaster(1, "west"), errno.EINVAL, "location 'west' is not lost: AVAILABLE there: gw3, gw4"),
    (ClearDisaster(1, "west"), errno.EINVAL, "location 'west' of rbd/g1 is not in disaster; those that are: none"),
])
def test_what_cannot_be_is_refused_with_what_was_found_and_changes_nothing(event, code, text):
    mgr = sites()
    before = mgr.map
    mgr.do(event)
    assert mgr.replies[1].code == code and text in mgr.replies[1].text
    assert mgr.map == before


def test_a_gateway_without_a_location_is_told_so():
    mgr = sites(serving(GW1))
    mgr.do(SetLocation(1, "gw1", ""))
    assert (mgr.replies[1].code, "'gw1' is without a location already" in mgr.replies[1].text) == (errno.EEXIST, True)


@pytest.mark.parametrize("event", [SetLocation(1, "gw1", "x"), SetDisaster(1, "west"), ClearDisaster(1, "west")],
                         ids=lambda e: type(e).__name__)
def test_a_mgr_that_is_taking_over_asks_for_patience(event):
    mgr = Driven(stored_map((), ()), answers=())
    mgr.do(event)
    assert mgr.replies[1].code == errno.EAGAIN


# ---- disaster -----------------------------------------------------------------------------------------------------

def test_gateways_that_come_back_to_a_lost_site_get_nothing_however_long():
    mgr = lost_site()
    come_back(mgr, "gw3", "gw4", seconds=3 * FAILBACK_S)
    assert mgr.gateway("gw3").availability is Availability.AVAILABLE
    assert not {"gw3", "gw4"} & set(holders(mgr))
    mgr.do(MoveAnaGroup(2, 3, "gw3"))
    assert mgr.replies[2].code == errno.EBUSY
    assert "'gw3' is at location west, which is in disaster: it can be given no ANA group" in mgr.replies[2].text
    mgr.do(SetDisaster(3, "west"))
    assert mgr.replies[3].code == errno.EEXIST, "also while gateways are AVAILABLE there again"


def test_an_ana_group_that_nobody_else_can_take_stays_unserved_and_nobody_waits_for_its_home():
    mgr = lost_site()
    lose(mgr, "gw1", "gw2")
    come_back(mgr, "gw3", "gw4", seconds=FAILBACK_S)
    assert holders(mgr) == ["", "", "", ""]
    come_back(mgr, "gw1", seconds=1.0)
    assert holders(mgr) == ["gw1"] * 4


def test_a_suspect_that_is_acquitted_in_a_lost_site_hands_over_what_it_still_holds():
    mgr = sites()
    mgr.silent = frozenset({"gw3", "gw4"})
    mgr.wait(2 * TIMING.suspect_s + 0.5)
    mgr.do(SetDisaster(1, "west"))
    assert mgr.replies[1].code == 0 and holders(mgr)[2:] == ["gw3", "gw4"]
    mgr.silent = frozenset()
    mgr.wait(2.0)
    assert not {"gw3", "gw4"} & set(holders(mgr)) and not moving(mgr)
    assert not [a for a in mgr.asked if isinstance(a, Fence)]


def test_the_last_one_that_can_serve_goes_on_although_its_site_was_declared_lost():
    mgr = sites(serving(GW1, enabled=False), serving(GW2, enabled=False))
    mgr.silent = frozenset({"gw3", "gw4"})
    mgr.wait(2 * TIMING.suspect_s + 0.5)
    mgr.do(SetDisaster(1, "west"))
    mgr.silent = frozenset()
    mgr.wait(2.0)
    assert holders(mgr)[2:] == ["gw3", "gw4"]


def test_the_mons_keep_the_disaster_locations():
    mgr = lost_site()
    assert mgr.last(StoreDisasters).disasters == (Disaster("west"),) == mgr.state.committed.disasters


def test_the_seats_know_better_than_the_mons_and_tell_them():
    mgr = Driven(lost_site().map, ballot=2)
    assert mgr.map.disasters == mgr.last(StoreDisasters).disasters == (Disaster("west"),)


def test_a_map_without_disaster_locations_is_one_without_disasters():
    found = lost_site().map
    text = wire.encode_map(found).replace(b'"disasters":[{"clearing":false,"location":"west"}],', b"")
    assert wire.decode_map(text) == replace(found, disasters=())


def test_a_promotion_in_a_lost_site_violates_an_invariant():
    mgr = lost_site()
    come_back(mgr, "gw3")
    instance = mgr.instances["gw3"]
    before = mgr.map.with_ana_group(replace(mgr.group(3), phase=Phase.UNSERVED, holder=None, writers=frozenset()))
    after = before.with_ana_group(replace(before.ana_group(3), phase=Phase.PROMOTING, incoming=instance,
                                          writers=frozenset({instance})))
    with pytest.raises(invariants.InvariantViolated, match="nobody in a disaster location begins to serve"):
        invariants.check_step(before, after)


# ---- recovery -----------------------------------------------------------------------------------------------------

def recovering() -> Driven:
    """Both gateways of west are back and well for long; nothing has come home yet."""
    mgr = lost_site()
    come_back(mgr, "gw3", "gw4", seconds=3 * FAILBACK_S)
    mgr.do(ClearDisaster(2, "west"))
    assert mgr.replies[2].code == 0
    return mgr


def test_the_ana_groups_of_a_site_come_home_one_by_one_and_the_disaster_is_forgotten():
    mgr = lost_site()
    come_back(mgr, "gw3", "gw4", seconds=3 * FAILBACK_S)
    for name in ("gw1", "gw2"):
        mgr.silent = mgr.silent | {name}   # who holds them says nothing: no move can end
    mgr.do(ClearDisaster(2, "west"))
    assert moving(mgr) == [3] and mgr.map.disasters == (Disaster("west", True),)
    mgr.do(ClearDisaster(3, "west"))
    assert mgr.replies[3].code == errno.EEXIST and "it waits for ANA groups 3, 4" in mgr.replies[3].text
    mgr.wait(0.3)
    assert moving(mgr) == [3]
    mgr.silent = frozenset()
    seen: List[Tuple[int, ...]] = []
    for _ in range(20):
        mgr.wait(0.1)
        seen.append(tuple(moving(mgr)))
    assert holders(mgr) == ["gw1", "gw2", "gw3", "gw4"] and mgr.map.disasters == ()
    assert max(map(len, seen)) == 1 and {(3,), (4,)} <= set(seen)


def test_the_next_begins_only_when_the_one_before_is_active():
    mgr = recovering()
    first = mgr.group(3)
    assert moving(mgr) == [3] and first.phase is D
    mgr.wait(0.1)
    held = first.holder
    mgr.instances.pop("gw3")
    mgr.beacon(held, confirmations=mgr.confirmations(held))
    assert mgr.phase(3) is Phase.PROMOTING and moving(mgr) == [3], "gw3 has not answered"
    mgr.beacon(mgr.group(3).incoming)
    assert mgr.phase(3) is A and moving(mgr) == [4]


def test_what_loses_its_holder_during_the_recovery_is_promoted_at_home_at_once():
    mgr = recovering()
    other = mgr.group(4).holder
    assert moving(mgr) == [3] and other != mgr.group(3).holder
    mgr.instances.pop(other.gateway)
    mgr.beacon(Instance(other.gateway, 2, "new"), reaped=(other,))
    mgr.wait(0.5)
    assert holders(mgr)[3] == "gw4"
    mgr.wait(3.0)
    assert holders(mgr)[2:] == ["gw3", "gw4"] and mgr.map.disasters == ()


def test_a_recovery_that_begins_before_anybody_is_back_waits_for_them():
    mgr = lost_site()
    mgr.do(ClearDisaster(2, "west"))
    mgr.wait(5.0)
    assert mgr.map.disasters == (Disaster("west", True),) and locations.away(mgr.map, mgr.map.disasters[0]) == (3, 4)
    come_back(mgr, "gw3", seconds=4 * FAILBACK_S)
    assert holders(mgr)[2:] == ["gw3", "gw3"] and mgr.map.disasters == (), "gw4 is not waited for"


def test_a_site_that_is_lost_again_during_its_recovery_is_frozen_again():
    mgr = lost_site()
    mgr.do(ClearDisaster(2, "west"))
    mgr.do(SetDisaster(3, "west"))
    assert mgr.replies[3].code == 0 and mgr.map.disasters == (Disaster("west"),)


def test_a_recovery_does_not_wait_for_what_operators_moved_or_delete():
    mgr = lost_site()
    come_back(mgr, "gw3", seconds=1.0)
    holder = mgr.group(3).holder.gateway
    mgr.do(MoveAnaGroup(2, 3, holder))
    mgr.do(DeleteGateway(3, "gw4"))
    mgr.do(ClearDisaster(4, "west"))
    assert mgr.replies[4].code == 0 and mgr.map.disasters == ()


def test_a_lost_site_whose_gateways_are_all_gone_is_forgotten():
    mgr = lost_site()
    for number, name in enumerate(("gw3", "gw4"), 2):
        mgr.do(SetLocation(number, name, "east"))
    assert mgr.map.disasters == () == mgr.last(StoreDisasters).disasters


def test_a_disabled_gateway_of_a_recovering_site_is_not_waited_for():
    mgr = lost_site()
    come_back(mgr, "gw3", "gw4", seconds=1.0)
    mgr.do(SetEnabled(2, "gw4", False))
    mgr.do(ClearDisaster(3, "west"))
    mgr.wait(4 * FAILBACK_S)
    assert holders(mgr)[2:] == ["gw3", "gw3"] and mgr.map.disasters == ()
