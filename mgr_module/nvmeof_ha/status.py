"""What a driver lets others see of its group."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Mapping, Optional, Tuple

from .core.model import Map
from .core.register import quorum_lost
from .core.soft import Soft
from .hearing import Said


@dataclass(frozen=True)
class Status:
    """What others may know of a driver; replaced as a whole with each tick and event, but not
    with each beacon.

    ``running``: the first commit was acknowledged and nothing has stopped the driver.  ``waiting_for``: why it is not
    running yet.  ``stopped``: why it never will again.  ``broken``: it was stopped by an error of its own.
    ``seats_close``: see ``seat_placement.py``.  ``mass_silence``: most gateways fell silent together.
    ``exposed``: what gateways say is open to anybody.  ``soft``: what the core knows beside the map, as of the last
    step.  ``said``: by gateway id.  ``green_seats``: through how many seats this mgr hears.  ``late_ticks``: of the last
    minute.  ``seats_lost``: what became of seats whose content is certainly gone.  ``published_at``: monotonic seconds; a
    driver that runs publishes each second at least.
    """

    committed: Optional[Map] = None
    running: bool = False
    waiting_for: str = "it was not looked at yet"
    stopped: str = ""
    broken: bool = False
    pool_gone: bool = False
    fence_failures: Tuple[str, ...] = ()
    problems: Tuple[str, ...] = ()
    bad_beacons: Tuple[str, ...] = ()
    seats_close: str = ""
    mass_silence: bool = False
    exposed: Tuple[str, ...] = ()
    soft: Optional[Soft] = None
    said: Mapping[str, Said] = field(default_factory=dict)
    green_seats: int = 3
    late_ticks: int = 0
    seats_lost: Tuple[str, ...] = ()
    published_at: float = -math.inf

    @property
    def most_seats_lost(self) -> bool:
        """Nothing can be decided any more, until an operator restores them or has the map rebuilt."""
        return quorum_lost(len(self.seats_lost))
