"""Claims about gateways that an operator takes out of service together, and about one that he declares dead."""

from __future__ import annotations

import errno

import pytest

from nvmeof_ha.core.actions import Commit, Fence, StoreGateway
from nvmeof_ha.core.events import DeleteGateway, DrainGateways, FenceGateway, MoveAnaGroup, SetEnabled
from nvmeof_ha.core.model import Availability, Departed, Gateway, Instance, Phase

from .driven import GW1, GW2, GW3, TIMING, Driven, address, ana_group, serving, stored_map, subsystems

A = Phase.ACTIVE


def three(*answers: type, **gateways: Gateway) -> Driven:
    """Three gateways (``gateways`` says otherwise), each at its ANA group."""
    made = {"gw1": serving(GW1), "gw2": serving(GW2), "gw3": serving(GW3), **gateways}
    groups = tuple(ana_group(n, A, i) if made[i.gateway].instance else ana_group(n)
                   for n, i in enumerate((GW1, GW2, GW3), 1))
    found = stored_map(tuple(made.values()), groups)
    return Driven(found, answers=answers) if answers else Driven(found)


def holders(mgr: Driven) -> list:
    return [g.server.gateway if g.server else "" for g in mgr.map.ana_groups]


def said(mgr: Driven, request_id: int = 1) -> "tuple[int, str]":
    return mgr.replies[request_id].code, mgr.replies[request_id].text


# ---- drain --------------------------------------------------------------------------------------------------------

def test_several_gateways_are_drained_at_once_without_a_fence_and_enable_undoes_it():
    mgr = three()
    mgr.do(DrainGateways(1, ("gw1", "gw2")))
    assert said(mgr) == (0, "") and not mgr.gateway("gw1").enabled and not mgr.gateway("gw2").enabled
    mgr.wait(1.0)
    assert holders(mgr) == ["gw3"] * 3 and not [a for a in mgr.asked if isinstance(a, Fence)]
    mgr.do(DrainGateways(2, ("gw1", "gw2")))
    assert said(mgr, 2) == (0, ""), "again"
    mgr.do(SetEnabled(3, "gw1", True))
    mgr.wait(TIMING.failback_delay_s + 1)
    assert holders(mgr) == ["gw1", "gw3", "gw3"]


def test_what_was_moved_to_a_drained_gateway_goes_home():
    mgr = three()
    mgr.do(MoveAnaGroup(1, 1, "gw2"))
    mgr.wait(1.0)
    mgr.do(DrainGateways(2, ("gw2",)))
    mgr.wait(1.0)
    assert holders(mgr)[0] == "gw1" and mgr.group(1).moved_to is None


DEAF = serving(GW3, subsystems=subsystems(1, 2, listeners=()))


@pytest.mark.parametrize("ids, gateways, code, text", [
    (("gw1", "gw9"), {}, errno.EINVAL, "gateway 'gw9' is not in rbd/g1, where there are: gw1, gw2, gw3"),
    (("gw3", "gw1", "gw2"), {}, errno.EBUSY, "gw1, gw2, gw3 must not be drained now: ANA group 1 would have no gateway "
     "that can serve it; ANA group 2 "),
    (("gw1", "gw2"), {"gw3": serving(GW3, availability=Availability.CREATED)}, errno.EBUSY, "would have no gateway"),
    (("gw1", "gw2"), {"gw3": DEAF}, errno.EBUSY, "gw3 has no listener for some subsystems of ANA group 1"),
    (("gw1", "gw2"), {"gw3": Gateway("gw3", 3)}, errno.EBUSY, "ANA group 3 would have no gateway that can serve it"),
])
def test_gateways_that_are_needed_are_not_drained_and_none_of_them_is_disabled(ids, gateways, code, text):
    mgr = three(**gateways)
    before = mgr.map
    mgr.do(DrainGateways(1, ids))
    assert said(mgr)[0] == code and text in said(mgr)[1]
    assert mgr.map == before


