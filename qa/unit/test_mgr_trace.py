"""The trace of a driver: whatever happens in the core is in it, as it was."""

from __future__ import annotations

import logging
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, FrozenSet, List, Mapping, Tuple, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha import trace
from nvmeof_ha.core import machine, standby
from nvmeof_ha.core.actions import Action
from nvmeof_ha.core.events import Beacon, CreateGateway, Event, Tick
from nvmeof_ha.core.model import Departed, Gateway, Map, Version
from nvmeof_ha.core.plain import PlainError
from nvmeof_ha.core.soft import State
from nvmeof_ha.core.timing import Timing

from .test_core_wire_properties import TIMINGS, departures, gateways, maps

SPECIAL = {Timing: TIMINGS, Gateway: gateways("gw1", 1), Departed: departures(), Map: maps(),
           str: st.text(max_size=8), int: st.integers(), bool: st.booleans(), float: st.floats(allow_nan=False, allow_infinity=False)}


def values(hint: Any) -> Any:
    """Any value of the type, with every field set."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in SPECIAL:
        return SPECIAL[hint]
    if origin is Union:
        return st.one_of([st.none() if kind is type(None) else values(kind) for kind in inner])
    if origin is tuple and inner[-1] is not Ellipsis:
        return st.tuples(*map(values, inner))
    if origin in (dict, get_origin(Mapping[Any, Any])):
        return st.dictionaries(values(inner[0]), values(inner[1]), max_size=2)
    if origin in (get_origin(Tuple[Any, ...]), get_origin(FrozenSet[Any])):
        return st.lists(values(inner[0]), max_size=2).map(origin)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return st.builds(hint, **{name: values(part) for name, part in get_type_hints(hint).items()})


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_every_event_comes_back_from_the_trace_as_it_was(kind, data):
    line = trace.Stepped(7, 12.5, data.draw(values(kind)), Version(3, 4))
    assert trace.decode(trace.encode(line)) == line


@settings(max_examples=25, deadline=None)
@given(values(State), values(Action), st.lists(st.tuples(SPECIAL[float], values(Tick)), max_size=2).map(tuple))
def test_states_actions_and_ticks_come_back_as_they_were(state, action, ticks):
    for line in (trace.Stands(1, state, ticks), trace.Stepped(2, 0.5, Tick(1), Version(1, 1), (action,), ticks),
                 trace.Began(3, state.map, (), 5, Timing(), 1.25, False, Version(5, 1), (action,))):
        assert trace.decode(trace.encode(line)) == line


@settings(max_examples=40, deadline=None)
@given(values(standby.Event), values(standby.State), values(standby.Action))
def test_what_a_standby_heard_knew_and_did_comes_back_as_it_was(event, state, action):
    for line in (trace.LookedOut(1, 0.5, event, (action,), ((0.25, standby.Tick()),)), trace.LooksOut(2, state)):
        assert trace.decode(trace.encode(line)) == line


def test_every_class_of_event_in_the_core_is_in_the_union_that_is_traced():
    import nvmeof_ha.core.events as events
    bases = {events.Command, events.Beacon, events.Confirmation, events.Notes}
    found = {kind for kind in vars(events).values() if isinstance(kind, type) and is_dataclass(kind)
             and kind.__module__ == events.__name__}
    assert found - bases == set(get_args(Event))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Stepped":{}}', '{"Walked":{"number":1}}'])
def test_a_damaged_line_is_refused(text):
    with pytest.raises(PlainError):
        trace.decode(text)


class Written(logging.Handler):
    """What a trace wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: List[trace.Line] = []

    def emit(self, record: logging.LogRecord) -> None:
        mark, key, text = record.getMessage().split(" ", 2)
        assert (mark, key) == (trace.MARK, "rbd/g1")
        self.lines.append(trace.decode(text))


@pytest.fixture
def written():
    handler = Written()
    log = logging.getLogger("test_mgr_trace")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    yield handler.lines, log
    log.removeHandler(handler)


def steps(tracing: trace.Trace, state: State, *events: Tuple[float, Event]) -> State:
    for now, event in events:
        after, actions = machine.step(state, event, now)
        tracing.stepped(state, event, now, after, actions)
        state = after
    return state


def begun(tracing: trace.Trace) -> State:
    arguments = (Map("rbd", "g1"), (), 5, Timing(), 1.0, True, ())
    state, actions = machine.begin(*arguments)
    tracing.began(*arguments, state, actions)
    return state


def test_a_take_over_and_a_command_are_one_line_each_and_ticks_wait_for_the_next_line(written):
    lines, log = written
    tracing = trace.Trace("rbd/g1", log, True)
    steps(tracing, begun(tracing), (1.1, Tick()), (1.2, Tick(1)), (1.3, CreateGateway(3, "gw1")))
    first, second = lines
    assert (type(first), first.number, first.ballot, first.actions[0].map.version) == (trace.Began, 1, 5, (5, 1))
    assert second.event == CreateGateway(3, "gw1") and second.ticks == ((1.1, Tick()), (1.2, Tick(1)))
    assert (second.number, second.now, second.version) == (2, 1.3, Version(5, 1)) and second.actions[0].code


def test_many_ticks_without_anything_else_do_not_pile_up(written):
    lines, log = written
    tracing = trace.Trace("rbd/g1", log, True)
    steps(tracing, begun(tracing), *((1.0 + n / 10, Tick()) for n in range(1, trace.MOST_TICKS + 2)))
    assert len(lines) == 2 and len(lines[1].ticks) == trace.MOST_TICKS and lines[1].event == Tick()


def test_a_tick_that_brings_a_beacon_is_a_line_of_its_own(written):
    lines, log = written
    tracing, beacon = trace.Trace("rbd/g1", log, True), Beacon("gw1", None, 1)
    steps(tracing, begun(tracing), (1.1, Tick()), (1.2, Tick(3, (beacon,))))
    assert len(lines) == 2 and lines[1].event == Tick(3, (beacon,)) and lines[1].ticks == ((1.1, Tick()),)


def test_off_it_writes_nothing_and_switched_on_again_it_begins_with_the_state_and_a_gap_in_the_numbers(written):
    lines, log = written
    tracing = trace.Trace("rbd/g1", log, True)
    state = steps(tracing, begun(tracing), (1.1, Tick()))
    tracing.on = False
    state = steps(tracing, state, (1.2, CreateGateway(3, "gw1")), (1.3, Tick()))
    assert len(lines) == 1
    tracing.on = True
    steps(tracing, state, (1.4, CreateGateway(4, "gw1")))
    assert [type(line) for line in lines] == [trace.Began, trace.Stands, trace.Stepped]
    assert [line.number for line in lines] == [1, 3, 4] and lines[1].state == state and not lines[1].ticks


def test_the_state_is_written_again_after_a_while(written):
    lines, log = written
    tracing = trace.Trace("rbd/g1", log, True)
    state = begun(tracing)
    steps(tracing, state, (1.1, Tick()), (1.0 + trace.STATE_EVERY_S, CreateGateway(3, "gw1")))
    assert isinstance(lines[1], trace.Stands) and lines[1].ticks == ((1.1, Tick()),)
    assert lines[1].state == machine.step(state, Tick(), 1.1)[0] and lines[2].ticks == ()
