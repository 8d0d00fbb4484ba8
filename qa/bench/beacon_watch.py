"""Sees the beacons of a group as they go over the network, by watching the objects that they are sent through."""

from __future__ import annotations

from typing import List, Sequence, Tuple

import rados

from gw_agent import rados_watch
from nvmeof_ha.core import wire
from nvmeof_ha.core.events import Beacon
from testbed.cluster import POOL

NAMESPACE = 'nvmeof_ha'


class BeaconWatch:
    """A context manager.  `heard`: (size in bytes, beacon) of each, in the order of their arrival."""

    def __init__(self, client: rados.Rados, seats: Sequence[str]) -> None:
        self.heard: List[Tuple[int, Beacon]] = []
        self._client = client
        self._seats = seats
        self._watches: List[int] = []

    def of(self, gateway: str) -> List[Tuple[int, Beacon]]:
        return [(size, beacon) for size, beacon in list(self.heard) if beacon.gateway == gateway]

    def __enter__(self) -> BeaconWatch:
        self._ioctx = self._client.open_ioctx(POOL)
        self._ioctx.set_namespace(NAMESPACE)
        self._watches = [rados_watch.begin(self._ioctx, seat, self._on_notify) for seat in self._seats]
        return self

    def __exit__(self, *_exception: object) -> None:
        for watch in self._watches:
            rados_watch.end(watch)
        self._ioctx.close()

    def _on_notify(self, _notify: int, _notifier: int, _watch: int, data: bytes) -> None:
        """From a thread of librados'.  The mgr's own tokens go through the same objects."""
        try:
            self.heard.append((len(data), wire.decode_beacon(data)))
        except wire.WireError:
            pass