def test_an_ana_group_that_nothing_needs_any_more_keeps_nobody():
    mgr = three()
    for number, name in enumerate(("gw1", "gw2", "gw3"), 1):
        mgr.do(DeleteGateway(number, name))
    mgr.do(DrainGateways(9, ("gw1", "gw2", "gw3")) if mgr.map.gateways else DrainGateways(9, ()))
    assert said(mgr, 9)[0] == 0


# ---- fence --------------------------------------------------------------------------------------------------------

def test_a_fence_is_stored_first_then_all_addresses_then_the_successor_behind_the_barrier():
    both = frozenset({address(GW1), "10.0.0.1:0/77"})
    mgr = three(StoreGateway, gw1=serving(GW1, addresses=both))
    mgr.do(mgr.answer(mgr.last(Commit)))
    first = len(mgr.asked)
    mgr.do(FenceGateway(1, "gw1"))
    assert not [a for a in mgr.asked[first:] if isinstance(a, Fence)] and 1 not in mgr.replies, "it is not stored yet"
    assert mgr.phase() is Phase.FENCING and mgr.last(Commit).map.departure(GW1) == Departed(GW1, both)
    mgr.do(mgr.answer(mgr.last(Commit)))
    assert said(mgr) == (0, "") and mgr.last(Fence) == Fence(GW1, both)
    assert mgr.phase() is Phase.FENCING, "nobody is promoted before it is fenced"
    mgr.do(mgr.answer(mgr.last(Fence)))
    assert mgr.phase() is Phase.PROMOTING and mgr.group().osd_epoch == mgr.osd_epoch
    assert mgr.now < 101, "W was not waited for"


def test_a_fenced_instance_is_told_to_end_and_a_repeat_says_that_it_is_fenced():
    mgr = three()
    mgr.do(FenceGateway(1, "gw1"))
    mgr.instances.pop("gw1")
    mgr.beacon(GW1)
    assert mgr.map.is_over(GW1) and mgr.map.current(GW1) is None
    mgr.do(FenceGateway(2, "gw1"))
    assert said(mgr, 2) == (0, f"gw1#1:aa is over already, and is fenced since OSD map {mgr.osd_epoch}")


def test_a_suspect_is_fenced_at_once():
    mgr = three()
    mgr.silent = frozenset({"gw1"})
    mgr.wait(TIMING.suspect_s + 0.5)
    assert mgr.gateway().availability is Availability.SUSPECT
    mgr.do(FenceGateway(1, "gw1"))
    mgr.wait(0.5)
    assert holders(mgr)[0] in ("gw2", "gw3")


@pytest.mark.parametrize("departed, code, text", [
    ((), errno.EINVAL, "no instance of gateway 'gw1' is known: nothing is to be fenced"),
    ((Departed(GW1, frozenset({"a"})), Departed(Instance("gw1", 2, "x"), frozenset({"b"}))), 0,
     "gw1#2:x is over already, and is being fenced"),
    ((Departed(GW1),), 0, "gw1#1:aa is over already, and has no address to fence"),
])
def test_without_an_instance_it_is_said_what_became_of_the_last_one(departed, code, text):
    mgr = Driven(stored_map((Gateway("gw1", 1, last_number=2), serving(GW2)), (ana_group(1), ana_group(2, A, GW2)),
                            departed=departed), answers=(Commit, StoreGateway))
    mgr.wait(0.2)
    mgr.do(FenceGateway(1, "gw1"))
    assert said(mgr) == (code, text)


def test_a_gateway_that_is_not_there_is_not_fenced():
    mgr = three()
    mgr.do(FenceGateway(1, "gw9"))
    assert said(mgr) == (errno.EINVAL, "gateway 'gw9' is not in rbd/g1, where there are: gw1, gw2, gw3")


@pytest.mark.parametrize("event", [DrainGateways(1, ("gw1",)), FenceGateway(1, "gw1")], ids=["drain", "fence"])
def test_a_mgr_that_is_taking_over_asks_for_patience(event):
    mgr = Driven(stored_map((), ()), answers=(StoreGateway,))
    mgr.do(event)
    assert said(mgr)[0] == errno.EAGAIN
