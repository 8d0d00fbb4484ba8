"""Sends beacons to the mgr through the seat objects and hears its acks.

One beacon each `beacon_s` to the next seat in turn, so that a stalled placement group costs one in three; at once and
to all three when it matters (a confirmation is new, the gateway is suspected, leaving, or its target was reaped).
While nobody answers, each beacon goes along with a call to the standby mgrs (`sos.py`).
librados' callbacks only hand the answer to the event loop. Promises: sequence numbers grow, also over restarts of this
process; an answer that is no ack is reported and otherwise ignored; a stalled object collects at most
`OUTSTANDING_PER_OBJECT` notifications.
"""
from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

import rados

from gw_agent import sos
from gw_agent.boot_clock import boottime_s
from nvmeof_ha_core import wire
from nvmeof_ha_core.events import Beacon
from nvmeof_ha_core.model import Subsystem

log = logging.getLogger(__name__)

OUTSTANDING_PER_OBJECT = 6
NOTIFY_TIMEOUT_MS = 2000
SILENCE_WORTH_A_WORD_S = 5.0
REFUSALS_KEPT = 32

SubsystemList = Optional[Tuple[Subsystem, ...]]


class Beacons:
    """Call `run` once; `soon` from anywhere in the loop."""

    def __init__(self, ioctx: "rados.Ioctx", build: Callable[[], Optional[Tuple[Beacon, SubsystemList]]],
                 seat_names: Callable[[], Tuple[str, ...]], acked: Callable[[Beacon, wire.Ack], None],
                 group: str) -> None:
        """`build`: the beacon without sequence and subsystem list, and that list (None: not known yet); None instead of
        both: nothing to say yet."""
        self._ioctx = ioctx
        self._build = build
        self._seat_names = seat_names
        self._acked = acked
        self._sos_name = sos.object_name(group)
        self._unanswered = sos.Unanswered()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._everywhere = False
        self._turn = 0
        self._sequence = 0
        self._outstanding: Dict[str, int] = {}
        self._full_wanted = True
        self._digest_sent = ""
        self._refused: List[str] = []
        self._heard_s = boottime_s()
        self._silent = False

    def soon(self, everywhere: bool = False) -> None:
        """Send one now; `everywhere`: to all seats."""
        self._everywhere = self._everywhere or everywhere
        self._wake.set()

    async def run(self, period_s: Callable[[], float], urgent: Callable[[], bool]) -> None:
        """Never returns. `urgent`: beacons go to all seats for now."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), period_s())
            except asyncio.TimeoutError:
                pass
            everywhere, self._everywhere = self._everywhere or urgent(), False
            self._wake.clear()
            self._send(everywhere, period_s())

    def _send(self, everywhere: bool, beacon_s: float) -> None:
        built, names = self._build(), self._seat_names()
        if built is None or not names:
            return
        beacon, subsystems = built
        self._sequence = max(self._sequence + 1, int(boottime_s() * 1e6))
        beacon = replace(beacon, sequence=self._sequence)
        if subsystems is not None and (self._full_wanted or beacon.digest != self._digest_sent):
            beacon = replace(beacon, subsystems=subsystems)
            self._digest_sent, self._full_wanted = beacon.digest, False
        text = wire.encode_beacon(beacon).decode()
        for name in names if everywhere else (self._next_seat(names),):
            self._notify(name, text, partial(self._answered, name, beacon))
        call = self._unanswered.sent(beacon, boottime_s(), beacon_s)
        if call is not None:
            self._notify(self._sos_name, wire.encode_sos(call).decode(), lambda acks: None)
        self._watch_silence()

    def _next_seat(self, names: Tuple[str, ...]) -> str:
        """In turn, leaving out those that are stalled."""
        for _ in names:
            self._turn += 1
            name = names[self._turn % len(names)]
            if self._outstanding.get(name, 0) < OUTSTANDING_PER_OBJECT:
                break
        return name

    def _notify(self, name: str, text: str, answered: Callable[[List[Any]], None]) -> None:
        if self._outstanding.get(name, 0) >= OUTSTANDING_PER_OBJECT:
            return

        def done(completion: Any, code: int, acks: Optional[List[Any]], timeouts: Optional[List[Any]]) -> None:
            self._loop.call_soon_threadsafe(ended, acks or [])

        def ended(acks: List[Any]) -> None:
            self._outstanding[name] -= 1
            answered(acks)

        self._outstanding[name] = self._outstanding.get(name, 0) + 1
        try:
            self._ioctx.aio_notify(name, done, text, NOTIFY_TIMEOUT_MS)
        except rados.Error as error:
            self._outstanding[name] -= 1
            log.warning("no notification could be sent to %s: %s", name, error)

    def _answered(self, name: str, beacon: Beacon, acks: List[Any]) -> None:
        for _, _, payload in acks:
            if not payload:
                continue
            try:
                ack = wire.decode_ack(payload)
            except wire.WireError as error:
                log.warning("the answer to a beacon on %s is no ack: %s", name, error)
                continue
            self._take(beacon, ack)

    def _take(self, beacon: Beacon, ack: wire.Ack) -> None:
        if self._silent:
            log.info("the mgr answers beacons again")
        self._heard_s, self._silent = boottime_s(), False
        self._unanswered.acked(ack)
        if beacon.gateway in ack.want_full:
            self._full_wanted = True
        for who in (beacon.gateway, str(beacon.instance)):
            why = ack.refused.get(who)
            if why is not None and why not in self._refused:
                self._refused = (self._refused + [why])[-REFUSALS_KEPT:]
                log.warning("the mgr does not take beacons of %s: %s", who, why)
        self._acked(beacon, ack)

    def _watch_silence(self) -> None:
        silence_s = boottime_s() - self._heard_s
        if silence_s > SILENCE_WORTH_A_WORD_S and not self._silent:
            self._silent = True
            log.warning("no mgr has answered a beacon for %.0f s; I/O goes on while the seats can be read. Is the module enabled and a mgr "
                        "active? (`ceph -s`)", silence_s)
