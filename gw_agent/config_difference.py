"""What of the configuration changed, where that is namespaces only.  Pure.

What for: a gateway applies such a change without looking at all the other namespaces, of which there may be thousands.
It relies on `configuration_reader.parse_again`, which leaves what did not change the same objects.
"""
from __future__ import annotations

from dataclasses import fields, replace
from types import MappingProxyType
from typing import FrozenSet, Optional, Set, Tuple

from gw_agent.configuration import Configuration, Subsystem
from gw_agent.moves import Key

HEAD_FIELDS = tuple(field.name for field in fields(Subsystem) if field.name != "namespaces")


def changed_namespaces(before: Configuration, after: Configuration) -> Optional[FrozenSet[Key]]:
    """Those that came, went or changed; None: something else changed too."""
    if before.subsystems.keys() != after.subsystems.keys():
        return None
    changed: Set[Key] = set()
    for nqn, now in after.subsystems.items():
        then = before.subsystems[nqn]
        if now is then:
            continue
        if any(getattr(now, name) != getattr(then, name) for name in HEAD_FIELDS):
            return None
        old = then.namespaces
        changed.update((nqn, nsid) for nsid, namespace in now.namespaces.items() if old.get(nsid) is not namespace)
        changed.update((nqn, nsid) for nsid in old.keys() - now.namespaces.keys())
    return frozenset(changed)


def part(configuration: Configuration, keys: FrozenSet[Key]) -> Configuration:
    """With these namespaces only, and only their subsystems."""
    return Configuration(MappingProxyType({nqn: replace(
        configuration.subsystems[nqn],
        namespaces=MappingProxyType({nsid: configuration.subsystems[nqn].namespaces[nsid] for nsid in nsids
                                     if nsid in configuration.subsystems[nqn].namespaces}))
        for nqn, nsids in by_subsystem(keys) if nqn in configuration.subsystems}))


def by_subsystem(keys: FrozenSet[Key]) -> Tuple[Tuple[str, Tuple[int, ...]], ...]:
    return tuple((nqn, tuple(sorted(nsid for other, nsid in keys if other == nqn)))
                 for nqn in sorted({nqn for nqn, _ in keys}))
