"""The checker of what really happened: a right history passes, and each wrong one is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Tuple

import pytest

from nvmeof_ha.core.events import Beacon, Confirmation, Outcome
from nvmeof_ha.core.model import AnaGroup, Availability, Departed, Gateway, Instance, Map, Phase, Version
from thrash.history import History

ONE, TWO, AGAIN = Instance('gw1', 1, 'a'), Instance('gw2', 2, 'b'), Instance('gw1', 3, 'c')
ADDRESS = frozenset(('127.0.0.1:0/7',))


def group(phase: Phase, instance: Any, epoch: int, osd_epoch: int = 0) -> AnaGroup:
    incoming = instance if phase is Phase.PROMOTING else None
    holder = instance if phase in (Phase.ACTIVE, Phase.DRAINING) else None
    return AnaGroup(1, 'gw1', phase, holder, incoming, frozenset((instance,)), osd_epoch, Version(1, epoch))


def gateway_map(epoch: int, *groups: AnaGroup, departed: Tuple[Departed, ...] = (), ballot: int = 1) -> Map:
    return Map('rbd', 'g1', Version(ballot, epoch), ana_groups=groups, departed=departed)


def history(*maps: Map) -> History:
    """Each version is sent at its epoch, and acknowledged 0.1 s later."""
    found = History()
    for one in maps:
        found.sent(one, float(one.version.epoch))
        found.acknowledged(one.version, one.version.epoch + 0.1)
    return found


FAILOVER = (gateway_map(1, group(Phase.ACTIVE, ONE, 1)),
            gateway_map(2, group(Phase.PROMOTING, TWO, 2, 9), departed=(Departed(ONE, ADDRESS, 9),)),
            gateway_map(3, group(Phase.ACTIVE, TWO, 3, 9), departed=(Departed(ONE, ADDRESS, 9),)))


def drained(outcome: Outcome = Outcome.DRAINED, epoch: int = 2, instance: Instance = ONE) -> Beacon:
    return Beacon('gw1', instance, 1, confirmations=(Confirmation(1, Version(1, epoch), outcome),))


def test_a_failover_over_a_fence_is_right_and_counted_as_one():
    found = history(*FAILOVER)
    assert found.judge_promotions() == []
    assert found.moves() == [(2.1, 1, 'gw1', 'gw2', True)]
    assert found.fenced() == {ONE: (9, ADDRESS)}


@pytest.mark.parametrize('departed, words', [
    ((), 'is not fenced'),
    ((Departed(ONE, ADDRESS),), 'is not fenced'),
    ((Departed(ONE, ADDRESS, 10),), 'the barrier is at 9'),
])
def test_a_promotion_without_a_fence_that_its_barrier_covers_is_found(departed, words):
    found = history(FAILOVER[0], replace(FAILOVER[1], departed=departed)).judge_promotions()
    assert len(found) == 1 and words in found[0].text


def test_each_map_is_judged_once_though_the_next_ones_come_later():
    found = history(FAILOVER[0])
    assert found.judge_promotions() == []
    found.sent(replace(FAILOVER[1], departed=()), 2.0)
    found.acknowledged(Version(1, 2), 2.1)
    assert len(found.judge_promotions()) == 1 and found.judge_promotions() == []


@pytest.mark.parametrize('beacon, right', [
    (drained(), True), (drained(epoch=1), False), (drained(Outcome.OPTIMIZED), False), (drained(instance=AGAIN), False)])
def test_a_handover_needs_the_confirmation_of_exactly_that_drain(beacon, right):
    found = history(FAILOVER[0], gateway_map(2, group(Phase.DRAINING, ONE, 2)),
                    gateway_map(3, group(Phase.PROMOTING, TWO, 3)))
    found.confirmed(beacon)
    assert (found.judge_promotions() == []) is right
    assert found.moves() == [(3.1, 1, 'gw1', 'gw2', False)]


def test_a_fenced_instance_that_is_let_in_again_is_found():
    gone = (Departed(ONE, ADDRESS, 9),)
    back = Gateway('gw1', 1, availability=Availability.AVAILABLE, instance=ONE, last_number=1)
    found = history(replace(gateway_map(1, departed=gone), gateways=(back,))).judge_promotions()
    assert len(found) == 1 and 'was fenced and is let in' in found[0].text


def test_what_led_to_a_commit_that_no_log_has_is_not_judged():
    found = history(FAILOVER[0])
    found.seen(replace(FAILOVER[1], departed=()), 2.2)
    assert found.judge_promotions() == []


def test_optimized_is_allowed_from_the_sending_of_one_commit_to_the_acknowledgement_of_another():
    found = history(*FAILOVER)
    assert found.not_allowed(1, [('gw1', 1.0), ('gw1', 2.1), ('gw2', 2.0), ('gw2', 99.0)]) == []
    wrong = found.not_allowed(1, [('gw1', 0.5), ('gw1', 2.5), ('gw2', 1.5)])
    assert [(problem.at_s, problem.text.split()[0]) for problem in wrong] == [(0.5, 'gw1'), (2.5, 'gw1'), (1.5, 'gw2')]


def test_a_drained_holder_that_is_optimized_while_the_next_is_promoted_is_found():
    found = history(FAILOVER[0], gateway_map(2, group(Phase.DRAINING, ONE, 2)),
                    gateway_map(3, group(Phase.PROMOTING, TWO, 3)))
    assert [problem.at_s for problem in found.not_allowed(1, [('gw1', 2.9), ('gw1', 3.4)])] == [3.4]


def test_a_commit_whose_acknowledgement_nobody_logged_takes_nothing_away_and_may_permit():
    found = history(FAILOVER[0])
    found.sent(FAILOVER[1], 2.0)
    assert found.not_allowed(1, [('gw1', 50.0), ('gw2', 50.0)]) == []
    assert found.in_force() == [found.commits[1, 1]]
