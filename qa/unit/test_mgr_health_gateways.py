"""Claims about the health checks of a gateway group that is not as it should be, and of the mgrs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Callable, Dict, List

import pytest

from nvmeof_ha import health_gateways as limits
from nvmeof_ha.core.events import Notes
from nvmeof_ha.core.model import (AnaGroup, Availability, Departed, Gateway, Instance, Map, Phase, Subsystem, Version)
from nvmeof_ha.core.release import RELEASE
from nvmeof_ha.core.soft import Soft
from nvmeof_ha.findings import SUMMARIES
from nvmeof_ha.health import Health
from nvmeof_ha.health_mgr import (DEAF_S, GRACE_S, JUMP_TOLD_S, LATE_TICKS, NO_STANDBY_S, READ_EVERY_S, MgrView,
                                  MgrWatch)
from nvmeof_ha.hearing import Said
from nvmeof_ha.kv_records import GroupKey
from nvmeof_ha.mon import Answer
from nvmeof_ha.status import Status

KEY = GroupKey('rbd', 'g1')
ONE, TWO = Instance('gw1', 1, 'a'), Instance('gw2', 1, 'b')
WELL = Availability.AVAILABLE
SUBSYSTEM = Subsystem('nqn.a:b', ('192.0.2.1:4420',), ((1, 1), (2, 1)))


def gateway(name: str, number: int, **more: Any) -> Gateway:
    given = {'availability': WELL, 'instance': Instance(name, 1, 'ab'[number - 1]), 'last_number': 1,
             'addresses': frozenset({f'192.0.2.{number}:0/1'}), 'subsystems': (SUBSYSTEM,), **more}
    return Gateway(name, number, **given)


def active(number: int, holder: Instance) -> AnaGroup:
    return AnaGroup(number, f'gw{number}', Phase.ACTIVE, holder, writers=frozenset({holder}), since=Version(1, 5))


PAIR = Map('rbd', 'g1', Version(1, 9), (gateway('gw1', 1), gateway('gw2', 2)), (active(1, ONE), active(2, TWO)))


def look(status: Status, *at: float, health: Any = None, mgr: MgrView = MgrView()) -> Dict[str, Any]:
    """The checks after looking at these times."""
    health, found = health or Health(), {}
    for now in at:
        found = health.checks({KEY: status}, '', now, '', mgr)
    return found


def status(gateway_map: Map = PAIR, **more: Any) -> Status:
    return Status(committed=gateway_map, running=True, **{'soft': Soft(), 'published_at': math.inf, **more})


def says(**notes: Any) -> Status:
    return status(said={'gw1': Said(Notes(**notes))})


def only(found: Dict[str, Any], code: str) -> List[str]:
    assert list(found) == [code]
    return found[code]['detail']


def lasting(given: Status, limit_s: float, code: str) -> str:
    """Raised once it has lasted, not before, and cleared at once when it ends; the only detail line."""
    health = Health()
    assert code not in look(given, 0.0, limit_s - 0.1, health=health)
    detail, = look(given, limit_s + 0.1, health=health)[code]['detail']
    assert code not in look(status(), limit_s + 1, health=health)
    assert code not in look(given, limit_s + 2, health=health), 'it has to last anew'
    assert 'rbd/g1' in detail
    return detail


def test_a_pair_that_is_well_raises_nothing_however_long():
    assert look(status(), 0, 1e6, mgr=MgrView(1, GRACE_S)) == {}
    assert look(says(release=RELEASE, lease_left_s=2.0), 0, 1e6) == {}
    assert look(says(), 0, 1e6) == {}, 'an agent too old to say its release'


@pytest.mark.parametrize('changes, limit_s, said', [
    ({'phase': Phase.PROMOTING, 'incoming': TWO, 'holder': None, 'writers': frozenset({TWO})},
     PAIR.timing.promote_s + limits.MARGIN_S, 'gw2 has not confirmed yet that it is optimized'),
    ({'phase': Phase.DRAINING, 'target': 'gw2'}, PAIR.timing.drain_s + limits.MARGIN_S, 'gw1 finishes its I/O'),
    ({'phase': Phase.FENCING, 'holder': None}, PAIR.lease_wait_s + limits.MARGIN_S, 'its lease is not certainly over'),
])
def test_an_ana_group_that_is_too_long_on_its_way_is_told_with_what_it_waits_for(changes, limit_s, said):
    moving = status(PAIR.with_ana_group(replace(PAIR.ana_groups[0], **changes)))
    detail = lasting(moving, limit_s, 'NVMEOF_HA_TRANSITION_STUCK')
    assert said in detail and 'ANA group 1 of gateway gw1' in detail and 'ceph nvmeof-ha status rbd g1' in detail


def test_phases_that_follow_one_another_are_none_that_lasts():
    health, group = Health(), replace(PAIR.ana_groups[0], phase=Phase.DRAINING, target='gw2')
    for second in range(60):
        moved = PAIR.with_ana_group(replace(group, since=Version(1, second // 5)))
        assert 'NVMEOF_HA_TRANSITION_STUCK' not in look(status(moved), second, health=health)


def test_a_lost_instance_that_nobody_has_fenced_is_told_unless_its_fence_failed():
    gone = Departed(Instance('gw2', 0, 'z'), frozenset({'192.0.2.2:0/9'}))
    lost = replace(PAIR, departed=(gone,))
    assert 'gw2#0:z of gateway gw2' in lasting(status(lost), limits.UNFENCED_S, 'NVMEOF_HA_UNFENCED')
    failed = status(lost, soft=Soft(fence_errors={gone.instance: 'no'}), fence_failures=('gw2#0:z is not fenced: no',))
    assert list(look(failed, 0, 100)) == ['NVMEOF_HA_FENCE_FAILED']
    assert look(status(replace(PAIR, departed=(replace(gone, osd_epoch=7),))), 0, 100) == {}


def test_a_suspected_holder_that_is_neither_acquitted_nor_given_up_is_told():
    suspect = status(PAIR.with_gateway(gateway('gw1', 1, availability=Availability.SUSPECT)))
    assert 'still held by gateway gw1' in lasting(suspect, PAIR.lease_wait_s + limits.MARGIN_S, 'NVMEOF_HA_UNFENCED')
    detail = lasting(suspect, PAIR.lease_wait_s + limits.SUSPECT_S, 'NVMEOF_HA_GATEWAY_STUCK')
    assert 'gateway gw1 is suspected' in detail


def test_a_gateway_whose_io_hangs_is_told_with_what_hangs():
    stuck = status(soft=Soft(stuck={'gw1': '12 requests on bdev_0 made no progress'}))
    assert '12 requests on bdev_0' in lasting(stuck, limits.SUSPECT_S, 'NVMEOF_HA_GATEWAY_STUCK')


def test_a_gateway_that_is_lost_over_and_over_is_told_until_its_losses_are_old():
    often = status(soft=Soft(flaps={'gw2': (1.0, 2.0, 3.0)}))
    assert 'gateway gw2 was lost 3 times' in only(look(often, 10), 'NVMEOF_HA_GATEWAY_FLAPPING')[0]
    assert look(status(soft=Soft(flaps={'gw2': (1.0, 2.0)})), 10) == {}
    assert look(often, 1000) == {}


def test_a_gateway_without_a_listener_is_told_with_the_subsystem():
    bare = status(PAIR.with_gateway(gateway('gw2', 2, subsystems=())))
    assert 'gateway gw2 has no listener of nqn.a:b' in lasting(bare, limits.LISTENER_S, 'NVMEOF_HA_LISTENER_MISSING')
    down = gateway('gw2', 2, availability=Availability.UNAVAILABLE, instance=None, addresses=frozenset(), subsystems=())
    away = PAIR.with_gateway(down).with_ana_group(replace(active(2, ONE)))
    assert list(look(status(away), 0, 1000)) == ['NVMEOF_GATEWAY_DOWN']


def test_repaired_ana_states_are_told_for_a_while():
    repaired = status(said={'gw1': Said(Notes(ana_repairs=2), repaired_at=50.0)})
    detail, = only(look(repaired, 51), 'NVMEOF_HA_ANA_DRIFT')
    assert 'gateway gw1 found ANA states that it had not set, 2 time(s)' in detail
    assert look(repaired, 50 + limits.DRIFT_TOLD_S) == {}


def test_what_a_gateway_cannot_serve_and_another_release_are_told_once_they_last():
    assert 'gateway gw1: no such image' in lasting(says(problems=('no such image',)), limits.CONFIGURATION_S,
                                                   'NVMEOF_HA_CONFIGURATION')
    assert f'runs release 0.0.9, this mgr {RELEASE}' in lasting(says(release='0.0.9'), limits.RELEASES_S,
                                                                'NVMEOF_HA_RELEASES_DIFFER')


def test_a_move_that_hangs_is_told_once_though_each_gateway_waits_for_something_else():
    move = 'namespace 3 of nqn.a:b to ANA group 2: '
    waits = {name: Said(Notes(hung_moves=(move + why,))) for name, why in (('gw1', 'gw2'), ('gw2', 'gw1'))}
    detail, = only(look(status(said=waits), 0), 'NVMEOF_HA_MOVE_HUNG')
    assert detail.startswith(f'group rbd/g1: {move}gw')


def test_an_empty_ana_group_beside_a_crowded_one_is_told():
    def spread(first: int, second: int) -> Status:
        counts = tuple((number, count) for number, count in ((1, first), (2, second)) if count)
        given = replace(SUBSYSTEM, namespaces=counts)
        return status(replace(PAIR, gateways=tuple(replace(g, subsystems=(given,)) for g in PAIR.gateways)))
    assert 'ANA group 2 of gateway gw2 has no namespace, another has 4' in lasting(
        spread(limits.CROWDED, 0), limits.BALANCED_S, 'NVMEOF_HA_UNBALANCED')
    assert look(spread(limits.CROWDED - 1, 0), 0, 1e5) == look(spread(9, 1), 0, 1e5) == look(spread(0, 0), 0, 1e5) == {}


def test_a_mgr_that_is_late_or_deaf_is_told():
    assert 'ticks came late' in only(look(status(late_ticks=LATE_TICKS), 0), 'NVMEOF_HA_MGR_LATE')[0]
    assert look(status(late_ticks=LATE_TICKS - 1), 0) == {}
    assert 'hears itself through 1 of 3' in lasting(status(green_seats=1), DEAF_S, 'NVMEOF_HA_MGR_LATE')
    assert 'jumped by -4.0 s' in only(look(status(), 0, mgr=MgrView(jumped_s=-4.0)), 'NVMEOF_HA_MGR_LATE')[0]


def test_a_missing_standby_and_a_long_grace_are_told_where_there_are_groups():
    alone = MgrView(standbys=0)
    assert look(status(), 0, NO_STANDBY_S - 1, mgr=alone) == {}
    assert 'start a second ceph-mgr' in only(look(status(), 0, NO_STANDBY_S, mgr=alone), 'NVMEOF_HA_NO_STANDBY_MGR')[0]
    assert 'is 90 s' in only(look(status(), 0, mgr=MgrView(1, 90.0)), 'NVMEOF_HA_MGR_GRACE')[0]
    assert Health().checks({}, '', 0.0, '', MgrView(0, 90.0)) == {}


class Mon:
    def __init__(self) -> None:
        self.asked: List[Callable[[Answer], None]] = []

    def issue(self, command: Dict[str, Any], done: Callable[[Answer], None]) -> None:
        assert command == {'prefix': 'config get', 'who': 'mon', 'key': 'mon_mgr_beacon_grace'}
        self.asked.append(done)


def test_the_mons_are_asked_for_the_grace_rarely_and_what_they_do_not_say_is_unknown():
    mon, now = Mon(), [0.0]
    watch = MgrWatch(lambda: {'standbys': [{}]}, mon, lambda: now[0], lambda: 1e9 + now[0])
    assert watch.view() == watch.view() == MgrView(1, None)
    assert len(mon.asked) == 1
    for answer, grace_s in ((Answer(0, '30\n', ''), 30.0), (Answer(0, 'x', ''), None), (Answer(-13, '', ''), None)):
        mon.asked.pop()(answer)
        assert watch.view().grace_s == grace_s
        now[0] += READ_EVERY_S
        watch.view()
    assert MgrWatch(dict, mon).view().standbys is None


def test_a_jump_of_the_wall_clock_is_told_for_a_while():
    now, wall = [0.0], [1e9]
    watch = MgrWatch(dict, Mon(), lambda: now[0], lambda: wall[0])
    now[0], wall[0] = 1.0, 1e9 + 1.2
    assert watch.view().jumped_s == 0.0, 'a clock that is slewed'
    now[0], wall[0] = 2.0, 1e9 + 9.2
    assert watch.view().jumped_s == pytest.approx(7.0)
    now[0], wall[0] = 2.0 + JUMP_TOLD_S, 1e9 + 9.2 + JUMP_TOLD_S
    assert watch.view().jumped_s == 0.0


def test_every_check_has_a_code_of_its_own_kind_and_a_summary_that_counts():
    for code, (severity, summary) in SUMMARIES.items():
        assert code.startswith('NVMEOF_') and severity in ('warning', 'error') and summary.format(n=3)
