"""Claims about steps that decide nothing: they are left out only where nothing would have come of them."""

from __future__ import annotations

import random
from contextlib import contextmanager
from dataclasses import replace
from typing import Iterator, List
from unittest import mock

import pytest

from nvmeof_ha.core import machine
from nvmeof_ha.core.events import (ClearDisaster, Command, CreateGateway, DeleteGateway, FenceGateway, MoveAnaGroup,
                                   SetDisaster, SetEnabled, SetLocation, Tick)
from nvmeof_ha.core.machine import at_rest
from nvmeof_ha.core.model import Availability, Instance, Map, Phase
from nvmeof_ha.core.rest import in_order, tick_s
from nvmeof_ha.core.soft import State
from nvmeof_ha.core.timing import TICK_S
from unit.driven import GW1, GW2, TIMING, Driven, ana_group, serving, stored_map, subsystems

SETTLED_S = 15.0


@contextmanager
def compared() -> Iterator[List[bool]]:
    """Whenever a step is left out, what it would have done is looked at; yields what was said of each step."""
    said: List[bool] = []

    def checked(before: State, after: State, now: float) -> bool:
        rests = at_rest(before, after, now)
        said.append(rests)
        if rests:
            settled = machine._settle(after, now)
            assert settled == after
            assert machine.emit(settled, now) == (after, ())
        return rests
    with mock.patch.object(machine, "at_rest", checked):
        yield said


def something(driven: Driven, rng: random.Random) -> None:
    """An event, or a while with or without some gateways' beacons."""
    name = f"gw{rng.randint(1, 3)}"
    commands: List[Command] = [CreateGateway(0, name), DeleteGateway(0, name), SetEnabled(0, name, rng.random() < 0.7),
                               MoveAnaGroup(0, rng.randint(1, 3), rng.choice(("", name))), FenceGateway(0, name),
                               SetLocation(0, name, rng.choice(("", "east"))), SetDisaster(0, "east"),
                               ClearDisaster(0, "east")]
    instance = driven.instances.get(name)
    what = rng.random()
    if what < 0.15:
        driven.do(rng.choice(commands))
    elif what < 0.25 and instance is not None:
        driven.beacon(instance, leaving=rng.random() < 0.5, reaped=(instance,))
        driven.instances[name] = Instance(name, instance.number + 1, "t")
    elif what < 0.35 and instance is not None:
        driven.beacon(instance, stuck=rng.choice(("", "hangs")), load=rng.randint(0, 9), connections=rng.randint(0, 2),
                      subsystems=rng.choice((None, subsystems(1, 2), subsystems(1, 2, 3, listeners=()))))
    elif what < 0.4:
        driven.silent = frozenset(rng.sample(("gw1", "gw2", "gw3"), rng.randint(0, 2)))
    else:
        driven.wait(rng.choice((0.1, 0.5, 2.0, 8.0)))


@pytest.mark.parametrize("seed", range(10))
def test_what_is_left_out_would_have_changed_nothing_and_asked_for_nothing(seed):
    rng = random.Random(seed)
    with compared() as said:
        driven = Driven()
        driven.create("gw1", "gw2", "gw3")
        driven.wait(SETTLED_S)
        for _ in range(60):
            something(driven, rng)
    assert True in said and False in said


def test_all_is_well_and_nothing_is_decided_until_a_gateway_fades():
    with compared() as said:
        driven = Driven()
        driven.create("gw1", "gw2")
        driven.wait(SETTLED_S)
        said.clear()
        driven.wait(3.0)
        assert all(said)
        driven.silent = frozenset({"gw2"})
        driven.wait(1.2)
        assert all(said)
        driven.wait(0.4)
        assert not said[-1]


