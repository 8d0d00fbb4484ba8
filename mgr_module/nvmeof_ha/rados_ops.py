"""RADOS operations that cannot hang their caller: each is sent, and its end arrives in the caller's queue.

Promises: no call here waits for an OSD; the librados callback does nothing but put the completion into the queue (in a
sub-interpreter it runs in the wrong interpreter); what an operation needs stays alive until it ends.
An operation is never cancelled: one that was given up may still land, so every write here must be guarded or harmless.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Callable, Dict, Tuple

import rados

BuildWrite = Callable[[Any, Any], None]
Ended = Callable[[int], None]
Omap = Dict[str, bytes]

MOST_KEYS = 1000


def describe(code: int) -> str:
    """The name of a negative errno."""
    return errno.errorcode.get(-code, str(code))


@dataclass
class _UnderWay:
    completion: Any
    kept: Tuple[Any, ...]
    ended: Ended


class Operations:
    """The operations of one thread: it sends them, takes completions out of ``queue`` and hands them to ``finish``."""

    def __init__(self, queue: "SimpleQueue[Any]") -> None:
        self._put = queue.put
        self._under_way: Dict[int, _UnderWay] = {}

    def write(self, ioctx: Any, name: str, build: BuildWrite, ended: Ended) -> None:
        """One atomic write; ``build(ioctx, write_op)`` says what; ``ended`` gets 0 or a negative errno."""
        with rados.WriteOpCtx() as write_op:
            build(ioctx, write_op)
            self._send(lambda: ioctx.operate_aio_write_op(write_op, name, oncomplete=self._put), (write_op,), ended)

    def read_omap(self, ioctx: Any, name: str, ended: Callable[[int, Omap], None]) -> None:
        with rados.ReadOpCtx() as read_op:
            values, _ = ioctx.get_omap_vals(read_op, "", "", MOST_KEYS)

            def read(code: int) -> None:
                ended(code, dict(values) if code == 0 else {})
            self._send(lambda: ioctx.operate_aio_read_op(read_op, name, oncomplete=self._put), (read_op, values), read)

    def notify(self, ioctx: Any, name: str, message: str, timeout_ms: int, ended: Ended) -> None:
        put = self._put

        def told(completion: Any, _code: Any, _acks: Any, _timeouts: Any) -> None:
            put(completion)
        self._send(lambda: ioctx.aio_notify(name, told, message, timeout_ms), (told,), ended)

    def _send(self, send: Callable[[], Any], kept: Tuple[Any, ...], ended: Ended) -> None:
        try:
            completion = send()
        except rados.Error as error:
            code = -abs(error.errno or errno.EIO)
            self._put(lambda: ended(code))
        else:
            self._under_way[id(completion)] = _UnderWay(completion, kept, ended)

    def finish(self, completion: Any) -> None:
        """A completion came out of the queue: tell who waits for it."""
        operation = self._under_way.pop(id(completion), None)
        if operation is not None:
            operation.ended(completion.get_return_value())

    @property
    def outstanding(self) -> int:
        return len(self._under_way)
