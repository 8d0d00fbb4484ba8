"""What a context waits for: the list of its requests to OSDs, from the admin socket of its RADOS client.

The client's own thread in the target answers, not the target's: asking takes no turn on the JSON-RPC socket, waits for
no reactor, and works while I/O hangs. Promises: `SocketPath.of` names a path that fits in a socket address, or none;
`requests` ends within `ANSWER_S`. Does not promise: that a target which was started by an older release has the
socket.
"""
from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import struct
from typing import Any, Dict, List, Optional

from gw_agent.io_progress import ASK_FOR_MAP_S, CLIENT_TICK_S, Place, Request
from gw_agent.option_readers import SOCKET_PATH_LIMIT_BYTES

ANSWER_S = 1.0
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
READ_BYTES = 64 * 1024
HEADER = struct.Struct(">I")
"""The length of the answer that follows."""
QUESTION = json.dumps({"prefix": "objecter_requests", "format": "json"}).encode() + b"\0"
LOCATOR = re.compile(r"@(\d+)(?:;([^:]*))?(?::(.*))?", re.DOTALL)


class NotTold(Exception):
    """The client did not tell what it waits for; the text says why."""


def socket_path(run_dir: str, context: str) -> str:
    """Where the context's client is to answer; "" (it has no socket then) where `run_dir` is too long for one."""
    path = os.path.join(run_dir, f"{context}.asok")
    return path if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT_BYTES else ""


def client_options(run_dir: str, context: str) -> Dict[str, str]:
    """What the context's client must be configured with, so that what `io_progress.py` says of it holds."""
    return {"admin_socket": socket_path(run_dir, context), "objecter_timeout": f"{ASK_FOR_MAP_S:g}",
            "objecter_tick_interval": f"{CLIENT_TICK_S:g}"}


async def requests(path: str) -> List[Request]:
    """All that the client at this socket waits for, but for what it holds back itself (a full or paused cluster) and
    what has no OSD to go to. Raises NotTold."""
    try:
        listed = json.loads(await asyncio.wait_for(_ask(path), ANSWER_S))
        return [found for found in map(_request, listed["ops"]) if found is not None]
    except asyncio.TimeoutError:
        raise NotTold(f"{path} gave no answer within {ANSWER_S:g} s") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise NotTold(f"{path} cannot be used: {type(error).__name__} {error}") from None


async def _ask(path: str) -> bytes:
    """By a socket alone: a stream for each answer would cost more than twice as much."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, path)
        await loop.sock_sendall(connection, QUESTION)
        length, = HEADER.unpack(await _exactly(connection, HEADER.size))
        if length > LARGEST_ANSWER_BYTES:
            raise ValueError(f"an answer of {length} bytes")
        return await _exactly(connection, length)


async def _exactly(connection: socket.socket, size: int) -> bytes:
    """Raises EOFError."""
    loop, got = asyncio.get_running_loop(), bytearray()
    while len(got) < size:
        some = await loop.sock_recv(connection, min(READ_BYTES, size - len(got)))
        if not some:
            raise EOFError(f"the answer ends {size - len(got)} bytes too early")
        got += some
    return bytes(got)


def _request(op: Dict[str, Any]) -> Optional[Request]:
    if op["osd"] < 0 or op["paused"]:
        return None
    locator = LOCATOR.fullmatch(op["object_locator"])
    if locator is None:
        raise ValueError(f"object locator {op['object_locator']!r}")
    pool_id, namespace, key = locator.groups(default="")
    return Request(int(op["tid"]), int(op["attempts"]), int(op["osd"]),
                   Place(int(pool_id), namespace, key, str(op["object_id"])))
