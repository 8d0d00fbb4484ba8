"""Beacons that nobody answers, and what is then said to the standby mgrs.  Pure.

Promises: nothing is said before `UNANSWERED` beacons in a row, sent over as many beacon periods, went unanswered; and
nothing after the first answer.  A mgr whose driver hangs while its watch still answers does not answer.
"""
from __future__ import annotations

from typing import Optional

from nvmeof_ha_core import standby, wire
from nvmeof_ha_core.events import Beacon
from nvmeof_ha_core.model import NO_VERSION

UNANSWERED = 3
JITTER_S = 0.05


def object_name(group: str) -> str:
    """The object that the standby mgrs watch."""
    return f"nvmeof_ha.{group}.sos"


class Unanswered:
    """Told of each beacon that is sent and of each ack; times are boot-time seconds."""

    def __init__(self) -> None:
        self._last: Optional[wire.Ack] = None
        self._count = 0
        self._first_s = 0.0

    def acked(self, ack: wire.Ack) -> None:
        if standby.is_answer(ack):
            self._last, self._count = ack, 0

    def sent(self, beacon: Beacon, now_s: float, beacon_s: float) -> Optional[wire.Sos]:
        """What to say along with this beacon, if anything."""
        if self._count == 0:
            self._first_s = now_s
        self._count += 1
        if self._count <= UNANSWERED or now_s - self._first_s < UNANSWERED * beacon_s - JITTER_S:
            return None
        last = self._last or wire.Ack(NO_VERSION)
        return wire.Sos(beacon.gateway, beacon.instance, last.gid, last.version, target_dead=bool(beacon.reaped),
                        leaving=beacon.leaving, stuck=bool(beacon.stuck), stopping=last.stopping)
