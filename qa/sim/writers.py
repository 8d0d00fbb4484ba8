"""The initiators: one for each ANA group, with one stamped write at a time, on whatever path is optimized.

Most writes are quick; some are slow, in the target or on their way to the OSD, and those are what a failover must
fence. A write that was not answered goes to another path when its connection broke or its keep-alive ran out, with the
same stamp; nothing newer is written before it is acknowledged.
"""

from __future__ import annotations

from typing import Dict, Optional, Protocol, Tuple

from .ceph import DataObject
from .history import History, Violation
from .processes import World
from .target import Target

PERIOD_S = 0.1
RETRY_PATH_S = 0.02
BROKEN_S = 0.25
"""Until a host notices that a connection broke."""
KEEP_ALIVE_S = 6.0
LOOK_S = 1.0
QUICK_IN_TARGET_S = (0.0, 0.003)
SLOW_IN_TARGET_S = (0.0, 1.0)
QUICK_TO_OSD_S = (0.0005, 0.004)
SLOW_TO_OSD_S = (0.0, 4.0)


class Paths(Protocol):
    """What a writer needs of the group."""

    world: World
    history: History
    data: Dict[int, DataObject]
    slow_share: float

    def path(self, ana_group_id: int) -> Optional[Target]:
        """A target that is optimized, and has answered whatever it was sent (a host takes no path again on which a
        command may still be under way)."""


class Writer:
    def __init__(self, group: Paths, ana_group_id: int) -> None:
        self.group, self.id = group, ana_group_id
        self.acknowledged, self.acknowledged_at_s, self.longest_stall_s = 0, group.world.now, 0.0
        self._target: Optional[Target] = None
        """Where the present write is; None: between two writes, or no path."""
        self._attempt, self._sent_s = 0, 0.0
        self._waiting = False
        group.world.later(0.0, self._issue, 0)
        group.world.later(LOOK_S, self._look)

    # -- paths ------------------------------------------------------------------------------------------------------

    def path_came(self) -> None:
        if self._waiting:
            self._waiting = False
            self._again(RETRY_PATH_S)

    def path_broke(self, target: Target) -> None:
        if self._target is target:
            self._again(BROKEN_S)

    def _look(self) -> None:
        """Has the keep-alive run out?  Only a target that is stopped leaves it unanswered."""
        world = self.group.world
        world.later(LOOK_S, self._look)
        if self._target is not None and self._target.process.stopped and world.now - self._sent_s >= KEEP_ALIVE_S:
            self._again(0.0)

    def _again(self, delay_s: float) -> None:
        self._target = None
        self._attempt += 1
        self.group.world.later(delay_s, self._issue, self._attempt)

    # -- one write --------------------------------------------------------------------------------------------------

    def _issue(self, attempt: int) -> None:
        if attempt != self._attempt:
            return
        target = self.group.path(self.id)
        if target is None:
            self._waiting = True
            return
        world = self.group.world
        self._target, self._sent_s = target, world.now
        target.in_flight[self.id] = 1
        queued_s = world.between(self._pace(SLOW_IN_TARGET_S, QUICK_IN_TARGET_S))
        target.process.soon(self._to_osd, queued_s, target, attempt, self.acknowledged + 1, target.order[self.id])

    def _pace(self, slow_s: Tuple[float, float], quick_s: Tuple[float, float]) -> Tuple[float, float]:
        return slow_s if self.group.world.random.random() < self.group.slow_share else quick_s

    def _to_osd(self, target: Target, attempt: int, stamp: int, order: int) -> None:
        """From here on the write is the network's and the OSD's: the target's death does not call it back."""
        group = self.group

        def act() -> int:
            group.history.landed(self.id, order, stamp, target.instance)
            return 0

        def ended(code: int) -> None:
            target.process.soon(self._answered, 0.0, target, attempt, code == 0)
        group.world.later(group.world.between(self._pace(SLOW_TO_OSD_S, QUICK_TO_OSD_S)), group.data[self.id].write,
                          target.client(self.id), act, ended)

    def _answered(self, target: Target, attempt: int, applied: bool) -> None:
        target.in_flight[self.id] = 0
        if attempt != self._attempt:
            self.path_came()
            return
        if applied:
            self.acknowledged += 1
            now = self.group.world.now
            self.longest_stall_s = max(self.longest_stall_s, now - self.acknowledged_at_s)
            self.acknowledged_at_s = now
        self._again(PERIOD_S if applied else RETRY_PATH_S)

    def check(self) -> None:
        """Raises ``Violation`` if an acknowledged write is not what is stored, or a newer one."""
        newest = self.group.history.newest(self.id)
        if newest < self.acknowledged:
            raise Violation(f"ANA group {self.id}: acknowledged write {self.acknowledged} is gone, {newest} is there")
