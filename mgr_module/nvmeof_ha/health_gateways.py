"""Health checks of one gateway group from its map, what the mgr knows beside it, and what its gateways say.  Pure.

Reads with the rules that decide (``reasons.py``, ``core/placement.py``).  Nothing is found that is normal for seconds:
each state must last longer than it does when all goes well.
"""

from __future__ import annotations

from typing import Iterator, Mapping, Optional

from . import reasons
from .core import placement
from .core.model import AnaGroup, Availability, Gateway, Phase
from .core.release import RELEASE
from .findings import Finding, Lasts
from .hearing import Said
from .kv_records import GroupKey
from .reasons import Known

MARGIN_S = 10.0
"""Beyond what a phase may take by its own timer: a commit, a fence, a beacon on a slow cluster."""
UNFENCED_S = 15.0
SUSPECT_S = 5.0
"""Beyond W, after which a suspected gateway is given up or acquitted."""
FLAPS = 3
LISTENER_S = 60.0
CONFIGURATION_S = 60.0
DRIFT_TOLD_S = 300.0
RELEASES_S = 900.0
"""An upgrade goes from gateway to gateway."""
CROWDED, BALANCED_S = 4, 900.0
"""The gateways themselves move namespaces into an empty ANA group within minutes."""


def of_group(key: GroupKey, known: Known, said: Mapping[str, Said], lasts: Lasts) -> Iterator[Finding]:
    yield from _transitions(key, known, lasts)
    yield from _unfenced(key, known, lasts)
    for gateway in known.map.gateways:
        yield from _of_gateway(key, known, gateway, lasts)
        yield from _of_words(key, gateway, said.get(gateway.id, Said()), known.now, lasts)
    yield from _hung_moves(key, said)
    yield from _unbalanced(key, known, lasts)


def look_closer(key: GroupKey) -> str:
    return f"`ceph nvmeof-ha status {key.pool} {key.group}` shows more"


def _transitions(key: GroupKey, known: Known, lasts: Lasts) -> Iterator[Finding]:
    timing = known.map.timing
    longest_s = {Phase.PROMOTING: timing.promote_s, Phase.DRAINING: timing.drain_s,
                 Phase.FENCING: known.map.lease_wait_s}
    for group in known.map.ana_groups:
        if group.phase not in longest_s:
            continue
        limit_s = longest_s[group.phase] + MARGIN_S
        if lasts("phase", f"{key}/{group.id} {group.phase.value} {group.since}", known.now) >= limit_s:
            yield Finding("NVMEOF_HA_TRANSITION_STUCK", f"group {key}: ANA group {group.id} of gateway {group.owner} "
                          f"is {group.phase.value} for more than {limit_s:.0f} s: "
                          f"{reasons.of_ana_group(known, group)}; {look_closer(key)}, and `ceph mgr fail` has another "
                          "mgr go on with it")


def _unfenced(key: GroupKey, known: Known, lasts: Lasts) -> Iterator[Finding]:
    """Those whose fence failed are told of by ``NVMEOF_HA_FENCE_FAILED``."""
    failed = known.soft.fence_errors if known.soft is not None else {}
    for departed in known.map.departed:
        waits = bool(departed.addresses) and departed.osd_epoch is None and departed.instance not in failed
        if waits and lasts("unfenced", f"{key}/{departed.instance}", known.now) >= UNFENCED_S:
            yield Finding("NVMEOF_HA_UNFENCED", f"group {key}: {departed.instance} of gateway "
                          f"{departed.instance.gateway} is lost and not on the blocklist yet; see that the mons answer "
                          "(`ceph -s`), or stop its target by hand")
    for group in known.map.ana_groups:
        holder = _suspected_holder(known, group)
        if holder is not None and lasts("holder", f"{key}/{group.id} {holder}", known.now) >= (
                known.map.lease_wait_s + MARGIN_S):
            yield Finding("NVMEOF_HA_UNFENCED", f"group {key}: ANA group {group.id} is still held by gateway "
                          f"{holder.id}, which {'; '.join(reasons.of_gateway(known, holder))}; see that the pool takes "
                          "writes (`ceph -s`), or stop its target by hand")


def _suspected_holder(known: Known, group: AnaGroup) -> Optional[Gateway]:
    holder = None if group.holder is None else known.map.current(group.holder)
    return holder if holder is not None and holder.availability is Availability.SUSPECT else None


