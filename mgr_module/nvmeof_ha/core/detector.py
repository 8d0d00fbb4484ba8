"""Who has fallen silent, and whether that silence proves anything.

Doubt yourself first: time in which the mgr itself did not run, or could not hear, is not counted as silence
(``forgive``), and when most gateways fade at once the cause is more likely here or in the network than in all of them.
"""

from __future__ import annotations

from typing import FrozenSet, Mapping, NamedTuple

from .timing import TICK_S, Timing

HEARING_SEATS = 2
"""Beacons go to the three seats in turn: with two that are heard, ``suspect_s`` still spans more than one beacon."""


class Silence(NamedTuple):
    """``silent``: gateways to suspect now.  ``mass``: most fade together, so the verdict is held back."""

    silent: FrozenSet[str]
    mass: bool


def silence(heard: Mapping[str, float], timing: Timing, now: float) -> Silence:
    """Judge gateways by when each was last heard (``heard``: gateway id -> seconds)."""
    fading = [g for g, at in heard.items() if now - at >= timing.suspect_s - timing.beacon_s / 2]
    mass = len(fading) >= 2 and 2 * len(fading) > len(heard)
    limit_s = timing.suspect_s * (2 if mass else 1)
    return Silence(frozenset(g for g, at in heard.items() if now - at >= limit_s), mass)


def deaf_s(previous_tick: float, now: float, green_seats: int, timing: Timing) -> float:
    """How much of the time since the previous tick does not count: all of it if the tick was late or seats were red."""
    passed = now - previous_tick
    late = passed > max(timing.beacon_s, 2 * TICK_S)
    return passed if late or green_seats < HEARING_SEATS else 0.0


def forgive(heard: Mapping[str, float], seconds: float, now: float) -> Mapping[str, float]:
    """Push every last-heard time later by the time that does not count, never past ``now``."""
    return {g: min(now, at + seconds) for g, at in heard.items()}
