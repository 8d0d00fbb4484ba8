"""The lease, and what the warden does when it ends.

A gateway may be optimized only inside its lease: *(send time of a permitting read) + L*, on the host's boot-time clock.
The warden and the agent both keep one from the same reads, so that either of them is enough.  The mgr being away ends
no lease, because nobody can take over without a commit that the next read would see.

Promises: at lease end the target is inaccessible or dead within D (``Timing.restrict_s``) while the warden runs; a
warden that was itself paused doubts its own clocks before it doubts the target or the network, but never its lease.
Does not promise anything while warden and agent are both stopped: that is what fencing is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Optional

from .model import Instance
from .register import View
from .timing import Timing


def permitting(view: View, instance: Instance) -> bool:
    """The read names this instance as admitted, and no seat that counts suspects it or says that it is over."""
    return (view.permits is not None and view.permits.current(instance) is not None
            and not view.suspected(instance) and not view.over(instance))


def extend(until_s: float, view: View, instance: Instance, sent_at_s: float) -> float:
    """The end of the lease after one read that was sent at ``sent_at_s``."""
    if view.permits is None or not permitting(view, instance):
        return until_s
    return max(until_s, sent_at_s + view.permits.timing.lease_s)


def valid(until_s: float, now: float) -> bool:
    """Before the end of the lease; at any other time nothing may be optimized."""
    return now < until_s


class Order(str, Enum):
    """What the warden must do now."""

    KEEP = "keep"
    RESTRICT = "restrict"
    KILL = "kill"


@dataclass(frozen=True)
class Verdict:
    order: Order
    reason: str = ""


KEEP = Verdict(Order.KEEP)


@dataclass(frozen=True)
class Ward:
    """What the warden knows of the one target it runs; all times in seconds of the boot-time clock.

    ``restrict_since_s``: when it first asked the target to be inaccessible for the present lease end.
    ``restricted``: the target confirmed it.  ``contact_s``: when seats or mons last answered.
    ``target_heard_s``: when the target last answered JSON-RPC (or was started).
    """

    instance: Instance
    started_s: float
    timing: Timing = field(default_factory=Timing)
    lease_until_s: float = 0.0
    restrict_since_s: Optional[float] = None
    restricted: bool = False
    contact_s: float = 0.0
    target_heard_s: float = 0.0
    looked_s: float = 0.0
    over: str = ""

    def __post_init__(self) -> None:
        for name in ("contact_s", "target_heard_s", "looked_s"):
            object.__setattr__(self, name, max(getattr(self, name), self.started_s))

    def seats_read(self, view: View, sent_at_s: float, now: float) -> "Ward":
        """One read of the seats was answered by at least one of them, or by none (then nothing changes)."""
        if not view.answered:
            return self
        until_s = extend(self.lease_until_s, view, self.instance, sent_at_s)
        ward = replace(self, contact_s=now, lease_until_s=until_s)
        if view.permits is not None:
            ward = replace(ward, timing=view.permits.timing)
        if view.over(self.instance):
            ward = replace(ward, over=f"the map {max(m.version for m in view.restricts)} says that "
                                      f"{self.instance} is over")
        if until_s > now:
            ward = replace(ward, restrict_since_s=None, restricted=False)
        return ward

    def mons_answered(self, now: float, out: bool = False) -> "Ward":
        """The mons answered; ``out``: they have blocklisted a client of this instance."""
        over = f"the mons say that {self.instance} is fenced" if out else self.over
        return replace(self, contact_s=now, over=over)

    def target_answered(self, now: float) -> "Ward":
        return replace(self, target_heard_s=now)

    def restrict_asked(self, now: float) -> "Ward":
        return self if self.restrict_since_s is not None else replace(self, restrict_since_s=now)

    def restrict_confirmed(self) -> "Ward":
        """All listeners were set inaccessible for all ANA groups, and said so."""
        return self if self.restrict_since_s is None else replace(self, restricted=True)

    def look(self, now: float) -> "Ward":
        """Called before each verdict.  If the warden itself was not running, what it did not hear proves nothing."""
        if now - self.looked_s > self.timing.beacon_s:
            return replace(self, looked_s=now, target_heard_s=now, contact_s=now)
        return replace(self, looked_s=now)

    def verdict(self, now: float) -> Verdict:
        """What must be done now; repeated until it is done."""
        if self.over:
            return Verdict(Order.KILL, self.over)
        if now - self.target_heard_s >= self.timing.frozen_s:
            return Verdict(Order.KILL, f"the target left JSON-RPC unanswered for {self.timing.frozen_s:g} s")
        if now < self.lease_until_s:
            return KEEP
        if not self.restricted:
            since_s = now if self.restrict_since_s is None else self.restrict_since_s
            if now - since_s >= self.timing.restrict_s / 2:
                return Verdict(Order.KILL, "the lease is over and the target did not confirm being inaccessible "
                                           f"within {self.timing.restrict_s / 2:g} s")
            return Verdict(Order.RESTRICT, "the lease is over")
        if now - max(self.contact_s, self.lease_until_s) >= self.timing.isolated_s:
            return Verdict(Order.KILL, "the lease is over and neither seats nor mons were reachable for "
                                       f"{self.timing.isolated_s:g} s")
        return KEEP
