"""The state machine: ``step(state, event, now) -> (state, actions)``.  Every transition of ANA groups and instances is
in this file; which gateways exist at all is in ``intent.py``.

An ANA group's phases (who is optimized; what ends the phase):

    UNSERVED   nobody                    a gateway is chosen                      -> PROMOTING
    PROMOTING  incoming, after barrier   it confirms exactly this commit          -> ACTIVE
                                         it declines                              -> UNSERVED, it is barred for a while
                                         it says nothing for promote_s            its instance becomes SUSPECT
    ACTIVE     holder                    a planned move is due                    -> DRAINING
    DRAINING   nobody                    holder confirms drained                  -> UNSERVED (and on, in the same step)
                                         not within drain_s                       -> ACTIVE, retried later
    FENCING    nobody                    every writer departed and is fenced      -> UNSERVED (and on, in the same step)
    any with a server                    the server's instance departed           -> FENCING

A gateway's instance: CREATED -> AVAILABLE -> SUSPECT -> AVAILABLE again, or departed (W after the acknowledged commit of
its latest suspicion, or reaped by its warden).

First the event changes the state, then rules are applied until nothing changes (``_settle``), then actions are read
off the result (``emission.emit``); both are left out where they would find nothing (``rest.at_rest``), or can wait for the
tick that is due soon (``rest.can_wait``); beacons that wait for that tick as well come with it (``pulses.py``).  So every
rule holds for a mgr that takes over with the same map.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Dict, FrozenSet, List, Sequence, Tuple

from . import answers, detector, handover
from .actions import Action, Commit, Reply
from .emission import emit
from .events import (Beacon, BeaconReceived, ClearDisaster, Command, Committed, Confirmation, CreateGateway,
                     DeleteGateway, Deposed, DrainGateways, Event, Fenced, FenceFailed, FenceGateway, GatewayStored,
                     MoveAnaGroup, Outcome, SetDisaster, SetEnabled, SetLocation, SetTiming, TargetState, Tick)
from .intent import (Handled, create, delete, no_longer_moved_to, nothing_to_fence, prune_departed,
                     remove_deleted, retiring, set_enabled, set_timing, settle_timing)
from .locations import clear_disaster, forget_recovered, set_disaster, set_location
from .model import NO_VERSION, AnaGroup, Availability, Departed, Disaster, Gateway, Instance, Map, Phase, Version
from .pulses import felt, is_pulse
from .rest import at_rest, can_wait
from .soft import Soft, State, backed_off, change, drop, put
from .timing import FLAP_WINDOW_S, Timing

REFUSALS_KEPT = 64

Step = Tuple[State, Tuple[Action, ...]]


def begin(found: Map, records: Tuple[Gateway, ...], ballot: int, timing: Timing, now: float,
          failback_doubling: bool = True, disasters: Tuple[Disaster, ...] = ()) -> Step:
    """A mgr took the seats over: adopt ``found`` and commit it under the new ballot; decide nothing before that.

    ``records``, ``disasters``: what the mon KV store holds of this group's gateways and disaster locations; merged once
    the first commit is acknowledged.
    """
    adopted = replace(found, timing=timing, lease_wait_s=max(found.lease_wait_s, timing.lease_wait_s),
                      version=Version(ballot, found.version.epoch + 1))
    soft = Soft(records=records, failback_doubling=failback_doubling, ticked=now, hearing_since=now,
                heard={g.id: now for g in found.gateways}, disasters=disasters)
    return State(map=adopted, ballot=ballot, in_flight=adopted, soft=soft), (Commit(adopted),)


def step(state: State, event: Event, now: float) -> Step:
    """One event at monotonic time ``now`` (seconds).  Deterministic; raises ``ModelError`` on an impossible result."""
    if state.stopped:
        return state, ()
    if isinstance(event, Deposed):
        return replace(state, stopped=event.reason), ()
    before = state
    state, replies = _HANDLERS[type(event)](state, event, now)
    if isinstance(event, BeaconReceived) and can_wait(before, state):
        return state, replies
    if isinstance(event, Tick) and at_rest(before, state, now):
        return state, replies
    if state.committed is not None:
        state = _settle(state, now)
    state, actions = emit(state, now)
    if isinstance(event, Command):
        state, replies = _hold_back(state, replies)
    return state, actions + replies


def _hold_back(state: State, replies: Tuple[Reply, ...]) -> Tuple[State, Tuple[Reply, ...]]:
    """A command succeeds only once what it changed is stored; an error is told at once."""
    if state.committed is not None and state.map.content() == state.committed.content():
        return state, replies
    in_flight = state.in_flight is not None and state.map.content() == state.in_flight.content()
    version = state.in_flight.version if in_flight and state.in_flight else state.next_version
    waiting = tuple((version, reply.request_id) for reply in replies if reply.code == 0)
    return state.with_soft(waiting=state.soft.waiting + waiting), tuple(r for r in replies if r.code != 0)


# ---- events -------------------------------------------------------------------------------------------------------

def _on_beacon(state: State, event: BeaconReceived, now: float) -> Handled:
    beacon = event.beacon
    gateway = state.map.gateway(beacon.gateway)
    if gateway is None:
        return _refuse(state, beacon.gateway, f"gateway {beacon.gateway!r} is not in {state.map.pool}/"
                       f"{state.map.group}: create it first"), ()
    if state.committed is None:
        return state.with_soft(heard=put(state.soft.heard, beacon.gateway, now)), ()
    for instance in beacon.reaped:
        if state.map.current(instance) is not None:
            state = _depart(state, instance, now, in_order=beacon.leaving)
    if beacon.instance is None:
        return state, ()
    gateway = state.map.gateway(beacon.gateway) or gateway
    if gateway.instance != beacon.instance:
        return _admit(state, gateway, beacon, now), ()
    if beacon.sequence <= state.soft.sequence.get(gateway.id, -1):
        return state, ()
    return _hear(state, gateway, beacon, now), ()


def _on_beacons(state: State, beacons: Sequence[Beacon], now: float) -> State:
    """Those that came since the last tick."""
    pulses: List[Beacon] = []
    for beacon in beacons:
        if is_pulse(state, beacon):
            pulses.append(beacon)
        else:
            state, _ = _on_beacon(felt(state, pulses, now), BeaconReceived(beacon), now)
            pulses = []
    return felt(state, pulses, now)


def _admit(state: State, gateway: Gateway, beacon: Beacon, now: float) -> State:
    """A beacon of an instance that is not the admitted one: it may follow a departed one, and nobody else."""
    instance = beacon.instance
    assert instance is not None
    if gateway.instance is not None:
        return _refuse(state, str(instance), f"gateway id {gateway.id!r} is in use by instance {gateway.instance}")
    if instance.number <= gateway.last_number:
        return _refuse(state, str(instance), f"over: instances up to {gateway.last_number} of gateway {gateway.id!r} "
                                             "have ended; begin a new one")
    if gateway.deleting or beacon.leaving:
        return _refuse(state, str(instance), f"gateway {gateway.id!r} is being deleted or is leaving")
    admitted = replace(gateway, instance=instance, last_number=instance.number, leaving=False,
                       availability=Availability.CREATED, suspected_at=NO_VERSION, subsystems=(), digest="")
    soft = state.soft
    state = state.with_soft(sequence=drop(soft.sequence, gateway.id), stuck=drop(soft.stuck, gateway.id),
                            admitted=put(soft.admitted, gateway.id, now), refused={},
                            announced=drop(soft.announced, gateway.id))
    return _hear(state.with_map(state.map.with_gateway(admitted)), admitted, beacon, now)


def _hear(state: State, gateway: Gateway, beacon: Beacon, now: float) -> State:
    """A fresh beacon of the admitted instance."""
    soft = state.soft
    stuck = put(soft.stuck, gateway.id, beacon.stuck) if beacon.stuck else drop(soft.stuck, gateway.id)
    state = state.with_soft(heard=put(soft.heard, gateway.id, now), stuck=stuck,
                            sequence=put(soft.sequence, gateway.id, beacon.sequence),
                            load=put(soft.load, gateway.id, beacon.load),
                            connections=put(soft.connections, gateway.id, beacon.connections))
    state, addresses = _addresses(state, gateway, beacon)
    leaving = gateway.leaving or beacon.leaving
    if (addresses, leaving) != (gateway.addresses, gateway.leaving):
        gateway = replace(gateway, addresses=addresses, leaving=leaving)
    if beacon.subsystems is not None:
        gateway = replace(gateway, subsystems=beacon.subsystems, digest=beacon.digest)
    wanted = state.soft.want_full - {gateway.id}
    state = state.with_soft(want_full=wanted | {gateway.id} if gateway.digest != beacon.digest else wanted)
    if gateway != state.map.gateway(gateway.id):
        state = state.with_map(state.map.with_gateway(gateway))
    for confirmation in beacon.confirmations:
        state = _confirm(state, gateway, confirmation, now)
    return _recognise(state, gateway, beacon, now)


def _addresses(state: State, gateway: Gateway, beacon: Beacon) -> Tuple[State, FrozenSet[str]]:
    """Those that the map may name.  Of an instance that serves, only what its record names already: as soon as the map
    is stored, its new context may write."""
    assert gateway.instance is not None
    found = gateway.addresses | beacon.addresses
    if found == gateway.addresses or not state.map.served_by(gateway.instance):
        return state, found
    return state.with_soft(announced=put(state.soft.announced, gateway.id, found)), gateway.addresses


def _recognise(state: State, gateway: Gateway, beacon: Beacon, now: float) -> State:
    """CREATED becomes AVAILABLE once it serves; SUSPECT is acquitted once it has applied every restriction."""
    if gateway.availability is Availability.SUSPECT:
        named = any(g.phase is Phase.FENCING and gateway.instance in g.writers for g in state.map.ana_groups)
        if beacon.version < gateway.suspected_at or beacon.stuck or named or _disobeys(state, gateway, now):
            return state
    elif gateway.availability is not Availability.CREATED:
        return state
    serves = (beacon.target is TargetState.SERVING and bool(gateway.addresses) and gateway.digest == beacon.digest)
    if not serves and gateway.availability is Availability.CREATED:
        return state
    availability = Availability.AVAILABLE if serves else Availability.CREATED
    state = state.with_soft(well_since=put(state.soft.well_since, gateway.id, now))
    return state.with_map(state.map.with_gateway(replace(gateway, availability=availability)))


def _confirm(state: State, gateway: Gateway, said: Confirmation, now: float) -> State:
    """A gateway's word on one phase counts for exactly the commit that it quotes."""
    group = state.map.ana_group(said.ana_group_id)
    if group is None or group.since != said.since or group.server != gateway.instance:
        return state
    if group.phase is Phase.PROMOTING and said.outcome is Outcome.OPTIMIZED:
        state = state.with_soft(declined=drop(state.soft.declined, (group.id, gateway.id)))
        return change(state, group, phase=Phase.ACTIVE, holder=group.incoming, incoming=None)
    if group.phase is Phase.PROMOTING and said.outcome is Outcome.DECLINED:
        key = (group.id, gateway.id)
        bar = backed_off(state.soft.declined.get(key), state.map.timing.suspect_s, now)
        state = state.with_soft(declined=put(state.soft.declined, key, bar))
        return _unserved(state, group)
    if group.phase is Phase.DRAINING and said.outcome is Outcome.DRAINED:
        state = state.with_soft(drain_backoff=drop(state.soft.drain_backoff, group.id))
        return _unserved(state, group)
    return state


