"""The ANA groups that namespaces should have on one target, and what the target confirmed of them.

What for: a group is changed by the reconciler, and named once more by a drain, which waits for I/O that way. A target
carries these requests out in the order in which they came, so both name the group that is wanted by then; otherwise a
drain that was sent last would take a namespace out of limbo again. Promises: a namespace counts as held only when the
target confirmed limbo to this process, whatever an earlier agent had asked for. Decides nothing itself (`moves.py`).
"""
from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Dict, FrozenSet, Iterable, Mapping, Optional, Set

from gw_agent import moves
from gw_agent.configuration import Configuration, Subsystem
from gw_agent.moves import Held, Key, Move


class ShownGroups:
    """For one target, from the moment this process attached to it."""

    def __init__(self) -> None:
        self._wanted: Dict[Key, int] = {}
        self._answered: Dict[Key, int] = {}
        self.moved: Set[str] = set()
        """NQNs of subsystems in which a namespace changed its group, and hosts were not told yet."""
        self.changed: Dict[Key, int] = {}
        """Namespaces whose stored group was changed without a move, and the group that they keep here."""

    def wanted(self, nqn: str, nsid: int, found: int = 0) -> int:
        """The group to name in a request. `found`: the one that the target shows."""
        return self._wanted.get((nqn, nsid), found)

    def shown(self, stored: Configuration, moving: Iterable[Move], agreed: Mapping[Key, int],
              found: Mapping[str, Mapping[int, int]]) -> Configuration:
        """The configuration with the groups that namespaces should have here. `agreed`: where the last moves left
        namespaces. `found`: the target's groups by NQN and namespace id."""
        keys = {move.key for move in moving}
        self._wanted, self.changed = {}, {}
        subsystems = {nqn: self._shown_in(subsystem, keys, agreed, found.get(nqn, {}))
                      for nqn, subsystem in stored.subsystems.items()}
        return Configuration(MappingProxyType(subsystems))

    def shown_of(self, part: Configuration, keys: Iterable[Key], agreed: Mapping[Key, int],
                 found: Mapping[str, Mapping[int, int]]) -> Configuration:
        """As `shown`, of these namespaces only, while none moves; `part` has those of them that are stored."""
        for key in keys:
            self._wanted.pop(key, None)
            self.changed.pop(key, None)
        return Configuration(MappingProxyType({nqn: self._shown_in(subsystem, set(), agreed, found.get(nqn, {}))
                                               for nqn, subsystem in part.subsystems.items()}))

    def _shown_in(self, subsystem: Subsystem, moving: Set[Key], agreed: Mapping[Key, int],
                  found: Mapping[int, int]) -> Subsystem:
        limbo = moves.limbo(subsystem.max_namespaces)
        namespaces = {}
        for nsid, namespace in subsystem.namespaces.items():
            key = (subsystem.nqn, nsid)
            group = moves.group_to_show(namespace.ana_group_id, agreed.get(key), limbo, key in moving, found.get(nsid))
            if group != namespace.ana_group_id and key not in moving:
                self.changed[key] = group
            self._wanted[key] = group
            namespaces[nsid] = replace(namespace, ana_group_id=group)
        return replace(subsystem, namespaces=MappingProxyType(namespaces))

    def to_set(self, subsystem: Subsystem, nsid: int, found: int) -> bool:
        """The target must be asked to change the group, or to confirm it. `subsystem`: as `shown`."""
        group, key = subsystem.namespaces[nsid].ana_group_id, (subsystem.nqn, nsid)
        return moves.must_be_set(group, moves.limbo(subsystem.max_namespaces), found, self._answered.get(key))

    def asking(self, nqn: str, nsid: int) -> None:
        """A request that changes the group is about to be sent."""
        self._answered.pop((nqn, nsid), None)

    def answered(self, nqn: str, nsid: int, group: int) -> None:
        self._answered[nqn, nsid] = group

    def held(self, stored: Configuration, moving: Iterable[Move]) -> FrozenSet[Held]:
        """What of these moves this target holds."""
        return frozenset(Held(*move.key, move.version) for move in moving
                         if self._answered.get(move.key) == _limbo_of(stored, move) is not None)


def _limbo_of(stored: Configuration, move: Move) -> Optional[int]:
    subsystem = stored.subsystems.get(move.nqn)
    return None if subsystem is None else moves.limbo(subsystem.max_namespaces)

