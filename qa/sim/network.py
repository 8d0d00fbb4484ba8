"""Links between places, each direction on its own: up, slow, lossy, duplicating or cut.

Places are ``mgr``, ``mons``, ``osds`` and one per gateway host.  Cutting a link says so to nobody.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Set, Tuple

from .processes import World

Link = Tuple[str, str]

DELAY_S = (0.0002, 0.002)
RETRY_S = 0.2


def links_of(place: str) -> Set[Link]:
    """Every link between the place and Ceph, in both directions."""
    return {link for server in ("mons", "osds") for link in ((place, server), (server, place))}


class Network:
    def __init__(self, world: World) -> None:
        self._world = world
        self.cut: Set[Link] = set()
        self.loss: Dict[Link, float] = {}
        self.duplicates = 0.0

    def tell(self, source: str, target: str, deliver: Callable[..., None], *args: Any) -> None:
        """One message that may be lost, or arrive twice: of a notification, which nobody repeats."""
        world = self._world
        link = (source, target)
        if link in self.cut or (self.loss and world.random.random() < self.loss.get(link, 0.0)):
            return
        world.later(world.between(DELAY_S), deliver, *args)
        if self.duplicates and world.random.random() < self.duplicates:
            world.later(world.random.uniform(0.0, 0.5), deliver, *args)

    def carry(self, source: str, target: str, extra_s: float, deliver: Callable[..., None], *args: Any) -> None:
        """A request or its answer: TCP, and the client behind it, try again until the link is up."""
        world = self._world
        if (source, target) in self.cut:
            world.later(RETRY_S, self.carry, source, target, extra_s, deliver, *args)
        else:
            world.later(extra_s + world.between(DELAY_S), deliver, *args)
