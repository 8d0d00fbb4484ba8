"""One NVMe/TCP connection: PDUs in and out.

It turns capsules into Commands, fetches write data (in the capsule, or by one R2T for the whole length), and
sends completions and read data. What a command means is decided elsewhere (`dispatch`). Digests are not
offered.
"""

from __future__ import annotations

import asyncio
from typing import Callable, Optional

from .nvme_format import (
    C2H_DATA,
    C2H_TERM_REQ,
    CAPSULE_CMD,
    CAPSULE_HEADER_SIZE,
    CAPSULE_RESP,
    DATA_HEADER,
    DATA_HEADER_SIZE,
    FLAG_LAST,
    FLAG_SUCCESS,
    H2C_DATA,
    H2C_TERM_REQ,
    IC_RESPONSE,
    IC_SIZE,
    ICREQ,
    ICRESP,
    MAX_IO_SIZE,
    MAX_QUEUE_DEPTH,
    PDU_HEADER,
    PDU_HEADER_SIZE,
    R2T,
    RESPONSE,
    RESPONSE_SIZE,
    SGL_IN_CAPSULE,
    SGL_LENGTH_INVALID,
    SGL_TRANSPORT,
    SGL_TYPE_INVALID,
    SUCCESS,
    TERM_DATA_OUT_OF_RANGE,
    TERM_INVALID_HEADER,
    TERM_REQUEST,
    TERM_SEQUENCE_ERROR,
    Command,
)
from .subsystem import Address

MAX_PDU_SIZE = CAPSULE_HEADER_SIZE + MAX_IO_SIZE + 4096


