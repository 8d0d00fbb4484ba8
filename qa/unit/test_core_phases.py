"""The phase table of ``machine.py``, row by row: what ends each phase of an ANA group, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, NamedTuple, Optional

import pytest

from nvmeof_ha.core.actions import Commit, Fence, StoreGateway
from nvmeof_ha.core.events import Confirmation, Fenced, FenceFailed, GatewayStored, Outcome, Tick
from nvmeof_ha.core.model import Availability, Departed, Gateway, Instance, Map, Phase, Version
from nvmeof_ha.core.timing import HOSTS_RETURN_S

from .driven import GW1, GW2, STORED, TIMING, W, Driven, address, ana_group, serving, stored_map, subsystems

U, P, A, D, F = Phase.UNSERVED, Phase.PROMOTING, Phase.ACTIVE, Phase.DRAINING, Phase.FENCING
SILENT = frozenset({"gw1"})


def found(phase: Phase, server: Optional[Instance] = None, gw1: Gateway = serving(GW1), gw2: Gateway = serving(GW2),
          **group: Any) -> Map:
    """ANA group 1 (owner gw1) in that phase, as the last mgr left it; ANA group 2 is ACTIVE at its owner gw2."""
    second = ana_group(2, A, GW2) if gw2.instance else ana_group(2)
    return stored_map((gw1, gw2), (ana_group(1, phase, server, **group), second))


def fencing(fenced_at: Optional[int] = None, addresses: frozenset = frozenset({"a:0/1"})) -> Map:
    """The first instance of gw1 departed while it served ANA group 1."""
    gone = Gateway("gw1", 1, availability=Availability.UNAVAILABLE, last_number=1)
    return replace(found(F, gw1=gone, writers=frozenset({GW1})), departed=(Departed(GW1, addresses, fenced_at),))


def says(outcome: Outcome, since: Version = STORED, speaker: Instance = GW1, **beacon: Any) -> Callable[[Driven], None]:
    return lambda mgr: mgr.beacon(speaker, confirmations=(Confirmation(1, since, outcome),), **beacon)


def silence(seconds: float) -> Callable[[Driven], None]:
    """gw1 says nothing of its phase for that long, but lives."""
    return lambda mgr: mgr.wait(seconds, confirmations=())


def reaped(mgr: Driven) -> None:
    mgr.beacon(GW1, instance=None, reaped=(GW1,))


def dead(mgr: Driven) -> None:
    mgr.silent = SILENT
    mgr.wait(TIMING.suspect_s + W + 1.2)


class Row(NamedTuple):
    claim: str
    found: Map
    happens: Callable[[Driven], None]
    phase: Phase
    server: Optional[Instance] = None


LEFT = serving(GW1, leaving=True)
SUSPECTED = serving(GW1, availability=Availability.SUSPECT, suspected_at=STORED)

ROWS = [
    Row("an unserved group is promoted at its owner", found(U), lambda mgr: mgr.do(Tick()), P, GW1),
    Row("an unserved group goes to another gateway when its owner is suspect", found(U, gw1=SUSPECTED),
        lambda mgr: mgr.do(Tick()), P, GW2),
    Row("an unserved group waits while nobody is eligible",
        found(U, gw1=SUSPECTED, gw2=serving(GW2, enabled=False)), lambda mgr: mgr.do(Tick()), U),
    Row("a promotion that is confirmed is active", found(P, GW1), says(Outcome.OPTIMIZED), A, GW1),
    Row("a confirmation of an older commit confirms nothing", found(P, GW1),
        says(Outcome.OPTIMIZED, since=Version(1, 6)), P, GW1),
    Row("a confirmation by another gateway confirms nothing", found(P, GW1),
        says(Outcome.OPTIMIZED, speaker=GW2), P, GW1),
    Row("a confirmation of an unknown group confirms nothing", found(P, GW1),
        lambda mgr: mgr.beacon(GW1, confirmations=(Confirmation(9, STORED, Outcome.OPTIMIZED),)), P, GW1),
    Row("a drain confirmed while promoting means nothing", found(P, GW1), says(Outcome.DRAINED), P, GW1),
    Row("a declined promotion goes to the next gateway without a fence", found(P, GW1), says(Outcome.DECLINED), P, GW2),
    Row("a promotion unanswered until promote_s goes on", found(P, GW1), silence(TIMING.promote_s - 0.5), P, GW1),
    Row("a promotion unanswered for promote_s is fenced after W and goes to the next gateway", found(P, GW1),
        lambda mgr: mgr.wait(TIMING.promote_s + W + 0.3, confirmations=()), P, GW2),
    Row("a promoting gateway that died is fenced and replaced", found(P, GW1), reaped, P, GW2),
    Row("an active group at its owner stays", found(A, GW1), silence(20), A, GW1),
    Row("an active group whose holder was reaped is fenced and promoted elsewhere", found(A, GW1), reaped, P, GW2),
    Row("an active group whose holder is silent long enough is promoted elsewhere", found(A, GW1), dead, A, GW2),
    Row("an active group drains when its holder leaves", found(A, LEFT.instance, gw1=LEFT), lambda mgr: mgr.do(Tick()),
        D, GW1),
    Row("an active group drains when its holder is disabled", found(A, GW1, gw1=serving(GW1, enabled=False)),
        lambda mgr: mgr.do(Tick()), D, GW1),
    Row("an active group stays at a suspect holder that leaves",
        found(A, GW1, gw1=replace(SUSPECTED, leaving=True)), lambda mgr: mgr.do(Tick()), A, GW1),
    Row("drained is promoted at the next gateway", found(D, GW1, gw1=LEFT), says(Outcome.DRAINED), P, GW2),
    Row("drained for another commit is not drained", found(D, GW1, gw1=LEFT),
        says(Outcome.DRAINED, since=Version(1, 5)), D, GW1),
    Row("optimized while draining means nothing", found(D, GW1, gw1=LEFT), says(Outcome.OPTIMIZED), D, GW1),
    Row("a drain not confirmed within drain_s is abandoned", found(D, GW1), silence(TIMING.drain_s + 0.2), A, GW1),
    Row("a draining gateway that died is fenced and replaced", found(D, GW1), reaped, P, GW2),
    Row("a fenced group is promoted", fencing(), lambda mgr: mgr.do(Tick()), P, GW2),
    Row("a fence that the last mgr had stored is not asked for again", fencing(fenced_at=66), lambda mgr: None, P, GW2),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.claim for row in ROWS])
def test(row):
    mgr = Driven(row.found)
    mgr.do(Tick())
    row.happens(mgr)
    assert (mgr.phase(), mgr.group().server) == (row.phase, row.server)


def test_a_group_is_fenced_only_once_the_fencing_phase_is_stored_and_promoted_only_after_the_fence():
    mgr = Driven(found(A, GW1), answers=(StoreGateway,))
    mgr.do(mgr.answer(mgr.last(Commit)))
    reaped(mgr)
    assert mgr.phase() is F and not [a for a in mgr.asked if isinstance(a, Fence)]
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert mgr.last(Fence) == Fence(GW1, frozenset({address(GW1)}))
    assert mgr.phase() is F
    mgr.do(Fenced(GW1, 88))
    assert (mgr.phase(), mgr.group().osd_epoch, mgr.group().server) == (P, 88, GW2)
    assert mgr.map.departure(GW1).osd_epoch == 88


def test_a_fence_is_asked_for_once_and_again_a_second_after_it_failed():
    mgr = Driven(fencing(), answers=(Commit, StoreGateway))
    count = lambda: len([a for a in mgr.asked if isinstance(a, Fence)])  # noqa: E731
    mgr.wait(3)
    assert count() == 1
    mgr.do(FenceFailed(GW1, "EAGAIN"))
    assert mgr.state.soft.fence_errors == {GW1: "EAGAIN"}
    mgr.wait(0.9)
    assert count() == 1
    mgr.wait(0.3)
    assert count() == 2
    mgr.do(Fenced(GW1, 90))
    assert not mgr.state.soft.fence_errors and mgr.phase() is P


def test_a_late_second_answer_to_a_fence_changes_nothing():
    mgr = Driven(fencing())
    before = mgr.map
    mgr.do(Fenced(GW1, 99))
    mgr.do(Fenced(Instance("gw9", 1, "x"), 99))
    assert mgr.map == before


def test_of_several_writers_each_leaves_by_its_own_fence_and_the_barrier_covers_all():
    both = replace(fencing(), gateways=(Gateway("gw1", 1, last_number=1), Gateway("gw2", 2, last_number=1)),
                   ana_groups=(ana_group(1, F, writers=frozenset({GW1, GW2})), ana_group(2)),
                   departed=(Departed(GW1, frozenset({"a"})), Departed(GW2, frozenset({"b"}))))
    mgr = Driven(both, answers=(Commit, StoreGateway))
    mgr.do(Fenced(GW2, 90))
    assert (mgr.phase(), mgr.group().writers, mgr.group().osd_epoch) == (F, {GW1}, 90)
    mgr.do(Fenced(GW1, 85))
    assert (mgr.phase(), mgr.group().writers, mgr.group().osd_epoch) == (U, frozenset(), 90)


def test_a_drain_that_failed_is_tried_again_after_a_delay_that_doubles():
    mgr = Driven(found(A, GW1, gw1=LEFT))
    drains = []
    for _ in range(150):
        mgr.wait(0.1, confirmations=(), leaving=True)
        drains.append(mgr.phase())
    tries = "".join(p.value[0] for p in drains)
    waits = [len(part) / 10 for part in tries.strip("D").split("D") if part]
    assert waits[:2] == [pytest.approx(2, abs=0.2), pytest.approx(4, abs=0.2)]


def test_a_gateway_that_declined_is_asked_again_after_suspect_s():
    mgr = Driven(found(P, GW1, gw2=Gateway("gw2", 2)))
    says(Outcome.DECLINED)(mgr)
    assert mgr.phase() is U
    mgr.wait(TIMING.suspect_s - 0.2)
    assert mgr.phase() is U
    mgr.wait(0.4)
    assert mgr.phase() in (P, A)


def test_a_group_returns_to_its_owner_after_it_was_well_for_the_failback_delay():
    mgr = Driven(found(A, GW2))
    mgr.wait(TIMING.failback_delay_s - 0.3)
    assert (mgr.phase(), mgr.group().server) == (A, GW2)
    mgr.wait(1.7)
    assert (mgr.phase(), mgr.group().server) == (A, GW1)
    assert not [a for a in mgr.asked if isinstance(a, Fence)], "a planned move needs no fence"


def test_a_group_returns_only_once_as_many_hosts_are_connected_to_its_owner_as_to_its_holder():
    mgr = Driven(found(A, GW2))
    mgr.connections = {"gw1": 1, "gw2": 2}
    mgr.wait(TIMING.failback_delay_s + 20)
    assert (mgr.phase(), mgr.group().server) == (A, GW2)
    mgr.connections = {"gw1": 2, "gw2": 2}
    mgr.wait(1.5)
    assert (mgr.phase(), mgr.group().server) == (A, GW1)


def test_hosts_that_stay_away_hold_a_failback_back_for_a_while_only():
    mgr = Driven(found(A, GW2))
    mgr.connections = {"gw2": 2}
    mgr.wait(TIMING.failback_delay_s + HOSTS_RETURN_S - 0.5)
    assert (mgr.phase(), mgr.group().server) == (A, GW2)
    mgr.wait(1.5)
    assert (mgr.phase(), mgr.group().server) == (A, GW1)


def test_a_group_does_not_return_to_an_owner_that_reaches_less_than_its_holder():
    deaf = serving(GW1, subsystems=(), digest="d")
    mgr = Driven(found(A, GW2, gw1=deaf))
    for _ in range(30):
        mgr.wait(0.5, subsystems=None)
    assert mgr.group().server == GW2


def test_a_group_moves_at_once_to_a_gateway_that_reaches_more_of_it():
    mgr = Driven(found(A, GW1, gw1=serving(GW1, subsystems=subsystems(1, 2, listeners=()))))
    mgr.do(Tick())
    assert (mgr.phase(), mgr.group().target) == (D, "gw2")


def test_a_holder_that_has_not_reported_a_new_subsystem_is_given_time_for_it():
    mgr = Driven(found(A, GW1, gw1=serving(GW1, subsystems=())))
    mgr.wait(TIMING.promote_s - 0.2, subsystems=None)
    assert (mgr.phase(), mgr.group().server) == (A, GW1)
    mgr.wait(0.4, subsystems=None)
    assert mgr.group().server != GW1 or mgr.phase() is D


def test_a_holder_that_reports_it_in_time_is_given_as_long_the_next_time():
    mgr = Driven(found(A, GW1, gw1=serving(GW1, subsystems=())))
    for said in (subsystems(1, 2), (), subsystems(1, 2)):
        mgr.wait(TIMING.promote_s - 1.0, subsystems=None)
        assert (mgr.phase(), mgr.group().server) == (A, GW1)
        mgr.beacon(GW1, subsystems=said)


def test_a_leaving_gateway_drains_even_when_nobody_takes_over():
    mgr = Driven(found(A, GW1, gw1=LEFT, gw2=Gateway("gw2", 2)))
    mgr.do(Tick())
    assert (mgr.phase(), mgr.group().target) == (D, "")


@pytest.mark.parametrize("gw2, phase", [(Gateway("gw2", 2), A), (Gateway("gw2", 2, enabled=False), D),
                                        (Gateway("gw2", 2, deleting=True), D)], ids=["down", "disabled", "deleting"])
def test_a_disabled_holder_serves_on_while_one_that_could_take_over_is_only_down(gw2, phase):
    mgr = Driven(found(A, GW1, gw1=serving(GW1, enabled=False), gw2=gw2))
    mgr.do(Tick())
    assert mgr.phase() is phase


def test_a_starting_owner_is_waited_for_but_not_longer_than_promote_s():
    starting = Instance("gw1", 2, "new")
    mgr = Driven(found(U, gw1=Gateway("gw1", 1, last_number=1), gw2=Gateway("gw2", 2)))
    mgr.beacon(starting, target="starting", addresses=frozenset())
    mgr.beacon(GW2)
    assert mgr.phase() is U
    for _ in range(int(TIMING.promote_s * 2)):
        mgr.now += 0.1
        mgr.beacon(GW2)
        mgr.do(Tick())
    assert mgr.phase() is U
    for _ in range(45):
        mgr.now += 0.1
        mgr.beacon(starting, target="starting", addresses=frozenset())
        mgr.beacon(GW2)
        mgr.do(Tick())
    assert mgr.group().server == GW2


def test_nobody_takes_the_group_of_an_owner_whose_addresses_are_just_being_stored():
    mgr = Driven(stored_map((Gateway("gw1", 1), serving(GW2)), (ana_group(1), ana_group(2, A, GW2))),
                 answers=(Commit, Fence))
    mgr.beacon(GW1)
    mgr.do(GatewayStored("gw2", GW2, serving(GW2).addresses))
    assert (mgr.gateway("gw1").availability, mgr.phase()) == (Availability.AVAILABLE, U)
    mgr.do(GatewayStored("gw1", GW1, serving(GW1).addresses))
    assert (mgr.phase(), mgr.group().server) == (P, GW1)


def test_phases_are_known_by_the_commit_that_stores_them():
    mgr = Driven(found(U), answers=(StoreGateway,))
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert mgr.phase() is P
    asked = mgr.last(Commit).map
    assert asked.ana_group(1).since == asked.version
    in_flight = mgr.state.map.version
    reaped(mgr)
    assert mgr.group().since == Version(in_flight.ballot, in_flight.epoch + 1), "stored by the commit after that"
