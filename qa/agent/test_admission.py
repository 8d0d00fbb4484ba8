"""Claims about which instance a host proposes and when it may run a target."""
from __future__ import annotations

from dataclasses import replace

from gw_agent.admission import Admission, admission
from nvmeof_ha_core.model import Availability, Gateway, Instance, Map, Version
from nvmeof_ha_core.register import NOTHING_SEEN, View, judge

OTHER = Instance("gw1", 4, "other")


def view(*gateways: Gateway) -> View:
    return judge([Map("rbd", "g1", Version(1, 1), gateways)] * 3)


def judged(seen: View, candidate: Instance = None, *reaped: Instance) -> Admission:
    return admission(seen, "rbd", "g1", "gw1", candidate, reaped, lambda: "token")


def test_nothing_is_proposed_before_two_seats_agree() -> None:
    assert judged(NOTHING_SEEN).candidate is None
    assert "no two seats" in judged(NOTHING_SEEN).waiting


def test_an_unknown_gateway_is_told_how_it_is_created() -> None:
    found = judged(view())
    assert found.deleted and "ceph nvmeof-ha create gw1 rbd g1" in found.waiting


def test_the_next_number_is_proposed_and_waits_for_the_mgr() -> None:
    found = judged(view(Gateway("gw1", 1, last_number=4)))
    assert found.candidate == Instance("gw1", 5, "token")
    assert "has not admitted instance gw1#5:token" in found.waiting


def test_an_admitted_instance_may_run() -> None:
    mine = Instance("gw1", 5, "token")
    gateway = Gateway("gw1", 1, instance=mine, last_number=5)
    assert judged(view(gateway), mine) == Admission(mine, "")


def test_a_proposal_is_kept_while_it_may_still_be_admitted() -> None:
    mine = Instance("gw1", 5, "mine")
    assert judged(view(Gateway("gw1", 1, last_number=4)), mine).candidate == mine


def test_a_proposal_that_another_instance_overtook_is_replaced() -> None:
    mine = Instance("gw1", 4, "mine")
    found = judged(view(Gateway("gw1", 1, instance=OTHER, last_number=4)), mine)
    assert found.candidate == Instance("gw1", 5, "token")
    assert "in use by instance gw1#4:other" in found.waiting


def test_an_instance_that_departed_is_never_proposed_again() -> None:
    gateway = Gateway("gw1", 1, availability=Availability.UNAVAILABLE, last_number=4)
    assert judged(view(gateway), OTHER).candidate.number == 5


def test_the_own_instance_that_ended_is_followed_by_the_next_and_not_taken_for_another_hosts() -> None:
    found = judged(view(Gateway("gw1", 1, instance=OTHER, last_number=4)), OTHER, OTHER)
    assert found.candidate == Instance("gw1", 5, "token")
    assert "which ended here" in found.waiting


def test_a_gateway_that_is_being_deleted_starts_nothing_new() -> None:
    found = judged(view(Gateway("gw1", 1, deleting=True)))
    assert not found.deleted and "is being deleted" in found.waiting


def test_one_seat_that_calls_the_instance_over_is_enough() -> None:
    agreed = Map("rbd", "g1", Version(1, 1), (Gateway("gw1", 1, instance=OTHER, last_number=4),))
    newer = replace(agreed, version=Version(1, 2), gateways=())
    assert judged(judge([agreed, agreed, newer]), OTHER).candidate != OTHER
