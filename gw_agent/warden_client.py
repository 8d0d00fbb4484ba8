"""The agent's end of the link to its warden: what the seats say, the lease, and which target runs.

Every seat read arrives here with its send time, so this keeps the same lease as the warden does, by the same rule
(`core/lease.py`). When the link ends the warden is gone, and so is the reason for this process.
"""
from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Any, Dict, Optional, Tuple

from gw_agent.boot_clock import boottime_s
from gw_agent.pulse import Pulse
from gw_agent.trace import NoTrace
from gw_agent.warden_link import ALIVE_S, FD_VARIABLE, Lines, SeatsReceiver, Status, encode
from nvmeof_ha_core import lease
from nvmeof_ha_core.model import Instance
from nvmeof_ha_core.register import NOTHING_SEEN, View, judge, merge
from nvmeof_ha_core.timing import Timing

log = logging.getLogger(__name__)

READ_BYTES = 1024 * 1024


class NoWarden(Exception):
    """This process was not started by a warden."""


def inherited_socket() -> socket.socket:
    """The agent's end. Raises NoWarden."""
    number = os.environ.get(FD_VARIABLE, "")
    if not number.isdigit():
        raise NoWarden(f"the agent is started by its warden ({FD_VARIABLE} is not set): run nvmeof-gw-warden")
    return socket.socket(fileno=int(number))


class WardenClient:
    """What the warden told last. `pulse` beats on every change."""

    def __init__(self, pulse: Pulse, trace: NoTrace) -> None:
        self.pulse = pulse
        self.trace = trace
        self.view: View = NOTHING_SEEN
        self.status = Status()
        self.seat_names: Tuple[str, ...] = ()
        self.lease_until_s = 0.0
        self.agreed_s: Optional[float] = None
        """When the last read was sent in which two seats agreed on a map, `view.permits` or an older one."""
        self.heard_s = boottime_s()
        self._seats = SeatsReceiver()
        self._fresh: Tuple[View, float] = (NOTHING_SEEN, 0.0)
        self._writer: Optional[asyncio.StreamWriter] = None

    @property
    def instance(self) -> Optional[Instance]:
        return self.status.instance

    @property
    def timing(self) -> Timing:
        return Timing() if self.view.permits is None else self.view.permits.timing

    @property
    def lease_left_s(self) -> float:
        """Not positive: the lease is over."""
        return self.lease_until_s - boottime_s()

    @property
    def lease_valid(self) -> bool:
        return self.trace.call(lease.valid, self.lease_until_s, boottime_s())

    @property
    def suspected(self) -> bool:
        return self.instance is not None and self.view.suspected(self.instance)

    @property
    def silent(self) -> bool:
        """The warden does not run (it was stopped, or hangs): nobody reads the seats for this gateway, or would kill its
        target. It then must not look well to the mgr, which would leave everything with it."""
        return boottime_s() - self.heard_s > self.timing.suspect_s - self.timing.beacon_s

    async def run(self, link: socket.socket) -> None:
        """Returns when the warden has closed the link."""
        link.setblocking(False)
        reader, self._writer = await asyncio.open_connection(sock=link)
        alive = asyncio.ensure_future(self._stay_alive())
        lines = Lines()
        try:
            while True:
                data = await reader.read(READ_BYTES)
                if not data:
                    return
                self.heard_s = boottime_s()
                for message in lines.feed(data):
                    self._take(message)
        finally:
            alive.cancel()

    def kill_target(self, instance: Instance, reason: str) -> None:
        """Ask the warden to kill the target of this instance."""
        log.error("asking the warden to kill the target: %s", reason)
        self._say("kill", instance=instance, reason=reason)

    def read_now(self) -> None:
        """Ask the warden to read the seats: something newer is there."""
        self._say("read")

    def told(self, reaped: Tuple[Instance, ...]) -> None:
        """The mgr acknowledged a beacon that named these as reaped."""
        self._say("told", instances=reaped)

    def _say(self, say: str, **fields: Any) -> None:
        if self._writer is not None:
            self._writer.write(encode(say, **fields))

    async def _stay_alive(self) -> None:
        while True:
            self._say("alive")
            await asyncio.sleep(ALIVE_S)

    def _take(self, message: Dict[str, Any]) -> None:
        say = message["say"]
        if say == "map":
            self._seats.take_map(message)
        elif say == "seats":
            self._take_seats(message)
        elif say == "status":
            self._take_status(Status.decode(message))
        elif say == "seat_names":
            self.seat_names = tuple(message["names"])
            self.pulse.beat()

    def _take_seats(self, message: Dict[str, Any]) -> None:
        sent_s, maps = self._seats.read(message)
        fresh = self.trace.call(judge, maps, self.view.version)
        self._fresh = (fresh, sent_s)
        if fresh.permits is not None:
            self.agreed_s = sent_s if self.agreed_s is None else max(self.agreed_s, sent_s)
        before, was_valid = self.view, self.lease_valid
        self.view = self.trace.call(merge, self.view, fresh)
        self._extend()
        if self.view != before or self.lease_valid != was_valid:
            self.pulse.beat()

    def _take_status(self, status: Status) -> None:
        if status.instance != self.status.instance:
            self.lease_until_s = 0.0
        self.status = status
        self._extend()
        self.pulse.beat()

    def _extend(self) -> None:
        if self.instance is not None:
            fresh, sent_s = self._fresh
            self.lease_until_s = self.trace.call(lease.extend, self.lease_until_s, fresh, self.instance, sent_s)
