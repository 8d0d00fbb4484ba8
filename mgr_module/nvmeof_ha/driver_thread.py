"""Runs one group's driver: a thread and a queue of its own, so groups do not wait for one another."""

from __future__ import annotations

import itertools
import logging
import threading
from queue import Empty, SimpleQueue
from typing import Any, Callable, Dict, Optional, Sequence

from .core.actions import Reply
from .core.events import Command
from .core.model import Map
from .core.soft import State
from .driver import NOBODY, GroupDriver
from .history import History
from .kv_records import GroupKey, Records
from .measures import Measured
from .mon import MonCommands
from .options import Options
from .rados_ops import RadosIo
from .status import Status
from .takeover import Identity


class DriverThread:
    """``start`` it once; ``stop`` and ``join`` end it.  Everything here is called by other threads."""

    def __init__(self, key: GroupKey, identity: Identity, cluster: Any, mon: MonCommands, records: Records,
                 options: Options, log: logging.Logger, repair_with: Optional[Sequence[Map]] = None) -> None:
        """``cluster``: the mgr's own ``rados.Rados``.  ``repair_with``: as ``GroupDriver``'s."""
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._requests = itertools.count(NOBODY + 1)
        self._waiters: Dict[int, SimpleQueue] = {}
        self._io = RadosIo(cluster, self._queue.put, f"nvmeof_ha.{key}")
        self.history = History(key, records, log, lambda name, value: self._driver.keep(name, value))
        self._driver = GroupDriver(key, identity, mon, records, options, log, self._io, self._queue.put, self._answer,
                                   watch=self.history.watch, repair_with=repair_with)
        self._thread = threading.Thread(target=self._run, name=f"nvmeof_ha.{key}", daemon=True)

    @property
    def status(self) -> Status:
        return self._driver.status

    @property
    def state(self) -> Optional[State]:
        """As of the driver's last step: a value that does not change; None until the group was taken over."""
        return self._driver.state

    def measured(self) -> Measured:
        return self._driver.measured()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._driver.stop()

    def join(self, timeout_s: float) -> bool:
        """True when the driver, its watches and its operations have ended: else librados must not be torn down."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._io.outstanding

    def set_options(self, options: Options) -> None:
        self._driver.set_options(options)

    def osd_map_changed(self) -> None:
        self._driver.osd_map_changed()

    def request(self, make: Callable[[int], Command], timeout_s: float) -> Optional[Reply]:
        """Give a command to the core and wait for its reply; None: it did not come in time."""
        request_id = next(self._requests)
        replies: SimpleQueue[Reply] = SimpleQueue()
        self._waiters[request_id] = replies
        self._queue.put(make(request_id))
        try:
            return replies.get(timeout=timeout_s)
        except Empty:
            return None
        finally:
            self._waiters.pop(request_id, None)

    def _answer(self, reply: Reply) -> None:
        waiter = self._waiters.get(reply.request_id)
        if waiter is not None:
            waiter.put(reply)

    def _run(self) -> None:
        body = self._driver.body()
        item = None
        while True:
            try:
                longest_s = body.send(item)
            except StopIteration:
                self._io.let_operations_end(self._queue)
                return
            try:
                item = self._io.in_turn(self._queue.get(timeout=longest_s))
            except Empty:
                item = None
