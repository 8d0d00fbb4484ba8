"""Ceph as the control plane and the data path see it.

Facts followed (facts on ceph-mgr, sections 0, 4 and 5): a guarded omap write is atomic, and a write that timed out may
land later; a read waits behind a stalled placement group; ``osd blocklist add`` takes 0.1 to 1.0 s (the mons' proposal);
a blocklisted client's I/O is refused by an OSD once that OSD has the map, and an OSD learns of a map from any client
that has it.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Set, Tuple

from nvmeof_ha.core import register
from nvmeof_ha.core.model import Map, Version

from .processes import World

PROPOSAL_S = (0.1, 1.0)
OP_S = (0.001, 0.02)


class Seat:
    """One seat object: ops are taken in order, and wait while its placement group is stalled."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.claim: Optional[str] = None
        self.map: Optional[Map] = None
        self.stalled = False
        self._waiting: List[Callable[[], None]] = []

    def submit(self, op: Callable[[], None]) -> None:
        def arrive() -> None:
            if self.stalled:
                self._waiting.append(op)
            else:
                op()
        self._world.later(self._world.random.uniform(*OP_S), arrive)

    def heal(self) -> None:
        self.stalled = False
        waiting, self._waiting = self._waiting, []
        for op in waiting:
            op()

    def write(self, version: Version, stored: Optional[Map]) -> Optional[Version]:
        """The guarded write, now; None if it was taken, else the claim that is in the way."""
        claim = register.encode_claim(version)
        if self.claim is not None and not self.claim < claim:
            return register.decode_claim(self.claim)
        self.claim = claim
        if stored is not None:
            self.map = stored
        return None


class Mons:
    """Blocklist and OSD map epochs; one proposal at a time takes everything that waits for it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.osd_epoch = 1
        self.fenced: Dict[str, int] = {}
        self.electing_until = 0.0
        self.refusing = False

    @property
    def election_s(self) -> float:
        """How long nothing can be proposed yet."""
        return max(0.0, self.electing_until - self._world.now)

    def blocklist(self, addresses: Set[str], done: Callable[[Optional[int]], None]) -> None:
        """``done``: the OSD map epoch that has the fence, or None if the mons refused the command."""
        delay_s = self.election_s + self._world.random.uniform(*PROPOSAL_S)

        def commit() -> None:
            if self.refusing:
                done(None)
                return
            self.osd_epoch += 1
            for address in addresses:
                self.fenced.setdefault(address, self.osd_epoch)
            done(self.osd_epoch)
        self._world.later(delay_s, commit)


class DataObject:
    """The data of one ANA group: one object in one placement group, whose OSD lags behind the mons."""

    def __init__(self, world: World, mons: Mons) -> None:
        self._world, self._mons = world, mons
        self.osd_epoch = 1
        self.applied: List[Tuple[float, str, int]] = []
        self.stalled = False
        self._waiting: List[Callable[[], None]] = []

    def write(self, address: str, client_epoch: int, stamp: int, done: Callable[[bool], None]) -> None:
        """Arrives now; ``done(False)`` if the client is blocklisted in the map that this OSD has."""
        def apply() -> None:
            self.osd_epoch = max(self.osd_epoch, client_epoch)
            fence = self._mons.fenced.get(address)
            if fence is not None and fence <= self.osd_epoch:
                done(False)
                return
            self.applied.append((self._world.now, address, stamp))
            done(True)
        if self.stalled:
            self._waiting.append(apply)
        else:
            apply()

    def heal(self) -> None:
        self.stalled = False
        waiting, self._waiting = self._waiting, []
        for apply in waiting:
            apply()
