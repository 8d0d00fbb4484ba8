"""What a group's driver hears of gateways beside what its core decides by: beacons that cannot be used, and what the
others tell operators (``Said``).  Promises: whatever a stranger sends, little is kept and nothing is raised.
"""

from __future__ import annotations

import logging
import time
from typing import Callable, Dict, Iterable, Mapping, NamedTuple, Optional, Tuple

from .channel import BadBeacons, Heard
from .core import wire
from .core.beacon_reader import BeaconReader
from .core.events import Beacon, Notes
from .kv_records import GroupKey


class Said(NamedTuple):
    """What a gateway said last.  ``repaired_at``: monotonic seconds at which it was heard that its agent had found ANA
    states that it had not set; None: not lately."""

    notes: Notes = Notes()
    load: int = 0
    exposed: Tuple[str, ...] = ()
    repaired_at: Optional[float] = None


class Hearing:
    """Used by one group's driver only."""

    def __init__(self, key: GroupKey, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._key, self._log, self._clock = key, log, clock
        self._bad = BadBeacons(clock)
        self._reader = BeaconReader()
        self._said: Dict[str, Said] = {}

    def beacon(self, heard: Heard) -> Optional[Beacon]:
        """None: it cannot be used."""
        try:
            beacon = self._reader.read(heard.data)
        except wire.WireError as error:
            if self._bad.note(heard.notifier, str(error)):
                self._log.warning("%s: a beacon of client.%d cannot be used: %s", self._key, heard.notifier, error)
            return None
        before = self._said.get(beacon.gateway, Said(beacon.notes))
        repaired = beacon.notes.ana_repairs > before.notes.ana_repairs
        said = Said(beacon.notes, beacon.load, beacon.exposed, self._clock() if repaired else before.repaired_at)
        self._said[beacon.gateway] = said
        return beacon

    def refused(self) -> Dict[str, str]:
        """Who sent a beacon that cannot be used, lately, and why it cannot."""
        return self._bad.recent()

    def said(self, gateways: Iterable[str]) -> Mapping[str, Said]:
        """Of these gateways only; the others are forgotten."""
        self._said = {name: self._said[name] for name in gateways if name in self._said}
        return dict(self._said)  # others will be reading this one
