"""When a step has nothing to decide: what keeps a beacon and a tick cheap while all is well, whatever the group's size.

Promises: at rest, settling the state and reading actions off it would change nothing and ask for nothing.  It need not say
so whenever it could: in a group that has anything out of order, every rule is applied at every step.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import FrozenSet

from .soft import Soft, State

_READ_OFF_AT_REST: FrozenSet[str] = frozenset({"heard", "sequence", "load", "connections", "ticked", "hearing_since",
                                               "refused", "want_full"})
"""What a beacon or a tick may change and no rule asks for while every ANA group is at home, but for ``heard``."""

_decisive = attrgetter(*(field.name for field in fields(Soft) if field.name not in _READ_OFF_AT_REST))


def at_rest(before: State, after: State, now: float) -> bool:
    """``after``: what a beacon or a tick made of ``before``, which was settled."""
    gateway_map, soft = after.map, after.soft
    if gateway_map is not before.map or gateway_map is not after.committed or after.in_flight is not None:
        return False
    if not gateway_map.in_order or soft.stuck or soft.mass_silence or soft.uninformed_since:
        return False
    if _decisive(soft) != _decisive(before.soft):
        return False
    timing = gateway_map.timing
    fades_s = timing.suspect_s - timing.beacon_s / 2   # as in ``detector.silence``
    return all(now - soft.heard.get(gateway_id, now) < fades_s for gateway_id in gateway_map.running)