def _on_tick(state: State, event: Tick, now: float) -> Handled:
    """A mgr that could not hear says so before it judges anything."""
    soft = state.soft
    deaf_s = detector.deaf_s(soft.ticked, now, event.green_seats, state.map.timing)
    if deaf_s:
        state = state.with_soft(heard=detector.forgive(soft.heard, deaf_s, now), hearing_since=now)
    return _on_beacons(state, event.heard, now).with_soft(ticked=now), ()


def _on_fence_gateway(state: State, event: FenceGateway, now: float) -> Handled:
    """The one departure without W: an operator vouches for it.  All else holds: it is stored first, every address is
    fenced before anybody is promoted, and the barrier covers the fence.  If he is wrong, the target may be optimized
    beside its successor, and hosts get I/O errors there, until its warden has read the map and ends it."""
    gateway = state.map.gateway(event.gateway_id)
    if state.committed is None or gateway is None or gateway.instance is None:
        return nothing_to_fence(state, event)
    return _depart(state, gateway.instance, now), (Reply(event.request_id, 0),)


_HANDLERS: Dict[type, Callable[[State, Any, float], Handled]] = {
    BeaconReceived: _on_beacon, Tick: _on_tick, Committed: answers.map_stored, GatewayStored: answers.record_stored,
    Fenced: answers.fenced, FenceFailed: answers.fence_failed, CreateGateway: create, DeleteGateway: delete,
    SetEnabled: set_enabled, MoveAnaGroup: handover.move, SetTiming: set_timing,
    DrainGateways: handover.drain, FenceGateway: _on_fence_gateway,
    SetLocation: set_location, SetDisaster: set_disaster, ClearDisaster: clear_disaster,
}


