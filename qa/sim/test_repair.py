"""What ``repair`` refuses, and what follows then: the real driver on lost seats."""

from __future__ import annotations

from random import Random
from typing import Callable, Dict, Tuple

from nvmeof_ha.core.model import Phase
from nvmeof_ha.kv_records import STORE_PREFIX
from sim.ceph import Omap, seat_number
from sim.group import Group
from sim.mgr import KEY

PATIENCE_S = 40.0
LOST = (0, 1)
RECORD = STORE_PREFIX + KEY.gateway_key("gw1")


def run_until(group: Group, condition: Callable[[], bool]) -> None:
    until_s = group.world.now + PATIENCE_S
    while not condition():
        assert group.world.now < until_s, group.describe()
        group.world.run_until(group.world.now + 0.5)


def refused() -> Tuple[Group, Dict[str, Omap]]:
    """Two seats are lost, and what gw1 may have running is named only where it cannot be read.  Returns what the lost
    objects held, too."""
    group = Group(Random(5), gateways=2)
    group.slow_share = 0.0
    run_until(group, group.settled)
    lost = {name: omap for name, omap in group.objects.omaps.items() if seat_number(name) in LOST}
    for number in LOST:
        group.seats[number].lose()
    run_until(group, lambda: group.mgr.seats_lost)
    group.mons.kv[RECORD] = '{"format": 1}'
    group.repair()
    run_until(group, lambda: RECORD in group.mgr.waiting_for)
    group.world.run_until(group.world.now + 15.0)
    assert group.committed is None and not any(group.optimized(number) for number in group.ana_group_ids)
    return group, lost


def test_nothing_is_rebuilt_while_a_record_cannot_be_read():
    group, _ = refused()
    del group.mons.kv[RECORD]   # no target of it runs, says the operator
    group.hosts[0].kill()
    group.repair()
    run_until(group, lambda: group.committed is not None)
    assert {g.phase for g in group.committed.ana_groups} == {Phase.FENCING}
    group.check_data()


def test_after_a_repair_that_was_refused_restored_seats_are_taken_up_by_the_same_mgr():
    group, lost = refused()
    group.objects.omaps.update(lost)
    run_until(group, group.settled)
    group.check_data()
