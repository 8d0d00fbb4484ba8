"""RADOS for one group's driver (``objects.GroupIo``), through librados.

Promises: no call here waits for an OSD; the librados callback does nothing but put the completion into the queue (in a
sub-interpreter it runs in the wrong interpreter); what an operation needs stays alive until it ends; what librados
offers only in a blocking form runs in a thread of its own.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from queue import Empty
from typing import Any, Callable, Deque, Dict, Iterator, Tuple

import rados

from . import seat_names
from .bounded import Turns
from .objects import (AckSource, Create, Ended, LongEnded, NoSuchPool, ObjectWrite, OmapRead, Place, RadosFailed,
                      Relation)
from .seat_watch import SeatWatch

MOST_KEYS = 1000
OPERATIONS_END_S = 1.5
"""Longer than a notification takes that a watcher does not answer."""

_CREATE = {Create.EXCLUSIVE: rados.LIBRADOS_CREATE_EXCLUSIVE, Create.IDEMPOTENT: rados.LIBRADOS_CREATE_IDEMPOTENT}
_COMPARE = {Relation.LOWER: rados.LIBRADOS_CMPXATTR_OP_LT, Relation.EQUAL: rados.LIBRADOS_CMPXATTR_OP_EQ}


@dataclass
class _UnderWay:
    completion: Any
    kept: Tuple[Any, ...]
    ended: Ended


class RadosIo:
    """The operations of one driver: it sends them, and runs what ``in_turn`` makes of each item of its queue."""

    def __init__(self, cluster: Any, put: Callable[[Any], None], name: str) -> None:
        """``cluster``: the mgr's own ``rados.Rados``.  ``put``: into the driver's queue; it imports nothing, because
        callbacks may run in another interpreter.  ``name``: of the threads."""
        self._cluster, self._put, self._name = cluster, put, name
        self._under_way: Dict[int, _UnderWay] = {}
        self._routine: Deque[Tuple[int, int, bytes]] = deque()
        self._in_threads = 0

    def in_turn(self, item: Any) -> Any:
        """An item of the queue as the driver takes it: a completion becomes the call that tells who waits for it."""
        return partial(self._finish, item) if isinstance(item, rados.Completion) else item

    def open(self, pool: str, locator: str, ended: LongEnded) -> None:
        def open_ioctx() -> Any:
            try:
                ioctx = self._cluster.open_ioctx(pool)
            except rados.ObjectNotFound as error:
                raise NoSuchPool(str(error)) from None
            ioctx.set_namespace(seat_names.NAMESPACE)
            if locator:
                ioctx.set_locator_key(locator)
            return ioctx
        self._in_thread(open_ioctx, ended)

    def wait_for_latest_osdmap(self, ended: LongEnded) -> None:
        self._in_thread(self._cluster.wait_for_latest_osdmap, ended)

    def write(self, place: Place, name: str, what: ObjectWrite, ended: Ended) -> None:
        with rados.WriteOpCtx() as write_op:
            if what.create is not None:
                write_op.new(_CREATE[what.create])
            if what.guard is not None:
                write_op.omap_cmp(what.guard.key, what.guard.value.decode(), _COMPARE[what.guard.relation])
            if what.omap:
                place.set_omap(write_op, tuple(what.omap), tuple(what.omap.values()))
            if what.data is not None:
                write_op.write_full(what.data)
            self._send(lambda: place.operate_aio_write_op(write_op, name, oncomplete=self._put), (write_op,), ended)

    def read_omap(self, place: Place, name: str, ended: OmapRead) -> None:
        with rados.ReadOpCtx() as read_op:
            values, _ = place.get_omap_vals(read_op, "", "", MOST_KEYS)

            def read(code: int) -> None:
                ended(code, dict(values) if code == 0 else {})
            self._send(lambda: place.operate_aio_read_op(read_op, name, oncomplete=self._put), (read_op, values), read)

    def notify(self, place: Place, name: str, text: str, timeout_ms: int, ended: Ended) -> None:
        put = self._put

        def told(completion: Any, _code: Any, _acks: Any, _timeouts: Any) -> None:
            put(completion)
        self._send(lambda: place.aio_notify(name, told, text, timeout_ms), (told,), ended)

    def watch(self, seat: int, name: str, place: Place, ack: AckSource) -> SeatWatch:
        return SeatWatch(seat, name, place, self._put, self._routine.append, ack, self._in_thread)

    def routine(self) -> Iterator[Tuple[int, int, bytes]]:
        while self._routine:
            yield self._routine.popleft()

    @property
    def outstanding(self) -> int:
        """Operations that have not ended, and calls: of a watch, until it is made or given back."""
        return len(self._under_way) + self._in_threads

    def operations_end(self, within_s: float = OPERATIONS_END_S) -> Turns[bool]:
        """Until no operation is left, or for so long; returns which.  It is sent what ``in_turn`` makes of items.
        A client that is torn down under its operations takes the whole mgr with it (seen on 16.2.15)."""
        deadline = time.monotonic() + within_s
        while self.outstanding and time.monotonic() < deadline:
            item = yield max(0.0, deadline - time.monotonic())
            if callable(item):
                item()
        return not self.outstanding

    def let_operations_end(self, queue: Any, within_s: float = OPERATIONS_END_S) -> bool:
        """The same, for who has a ``queue`` and time to wait."""
        turns, item = self.operations_end(within_s), None
        while True:
            try:
                longest_s = turns.send(item)
            except StopIteration as ended:
                return ended.value
            try:
                item = self.in_turn(queue.get(timeout=longest_s))
            except Empty:
                item = None

    def _send(self, send: Callable[[], Any], kept: Tuple[Any, ...], ended: Ended) -> None:
        try:
            completion = send()
        except rados.Error as error:
            code = -abs(error.errno or errno.EIO)
            self._put(lambda: ended(code))
        else:
            self._under_way[id(completion)] = _UnderWay(completion, kept, ended)

    def _finish(self, completion: Any) -> None:
        operation = self._under_way.pop(id(completion), None)
        if operation is not None:
            operation.ended(completion.get_return_value())

    def _in_thread(self, function: Callable[[], Any], ended: LongEnded) -> None:
        def run() -> None:
            try:
                result = function()
            except rados.Error as error:
                result = RadosFailed(str(error))
            except Exception as error:  # the outermost frame of this thread: the driver raises it
                result = error
            self._put(lambda: back(result))

        def back(result: Any) -> None:
            self._in_threads -= 1
            ended(result)
        self._in_threads += 1
        threading.Thread(target=run, name=f"{self._name}.call", daemon=True).start()
