"""What a seed draws, and what is excused, without a cluster."""

from __future__ import annotations

from itertools import islice

from thrash.breaking import ACTS
from thrash.schedule import (BY_NAME, KINDS, LOSES_COPIES, UNWATCHED_FOR_S, Fault, Played, hurt, isolating, may_move,
                             rounds, unwatched)

GATEWAYS = ['gw1', 'gw2', 'gw3']
FAULT_S = 60.0


def fault(name: str, gateway: str = '') -> Fault:
    return Fault(BY_NAME[name], gateway, 0.0, 1.0)


def played(name: str, gateway: str, from_s: float, to_s: float) -> Played:
    return Played(fault(name, gateway), from_s, to_s)


def test_a_seed_gives_the_same_rounds_again_and_another_seed_others():
    first, again, other = (list(islice(rounds(seed, GATEWAYS, FAULT_S), 40)) for seed in (7, 7, 8))
    assert first == again != other


def test_every_kind_leads_a_round_before_any_does_so_again():
    leads = [lanes[0][0].kind for lanes in islice(rounds(3, GATEWAYS, FAULT_S), len(KINDS))]
    assert sorted(leads, key=lambda kind: kind.name) == sorted(KINDS, key=lambda kind: kind.name)


def test_a_lane_has_one_kind_and_lasts_about_as_long_as_the_round():
    for lanes in islice(rounds(4, GATEWAYS, FAULT_S), 200):
        for lane in lanes:
            assert len({one.kind for one in lane}) == 1
            assert sum(one.after_s for one in lane) + sum(one.hold_s for one in lane[:-1]) <= FAULT_S


def test_never_do_two_lanes_lose_copies_of_data():
    for lanes in islice(rounds(1, GATEWAYS, FAULT_S), 2000):
        assert sum(lane[0].kind.name in LOSES_COPIES for lane in lanes) < 2


def test_every_kind_can_be_played():
    assert set(ACTS) == set(BY_NAME)


def test_excused_is_only_a_gateway_whose_warden_was_stopped_together_with_another_of_its_processes():
    host = [played('pause-host', 'gw1', 10, 20)]
    assert unwatched(host, 'gw1', 12) and unwatched(host, 'gw1', 20 + UNWATCHED_FOR_S)
    assert not unwatched(host, 'gw1', 9) and not unwatched(host, 'gw1', 21 + UNWATCHED_FOR_S)
    assert not unwatched(host, 'gw2', 12)
    warden = played('pause-warden', 'gw1', 10, 20)
    assert not unwatched([warden], 'gw1', 15)
    assert unwatched([warden, played('kill-agent', 'gw1', 14, 14)], 'gw1', 15)
    assert not unwatched([warden, played('kill-agent', 'gw1', 14, 14)], 'gw1', 13)
    assert not unwatched([warden, played('kill-agent', 'gw2', 14, 14)], 'gw1', 15)
    assert not unwatched([warden, played('kill-agent', 'gw1', 40, 40)], 'gw1', 40)
    assert not unwatched([played('kill-host', 'gw1', 10, 20)], 'gw1', 15)


def test_nothing_may_move_for_an_agent_a_mgr_or_one_osd():
    harmless = [fault('kill-agent', 'gw1'), fault('pause-mgr'), fault('kill-osd')]
    assert not may_move(harmless) and not hurt(harmless)
    assert may_move([*harmless, fault('kill-target', 'gw2')])
    assert hurt([*harmless, fault('kill-target', 'gw2')]) == {'gw2'}


def test_seats_and_mons_together_look_like_isolation():
    assert isolating([fault('pause-mon'), fault('pause-two-osds')])
    assert isolating([fault('pause-cluster-10')])
    assert not isolating([fault('pause-cluster-4')])
    assert not isolating([fault('pause-two-osds'), fault('pause-mgr')])
