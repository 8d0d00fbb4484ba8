"""One group's driver in a loop, as others see it: they start and stop it, ask it and read what it says."""

from __future__ import annotations

import itertools
import logging
from queue import Empty, Queue
from typing import Any, Callable, Dict, Optional, Sequence

from .bounded import Turns
from .core.actions import Reply
from .core.events import Command
from .core.model import Map
from .core.soft import State
from .driver import NOBODY, GroupDriver
from .driver_loop import DriverLoop
from .history import History
from .kv_records import GroupKey, Records
from .measures import Measured
from .mon import MonCommands
from .options import Options
from .osd_dumps import OsdDumps
from .rados_ops import RadosIo
from .status import Status
from .takeover import Identity


class RunningDriver:
    """``start`` it once; ``stop`` and ``join`` end it.  Everything here is called by other threads."""

    def __init__(self, loop: DriverLoop, key: GroupKey, identity: Identity, cluster: Any, mon: MonCommands, osd_dumps: OsdDumps,
                 records: Records, options: Options, log: logging.Logger, repair_with: Optional[Sequence[Map]] = None) -> None:
        """``cluster``: the mgr's own ``rados.Rados``.  ``repair_with``: as ``GroupDriver``'s."""
        self._slot = loop.slot()
        self._requests = itertools.count(NOBODY + 1)
        self._waiters: Dict[int, Queue] = {}
        self._io = RadosIo(cluster, self._slot.put, f"nvmeof_ha.{key}")
        self.history = History(key, records, log, lambda name, value: self._driver.keep(name, value),
                               repaired=repair_with is not None)
        self._driver = GroupDriver(key, identity, mon, osd_dumps, records, options, log, self._io, self._slot.put, self._answer,
                                   watch=self.history.watch, repair_with=repair_with)
        self._slot.turns = self._body()

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
        self._slot.put(None)

    def stop(self) -> None:
        self._driver.stop()

    def join(self, timeout_s: float) -> bool:
        """True when the driver, its watches and its operations have ended: else librados must not be torn down."""
        return self._slot.ended.wait(timeout_s) and not self._io.outstanding

    def set_options(self, options: Options) -> None:
        self._driver.set_options(options)

    def osd_map_changed(self) -> None:
        self._driver.osd_map_changed()

    def request(self, make: Callable[[int], Command], timeout_s: float) -> Optional[Reply]:
        """Give a command to the core and wait for its reply; None: it did not come in time."""
        request_id = next(self._requests)
        replies: Queue[Reply] = Queue()
        self._waiters[request_id] = replies
        self._slot.put(make(request_id))
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

    def _body(self) -> Turns[None]:
        yield from self._in_turn(self._driver.body())
        yield from self._in_turn(self._io.operations_end())

    def _in_turn(self, turns: Turns[Any]) -> Turns[Any]:
        """As ``turns``, which are sent completions as the calls that they stand for."""
        item = None
        while True:
            try:
                longest_s = turns.send(item)
            except StopIteration:
                return
            item = self._io.in_turn((yield longest_s))
