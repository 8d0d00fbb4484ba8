"""What Prometheus is told of all gateway groups: a pure function from what is published to text.

``exposition(groups, mgrs, checks, now, pause)`` makes the text, ``Module.metrics_text()`` calls it for the module's own port
(``/metrics``), ``CONTENT_TYPE`` goes with it.  Names are ``nvmeof_ha_*``, labels ``pool`` and ``group``, and
``ana_group``, ``gateway`` or ``seat`` where it is of one.  Promises: counters and histograms only grow while this
mgr is the active one, and begin at 0 with it; what is not known has no sample.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional

from .core.model import Availability, Gateway, Map, Phase
from .core.release import RELEASE
from .findings import Checks
from .health_mgr import MgrView
from .hearing import Said
from .kv_records import GroupKey
from .measures import Durations, Measured, Totals
from .metrics_text import CONTENT_TYPE, Family, Labels, Samples
from .pauses import Pause
from .reasons import Known, recent_flaps
from .status import Status
from .transitions import Kind, Outcome

__all__ = ["CONTENT_TYPE", "Seen", "exposition"]


class Seen(NamedTuple):
    """Of one group."""

    status: Status
    measured: Measured
    totals: Totals


def _gauge(name: str, text: str) -> Family:
    return Family(f"nvmeof_ha_{name}", "gauge", text)


def _counter(name: str, text: str) -> Family:
    return Family(f"nvmeof_ha_{name}_total", "counter", text)


def _histogram(name: str, text: str) -> Family:
    return Family(f"nvmeof_ha_{name}_seconds", "histogram", text)


RELEASE_INFO = _gauge("mgr_release_info", "Release of the mgr module, in the label")
STANDBYS = _gauge("mgr_standbys", "Standby mgrs that could take over")
GRACE = _gauge("mgr_beacon_grace_seconds", "After this silence the mons replace a mgr (mon_mgr_beacon_grace)")
FINDINGS = _gauge("health_findings", "Detail lines of each health check of the module")
LOOKED_AFTER = _gauge("group_looked_after", "1: this mgr decides for the gateway group")
PROBLEMS = _gauge("group_problems", "Problems with the control objects of the gateway group")
GREEN = _gauge("mgr_green_seats", "Seat objects of 3 through which the mgr hears itself; below 2 it suspects nobody")
LATE = _gauge("mgr_late_ticks", "Ticks of the last minute that were so late that silence did not count")
LATENESS = _histogram("mgr_tick_lateness", "By how much ticks of the mgr came late")
FENCE = _histogram("fence_duration", "From the first blocklist command to the OSD map that lists all addresses")
FENCE_FAILURES = _gauge("fence_failures", "Gateway instances whose fence fails at present")
UNFENCED = _gauge("unfenced_instances", "Lost gateway instances whose addresses are not all on the blocklist yet")
COMMIT = _histogram("seat_commit_duration", "How long a commit of the map took on one seat object")
PROBE = _histogram("seat_probe_duration", "How long the write took that shows that a seat's placement group works")
TRANSITIONS = _counter("transitions", "Moves of ANA groups and losses of gateways that ended under this mgr")
TOOK = _histogram("transition_duration", "How long they took, from the first sign to the optimized path")
PHASE_TOOK = _histogram("transition_phase_duration", "How long each phase of them took, named by what ended it")

PHASE = _gauge("ana_group_phase", "1 for the phase that the ANA group is in")
PHASE_FOR = _gauge("ana_group_phase_age_seconds", "For how long this mgr has known the ANA group in its phase")
HOLDER = _gauge("ana_group_holder_info", "Who owns the ANA group and who serves it, in the labels")
UNSERVED = _gauge("ana_group_unserved", "1: the ANA group has namespaces and is optimized nowhere")
NAMESPACES = _gauge("ana_group_namespaces", "Namespaces in the ANA group")
ANA_IO = _gauge("ana_group_io_operations_per_second", "I/O of the ANA group's namespaces on all gateways, per second")

AVAILABILITY = _gauge("gateway_availability", "1 for what is known of the gateway's instance")
ENABLED = _gauge("gateway_enabled", "1: the gateway may serve; 0: disabled, or being deleted")
BEACON_AGE = _gauge("gateway_beacon_age_seconds", "Since the gateway's last beacon")
LEASE = _gauge("gateway_lease_left_seconds", "What was left of the gateway's lease when it sent its last beacon")
LAG = _gauge("gateway_loop_lag_seconds", "By how much the agent's event loop was late at most, as of its last beacon")
REPAIRS = _counter("gateway_ana_repairs", "ANA states that the agent had not set and set right")
LOSSES = _gauge("gateway_recent_losses", "Unplanned losses of the gateway in the last 10 minutes")
HOSTS = _gauge("gateway_host_connections", "Connections of hosts, each counted once for each subsystem")
IO = _gauge("gateway_io_operations_per_second", "I/O that the gateway's target completes, per second")
GATEWAY_RELEASE = _gauge("gateway_release_info", "Release of the gateway's agent, in the label")


def exposition(groups: Mapping[GroupKey, Seen], mgrs: MgrView, checks: Checks, now: float, pause: Pause) -> List[bytes]:
    """``checks``: as they are shown.  ``now``: monotonic seconds."""
    samples = Samples(pause)
    samples.add(RELEASE_INFO, {"release": RELEASE}, 1)
    if mgrs.standbys is not None:
        samples.add(STANDBYS, {}, mgrs.standbys)
    if mgrs.grace_s is not None:
        samples.add(GRACE, {}, mgrs.grace_s)
    for code, check in checks.items():
        samples.add(FINDINGS, {"code": code, "severity": check["severity"]}, check["count"])
    for key, seen in sorted(groups.items()):
        _group(samples, {"pool": key.pool, "group": key.group}, seen, now)
    return samples.blocks()


def _group(samples: Samples, labels: Labels, seen: Seen, now: float) -> None:
    status, measured = seen.status, seen.measured
    samples.add(LOOKED_AFTER, labels, int(status.running))
    samples.add(PROBLEMS, labels, len(status.problems))
    samples.durations(LATENESS, labels, measured.tick_lateness)
    samples.durations(FENCE, labels, measured.fences)
    for seat, times in sorted(measured.seats.items()):
        samples.durations(COMMIT, {**labels, "seat": seat}, times.commits)
        samples.durations(PROBE, {**labels, "seat": seat}, times.probes)
    _transitions(samples, labels, seen.totals)
    if status.running:
        samples.add(GREEN, labels, status.green_seats)
        samples.add(LATE, labels, status.late_ticks)
    if status.committed is not None:
        known = Known(status.committed, status.soft, now)
        _map(samples, labels, known, len(status.fence_failures))
        _ana_groups(samples, labels, known, status.said)
        for gateway in known.map.gateways:
            _gateway(samples, {**labels, "gateway": gateway.id}, known, gateway, status.said.get(gateway.id))


def _transitions(samples: Samples, labels: Labels, totals: Totals) -> None:
    """Every kind is there from the beginning, so that the first one is seen to be added."""
    ended = {**{(kind.value, Outcome.DONE.value): 0 for kind in Kind}, **totals.ended}
    for (kind, outcome), count in ended.items():
        samples.add(TRANSITIONS, {**labels, "kind": kind, "outcome": outcome}, count)
    took = {kind.value: Durations() for kind in Kind}
    took.update({kind: found.snapshot() for kind, found in totals.took.items()})
    for kind, found in took.items():
        samples.durations(TOOK, {**labels, "kind": kind}, found)
    for (kind, phase), histogram in totals.phases.items():
        samples.durations(PHASE_TOOK, {**labels, "kind": kind, "phase": phase}, histogram.snapshot())


def _map(samples: Samples, labels: Labels, known: Known, fence_failures: int) -> None:
    samples.add(FENCE_FAILURES, labels, fence_failures)
    samples.add(UNFENCED, labels, sum(d.osd_epoch is None and bool(d.addresses) for d in known.map.departed))


def _ana_groups(samples: Samples, labels: Labels, known: Known, said: Mapping[str, Said]) -> None:
    operations = _operations(known.map, said)
    for group in known.map.ana_groups:
        of = {**labels, "ana_group": group.id}
        namespaces, server = known.map.namespaces_in(group.id), group.server
        samples.one_of(PHASE, of, "phase", [phase.value for phase in Phase], group.phase.value)
        acked = None if known.soft is None else known.soft.phase_acked.get(group.id)
        if acked is not None:
            samples.add(PHASE_FOR, of, max(0.0, known.now - acked.at))
        samples.add(HOLDER, {**of, "owner": group.owner, "holder": server.gateway if server else ""}, 1)
        samples.add(UNSERVED, of, int(namespaces > 0 and group.phase is not Phase.ACTIVE))
        samples.add(NAMESPACES, of, namespaces)
        if group.id in operations:
            samples.add(ANA_IO, of, operations[group.id])


def _operations(gateway_map: Map, said: Mapping[str, Said]) -> Dict[int, int]:
    """Of gateways that run; they say nothing of an ANA group without I/O."""
    telling = [said[g.id].notes for g in gateway_map.gateways if g.instance is not None and g.id in said]
    found: Dict[int, int] = {}
    if any(notes.release for notes in telling):
        found = {group.id: 0 for group in gateway_map.ana_groups if gateway_map.namespaces_in(group.id)}
    for notes in telling:
        for ana_group_id, rate in notes.io:
            found[ana_group_id] = found.get(ana_group_id, 0) + rate
    return found


def _gateway(samples: Samples, labels: Labels, known: Known, gateway: Gateway, said: Optional[Said]) -> None:
    samples.one_of(AVAILABILITY, labels, "availability", [a.value for a in Availability], gateway.availability.value)
    samples.add(ENABLED, labels, int(gateway.enabled and not gateway.deleting))
    samples.add(LOSSES, labels, recent_flaps(known, gateway))
    if gateway.instance is None or known.soft is None:
        return
    heard = known.soft.heard.get(gateway.id)
    if heard is not None:
        samples.add(BEACON_AGE, labels, max(0.0, known.now - heard))
    samples.add(HOSTS, labels, known.soft.connections.get(gateway.id, 0))
    if said is None:
        return
    samples.add(IO, labels, said.load)
    if said.notes.release:  # an agent that is too old leaves the others out with it
        samples.add(GATEWAY_RELEASE, {**labels, "release": said.notes.release}, 1)
        samples.add(LEASE, labels, said.notes.lease_left_s)
        samples.add(LAG, labels, said.notes.loop_lag_s)
        samples.add(REPAIRS, labels, said.notes.ana_repairs)
