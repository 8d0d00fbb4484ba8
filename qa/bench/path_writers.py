"""A host's paths to one namespace, without a host: one thread for each gateway writes a block again and again through its
own NVMe/TCP connection, and notes when each write was completed.

What for: an initiator that costs next to nothing, so that what is measured is the gateways.  Unlike a Linux host it tries
every path all the time, so it loses nothing to its own keep-alive and reconnect timers; those are in the demo's figures.
"""

from __future__ import annotations

import threading
import time
from typing import Dict, List, Sequence

from target_sim.initiator import ConnectionEnded, Host
from testbed.gateway import Gateway

BLOCK = bytes(4096)
PAUSE_S = 0.004
"""Between two writes or two tries: the resolution of what is measured."""


class PathWriter(threading.Thread):
    """Through one gateway.  ``completed_s``: monotonic times at which writes succeeded."""

    def __init__(self, gateway: Gateway, nqn: str, nsid: int) -> None:
        super().__init__(name=f'writer {gateway.name}', daemon=True)
        self.completed_s: List[float] = []
        self._gateway, self._nqn, self._nsid = gateway, nqn, nsid
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                with Host(self._gateway.listener_port, self._nqn, address=self._gateway.address) as host:
                    while not self._ended.wait(PAUSE_S):
                        if host.write(self._nsid, 0, BLOCK).status == 0:
                            self.completed_s.append(time.monotonic())
            except (OSError, ConnectionEnded, AssertionError):   # a target that is not there, or not ready yet
                self._ended.wait(PAUSE_S)

    def end(self) -> None:
        self._ended.set()


class Paths:
    """All gateways' writers; a context manager."""

    def __init__(self, gateways: Sequence[Gateway], nqn: str, nsid: int) -> None:
        self._writers: Dict[str, PathWriter] = {g.name: PathWriter(g, nqn, nsid) for g in gateways}

    def __enter__(self) -> Paths:
        for writer in self._writers.values():
            writer.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for writer in self._writers.values():
            writer.end()

    def writes(self, gateway: str, since_s: float) -> bool:
        """Some write was completed through it since then."""
        completed_s = self._writers[gateway].completed_s
        return bool(completed_s) and completed_s[-1] >= since_s

    def first_s(self, gateway: str, since_s: float) -> float:
        """When the first write since then was completed through it; there is one."""
        return next(at for at in self._writers[gateway].completed_s if at >= since_s)

    def longest_gap_s(self, since_s: float) -> float:
        """The longest time since then without a completed write on any path."""
        times = sorted(at for writer in self._writers.values() for at in list(writer.completed_s) if at >= since_s)
        return max((later - earlier for earlier, later in zip(times, times[1:])), default=0.0)
