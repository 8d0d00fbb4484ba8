"""Claims about the agent's plan: what it never makes optimized, what it restricts, what it may say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core.events import Confirmation, Outcome
from nvmeof_ha.core.gateway import (INACCESSIBLE, MIXED, OPTIMIZED, Plan, Target, admitted, confirmations,
                                    declined_at_attach, may_be_optimized, may_leave, may_stay_optimized, plan, restrictions_applied)
from nvmeof_ha.core.model import Availability, Map, Phase, Version
from nvmeof_ha.core.register import NOTHING_SEEN, judge

from .driven import GW1, GW2, STORED, address, ana_group, serving, stored_map

WELL = Target({1: INACCESSIBLE, 2: INACCESSIBLE}, passed_osd_epoch=70, addresses=frozenset({address(GW1)}))


def shown(phase: Phase = Phase.PROMOTING, server: object = GW1, osd_epoch: int = 70, **gw1: object) -> Map:
    """gw1 and gw2; ANA group 1 in that phase, 2 ACTIVE at gw2."""
    return stored_map((serving(GW1, **gw1), serving(GW2)),
                      (ana_group(1, phase, server, osd_epoch=osd_epoch), ana_group(2, Phase.ACTIVE, GW2)))


def read(found: Map):
    return judge([found] * 3)


def test_what_the_map_grants_is_made_optimized():
    assert plan(read(shown()), GW1, True, WELL) == Plan(permit=frozenset({1}))
    assert plan(read(shown(Phase.ACTIVE)), GW1, True, WELL).permit == {1}


FORBIDDEN = {
    "outside the lease": (read(shown()), False, WELL),
    "with one seat's word": (judge([shown(), None, None]), True, WELL),
    "before a read": (NOTHING_SEEN, True, WELL),
    "when one newer seat drains": (judge([shown(), shown(), replace(shown(Phase.DRAINING), version=Version(1, 8))]),
                                   True, WELL),
    "while suspected": (read(shown(availability=Availability.SUSPECT)), True, WELL),
    "before the barrier": (read(shown(osd_epoch=71)), True, WELL),
    "with an address that the map does not name": (read(shown()), True, replace(WELL, addresses=frozenset({"a", "b"}))),
    "with a context whose address is unknown": (read(shown()), True, replace(WELL, addresses=frozenset())),
    "for a commit that was declined": (read(shown()), True, replace(WELL, declined={1: STORED})),
    "while draining": (read(shown(Phase.DRAINING)), True, WELL),
    "while fencing": (read(shown(Phase.FENCING, None)), True, WELL),
    "for another gateway": (read(shown(Phase.PROMOTING, GW2)), True, WELL),
    "for another instance": (read(shown(Phase.PROMOTING, GW1._replace(token="zz"))), True, WELL),
}


@pytest.mark.parametrize("view, lease, target", FORBIDDEN.values(), ids=FORBIDDEN)
def test_nothing_is_made_optimized(view, lease, target):
    assert not plan(view, GW1, lease, target).permit


@pytest.mark.parametrize("view, lease, target", [v for k, v in FORBIDDEN.items() if k != "before the barrier"],
                         ids=[k for k in FORBIDDEN if k != "before the barrier"])
def test_what_is_asked_again_after_the_barrier_forbids_it_too(view, lease, target):
    assert not may_be_optimized(view, GW1, 1, lease, target)


def test_a_declined_commit_does_not_bar_the_next_one():
    assert plan(read(shown()), GW1, True, replace(WELL, declined={1: Version(1, 6)})).permit == {1}


def test_the_barrier_is_the_newest_fence_of_what_is_wanted_and_comes_before_permission():
    asked = plan(read(shown(osd_epoch=75)), GW1, True, WELL)
    assert (asked.barrier, asked.permit) == (75, frozenset())
    passed = plan(read(shown(osd_epoch=75)), GW1, True, replace(WELL, passed_osd_epoch=75))
    assert (passed.barrier, passed.permit) == (None, frozenset({1}))


LOST = {
    "lease over": (read(shown(Phase.ACTIVE)), False),
    "held by another": (read(shown(Phase.ACTIVE, GW2)), True),
    "draining": (read(shown(Phase.DRAINING)), True),
    "fencing": (read(shown(Phase.FENCING, None)), True),
    "nothing ever read": (NOTHING_SEEN, True),
    "one newer seat restricts": (judge([shown(Phase.ACTIVE), shown(Phase.ACTIVE),
                                        replace(shown(Phase.FENCING, None), version=Version(1, 8))]), True),
}


@pytest.mark.parametrize("view, lease", LOST.values(), ids=LOST)
@pytest.mark.parametrize("state", [OPTIMIZED, MIXED])
def test_what_is_no_longer_permitted_is_restricted(view, lease, state):
    assert plan(view, GW1, lease, replace(WELL, states={1: state})).restrict == {1}
    assert not may_stay_optimized(view, GW1, 1, lease)


def test_an_ana_group_that_the_map_does_not_know_is_restricted():
    assert plan(read(shown()), GW1, True, replace(WELL, states={9: OPTIMIZED})).restrict == {9}


def test_a_suspicion_alone_makes_nothing_inaccessible_while_the_lease_lasts():
    view = read(shown(Phase.ACTIVE, availability=Availability.SUSPECT))
    assert plan(view, GW1, True, replace(WELL, states={1: OPTIMIZED})).idle
    assert plan(view, GW1, False, replace(WELL, states={1: OPTIMIZED})).restrict == {1}
    assert plan(view, GW1, True, replace(WELL, states={1: MIXED})).restrict == {1}, "only what is whole may stay"


def test_mixed_listeners_of_a_granted_group_are_made_optimized_not_inaccessible():
    assert plan(read(shown(Phase.ACTIVE)), GW1, True, replace(WELL, states={1: MIXED})) == Plan(permit=frozenset({1}))


def test_a_drain_waits_until_nothing_new_can_arrive_and_is_done_once_for_its_commit():
    view = read(shown(Phase.DRAINING))
    before = plan(view, GW1, True, replace(WELL, states={1: OPTIMIZED}))
    assert (before.restrict, before.drain) == (frozenset({1}), ())
    assert plan(view, GW1, True, WELL).drain == ((1, STORED),)
    assert plan(view, GW1, True, replace(WELL, drained={1: Version(1, 6)})).drain == ((1, STORED),)
    assert plan(view, GW1, True, replace(WELL, drained={1: STORED})).idle
    assert not plan(view, GW2, True, WELL).drain, "only the holder drains"


SAID = [
    ("optimized", Phase.PROMOTING, {"states": {1: OPTIMIZED}}, Outcome.OPTIMIZED),
    ("inaccessible still", Phase.PROMOTING, {}, None),
    ("mixed", Phase.PROMOTING, {"states": {1: MIXED}}, None),
    ("declined", Phase.PROMOTING, {"declined": {1: STORED}}, Outcome.DECLINED),
    ("declined before", Phase.PROMOTING, {"declined": {1: Version(1, 6)}}, None),
    ("declined and mixed", Phase.PROMOTING, {"declined": {1: STORED}, "states": {1: MIXED}}, None),
    ("drained", Phase.DRAINING, {"drained": {1: STORED}}, Outcome.DRAINED),
    ("drained before", Phase.DRAINING, {"drained": {1: Version(1, 6)}}, None),
    ("drained and optimized", Phase.DRAINING, {"drained": {1: STORED}, "states": {1: OPTIMIZED}}, None),
    ("drained, no listener", Phase.DRAINING, {"drained": {1: STORED}, "states": {}}, Outcome.DRAINED),
    ("active", Phase.ACTIVE, {"states": {1: OPTIMIZED}}, None),
]


@pytest.mark.parametrize("phase, target, outcome", [row[1:] for row in SAID], ids=[row[0] for row in SAID])
def test_only_what_was_read_back_is_confirmed_and_for_its_commit(phase, target, outcome):
    said = confirmations(read(shown(phase)), GW1, replace(WELL, **target))
    assert said == (() if outcome is None else (Confirmation(1, STORED, outcome),))
    assert not confirmations(read(shown(phase)), GW2, replace(WELL, **target)), "it speaks for nobody else"


def test_nothing_is_confirmed_on_one_seats_word():
    target = replace(WELL, states={1: OPTIMIZED})
    assert confirmations(judge([shown(), None, None]), GW1, target) == ()


def test_restrictions_are_applied_when_all_that_is_not_kept_reads_back_inaccessible():
    view = read(shown(Phase.ACTIVE))
    assert restrictions_applied(view, GW1, replace(WELL, states={1: OPTIMIZED, 2: INACCESSIBLE}))
    assert not restrictions_applied(view, GW1, replace(WELL, states={1: OPTIMIZED, 2: MIXED}))
    assert not restrictions_applied(judge([shown(), None, None]), GW1, WELL)


def test_a_gateway_is_admitted_by_the_agreed_map_only():
    assert admitted(read(shown()), GW1) == serving(GW1)
    assert admitted(read(shown()), GW1._replace(token="zz")) is None
    assert admitted(NOTHING_SEEN, GW1) is None


def test_a_leaving_gateway_may_end_once_the_agreed_map_gives_it_nothing():
    assert may_leave(read(shown(Phase.ACTIVE, GW2)), GW1)
    assert not may_leave(read(shown(Phase.DRAINING)), GW1)
    assert not may_leave(NOTHING_SEEN, GW1)


def test_an_agent_that_attaches_declines_promotions_that_do_not_read_back_optimized():
    view = read(shown())
    assert declined_at_attach(view, GW1, {1: INACCESSIBLE}) == {1: STORED}
    assert declined_at_attach(view, GW1, {}) == {1: STORED}
    assert declined_at_attach(view, GW1, {1: OPTIMIZED}) == {}
    assert declined_at_attach(view, GW2, {1: INACCESSIBLE, 2: INACCESSIBLE}) == {}, "what is active is not declined"
    assert declined_at_attach(NOTHING_SEEN, GW1, {}) == {}
