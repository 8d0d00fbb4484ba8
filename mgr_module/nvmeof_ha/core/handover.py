"""Which gateway an ANA group should be at: candidates, planned moves, failback, an operator's wish.

Questions about a state; the transitions that follow from the answers are ``machine.py``'s.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import FrozenSet, Optional

from . import locations, placement
from .actions import Reply
from .events import DrainGateways, MoveAnaGroup
from .intent import Handled, no_longer_moved_to, not_yet, retiring, unknown_gateway
from .model import AnaGroup, Availability, Gateway, Phase
from .soft import State, drop, put
from .timing import FLAP_WINDOW_S, HOSTS_RETURN_S


def move(state: State, event: MoveAnaGroup, now: float) -> Handled:
    """Make another gateway the ANA group's home; ``planned_move`` then hands it over.

    A move to where it is makes it stay there; one to its owner undoes an earlier one.
    """
    if state.committed is None:
        return not_yet(state, event.request_id)
    group = state.map.ana_group(event.ana_group_id)
    if group is None:
        known = ", ".join(str(g.id) for g in state.map.ana_groups) or "none"
        return state, (Reply(event.request_id, errno.ENOENT, f"ANA group {event.ana_group_id} is not in "
                             f"{state.map.pool}/{state.map.group}, where there are: {known}"),)
    if group.phase is not Phase.ACTIVE:
        return state, (Reply(event.request_id, errno.EAGAIN, f"ANA group {group.id} is {group.phase.value}: it can be "
                             "moved once it is ACTIVE"),)
    to = _destination(state, group, event.to, now)
    problem = _unfit(state, group, to, event.to)
    if problem:
        return state, (Reply(event.request_id, errno.EBUSY if to else errno.ENOENT, problem),)
    assert to is not None
    moved_to = None if to.id == group.owner else to.instance
    return state.with_map(state.map.with_ana_group(replace(group, moved_to=moved_to))), (Reply(event.request_id, 0),)


def drain(state: State, event: DrainGateways, now: float) -> Handled:
    """Disable several gateways at once, or none of them: what each serves must have somewhere else to go."""
    if state.committed is None:
        return not_yet(state, event.request_id)
    for gateway_id in event.gateway_ids:
        if state.map.gateway(gateway_id) is None:
            return unknown_gateway(state, event.request_id, gateway_id)
    drained = frozenset(event.gateway_ids)
    problems = [why for group in state.map.ana_groups for why in [_left_alone(state, group, drained, now)] if why]
    if problems:
        return state, (Reply(event.request_id, errno.EBUSY, f"{', '.join(sorted(drained))} must not be drained now: "
                             + "; ".join(problems)),)
    for gateway_id in sorted(drained):
        state = no_longer_moved_to(state, gateway_id)
        gateway = state.map.gateway(gateway_id)
        assert gateway is not None
        state = state.with_map(state.map.with_gateway(replace(gateway, enabled=False)))
    return state, (Reply(event.request_id, 0),)


def _left_alone(state: State, group: AnaGroup, drained: FrozenSet[str], now: float) -> str:
    """Why the ANA group would not be served, or in part only, without these gateways; "" if it would be."""
    if retiring(state, group) or (group.server is not None and group.server.gateway not in drained):
        return ""
    taker = best(state, group, now, without=drained)
    if taker is None:
        return f"ANA group {group.id} would have no gateway that can serve it"
    holder = state.map.gateway(group.server.gateway) if group.server is not None else None
    if holder is not None and placement.better(state.map, group, holder, taker):
        return f"{taker.id} has no listener for some subsystems of ANA group {group.id}"
    return ""


def _destination(state: State, group: AnaGroup, to: str, now: float) -> Optional[Gateway]:
    if to:
        return state.map.gateway(to)
    assert group.holder is not None
    return best(state, group, now, but=group.holder.gateway)


def _unfit(state: State, group: AnaGroup, to: Optional[Gateway], asked: str) -> str:
    """Why the ANA group cannot be moved there, "" if it can."""
    assert group.holder is not None
    holder = state.map.current(group.holder)
    assert holder is not None
    if to is None:
        place = f"{state.map.pool}/{state.map.group}"
        return (f"gateway {asked!r} is not in {place}" if asked else
                f"no other gateway of {place} can take ANA group {group.id} now")
    if to.id == holder.id:
        return ""
    why = placement.unready(state.map, to, state.soft.stored)
    if why:
        return f"gateway {to.id!r} {why}: it can be given no ANA group"
    if placement.better(state.map, group, holder, to):
        return (f"gateway {to.id!r} has no listener for some subsystems of ANA group {group.id} that {holder.id!r} has "
                "one for: add its listeners first")
    return ""


def home_is_coming(state: State, group: AnaGroup, now: float) -> bool:
    """The gateway at home is just starting, or its addresses are just being stored: nobody else should take the group for a
    moment and move it twice."""
    home = state.map.gateway(group.home)
    return (home is not None and home.instance is not None and home.availability is not Availability.SUSPECT
            and home.enabled and not home.deleting and not home.leaving and not state.map.frozen(home)
            and not placement.ready(state.map, home, state.soft.stored) and not _shaky(state, home.id, now)
            and now < state.soft.admitted.get(home.id, -state.map.timing.promote_s) + state.map.timing.promote_s)


def _failback_due_s(state: State, gateway_id: str, now: float) -> float:
    soft = state.soft
    return placement.failback_due_s(state.map.timing.failback_delay_s, soft.well_since.get(gateway_id, now),
                                    soft.flaps.get(gateway_id, ()), now, soft.failback_doubling)


def _shaky(state: State, gateway_id: str, now: float) -> bool:
    """Lost lately, and not yet well for its failback delay since."""
    flapped = any(now - at < FLAP_WINDOW_S for at in state.soft.flaps.get(gateway_id, ()))
    return flapped and now < _failback_due_s(state, gateway_id, now)


def best(state: State, group: AnaGroup, now: float, but: str = "",
         without: FrozenSet[str] = frozenset()) -> Optional[Gateway]:
    """The gateway that should take the ANA group, other than ``but`` and those in ``without``, or None."""
    barred = {gateway for (number, gateway), bar in state.soft.declined.items()
              if number == group.id and now < bar.until}
    shaky = frozenset(g.id for g in state.map.gateways if _shaky(state, g.id, now) and not _moved_to(group, g))
    return placement.choose(state.map, group, state.soft.stored, state.soft.load, without | barred | {but}, shaky)


def _moved_to(group: AnaGroup, gateway: Gateway) -> bool:
    return group.moved_to is not None and group.moved_to == gateway.instance


def note_uninformed(state: State, group: AnaGroup, now: float) -> State:
    """A holder that did not report a new subsystem yet has ``promote_s`` for it: it will in a moment."""
    assert group.holder is not None
    holder = state.map.current(group.holder)
    assert holder is not None
    known = state.soft.uninformed_since
    if not placement.uninformed(state.map, group, holder):
        return state.with_soft(uninformed_since=drop(known, group.id)) if group.id in known else state
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
    frozen = state.map.frozen(holder)
    stays = holder.id == group.home and holder.enabled and not (holder.leaving or holder.deleting or frozen)
    if stays and placement.covered(state.map, holder, group.id)[0]:
        return None   # it is at home, and nobody reaches more
    candidate = best(state, group, now, but=holder.id)
    if holder.leaving:
        return candidate.id if candidate else ""
    if not holder.enabled or holder.deleting:
        others = any(g.enabled and not g.deleting for g in state.map.gateways if g.id != holder.id)
        return candidate.id if candidate else None if others else ""
    if candidate is None or frozen:
        return candidate.id if candidate else None
    if placement.better(state.map, group, candidate, holder):
        since = state.soft.uninformed_since.get(group.id)
        learning = since is not None and now < since[1] + state.map.timing.promote_s
        return None if learning else candidate.id
    return candidate.id if _comes_home(state, group, candidate, holder, now) else None


def _comes_home(state: State, group: AnaGroup, candidate: Gateway, holder: Gateway, now: float) -> bool:
    """The candidate is the group's home, or at least in its owner's location, and it is time to go there."""
    if placement.better(state.map, group, holder, candidate):
        return False
    if candidate.id != group.home and not placement.nearer(state.map, group, candidate, holder):
        return False
    if group.moved_to is not None:
        return True
    overdue_s = now - _failback_due_s(state, candidate.id, now)
    if overdue_s < 0 or locations.waits_for_another(state.map, group, candidate):
        return False
    return _hosts_returned(state, candidate, holder, overdue_s)


def _hosts_returned(state: State, owner: Gateway, holder: Gateway, overdue_s: float) -> bool:
    """A failback must not take a host's only path away: as many are connected to the owner as to the holder."""
    connections = state.soft.connections
    return connections.get(owner.id, 0) >= connections.get(holder.id, 0) or overdue_s >= HOSTS_RETURN_S
