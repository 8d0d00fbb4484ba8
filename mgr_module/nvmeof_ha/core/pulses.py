"""Beacons that tell no more than that their gateway is there and how busy it is: nearly all of them, so they are cheap.

Promises: many of them together do what ``machine.step`` would do with one after the other.
"""

from __future__ import annotations

from typing import Sequence

from .events import Beacon
from .model import Availability
from .soft import State


def is_pulse(state: State, beacon: Beacon) -> bool:
    """Whatever its sequence and its numbers, and whatever other pulses came before it.  It may say no where it could say yes."""
    if (beacon.confirmations or beacon.reaped or beacon.leaving or beacon.stuck or beacon.subsystems is not None
            or state.committed is None):
        return False
    gateway, soft = state.map.gateway(beacon.gateway), state.soft
    return (gateway is not None and gateway.instance == beacon.instance is not None
            and gateway.availability is Availability.AVAILABLE and gateway.digest == beacon.digest
            and beacon.addresses <= gateway.addresses and gateway.id not in soft.want_full and gateway.id not in soft.stuck)


def felt(state: State, pulses: Sequence[Beacon], now: float) -> State:
    """``pulses``: of this state, oldest first; one that is older than what its gateway said last counts for nothing."""
    if not pulses:
        return state
    soft = state.soft
    heard, sequence, load, connections = dict(soft.heard), dict(soft.sequence), dict(soft.load), dict(soft.connections)
    for beacon in pulses:
        gateway = beacon.gateway
        if beacon.sequence > sequence.get(gateway, -1):
            heard[gateway], sequence[gateway] = now, beacon.sequence
            load[gateway], connections[gateway] = beacon.load, beacon.connections
    return state.with_soft(heard=heard, sequence=sequence, load=load, connections=connections)