def _of_gateway(key: GroupKey, known: Known, gateway: Gateway, lasts: Lasts) -> Iterator[Finding]:
    name, soft = f"{key}/{gateway.id}", known.soft
    said_stuck = soft is not None and bool(soft.stuck.get(gateway.id))
    suspect = gateway.availability is Availability.SUSPECT
    if (said_stuck or suspect) and lasts("stuck", name, known.now) >= (
            known.map.lease_wait_s + SUSPECT_S if suspect else SUSPECT_S):
        yield Finding("NVMEOF_HA_GATEWAY_STUCK", f"group {key}: gateway {gateway.id} "
                      f"{'; '.join(reasons.of_gateway(known, gateway))}; see its warden's log and its way to the OSDs")
    flaps = reasons.recent_flaps(known, gateway)
    if flaps >= FLAPS:
        yield Finding("NVMEOF_HA_GATEWAY_FLAPPING", f"group {key}: gateway {gateway.id} was lost {flaps} times in the "
                      f"last 10 minutes, so its ANA groups return to it later each time; `ceph nvmeof-ha history "
                      f"{key.pool} {key.group}` says why, `ceph nvmeof-ha disable {gateway.id} {key.pool} {key.group}` "
                      "keeps it out")
    if gateway.availability is Availability.AVAILABLE and not gateway.deleting:
        for nqn in placement.lacking_listeners(known.map, gateway):
            if lasts("listener", f"{name} {nqn}", known.now) >= LISTENER_S:
                yield Finding("NVMEOF_HA_LISTENER_MISSING", f"group {key}: gateway {gateway.id} has no listener of "
                              f"{nqn}, so its namespaces have a path less; `nvmeof-gw listener add` adds one")


def _of_words(key: GroupKey, gateway: Gateway, said: Said, now: float, lasts: Lasts) -> Iterator[Finding]:
    of = f"group {key}: gateway {gateway.id}"
    if gateway.instance is None:
        return
    if said.repaired_at is not None and now - said.repaired_at < DRIFT_TOLD_S:
        yield Finding("NVMEOF_HA_ANA_DRIFT", f"{of} found ANA states that it had not set, {said.notes.ana_repairs} "
                      "time(s) since it began, and set them right; nobody else may use its target's JSON-RPC (its log "
                      "has more)")
    for text in said.notes.problems:
        if lasts("configuration", f"{of} {text}", now) >= CONFIGURATION_S:
            yield Finding("NVMEOF_HA_CONFIGURATION", f"{of}: {text}")
    release = said.notes.release
    if release and release != RELEASE and lasts("release", f"{of} {release}", now) >= RELEASES_S:
        yield Finding("NVMEOF_HA_RELEASES_DIFFER", f"{of} runs release {release}, this mgr {RELEASE}: upgrade the "
                      "older")


def _hung_moves(key: GroupKey, said: Mapping[str, Said]) -> Iterator[Finding]:
    """Every gateway knows of a move: it is told once."""
    found = {text.partition(" to ANA group ")[0]: text for one in said.values() for text in one.notes.hung_moves}
    for text in sorted(found.values()):
        yield Finding("NVMEOF_HA_MOVE_HUNG", f"group {key}: {text}; it is taken back by itself once gateways reach the "
                      "pool and the mons")


def _unbalanced(key: GroupKey, known: Known, lasts: Lasts) -> Iterator[Finding]:
    counts = {group.id: known.map.namespaces_in(group.id) for group in known.map.ana_groups}
    crowded = max(counts.values(), default=0)
    for group in known.map.ana_groups:
        owner = known.map.gateway(group.owner)
        idle = (owner is not None and owner.availability is Availability.AVAILABLE and owner.enabled
                and not owner.deleting and counts[group.id] == 0 and crowded >= CROWDED)
        if idle and lasts("unbalanced", f"{key}/{group.id}", known.now) >= BALANCED_S:
            yield Finding("NVMEOF_HA_UNBALANCED", f"group {key}: ANA group {group.id} of gateway {group.owner} has no "
                          f"namespace, another has {crowded}; see that rebalancing is not paused, or move some with "
                          "`nvmeof-gw namespace change_load_balancing_group`")
