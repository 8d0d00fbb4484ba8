"""Reads beacons as ``wire.decode_beacon`` does, and remembers: a gateway that is well says the same again and again, but for
a few numbers.

Promises: what is read is what ``wire.decode_beacon`` would have read of the same bytes, or its ``WireError``.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import List, Optional

from . import wire
from .events import Beacon
from .soft import copied

MOST = 64
"""Beacons remembered, of all gateways of a group: twice as many as it may have."""
_LARGEST_S = 1e9

_NUMBER = re.compile(rb'("(?:connections|load|per_second|sequence|lease_left_s|loop_lag_s)":)'
                     rb'((?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,9})?)(?=[,}])')
"""A number that may differ, as JSON writes it.  No text holds the like: quotes are escaped there."""
_HERE = b"\0"
"""In place of such a number; no JSON has it."""


def is_routine(data: bytes) -> bool:
    """A beacon that asks for nothing: it is early enough to read it with the next tick.  Of what is no beacon, nothing is."""
    return (b'"confirmations":[]' in data and b'"reaped":[]' in data and b'"leaving":false' in data
            and b'"stuck":""' in data and b'"subsystems":null' in data)


class BeaconReader:
    """For the beacons of one group."""

    def __init__(self) -> None:
        self._known: "OrderedDict[bytes, Beacon]" = OrderedDict()

    def read(self, data: bytes) -> Beacon:
        """Raises ``WireError``."""
        parts = _NUMBER.split(data)
        numbers = parts[2::3]
        rest = _with(parts, [_HERE] * len(numbers))
        known = self._known.get(rest)
        found = None if known is None else _renumbered(known, numbers)
        if found is not None:
            return found
        beacon = wire.decode_beacon(data)
        if known is None and _only_these_differ(beacon, parts):
            self._known[rest] = beacon
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        return beacon


def _with(parts: List[bytes], numbers: List[bytes]) -> bytes:
    parts = list(parts)
    parts[2::3] = numbers
    return b"".join(parts)


def _only_these_differ(beacon: Beacon, parts: List[bytes]) -> bool:
    """Other numbers in these places, which can be read as the ones that were, are what ``_renumbered`` makes of them."""
    others = [b"%d" % number for number in range(1, len(parts[2::3]) + 1)]
    return wire.decode_beacon(_with(parts, others)) == _renumbered(beacon, others)


def _renumbered(beacon: Beacon, numbers: List[bytes]) -> Optional[Beacon]:
    """The beacon with these numbers, in the order in which an agent writes them; None where they are of another kind."""
    if len(numbers) != len(beacon.notes.io) + 5:
        return None
    connections, load, *rates, lease_left, loop_lag, sequence = numbers
    lease_left_s, loop_lag_s = float(lease_left), float(loop_lag)
    if max(lease_left_s, loop_lag_s) > _LARGEST_S or b"." in b"".join([connections, load, *rates, sequence]):
        return None
    io = tuple((group, int(rate)) for (group, _), rate in zip(beacon.notes.io, rates))
    return copied(beacon, connections=int(connections), load=int(load), sequence=int(sequence),
                  notes=copied(beacon.notes, io=io, lease_left_s=lease_left_s, loop_lag_s=loop_lag_s))
