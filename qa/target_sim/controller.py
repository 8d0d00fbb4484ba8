"""One controller: the association of a host with a subsystem, made by a Fabrics connect on an admin queue and
ended with it.

Holds the properties (CC, CSTS), the keep-alive timer and the admin commands. I/O queues belong to it and go
when it goes.
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Callable, Optional

from . import identify, log_pages
from .events import ENABLE_ANA, ENABLE_DISCOVERY, ENABLE_NAMESPACE, Events
from .features import Features, rounded_kato_ms
from .nvme_format import (
    ABORTED_BY_REQUEST,
    ADMIN_ABORT,
    ADMIN_ASYNC_EVENT,
    ADMIN_GET_FEATURES,
    ADMIN_GET_LOG_PAGE,
    ADMIN_IDENTIFY,
    ADMIN_KEEP_ALIVE,
    ADMIN_SET_FEATURES,
    COMMAND_SEQUENCE_ERROR,
    CONNECT_INVALID_PARAM,
    INVALID_FIELD,
    INVALID_OPCODE,
    MAX_QUEUE_DEPTH,
    SUCCESS,
    Command,
)
from .subsystem import Listener, Namespace, Subsystem

if TYPE_CHECKING:
    from .nvme_tcp import Connection
    from .target import NvmfTarget

DISCOVERY_KATO_MS = 120000
RESET_TIMEOUT_UNITS = 30
CAPABILITIES = MAX_QUEUE_DEPTH - 1 | 1 << 16 | RESET_TIMEOUT_UNITS << 24 | 1 << 37 | 1 << 59
PROPERTY_CAP, PROPERTY_VS, PROPERTY_CC, PROPERTY_CSTS, PROPERTY_NSSR, PROPERTY_CRTO = 0x00, 0x08, 0x14, 0x1C, 0x20, 0x68
CC_ENABLE, CC_SHUTDOWN = 1 << 0, 3 << 14
CSTS_READY, CSTS_FATAL, CSTS_SHUTDOWN_COMPLETE = 1 << 0, 1 << 1, 2 << 2
NOT_ABORTED = 1
_DISCOVERY_COMMANDS = frozenset(
    (ADMIN_IDENTIFY, ADMIN_GET_LOG_PAGE, ADMIN_KEEP_ALIVE, ADMIN_SET_FEATURES, ADMIN_GET_FEATURES, ADMIN_ASYNC_EVENT)
)


class Controller:
    def __init__(
        self,
        target: NvmfTarget,
        subsystem: Subsystem,
        listener: Optional[Listener],
        cntlid: int,
        hostnqn: str,
        hostid: bytes,
        kato_ms: int,
        connection: Connection,
    ) -> None:
        self.target = target
        self.subsystem = subsystem
        self.listener = listener
        self.cntlid = cntlid
        self.hostnqn, self.hostid = hostnqn, hostid
        self.admin_connection = connection
        self.io_queues: dict[int, Connection] = {}
        self.must_authenticate = subsystem.keys_of(hostnqn).dhchap is not None
        self._cc = self._csts = 0
        self.kato_ms = rounded_kato_ms(kato_ms)
        enabled = ENABLE_NAMESPACE | (ENABLE_ANA if subsystem.ana_reporting else 0)
        if subsystem.is_discovery:
            enabled = ENABLE_DISCOVERY if kato_ms else 0
            self.kato_ms = self.kato_ms or DISCOVERY_KATO_MS
        self.events = Events(enabled)
        self.features = Features(self)
        self._last_keep_alive = 0.0
        self._keep_alive_timer: Optional[asyncio.TimerHandle] = None
        self._quiescing: Optional[asyncio.Task] = None
        self.start_keep_alive(self.kato_ms)

    @property
    def is_enabled(self) -> bool:
        return bool(self._cc & CC_ENABLE)

    def namespace(self, nsid: int) -> Optional[Namespace]:
        """The namespace if this host may see it."""
        namespace = self.subsystem.namespaces.get(nsid)
        return namespace if namespace is not None and namespace.is_visible(self.hostnqn) else None

    def ana_state(self, anagrpid: int) -> int:
        return self.listener.ana_state(anagrpid)

    # keep-alive and the end of the association

    def start_keep_alive(self, kato_ms: int) -> None:
        self.kato_ms = kato_ms
        self._stop_keep_alive()
        if kato_ms:
            loop = asyncio.get_running_loop()
            self._last_keep_alive = loop.time()
            self._keep_alive_timer = loop.call_later(kato_ms / 1000, self._check_keep_alive)

    def _stop_keep_alive(self) -> None:
        if self._keep_alive_timer is not None:
            self._keep_alive_timer.cancel()
            self._keep_alive_timer = None

    def _check_keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() > self._last_keep_alive + self.kato_ms / 1000:
            self._csts |= CSTS_FATAL
            self.disconnect()
        else:
            self._keep_alive_timer = loop.call_later(self.kato_ms / 1000, self._check_keep_alive)

    def disconnect(self) -> None:
        """Closes the connections; the controller ends when the admin one is gone."""
        self.disconnect_io_queues()
        self.admin_connection.close()

    def disconnect_io_queues(self) -> None:
        """A queue leaves the controller when its connection is closed."""
        for connection in self.io_queues.values():
            connection.close()

    def end(self) -> None:
        """The admin connection is gone."""
        self._stop_keep_alive()
        self.disconnect_io_queues()
        self.subsystem.controllers.pop(self.cntlid, None)

    # properties

    def get_property(self, command: Command) -> None:
        size = 8 if command.cdw10 & 7 == 1 else 4
        offset = command.cdw11
        values = {
            PROPERTY_CAP: CAPABILITIES,
            PROPERTY_CAP + 4: CAPABILITIES >> 32,
            PROPERTY_VS: identify.NVME_VERSION,
            PROPERTY_CC: self._cc,
            PROPERTY_CSTS: self._csts,
            PROPERTY_NSSR: 0,
            PROPERTY_CRTO: RESET_TIMEOUT_UNITS,
        }
        if offset not in values or (size == 8 and offset != PROPERTY_CAP) or command.cdw10 & 7 > 1:
            command.complete(CONNECT_INVALID_PARAM)
            return
        value = values[offset] & ((1 << size * 8) - 1)
        command.complete(dw0=value & 0xFFFFFFFF, dw1=value >> 32)

    def set_property(self, command: Command) -> None:
        offset, value = command.cdw11, command.cdw12
        if command.cdw10 & 7 != 0 or offset not in (PROPERTY_CC, PROPERTY_CSTS, PROPERTY_NSSR):
            command.complete(CONNECT_INVALID_PARAM)
            return
        if offset == PROPERTY_CC:
            self._set_configuration(value)
        command.complete()

    def _set_configuration(self, value: int) -> None:
        changed = value ^ self._cc
        self._cc = value
        if changed & CC_ENABLE:
            if value & CC_ENABLE:
                self._csts |= CSTS_READY
            else:
                self._quiesce(self._reset)
        if changed & CC_SHUTDOWN and value & CC_SHUTDOWN:
            self._stop_keep_alive()
            self._quiesce(self._shut_down)

    def _quiesce(self, then: Callable[[], None]) -> None:
        """CSTS shows a reset or shutdown as done when the I/O queues are gone, which takes as long as their I/O."""

        async def wait() -> None:
            for connection in list(self.io_queues.values()):
                await connection.wait_closed()
            then()

        self.disconnect_io_queues()
        self._quiescing = asyncio.get_running_loop().create_task(wait())

    def _reset(self) -> None:
        self._cc = self._csts = 0

    def _shut_down(self) -> None:
        self._csts |= CSTS_SHUTDOWN_COMPLETE

    # admin commands

    def admin(self, command: Command) -> None:
        opcode = command.opcode
        if command.fuse or (opcode in (ADMIN_ABORT, ADMIN_ASYNC_EVENT, ADMIN_KEEP_ALIVE) and command.nsid):
            command.complete(INVALID_FIELD)
        elif not self.is_enabled:
            command.complete(COMMAND_SEQUENCE_ERROR)
        elif self.subsystem.is_discovery and opcode not in _DISCOVERY_COMMANDS:
            command.complete(INVALID_OPCODE)
        elif opcode == ADMIN_KEEP_ALIVE:
            self._last_keep_alive = asyncio.get_running_loop().time()
            command.complete()
        elif opcode == ADMIN_ASYNC_EVENT:
            self.events.request(command)
        elif opcode == ADMIN_IDENTIFY:
            status, data = identify.answer(self, command)
            command.complete(status, data=data)
        elif opcode == ADMIN_GET_LOG_PAGE:
            status, data = log_pages.answer(self, command)
            command.complete(status, data=data)
        elif opcode == ADMIN_GET_FEATURES:
            status, result, data = self.features.get(command)
            command.complete(status, dw0=result, data=data)
        elif opcode == ADMIN_SET_FEATURES:
            status, result = self.features.set(command)
            command.complete(status, dw0=result)
        elif opcode == ADMIN_ABORT:
            self._abort(command)
        else:
            command.complete(INVALID_OPCODE)

    def _abort(self, command: Command) -> None:
        """Only waiting event requests can be aborted; I/O is in Ceph's hands and runs to its end."""
        queue_id, cid = command.cdw10 & 0xFFFF, command.cdw10 >> 16
        found = self.events.take_request(cid) if queue_id == 0 else None
        if found is not None:
            found.complete(ABORTED_BY_REQUEST)
        command.complete(SUCCESS, dw0=0 if found is not None else NOT_ABORTED)

    # what RPCs show

    def as_json(self) -> dict:
        hostid = "-".join(part.hex() for part in struct.unpack("4s2s2s2s6s", self.hostid))
        return {
            "cntlid": self.cntlid,
            "cntrltype": "discovery" if self.subsystem.is_discovery else "io",
            "hostnqn": self.hostnqn,
            "hostid": hostid,
            "num_io_qpairs": 1 + len(self.io_queues),
        }

    def connections(self) -> dict[int, Connection]:
        return {0: self.admin_connection, **self.io_queues}
