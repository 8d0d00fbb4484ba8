"""Health checks, from what the drivers publish.  Pure but for the times at which a state was first seen.

Here are those of drivers and of what the map alone tells; ``health_gateways.py`` and ``health_mgr.py`` have the others,
``findings.py`` their summaries.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

from . import health_gateways, health_mgr, reasons
from .core.model import Availability, Map, Phase
from .findings import Checks, Finding, grouped
from .health_mgr import MgrView
from .kv_records import GroupKey
from .reasons import Known
from .status import Status

DELETING_S = 900.0
"""A gateway that is still there this long after its deletion is worth a warning."""
UNSERVED_S = 5.0
"""A failover passes through phases in which nobody is optimized; longer than this it is an outage."""
NOT_RUNNING_S = 10.0
STUCK_S, SEEN_AGAIN_S = 10.0, 0.5
"""A driver that runs publishes each second at least; it is looked at a second time, because all of the mgr may have stood still.
A standby mgr takes over sooner (``core/standby.py``)."""
SEATS_CLOSE_S = 60.0
"""Seats that come together while an OSD restarts part by themselves."""


class Health:
    """Remembers since when a state lasts; one per module."""

    def __init__(self) -> None:
        self._since: Dict[Tuple[str, str], float] = {}
        self._seen: set = set()

    def checks(self, groups: Mapping[GroupKey, Status], option_problem: str, now: float,
               page_problem: str = "", mgr: MgrView = MgrView()) -> Checks:
        """``option_problem``: "" or why the options as set are not in force.  ``page_problem``: "" or why the status
        page is not served although it should be."""
        self._seen = set()
        findings: List[Finding] = []
        for key, status in sorted(groups.items()):
            findings += self._of_driver(key, status, now)
            if status.committed is not None:
                known = Known(status.committed, status.soft, now)
                findings += self._of_map(key, known)
                findings += health_gateways.of_group(key, known, status.said, self._lasts)
            findings += health_mgr.of_driver(key, status, now, self._lasts)
        if groups:
            findings += health_mgr.of_mgrs(mgr, now, self._lasts)
        if option_problem:
            findings.append(Finding("NVMEOF_HA_BAD_OPTION", option_problem))
        if page_problem and self._lasts("page", page_problem, now) >= NOT_RUNNING_S:
            findings.append(Finding("NVMEOF_HA_PAGE", page_problem))
        self._since = {what: at for what, at in self._since.items() if what in self._seen}
        return grouped(findings)

    def _lasts(self, kind: str, name: str, now: float) -> float:
        self._seen.add((kind, name))
        return now - self._since.setdefault((kind, name), now)

    def _of_driver(self, key: GroupKey, status: Status, now: float) -> List[Finding]:
        findings = [Finding("NVMEOF_HA_CONTROL_OBJECTS", f"group {key}: {problem}") for problem in status.problems
                    if self._lasts("problem", f"{key} {problem}", now) >= UNSERVED_S]
        findings += [Finding("NVMEOF_HA_FENCE_FAILED", f"group {key}: {text}") for text in status.fence_failures]
        findings += [Finding("NVMEOF_HA_BAD_BEACON", f"group {key}: {text}") for text in status.bad_beacons]
        findings += [Finding("NVMEOF_HA_EXPOSED", f"group {key}: {text}") for text in status.exposed]
        if status.most_seats_lost and self._lasts("seats lost", str(key), now) >= UNSERVED_S:
            findings.append(Finding("NVMEOF_HA_SEATS_LOST", f"group {key}: {'; '.join(status.seats_lost)}; its gateways go "
                                    f"inaccessible. Restore them, or `ceph nvmeof-ha repair {key.pool} {key.group}`"))
        if status.seats_close and self._lasts("seats close", f"{key} {status.seats_close}", now) >= SEATS_CLOSE_S:
            findings.append(Finding("NVMEOF_HA_SEATS_CLOSE", f"group {key}: {status.seats_close}; what they share "
                                    "stalls both, and then gateways go inaccessible when their leases end. `ceph osd "
                                    "pg-upmap-items` moves one of these placement groups elsewhere"))
        if status.mass_silence and _waited_for(status.committed):
            findings.append(Finding("NVMEOF_HA_MASS_SILENCE", f"group {key}: the network or this mgr may be at fault, "
                                    "so they are given twice the usual time before they are suspected"))
        if status.broken:
            findings.append(Finding("NVMEOF_HA_INVARIANT", f"group {key}: {status.stopped}; report this, then have "
                                    "another mgr begin anew with `ceph mgr fail`"))
        elif status.stopped:
            findings.append(Finding("NVMEOF_HA_GROUP_STOPPED", f"group {key}: {status.stopped}; if this mgr is still "
                                    "the active one, have another begin anew with `ceph mgr fail`"))
        elif not status.running and self._lasts("start", str(key), now) >= NOT_RUNNING_S:
            findings.append(Finding("NVMEOF_HA_GROUP_STOPPED", f"group {key}: {status.waiting_for}"))
        elif status.running and now - status.published_at >= STUCK_S and self._lasts("stuck", str(key), now) >= SEEN_AGAIN_S:
            findings.append(Finding("NVMEOF_HA_GROUP_STOPPED", f"group {key}: its driver has done nothing for more than "
                                    f"{STUCK_S:g} s; report this, and have another mgr begin anew with `ceph mgr fail`"))
        return findings

    def _of_map(self, key: GroupKey, known: Known) -> List[Finding]:
        findings, gateway_map, now = [], known.map, known.now
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
            if ana_group.phase is Phase.ACTIVE or not gateway_map.namespaces_in(ana_group.id):
                continue
            if self._lasts("unserved", f"{key}/{ana_group.id}", now) >= UNSERVED_S:
                findings.append(Finding("NVMEOF_HA_UNSERVED", f"group {key}: ANA group {ana_group.id} of gateway "
                                        f"{ana_group.owner} is {ana_group.phase.value}: "
                                        f"{reasons.of_ana_group(known, ana_group)}"))
        return findings


def _waited_for(gateway_map: Optional[Map]) -> bool:
    """Some gateway runs and is not suspected (yet)."""
    return gateway_map is not None and any(g.instance is not None and g.availability is not Availability.SUSPECT
                                           for g in gateway_map.gateways)
