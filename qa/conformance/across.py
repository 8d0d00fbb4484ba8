"""What the logs of several mgrs and gateways must say together.

A version names one content: whoever commits it, takes it over, or reads it from two seats finds the same map.  A mgr
that took over found every commit that an earlier one saw acknowledged, or a newer one.  A group that begins with an
empty map is a new one (its pool was made again): what was known of it is forgotten.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

from nvmeof_ha import trace
from nvmeof_ha.core.actions import Commit
from nvmeof_ha.core.events import Committed
from nvmeof_ha.core.model import NO_VERSION, Map, Version

from .findings import Place, Result

Key = Tuple[str, str]


class Seen(NamedTuple):
    """A line of a mgr's trace; ``at`` sorts as its time."""

    at: str
    key: Key
    place: Place
    line: trace.Line


class Across:
    def __init__(self, result: Result) -> None:
        self._result = result
        self._seen: List[Seen] = []
        self._contents: Dict[Tuple[Key, Version], List[Map]] = {}
        self._agreed: Dict[int, Tuple[Map, Place]] = {}

    def mgr_line(self, at: str, key: str, place: Place, line: trace.Line) -> None:
        pool, _, group = key.partition("/")
        if isinstance(line, trace.Began) or isinstance(line, trace.Stepped) and (
                line.actions or isinstance(line.event, Committed)):
            self._seen.append(Seen(at, (pool, group), place, line))

    def agreed(self, gateway_map: Map, place: Place) -> None:
        """Two seats gave this map to a gateway."""
        self._agreed[id(gateway_map)] = (gateway_map, place)

    def judge(self) -> None:
        """After all lines."""
        groups: Dict[Key, _Group] = {}
        for seen in sorted(self._seen, key=lambda s: s.at):
            if isinstance(seen.line, trace.Began) and seen.line.found.version == NO_VERSION:
                groups[seen.key] = _Group()
            self._result.violations += groups.setdefault(seen.key, _Group()).take(seen)
            for action in getattr(seen.line, "actions", ()):
                if isinstance(action, Commit):
                    self._contents.setdefault((seen.key, action.map.version), []).append(action.map)
        for gateway_map, place in self._agreed.values():
            known = self._contents.get(((gateway_map.pool, gateway_map.group), gateway_map.version), [])
            self._result.maps_compared += bool(known)
            if known and gateway_map not in known:
                self._result.violations.append(f"{place}: two seats gave a map that no mgr committed as "
                                               f"{gateway_map.version}\n  read      {gateway_map}\n  committed {known}")


class _Group:
    """One gateway group, from its creation on."""

    def __init__(self) -> None:
        self._commits: Dict[Version, Map] = {}
        self._acknowledged = NO_VERSION
        self._found: List[Tuple[int, Version]] = []

    def take(self, seen: Seen) -> List[str]:
        line, violations = seen.line, []
        if isinstance(line, trace.Began):
            violations += self._begins(seen, line)
        elif isinstance(line, trace.Stepped) and isinstance(line.event, Committed):
            version = line.event.version
            violations += [f"{seen.place}: {version} was acknowledged, and yet the mgr of ballot {ballot} found only "
                           f"{found}" for ballot, found in self._found if ballot > version.ballot and found < version]
            self._acknowledged = max(self._acknowledged, version)
        for action in getattr(line, "actions", ()):
            if isinstance(action, Commit):
                violations += self._names_one(seen, action.map, "commits")
                self._commits[action.map.version] = action.map
        return violations

    def _begins(self, seen: Seen, line: trace.Began) -> List[str]:
        self._found.append((line.ballot, line.found.version))
        violations = self._names_one(seen, line.found, "found")
        if line.found.version < self._acknowledged and line.ballot > self._acknowledged.ballot:
            violations.append(f"{seen.place}: the mgr of ballot {line.ballot} found {line.found.version}, although "
                              f"{self._acknowledged} had been acknowledged")
        return violations

    def _names_one(self, seen: Seen, gateway_map: Map, what: str) -> List[str]:
        known: Any = self._commits.get(gateway_map.version, gateway_map)
        return [] if known == gateway_map else [
            f"{seen.place}: a mgr {what} another map as {gateway_map.version} than was committed before\n"
            f"  here   {gateway_map}\n  before {known}"]