# ---- changes ------------------------------------------------------------------------------------------------------

def _unserved(state: State, group: AnaGroup) -> State:
    return change(state, group, phase=Phase.UNSERVED, holder=None, incoming=None, writers=frozenset())


def _refuse(state: State, who: str, why: str) -> State:
    refused = put(state.soft.refused, who, why)
    return state.with_soft(refused=dict(list(refused.items())[-REFUSALS_KEPT:]))


def _suspect(state: State, gateway: Gateway) -> State:
    return state.with_map(state.map.with_gateway(
        replace(gateway, availability=Availability.SUSPECT, suspected_at=state.next_version)))


def _depart(state: State, instance: Instance, now: float, in_order: bool = False) -> State:
    """The instance is over: reaped, or its lease has certainly ended.  All it serves must be fenced.  ``in_order``: the
    warden that it was leaving with saw it end, so it has closed its clients and there is nothing to fence.  One that
    was killed on its way out may have left locks and watches, which hold up whoever follows until they are fenced."""
    gateway = state.map.current(instance)
    assert gateway is not None
    served = state.map.served_by(instance)
    wrote = any(instance in group.writers for group in state.map.ana_groups)
    addresses = frozenset() if in_order and gateway.leaving and not wrote else gateway.addresses
    state = state.with_map(state.map.with_departed(Departed(instance, addresses)).with_gateway(replace(
        gateway, instance=None, addresses=frozenset(), availability=Availability.UNAVAILABLE,
        suspected_at=NO_VERSION, leaving=False)))
    state = no_longer_moved_to(state, gateway.id)
    for group in state.map.served_by(instance):
        state = change(state, group, phase=Phase.FENCING, holder=None, incoming=None)
    soft = state.soft
    if served or not gateway.leaving:
        recent = tuple(at for at in soft.flaps.get(gateway.id, ()) if now - at < FLAP_WINDOW_S)
        state = state.with_soft(flaps=put(soft.flaps, gateway.id, recent + (now,)))
    soft = state.soft
    return prune_departed(state.with_soft(stuck=drop(soft.stuck, gateway.id), announced=drop(soft.announced, gateway.id),
                                          well_since=drop(soft.well_since, gateway.id)))


