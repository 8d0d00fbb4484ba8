"""Whatever arrives is a value or a WireError; whatever is sent arrives as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha.core import wire
from nvmeof_ha.core.events import Beacon, Confirmation, Notes, Outcome, TargetState
from nvmeof_ha.core.model import (AnaGroup, Availability, Departed, Disaster, Gateway, Instance, Map, Phase, Subsystem,
                                 Version)
from nvmeof_ha.core.timing import FAST, Timing

from .samples import GOLDEN

COUNTS = st.integers(0, 2 ** 63)
TEXTS = st.text(max_size=12)
VERSIONS = st.builds(Version, COUNTS, COUNTS)
ADDRESSES = st.frozensets(TEXTS, max_size=3)
TIMINGS = st.sampled_from([Timing(), FAST, Timing(drain_s=0.7, promote_s=77.25)])
SUBSYSTEMS = st.lists(st.builds(Subsystem, TEXTS, st.lists(TEXTS, max_size=2).map(tuple),
                                st.lists(st.tuples(COUNTS, COUNTS), max_size=2).map(tuple)), max_size=2).map(tuple)
NAMES = ["gw1", "gw2", "rack.3:gw-4_b"]


def instances(names: Any = st.sampled_from(NAMES)) -> Any:
    return st.builds(Instance, names, COUNTS, TEXTS)


@st.composite
def gateways(draw: Any, name: str, number: int) -> Gateway:
    instance = draw(st.none() | instances(st.just(name)))
    without = [Availability.CREATED, Availability.UNAVAILABLE]
    allowed = without if instance is None else [a for a in Availability if a is not Availability.UNAVAILABLE]
    return Gateway(name, number, draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(allowed)), instance,
                   draw(COUNTS) if instance is None else instance.number,
                   frozenset() if instance is None else draw(ADDRESSES), draw(VERSIONS), draw(st.booleans()),
                   draw(TEXTS), draw(SUBSYSTEMS), draw(TEXTS))


@st.composite
def ana_groups(draw: Any, number: int) -> AnaGroup:
    phase, server = draw(st.sampled_from(list(Phase))), draw(instances())
    holder = server if phase in (Phase.ACTIVE, Phase.DRAINING) else None
    incoming = server if phase is Phase.PROMOTING else None
    fencing = draw(st.frozensets(instances(), max_size=2)) if phase is Phase.FENCING else frozenset()
    writers = frozenset({server}) if holder or incoming else fencing
    return AnaGroup(number, draw(TEXTS), phase, holder, incoming, writers, draw(COUNTS), draw(VERSIONS), draw(TEXTS),
                    draw(st.none() | instances()))


@st.composite
def departures(draw: Any) -> Departed:
    addresses = draw(ADDRESSES)
    return Departed(draw(instances()), addresses, draw(st.none() | COUNTS) if addresses else None)


@st.composite
def maps(draw: Any) -> Map:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return Map(draw(TEXTS), draw(TEXTS), draw(VERSIONS),
               tuple(draw(gateways(name, number)) for number, name in enumerate(names, 1)),
               tuple(draw(ana_groups(number)) for number in range(1, draw(st.integers(0, 2)) + 1)),
               tuple({d.instance: d for d in draw(st.lists(departures(), max_size=2))}.values()),
               draw(TIMINGS), draw(st.floats(0, 1e9)), draw(COUNTS),
               disasters=tuple(Disaster(name, draw(st.booleans()))
                               for name in draw(st.lists(TEXTS, unique=True, max_size=2))))


FEW_TEXTS = st.lists(TEXTS, max_size=2).map(tuple)
NOTES = st.builds(Notes, TEXTS, FEW_TEXTS, FEW_TEXTS, COUNTS,
                  st.lists(st.tuples(COUNTS, COUNTS), max_size=2).map(tuple), st.floats(0, 1e9), st.floats(0, 1e9))


@st.composite
def beacons(draw: Any) -> Beacon:
    name = draw(st.sampled_from(NAMES))
    own = instances(st.just(name))
    said = st.builds(Confirmation, COUNTS, VERSIONS, st.sampled_from(list(Outcome)))
    return Beacon(name, draw(st.none() | own), draw(COUNTS), draw(VERSIONS), draw(st.sampled_from(list(TargetState))),
                  draw(st.booleans()), draw(TEXTS), draw(ADDRESSES), tuple(draw(st.lists(said, max_size=2))),
                  tuple(draw(st.lists(own, max_size=2))), draw(TEXTS), draw(st.none() | SUBSYSTEMS), draw(COUNTS),
                  draw(COUNTS), tuple(draw(st.lists(TEXTS, max_size=2))), draw(NOTES))


ACKS = st.builds(wire.Ack, VERSIONS, st.integers(0, 10 ** 6).map(lambda ms: ms / 1000),
                 st.lists(TEXTS, max_size=3).map(tuple), st.dictionaries(TEXTS, TEXTS, max_size=3), st.booleans(), COUNTS)
SOSES = st.builds(wire.Sos, TEXTS, st.none() | instances(), COUNTS, VERSIONS, st.booleans(), st.booleans(), st.booleans(),
                  st.booleans())
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5)


@settings(max_examples=60, deadline=None)
@given(maps())
def test_a_map_round_trips(value):
    assert wire.decode_map(wire.encode_map(value)) == value


@settings(max_examples=60, deadline=None)
@given(beacons())
def test_a_beacon_round_trips(value):
    assert wire.decode_beacon(wire.encode_beacon(value)) == value


@settings(max_examples=40, deadline=None)
@given(ACKS, SOSES, VERSIONS, gateways("gw1", 1), st.lists(departures(), max_size=2).map(tuple))
def test_an_ack_a_call_for_help_a_wake_up_and_a_record_round_trip(ack, sos, version, gateway, unfenced):
    assert wire.decode_ack(wire.encode_ack(ack)) == ack
    assert wire.decode_sos(wire.encode_sos(sos)) == sos
    assert wire.decode_wake(wire.encode_wake(version)) == version
    record = wire.GatewayRecord(gateway, unfenced)
    assert wire.decode_gateway_record(wire.encode_gateway_record(record)) == record


def read_or_refuse(name: str, data: Any) -> None:
    _, encode, decode = GOLDEN[name]
    try:
        value = decode(data)
    except wire.WireError:
        return
    assert encode(decode(encode(value))) == encode(value), "what was taken in can be passed on"


@pytest.mark.parametrize("name", GOLDEN)
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | TEXTS)
def test_garbage_is_refused_with_a_wire_error(name, data):
    read_or_refuse(name, data)


@pytest.mark.parametrize("name", GOLDEN)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_are_a_value_or_a_wire_error(name, data):
    sample, encode, _ = GOLDEN[name]
    damaged = bytearray(encode(sample))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at:at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    read_or_refuse(name, bytes(damaged))


@pytest.mark.parametrize("name", GOLDEN)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_field_of_any_other_json_value_is_a_value_or_a_wire_error(name, data):
    sample, encode, _ = GOLDEN[name]
    message = json.loads(encode(sample))
    place = message
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if isinstance(inner, (dict, list)) and inner and data.draw(st.booleans()):
            place = inner
            continue
        place[key] = data.draw(JSON)
        break
    read_or_refuse(name, json.dumps(message))
