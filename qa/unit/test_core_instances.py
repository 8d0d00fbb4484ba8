"""Claims about gateways' instances: who is admitted, suspected, acquitted, over; and what a new mgr goes on from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core.actions import Commit, Fence, ForgetGateway, StoreGateway
from nvmeof_ha.core.events import Committed, DeleteGateway, Deposed, TargetState, Tick
from nvmeof_ha.core.machine import REFUSALS_KEPT
from nvmeof_ha.core.model import Availability, Departed, Gateway, Instance, Map, Phase, Version

from .driven import (GW1, GW2, GW3, START_S, STORED, TIMING, W, Driven, address, ana_group, serving, stored_map,
                     subsystems)

NEXT = Instance("gw1", 2, "next")
SUSPECT = Availability.SUSPECT


def both_serve(**gw1: object) -> Map:
    return stored_map((serving(GW1, **gw1), serving(GW2)),
                      (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.ACTIVE, GW2)))


def silenced() -> Driven:
    """gw1 fell silent and its suspicion has just been committed."""
    mgr = Driven(both_serve())
    mgr.wait(0.5)
    mgr.silent = frozenset({"gw1"})
    while mgr.gateway().availability is not SUSPECT:
        mgr.wait(0.1)
        assert mgr.now < START_S + 5
        mgr.beacon(GW2)
    return mgr


# ---- admission ----------------------------------------------------------------------------------------------------

def test_an_unknown_gateway_is_told_to_be_created_first():
    mgr = Driven()
    mgr.beacon(GW1)
    assert mgr.state.soft.refused == {"gw1": "gateway 'gw1' is not in rbd/g1: create it first"}


def test_a_second_instance_disturbs_nobody_while_the_first_is_not_over():
    mgr = Driven(both_serve())
    mgr.beacon(NEXT, addresses=frozenset({"b"}))
    assert mgr.gateway().instance == GW1 and mgr.gateway().addresses == {address(GW1)}
    assert mgr.state.soft.refused[str(NEXT)] == "gateway id 'gw1' is in use by instance gw1#1:aa"


def test_a_new_instance_is_admitted_once_the_predecessor_was_reaped_and_refusals_are_forgotten():
    mgr = Driven(both_serve())
    mgr.beacon(NEXT)
    mgr.beacon(NEXT, reaped=(GW1,))
    assert mgr.gateway().instance == NEXT and mgr.gateway().last_number == 2
    assert mgr.map.departure(GW1).addresses == {address(GW1)}
    assert not mgr.state.soft.refused


@pytest.mark.parametrize("instance", [GW1, GW1._replace(token="other")], ids=["itself", "same number"])
def test_an_instance_that_was_over_once_is_never_accepted_again(instance):
    mgr = Driven(both_serve())
    mgr.beacon(GW1, instance=None, reaped=(GW1,))
    mgr.beacon(instance)
    assert mgr.gateway().instance is None
    assert mgr.state.soft.refused[str(instance)].startswith("over: instances up to 1 of gateway 'gw1' have ended")


@pytest.mark.parametrize("deleting, leaving", [(True, False), (False, True)])
def test_a_deleted_or_leaving_gateway_brings_no_new_instance(deleting, leaving):
    gone = Gateway("gw1", 1, last_number=1, deleting=deleting)
    mgr = Driven(stored_map((gone, serving(GW2)), (ana_group(1), ana_group(2, Phase.ACTIVE, GW2))))
    mgr.beacon(NEXT, leaving=leaving)
    assert "is being deleted or is leaving" in mgr.state.soft.refused[str(NEXT)]


def test_only_the_latest_refusals_are_kept():
    mgr = Driven()
    for number in range(REFUSALS_KEPT + 5):
        mgr.beacon(Instance(f"gw{number}", 1, "t"), addresses=frozenset())
    assert len(mgr.state.soft.refused) == REFUSALS_KEPT and "gw0" not in mgr.state.soft.refused


def test_a_reaped_instance_that_is_not_the_admitted_one_is_no_news():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, reaped=(Instance("gw1", 0, "x"),))
    assert mgr.gateway().instance == GW1


# ---- becoming available -------------------------------------------------------------------------------------------

def starting() -> Driven:
    """gw1 waits for its first instance."""
    return Driven(stored_map((Gateway("gw1", 1),), (ana_group(1),)))


@pytest.mark.parametrize("changes", [{"target": "starting"}, {"addresses": frozenset()}, {"subsystems": None}],
                         ids=["target not serving", "no address", "subsystems unknown"])
def test_an_instance_is_available_only_when_it_serves_with_known_addresses_and_subsystems(changes):
    mgr = starting()
    mgr.beacon(GW1, **changes)
    assert mgr.gateway().availability is Availability.CREATED
    mgr.beacon(GW1)
    assert mgr.gateway().availability is Availability.AVAILABLE


def test_the_full_subsystem_list_is_asked_for_while_the_digest_differs():
    mgr = starting()
    mgr.beacon(GW1, subsystems=None)
    assert mgr.state.soft.want_full == {"gw1"}
    mgr.beacon(GW1)
    assert not mgr.state.soft.want_full and mgr.gateway().subsystems == subsystems(1, 2)
    mgr.beacon(GW1, digest="e", subsystems=None)
    assert mgr.state.soft.want_full == {"gw1"}
    assert mgr.gateway().availability is Availability.AVAILABLE


def test_a_beacon_out_of_order_is_not_heard():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, load=5)
    mgr.beacon(GW1, load=9, sequence=mgr.sequence)
    assert mgr.state.soft.load["gw1"] == 5


def test_addresses_only_grow_while_the_instance_lives():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, addresses=frozenset({"b"}))
    mgr.beacon(GW1, addresses=frozenset())
    assert mgr.gateway().addresses == {address(GW1), "b"}


def test_leaving_once_said_is_not_taken_back():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, leaving=True)
    mgr.beacon(GW1)
    assert mgr.gateway().leaving


def test_a_new_address_of_an_instance_that_serves_is_in_its_record_before_it_is_in_the_map():
    """As soon as the map names it, its context may write; and with the seats lost, only the record would know it."""
    mgr = Driven(both_serve(), answers=(Commit,))
    mgr.beacon(GW1, addresses=frozenset({address(GW1), "b"}))
    assert mgr.gateway().addresses == {address(GW1)}
    assert mgr.last(StoreGateway).gateway.addresses == {address(GW1), "b"}
    mgr.do(mgr.answer(mgr.last(StoreGateway)))
    assert mgr.gateway().addresses == mgr.map.gateway("gw1").addresses == {address(GW1), "b"}
    assert not mgr.state.soft.announced


def test_a_new_address_is_not_that_of_the_next_instance():
    mgr = Driven(both_serve(), answers=(Commit,))
    mgr.beacon(GW1, addresses=frozenset({address(GW1), "b"}))
    late = mgr.last(StoreGateway)
    mgr.beacon(NEXT, reaped=(GW1,), addresses=frozenset())
    assert mgr.gateway().instance == NEXT and not mgr.state.soft.announced
    mgr.do(mgr.answer(late))
    assert mgr.gateway().addresses == frozenset()


def test_a_record_names_what_is_not_fenced_yet_and_outlives_its_gateway_until_then():
    mgr = Driven(both_serve(), answers=(Commit, StoreGateway))
    mgr.beacon(GW1, instance=None, reaped=(GW1,))
    assert mgr.last(StoreGateway).unfenced == (Departed(GW1, frozenset({address(GW1)})),)
    mgr.beacon(NEXT)
    assert (mgr.last(StoreGateway).gateway.instance, len(mgr.last(StoreGateway).unfenced)) == (NEXT, 1)
    mgr.do(mgr.answer(mgr.last(Fence)))
    assert mgr.last(StoreGateway).unfenced == ()


def test_the_record_of_a_removed_gateway_stays_until_it_is_fenced():
    mgr = Driven(both_serve(), answers=(Commit, StoreGateway))
    mgr.do(DeleteGateway(1, "gw1"))
    mgr.do(DeleteGateway(2, "gw2"))
    mgr.wait(5)
    fences = [a for a in mgr.asked if isinstance(a, Fence)]
    assert mgr.map.gateways == () and {f.instance for f in fences} == {GW1, GW2}
    assert not [a for a in mgr.asked if isinstance(a, ForgetGateway)]
    mgr.do(mgr.answer(fences[0]))
    mgr.wait(0.2)
    assert [a.gateway_id for a in mgr.asked if isinstance(a, ForgetGateway)] == [fences[0].instance.gateway]


def test_nobody_is_promoted_before_the_kv_store_holds_its_addresses():
    mgr = Driven(answers=(Commit,))
    mgr.create("gw1")
    assert mgr.gateway().availability is Availability.AVAILABLE and mgr.phase() is Phase.UNSERVED
    mgr.do(mgr.answer(mgr.last(StoreGateway)))
    assert mgr.phase() is Phase.PROMOTING


# ---- suspicion ----------------------------------------------------------------------------------------------------

def test_silence_for_suspect_s_is_a_suspicion_and_no_more():
    mgr = silenced()
    assert mgr.now - mgr.state.soft.heard["gw1"] == pytest.approx(TIMING.suspect_s, abs=0.11)
    assert mgr.phase() is Phase.ACTIVE and mgr.gateway().suspected_at == mgr.state.committed.version


def test_the_instance_is_over_w_after_the_acknowledged_commit_of_its_suspicion():
    mgr = silenced()
    since = mgr.now
    while mgr.gateway().instance is not None:
        mgr.wait(0.1)
        mgr.beacon(GW2)
    assert mgr.now - since == pytest.approx(W, abs=0.11) and mgr.now - since >= W - 1e-6
    assert mgr.group().server == GW2


def test_w_is_not_counted_while_the_suspicion_is_not_acknowledged():
    mgr = Driven(both_serve(), answers=(StoreGateway,))
    mgr.do(mgr.answer(mgr.last(Commit)))
    mgr.beacon(GW1, stuck="no progress")
    mgr.silent = frozenset({"gw1"})
    mgr.wait(W + 5)
    assert mgr.gateway().availability is SUSPECT
    mgr.do(mgr.answer(mgr.last(Commit)))
    mgr.wait(W - 0.1)
    assert mgr.gateway().availability is SUSPECT
    mgr.wait(0.2)
    assert mgr.gateway().availability is Availability.UNAVAILABLE


def test_a_beacon_that_has_applied_the_suspicion_acquits():
    mgr = silenced()
    mgr.beacon(GW1)
    assert mgr.gateway().availability is Availability.AVAILABLE


@pytest.mark.parametrize("changes", [{"version": STORED}, {"stuck": "no progress"}], ids=["older map", "stuck"])
def test_a_beacon_that_has_not_applied_it_or_is_stuck_does_not_acquit(changes):
    mgr = silenced()
    mgr.beacon(GW1, **changes)
    assert mgr.gateway().availability is SUSPECT


def test_a_suspect_that_no_longer_serves_is_acquitted_as_created():
    mgr = silenced()
    mgr.beacon(GW1, target="starting")
    assert mgr.gateway().availability is Availability.CREATED


def test_a_suspicion_after_an_acquittal_begins_w_anew():
    mgr = silenced()
    mgr.wait(2)
    mgr.beacon(GW1)
    mgr.beacon(GW1, stuck="no progress")
    again = mgr.now
    mgr.wait(W - 0.2)
    assert mgr.gateway().availability is SUSPECT and mgr.now < again + W
    mgr.wait(0.4)
    assert mgr.gateway().instance is None


def test_a_writer_that_is_being_fenced_is_not_acquitted():
    fencing = ana_group(1, Phase.FENCING, writers=frozenset({GW1}))
    mgr = Driven(stored_map((serving(GW1, availability=SUSPECT, suspected_at=STORED), serving(GW2)),
                            (fencing, ana_group(2, Phase.ACTIVE, GW2))))
    mgr.beacon(GW1)
    assert mgr.gateway().availability is SUSPECT


def test_a_stuck_io_path_is_a_suspicion_and_an_acquittal_needs_it_gone():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, stuck="no progress")
    assert mgr.gateway().availability is SUSPECT
    mgr.beacon(GW1)
    assert mgr.gateway().availability is Availability.AVAILABLE


def test_an_unanswered_promotion_is_not_acquitted_by_a_beacon_that_still_does_not_answer():
    mgr = Driven(stored_map((serving(GW1), serving(GW2)),
                            (ana_group(1, Phase.PROMOTING, GW1), ana_group(2, Phase.ACTIVE, GW2))))
    mgr.wait(TIMING.promote_s + 0.5, confirmations=())
    assert mgr.gateway().availability is SUSPECT
    mgr.beacon(GW1)
    assert (mgr.gateway().availability, mgr.phase()) == (Availability.AVAILABLE, Phase.ACTIVE)


# ---- self-doubt ---------------------------------------------------------------------------------------------------

def test_a_late_tick_proves_nothing_about_gateways():
    mgr = Driven(both_serve())
    mgr.wait(0.5)
    mgr.now += 60
    mgr.do(Tick())
    assert mgr.gateway().availability is Availability.AVAILABLE


def test_silence_through_red_seats_proves_nothing():
    mgr = Driven(both_serve())
    for _ in range(40):
        mgr.now += 0.1
        mgr.do(Tick(green_seats=1))
    assert mgr.gateway().availability is Availability.AVAILABLE


def test_a_suspect_is_not_over_while_nobody_could_be_heard():
    mgr = silenced()
    for _ in range(60):
        mgr.now += 0.1
        mgr.do(Tick(green_seats=0))
    assert mgr.gateway().availability is SUSPECT
    mgr.instances = {"gw2": GW2}
    mgr.wait(TIMING.suspect_s + 0.2)
    assert mgr.gateway().instance is None


def test_when_most_gateways_fade_at_once_the_verdict_is_held_back():
    mgr = Driven(both_serve())
    mgr.silent = frozenset({"gw1", "gw2"})
    mgr.wait(2 * TIMING.suspect_s - 0.2)
    assert mgr.state.soft.mass_silence and mgr.gateway().availability is Availability.AVAILABLE
    mgr.wait(0.4)
    assert mgr.gateway().availability is SUSPECT


# ---- endings ------------------------------------------------------------------------------------------------------

def test_a_gateway_that_left_after_its_handover_counts_no_flap_and_fences_nobody():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, leaving=True)
    mgr.wait(3, leaving=False)
    assert mgr.group().server == GW2
    mgr.beacon(GW1, instance=None, reaped=(GW1,), leaving=True)
    assert not mgr.state.soft.flaps and not [a for a in mgr.asked if isinstance(a, Fence)]


def test_a_gateway_that_was_killed_after_its_handover_is_fenced_for_what_it_left_open():
    mgr = Driven(both_serve())
    mgr.beacon(GW1, leaving=True)
    mgr.wait(3, leaving=False)
    assert mgr.group().server == GW2
    mgr.beacon(NEXT, reaped=(GW1,))  # the next warden says so
    assert [a.instance for a in mgr.asked if isinstance(a, Fence)] == [GW1]
    assert mgr.group().server == GW2 and not mgr.state.soft.flaps


def test_a_loss_without_leaving_is_a_flap_and_so_is_one_before_the_handover_ended():
    for leaving in (False, True):
        mgr = Driven(both_serve())
        mgr.beacon(GW1, leaving=leaving)
        mgr.beacon(GW1, instance=None, reaped=(GW1,))
        assert mgr.state.soft.flaps["gw1"] == (START_S,)


def test_an_owner_that_flapped_is_no_first_choice_until_its_failback_delay_is_over():
    mgr = Driven(both_serve())
    mgr.beacon(NEXT, reaped=(GW1,))
    assert mgr.gateway().availability is Availability.AVAILABLE
    assert mgr.group().server == GW2


def test_a_group_does_not_wait_for_the_new_instance_of_the_owner_that_was_just_lost():
    mgr = Driven()
    mgr.create("gw1", "gw2")
    mgr.wait(12)  # long enough to have been well for the failback delay
    lost, mgr.instances["gw1"] = mgr.instances["gw1"], Instance("gw1", 2, "u")
    mgr.beacon(mgr.instances["gw1"], target=TargetState.STARTING, reaped=(lost,))
    assert mgr.gateway("gw1").availability is Availability.CREATED
    assert mgr.phase() is Phase.PROMOTING and mgr.group().incoming == mgr.instances["gw2"]


def test_departed_instances_are_kept_while_they_must_be_fenced_and_the_last_of_each_gateway():
    fenced, left = Departed(Instance("gw1", 0, "x"), frozenset({"x"}), 60), Departed(Instance("gw9", 3, "y"))
    unfenced = Departed(Instance("gw9", 4, "y"), frozenset({"y"}))
    mgr = Driven(replace(both_serve(), departed=(fenced, left, unfenced)), answers=(Commit, StoreGateway))
    mgr.beacon(GW1, instance=None, reaped=(GW1,))
    assert [d.instance for d in mgr.map.departed] == [GW1, unfenced.instance]


def test_an_instance_that_died_with_nothing_to_serve_is_fenced_too_but_after_those_that_wrote():
    idle, writer = (Departed(i, frozenset({address(i)})) for i in (GW1, GW2))
    groups = (ana_group(1, Phase.ACTIVE, GW3), ana_group(2, Phase.FENCING, writers=frozenset({GW2})))
    mgr = Driven(stored_map((serving(GW3),), groups, departed=(idle, writer)), answers=(Commit, StoreGateway))
    assert [a.instance for a in mgr.asked if isinstance(a, Fence)] == [GW2, GW1]


# ---- mgrs ---------------------------------------------------------------------------------------------------------

def test_a_new_mgr_commits_what_it_found_under_its_ballot_and_decides_nothing_before():
    mgr = Driven(both_serve(), ballot=9, answers=())
    assert mgr.asked == [Commit(replace(both_serve(), version=Version(9, STORED.epoch + 1)))]
    mgr.beacon(GW1, reaped=(GW1,))
    mgr.wait(20)
    mgr.silent = frozenset({"gw1"})
    mgr.wait(2 * TIMING.suspect_s)
    assert mgr.asked[1:] == [] and mgr.state.soft.heard["gw1"] > START_S
    assert mgr.map.content() == both_serve().content(), "it decides nothing"
    mgr.do(Committed(Version(9, STORED.epoch + 2)))
    assert mgr.state.committed is None, "another version's acknowledgement is not this one's"


def test_a_new_mgr_counts_w_of_a_suspicion_it_found_from_its_own_commit():
    mgr = Driven(both_serve(availability=SUSPECT, suspected_at=STORED))
    mgr.silent = frozenset({"gw1"})
    mgr.wait(W - 0.1)
    assert mgr.gateway().availability is SUSPECT
    mgr.wait(0.3)
    assert mgr.gateway().instance is None


def test_a_deposed_mgr_decides_nothing():
    mgr = Driven(both_serve())
    assert mgr.do(Deposed("seat 1 holds ballot 2")) == ()
    assert mgr.state.stopped == "seat 1 holds ballot 2"
    assert mgr.beacon(GW1, reaped=(GW1,)) == () and mgr.do(Tick()) == ()


def test_w_shrinks_only_when_every_lease_under_the_longer_timing_is_over():
    mgr = Driven(replace(both_serve(), lease_wait_s=9.0))
    mgr.wait(8.8)
    assert mgr.map.lease_wait_s == 9.0
    mgr.wait(0.4)
    assert mgr.map.lease_wait_s == W