# ---- rules --------------------------------------------------------------------------------------------------------

def _settle(state: State, now: float) -> State:
    """Apply every rule until nothing changes; backoffs make that end."""
    while True:
        before = state.map
        state = settle_timing(state, now)
        judged = _judged(state, now)
        for gateway in state.map.gateways:
            settled = _settle_gateway(state, gateway, judged, now)
            if settled.map is not state.map:
                judged = _judged(settled, now)
            state = settled
        for group in state.map.ana_groups:
            state = _GROUP_RULES[group.phase](state, group, now)
        state = forget_recovered(remove_deleted(state))
        if state.map == before:
            return state


def _judged(state: State, now: float) -> detector.Silence:
    return detector.silence(_listened_to(state), state.map.timing, now)


def _settle_gateway(state: State, gateway: Gateway, judged: detector.Silence, now: float) -> State:
    """``judged``: of the gateways as they are now."""
    if gateway.instance is None:
        return state
    if gateway.availability is Availability.SUSPECT:
        acked = state.soft.suspect_acked.get(gateway.id)
        over = (acked is not None and acked.version == gateway.suspected_at
                and now >= acked.at + state.map.lease_wait_s
                and now >= state.soft.hearing_since + state.map.timing.suspect_s)
        return _depart(state, gateway.instance, now) if over else state
    if gateway.id in state.soft.stuck or _disobeys(state, gateway, now):
        return _suspect(state, gateway)
    if judged.mass != state.soft.mass_silence:
        state = state.with_soft(mass_silence=judged.mass)
    return _suspect(state, gateway) if gateway.id in judged.silent else state


