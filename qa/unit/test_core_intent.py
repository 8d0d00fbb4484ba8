"""Claims about commands: create, delete, timers; and about what a dying mgr left undone of them."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from nvmeof_ha.core.actions import Commit, Fence, ForgetGateway, Reply, StoreGateway, Wake
from nvmeof_ha.core.events import (CreateGateway, DeleteGateway, GatewayStored, MoveAnaGroup, SetEnabled, SetTiming,
                                   Tick)
from nvmeof_ha.core.model import Availability, Gateway, Instance, Map, Phase, Version
from nvmeof_ha.core.timing import FAST

from .driven import GW1, GW2, GW3, TIMING, W, Driven, address, ana_group, serving, stored_map, subsystems

OK = 0


def both_serve(**gw1: object) -> Map:
    return stored_map((serving(GW1, **gw1), serving(GW2)),
                      (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.ACTIVE, GW2)))


def test_each_new_gateway_owns_the_smallest_free_ana_group():
    mgr = Driven()
    for number, name in enumerate(("gw3", "gw1", "gw2"), 1):
        mgr.do(CreateGateway(number, name))
    assert {g.owner: g.id for g in mgr.map.ana_groups} == {"gw3": 1, "gw1": 2, "gw2": 3}
    assert [r.code for r in mgr.replies.values()] == [OK] * 3


def test_creating_what_exists_is_a_silent_success_and_ends_a_deletion():
    mgr = Driven(both_serve(deleting=True))
    mgr.do(CreateGateway(1, "gw1"))
    assert mgr.replies[1] == Reply(1, OK) and not mgr.gateway().deleting
    assert mgr.do(CreateGateway(2, "gw1")) == (Reply(2, OK),), "nothing to store, no waiting"


def test_deleting_what_does_not_exist_is_a_silent_success():
    assert Driven().do(DeleteGateway(1, "gw1")) == (Reply(1, OK),)


def test_a_name_that_cannot_be_stored_is_refused_with_the_rule():
    reply, = Driven().do(CreateGateway(1, "gw/1"))
    assert reply.code == errno.EINVAL and "gateway id 'gw/1' cannot be stored: use 1 to 128 characters" in reply.text


def test_the_33rd_gateway_is_refused_with_the_way_out():
    mgr = Driven()
    for number in range(1, 34):
        mgr.do(CreateGateway(number, f"gw{number}"))
    assert mgr.replies[33].code == errno.EINVAL and "has 32 gateways, which is all" in mgr.replies[33].text
    assert len(mgr.map.gateways) == 32


@pytest.mark.parametrize("command", [CreateGateway(1, "gw1"), DeleteGateway(1, "gw1"), SetEnabled(1, "gw1"),
                                     MoveAnaGroup(1, 1)])
def test_a_mgr_that_is_still_taking_over_asks_to_try_again(command):
    reply, = Driven(answers=()).do(command)
    assert reply.code == errno.EAGAIN and "still taking over the gateway map of rbd/g1: try again" in reply.text


def test_a_command_succeeds_only_once_what_it_changed_is_stored():
    mgr = Driven(answers=())
    mgr.do(mgr.answer(mgr.last(Commit)))
    actions = mgr.do(CreateGateway(1, "gw1"))
    assert [type(a) for a in actions] == [StoreGateway, Commit], "the record first, then what relies on it"
    mgr.do(CreateGateway(2, "gw1"))
    mgr.do(CreateGateway(3, "gw2"))
    assert not mgr.replies
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert sorted(mgr.replies) == [1, 2], "the third waits for the commit after that"
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert sorted(mgr.replies) == [1, 2, 3]


def test_each_stored_version_wakes_the_gateways_once():
    mgr = Driven()
    mgr.do(CreateGateway(1, "gw1"))
    woken = [a.version for a in mgr.asked if isinstance(a, Wake)]
    assert woken == sorted(set(woken)) and woken[-1] == mgr.state.committed.version


def test_timers_are_stored_and_a_shorter_lease_does_not_shorten_w_at_once():
    mgr = Driven(both_serve())
    mgr.do(SetTiming(1, FAST, failback_doubling=False))
    assert mgr.replies[1].code == OK
    assert (mgr.map.timing, mgr.map.lease_wait_s) == (FAST, W)
    assert not mgr.state.soft.failback_doubling
    mgr.wait(W + 0.2)
    assert mgr.map.lease_wait_s == FAST.lease_wait_s


def test_timers_set_during_a_takeover_are_confirmed_only_when_stored():
    mgr = Driven(both_serve(), answers=())
    mgr.do(SetTiming(1, FAST))
    assert not mgr.replies
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert not mgr.replies and mgr.last(Commit).map.timing == FAST
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert mgr.replies[1].code == OK


def test_timers_that_change_nothing_during_a_takeover_are_confirmed_with_it():
    mgr = Driven(both_serve(), answers=())
    mgr.do(SetTiming(1, TIMING))
    assert not mgr.replies
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert mgr.replies[1].code == OK


# ---- deletion -----------------------------------------------------------------------------------------------------

def test_a_deleted_gateway_hands_over_and_stays_while_its_ana_group_has_namespaces():
    mgr = Driven(both_serve())
    mgr.do(DeleteGateway(1, "gw1"))
    mgr.wait(5)
    assert mgr.gateway().deleting and (mgr.phase(), mgr.group().server) == (Phase.ACTIVE, GW2)


def test_a_deleted_gateway_goes_with_its_ana_group_once_nothing_is_in_it():
    mgr = Driven(both_serve())
    mgr.do(DeleteGateway(1, "gw1"))
    mgr.wait(5, subsystems=subsystems(2), digest="e")
    assert [g.id for g in mgr.map.gateways] == ["gw2"] and [g.id for g in mgr.map.ana_groups] == [2]
    gone = mgr.map.departure(GW1)
    assert gone is not None and gone.addresses == frozenset({address(GW1)})
    assert mgr.last(Fence) == Fence(GW1, gone.addresses), "its target may still run"
    assert mgr.last(ForgetGateway) == ForgetGateway("gw1")
    assert mgr.map.is_over(GW1)


def test_the_last_gateways_go_although_namespaces_are_left():
    mgr = Driven(both_serve())
    mgr.do(DeleteGateway(1, "gw1"))
    mgr.do(DeleteGateway(2, "gw2"))
    mgr.wait(5)
    assert mgr.map.gateways == () and mgr.map.ana_groups == ()


def test_a_gateway_that_never_ran_is_deleted_at_once_when_it_is_the_last():
    mgr = Driven()
    mgr.do(CreateGateway(1, "gw1"))
    mgr.do(DeleteGateway(2, "gw1"))
    assert mgr.map.gateways == () and mgr.map.departed == ()


def test_a_deleted_gateway_that_serves_another_group_still_stays_until_that_moved():
    mgr = Driven(stored_map((serving(GW1, deleting=True), Gateway("gw2", 2)),
                            (ana_group(1), ana_group(2, Phase.ACTIVE, GW1))))
    mgr.wait(1, subsystems=subsystems(2), digest="e")
    assert mgr.gateway().deleting and mgr.group(2).server == GW1


def test_what_the_last_gateway_has_drained_is_stored_before_it_goes():
    mgr = Driven(stored_map((Gateway("gw1", 1, deleting=True), serving(GW2, deleting=True)),
                            (ana_group(1, Phase.ACTIVE, GW2), ana_group(2))))
    mgr.wait(5)
    assert mgr.map.gateways == () and mgr.map.ana_groups == ()


def test_nothing_is_removed_on_the_word_of_nobody():
    mgr = Driven(stored_map((Gateway("gw1", 1, deleting=True), Gateway("gw2", 2)), (ana_group(1), ana_group(2))))
    mgr.wait(3)
    assert [g.id for g in mgr.map.gateways] == ["gw1", "gw2"], "no gateway is up to say that the group is empty"


def test_an_ana_group_goes_only_when_the_stored_map_says_that_nobody_serves_it():
    mgr = Driven(both_serve(), answers=(StoreGateway,))
    mgr.do(mgr.answer(mgr.last(Commit)))
    mgr.do(DeleteGateway(1, "gw1"))
    mgr.do(DeleteGateway(2, "gw2"))
    mgr.do(mgr.answer(mgr.last(Commit)))
    mgr.do(mgr.answer(mgr.last(Commit)))
    mgr.beacon(GW1)
    assert mgr.phase() is Phase.UNSERVED, "drained, and in flight"
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert mgr.map.ana_group(1) is None


def test_a_new_gateway_takes_over_the_ana_group_of_a_deleted_one_that_runs_no_more():
    mgr = Driven(stored_map((Gateway("gw1", 1, deleting=True, last_number=5), serving(GW2)),
                            (ana_group(1, Phase.ACTIVE, GW2), ana_group(2, Phase.ACTIVE, GW2))))
    mgr.do(CreateGateway(1, "gw4"))
    assert mgr.gateway("gw4").ana_group_id == 1 and mgr.group(1).owner == "gw4"
    assert mgr.gateway("gw4").last_number == 5, "numbers go on, so that no old instance looks new"
    assert mgr.group(1).server == GW2 and mgr.map.gateway("gw1") is None


# ---- what a dying mgr left undone ---------------------------------------------------------------------------------

def test_a_gateway_that_the_kv_store_names_and_the_seats_lack_is_added_after_the_takeover():
    mgr = Driven(both_serve(), (Gateway("gw9", 9, location="row-a"),))
    assert (mgr.gateway("gw9").ana_group_id, mgr.gateway("gw9").location) == (9, "row-a")
    assert mgr.group(9).owner == "gw9"


def test_what_the_seats_say_of_a_gateway_outranks_its_record():
    mgr = Driven(both_serve(), (Gateway("gw1", 7, enabled=False),))
    assert mgr.gateway() == serving(GW1)


def test_a_record_whose_ana_group_is_taken_gets_a_free_one():
    mgr = Driven(both_serve(), (Gateway("gw9", 2),))
    assert mgr.gateway("gw9").ana_group_id == 3


def record(instance: Instance, **changes: object) -> Gateway:
    return serving(instance, availability=Availability.CREATED, subsystems=(), digest="", **changes)


def test_a_recorded_instance_that_the_seats_do_not_know_is_over_after_w_and_disturbs_nobody():
    mgr = Driven(both_serve(), (record(GW3),))
    assert mgr.gateway("gw3").availability is Availability.SUSPECT
    mgr.wait(W + 0.3)
    assert mgr.gateway("gw3").instance is None
    assert [mgr.group(n).phase for n in (1, 2)] == [Phase.ACTIVE] * 2


def test_an_ana_group_that_is_made_again_asks_for_the_barrier_that_the_removed_one_asked_for():
    """Its namespaces may be the same: a fenced instance may still have writes under way there."""
    mgr = Driven(both_serve())
    mgr.beacon(GW1, instance=None, reaped=(GW1,))
    mgr.wait(1)
    fenced_at = mgr.group(1).osd_epoch
    assert fenced_at > 0
    for number, gateway_id in enumerate(("gw1", "gw2"), 1):
        mgr.do(DeleteGateway(number, gateway_id))
    mgr.wait(5)
    assert mgr.map.ana_groups == () and mgr.map.osd_epoch_floor == fenced_at
    mgr.do(CreateGateway(3, "gw5"))
    assert mgr.group(1).osd_epoch == fenced_at


def test_a_gateway_is_not_removed_before_its_record_says_that_it_is_being_deleted():
    """Or the record that a dying mgr left behind would bring it back to stay."""
    mgr = Driven(answers=(Commit,))
    mgr.do(CreateGateway(1, "gw1"))
    mgr.do(mgr.answer(mgr.last(StoreGateway)))
    mgr.do(DeleteGateway(2, "gw1"))
    assert mgr.gateway("gw1").deleting and mgr.replies[2].code == 0, "the seats know"
    mgr.do(mgr.answer(mgr.last(StoreGateway)))
    assert mgr.map.gateways == ()


def test_gateways_that_were_deleted_together_do_not_stay_because_a_new_one_comes_before_their_records_say_so():
    mgr = Driven(answers=(Commit,))
    for number, gateway_id in enumerate(("gw1", "gw2"), 1):
        mgr.do(CreateGateway(number, gateway_id))
    for number, gateway_id in enumerate(("gw1", "gw2"), 3):
        mgr.do(DeleteGateway(number, gateway_id))
    assert [g.deleting for g in mgr.map.gateways] == [True, True]
    mgr.do(CreateGateway(5, "gw1"))
    assert [(g.id, g.deleting) for g in mgr.map.gateways] == [("gw1", False)]


def test_an_ana_group_that_is_removed_and_made_again_in_one_step_keeps_its_last_commit():
    mgr = Driven(both_serve(), answers=(Commit, Fence))
    for gateway in (GW1, GW2):
        mgr.beacon(gateway, instance=None, reaped=(gateway,))
    mgr.wait(1)
    for number, gateway_id in enumerate(("gw1", "gw2"), 1):
        mgr.do(DeleteGateway(number, gateway_id))
    before = mgr.group(1)
    assert [g.deleting for g in mgr.map.gateways] == [True, True] and before.since > Version(0, 0)
    mgr.do(CreateGateway(3, "gw2"))
    assert [(g.id, g.ana_group_id) for g in mgr.map.gateways] == [("gw2", 1)]
    assert (mgr.group(1).owner, mgr.group(1).since) == ("gw2", before.since)


def test_a_record_that_outlived_its_gateways_removal_leads_to_another_removal():
    mgr = Driven(both_serve(), (record(GW3, deleting=True),))
    assert mgr.map.gateway("gw3") is None and mgr.last(ForgetGateway) == ForgetGateway("gw3")


# ---- records ------------------------------------------------------------------------------------------------------

def test_only_a_confirmation_of_the_record_last_asked_for_counts():
    mgr = Driven(answers=(Commit,))
    mgr.create("gw1")
    instance = mgr.instances["gw1"]
    mgr.do(GatewayStored("gw1", instance, frozenset({"of an older try"})))
    mgr.do(GatewayStored("gw7", None, frozenset()))
    assert not mgr.state.soft.stored
    mgr.do(GatewayStored("gw1", instance, mgr.gateway().addresses))
    assert mgr.state.soft.stored["gw1"].addresses == mgr.gateway().addresses


def test_a_record_keeps_intent_number_and_addresses_but_nothing_of_the_moment():
    mgr = Driven(both_serve(location="row-a", suspected_at=ana_group(1).since))
    record = next(a.gateway for a in mgr.asked if isinstance(a, StoreGateway) and a.gateway.id == "gw1")
    assert record == Gateway("gw1", 1, instance=GW1, last_number=1, addresses=frozenset({address(GW1)}),
                             location="row-a")


def test_a_record_of_a_gateway_that_is_over_says_so():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, instance=None, reaped=(GW1,))
    stored = [a.gateway for a in mgr.asked if isinstance(a, StoreGateway) and a.gateway.id == "gw1"]
    assert stored[-1].availability is Availability.UNAVAILABLE and stored[-1].last_number == 1


def test_records_are_asked_for_once_while_nothing_of_them_changes():
    mgr = Driven(both_serve())
    mgr.asked.clear()
    mgr.wait(2)
    mgr.do(Tick())
    assert not [a for a in mgr.asked if isinstance(a, StoreGateway)]


def test_a_commit_follows_only_on_an_acknowledged_one():
    mgr = Driven(both_serve(), answers=(StoreGateway,))
    mgr.do(mgr.answer(mgr.last(Commit)))
    mgr.do(CreateGateway(1, "gw5"))
    mgr.do(CreateGateway(2, "gw6"))
    commits = [a.map for a in mgr.asked if isinstance(a, Commit)]
    assert len(commits) == 2 and replace(commits[-1]).gateway("gw6") is None
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert mgr.last(Commit).map.gateway("gw6") is not None
    assert Instance("gw6", 1, "t") not in {d.instance for d in mgr.map.departed}
