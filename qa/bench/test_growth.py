"""Claims about the simulation of growth: what it says follows from its figures, and its parts do what they model."""

from __future__ import annotations

from typing import Dict, List, Tuple

import pytest

from bench import growth
from bench.growth_machine import SWITCH_S, Cores, Interpreter, Loop, Part, Thread, Work, World


def test_a_size_holds_only_if_nothing_is_used_up_and_a_lost_location_is_served_in_time():
    name, steady = 'x', {'interpreter': 0.3, 'OSDs': 0.1, 'ack ms, p99': 2.0, 'tick late s, p99': 0.01}
    figures = {f'{name}: {scenario}, {what}': value for scenario in growth.SCENARIOS for what, value in steady.items()}
    figures.update({f'{name}: one lost, last served s': 5.0, f'{name}: location lost, last served s': 9.0})
    timing = growth.TIMERS['defaults']
    assert growth.holds(figures, name, timing) == ''
    for changed, value, found in (('at rest, OSDs', 0.8, 'at rest: OSDs'),
                                  ('bursts, callback thread', 0.8, 'bursts: callback thread'),
                                  ('at rest, ack ms, p99', 60.0, 'at rest: acks'),
                                  ('bursts, ack ms, p99', 600.0, 'bursts: acks'),
                                  ('bursts, tick late s, p99', 0.3, 'bursts: late ticks'),
                                  ('location lost, last served s', 10.1, 'location lost: served late'),
                                  ('location lost, interpreter', 0.71, 'location lost: interpreter')):
        assert growth.holds({**figures, f'{name}: {changed}': value}, name, timing) == found
    del figures[f'{name}: location lost, last served s']
    assert growth.holds(figures, name, timing) == 'location lost: served late'


def _beside_a_burst(*waiting: Tuple[str, Part, float]) -> Dict[str, float]:
    """A module computes for 0.1 s from the start; the others each ask for a millisecond at their time: when they get it."""
    world = World()
    interpreter, begun = Interpreter(world, Cores(2)), {}
    interpreter.ask(Part.MODULE, 0.1, lambda _: None)
    for name, part, at in waiting:
        world.at(at, interpreter.ask, part, 0.001, lambda when, name=name: begun.update({name: when}))
    world.run_until(1.0)
    assert interpreter.busy_s == pytest.approx(0.1 + 0.001 * len(waiting))
    return begun


def test_who_computes_gives_the_interpreter_up_only_when_a_thread_of_its_part_has_waited_for_it():
    begun = _beside_a_burst(('driver', Part.MODULE, 0.02))
    assert 0.02 + SWITCH_S <= begun['driver'] < 0.02 + SWITCH_S + 0.002


def test_another_part_has_to_wait_until_all_is_computed_or_such_a_thread_has_the_interpreter_given_up():
    assert _beside_a_burst(('callback', Part.CALLBACKS, 0.02))['callback'] == pytest.approx(0.1)
    begun = _beside_a_burst(('callback', Part.CALLBACKS, 0.02), ('driver', Part.MODULE, 0.03))
    assert 0.03 + SWITCH_S <= begun['callback'] < begun['driver'] < 0.03 + SWITCH_S + 0.003


def test_a_busy_thread_does_not_pay_for_waking_up():
    cores = Cores(1)
    thread = Thread(cores, Work(0.1, 1.0))
    assert thread.run(0.0) == pytest.approx(1.1)
    assert thread.run(0.5) == pytest.approx(1.2)
    assert thread.run(5.0) == pytest.approx(6.1)
    assert cores.busy_s == pytest.approx(2.3)


def test_drivers_of_one_loop_take_turns_and_keep_nobody_else_from_the_interpreter():
    world, ended = World(), []   # type: World, List[str]
    interpreter = Interpreter(world, Cores(2))
    loop = Loop(interpreter)
    for name in ('first', 'second'):
        loop.ask(0.002, lambda _begun, name=name: ended.append(name))
    interpreter.ask(Part.CALLBACKS, 0.001, lambda _begun: ended.append('callback'))
    world.run_until(1.0)
    loop.ask(lambda: 0.001, lambda _begun: ended.append('third'))
    world.run_until(2.0)
    assert ended == ['first', 'callback', 'second', 'third'] and interpreter.busy_s == pytest.approx(0.006)
