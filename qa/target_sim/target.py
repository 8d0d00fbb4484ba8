"""The NVMe-oF target: transports, portals (listening sockets), subsystems, and where each command goes."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Callable, Optional

from .controller import Controller
from .io_queue import IoQueue
from .keyring import Keyring
from .nvme_format import (
    AUTHENTICATION_REQUIRED,
    CONNECT_INVALID_HOST,
    CONNECT_INVALID_PARAM,
    FABRICS,
    FABRICS_CONNECT,
    FABRICS_PROPERTY_GET,
    FABRICS_PROPERTY_SET,
    INCOMPATIBLE_FORMAT,
    INTERNAL_ERROR,
    INVALID_FIELD,
    INVALID_OPCODE,
    INVALID_QUEUE_ID,
    MAX_QUEUE_DEPTH,
    MAX_QUEUE_PAIRS,
    Command,
)
from .nvme_tcp import Connection
from .subsystem import DISCOVERY_NQN, OPTIMIZED, Address, InvalidChange, Listener, Referral, Subsystem, is_valid_nqn

CONNECT_DATA_SIZE = 1024
DYNAMIC_CNTLID = 0xFFFF
AUTHENTICATE = 1 << 17
"""In the answer to a connect: the host has to, before it may do anything else."""
LISTEN_BACKLOG = 512
# Where a refused connect parameter stands: in the command (offset) or in its data (bit 16 and offset).
IN_DATA = 1 << 16
QID_OFFSET, SQSIZE_OFFSET, CNTLID_OFFSET, SUBNQN_OFFSET, HOSTNQN_OFFSET = (
    42,
    44,
    IN_DATA | 16,
    IN_DATA | 256,
    IN_DATA | 512,
)


def _port(service: str) -> int:
    """Raises ValueError for what is no TCP port."""
    port = int(service)
    if not 0 < port < 1 << 16:
        raise ValueError(f"{service} is no TCP port")
    return port


class TlsOnly(asyncio.Protocol):
    """In the place of a connection at a secure listener: whoever does not begin TLS is sent away. TLS itself this
    stand-in does not speak.
    """

    def connection_made(self, transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.close()


class Portal:
    """A listening socket, shared by the listeners of several subsystems."""

    def __init__(self, address: Address, accepted: Callable[[], asyncio.Protocol]) -> None:
        """Binds at once. Raises OSError."""
        family = socket.AF_INET6 if address.adrfam == "IPv6" else socket.AF_INET
        self.users = 0
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._server: Optional[asyncio.AbstractServer] = None
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address.traddr, _port(address.trsvcid)))
            self._socket.listen(LISTEN_BACKLOG)
        except (OSError, ValueError) as error:
            self._socket.close()
            raise OSError(str(error)) from error
        self._accepted = accepted

    async def serve(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            self._accepted, sock=self._socket, backlog=LISTEN_BACKLOG
        )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._socket.close()


class NvmfTarget:
    def __init__(self) -> None:
        self.transports: dict[str, dict[str, Any]] = {}
        self.discovery = Subsystem(DISCOVERY_NQN, allow_any_host=True)
        self.subsystems: dict[str, Subsystem] = {DISCOVERY_NQN: self.discovery}
        self.keyring = Keyring()
        self.referrals: list[Referral] = []
        self.discovery_generation = 0
        self.connections: set[Connection] = set()
        self.totals = {"admin_qpairs": 0, "io_qpairs": 0}
        self._portals: dict[Address, Portal] = {}

    # configuration

    def find_subsystem(self, nqn: str) -> Optional[Subsystem]:
        return self.subsystems.get(nqn)

    def add_subsystem(self, subsystem: Subsystem) -> None:
        """Raises InvalidChange."""
        if subsystem.nqn in self.subsystems or not is_valid_nqn(subsystem.nqn):
            raise InvalidChange
        self.subsystems[subsystem.nqn] = subsystem

    async def delete_subsystem(self, subsystem: Subsystem) -> None:
        await subsystem.stop()
        self.subsystems.pop(subsystem.nqn, None)
        for namespace in subsystem.namespaces.values():
            namespace.bdev.release()
        for listener in subsystem.listeners:
            self._leave_portal(listener.address)
        self.discovery_changed()

    async def add_listener(
        self, subsystem: Subsystem, address: Address, ana_state: int = OPTIMIZED, secure_channel: bool = False
    ) -> None:
        """Raises InvalidChange: listens there already, no such transport, or the address cannot be bound."""
        if address.trtype not in self.transports or subsystem.find_listener(address) is not None:
            raise InvalidChange
        if address not in self._portals:
            def connection() -> asyncio.Protocol:
                return Connection(address, self.dispatch, self.connections.add, self._connection_lost)

            try:
                portal = Portal(address, TlsOnly if secure_channel else connection)
            except OSError as error:
                raise InvalidChange from error
            self._portals[address] = portal
            await portal.serve()
        self._portals[address].users += 1
        subsystem.add_listener(Listener(address, subsystem.max_namespaces, ana_state, secure_channel))
        self.discovery_changed()

    async def remove_listener(self, subsystem: Subsystem, address: Address) -> None:
        """Disconnects the subsystem's controllers there. Raises InvalidChange."""
        listener = subsystem.find_listener(address)
        if listener is None:
            raise InvalidChange
        subsystem.listeners.remove(listener)
        await subsystem.disconnect(
            [controller for controller in subsystem.controllers.values() if controller.listener is listener]
        )
        self._leave_portal(address)
        self.discovery_changed()

    def _leave_portal(self, address: Address) -> None:
        portal = self._portals[address]
        portal.users -= 1
        if portal.users == 0:
            portal.close()
            del self._portals[address]

    def find_referral(self, asked: Referral) -> Optional[Referral]:
        """The one to this address and NQN."""
        return next((there for there in self.referrals if there[:2] == asked[:2]), None)

    def discovery_changed(self) -> None:
        self.discovery_generation += 1
        for controller in self.discovery.controllers.values():
            controller.events.discovery_log_changed()

    # commands

    def dispatch(self, command: Command) -> None:
        """Admin and Fabrics commands wait while their subsystem changes; I/O only while its namespace does."""
        queue = command.connection.queue
        if isinstance(queue, IoQueue) and command.opcode != FABRICS:
            queue.execute(command)
            return
        if isinstance(queue, IoQueue):
            command.complete(INVALID_OPCODE)
            return
        subsystem = queue.subsystem if queue is not None else self._connecting_to(command)
        if subsystem is not None and subsystem.paused:
            subsystem.hold(self.dispatch, command)
        elif queue is not None and queue.must_authenticate:
            command.complete(AUTHENTICATION_REQUIRED)
        elif command.opcode == FABRICS:
            self._fabrics(command, queue)
        elif queue is not None:
            queue.admin(command)
        else:
            command.connection.close()

    def _connecting_to(self, command: Command) -> Optional[Subsystem]:
        is_connect = command.opcode == FABRICS and command.nsid & 0xFF == FABRICS_CONNECT
        return self.find_subsystem(_text(command.data, 256)) if is_connect else None

    def _fabrics(self, command: Command, controller: Optional[Controller]) -> None:
        kind = command.nsid & 0xFF
        if kind == FABRICS_CONNECT and controller is None:
            self._connect(command)
        elif controller is None:
            command.connection.close()
        elif kind == FABRICS_PROPERTY_GET:
            controller.get_property(command)
        elif kind == FABRICS_PROPERTY_SET:
            controller.set_property(command)
        else:
            command.complete(INVALID_OPCODE)

    def _connect(self, command: Command) -> None:
        record_format, qid, size, _, kato_ms = struct.unpack_from("<HHHBxI", command.raw, 40)
        if len(command.data) < CONNECT_DATA_SIZE:
            command.complete(INVALID_FIELD)
            return
        subsystem = self.find_subsystem(_text(command.data, 256))
        hostnqn = _text(command.data, 512)
        listener = subsystem.find_listener(command.connection.address) if subsystem else None
        if subsystem is None or subsystem.gone:
            command.complete(CONNECT_INVALID_PARAM, dw0=SUBNQN_OFFSET)
        elif b"\0" not in command.data[512:736]:
            command.complete(CONNECT_INVALID_PARAM, dw0=HOSTNQN_OFFSET)
        elif not subsystem.allows_host(hostnqn) or (listener is None and not subsystem.is_discovery):
            command.complete(CONNECT_INVALID_HOST)
        elif record_format != 0:
            command.complete(INCOMPATIBLE_FORMAT)
        elif not 0 < size < MAX_QUEUE_DEPTH:
            command.complete(CONNECT_INVALID_PARAM, dw0=SQSIZE_OFFSET)
        elif qid == 0:
            self._connect_admin(command, subsystem, listener, hostnqn, kato_ms, size)
        else:
            self._connect_io(command, subsystem, listener, qid, size)

    def _connect_admin(
        self,
        command: Command,
        subsystem: Subsystem,
        listener: Optional[Listener],
        hostnqn: str,
        kato_ms: int,
        size: int,
    ) -> None:
        (asked,) = struct.unpack_from("<H", command.data, 16)
        if asked != DYNAMIC_CNTLID:
            command.complete(CONNECT_INVALID_PARAM, dw0=CNTLID_OFFSET)
            return
        cntlid = subsystem.new_cntlid()
        if cntlid is None:
            command.complete(INTERNAL_ERROR)
            return
        controller = Controller(
            self, subsystem, listener, cntlid, hostnqn, command.data[:16], kato_ms, command.connection
        )
        subsystem.controllers[cntlid] = controller
        command.connection.queue, command.connection.queue_size = controller, size + 1
        self.totals["admin_qpairs"] += 1
        command.complete(dw0=cntlid | (AUTHENTICATE if controller.must_authenticate else 0))

    def _connect_io(
        self, command: Command, subsystem: Subsystem, listener: Optional[Listener], qid: int, size: int
    ) -> None:
        (cntlid,) = struct.unpack_from("<H", command.data, 16)
        controller = subsystem.controllers.get(cntlid)
        if controller is None:
            command.complete(CONNECT_INVALID_PARAM, dw0=CNTLID_OFFSET)
        elif (
            not controller.is_enabled
            or qid >= MAX_QUEUE_PAIRS
            or subsystem.is_discovery
            or (subsystem.ana_reporting and listener is not controller.listener)
        ):
            command.complete(CONNECT_INVALID_PARAM, dw0=QID_OFFSET)
        elif qid in controller.io_queues:
            command.complete(INVALID_QUEUE_ID)
        else:
            controller.io_queues[qid] = command.connection
            command.connection.queue, command.connection.queue_size = IoQueue(controller), size + 1
            self.totals["io_qpairs"] += 1
            command.complete(dw0=cntlid)

    def _connection_lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        for subsystem in self.subsystems.values():
            for controller in list(subsystem.controllers.values()):
                if controller.admin_connection is connection:
                    controller.end()
                for qid, queue in list(controller.io_queues.items()):
                    if queue is connection:
                        del controller.io_queues[qid]

    def stats_json(self) -> dict:
        kinds = [connection.queue for connection in self.connections]
        io_queues = sum(isinstance(queue, IoQueue) for queue in kinds)
        unassociated = kinds.count(None)
        return {
            **self.totals,
            "current_admin_qpairs": len(kinds) - io_queues - unassociated,
            "current_io_qpairs": io_queues,
            "current_unassociated_qpairs": unassociated,
            "pending_bdev_io": 0,
            "completed_nvme_io": IoQueue.completed,
        }


def _text(data: bytes, offset: int) -> str:
    """A NUL-terminated name in the connect data."""
    return data[offset : offset + 256].split(b"\0", 1)[0].decode("utf-8", "replace")
