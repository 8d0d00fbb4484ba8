"""The JSON-RPC server: framing, batches, order of replies and the 4 ms polling of the real target.

A real target polls its RPC sockets every 4 ms: replies are sent, then requests are received. Here the grid of
ticks is kept but a tick only happens when something waits for it, so an idle server costs nothing. Sync methods
are answered in the tick that received them; async ones when they are done, which may be after later requests:
clients match by id.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Callable, Optional

from .json_text import Malformed, Members, Number, encode, first_value
from .rpc_errors import INVALID_REQUEST, RpcError

TICK_S = 0.004
MAX_CONNECTIONS = 64
BACKLOG = 512
RECEIVE_LIMIT = 256 * 1024
_NO_ID = object()

Execute = Callable[[str, Any, Callable[[Any, Optional[RpcError]], None]], None]


def _invalid_request() -> RpcError:
    return RpcError(INVALID_REQUEST, "Invalid request")


class _Request:
    """One call and where its reply goes: to the connection, or to the batch it came in."""

    def __init__(self, connection: _Connection, batch: Optional[_Batch]) -> None:
        self.connection = connection
        self.batch = batch
        self.id: Any = _NO_ID
        connection.outstanding += 1

    def finish(self, result: Any, error: Optional[RpcError]) -> None:
        self.connection.outstanding -= 1
        silent = self.id is _NO_ID or self.id is None
        text = None
        if error is not None:
            body = encode({"code": error.code, "message": error.message})
            text = f'{{"jsonrpc":"2.0","id":{encode(None if silent else self.id)},"error":{body}}}'
        elif not silent:
            text = f'{{"jsonrpc":"2.0","id":{encode(self.id)},"result":{encode(result)}}}'
        if self.batch is not None:
            self.batch.add(text)
        elif text is not None:
            self.connection.reply(text)
        self.connection.server.wake()


class _Batch:
    """Collects the replies of one array; it is answered when the last one is there."""

    def __init__(self, connection: _Connection, size: int) -> None:
        self.connection = connection
        self.missing = size
        self.replies: list[str] = []

    def add(self, text: Optional[str]) -> None:
        self.missing -= 1
        if text is not None:
            self.replies.append(text)
        if self.missing == 0 and self.replies:
            self.connection.reply("[" + ",".join(self.replies) + "]")


class _Connection:
    def __init__(self, server: RpcServer, sock: socket.socket) -> None:
        self.server = server
        self.socket = sock
        self.received = bytearray()
        self.to_send = bytearray()
        self.outstanding = 0
        self.readable = False
        self.ended = False
        self.closed = False
        self.watch()

    def watch(self) -> None:
        self.server.loop.add_reader(self.socket.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        self.server.loop.remove_reader(self.socket.fileno())
        self.readable = True
        self.server.wake()

    def reply(self, text: str) -> None:
        self.to_send += text.encode("utf-8", "surrogatepass") + b"\n"

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.server.loop.remove_reader(self.socket.fileno())
            self.socket.close()

    def send(self) -> None:
        try:
            while self.to_send:
                del self.to_send[: self.socket.send(self.to_send)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self.ended and self.outstanding == 0:
            self.close()

    def receive(self) -> None:
        self.readable = False
        try:
            data = self.socket.recv(RECEIVE_LIMIT - len(self.received))
        except BlockingIOError:
            self.watch()
            return
        except OSError:
            self.close()
            return
        if not data:
            self.ended = True
            return
        self.received += data
        try:
            self._split()
        except Malformed:
            self.close()
            return
        if len(self.received) >= RECEIVE_LIMIT:
            self.close()
        else:
            self.watch()

    def _split(self) -> None:
        text, is_whole = _decode(self.received)
        start = 0
        while True:
            found = first_value(text, start)
            if found is None:
                break
            value, start = found
            self._accept(value)
        if not is_whole:
            raise Malformed("invalid UTF-8")
        if start:
            self.received = bytearray(text[start:].encode())

    def _accept(self, value: Any) -> None:
        if isinstance(value, list) and not isinstance(value, Members):
            if not value:
                _Request(self, None).finish(None, _invalid_request())
                return
            batch = _Batch(self, len(value))
            for element in value:
                self._call(element, _Request(self, batch))
        else:
            self._call(value, _Request(self, None))

    def _call(self, value: Any, request: _Request) -> None:
        try:
            method, params = _call_of(value, request)
        except RpcError as error:
            request.finish(None, error)
            return
        self.server.execute(method, params, request.finish)


def _decode(received: bytearray) -> tuple[str, bool]:
    """The text up to the first byte that is no UTF-8, and whether that is all. A character cut short by the end of
    a read is no UTF-8 either.
    """
    try:
        return received.decode("utf-8"), True
    except UnicodeDecodeError as error:
        return received[: error.start].decode("utf-8"), False


def _call_of(value: Any, request: _Request) -> tuple[str, Any]:
    if not isinstance(value, Members):
        raise _invalid_request()
    names = value.names()
    method, identifier = value.get("method"), value.get("id", _NO_ID)
    if (
        len(set(names)) != len(names)
        or not set(names) <= {"jsonrpc", "id", "method", "params"}
        or value.get("jsonrpc", "2.0") != "2.0"
        or isinstance(method, Number)
        or not isinstance(method, str)
        or not (identifier is _NO_ID or identifier is None or isinstance(identifier, str))
    ):
        raise _invalid_request()
    request.id = identifier
    params = value.get("params")
    if params is not None and not isinstance(params, list):
        raise _invalid_request()
    return method, params


class RpcServer:
    """Serves a listening Unix socket. `execute(method, params, finish)` runs a call and calls finish(result,
    error) once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, execute: Execute) -> None:
        self.loop = loop
        self.execute = execute
        self._listener = listener
        self._connections: list[_Connection] = []
        self._epoch = loop.time()
        self._tick: Optional[asyncio.TimerHandle] = None
        self._acceptable = False
        listener.setblocking(False)
        self._watch_listener()

    def _watch_listener(self) -> None:
        self.loop.add_reader(self._listener.fileno(), self._on_acceptable)

    def _on_acceptable(self) -> None:
        self.loop.remove_reader(self._listener.fileno())
        self._acceptable = True
        self.wake()

    def wake(self) -> None:
        """Something waits for the next tick."""
        if self._tick is None:
            now = self.loop.time()
            ticks = int((now - self._epoch) / TICK_S) + 1
            self._tick = self.loop.call_at(self._epoch + ticks * TICK_S, self._poll)

    def _poll(self) -> None:
        self._tick = None
        if self._acceptable and len(self._connections) < MAX_CONNECTIONS:
            self._accept()
        for connection in self._connections:
            if connection.to_send or connection.ended:
                connection.send()
            if connection.readable and not connection.closed:
                connection.receive()
        self._connections = [connection for connection in self._connections if not connection.closed]
        if self._needs_tick():
            self.wake()

    def _needs_tick(self) -> bool:
        if self._acceptable and len(self._connections) < MAX_CONNECTIONS:
            return True
        return any(c.to_send or c.readable or (c.ended and c.outstanding == 0) for c in self._connections)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            self._acceptable = False
            self._watch_listener()
            return
        sock.setblocking(False)
        self._connections.append(_Connection(self, sock))

    def close(self) -> None:
        """Replies that wait for their tick are still sent."""
        self.loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for connection in self._connections:
            connection.send()
            connection.close()
        if self._tick is not None:
            self._tick.cancel()
