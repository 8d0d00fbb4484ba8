"""Steps that make a target's namespaces visible to whom they should be, and limited as they should be.

Pure: compares a wanted subsystem with the found one; the reconciler sends the steps. A host that may see a namespace no
more loses it before anything is added; limits are set once a namespace uses its device, because a target does not
change those of an unused one.
"""
from __future__ import annotations

from typing import Iterable, List, Tuple

from gw_agent import configuration as stored
from gw_agent import target_state
from gw_agent.configuration import NO_LIMITS, QosLimits, Subsystem
from gw_agent.target_state import FoundSubsystem, TargetState
from gw_agent.target_steps import Step

Pairs = Iterable[Tuple[Subsystem, FoundSubsystem]]


def hide(pairs: Pairs) -> List[Step]:
    """From hosts that should not see a namespace any more. Each step waits for the namespace's I/O."""
    return [_show(subsystem.nqn, found, nsid, host, False) for subsystem, found in pairs
            for nsid, hosts in sorted(found.hidden.items()) if nsid in subsystem.namespaces
            for host in sorted(hosts - subsystem.namespaces[nsid].hosts)]


def show(pairs: Pairs) -> List[Step]:
    """To hosts that should see a namespace which not all see. Each step waits for the namespace's I/O."""
    return [_show(subsystem.nqn, found, nsid, host, True) for subsystem, found in pairs
            for nsid, namespace in sorted(subsystem.namespaces.items())
            if nsid in found.namespaces and not namespace.auto_visible
            for host in sorted(namespace.hosts - found.hidden.get(nsid, set()))]


def change_visibility(pairs: Pairs) -> List[Step]:
    """Of namespaces in use, on a target that can. Each step waits for the namespace's I/O."""
    steps = []
    for subsystem, found in pairs:
        for nsid, namespace in sorted(subsystem.namespaces.items()):
            if nsid not in found.namespaces or namespace.auto_visible == (nsid not in found.hidden):
                continue
            what = "to every host" if namespace.auto_visible else "to chosen hosts only"
            steps.append(Step(stored.entry_key("namespace", subsystem.nqn, nsid),
                              f"show namespace {nsid} of {subsystem.nqn} {what}",
                              target_state.set_visibility(subsystem.nqn, nsid, namespace.auto_visible),
                              lambda found=found, nsid=nsid, visible=namespace.auto_visible:
                              found.hidden.pop(nsid, None) if visible else found.hidden.setdefault(nsid, set())))
    return steps


def limit(pairs: Pairs, target: TargetState) -> List[Step]:
    """What hosts may do with each namespace."""
    steps = []
    for subsystem, found in pairs:
        for nsid, namespace in sorted(subsystem.namespaces.items()):
            there = target.limits.get(namespace.bdev_name, NO_LIMITS)
            if nsid not in found.namespaces or target_state.kept_limits(namespace.qos) == there:
                continue
            steps.append(Step(stored.entry_key("qos", subsystem.nqn, nsid),
                              f"limit namespace {nsid} of {subsystem.nqn} to {_text(namespace.qos)}",
                              target_state.set_limits(namespace.bdev_name, namespace.qos),
                              lambda name=namespace.bdev_name, limits=namespace.qos:
                              target.limits.__setitem__(name, target_state.kept_limits(limits))))
    return steps


def _show(nqn: str, found: FoundSubsystem, nsid: int, host: str, visible: bool) -> Step:
    hosts = found.hidden.setdefault(nsid, set())
    return Step(stored.entry_key("ns-host", nqn, nsid, host),
                f"{'show namespace' if visible else 'hide namespace'} {nsid} of {nqn} {'to' if visible else 'from'} "
                f"host {host}", target_state.show_namespace(nqn, nsid, host, visible),
                lambda: hosts.add(host) if visible else hosts.discard(host))


def _text(limits: QosLimits) -> str:
    return ", ".join(f"{name} {getattr(limits, name)}" for name in stored.QOS_FIELDS)
