"""Claims about the formats that cross between mgr and gateways; the golden files are in proto/wire."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nvmeof_ha.core import wire
from nvmeof_ha.core.events import Notes
from nvmeof_ha.core.model import Version

from .samples import GOLDEN

DIRECTORY = Path(__file__).parents[2] / "proto" / "wire"
MISSING = object()


def golden(name: str) -> bytes:
    return (DIRECTORY / f"{name}.json").read_bytes()


def changed(name: str, path: str, value: object) -> bytes:
    """The golden message with one field replaced, or left out (``MISSING``)."""
    message = json.loads(golden(name))
    *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    place = message
    for key in way:
        place = place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return json.dumps(message).encode()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_file_reads_as_the_sample_and_is_written_byte_for_byte(name):
    sample, encode, decode = GOLDEN[name]
    assert decode(golden(name)) == sample
    assert encode(sample) == golden(name)


def test_every_golden_file_is_tested():
    assert {p.stem for p in DIRECTORY.glob("*.json")} == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_newer_format_is_refused_by_its_number(name):
    with pytest.raises(wire.WireError, match="format 2, this release understands 1 only: upgrade the older side"):
        GOLDEN[name][2](changed(name, "format", 2))


@pytest.mark.parametrize("name, field", [(n, f) for n in GOLDEN
                                         for f in json.loads((DIRECTORY / f"{n}.json").read_text())
                                         if (n, f) not in (("beacon", "notes"), ("beacon_short", "notes"),
                                                           ("map", "disasters"), ("gateway_record", "unfenced"))])
def test_a_missing_field_is_named(name, field):
    with pytest.raises(wire.WireError, match=f"field '{field}' is missing"):
        GOLDEN[name][2](changed(name, field, MISSING))


def test_a_record_of_a_release_that_kept_no_unfenced_instances_is_understood():
    sample, _, decode = GOLDEN["gateway_record"]
    assert decode(changed("gateway_record", "unfenced", MISSING)) == sample._replace(unfenced=())


def test_an_agent_that_is_too_old_to_have_notes_is_understood():
    sample, _, decode = GOLDEN["beacon"]
    assert decode(changed("beacon", "notes", MISSING)) == replace(sample, notes=Notes())


@pytest.mark.parametrize("name", GOLDEN)
def test_an_unknown_field_is_ignored_so_that_a_newer_peer_may_add_some(name):
    sample, _, decode = GOLDEN[name]
    assert decode(changed(name, "of_tomorrow", [1])) == sample


def test_a_timer_of_tomorrow_is_ignored_too():
    sample, _, decode = GOLDEN["map"]
    assert decode(changed("map", "timing.naps_s", 1)) == sample


WRONG = [
    ("beacon", "exposed", ["n1"] * 17, "beacon.exposed: expected at most 16 texts of 300 characters, found a list"),
    ("beacon", "exposed.0", "x" * 301, "beacon.exposed: expected at most 16 texts of 300 characters, found a list"),
    ("map", "pool", 5, "map.pool: expected a text, found 5"),
    ("map", "version", [1], r"map.version: expected \[ballot, epoch\], found a list"),
    ("map", "version.0", -1, r"map.version\[0\]: expected a whole number from 0 to 2\*\*63, found -1"),
    ("map", "version.0", True, r"map.version\[0\]: expected a whole number from 0 to 2\*\*63, found true"),
    ("map", "lease_wait_s", "3", "map.lease_wait_s: expected a number from 0 to 1e9, found \"3\""),
    ("map", "lease_wait_s", float("nan"), "map.lease_wait_s: expected a number from 0 to 1e9, found NaN"),
    ("map", "lease_wait_s", 10 ** 400, "map.lease_wait_s: expected a number from 0 to 1e9, found 1000"),
    ("map", "timing", [], r"map.timing: expected an object, found a list"),
    ("map", "timing.lease_s", 0.5, "map.timing: lease_s = 0.5 s: must be at least 4"),
    ("map", "timing.lease_s", MISSING, "map.timing: field 'lease_s' is missing"),
    ("map", "gateways", {}, "map.gateways: expected a list, found an object"),
    ("map", "gateways.0", "gw1", r"map.gateways\[0\]: expected an object, found \"gw1\""),
    ("map", "gateways.0.availability", "FINE", r"gateways\[0\].availability: expected one of CREATED, AVAILABLE, SUSPECT"),
    ("map", "gateways.0.enabled", 1, r"map.gateways\[0\].enabled: expected true or false, found 1"),
    ("map", "gateways.0.ana_group_id", 40, r"map.gateways\[0\]: gateway gw1: ANA group id 40 is outside 1..32"),
    ("map", "gateways.0.ana_group_id", 2, r"map: ANA group ids used twice in rbd/g1: \[2, 2\]"),
    ("map", "gateways.1.subsystems.0.nqn", None, r"gateways\[1\].subsystems\[0\].nqn: expected a text, found null"),
    ("map", "ana_groups.0.phase", "DRAINING", r"map.ana_groups\[0\]: ANA group 1 is DRAINING with holder None"),
    ("map", "departed.0.addresses", [], r"map.departed\[0\]: gw1#1:0b3f cannot be fenced: it has no address"),
    ("beacon", "notes.problems", ["n1"] * 17, "beacon.notes.problems: expected at most 16 texts of 300 characters"),
    ("beacon", "notes.hung_moves.0", "x" * 301, "beacon.notes.hung_moves: expected at most 16 texts of 300 charact"),
    ("beacon", "notes.io", [{"ana_group": 1, "per_second": 1}] * 65, "beacon.notes.io: expected at most 64 pairs"),
    ("beacon", "notes.release", "r" * 129, "beacon.notes.release: expected a name of at most 128 characters"),
    ("beacon", "notes", None, "beacon.notes: expected an object, found null"),
    ("beacon", "gateway", "gw1", "gateway 'gw1' speaks of instance gw2#1:a7e0b2c4 of another gateway"),
    ("beacon", "reaped.0.gateway", "gw1", "gateway 'gw2' speaks of instance gw1#0:44aa of another gateway"),
    ("beacon", "target", "asleep", 'beacon.target: expected one of starting, serving, found "asleep"'),
    ("beacon", "confirmations.0.outcome", "done", "expected one of optimized, drained, declined"),
    ("beacon", "sequence", 1.5, r"beacon.sequence: expected a whole number from 0 to 2\*\*63, found 1.5"),
    ("beacon", "sequence", 2 ** 63 + 1, r"beacon.sequence: expected a whole number from 0 to 2\*\*63, found 92233720"),
    ("beacon", "gateway", "g" * 129, 'beacon.gateway: expected a name of at most 128 characters, found "ggg'),
    ("beacon", "instance.token", "t" * 129, "beacon.instance.token: expected a name of at most 128 characters"),
    ("ack", "refused", [], r"ack.refused: expected an object, found a list"),
    ("ack", "stopping", None, "ack.stopping: expected true or false, found null"),
    ("wake", "version", None, "wake-up.version: expected a list, found null"),
    ("gateway_record", "instance.number", "1", "gateway record.instance.number: expected a whole number from 0"),
]


@pytest.mark.parametrize("name, path, value, text", WRONG, ids=[f"{row[0]}.{row[1]}={row[2]!r}"[:50] for row in WRONG])
def test_a_wrong_value_is_named_with_its_place_and_what_was_expected(name, path, value, text):
    with pytest.raises(wire.WireError, match=text):
        GOLDEN[name][2](changed(name, path, value))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", "\ud800", b"[" * 100000, b"9" * 5000], ids=lambda d: repr(d)[:12])
def test_what_is_not_json_is_refused_as_such(data):
    with pytest.raises(wire.WireError, match="beacon: (not JSON|expected an object)"):
        wire.decode_beacon(data)


def test_json_nested_near_the_interpreters_limit_is_refused_like_any_other():
    for depth in range(sys.getrecursionlimit()):
        with pytest.raises(wire.WireError):
            wire.decode_beacon(b'{"format":' + b"[" * depth + b"]" * depth + b"}")


def test_a_json_value_that_is_no_object_is_refused():
    with pytest.raises(wire.WireError, match=r"map: expected an object, found a list"):
        wire.decode_map(b"[]")


def test_an_ack_of_the_initial_version_is_short_enough_for_a_watch_callback():
    assert len(wire.encode_ack(wire.Ack(Version(1, 1)))) < 128
