"""Links between places, each direction on its own: up, slow, lossy, duplicating or cut.

Places are ``mgr``, ``cluster`` and one per gateway host.  Cutting a link loses messages; it says so to nobody.
"""

from __future__ import annotations

from typing import Callable, Dict, Set, Tuple

from .processes import World


class Network:
    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: Set[Tuple[str, str]] = set()
        self.loss: Dict[Tuple[str, str], float] = {}
        self.delay_s = (0.0002, 0.002)
        self.duplicates = 0.0

    def send(self, source: str, target: str, deliver: Callable[[], None], lossless: bool = False) -> None:
        """``lossless``: TCP to an OSD retries until the link is up again; only notifies are lost for good."""
        chance = self._world.random
        if (source, target) in self.cut:
            if lossless:
                self._world.later(0.2, lambda: self.send(source, target, deliver, lossless=True))
            return
        if not lossless and chance.random() < self.loss.get((source, target), 0.0):
            return
        self._world.later(chance.uniform(*self.delay_s), deliver)
        if not lossless and chance.random() < self.duplicates:
            self._world.later(chance.uniform(0.0, 0.5), deliver)
