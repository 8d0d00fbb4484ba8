"""Claims about the reader that remembers beacons: it reads what the decoder without a memory reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha.core import beacon_reader, wire
from nvmeof_ha.core.beacon_reader import BeaconReader, is_routine
from nvmeof_ha.core.events import Beacon, Notes
from unit.test_core_wire_properties import COUNTS, beacons

BEACON = Beacon("gw1", None, 1, notes=Notes("0.1", io=((1, 10), (4, 20)), lease_left_s=1.5))
NUMBERS = st.sampled_from([b"0", b"7", b"1.5", b"007", b"-1", b"1e3", b"1.", b"99999999999", b"9" * 18, b"9" * 20, b'"x"',
                           b"null", b"true", b"[]"])


def outcome(read: Any, data: bytes) -> Any:
    """What was read, or the text of its refusal."""
    try:
        return read(data)
    except wire.WireError as error:
        return str(error)


@settings(max_examples=100, deadline=None)
@given(beacons(), COUNTS, COUNTS, st.floats(0, 1e9))
def test_a_beacon_that_was_heard_before_is_read_with_its_new_numbers(beacon, sequence, load, left_s):
    reader = BeaconReader()
    later = replace(beacon, sequence=sequence, load=load, notes=replace(beacon.notes, lease_left_s=left_s))
    for said in (beacon, later, beacon, later):
        assert reader.read(wire.encode_beacon(said)) == said


@settings(max_examples=100, deadline=None)
@given(beacons())
def test_a_beacon_is_routine_if_it_asks_for_nothing(beacon):
    asks = (beacon.confirmations or beacon.reaped or beacon.leaving or beacon.stuck or beacon.subsystems is not None)
    assert is_routine(wire.encode_beacon(beacon)) == (not asks)


def test_what_is_no_beacon_is_not_routine():
    assert is_routine(wire.encode_beacon(BEACON)) and not is_routine(b"canary:") and not is_routine(b"")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["connections", "load", "per_second", "sequence", "lease_left_s", "loop_lag_s"]), NUMBERS)
def test_whatever_stands_in_a_numbers_place_is_read_or_refused_as_without_a_memory(field, number):
    reader, data = BeaconReader(), wire.encode_beacon(BEACON)
    reader.read(data)
    before, mark, after = data.partition(b'"%s":' % field.encode())
    end = min(after.index(b","), after.index(b"}"))
    other = before + mark + number + after[end:]
    assert outcome(reader.read, other) == outcome(wire.decode_beacon, other)
    assert reader.read(data) == BEACON


@pytest.mark.parametrize("extra", [b'"extra":{"load":5}', b'"extra":{"lease_left_s":1,"loop_lag_s":2}', b'"load":5'])
def test_fields_of_the_same_names_elsewhere_are_not_taken_for_them(extra):
    reader = BeaconReader()
    without_notes = wire.encode_beacon(BEACON).replace(b'"notes"', b'"other"')
    for data in (wire.encode_beacon(BEACON), without_notes):
        for number in (b"5", b"6", b"7"):
            other = (data[:-1] + b"," + extra + b"}").replace(b"5", number)
            assert outcome(reader.read, other) == outcome(wire.decode_beacon, other)


def test_what_is_remembered_is_not_decoded_again_and_is_bounded():
    reader = BeaconReader()
    for sequence in range(3):
        reader.read(wire.encode_beacon(replace(BEACON, sequence=sequence)))
    with mock.patch.object(beacon_reader.wire, "decode_beacon", side_effect=AssertionError("it is known")):
        assert reader.read(wire.encode_beacon(replace(BEACON, sequence=3))).sequence == 3
    for number in range(3 * beacon_reader.MOST):
        reader.read(wire.encode_beacon(replace(BEACON, gateway=f"gw{number}")))
    assert len(reader._known) == beacon_reader.MOST
