"""Health checks, from what the drivers publish.  Pure but for the times at which a state was first seen.

The first three checks and their texts are those that Ceph's built-in gateway monitor raises.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .core.model import Availability, Map, Phase
from .kv_records import GroupKey
from .status import Status

DELETING_S = 900.0
"""A gateway that is still there this long after its deletion is worth a warning."""
UNSERVED_S = 5.0
"""A failover passes through phases in which nobody is optimized; longer than this it is an outage."""
NOT_RUNNING_S = 10.0
SEATS_CLOSE_S = 60.0
"""Seats that come together while an OSD restarts part by themselves."""

WARNING, ERROR = "warning", "error"

Checks = Dict[str, Dict[str, Any]]


class Finding(NamedTuple):
    code: str
    detail: str


_SUMMARIES = {
    "NVMEOF_SINGLE_GATEWAY": (WARNING, "{n} group(s) have only 1 nvmeof gateway; HA is not possible with single "
                                       "gateway."),
    "NVMEOF_GATEWAY_DOWN": (WARNING, "{n} gateway(s) are in unavailable state; gateway might be down, try to "
                                     "redeploy."),
    "NVMEOF_GATEWAY_DELETING": (WARNING, "{n} gateway(s) are in deleting state; namespaces are automatically balanced "
                                         "across remaining gateways, this should take a few minutes."),
    "NVMEOF_HA_UNSERVED": (ERROR, "{n} ANA group(s) with namespaces are optimized nowhere: no I/O is possible"),
    "NVMEOF_HA_FENCE_FAILED": (ERROR, "{n} gateway instance(s) could not be fenced; what they served stays unserved"),
    "NVMEOF_HA_INVARIANT": (ERROR, "{n} gateway group(s) are not looked after: an invariant was violated"),
    "NVMEOF_HA_GROUP_STOPPED": (ERROR, "{n} gateway group(s) are not looked after"),
    "NVMEOF_HA_CONTROL_OBJECTS": (WARNING, "{n} problem(s) with the control objects of gateway groups"),
    "NVMEOF_HA_SEATS_CLOSE": (WARNING, "{n} gateway group(s) have seats that can fail together, and need not"),
    "NVMEOF_HA_MASS_SILENCE": (WARNING, "in {n} gateway group(s) most gateways fell silent together"),
    "NVMEOF_HA_BAD_BEACON": (WARNING, "beacons that cannot be used came from {n} sender(s)"),
    "NVMEOF_HA_EXPOSED": (WARNING, "{n} subsystem(s) or API(s) of gateways are open to anybody"),
    "NVMEOF_HA_BAD_OPTION": (WARNING, "module options cannot be used as they are set"),
}


class Health:
    """Remembers since when a state lasts; one per module."""

    def __init__(self) -> None:
        self._since: Dict[Tuple[str, str], float] = {}
        self._seen: set = set()

    def checks(self, groups: Mapping[GroupKey, Status], option_problem: str, now: float) -> Checks:
        """``option_problem``: "" or why the options as set are not in force."""
        self._seen = set()
        findings: List[Finding] = []
        for key, status in sorted(groups.items()):
            findings += self._of_driver(key, status, now)
            if status.committed is not None:
                findings += self._of_map(key, status.committed, now)
        if option_problem:
            findings.append(Finding("NVMEOF_HA_BAD_OPTION", option_problem))
        self._since = {what: at for what, at in self._since.items() if what in self._seen}
        return _grouped(findings)

    def _lasts(self, kind: str, name: str, now: float) -> float:
        self._seen.add((kind, name))
        return now - self._since.setdefault((kind, name), now)

    def _of_driver(self, key: GroupKey, status: Status, now: float) -> List[Finding]:
        findings = [Finding("NVMEOF_HA_CONTROL_OBJECTS", f"group {key}: {problem}") for problem in status.problems
                    if self._lasts("problem", f"{key} {problem}", now) >= UNSERVED_S]
        findings += [Finding("NVMEOF_HA_FENCE_FAILED", f"group {key}: {text}") for text in status.fence_failures]
        findings += [Finding("NVMEOF_HA_BAD_BEACON", f"group {key}: {text}") for text in status.bad_beacons]
        findings += [Finding("NVMEOF_HA_EXPOSED", f"group {key}: {text}") for text in status.exposed]
        if status.seats_close and self._lasts("seats close", f"{key} {status.seats_close}", now) >= SEATS_CLOSE_S:
            findings.append(Finding("NVMEOF_HA_SEATS_CLOSE", f"group {key}: {status.seats_close}; what they share stalls "
                                    "both, and then gateways go inaccessible when their leases end. `ceph osd "
                                    "pg-upmap-items` moves one of these placement groups elsewhere"))
        if status.mass_silence and _waited_for(status.committed):
            findings.append(Finding("NVMEOF_HA_MASS_SILENCE", f"group {key}: the network or this mgr may be at fault, so "
                                    "they are given twice the usual time before they are suspected"))
        if status.broken:
            findings.append(Finding("NVMEOF_HA_INVARIANT", f"group {key}: {status.stopped}; report this, then have "
                                    "another mgr begin anew with `ceph mgr fail`"))
        elif status.stopped:
            findings.append(Finding("NVMEOF_HA_GROUP_STOPPED", f"group {key}: {status.stopped}; if this mgr is still "
                                    "the active one, have another begin anew with `ceph mgr fail`"))
        elif not status.running and self._lasts("start", str(key), now) >= NOT_RUNNING_S:
            findings.append(Finding("NVMEOF_HA_GROUP_STOPPED", f"group {key}: {status.waiting_for}"))
        return findings

    def _of_map(self, key: GroupKey, gateway_map: Map, now: float) -> List[Finding]:
        findings = []
        if len(gateway_map.gateways) == 1:
            findings.append(Finding("NVMEOF_SINGLE_GATEWAY", f"NVMeoF Gateway Group '{key.group}' has 1 gateway."))
        for gateway in gateway_map.gateways:
            if gateway.deleting:
                if self._lasts("deleting", f"{key}/{gateway.id}", now) >= DELETING_S:
                    findings.append(Finding("NVMEOF_GATEWAY_DELETING",
                                            f"NVMeoF Gateway '{gateway.id}' is in deleting state."))
            elif gateway.availability is Availability.UNAVAILABLE:
                findings.append(Finding("NVMEOF_GATEWAY_DOWN", f"NVMeoF Gateway '{gateway.id}' is unavailable."))
        for ana_group in gateway_map.ana_groups:
            without_address = _unfenceable(gateway_map, ana_group.writers) if ana_group.phase is Phase.FENCING else None
            if without_address:
                findings.append(Finding("NVMEOF_HA_FENCE_FAILED", f"group {key}: no address of {without_address} is "
                                        f"known, so it cannot be fenced and ANA group {ana_group.id} stays unserved"))
            if ana_group.phase is Phase.ACTIVE or not gateway_map.namespaces_in(ana_group.id):
                continue
            if self._lasts("unserved", f"{key}/{ana_group.id}", now) >= UNSERVED_S:
                findings.append(Finding("NVMEOF_HA_UNSERVED", f"group {key}: ANA group {ana_group.id} of gateway "
                                        f"{ana_group.owner} is {ana_group.phase.value}"))
        return findings


def _waited_for(gateway_map: Optional[Map]) -> bool:
    """Some gateway runs and is not suspected (yet)."""
    return gateway_map is not None and any(g.instance is not None and g.availability is not Availability.SUSPECT
                                           for g in gateway_map.gateways)


def _unfenceable(gateway_map: Map, writers: Any) -> Optional[str]:
    for writer in sorted(writers):
        departed = gateway_map.departure(writer)
        if departed is not None and not departed.addresses:
            return str(writer)
    return None


def _grouped(findings: List[Finding]) -> Checks:
    checks: Checks = {}
    for code, (severity, summary) in _SUMMARIES.items():
        details = [finding.detail for finding in findings if finding.code == code]
        if details:
            checks[code] = {"severity": severity, "summary": summary.format(n=len(details)), "count": len(details),
                            "detail": details}
    return checks
