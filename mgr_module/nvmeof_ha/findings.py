"""What health checks are made of: findings, and for each code its severity and summary, in the order they are shown.

The first three and their texts are those that Ceph's built-in gateway monitor raises.  Pure.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, NamedTuple

WARNING, ERROR = "warning", "error"

Checks = Dict[str, Dict[str, Any]]
Lasts = Callable[[str, str, float], float]
"""(kind, name, now) -> for how many seconds this was asked each time."""


class Finding(NamedTuple):
    code: str
    detail: str


SUMMARIES = {
    "NVMEOF_SINGLE_GATEWAY": (WARNING, "{n} group(s) have only 1 nvmeof gateway; HA is not possible with single "
                                       "gateway."),
    "NVMEOF_GATEWAY_DOWN": (WARNING, "{n} gateway(s) are in unavailable state; gateway might be down, try to "
                                     "redeploy."),
    "NVMEOF_GATEWAY_DELETING": (WARNING, "{n} gateway(s) are in deleting state; namespaces are automatically balanced "
                                         "across remaining gateways, this should take a few minutes."),
    "NVMEOF_HA_UNSERVED": (ERROR, "{n} ANA group(s) with namespaces are optimized nowhere: no I/O is possible"),
    "NVMEOF_HA_FENCE_FAILED": (ERROR, "{n} gateway instance(s) could not be fenced; what they served stays unserved"),
    "NVMEOF_HA_UNFENCED": (WARNING, "{n} gateway instance(s) that are lost may still write"),
    "NVMEOF_HA_INVARIANT": (ERROR, "{n} gateway group(s) are not looked after: an invariant was violated"),
    "NVMEOF_HA_SEATS_LOST": (ERROR, "{n} gateway group(s) have lost most of their seat objects: nothing is decided there"),
    "NVMEOF_HA_GROUP_STOPPED": (ERROR, "{n} gateway group(s) are not looked after"),
    "NVMEOF_HA_TRANSITION_STUCK": (WARNING, "{n} ANA group(s) are between gateways for longer than a move takes"),
    "NVMEOF_HA_GATEWAY_STUCK": (WARNING, "{n} gateway(s) are suspected, or their I/O makes no progress"),
    "NVMEOF_HA_GATEWAY_FLAPPING": (WARNING, "{n} gateway(s) are lost over and over"),
    "NVMEOF_HA_LISTENER_MISSING": (WARNING, "{n} subsystem(s) with namespaces have no listener on a gateway"),
    "NVMEOF_HA_MOVE_HUNG": (WARNING, "{n} namespace(s) are not served while their move to another ANA group waits"),
    "NVMEOF_HA_ANA_DRIFT": (WARNING, "on {n} gateway(s) somebody else sets ANA states; they were set right"),
    "NVMEOF_HA_CONFIGURATION": (WARNING, "{n} part(s) of the stored configuration are not served by a gateway"),
    "NVMEOF_HA_UNBALANCED": (WARNING, "{n} ANA group(s) have no namespace while others are crowded"),
    "NVMEOF_HA_RELEASES_DIFFER": (WARNING, "{n} gateway(s) run another release than the mgr"),
    "NVMEOF_HA_CONTROL_OBJECTS": (WARNING, "{n} problem(s) with the control objects of gateway groups"),
    "NVMEOF_HA_SEATS_CLOSE": (WARNING, "{n} gateway group(s) have seats that can fail together, and need not"),
    "NVMEOF_HA_MASS_SILENCE": (WARNING, "in {n} gateway group(s) most gateways fell silent together"),
    "NVMEOF_HA_MGR_LATE": (WARNING, "the mgr is late or cannot hear: failover takes longer ({n} sign(s))"),
    "NVMEOF_HA_NO_STANDBY_MGR": (WARNING, "no standby mgr: while this one is away no gateway is replaced"),
    "NVMEOF_HA_MGR_GRACE": (WARNING, "a mgr that hangs is replaced late"),
    "NVMEOF_HA_BAD_BEACON": (WARNING, "beacons that cannot be used came from {n} sender(s)"),
    "NVMEOF_HA_EXPOSED": (WARNING, "{n} subsystem(s) or API(s) of gateways are open to anybody"),
    "NVMEOF_HA_BAD_OPTION": (WARNING, "module options cannot be used as they are set"),
    "NVMEOF_HA_PAGE": (WARNING, "the status page is enabled and is not served"),
}


def grouped(findings: Iterable[Finding]) -> Checks:
    """As ``set_health_checks`` takes them."""
    details: Dict[str, list] = {}
    for finding in findings:
        details.setdefault(finding.code, []).append(finding.detail)
    return {code: {"severity": severity, "summary": summary.format(n=len(details[code])), "count": len(details[code]),
                   "detail": details[code]}
            for code, (severity, summary) in SUMMARIES.items() if code in details}