def test_ticks_are_rare_while_all_is_well_and_come_when_a_gateway_fades_or_anything_is_out_of_order():
    driven = Driven()
    driven.create("gw1", "gw2")
    assert tick_s(driven.state, driven.now) == TICK_S, "promotions are under way"
    driven.wait(SETTLED_S)
    assert tick_s(driven.state, driven.now) == TIMING.beacon_s / 2
    heard = driven.state.soft.heard["gw2"]
    silent_for_s = TIMING.suspect_s - TIMING.beacon_s / 2
    assert tick_s(driven.state, heard + silent_for_s - 0.2) == pytest.approx(0.2)
    assert tick_s(driven.state, heard + silent_for_s) == TICK_S


def test_a_mgr_that_is_short_of_time_ticks_a_group_that_is_out_of_order_no_more_often_than_one_at_rest():
    driven = Driven()
    driven.create("gw1", "gw2")
    paces = [tick_s(driven.state, driven.now, took_s) for took_s in (0.001, 0.04, 0.2)]
    assert paces == [TICK_S, pytest.approx(0.16), TIMING.beacon_s / 2]


def test_a_group_in_which_nobody_runs_rests():
    with compared() as said:
        driven = Driven()
        driven.do(CreateGateway(1, "gw1"))
        said.clear()
        driven.wait(1.0)
    assert all(said)


@contextmanager
def settled() -> Iterator[List[State]]:
    """Yields the states to which rules were applied."""
    with mock.patch.object(machine, "_settle", side_effect=machine._settle) as settle:
        states: List[State] = []
        yield states
        states.extend(call.args[0] for call in settle.call_args_list)


def test_a_beacon_with_news_is_settled_at_once():
    driven = Driven(MAP)
    with settled() as states:
        driven.beacon(driven.instances["gw1"], stuck="a request hangs")
    assert states and driven.map.gateway("gw1").availability is Availability.SUSPECT


def test_a_beacon_that_tells_only_that_its_gateway_is_there_waits_for_the_tick_even_where_much_is_out_of_order():
    away = replace(serving(GW1), instance=None, availability=Availability.UNAVAILABLE, addresses=frozenset())
    driven = Driven(stored_map((away, serving(GW2)), (ana_group(1, Phase.ACTIVE, GW2), ana_group(2, Phase.ACTIVE, GW2))))
    assert not in_order(driven.state)
    with settled() as by_beacon:
        driven.beacon(GW2, load=7, connections=2)
    with settled() as by_tick:
        driven.do(Tick())
    assert not by_beacon
    assert by_tick[0].soft.load["gw2"] == 7 and by_tick[0].soft.heard["gw2"] == driven.now


def test_whatever_else_an_event_changed_is_settled():
    driven = Driven(MAP)
    driven.wait(SETTLED_S)
    state = driven.state
    assert at_rest(state, state.with_soft(heard={}, load={"gw1": 3}), driven.now)
    assert not at_rest(state, state.with_soft(flaps={"gw1": (driven.now,)}), driven.now)


MAP = stored_map((serving(GW1), serving(GW2)), (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.ACTIVE, GW2)))


def test_a_map_is_in_order_only_while_each_ana_group_is_reached_at_home():
    assert MAP.in_order and MAP.running == ("gw1", "gw2")
    elsewhere = MAP.with_ana_group(ana_group(1, Phase.ACTIVE, GW2))
    deaf = MAP.with_gateway(serving(GW1, subsystems=subsystems(1, 2, listeners=())))
    nobody = Map("rbd", "g1", ana_groups=(ana_group(1),))
    broken: List[Map] = [elsewhere, deaf, MAP.with_ana_group(ana_group(1)), replace(MAP, lease_wait_s=99.0),
                         MAP.with_gateway(serving(GW1, leaving=True)), MAP.with_gateway(serving(GW1, deleting=True))]
    assert nobody.in_order and not any(gateway_map.in_order for gateway_map in broken)


def test_a_tick_at_rest_only_takes_note_of_the_time():
    driven = Driven(MAP)
    driven.wait(SETTLED_S)
    before = driven.state
    driven.now += 0.1
    driven.do(Tick())
    assert driven.state == replace(before, soft=replace(before.soft, ticked=driven.now))
