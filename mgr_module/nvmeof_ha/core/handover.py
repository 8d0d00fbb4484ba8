"""Which gateway an ANA group should be at: candidates, planned moves, failback.

Questions about a state; the transitions that follow from the answers are ``machine.py``'s.
"""

from __future__ import annotations

from typing import Optional

from . import placement
from .intent import retiring
from .model import AnaGroup, Availability, Gateway
from .soft import State, drop, put
from .timing import FLAP_WINDOW_S, HOSTS_RETURN_S


def owner_is_coming(state: State, group: AnaGroup, now: float) -> bool:
    """The owner is just starting, or its addresses are just being stored: nobody else should take the group for a
    moment and move it twice."""
    owner = state.map.gateway(group.owner)
    return (owner is not None and owner.instance is not None and owner.availability is not Availability.SUSPECT
            and owner.enabled and not owner.deleting and not owner.leaving
            and not placement.ready(owner, state.soft.stored) and not _shaky(state, owner.id, now)
            and now < state.soft.admitted.get(owner.id, -state.map.timing.promote_s) + state.map.timing.promote_s)


def _failback_due_s(state: State, gateway_id: str, now: float) -> float:
    soft = state.soft
    return placement.failback_due_s(state.map.timing.failback_delay_s, soft.well_since.get(gateway_id, now),
                                    soft.flaps.get(gateway_id, ()), now, soft.failback_doubling)


def _shaky(state: State, gateway_id: str, now: float) -> bool:
    """Lost lately, and not yet well for its failback delay since."""
    flapped = any(now - at < FLAP_WINDOW_S for at in state.soft.flaps.get(gateway_id, ()))
    return flapped and now < _failback_due_s(state, gateway_id, now)


def best(state: State, group: AnaGroup, now: float, but: str = "") -> Optional[Gateway]:
    """The gateway that should take the ANA group, other than ``but``, or None."""
    barred = {gateway for (number, gateway), bar in state.soft.declined.items()
              if number == group.id and now < bar.until}
    shaky = frozenset(g.id for g in state.map.gateways if _shaky(state, g.id, now))
    return placement.choose(state.map, group, state.soft.stored, state.soft.load, frozenset(barred | {but}), shaky)


def note_uninformed(state: State, group: AnaGroup, now: float) -> State:
    """A holder that did not report a new subsystem yet has ``promote_s`` for it: it will in a moment."""
    assert group.holder is not None
    holder = state.map.current(group.holder)
    assert holder is not None
    known = state.soft.uninformed_since
    if not placement.uninformed(state.map, group, holder):
        return state.with_soft(uninformed_since=drop(known, group.id))
    if group.id in known and known[group.id][0] == group.holder:
        return state
    return state.with_soft(uninformed_since=put(known, group.id, (group.holder, now)))


def planned_move(state: State, group: AnaGroup, now: float) -> Optional[str]:
    """Where an ACTIVE group should move: a gateway id, "" for nowhere (drain only), None to stay."""
    assert group.holder is not None
    holder = state.map.current(group.holder)
    assert holder is not None
    if holder.availability is Availability.SUSPECT:
        return None
    if retiring(state, group):
        return ""
    candidate = best(state, group, now, but=holder.id)
    if holder.leaving:
        return candidate.id if candidate else ""
    if not holder.enabled or holder.deleting:
        others = any(g.enabled and not g.deleting for g in state.map.gateways if g.id != holder.id)
        return candidate.id if candidate else None if others else ""
    if candidate is None:
        return None
    if placement.better(state.map, group, candidate, holder):
        since = state.soft.uninformed_since.get(group.id)
        learning = since is not None and now < since[1] + state.map.timing.promote_s
        return None if learning else candidate.id
    worse = placement.better(state.map, group, holder, candidate)
    overdue_s = now - _failback_due_s(state, candidate.id, now)
    if candidate.id != group.owner or worse or overdue_s < 0:
        return None
    return candidate.id if _hosts_returned(state, candidate, holder, overdue_s) else None


def _hosts_returned(state: State, owner: Gateway, holder: Gateway, overdue_s: float) -> bool:
    """A failback must not take a host's only path away: as many are connected to the owner as to the holder."""
    connections = state.soft.connections
    return connections.get(owner.id, 0) >= connections.get(holder.id, 0) or overdue_s >= HOSTS_RETURN_S
