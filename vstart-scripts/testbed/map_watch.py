"""Watches the gateway map in its seats, as a warden does, and tells what each new version changes.

Reads when the mgr says that there is a new version, and every `PERIOD_S` besides. A phase that lasted for less than
a read may go unseen: this is for a reader of the timeline, not for a proof.
"""

from __future__ import annotations

import threading
import time
from typing import List, Optional, Tuple

import rados

from gw_agent import rados_watch
from gw_agent.seat_reader import SeatReader, wake_name
from nvmeof_ha_core import register
from nvmeof_ha_core.model import Map, Phase

from .cluster import ADMIN, POOL, Cluster
from .map_changes import changes
from .observer import Observer
from .sampler import Tell

PERIOD_S = 0.5
CONTROL_NAMESPACE = 'nvmeof_ha'


class MapWatch(Observer):
    """`seen` has every map that two seats agreed on, with the time at which it was read."""

    def __init__(self, cluster: Cluster, group: str, tell: Tell) -> None:
        super().__init__('map watch', PERIOD_S)
        self._cluster = cluster
        self._group = group
        self._tell = tell
        self._something = threading.Event()
        self._new_version = False
        self._floor = register.NOTHING_SEEN.version
        self._next_read_s = 0.0
        self._client: Optional[rados.Rados] = None
        self._watch: Optional[int] = None
        self._reader: Optional[SeatReader] = None
        self.seen: List[Tuple[float, Map]] = []

    @property
    def latest(self) -> Optional[Map]:
        return self.seen[-1][1] if self.seen else None

    def first_seen(self, ana_group: int, phase: Phase, from_s: float) -> Optional[float]:
        """When a map was first read, from that time on, that has the ANA group in the phase."""
        for at_s, gateway_map in list(self.seen):
            group = gateway_map.ana_group(ana_group)
            if at_s >= from_s and group is not None and group.phase is phase:
                return at_s
        return None

    def look(self) -> None:
        if self._client is None:
            self._connect()
        assert self._reader
        now_s = time.monotonic()
        if self._new_version or now_s >= self._next_read_s:
            self._new_version = False
            self._next_read_s = now_s + PERIOD_S
            self._watch_wake_ups()
            self._reader.start_round(now_s)
        for found in self._reader.collect():
            view = register.judge(found.maps, self._floor)
            if view.permits is not None and (self.latest is None or view.permits.version > self.latest.version):
                self._take(view.permits, time.monotonic())

    def _take(self, found: Map, at_s: float) -> None:
        texts = changes(self.latest, found)
        self._floor = found.version
        self.seen.append((at_s, found))
        for text in texts:
            self._tell(f'map {found.version}: {text}', at_s)

    def pause(self, seconds: float) -> None:
        self._something.wait(seconds)
        self._something.clear()

    def stop(self) -> None:
        self._ended.set()
        self._something.set()
        super().stop()

    def close(self) -> None:
        if self._watch is not None:
            self._end(self._watch)
        if self._client is not None:
            self._client.shutdown()

    def _connect(self) -> None:
        self._client = rados.Rados(name=ADMIN, conffile=str(self._cluster.conf))
        self._client.connect()
        self._ioctx = self._client.open_ioctx(POOL)
        self._ioctx.set_namespace(CONTROL_NAMESPACE)
        self._reader = SeatReader(self._ioctx, self._group, self._something.set)

    def _watch_wake_ups(self) -> None:
        """Anew when the watch is lost (an OSD restarted); without it the period remains."""
        def woken(_notify_id: int, _notifier_id: int, _watch_id: int, _data: bytes) -> None:
            self._new_version = True
            self._something.set()
        try:
            if self._watch is not None:
                rados_watch.check(self._watch)
                return
        except rados.Error:
            lost, self._watch = self._watch, None
            self._end(lost)
        try:
            self._watch = rados_watch.begin(self._ioctx, wake_name(self._group), woken)
        except rados.Error:
            pass   # no such object before the mgr made the group

    def _end(self, watch: int) -> None:
        try:
            rados_watch.end(watch)
        except rados.Error:
            pass   # lost already
