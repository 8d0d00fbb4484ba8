"""One ceph-mgr with the module: the real driver of the gateway group, with its take-over, seats, probes, fencer, KV
writer and channel, in virtual time on a world's RADOS and mons.

What a mgr that begins finds in the mon KV store is what is stored there at that moment; it is blocklisted some time
after another one became the active one, and never knows by itself.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Callable, Dict, Optional, Tuple

from nvmeof_ha.core.actions import Reply
from nvmeof_ha.core.events import Command
from nvmeof_ha.core.model import Map
from nvmeof_ha.core.soft import State
from nvmeof_ha.core.timing import CLOCK_RATE_ERROR, Timing
from nvmeof_ha.driver import GroupDriver
from nvmeof_ha.kv_records import STORE_PREFIX, GroupKey, GroupRecord, Records, encode_group
from nvmeof_ha.mon import Answer
from nvmeof_ha.options import Options
from nvmeof_ha.osd_dumps import OsdDumps
from nvmeof_ha.takeover import Identity

from .ceph import WATCH_TIMEOUT_S, Client, ControlObjects
from .mgr_io import MgrIo
from .mons import Mons
from .processes import Body, Clock, Process, World

KEY = GroupKey("rbd", "g1")
PLACE = "mgr"


class Broken(AssertionError):
    """The driver stopped on an error of its own: an invariant, or an exception."""


def begin_group(mons: Mons, names: Tuple[str, ...] = ()) -> None:
    """The group is wanted; as the module stores it before its driver begins.  ``names``: of the seats, if they were
    chosen before a mgr died."""
    mons.kv[STORE_PREFIX + KEY.record_key] = encode_group(GroupRecord(seats=names))


class Mgr:
    def __init__(self, world: World, objects: ControlObjects, mons: Mons, timing: Timing,
                 stored: Callable[["Mgr"], None], repairs: Optional["Mgr"] = None) -> None:
        """``stored``: called when the driver knows of a newer committed map.  ``repairs``: not a new mgr, but that one,
        whose operator asked for a repair."""
        self._mons, self._stored = mons, stored
        repair_with = None
        if repairs is None:
            gid = 1000 + world.random.getrandbits(20)
            self._identity = Identity(gid, mons.new_active(gid, skipped=world.random.randint(0, 2)))
            clock = Clock(world, 1.0 + world.random.uniform(-1, 1) * CLOCK_RATE_ERROR)
            self.client = Client(PLACE, f"mgr/{gid}")
        else:
            self._identity, clock, self.client = repairs._identity, repairs.process.clock, repairs.client
            repair_with = [repairs.state.map] if repairs.state is not None else []
        self._objects, self._world, self._given_back = objects, world, False
        self.process = Process(world, f"mgr e{self._identity.map_epoch}", clock, self._gone)
        found = {key[len(STORE_PREFIX):]: value for key, value in mons.kv.items()}
        log = logging.Logger("mgr")
        log.addHandler(_Timeline(world, self.process.name))
        self._driver = GroupDriver(KEY, self._identity, self, OsdDumps(self, clock.now), Records(found), Options(timing), log,
                                   MgrIo(objects, mons, self.client, self.process), self.process.post, self._replied,
                                   clock.now, repair_with=repair_with)
        self.replies: Dict[int, Reply] = {}
        self.process.start(self._run())

    def _run(self) -> Body:
        body, item, committed = self._driver.body(), None, None
        while True:
            try:
                wait_s = body.send(item)
            except StopIteration:
                break
            if self._driver.status.committed is not committed:
                committed = self._driver.status.committed
                self._stored(self)
            item = yield wait_s
        if self._driver.status.broken:
            raise Broken(self._driver.status.stopped)

    def end(self) -> None:
        """As the module ends the driver of one group: it gives its watches back."""
        self._given_back = True
        self._driver.stop()

    def _gone(self) -> None:
        if not self._given_back:
            self._world.later(WATCH_TIMEOUT_S, self._objects.lose_watches, self.client)

    @property
    def seats_lost(self) -> bool:
        """An operator is told that nothing goes on without a repair."""
        return self.process.alive and not self.process.stopped and self._driver.status.most_seats_lost

    @property
    def waiting_for(self) -> str:
        """Why the group is not looked after yet."""
        return self._driver.status.waiting_for

    @property
    def working(self) -> bool:
        return self.process.alive and self._driver.status.running

    @property
    def committed(self) -> Optional[Map]:
        return self._driver.status.committed

    @property
    def state(self) -> Optional[State]:
        return self._driver.state

    def give(self, command: Command) -> None:
        """What an operator asks for."""
        self.process.post(command)

    def _replied(self, reply: Reply) -> None:
        self.replies[reply.request_id] = reply

    def issue(self, command: Dict[str, Any], done: Callable[[Answer], None]) -> None:
        """To the mons, for the driver."""
        self._mons.command(PLACE, command, lambda *answer: self.process.soon(done, 0.0, Answer(*answer)))

    def replaced(self, objects: ControlObjects) -> None:
        """Another one is the active mgr now."""
        self._mons.blocklist(self.client.address, partial(objects.lose_watches, self.client))


class _Timeline(logging.Handler):
    """What the driver logs is part of the timeline."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__()
        self._world, self._name = world, name

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note(f"{self._name}: {self.format(record)}")
