"""What operators asked for: which gateways exist and are enabled, with which timers; and what a dying mgr left undone.

Creating what exists and deleting what does not are silent successes, as users of ``ceph nvme-gw`` expect.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Tuple

from .actions import Reply
from .events import CreateGateway, DeleteGateway, FenceGateway, SetEnabled, SetTiming
from .model import (MAX_GATEWAYS, AnaGroup, Availability, Departed, Gateway, ModelError, Phase, check_name,
                    smallest_free)
from .soft import State

Handled = Tuple[State, Tuple[Reply, ...]]


def create(state: State, event: CreateGateway, now: float) -> Handled:
    try:
        check_name("gateway id", event.gateway_id)
    except ModelError as error:
        return state, (Reply(event.request_id, errno.EINVAL, str(error)),)
    if state.committed is None:
        return not_yet(state, event.request_id)
    if all(g.deleting for g in state.map.gateways):
        # Those that go together because all go must not stay because a new one comes before their records say so.
        state = remove_deleted(state, recorded_only=False)
    known = state.map.gateway(event.gateway_id)
    if known is not None:
        state = state.with_map(state.map.with_gateway(replace(known, deleting=False)))
        return state, (Reply(event.request_id, 0),)
    return _create_new(state, event)


def _create_new(state: State, event: CreateGateway) -> Handled:
    """A new gateway inherits the ANA group of one that is being deleted and runs no more, else the smallest free one."""
    place = f"{state.map.pool}/{state.map.group}"
    gateway_map = state.map
    left = next((g for g in gateway_map.gateways if g.deleting and g.instance is None), None)
    if left is not None:
        gateway_map = gateway_map.without_gateway(left.id)
    ana_group_id = left.ana_group_id if left else smallest_free(g.id for g in gateway_map.ana_groups)
    if ana_group_id > MAX_GATEWAYS:
        return state, (Reply(event.request_id, errno.EINVAL, f"group {place} has {MAX_GATEWAYS} gateways, which is all "
                             "that NVMe's controller ids allow: delete one first, or use another group"),)
    group = gateway_map.ana_group_or_new(ana_group_id, event.gateway_id)
    assert state.committed is not None
    stored = state.committed.ana_group(ana_group_id)
    if stored is not None:
        group = replace(group, since=max(group.since, stored.since))   # removed and made again before any commit
    gateway = Gateway(event.gateway_id, ana_group_id, last_number=gateway_map.number_floor)
    gateway_map = gateway_map.with_gateway(gateway).with_ana_group(replace(group, owner=gateway.id))
    return state.with_map(gateway_map), (Reply(event.request_id, 0),)


def delete(state: State, event: DeleteGateway, now: float) -> Handled:
    if state.committed is None:
        return not_yet(state, event.request_id)
    gateway = state.map.gateway(event.gateway_id)
    if gateway is not None:
        state = no_longer_moved_to(state, gateway.id)
        state = state.with_map(state.map.with_gateway(replace(gateway, deleting=True)))
    return state, (Reply(event.request_id, 0),)


def set_enabled(state: State, event: SetEnabled, now: float) -> Handled:
    if state.committed is None:
        return not_yet(state, event.request_id)
    gateway = state.map.gateway(event.gateway_id)
    if gateway is None:
        return unknown_gateway(state, event.request_id, event.gateway_id)
    if not event.enabled:
        state = no_longer_moved_to(state, gateway.id)
    state = state.with_map(state.map.with_gateway(replace(gateway, enabled=event.enabled)))
    return state, (Reply(event.request_id, 0),)


def unknown_gateway(state: State, request_id: int, gateway_id: str) -> Handled:
    known = ", ".join(g.id for g in state.map.gateways) or "none"
    return state, (Reply(request_id, errno.EINVAL, f"gateway {gateway_id!r} is not in {state.map.pool}/"
                         f"{state.map.group}, where there are: {known}"),)


def nothing_to_fence(state: State, event: FenceGateway) -> Handled:
    """The answer to who wants an instance fenced where none runs; that it is over already is a success."""
    if state.committed is None:
        return not_yet(state, event.request_id)
    gateway = state.map.gateway(event.gateway_id)
    if gateway is None:
        return unknown_gateway(state, event.request_id, event.gateway_id)
    of_it = [d for d in state.map.departed if d.instance.gateway == gateway.id]
    if not of_it:
        return state, (Reply(event.request_id, errno.EINVAL, f"no instance of gateway {gateway.id!r} is known: nothing "
                             "is to be fenced"),)
    last = max(of_it, key=lambda d: d.instance)
    fenced = "is being fenced" if last.osd_epoch is None else f"is fenced since OSD map {last.osd_epoch}"
    return state, (Reply(event.request_id, 0, f"{last.instance} is over already, and "
                         + (fenced if last.addresses else "has no address to fence")),)


def prune_departed(state: State) -> State:
    """Keep a departed instance while it is still to be fenced, and the last one of each gateway that exists."""
    writers = {w for g in state.map.ana_groups for w in g.writers}
    last = {g.id: max((d.instance.number for d in state.map.departed if d.instance.gateway == g.id), default=0)
            for g in state.map.gateways}
    kept = tuple(d for d in state.map.departed
                 if d.instance in writers or (d.addresses and d.osd_epoch is None)
                 or d.instance.number == last.get(d.instance.gateway))
    return state.with_map(replace(state.map, departed=kept))


def no_longer_moved_to(state: State, gateway_id: str) -> State:
    """What an operator moved to this gateway belongs to its owner again."""
    for group in state.map.ana_groups:
        if group.moved_to is not None and group.moved_to.gateway == gateway_id:
            state = state.with_map(state.map.with_ana_group(replace(group, moved_to=None)))
    return state


def set_timing(state: State, event: SetTiming, now: float) -> Handled:
    """A shorter lease shortens W only later: leases given out under the old one are still running."""
    wait_s = max(state.map.lease_wait_s, event.timing.lease_wait_s)
    state = state.with_map(replace(state.map, timing=event.timing, lease_wait_s=wait_s))
    return state.with_soft(failback_doubling=event.failback_doubling), (Reply(event.request_id, 0),)


def settle_timing(state: State, now: float) -> State:
    """W shrinks only when every lease given out under the longer timing is certainly over."""
    acked = state.soft.timing_acked
    gateway_map = state.map
    if gateway_map.lease_wait_s > gateway_map.timing.lease_wait_s and acked is not None:
        if acked[0] == gateway_map.timing and now >= acked[1] + gateway_map.lease_wait_s:
            return state.with_map(replace(gateway_map, lease_wait_s=gateway_map.timing.lease_wait_s))
    return state


def not_yet(state: State, request_id: int) -> Handled:
    return state, (Reply(request_id, errno.EAGAIN, "this mgr is still taking over the gateway map of "
                         f"{state.map.pool}/{state.map.group}: try again in a moment"),)


def merge_records(state: State) -> State:
    """Add gateways that the mon KV store names and the seats do not: a mgr died between the two.

    A recorded instance that the seats do not know is suspected: nobody may ever hear of it again, and until it is over
    no other instance of its gateway is admitted.  (What is done when the seats are lost: ``rebuild.py``.)
    """
    for record in state.soft.records:
        if state.map.gateway(record.id) is not None:
            continue
        taken = {g.ana_group_id for g in state.map.gateways}
        number = record.ana_group_id if record.ana_group_id not in taken else smallest_free(taken)
        gateway = replace(record, ana_group_id=number)
        if record.instance is not None:
            gateway = replace(gateway, availability=Availability.SUSPECT, suspected_at=state.next_version)
        gateway_map = state.map.with_gateway(gateway)
        group = gateway_map.ana_group_or_new(number, record.id)
        state = state.with_map(gateway_map.with_ana_group(replace(group, owner=record.id)))
    return state.with_soft(records=())


def retiring(state: State, group: AnaGroup) -> bool:
    """The group's owner is being deleted, and nothing needs the group any more."""
    owner = state.map.gateway(group.owner)
    if owner is None or not owner.deleting:
        return False
    if all(g.deleting for g in state.map.gateways):
        return True
    witnesses = [g for g in state.map.gateways if g.availability is Availability.AVAILABLE]
    return bool(witnesses) and not any(s.namespaces_in(group.id) for g in witnesses for s in g.subsystems)


def remove_deleted(state: State, recorded_only: bool = True) -> State:
    """A deleted gateway disappears, with its ANA group, once it serves nothing and the stored map says that nobody
    serves the group; and (``recorded_only``) not before its record says that it is being deleted: a record that outlives
    it, because the mgr died, must not bring it back to stay."""
    assert state.committed is not None
    for gateway in state.map.gateways:
        group = state.map.ana_group(gateway.ana_group_id)
        record = state.soft.stored.get(gateway.id)
        recorded = record is not None and record.deleting
        if not gateway.deleting or group is None or (recorded_only and not recorded):
            continue
        if not retiring(state, group):
            continue
        stored = state.committed.ana_group(group.id)
        if group.phase is not Phase.UNSERVED or stored is None or stored.since != group.since:
            continue
        if gateway.instance is not None and (state.map.served_by(gateway.instance)
                                             or state.committed.served_by(gateway.instance)):
            continue   # what it has just drained must be stored as drained before it departs
        gateway_map = state.map.without_gateway(gateway.id).without_ana_group(group.id)
        if gateway.instance is not None:
            gateway_map = gateway_map.with_departed(Departed(gateway.instance, gateway.addresses))
        state = state.with_map(gateway_map)
    return state
