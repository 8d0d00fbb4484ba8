"""May this gateway run a target now, and as which instance?  Pure.

A gateway host proposes an instance (one number above the map's last, with a random token); the mgr admits it once the
earlier one has departed. Promises: no target runs for an instance that the agreed map does not name; whoever waits is
told why.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

from nvmeof_ha_core.model import Instance
from nvmeof_ha_core.register import View


@dataclass(frozen=True)
class Admission:
    """`candidate`: what the agent's beacons propose (None: nothing can be proposed). `waiting`: why no target may run,
    empty when one may. `deleted`: an agreed map no longer names the gateway."""

    candidate: Optional[Instance]
    waiting: str
    deleted: bool = False


def admission(view: View, pool: str, group: str, gateway_id: str, candidate: Optional[Instance],
              reaped: Tuple[Instance, ...], new_token: Callable[[], str]) -> Admission:
    """Judge by the standing view of the seats; `candidate`: what was proposed or ran so far; `reaped`: instances of
    this host whose process has ended."""
    if view.permits is None:
        return Admission(candidate, "no two seats of the gateway map have given the same map yet")
    gateway = view.permits.gateway(gateway_id)
    if gateway is None:
        return Admission(None, f"the gateway map of {pool}/{group} (version {view.permits.version}) does not name "
                         f"gateway {gateway_id!r}; create it with: ceph nvmeof-ha create {gateway_id} {pool} {group}",
                         deleted=True)
    if candidate is None or candidate in reaped or view.over(candidate):
        candidate = Instance(gateway_id, gateway.last_number + 1, new_token())
    if gateway.instance == candidate:
        return Admission(candidate, "")
    if gateway.deleting:
        return Admission(candidate, f"gateway {gateway_id!r} is being deleted; to keep it: ceph nvmeof-ha create "
                         f"{gateway_id} {pool} {group}")
    if gateway.instance in reaped:
        return Admission(candidate, f"the map still names {gateway.instance}, which ended here; a mgr has to take note "
                         "of that: is one active? (`ceph -s`)")
    if gateway.instance is not None:
        return Admission(candidate, f"gateway id {gateway_id!r} is in use by instance {gateway.instance}; this host "
                         "starts its target when that one has ended. If another machine runs with this id on purpose, "
                         "give this one an id of its own (option name in section [gateway])")
    return Admission(candidate, f"the mgr has not admitted instance {candidate} yet; is the module enabled, and a mgr "
                     "active? (`ceph mgr module ls`, `ceph -s`)")