class ProtocolError(Exception):
    """The host broke the transport's rules: the connection is terminated with this fatal error status."""

    def __init__(self, status: int, offset: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.offset = offset


class Connection(asyncio.Protocol):
    """`queue` and `queue_size` are set by a successful Fabrics connect.

    A connection that the target closes while I/O of it is in flight stays open, deaf and mute, until that I/O
    is done: its host notices nothing before.
    """

    def __init__(
        self,
        address: Address,
        dispatch: Callable[[Command], None],
        on_open: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.address = address
        self.queue = None
        self.queue_size = MAX_QUEUE_DEPTH
        self._dispatch = dispatch
        self._on_open = on_open
        self._on_lost = on_lost
        self._transport: Optional[asyncio.Transport] = None
        self._initialized = False
        self._closing = False
        self._in_flight = 0
        self._lost: Optional[asyncio.Future] = None
        self._data_offset = DATA_HEADER_SIZE
        self._padding = b""
        self._pending = bytearray()
        self._needed = PDU_HEADER_SIZE
        self._transfers: dict[int, Command] = {}
        self._next_tag = 0
        self._sq_head = 0

    # asyncio's side

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._on_open(self)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._transport = None
        self._closing = True
        if self._lost is not None:
            self._lost.set_result(None)
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._pending:
            self._pending += data
            if len(self._pending) < self._needed:
                return
            data = bytes(self._pending)
            self._pending.clear()
        try:
            used = self._parse(data)
        except ProtocolError as error:
            self._terminate(error)
            return
        if used < len(data):
            self._pending += data[used:] if used else data

    # incoming

    def _parse(self, data: bytes) -> int:
        """Handles the whole PDUs at the start of `data` and returns how long they were."""
        position, available = 0, len(data)
        self._needed = PDU_HEADER_SIZE
        while available - position >= PDU_HEADER_SIZE and not self._closing:
            kind, flags, header_size, data_offset, size = PDU_HEADER.unpack_from(data, position)
            if not PDU_HEADER_SIZE <= size <= MAX_PDU_SIZE:
                raise ProtocolError(TERM_INVALID_HEADER, 4, f"PDU of {size} bytes")
            if available - position < size:
                self._needed = size
                break
            if kind == CAPSULE_CMD and self._initialized:
                self._capsule(data, position, data_offset, size)
            elif kind == H2C_DATA and self._initialized:
                self._h2c_data(data, position, data_offset, size)
            elif kind == ICREQ and not self._initialized:
                self._initialize(data, position, size)
            elif kind == H2C_TERM_REQ:
                self.close()
            else:
                raise ProtocolError(TERM_SEQUENCE_ERROR, 0, f"PDU type {kind} was not expected now")
            position += size
        return position

    def _initialize(self, data: bytes, position: int, size: int) -> None:
        if size != IC_SIZE:
            raise ProtocolError(TERM_INVALID_HEADER, 4, f"ICReq of {size} bytes")
        alignment = min(data[position + 10], 31)
        step = (alignment + 1) * 4
        self._data_offset = (DATA_HEADER_SIZE + step - 1) // step * step
        self._padding = bytes(self._data_offset - DATA_HEADER_SIZE)
        self._initialized = True
        self._send(IC_RESPONSE.pack(ICRESP, 0, IC_SIZE, 0, IC_SIZE, 0, alignment, 0, MAX_IO_SIZE))

    def _capsule(self, data: bytes, position: int, data_offset: int, size: int) -> None:
        if size < CAPSULE_HEADER_SIZE:
            raise ProtocolError(TERM_INVALID_HEADER, 4, f"command capsule of {size} bytes")
        command = Command(self, data[position + PDU_HEADER_SIZE : position + CAPSULE_HEADER_SIZE])
        if not command.length or not command.sends_data():
            self._dispatch(command)
        elif command.sgl_type == SGL_IN_CAPSULE:
            start = position + (data_offset or CAPSULE_HEADER_SIZE)
            if start + command.length > position + size:
                command.complete(SGL_LENGTH_INVALID)
                return
            command.data = data[start : start + command.length]
            self._dispatch(command)
        elif command.sgl_type != SGL_TRANSPORT:
            command.complete(SGL_TYPE_INVALID)
        elif command.length > MAX_IO_SIZE:
            command.complete(SGL_LENGTH_INVALID)
        else:
            self._request_data(command)

    def _request_data(self, command: Command) -> None:
        while self._next_tag in self._transfers:
            self._next_tag = (self._next_tag + 1) & 0xFFFF
        tag = self._next_tag
        self._next_tag = (tag + 1) & 0xFFFF
        self._transfers[tag] = command
        self._send(DATA_HEADER.pack(R2T, 0, DATA_HEADER_SIZE, 0, DATA_HEADER_SIZE, command.cid, tag, 0, command.length))

    def _h2c_data(self, data: bytes, position: int, data_offset: int, size: int) -> None:
        if size < DATA_HEADER_SIZE:
            raise ProtocolError(TERM_INVALID_HEADER, 4, f"H2CData of {size} bytes")
        _, _, _, _, _, cid, tag, offset, length = DATA_HEADER.unpack_from(data, position)
        command = self._transfers.get(tag)
        if command is None or command.cid != cid:
            raise ProtocolError(
                TERM_INVALID_HEADER, 8, f"H2CData for command {cid}, transfer tag {tag}, which asked for none"
            )
        if offset != command.received or offset + length > command.length or data_offset + length > size:
            raise ProtocolError(
                TERM_DATA_OUT_OF_RANGE,
                12,
                f"H2CData at {offset}, {length} bytes, {command.received} of {command.length} were received",
            )
        part = data[position + data_offset : position + data_offset + length]
        command.received += length
        if command.received == command.length and command.buffer is None:
            command.data = part
        else:
            command.buffer = command.buffer or bytearray()
            command.buffer += part
        if command.received == command.length:
            del self._transfers[tag]
            if command.buffer is not None:
                command.data = bytes(command.buffer)
            self._dispatch(command)

    # outgoing

    def complete(self, command: Command, status: int, dw0: int, dw1: int, data: bytes) -> None:
        """Read data that needs no further word from the controller carries the success flag instead of a response."""
        if self._closing:
            return
        self._sq_head = (self._sq_head + 1) % self.queue_size
        if data and status == SUCCESS:
            flags = FLAG_LAST if dw0 or dw1 else FLAG_LAST | FLAG_SUCCESS
            offset = self._data_offset
            header = DATA_HEADER.pack(
                C2H_DATA, flags, DATA_HEADER_SIZE, offset, offset + len(data), command.cid, 0, 0, len(data)
            )
            self._send(header + self._padding + data)
            if flags & FLAG_SUCCESS:
                return
        self._send(
            RESPONSE.pack(
                CAPSULE_RESP, 0, RESPONSE_SIZE, 0, RESPONSE_SIZE, dw0, dw1, self._sq_head, 0, command.cid, status << 1
            )
        )

    def _send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def io_started(self) -> None:
        self._in_flight += 1

    def io_done(self) -> None:
        """Called when the command has been completed."""
        self._in_flight -= 1
        if self._closing:
            self.close()

    def _terminate(self, error: ProtocolError) -> None:
        self._send(TERM_REQUEST.pack(C2H_TERM_REQ, 0, 24, 0, 24, error.status, error.offset))
        self.close()

    def close(self) -> None:
        self._closing = True
        if self._transport is not None and self._in_flight == 0:
            if self._transport.get_write_buffer_size():
                self._transport.abort()
            else:
                self._transport.close()

    async def wait_closed(self) -> None:
        if self._transport is not None:
            self._lost = self._lost or asyncio.get_running_loop().create_future()
            await self._lost

    @property
    def is_open(self) -> bool:
        return not self._closing

    @property
    def peer(self) -> tuple[str, int]:
        return self._transport.get_extra_info("peername")[:2] if self._transport is not None else ("", 0)
