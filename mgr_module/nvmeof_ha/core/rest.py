"""When a step has nothing to decide: what keeps a beacon and a tick cheap, whatever the group's size.

Promises: at rest, settling the state and reading actions off it would change nothing and ask for nothing.  It need not say
so whenever it could: in a group that has anything out of order, every rule is applied at every tick.  What a beacon tells
that can wait for the next tick decides nothing sooner, so a mgr that looks after many such groups applies rules no more
often for having many gateways.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import FrozenSet

from .soft import Soft, State
from .timing import TICK_S

PAUSE_FACTOR = 4
"""A tick that took long is followed by a pause of so many times as long."""

_READ_OFF_AT_REST: FrozenSet[str] = frozenset({"heard", "sequence", "load", "connections", "ticked", "hearing_since",
                                               "refused", "want_full"})
"""What a beacon or a tick may change and no rule asks for while every ANA group is at home, but for ``heard``.  Elsewhere
rules ask for it, at the next tick."""

_decisive = attrgetter(*(field.name for field in fields(Soft) if field.name not in _READ_OFF_AT_REST))


def in_order(state: State) -> bool:
    """The map is stored and nothing is left to do with it, but for what beacons tell."""
    gateway_map, soft = state.map, state.soft
    return (gateway_map is state.committed and state.in_flight is None and gateway_map.in_order
            and not (soft.stuck or soft.mass_silence or soft.uninformed_since))


def fades_in_s(state: State, now: float) -> float:
    """Until the first of the gateways that run has been silent for long enough to mean anything (``detector.silence``)."""
    timing, heard = state.map.timing, state.soft.heard
    longest_s = timing.suspect_s - timing.beacon_s / 2
    return longest_s - max([0.0] + [now - heard.get(gateway_id, now) for gateway_id in state.map.running])


def tick_s(state: State, now: float, took_s: float = 0.0) -> float:
    """Seconds until the next tick.  While all is well, half as long as a mgr may sleep before silence does not count; so
    it is, too, in a mgr that is short of time, as a last tick that took long shows: many groups that are out of order at
    once would else keep it from ever putting them in order."""
    longest_s = state.map.timing.beacon_s / 2
    if not in_order(state):
        return max(TICK_S, min(longest_s, PAUSE_FACTOR * took_s))
    return max(TICK_S, min(longest_s, fades_in_s(state, now)))


def can_wait(before: State, after: State) -> bool:
    """Until the next tick, whatever a beacon made of ``before``, which was settled: it told no more than that its gateway
    is there and how busy it is."""
    return after.map is before.map and _decisive(after.soft) == _decisive(before.soft)


def at_rest(before: State, after: State, now: float) -> bool:
    """``after``: what a tick made of ``before``, which was settled."""
    return can_wait(before, after) and in_order(after) and fades_in_s(after, now) > 0
