"""Claims about which namespaces should move where."""
from __future__ import annotations

from dataclasses import replace

from gw_agent import moves, rebalance
from nvmeof_ha_core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase


def instance(gateway):
    return Instance(gateway, 1, "t")


def gateway_map(gateways, deleting=(), holders={}):
    return Map("rbd", "g1", gateways=tuple(
        Gateway(f"gw{n}", n, availability=Availability.AVAILABLE, instance=instance(f"gw{n}"), last_number=1,
                deleting=n in deleting) for n in range(1, gateways + 1)), ana_groups=tuple(
        AnaGroup(n, f"gw{n}", Phase.ACTIVE, holder=holder, writers=frozenset({holder}))
        for n in range(1, gateways + 1) for holder in [instance(holders.get(n, f"gw{n}"))]))


def spread(*counts):
    """So many namespaces in ANA group 1, 2, ..."""
    keys = [(group, n) for group, count in enumerate(counts, 1) for n in range(count)]
    return {("nqn", 100 * group + n): group for group, n in keys}


def counts(groups):
    return sorted(list(groups.values()).count(group) for group in set(groups.values()))


def settled(gateways, groups, operations={}):
    """The groups after all proposals were followed, and how many there were."""
    groups, moved = dict(groups), 0
    while True:
        best = rebalance.balancing(gateways, groups, operations)
        if best is None:
            return groups, moved
        groups[best.nqn, best.nsid], moved = best.to, moved + 1
        assert moved <= len(groups), "it never ends"


def test_namespaces_are_spread_evenly_by_as_few_moves_as_it_takes():
    assert [(counts(groups), moved) for groups, moved in (settled(gateway_map(3), spread(12, 0, 0)),
                                                          settled(gateway_map(2), spread(6, 2)))] == \
        [([4, 4, 4], 8), ([4, 4], 2)]


def test_what_is_nearly_even_stays():
    assert settled(gateway_map(2), spread(4, 3))[1] == 0
    assert settled(gateway_map(3), spread(100, 98, 99))[1] == 0


def test_a_busy_namespace_weighs_more_than_an_idle_one():
    groups = spread(2, 2)
    busy = {("nqn", 100): 1000.0, ("nqn", 101): 1000.0}
    balanced, moved = settled(gateway_map(2), groups, busy)
    assert moved == 2 and {balanced[key] for key in busy} == {1, 2} and counts(balanced) == [2, 2]
    assert rebalance.lightest((1, 2), groups, busy) == 2 and rebalance.lightest((1, 2), groups, {}) == 1
    assert rebalance.lightest((1, 2, 3), groups, busy) == 3


def test_one_busy_namespace_is_not_sent_to_and_fro():
    assert settled(gateway_map(2), spread(1, 1), {("nqn", 100): 1000.0})[1] == 0
    assert settled(gateway_map(2), spread(3, 3), {("nqn", 100): 1000.0})[1] <= 2


def test_nothing_is_balanced_while_a_group_is_away_from_its_owner():
    assert rebalance.balancing(gateway_map(2, holders={1: "gw2"}), spread(6, 0), {}) is None
    assert rebalance.balancing(gateway_map(1), spread(6), {}) is None
    assert rebalance.balancing(gateway_map(2), {}, {}) is None


def test_the_group_of_a_deleted_gateway_is_emptied_evenly_a_few_at_a_time():
    gateways, groups = gateway_map(3, deleting=(3,)), spread(2, 0, 6)
    found = rebalance.evacuation(gateways, groups, {}, 4)
    assert [p.to for p in found] == [2, 2, 1, 2] and all(groups[p.nqn, p.nsid] == 3 for p in found)
    groups.update({(p.nqn, p.nsid): p.to for p in rebalance.evacuation(gateways, groups, {}, 100)})
    assert counts(groups) == [4, 4] and not rebalance.evacuation(gateways, groups, {}, 100)


def test_a_group_that_the_map_does_not_have_is_emptied_too_but_not_into_nowhere():
    assert {p.to for p in rebalance.evacuation(gateway_map(2), spread(0, 0, 2), {}, 9)} == {1, 2}
    assert rebalance.evacuation(gateway_map(2, deleting=(1, 2)), spread(1, 1), {}, 9) == []


def test_a_gateway_that_is_disabled_gets_nothing_and_keeps_its_group():
    gateways = gateway_map(2)
    disabled = gateways.with_gateway(replace(gateways.gateway("gw2"), enabled=False))
    assert rebalance.receiving(disabled) == (1,) and rebalance.leaving(disabled, spread(1, 1)) == ()


def test_every_handover_and_every_start_shows():
    before = gateway_map(2)
    assert moves.unsettled(before) is None and moves.unsettled(None) is not None
    suspect = before.with_gateway(replace(before.gateway("gw2"), availability=Availability.SUSPECT))
    assert moves.unsettled(suspect) is not None and rebalance.state_of(suspect) != rebalance.state_of(before)
