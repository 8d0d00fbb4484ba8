"""Steps that make a target's namespaces visible to whom they should be, and limited as they should be.

Pure: compares a wanted subsystem with the found one; the reconciler sends the steps. A host that may see a namespace no
more loses it before anything is added; limits are set once a namespace uses its device, because a target does not
change those of an unused one.
"""
from __future__ import annotations

import functools
from typing import Iterable, List, Tuple

from gw_agent import configuration as stored
from gw_agent import target_state
from gw_agent.configuration import NO_LIMITS, Namespace, QosLimits, Subsystem
from gw_agent.target_state import FoundSubsystem, TargetState
from gw_agent.target_steps import Step

Pairs = Iterable[Tuple[Subsystem, FoundSubsystem]]
Waiting = Tuple[Namespace, Step]
"""A step that waits for this namespace's I/O in flight."""


def hide(pairs: Pairs) -> List[Waiting]:
    """From hosts that should not see a namespace any more."""
    return [_show(subsystem, found, nsid, host, False) for subsystem, found in pairs
            for nsid, hosts in sorted(found.hidden.items()) if nsid in subsystem.namespaces
            for host in sorted(hosts - subsystem.namespaces[nsid].hosts)]


def show(pairs: Pairs) -> List[Waiting]:
    """To hosts that should see a namespace which not all see."""
    return [_show(subsystem, found, nsid, host, True) for subsystem, found in pairs
            for nsid, namespace in sorted(subsystem.namespaces.items())
            if nsid in found.namespaces and not namespace.auto_visible
            for host in sorted(namespace.hosts - found.hidden.get(nsid, set()))]


def change_visibility(pairs: Pairs) -> List[Waiting]:
    """Of namespaces in use, on a target that can."""
    steps = []
    for subsystem, found in pairs:
        for nsid, namespace in sorted(subsystem.namespaces.items()):
            if nsid not in found.namespaces or namespace.auto_visible == (nsid not in found.hidden):
                continue
            what = "to every host" if namespace.auto_visible else "to chosen hosts only"
            steps.append((namespace, Step(
                stored.entry_key("namespace", subsystem.nqn, nsid), f"show namespace {nsid} of {subsystem.nqn} {what}",
                target_state.set_visibility(subsystem.nqn, nsid, namespace.auto_visible),
                functools.partial(_note_visibility, found, namespace))))
    return steps


def limit(pairs: Pairs, target: TargetState) -> List[Step]:
    """What hosts may do with each namespace."""
    steps = []
    for subsystem, found in pairs:
        for nsid, namespace in sorted(subsystem.namespaces.items()):
            there = target.limits.get(namespace.bdev_name, NO_LIMITS)
            if namespace.qos == there or nsid not in found.namespaces:
                continue
            if target_state.kept_limits(namespace.qos) == there:
                continue
            steps.append(Step(stored.entry_key("qos", subsystem.nqn, nsid),
                              f"limit namespace {nsid} of {subsystem.nqn} to {_text(namespace.qos)}",
                              target_state.set_limits(namespace.bdev_name, namespace.qos),
                              functools.partial(target.limits.__setitem__, namespace.bdev_name,
                                                target_state.kept_limits(namespace.qos))))
    return steps


def _note_visibility(found: FoundSubsystem, namespace: Namespace) -> None:
    if namespace.auto_visible:
        found.hidden.pop(namespace.nsid, None)
    else:
        found.hidden.setdefault(namespace.nsid, set())


def _show(subsystem: Subsystem, found: FoundSubsystem, nsid: int, host: str, visible: bool) -> Waiting:
    hosts = found.hidden.setdefault(nsid, set())
    what = f"{nsid} of {subsystem.nqn} {'to' if visible else 'from'} host {host}"
    return subsystem.namespaces[nsid], Step(
        stored.entry_key("ns-host", subsystem.nqn, nsid, host),
        f"{'show' if visible else 'hide'} namespace {what}",
        target_state.show_namespace(subsystem.nqn, nsid, host, visible),
        functools.partial(hosts.add if visible else hosts.discard, host))


def _text(limits: QosLimits) -> str:
    return ", ".join(f"{name} {getattr(limits, name)}" for name in stored.QOS_FIELDS)
