"""JSON-RPC to an SPDK target over its Unix socket.

What for: the target polls its socket every 4 ms, so one request after the other costs about 8 ms each, while hundreds
of requests in one write cost little more than one. `pipeline` sends many in one write and matches the replies by id,
because a target answers an asynchronous request after a later synchronous one.

Promises: every request has a deadline; a lost connection answers every waiting request at once; a reply that comes
after its deadline is dropped, never taken for another request's. Does not promise: that a request which timed out was
not carried out (the target may still do it). It never reconnects by itself: a new connection may lead to a new
target, and only the caller knows what that means.

The framing is in `json_rpc.py`.
"""
from __future__ import annotations

import asyncio
import logging
from typing import Any, Dict, List, Optional, Sequence, Tuple

from gw_agent.json_rpc import (REQUEST_LIMIT_BYTES, Decoder, RpcError, RpcFailure, RpcTimeout, RpcUnreachable, encode,
                               outcome)

__all__ = ["REQUEST_LIMIT_BYTES", "Decoder", "Request", "RpcError", "RpcFailure", "RpcTimeout", "RpcUnreachable",
           "SpdkRpc", "encode", "outcome"]

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
READ_BYTES = 256 * 1024

Request = Tuple[str, Optional[Dict[str, Any]]]


class SpdkRpc:
    """A connection to one running target. Make it with `await SpdkRpc.connect(path)`; use it in one event loop."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.path = path
        self._reader = reader
        self._writer = writer
        self._next_id = 1
        self._waiting: Dict[int, "asyncio.Future[Dict[str, Any]]"] = {}
        self._lost: Optional[RpcUnreachable] = None
        self._receiver = asyncio.ensure_future(self._receive())

    @classmethod
    async def connect(cls, path: str, timeout_s: float = CONNECT_TIMEOUT_S) -> "SpdkRpc":
        """Connects once. Raises RpcUnreachable; a target that is still starting has no socket or refuses: try again."""
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_unix_connection(path), timeout_s)
        except asyncio.TimeoutError:
            raise RpcUnreachable(f"the RPC socket {path} took no connection within {timeout_s} s; is the target "
                                 "stopped, or are all of its 64 connections in use?") from None
        except FileNotFoundError:
            raise RpcUnreachable(f"there is no RPC socket {path}; start the target, or correct the option "
                                 "rpc_socket in section [spdk]") from None
        except OSError as error:
            raise RpcUnreachable(f"the RPC socket {path} cannot be used: {error.strerror or error}; if its target "
                                 "has ended, start it again") from None
        return cls(path, reader, writer)

    @property
    def closed(self) -> bool:
        """True once the connection is gone, whoever ended it."""
        return self._lost is not None

    async def wait_closed(self) -> RpcUnreachable:
        """Waits until the connection is gone and returns the reason."""
        await asyncio.wait([self._receiver])
        assert self._lost is not None
        return self._lost

    async def close(self) -> None:
        """Ends the connection; waiting requests are answered with RpcUnreachable."""
        self._fail(RpcUnreachable(f"the RPC connection to {self.path} was closed by this side"))
        self._receiver.cancel()
        await asyncio.wait([self._receiver])

    async def call(self, method: str, params: Optional[Dict[str, Any]] = None,
                   timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """One request. Raises RpcError, RpcUnreachable or RpcTimeout."""
        result, = await self.results([(method, params)], timeout_s)
        return result

    async def results(self, requests: Sequence[Request], timeout_s: float = CALL_TIMEOUT_S) -> List[Any]:
        """As `pipeline`, for requests that only count together. Raises the first failure."""
        replies = await self.pipeline(requests, timeout_s)
        for reply in replies:
            if isinstance(reply, RpcFailure):
                raise reply
        return replies

    async def pipeline(self, requests: Sequence[Request], timeout_s: float = CALL_TIMEOUT_S) -> List[Any]:
        """All requests in one write. Returns, in the order of the requests, each one's result or its RpcFailure.

        Raises nothing for a refused or unanswered request, so that the caller sees which of them succeeded: test
        each entry with `isinstance(entry, RpcFailure)`. `timeout_s` is the deadline of each request.
        """
        if self._lost is not None:
            return [self._lost for _ in requests]
        sent = self._send(requests)
        try:
            if sent:
                await asyncio.wait([future for _, future in sent], timeout=timeout_s)
            return [self._result(future, method, params, timeout_s)
                    for (_, future), (method, params) in zip(sent, requests)]
        finally:
            for request_id, future in sent:
                self._waiting.pop(request_id, None)
                future.cancel()

    def _send(self, requests: Sequence[Request]) -> List[Tuple[int, "asyncio.Future[Dict[str, Any]]"]]:
        loop = asyncio.get_running_loop()
        first_id = self._next_id
        data = b"".join(encode(first_id + n, method, params) for n, (method, params) in enumerate(requests))
        self._next_id += len(requests)
        sent = [(first_id + n, loop.create_future()) for n in range(len(requests))]
        self._waiting.update(sent)
        self._writer.write(data)
        return sent

    def _result(self, future: "asyncio.Future[Dict[str, Any]]", method: str, params: Optional[Dict[str, Any]],
                timeout_s: float) -> Any:
        if not future.done():
            return RpcTimeout(f"{method}: no answer on {self.path} within {timeout_s} s; the target may still carry "
                              "it out, so read the state back before going on")
        failure = future.exception()
        return failure if failure is not None else outcome(future.result(), method, params)

    async def _receive(self) -> None:
        decoder = Decoder()
        reason = "the target closed it (it ended, or a request was not valid JSON)"
        try:
            while True:
                data = await self._reader.read(READ_BYTES)
                if not data:
                    break
                for reply in decoder.feed(data):
                    self._deliver(reply)
        except (OSError, ValueError) as error:
            reason = str(error)
        self._fail(RpcUnreachable(f"the RPC connection to {self.path} is gone: {reason}; connect again once the "
                                  "target runs"))

    def _deliver(self, reply: Dict[str, Any]) -> None:
        request_id = reply.get("id")
        future = self._waiting.pop(request_id, None) if isinstance(request_id, int) else None
        if future is not None and not future.done():
            future.set_result(reply)
        elif request_id is None:
            log.error("the target at %s could not read one of our requests: %s", self.path, reply.get("error"))
        else:
            log.warning("an answer on %s came after its deadline (request %s)", self.path, request_id)

    def _fail(self, lost: RpcUnreachable) -> None:
        if self._lost is None:
            self._lost = lost
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(lost)
        self._writer.close()
