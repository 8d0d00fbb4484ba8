"""Claims about what operators move: an ANA group to another gateway, a gateway out of service and back."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from nvmeof_ha.core.actions import Fence
from nvmeof_ha.core.events import DeleteGateway, MoveAnaGroup, SetEnabled, Tick
from nvmeof_ha.core.model import Gateway, Instance, Phase

from .driven import GW1, GW2, GW3, TIMING, Driven, ana_group, serving, stored_map, subsystems

A, D = Phase.ACTIVE, Phase.DRAINING


def at_home(**gateways: Gateway) -> Driven:
    """Three gateways (``gateways`` says otherwise), ANA groups 1 and 2 at their owners."""
    made = {"gw1": serving(GW1), "gw2": serving(GW2), "gw3": serving(GW3), **gateways}
    return Driven(stored_map(tuple(made.values()), (ana_group(1, A, GW1), ana_group(2, A, GW2))))


def said(mgr: Driven, request_id: int = 1) -> "tuple[int, str]":
    reply = mgr.replies[request_id]
    return reply.code, reply.text


def test_a_moved_group_is_drained_promoted_and_stays_although_its_owner_is_well():
    mgr = at_home()
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    assert (mgr.phase(), mgr.group().target) == (D, "gw3")
    mgr.wait(2 * TIMING.failback_delay_s)
    assert (mgr.phase(), mgr.group().server, mgr.group().home) == (A, GW3, "gw3")
    assert said(mgr) == (0, "") and not [a for a in mgr.asked if isinstance(a, Fence)]


def test_without_a_destination_the_best_of_the_others_is_taken():
    mgr = at_home()
    mgr.do(MoveAnaGroup(1, 1))
    mgr.wait(1.0)
    assert (mgr.phase(), mgr.group().server) == (A, GW3), "gw2 serves an ANA group already"


def test_a_move_to_its_owner_undoes_one_at_once():
    mgr = at_home()
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    mgr.wait(1.0)
    mgr.do(MoveAnaGroup(2, 1, "gw1"))
    mgr.wait(TIMING.failback_delay_s + 1.0)
    assert (mgr.phase(), mgr.group().server, mgr.group().moved_to) == (A, GW1, None)


def test_a_move_to_where_the_group_is_makes_it_stay_there():
    mgr = Driven(replace(at_home().map, ana_groups=(ana_group(1, A, GW3), ana_group(2, A, GW2))))
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    mgr.wait(2 * TIMING.failback_delay_s)
    assert (said(mgr), mgr.group().server) == ((0, ""), GW3)


def test_a_gateway_that_was_lost_lately_is_taken_when_an_operator_asks_for_it():
    mgr = at_home()
    mgr.silent = frozenset({"gw3"})
    mgr.wait(TIMING.suspect_s + 2 * TIMING.lease_wait_s)
    again = Instance("gw3", 2, "new")
    mgr.instances["gw3"], mgr.silent = again, frozenset()
    mgr.wait(1.5)
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    mgr.wait(1.0)
    assert (mgr.phase(), mgr.group().server) == (A, again)


def test_a_moved_group_returns_to_its_owner_when_it_is_lost_where_it_is():
    mgr = at_home()
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    mgr.wait(1.0)
    mgr.silent = frozenset({"gw3"})
    mgr.wait(TIMING.suspect_s + 2 * TIMING.lease_wait_s)
    assert (mgr.phase(), mgr.group().server, mgr.group().moved_to) == (A, GW1, None)


@pytest.mark.parametrize("command", [DeleteGateway(2, "gw3"), SetEnabled(2, "gw3", False)], ids=["delete", "disable"])
def test_a_moved_group_returns_when_its_new_home_is_taken_out_of_service(command):
    mgr = at_home()
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    mgr.wait(1.0)
    mgr.do(command)
    mgr.wait(1.0)
    assert (mgr.phase(), mgr.group().server, mgr.group().moved_to) == (A, GW1, None)


@pytest.mark.parametrize("move, gateways, code, text", [
    (MoveAnaGroup(1, 7), {}, errno.ENOENT, "ANA group 7 is not in rbd/g1, where there are: 1, 2"),
    (MoveAnaGroup(1, 1, "gw9"), {}, errno.ENOENT, "gateway 'gw9' is not in rbd/g1"),
    (MoveAnaGroup(1, 1), {"gw2": serving(GW2, enabled=False), "gw3": Gateway("gw3", 3)}, errno.ENOENT,
     "no other gateway of rbd/g1 can take ANA group 1 now"),
    (MoveAnaGroup(1, 1, "gw3"), {"gw3": Gateway("gw3", 3)}, errno.EBUSY, "'gw3' is CREATED: it can be given no"),
    (MoveAnaGroup(1, 1, "gw3"), {"gw3": serving(GW3, enabled=False)}, errno.EBUSY, "'gw3' is disabled"),
    (MoveAnaGroup(1, 1, "gw3"), {"gw3": serving(GW3, deleting=True)}, errno.EBUSY, "'gw3' is being deleted"),
    (MoveAnaGroup(1, 1, "gw3"), {"gw3": serving(GW3, leaving=True)}, errno.EBUSY, "'gw3' is leaving"),
    (MoveAnaGroup(1, 1, "gw3"), {"gw3": serving(GW3, subsystems=subsystems(1, 2, listeners=()))}, errno.EBUSY,
     "'gw3' has no listener for some subsystems of ANA group 1 that 'gw1' has one for"),
])
def test_a_move_that_cannot_be_is_refused_with_the_reason_and_changes_nothing(move, gateways, code, text):
    mgr = at_home(**gateways)
    mgr.do(move)
    assert said(mgr)[0] == code and text in said(mgr)[1]
    assert mgr.group(1).moved_to is None and mgr.group(1).server == GW1


def test_a_gateway_whose_addresses_are_not_stored_yet_is_given_nothing():
    mgr = at_home()
    mgr.answers = tuple(a for a in mgr.answers if a.__name__ != "StoreGateway")
    mgr.beacon(GW3, addresses=frozenset({"10.0.0.3:0/99"}))
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    assert said(mgr) == (errno.EBUSY, "gateway 'gw3' has addresses that the mon KV store does not hold yet: it can be "
                                      "given no ANA group")


def test_a_group_that_is_not_active_is_moved_later():
    mgr = at_home()
    mgr.do(MoveAnaGroup(1, 1, "gw3"))
    mgr.do(MoveAnaGroup(2, 1, "gw2"))
    assert said(mgr, 2)[0] == errno.EAGAIN and "is DRAINING: it can be moved once it is ACTIVE" in said(mgr, 2)[1]


def test_a_disabled_gateway_hands_over_gets_nothing_and_serves_again_when_enabled():
    mgr = at_home()
    mgr.do(SetEnabled(1, "gw1", False))
    mgr.wait(2 * TIMING.failback_delay_s)
    assert mgr.phase() is A and mgr.group().server in (GW2, GW3) and said(mgr) == (0, "")
    assert not [a for a in mgr.asked if isinstance(a, Fence)], "a planned move needs no fence"
    mgr.do(SetEnabled(2, "gw1", True))
    mgr.wait(TIMING.failback_delay_s + 1.0)
    assert (mgr.phase(), mgr.group().server) == (A, GW1)


def test_enabling_and_disabling_twice_change_nothing_more():
    mgr = at_home()
    for request, enabled in enumerate((True, False, False), 1):
        mgr.do(SetEnabled(request, "gw3", enabled))
        assert said(mgr, request) == (0, "")
    mgr.do(Tick())
    assert mgr.group().server == GW1 and not mgr.gateway("gw3").enabled


def test_an_unknown_gateway_is_neither_enabled_nor_disabled():
    mgr = at_home()
    mgr.do(SetEnabled(1, "gw9", False))
    assert said(mgr) == (errno.EINVAL, "gateway 'gw9' is not in rbd/g1, where there are: gw1, gw2, gw3")
