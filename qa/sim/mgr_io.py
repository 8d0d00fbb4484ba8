"""RADOS as one mgr's driver reaches it (``nvmeof_ha.objects.GroupIo``), on the objects of this world.

Facts followed (facts on ceph-mgr, sections 0, 4 and 5): opening a pool needs only the OSD map that the client has; a
watch callback is a thread of its own, so it answers whatever the driver does, but not while the process is stopped; a
watch that cannot be made is tried again; a blocklisted client loses its watches.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any, Callable, Deque, Iterator, Tuple

from nvmeof_ha.core.beacon_reader import is_routine
from nvmeof_ha.objects import AckSource, Ended, LongEnded, ObjectWrite, OmapRead, describe

from .ceph import Client, ControlObjects, Watcher
from .mons import Mons
from .processes import Process

REWATCH_S = 0.5


class MgrIo:
    def __init__(self, objects: ControlObjects, mons: Mons, client: Client, process: Process) -> None:
        self._objects, self._mons, self._client, self._process = objects, mons, client, process
        self._kept: Deque[Tuple[int, int, bytes]] = deque()

    def _turn(self, ended: Callable[..., None]) -> Callable[..., None]:
        """Calls ``ended`` in the driver's turn."""
        return lambda *result: self._process.post(partial(ended, *result))

    def open(self, pool: str, locator: str, ended: LongEnded) -> None:
        self._turn(ended)((pool, locator))

    def wait_for_latest_osdmap(self, ended: LongEnded) -> None:
        def got(osd_epoch: int) -> None:
            self._client.osd_epoch = max(self._client.osd_epoch, osd_epoch)
            self._turn(ended)(None)
        self._mons.newest_osd_map(self._client.place, got)

    def write(self, _place: Any, name: str, what: ObjectWrite, ended: Ended) -> None:
        self._objects.write(self._client, name, what, self._turn(ended))

    def read_omap(self, _place: Any, name: str, ended: OmapRead) -> None:
        self._objects.read(self._client, name, self._turn(ended))

    def notify(self, _place: Any, name: str, text: str, timeout_ms: int, ended: Ended) -> None:
        self._objects.notify(self._client, name, text.encode(), timeout_ms / 1000,
                             lambda code, _acks: self._turn(ended)(code))

    def watch(self, seat: int, name: str, _place: Any, ack: AckSource) -> "SeatWatch":
        return SeatWatch(self._objects, self._client, self._process, self._kept.append, seat, name, ack)

    def routine(self) -> Iterator[Tuple[int, int, bytes]]:
        while self._kept:
            yield self._kept.popleft()


class SeatWatch:
    """Keeps one seat object watched."""

    def __init__(self, objects: ControlObjects, client: Client, process: Process, keep: Callable[[Any], None], seat: int,
                 name: str, ack: AckSource) -> None:
        self._objects, self._client, self._process = objects, client, process
        self._keep, self._seat, self._name, self._ack = keep, seat, name, ack
        self._watcher = Watcher(client, self._hear, lambda: process.alive)
        self._stopped = False
        self.problem = ""
        self._watch()

    def _watch(self) -> None:
        if not self._stopped:
            self._objects.watch(self._client, self._name, self._watcher,
                                lambda code: self._process.soon(self._watched, 0.0, code))

    def _watched(self, code: int) -> None:
        self.problem = f"seat object {self._name} cannot be watched: {describe(code)}" if code else ""
        if code:
            self._process.soon(self._watch, REWATCH_S)

    def _hear(self, notifier: int, data: bytes, answer: Callable[[bytes], None]) -> None:
        self._process.soon(self._heard, 0.0, notifier, data, answer)

    def _heard(self, notifier: int, data: bytes, answer: Callable[[bytes], None]) -> None:
        if is_routine(data):
            self._keep((self._seat, notifier, data))
        else:
            self._process.post((self._seat, notifier, data))
        answer(self._ack.text())

    def stop(self) -> None:
        self._stopped = True
        self._objects.unwatch(self._name, self._watcher)

    def poll(self) -> None:
        """The world says by itself when it is due."""
