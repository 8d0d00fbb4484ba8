"""Seats are looked at again after OSD map changes: what they share and need not share is told."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List

import pytest

from nvmeof_ha import seat_names, seat_placement
from nvmeof_ha.health import SEATS_CLOSE_S, Health
from nvmeof_ha.kv_records import GroupKey
from nvmeof_ha.mon import Answer
from nvmeof_ha.seat_names import Placed, needlessly_close
from nvmeof_ha.seat_placement import SeatPlacement
from nvmeof_ha.status import Status

GROUP, POOL = "g1", "rbd"


def on(name: str, *osds: int) -> Placed:
    return Placed(name, frozenset(f"node{osd}" for osd in osds), osds[0], f"2.{name}")


class Cluster:
    """Mons that know where objects are; one OSD on each host."""

    def __init__(self, hosts: int, acting: Dict[str, List[int]]) -> None:
        self.hosts, self.acting = hosts, acting
        self.asked: List[str] = []
        self.code = 0
        self.answering = True

    def issue(self, command: Dict[str, Any], done: Callable[[Answer], None]) -> None:
        self.asked.append(command["prefix"])
        if not self.answering:
            return
        if command["prefix"] == "osd tree":
            found: Any = {"nodes": [{"id": n, "type": "osd"} for n in range(self.hosts)] + [
                {"id": -n - 2, "type": "host", "name": f"node{n}", "children": [n]} for n in range(self.hosts)]}
        else:
            assert (command["pool"], command["nspace"]) == (POOL, seat_names.NAMESPACE)
            acting = self.acting.get(command["object"], [0, 1, 2])
            found = {"acting": acting, "acting_primary": acting[0], "pgid": "2.a"}
        done(Answer(self.code, json.dumps(found), "busy" if self.code else ""))


SEATS = [seat_names.candidates(GROUP, number)[0] for number in range(3)]
APART = {SEATS[0]: [0, 1, 2], SEATS[1]: [3, 4, 5], SEATS[2]: [6, 7, 8]}


class Looked:
    """A placement whose time a test passes."""

    def __init__(self, cluster: Cluster) -> None:
        self.now = 100.0
        self.placement = SeatPlacement(GROUP, cluster, lambda call: call(), lambda: self.now)

    def after(self, seconds: float) -> str:
        self.now += seconds
        for _ in range(2):
            self.placement.poll(POOL, SEATS)
        return self.placement.problem


def test_seats_that_share_a_host_though_others_would_not_are_named_with_it():
    seats = [on("a", 0, 1, 2), on("b", 2, 3, 4), on("c", 6, 7, 8)]
    said = needlessly_close(seats, [[seats[0]], [seats[1], on("b1", 3, 4, 5)], [seats[2]]])
    assert said == "seats a (2.a) and b (2.b) both hold node2"


def test_on_a_cluster_that_is_too_small_nothing_is_said_of_shared_hosts():
    seats = [on("a", 0, 1, 2), on("b", 1, 2, 0), on("c", 2, 0, 1)]
    assert needlessly_close(seats, [[seat] for seat in seats]) == ""


def test_there_seats_with_one_leader_are_named_if_they_could_have_different_ones():
    seats = [on("a", 0, 1, 2), on("b", 0, 2, 1), on("c", 2, 0, 1)]
    assert needlessly_close(seats, [[seats[0]], [on("b1", 1, 2, 0)], [seats[2]]]) == \
        "seats a (2.a) and b (2.b) both are led by osd.0"


def test_nothing_is_asked_before_a_change_and_once_after_several():
    cluster = Cluster(9, APART)
    looked = Looked(cluster)
    assert looked.after(1000) == "" and not cluster.asked
    for _ in range(3):
        looked.placement.osd_map_changed()
    assert looked.after(seat_placement.AFTER_CHANGE_S - 1) == "" and not cluster.asked
    assert looked.after(1) == ""
    assert cluster.asked.count("osd tree") == 1
    looked.after(1000)
    assert cluster.asked.count("osd tree") == 1


def test_a_seat_that_was_moved_beside_another_is_told_until_it_is_apart_again():
    cluster = Cluster(9, dict(APART))
    looked = Looked(cluster)
    cluster.acting[SEATS[1]] = [0, 3, 4]
    cluster.acting[seat_names.candidates(GROUP, 1)[5]] = [3, 4, 5]
    looked.placement.osd_map_changed()
    assert "node0" in looked.after(seat_placement.AFTER_CHANGE_S)
    cluster.acting[SEATS[1]] = [3, 4, 5]
    looked.placement.osd_map_changed()
    assert looked.after(seat_placement.AFTER_CHANGE_S) == ""


@pytest.mark.parametrize("trouble", ["refused", "silent"])
def test_mons_that_do_not_answer_change_nothing_and_are_asked_again_after_the_next_change(trouble):
    cluster = Cluster(9, dict(APART))
    looked = Looked(cluster)
    cluster.code, cluster.answering = (-11, True) if trouble == "refused" else (0, False)
    looked.placement.osd_map_changed()
    assert looked.after(seat_placement.AFTER_CHANGE_S) == ""
    assert looked.after(seat_placement.ANSWER_S) == ""
    cluster.code, cluster.answering = 0, True
    cluster.acting[SEATS[1]] = [0, 3, 4]
    cluster.acting[seat_names.candidates(GROUP, 1)[5]] = [3, 4, 5]
    looked.placement.osd_map_changed()
    assert "node0" in looked.after(seat_placement.AFTER_CHANGE_S)


def test_seats_that_stay_close_are_a_warning_and_those_of_a_moment_are_not():
    health, key = Health(), GroupKey(POOL, GROUP)
    close = {key: Status(running=True, published_at=1000.0, seats_close="seats a (2.a) and b (2.b) both hold node2")}
    assert not health.checks(close, "", 0.0)
    assert not health.checks(close, "", SEATS_CLOSE_S - 1)
    assert not health.checks({key: Status(running=True, published_at=1000.0)}, "", SEATS_CLOSE_S)
    assert not health.checks(close, "", SEATS_CLOSE_S + 1)
    said = health.checks(close, "", 2 * SEATS_CLOSE_S + 1)["NVMEOF_HA_SEATS_CLOSE"]
    assert said["severity"] == "warning"
    assert "group rbd/g1: seats a (2.a) and b (2.b) both hold node2;" in said["detail"][0]
    assert "ceph osd pg-upmap-items" in said["detail"][0]
