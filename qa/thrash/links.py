"""What two lanes do to one network at a time, so that the end of one's disturbance is not the end of the other's."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import Callable, Dict, Iterator

from testbed.namespaces import Network

Disturbance = Callable[[Network], None]


class Links:
    """A network can only be healed as a whole: what must stay is done again at once, a few milliseconds later."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._lock = threading.Lock()
        self._disturbances: Dict[int, Disturbance] = {}
        self._last = 0

    @contextmanager
    def disturbed(self, disturb: Disturbance) -> Iterator[None]:
        """Raises NetworkError."""
        with self._lock:
            self._last += 1
            number = self._last
            self._disturbances[number] = disturb
            disturb(self._network)
        try:
            yield
        finally:
            with self._lock:
                del self._disturbances[number]
                self._network.heal()
                for left in self._disturbances.values():
                    left(self._network)
