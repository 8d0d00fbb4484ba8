"""RADOS as the control plane and the data path see it: placement groups, guarded omap writes, watch and notify.

Facts followed (facts on ceph-mgr, sections 0, 4 and 5): a guarded omap write is atomic and fails with ECANCELED, or
ENOENT without its object; an operation is never cancelled, so one that was given up may land late; a read waits behind
an unfinished write of the same object; a blocklisted client is refused (ESHUTDOWN) by an OSD that has the map, and an
OSD learns of a map from any client that has it; the watch of a dead client goes on delaying notifiers until it times
out; bytes returned by a watch callback reach the notifier.
"""

from __future__ import annotations

import errno
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from nvmeof_ha.core import register
from nvmeof_ha.objects import Create, ObjectWrite, Relation

from .mons import Mons
from .network import Network
from .processes import World

OP_S = (0.001, 0.02)
SLOW_OP_S = (0.001, 0.6)
WATCH_TIMEOUT_S = 15.0
EXPIRE_EVERY_S = 0.5

Omap = Dict[str, bytes]


class Client:
    """One RADOS client: the address that would be blocklisted, and the newest OSD map that it has."""

    def __init__(self, place: str, address: str) -> None:
        self.place, self.address = place, address
        self.osd_epoch = 1


class _Op(NamedTuple):
    client: Client
    name: str
    writes: bool
    act: Callable[[], Any]
    ended: Callable[[Any], None]


class PlacementGroup:
    """Takes operations in order.  ``stalled``: nothing is done; ``half``: reads go on, not behind a waiting write."""

    def __init__(self, mons: Mons) -> None:
        self._mons = mons
        self.osd_epoch = 1
        self.stalled = self.half = False
        self._waiting: List[_Op] = []

    def take(self, op: _Op) -> None:
        if self.stalled or self.half and (op.writes or any(w.name == op.name for w in self._waiting)):
            self._waiting.append(op)
        else:
            self._do(op)

    def _do(self, op: _Op) -> None:
        self.osd_epoch = max(self.osd_epoch, op.client.osd_epoch)
        fence = self._mons.fenced.get(op.client.address)
        refused = fence is not None and fence <= self.osd_epoch
        op.ended(-errno.ESHUTDOWN if refused else op.act())

    def heal(self) -> None:
        self.stalled = self.half = False
        waiting, self._waiting = self._waiting, []
        for op in waiting:
            self._do(op)


class Watcher(NamedTuple):
    """``hear(notifier, data, answer)`` runs in the watcher's process; ``answer`` takes the ack's bytes."""

    client: Client
    hear: Callable[[int, bytes, Callable[[bytes], None]], None]
    alive: Callable[[], bool]


class ControlObjects:
    """The objects that hold one group's map, with their placement groups: one for each seat and its probe, one for the
    rest."""

    def __init__(self, world: World, network: Network, mons: Mons) -> None:
        self._world, self._network, self._mons = world, network, mons
        self.groups = [PlacementGroup(mons) for _ in range(register.SEATS + 1)]
        self.op_s = OP_S
        self.omaps: Dict[str, Omap] = {}
        self.watchers: Dict[str, List[Watcher]] = {}
        self._open: List[Tuple[float, "_Notice"]] = []

    def _group(self, name: str) -> PlacementGroup:
        number = seat_number(name)
        return self.groups[register.SEATS if number is None else number]

    def _send(self, client: Client, name: str, writes: bool, act: Callable[[], Any],
              ended: Callable[[Any], None]) -> None:
        def answer(result: Any) -> None:
            self._network.carry("osds", client.place, 0.0, ended, result)
        self._network.carry(client.place, "osds", self._world.between(self.op_s), self._group(name).take,
                            _Op(client, name, writes, act, answer))

    def write(self, client: Client, name: str, what: ObjectWrite, ended: Callable[[int], None]) -> None:
        self._send(client, name, True, lambda: self.apply(name, what), ended)

    def apply(self, name: str, what: ObjectWrite) -> int:
        """One atomic write, now; 0 or a negative errno."""
        found = self.omaps.get(name)
        if what.create is Create.EXCLUSIVE and found is not None:
            return -errno.EEXIST
        if what.guard is not None:
            if found is None and what.create is None:
                return -errno.ENOENT
            stored, value = (found or {}).get(what.guard.key, b""), what.guard.value
            if not (stored < value if what.guard.relation is Relation.LOWER else stored == value):
                return -errno.ECANCELED
        self.omaps[name] = {**(found or {}), **what.omap}
        return 0

    def read(self, client: Client, name: str, ended: Callable[[int, Omap], None]) -> None:
        def act() -> Tuple[int, Omap]:
            found = self.omaps.get(name)
            return (-errno.ENOENT, {}) if found is None else (0, found)

        def told(result: Any) -> None:
            ended(*(result if isinstance(result, tuple) else (result, {})))
        self._send(client, name, False, act, told)

    # -- watch and notify -------------------------------------------------------------------------------------------

    def watch(self, client: Client, name: str, watcher: Watcher, ended: Callable[[int], None]) -> None:
        def act() -> int:
            if name not in self.omaps:
                return -errno.ENOENT
            self.watchers.setdefault(name, []).append(watcher)
            return 0
        self._send(client, name, True, act, ended)

    def unwatch(self, name: str, watcher: Watcher) -> None:
        if watcher in self.watchers.get(name, []):
            self.watchers[name].remove(watcher)

    def lose_watches(self, client: Client) -> None:
        """The OSDs drop a dead client's watches once those time out."""
        for name, watchers in self.watchers.items():
            self.watchers[name] = [w for w in watchers if w.client is not client]

    def notify(self, client: Client, name: str, data: bytes, timeout_s: float,
               ended: Callable[[int, List[bytes]], None]) -> None:
        """Between OSD and watcher it is lost now and then, or comes twice, which stands for all that a broken session
        does to it; the notifier hears of its time-out then."""
        notice = _Notice(self, client, name, data, timeout_s, ended)
        self._network.carry(client.place, "osds", 0.0, self._group(name).take,
                            _Op(client, name, False, notice.act, notice.sent))

    def deliver(self, notice: "_Notice") -> None:
        for watcher in self.watchers.get(notice.name, []):
            self._network.tell("osds", watcher.client.place, self._hear, watcher, notice)
        self._open.append((self._world.now + notice.timeout_s, notice))
        if len(self._open) == 1:
            self._world.later(EXPIRE_EVERY_S, self._expire)

    def _hear(self, watcher: Watcher, notice: "_Notice") -> None:
        if not watcher.alive():
            return

        def answer(ack: bytes) -> None:
            self._network.tell(watcher.client.place, "osds", notice.answered, ack)
        watcher.hear(id(notice.client), notice.data, answer)

    def finish(self, notice: "_Notice", code: int) -> None:
        self._network.carry("osds", notice.client.place, 0.0, notice.ended, code, notice.acks)

    def _expire(self) -> None:
        for deadline_s, notice in self._open:
            if deadline_s <= self._world.now:
                notice.expired()
        self._open = [(deadline_s, notice) for deadline_s, notice in self._open if not notice.over]
        if self._open:
            self._world.later(EXPIRE_EVERY_S, self._expire)


