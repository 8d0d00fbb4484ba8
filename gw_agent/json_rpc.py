"""The framing of JSON-RPC to an SPDK target: requests to bytes, bytes to replies, replies to results or errors.

No I/O, and no asyncio: the warden shares it with the agent and stays small. Promises: a reply is never cut or joined
wrongly. Does not promise an order: a target answers an asynchronous request after a later synchronous one, so replies
are matched by id (`spdk_rpc.py`, `target_channel.py`).
"""
from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

REQUEST_LIMIT_BYTES = 256 * 1024
"""A target resets the connection (and loses all replies on it) when one request is larger than its receive buffer."""


class RpcFailure(Exception):
    """A request without a result: `RpcError` (the target refused) or `RpcUnreachable` (no answer came)."""


class RpcError(RpcFailure):
    """The target answered with an error object. `code` and `message` are the target's."""

    def __init__(self, code: int, message: str, method: str, params: Optional[Dict[str, Any]] = None) -> None:
        self.code = code
        self.message = message
        self.method = method
        self.params = params
        asked = method if params is None else f"{method} {json.dumps(params, sort_keys=True)}"
        super().__init__(f"the target refused {asked}: {message} (code {code})")


class RpcUnreachable(RpcFailure):
    """No answer: the socket is missing, refuses or closed. Whether the request was carried out is not known."""


class RpcTimeout(RpcUnreachable):
    """No answer within the deadline, on a connection that is still open. The target may still carry the request out."""


def encode(request_id: int, method: str, params: Optional[Dict[str, Any]] = None) -> bytes:
    """One request as bytes. `params` is left out when None: some methods refuse even an empty object."""
    request: Dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
    if params is not None:
        request["params"] = params
    data = json.dumps(request, separators=(",", ":")).encode()
    if len(data) >= REQUEST_LIMIT_BYTES:
        raise ValueError(f"{method}: a request of {len(data)} bytes is more than a target accepts "
                         f"({REQUEST_LIMIT_BYTES}); split it")
    return data


class Decoder:
    """Cuts the byte stream of a target into replies; each reply is one JSON object that ends with a newline."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> List[Dict[str, Any]]:
        """The replies that `data` completes. Raises ValueError when the peer does not speak JSON-RPC."""
        self._rest += data
        if b"\n" not in data:
            return []
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        replies = [json.loads(line) for line in lines if line.strip()]
        for reply in replies:
            if not isinstance(reply, dict):
                raise ValueError(f"a JSON-RPC reply is an object, found {str(reply)[:80]!r}")
        return replies


def outcome(reply: Dict[str, Any], method: str, params: Optional[Dict[str, Any]]) -> Any:
    """The result of a reply, or (returned, not raised) its `RpcError`."""
    error = reply.get("error")
    if error is None:
        return reply.get("result")
    return RpcError(int(error.get("code", 0)), str(error.get("message", "")), method, params)
