"""Writes to the cluster all the time, from a host that nothing is cut from: how long RADOS itself serves nobody.

Several small objects, one write of each at a time, so that most placement groups of a small pool have one.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Dict, List, Optional, Tuple

import rados

from testbed.cluster import POOL
from testbed.observer import Observer

OBJECTS = 12
PERIOD_S = 0.25
NAMESPACE = 'partitions'


class WriteWatch(Observer):
    """Give it a client by `begin` before it is started, and stop it before that ends."""

    def __init__(self) -> None:
        super().__init__('write watch', PERIOD_S)
        self._ioctx: Optional[rados.Ioctx] = None
        self._under_way: Dict[str, float] = {}
        self._done: List[Tuple[float, float]] = []   # begun, ended

    def begin(self, client: rados.Rados) -> None:
        self._ioctx = client.open_ioctx(POOL)
        self._ioctx.set_namespace(NAMESPACE)

    def look(self) -> None:
        assert self._ioctx
        for number in range(OBJECTS):
            name = f'object{number}'
            if name not in self._under_way:
                self._under_way[name] = time.monotonic()
                self._ioctx.aio_write_full(name, b'x', oncomplete=partial(self._written, name))

    def _written(self, name: str, _completion: Any) -> None:
        self._done.append((self._under_way.pop(name), time.monotonic()))

    def stalled_s(self, from_s: float, to_s: float) -> float:
        """The longest time for which a write waited, between the two times."""
        return max((min(ended, to_s) - max(begun, from_s) for begun, ended in list(self._done)
                    if begun < to_s and ended > from_s), default=0.0)