class _Notice:
    """One notification under way.  It ends when every watcher has answered, or after its time-out."""

    def __init__(self, objects: ControlObjects, client: Client, name: str, data: bytes, timeout_s: float,
                 ended: Callable[[int, List[bytes]], None]) -> None:
        self._objects, self.client, self.name, self.data = objects, client, name, data
        self.timeout_s, self.ended = timeout_s, ended
        self.acks: List[bytes] = []
        self._left = 0
        self.over = False

    def act(self) -> int:
        if self.name not in self._objects.omaps:
            return -errno.ENOENT
        self._left = len(self._objects.watchers.get(self.name, []))
        return 0

    def sent(self, code: int) -> None:
        """The OSD has taken it, or refused it."""
        if code or not self._left:
            self._finish(code)
            return
        self._objects.deliver(self)

    def answered(self, ack: bytes) -> None:
        self.acks.append(ack)
        self._left -= 1
        if self._left <= 0:
            self._finish(0)

    def expired(self) -> None:
        self._finish(-errno.ETIMEDOUT)

    def _finish(self, code: int) -> None:
        if not self.over:
            self.over = True
            self._objects.finish(self, code)


class Stallable:
    """What is in one placement group, as faults and tests reach for it."""

    def __init__(self, group: PlacementGroup) -> None:
        self._group = group

    @property
    def stalled(self) -> bool:
        return self._group.stalled

    @stalled.setter
    def stalled(self, value: bool) -> None:
        self._group.stalled = value

    def heal(self) -> None:
        self._group.heal()


class Seat(Stallable):
    """One seat object."""

    def __init__(self, objects: ControlObjects, number: int) -> None:
        super().__init__(objects.groups[number])
        self._objects, self._number = objects, number

    def stall_writes(self) -> None:
        self._group.half = True

    def lose(self, whole: bool = True) -> None:
        """The object is gone, or what it holds."""
        for name in [n for n in self._objects.omaps if seat_number(n) == self._number]:
            del self._objects.omaps[name]
            if not whole:
                self._objects.omaps[name] = {}


class DataObject(Stallable):
    """The data of one ANA group: one object in one placement group, whose OSD lags behind the mons."""

    def __init__(self, mons: Mons) -> None:
        super().__init__(PlacementGroup(mons))

    def write(self, client: Client, act: Callable[[], int], ended: Callable[[int], None]) -> None:
        """Arrives now.  ``ended``: 0, or -ESHUTDOWN if the client is blocklisted in the map that this OSD has."""
        self._group.take(_Op(client, "", True, act, ended))


def seat_number(name: str) -> Optional[int]:
    """Of a seat object or its probe, which is in the same placement group."""
    _, found, rest = name.partition(".seat.")
    return int(rest.partition(".")[0]) if found else None
