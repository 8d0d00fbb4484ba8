"""Claims about when a gateway moves namespaces by itself, with what it knows of the others played."""
from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace

import pytest
from test_rebalance import gateway_map, spread

from gw_agent import moves, rebalancer
from gw_agent.changes import Refused
from gw_agent.configuration import Configuration, Namespace, Subsystem
from gw_agent.io_counters import Counted
from nvmeof_ha_core.model import Phase

PATIENCE_S = 10.0


class Group:
    """One gateway's surroundings; `groups`: ANA group by namespace, as stored."""

    def __init__(self, found, groups, name="gw1", omap=(), refuses=()):
        self.view = SimpleNamespace(permits=found)
        self.groups, self.omap, self.refuses = dict(groups), dict(omap), refuses
        self.moved, self.entries, self.counted = [], {}, {}
        settings = SimpleNamespace(name=name, group="g1", rebalance_period_sec=0.005, max_ns_to_change_lb_grp=2)
        self.rebalancer = rebalancer.Rebalancer(settings, self, self, self, lambda: self)
        self.rounds = 0

    # A target run.

    @property
    def counters(self):
        return SimpleNamespace(counted=self._counted)

    @property
    def held(self):
        self.rounds += 1
        namespaces = {nsid: Namespace(nsid, "rbd", f"disk{nsid}", f"uuid{nsid}", group)
                      for (_, nsid), group in self.groups.items()}
        subsystem = Subsystem("nqn", "S1", 1024, namespaces=MappingProxyType(namespaces))
        return SimpleNamespace(configuration=Configuration({"nqn": subsystem}), omap=self.omap), frozenset()

    async def _counted(self, names):
        return {name: Counted(self.counted[name], None) for name in names if name in self.counted}

    # The mover.

    async def move(self, nqn, nsid, to):
        if nsid in self.refuses:
            raise Refused(16, "not now")
        self.moved.append((nsid, to))
        self.groups[nqn, nsid] = to

    # The object with the gateways' loads.

    async def write(self, gateway_id, text):
        self.entries[gateway_id] = text

    async def read(self):
        return self.entries

    def play(self, until, rounds=1000):
        """Let it go on until that is so; false if it is not after so many rounds."""
        async def played():
            task = asyncio.ensure_future(self.rebalancer.serve())
            last, end_s = self.rounds + rounds, asyncio.get_running_loop().time() + PATIENCE_S
            while not until() and self.rounds < last and asyncio.get_running_loop().time() < end_s:
                await asyncio.sleep(0.002)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return until()
        return asyncio.run(played())


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(rebalancer, "CALM_S", 0.02)
    monkeypatch.setattr(rebalancer, "BALANCING_S", 0.0)


def test_the_group_of_a_gateway_that_is_being_deleted_is_emptied_by_the_first_gateway():
    group = Group(gateway_map(3, deleting=(3,)), spread(1, 1, 6))
    assert group.play(lambda: 3 not in group.groups.values())
    assert sorted(group.groups.values()) == [1] * 4 + [2] * 4


def test_a_new_gateways_group_is_filled_one_after_the_other_until_it_is_worth_no_more():
    group = Group(gateway_map(3), spread(6, 6, 0))
    assert group.play(lambda: sorted(group.groups.values()) == [1] * 4 + [2] * 4 + [3] * 4)
    assert not group.play(lambda: len(group.moved) > 4, rounds=30), "it goes on"


@pytest.mark.parametrize("found, name, omap", [
    (gateway_map(3), "gw2", {}),
    (gateway_map(3), "gw1", {moves.PAUSE_KEY: "yes"}),
    (gateway_map(3).with_ana_group(replace(gateway_map(3).ana_group(1), phase=Phase.DRAINING)), "gw1", {}),
    (None, "gw1", {})])
def test_nothing_is_moved_by_others_while_paused_during_a_handover_or_without_a_map(found, name, omap):
    group = Group(found, spread(6, 0, 0), name, omap)
    assert not group.play(lambda: group.moved, rounds=30)


def test_nothing_is_moved_before_it_was_calm_for_long_enough(monkeypatch):
    monkeypatch.setattr(rebalancer, "CALM_S", 3600.0)
    group = Group(gateway_map(2), spread(6, 0))
    assert not group.play(lambda: group.moved, rounds=30)


def test_a_namespace_that_could_not_be_moved_is_left_alone_and_another_one_goes():
    group = Group(gateway_map(2), spread(4, 0), refuses=(100,))
    assert group.play(lambda: group.moved == [(101, 2)]), group.moved
    assert not group.play(lambda: len(group.moved) > 1, rounds=30)


def test_what_the_others_say_of_their_load_counts_and_a_gateway_says_its_own():
    busy = [["nqn", 200, 900.0], ["nqn", 201, 900.0]]
    group = Group(gateway_map(2), spread(2, 2))
    group.entries = {"gw2": json.dumps(busy), "gw9": json.dumps([["nqn", 100, 1e9]])}
    assert group.play(lambda: group.moved)
    assert group.moved[0] in ((200, 1), (201, 1)), "the busy ones are together, and gw9 is not in the map"
    group.counted = {"bdev_uuid100": 0}

    def told():
        group.counted["bdev_uuid100"] += 50
        return "gw1" in group.entries
    assert group.play(told) and json.loads(group.entries["gw1"])[0][:2] == ["nqn", 100]
