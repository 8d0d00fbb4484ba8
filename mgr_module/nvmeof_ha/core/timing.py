"""All timers and their rules in one place.

``Timing`` refuses what is unsafe instead of adjusting it: an operator who asks for a short lease must see why it
cannot be had.  The table in DESIGN section 7 is the source of the rules.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Dict

CLOCK_RATE_ERROR = 0.01
"""Largest relative difference in the rate of two hosts' monotonic clocks (rho); NTP slews by 0.05 % at most."""

TICK_S = 0.1
"""How often the mgr's driver looks at its timers; part of ``Timing.lease_wait_s``."""

BACKOFF_CAP_S = 600.0
"""Longest delay that any doubling (failback after flaps, a move that cannot drain) reaches."""

_EPSILON_S = 1e-9
"""3 * 0.2 is a little more than 0.6 in binary; a rule must not refuse what an operator typed."""

HOSTS_RETURN_S = 90.0
"""A failback waits this long for hosts that are connected to the holder and not to the owner.  A Linux host whose gateway
died while it connected needs 60 s to notice (its time-out for admin commands) before it connects again."""

FLAP_WINDOW_S = 600.0
"""Unplanned losses of a gateway within this time count as flaps and double its failback delay."""


class TimingError(ValueError):
    """A timer breaks a rule; the text names the timer, its value, the rule and the reason."""


@dataclass(frozen=True)
class Timing:
    """The timers of one gateway group, in seconds.

    Raises:
        TimingError: a value is not a positive number or breaks a rule.
    """

    beacon_s: float = 0.5
    """Period of beacons and of the warden's seat reads."""
    suspect_s: float = 1.5
    """Silence after which a gateway's instance is suspected; bounds detection, paid by every failover of a dead host."""
    lease_s: float = 2.5
    """How long a permitting read lets an instance stay optimized (L); L - b is the longest unnoticed stall of two seats."""
    restrict_s: float = 0.5
    """Time to make a target inaccessible or dead at lease end (D)."""
    isolated_s: float = 3.0
    """A gateway that reaches neither seats nor mons for this long after lease end kills its target."""
    frozen_s: float = 2.0
    """A target that leaves JSON-RPC unanswered for this long is killed."""
    drain_s: float = 2.0
    """How long a planned move may take to drain before it is abandoned."""
    promote_s: float = 5.0
    """How long an instance may take to confirm its promotion before it is suspected."""
    failback_delay_s: float = 10.0
    """How long an owner must have been well before its ANA group returns to it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 86400:
                raise TimingError(f"{field.name} = {value!r}: must be a number of seconds above 0 and below 86400")
            object.__setattr__(self, field.name, float(value))
        self._require(self.suspect_s >= 3 * self.beacon_s - _EPSILON_S, "suspect_s", "at least 3 * beacon_s",
                      3 * self.beacon_s, "one lost beacon must not look like a dead gateway")
        self._require(self.lease_s >= 4 * self.beacon_s - _EPSILON_S, "lease_s", "at least 4 * beacon_s",
                      4 * self.beacon_s, "a lease must outlive a few lost seat reads")
        self._require(self.beacon_s >= 2 * TICK_S - _EPSILON_S, "beacon_s", f"at least twice the mgr's tick of {TICK_S} s",
                      2 * TICK_S, "silence is measured in ticks")
        self._require(self.restrict_s >= 0.2, "restrict_s", "at least 0.2", 0.2,
                      "an RPC round trip and a kill must fit into it")

    def _require(self, holds: bool, name: str, rule: str, bound: float, reason: str) -> None:
        if not holds:
            raise TimingError(f"{name} = {getattr(self, name)} s: must be {rule} (here {bound:g} s), because {reason}")

    @property
    def lease_wait_s(self) -> float:
        """W: after this, counted from the acknowledged commit of a suspicion, the instance's lease is certainly over."""
        return ((self.lease_s + self.restrict_s) / (1 - CLOCK_RATE_ERROR) + TICK_S) * (1 + CLOCK_RATE_ERROR)

    def to_dict(self) -> Dict[str, float]:
        return asdict(self)


FAST = Timing(beacon_s=0.2, suspect_s=0.6, lease_s=1.0, restrict_s=0.3)
"""The ``fast`` profile: about 2.6 s for a dead host, at the price of noticing short stalls."""
