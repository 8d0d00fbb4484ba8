"""Actions read off the state: what is stored may be acted on, what is decided must be stored.  Decides nothing.

Order within one step: wake-ups and fences of the committed map, then records for the mon KV store, then the commit
that relies on them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import List, Tuple

from .actions import Action, Commit, Fence, ForgetGateway, StoreDisasters, Wake
from .model import Map, Phase
from .soft import State, drop, put, record_of


def emit(state: State, now: float) -> Tuple[State, Tuple[Action, ...]]:
    """All actions that are due, and the state that remembers having asked for them."""
    committed = state.committed
    if committed is None:
        return state, ()
    actions: List[Action] = []
    if state.soft.woken != committed.version:
        actions.append(Wake(committed.version))
        state = state.with_soft(woken=committed.version)
    state = _fences(state, committed, now, actions)
    state = _records(state, actions)
    latest = state.in_flight or committed
    if state.in_flight is None and state.map.content() != latest.content():
        stored = replace(state.map, version=state.next_version)
        state = replace(state, map=stored, in_flight=stored)
        actions.append(Commit(stored))
    return state, tuple(actions)


def _fences(state: State, committed: Map, now: float, actions: List[Action]) -> State:
    """Every instance that the stored map shows as departed, once at a time, with all its addresses; writers first.

    Nobody waits for a fence of what wrote nothing.  But a client that died stays a watcher of all its images for 30 s,
    and each handover of an image's lock meanwhile waits 5 s (librbd) for its answer: a fence ends its watches.
    """
    writers = {w for g in committed.ana_groups if g.phase is Phase.FENCING for w in g.writers}
    for departed in sorted(committed.departed, key=lambda d: (d.instance not in writers, d.instance)):
        decided = state.map.departure(departed.instance)
        fenced = decided is None or decided.osd_epoch is not None
        if fenced or not departed.addresses:
            continue
        if departed.instance in state.soft.fencing or now < state.soft.fence_retry.get(departed.instance, now):
            continue
        actions.append(Fence(departed.instance, departed.addresses))
        state = state.with_soft(fencing=state.soft.fencing | {departed.instance})
    return state


def _records(state: State, actions: List[Action]) -> State:
    """Intent and addresses reach the mon KV store before the commit that relies on them; a removed gateway's record
    stays until what it names is fenced."""
    for gateway in state.map.gateways:
        record = record_of(gateway, state.map.unfenced(gateway.id), state.soft.announced.get(gateway.id, frozenset()))
        if state.soft.storing.get(gateway.id) != record:
            actions.append(record)
            state = state.with_soft(storing=put(state.soft.storing, gateway.id, record))
    for gateway_id in sorted(set(state.soft.storing) - {g.id for g in state.map.gateways}):
        if state.map.unfenced(gateway_id):
            continue
        actions.append(ForgetGateway(gateway_id))
        state = state.with_soft(storing=drop(state.soft.storing, gateway_id),
                                stored=drop(state.soft.stored, gateway_id))
    if state.soft.disasters != state.map.disasters:
        actions.append(StoreDisasters(state.map.disasters))
        state = state.with_soft(disasters=state.map.disasters)
    return state
