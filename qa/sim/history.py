"""What must never be seen, checked while it happens.

1. Two targets that are optimized for one ANA group, both able to answer I/O.  Excused and counted apart (DESIGN 1.4):
   nobody on one of the two hosts can make its target inaccessible or kill it, because warden and agent are both stopped
   (or the agent is not running, or not attached yet, while the warden is stopped), or the whole machine is; until the
   kill that is due ``restrict_s`` after one of them wakes.  A target that is stopped itself answers nobody: it counts
   again once it runs and has carried out what was asked of it meanwhile.
2. A target that becomes optimized although the stored map says that its instance is over, or more than ``restrict_s``
   after the end of the lease; excused as above.
3. A promotion before its fence: an instance becomes optimized while an earlier one, that may still have a write under
   way, is not blocklisted with all its addresses in an OSD map that the new one's clients have seen.
   Excused is a target that was stopped and now carries out what was asked of it before, if it is fenced itself: it can
   write nothing, and by 1 it may not stay so.
4. A write that lands after one of a later holder, or after a newer write; an acknowledged write that is gone.  Excused
   like 1: what a fenced target that nobody guards still lands before the first write of its successor, where an OSD has
   not learned of the fence.  A host that goes back to it then may have taken the same write to the successor before.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Protocol, Tuple

from nvmeof_ha.core.gateway import OPTIMIZED
from nvmeof_ha.core.model import Instance, Map

from .mons import Mons
from .processes import World
from .target import Target

ANSWER_S = 0.05
"""After SIGCONT, until a target has carried out what waited for it."""


class Violation(AssertionError):
    """Something that must never happen did; the text says what."""


class Guarded(Protocol):
    """The host of a target, as far as the exception goes."""

    outside_lease: bool

    def unguarded(self, since_s: float) -> bool:
        """Nobody on it can make inaccessible or kill a target that is optimized since then, now or until just now."""


class Promotion(NamedTuple):
    """``osd_epoch``: what the instance's clients had seen; ``fences``: those it relied upon, by instance."""

    at_s: float
    ana_group_id: int
    instance: Instance
    osd_epoch: int
    fences: Dict[Instance, int]


class History:
    def __init__(self, world: World, mons: Mons, ana_group_ids: Tuple[int, ...]) -> None:
        self._world, self._mons = world, mons
        self.targets: List[Tuple[Guarded, Target]] = []
        self.stored: Optional[Map] = None
        """The newest map that some mgr knows to be stored."""
        self.promotions: List[Promotion] = []
        self.excused = 0
        self._unsettled: Dict[int, List[Target]] = {g: [] for g in ana_group_ids}
        """Targets that were optimized for the ANA group and have not drained since."""
        self._order: Dict[int, int] = {g: 0 for g in ana_group_ids}
        self._landed: Dict[int, Tuple[int, int, str]] = {g: (0, 0, "") for g in ana_group_ids}
        """Of the newest write that needed no excuse: order of its promotion, stamp, who."""
        self._there: Dict[int, int] = {g: 0 for g in ana_group_ids}

    # -- who is optimized -------------------------------------------------------------------------------------------

    def became_optimized(self, target: Target, ana_group_id: int) -> None:
        unsettled = [t for t in self._unsettled[ana_group_id] if not t.drained(ana_group_id)]
        fences: Dict[Instance, int] = {}
        waited = self._world.now <= target.process.woke_s
        harmless = waited and self._mons.fence_of(set(target.addresses)) is not None
        for earlier in unsettled:
            if earlier is target or harmless:
                continue
            fence = self._mons.fence_of(set(earlier.addresses))
            if fence is None or fence > target.osd_epoch:
                found = "not fenced" if fence is None else f"fenced at osd_epoch {fence}"
                raise Violation(f"ANA group {ana_group_id}: {target.instance} is promoted with osd_epoch "
                                f"{target.osd_epoch}, and {earlier.instance}, which may still write, is {found}")
            fences[earlier.instance] = fence
        self._unsettled[ana_group_id] = [t for t in unsettled if t is not target] + [target]
        self.promotions.append(Promotion(self._world.now, ana_group_id, target.instance, target.osd_epoch, fences))
        self._order[ana_group_id] += 1
        target.order[ana_group_id] = self._order[ana_group_id]
        target.optimized_s[ana_group_id] = self._world.now
        if not waited:   # else it is looked at after that
            self._check_alive(target, ana_group_id)
            self.check_alone(ana_group_id)

    def _check_alive(self, target: Target, ana_group_id: int) -> None:
        host = next(h for h, t in self.targets if t is target)
        if host.unguarded(self._world.now):
            return
        if self.stored is not None and self.stored.is_over(target.instance):
            raise Violation(f"ANA group {ana_group_id}: {target.instance} becomes optimized, and the stored map "
                            f"{self.stored.version} says that it is over")
        if host.outside_lease:
            raise Violation(f"ANA group {ana_group_id}: {target.instance} becomes optimized outside its lease")

    def check_alone(self, ana_group_id: int) -> None:
        answering = [(h, t) for h, t in self.targets if t.process.alive and not t.process.stopped
                     and t.states.get(ana_group_id) == OPTIMIZED]
        if len(answering) < 2:
            return
        if sum(not h.unguarded(t.optimized_s[ana_group_id]) for h, t in answering) >= 2:
            names = ", ".join(str(t.instance) for _, t in answering)
            raise Violation(f"ANA group {ana_group_id} is optimized at {names}")
        self.excused += 1

    def woke(self, restrict_s: float) -> None:
        """Processes of a host were continued: look again when what is due then must be done."""
        for delay_s in (ANSWER_S, restrict_s + ANSWER_S):
            self._world.later(delay_s, self._check_all)

    def _check_all(self) -> None:
        for ana_group_id in self._order:
            self.check_alone(ana_group_id)

    # -- writes -----------------------------------------------------------------------------------------------------

    def landed(self, ana_group_id: int, order: int, stamp: int, who: Instance) -> None:
        newest_order, newest, whose = self._landed[ana_group_id]
        self._there[ana_group_id] = stamp
        if newest_order <= order < self._order[ana_group_id] and self._left_alone(who):
            self.excused += 1
            return
        if stamp < newest or order < newest_order and whose != str(who):
            raise Violation(f"ANA group {ana_group_id}: write {stamp} of {who}, given to it by promotion {order}, "
                            f"landed after write {newest} of {whose}, by promotion {newest_order}")
        self._landed[ana_group_id] = (max(order, newest_order), stamp, str(who) if order >= newest_order else whose)

    def _left_alone(self, who: Instance) -> bool:
        """A fenced instance, on whose host nobody can make it inaccessible or kill it."""
        host, target = next(((h, t) for h, t in self.targets if t.instance == who), (None, None))
        return host is not None and target is not None and self._mons.fence_of(set(target.addresses)) is not None \
            and host.unguarded(self._world.now)

    def newest(self, ana_group_id: int) -> int:
        """The stamp that is there, whoever wrote it."""
        return self._there[ana_group_id]