def _listened_to(state: State) -> Dict[str, float]:
    """Gateways whose beacons are expected, and when each was last heard."""
    return {g.id: state.soft.heard[g.id] for g in state.map.gateways
            if g.instance is not None and g.availability is not Availability.SUSPECT and g.id in state.soft.heard}


def _disobeys(state: State, gateway: Gateway, now: float) -> bool:
    """It left a promotion unanswered for ``promote_s`` since that commit was acknowledged."""
    for group in state.map.served_by(gateway.instance) if gateway.instance else ():
        acked = state.soft.phase_acked.get(group.id)
        if (group.phase is Phase.PROMOTING and acked is not None and acked.version == group.since
                and now >= acked.at + state.map.timing.promote_s):
            return True
    return False


def _unserved_rule(state: State, group: AnaGroup, now: float) -> State:
    candidate = handover.best(state, group, now)
    if candidate is None or candidate.instance is None or retiring(state, group):
        return state
    if handover.home_is_coming(state, group, now):
        return state
    return change(state, group, phase=Phase.PROMOTING, incoming=candidate.instance,
                   writers=frozenset({candidate.instance}))


def _promoting_rule(state: State, group: AnaGroup, now: float) -> State:
    return state


def _active_rule(state: State, group: AnaGroup, now: float) -> State:
    state = handover.note_uninformed(state, group, now)
    bar = state.soft.drain_backoff.get(group.id)
    if bar is not None and now < bar.until:
        return state
    target = handover.planned_move(state, group, now)
    return state if target is None else change(state, group, phase=Phase.DRAINING, target=target)


def _draining_rule(state: State, group: AnaGroup, now: float) -> State:
    acked = state.soft.phase_acked.get(group.id)
    timing = state.map.timing
    if acked is None or acked.version != group.since or now < acked.at + timing.drain_s:
        return state
    bar = backed_off(state.soft.drain_backoff.get(group.id), timing.drain_s, now)
    state = state.with_soft(drain_backoff=put(state.soft.drain_backoff, group.id, bar))
    return change(state, group, phase=Phase.ACTIVE)


def _fencing_rule(state: State, group: AnaGroup, now: float) -> State:
    """A writer leaves only departed and fenced, and the group's barrier covers its fence."""
    fences = {w: d.osd_epoch for w in group.writers for d in [state.map.departure(w)]
              if d is not None and d.osd_epoch is not None}
    osd_epoch = max([group.osd_epoch, *(e for e in fences.values() if e is not None)])
    if not fences:
        return state
    left = group.writers - set(fences)
    if left:
        return state.with_map(state.map.with_ana_group(replace(group, writers=left, osd_epoch=osd_epoch)))
    return _unserved(state, replace(group, osd_epoch=osd_epoch))


_GROUP_RULES = {Phase.UNSERVED: _unserved_rule, Phase.PROMOTING: _promoting_rule, Phase.ACTIVE: _active_rule,
                Phase.DRAINING: _draining_rule, Phase.FENCING: _fencing_rule}


