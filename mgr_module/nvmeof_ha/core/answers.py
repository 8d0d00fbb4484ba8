"""What the driver answers: a map is stored, a record is, an instance is fenced or could not be.

Each answer is noted with the time from which it counts; what follows from it, the rules in ``machine.py`` say.
"""

from __future__ import annotations

from dataclasses import replace

from .actions import Reply
from .events import Committed, Fenced, FenceFailed, GatewayStored
from .intent import Handled, merge_records
from .model import Availability
from .soft import State, drop, note_acked, put

FENCE_RETRY_S = 1.0


def map_stored(state: State, event: Committed, now: float) -> Handled:
    if state.in_flight is None or state.in_flight.version != event.version:
        return state, ()
    committed, first = state.in_flight, state.committed is None
    soft = state.soft
    suspects = {g.id: g.suspected_at for g in committed.gateways if g.availability is Availability.SUSPECT}
    phases = {g.id: g.since for g in committed.ana_groups}
    timing_acked = soft.timing_acked
    if timing_acked is None or timing_acked[0] != committed.timing:
        timing_acked = (committed.timing, now)
    due = tuple(request for version, request in soft.waiting if version <= event.version)
    state = replace(state, committed=committed, in_flight=None).with_soft(
        suspect_acked=note_acked(soft.suspect_acked, suspects, now),
        phase_acked=note_acked(soft.phase_acked, phases, now),
        timing_acked=timing_acked, waiting=tuple(w for w in soft.waiting if w[0] > event.version))
    if first:
        state = merge_records(state.with_soft(well_since={g.id: now for g in committed.gateways}))
    return state, tuple(Reply(request, 0) for request in due)


def record_stored(state: State, event: GatewayStored, now: float) -> Handled:
    asked = state.soft.storing.get(event.gateway_id)
    if asked is None or (asked.gateway.instance, asked.gateway.addresses) != (event.instance, event.addresses):
        return state, ()
    state = state.with_soft(stored=put(state.soft.stored, event.gateway_id, asked.gateway))
    gateway = state.map.gateway(event.gateway_id)
    if event.gateway_id not in state.soft.announced or gateway is None or gateway.instance != event.instance:
        return state, ()
    state = state.with_soft(announced=drop(state.soft.announced, gateway.id))
    return state.with_map(state.map.with_gateway(replace(gateway, addresses=gateway.addresses | event.addresses))), ()


def fenced(state: State, event: Fenced, now: float) -> Handled:
    departed = state.map.departure(event.instance)
    soft = state.soft
    state = state.with_soft(fencing=soft.fencing - {event.instance}, fence_retry=drop(soft.fence_retry, event.instance),
                            fence_errors=drop(soft.fence_errors, event.instance))
    if departed is None or departed.osd_epoch is not None:
        return state, ()
    return state.with_map(state.map.with_departed(replace(departed, osd_epoch=event.osd_epoch))), ()


def fence_failed(state: State, event: FenceFailed, now: float) -> Handled:
    soft = state.soft
    return state.with_soft(fencing=soft.fencing - {event.instance},
                           fence_retry=put(soft.fence_retry, event.instance, now + FENCE_RETRY_S),
                           fence_errors=put(soft.fence_errors, event.instance, event.reason)), ()
