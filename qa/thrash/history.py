"""What really happened, and whether it may have: the maps that mgrs committed against what the targets said.  Pure.

Does not ask the core whether it was right (`qa/conformance` does); it looks at the outcome:

* a target says optimized only while the map lets it, from the commit's sending to the acknowledgement of the one that
  no longer does;
* an instance is promoted only when every instance that may have written before has confirmed that it drained or
  declined, exactly that phase, or is fenced at an osd_epoch that the promotion's barrier covers;
* versions only grow, and no fenced instance is ever let in again.

All times are seconds of the machine's monotonic clock, which the mgrs' traces have, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

SERVING = ('PROMOTING', 'ACTIVE', 'DRAINING')
LEAVING = {'DRAINING': 'drained', 'PROMOTING': 'declined'}
"""How an instance says that it no longer writes, by the phase it was in."""
CLOCK_S = 0.05
ASKED_BEFORE_S = 0.2
"""A target's answer may be this much older than its arrival."""


@dataclass(frozen=True)
class Problem:
    at_s: float
    text: str


@dataclass
class Commit:
    """One version of the map. None: not known, as the mgr was killed before it had logged that."""

    map: Any
    sent_s: Optional[float] = None
    acknowledged_s: Optional[float] = None


@dataclass
class History:
    """Fill it with `sent`, `acknowledged` and `confirmed` in any order, then ask."""

    commits: Dict[Tuple[int, int], Commit] = field(default_factory=dict)
    _confirmed: Set[Tuple[int, Tuple[int, int], str, Any]] = field(default_factory=set)
    _judged: Tuple[int, int] = (0, 0)
    _writers: Dict[int, Dict[Any, Any]] = field(default_factory=dict)   # by ANA group: instance, the phase it was last in
    _fenced: Dict[Any, int] = field(default_factory=dict)

    def sent(self, gateway_map: Any, at_s: float) -> None:
        commit = self._commit(gateway_map)
        commit.sent_s = at_s if commit.sent_s is None else min(commit.sent_s, at_s)

    def acknowledged(self, version: Tuple[int, int], at_s: float) -> None:
        if version in self.commits:
            commit = self.commits[version]
            commit.acknowledged_s = at_s if commit.acknowledged_s is None else min(commit.acknowledged_s, at_s)

    def seen(self, gateway_map: Any, at_s: float) -> None:
        """Two seats had it."""
        self._commit(gateway_map)
        self.acknowledged(tuple(gateway_map.version), at_s)

    def confirmed(self, beacon: Any) -> None:
        for entry in beacon.confirmations:
            self._confirmed.add((entry.ana_group_id, tuple(entry.since), entry.outcome.value, beacon.instance))

    def _commit(self, gateway_map: Any) -> Commit:
        return self.commits.setdefault(tuple(gateway_map.version), Commit(gateway_map))

    def in_force(self) -> List[Commit]:
        """Those that two seats had, in the order of their versions."""
        return [commit for _version, commit in sorted(self.commits.items()) if commit.acknowledged_s is not None]

    # -- optimized --------------------------------------------------------------------------------------

    def allowed(self, ana_group: int) -> List[Tuple[str, float, float]]:
        """(gateway, from, to): when the map let a gateway be optimized, at most."""
        spans: List[Tuple[str, float, float]] = []
        holder, since_s, last_sent_s = '', 0.0, 0.0
        for _version, commit in sorted(self.commits.items()):
            last_sent_s = commit.sent_s if commit.sent_s is not None else last_sent_s
            group = commit.map.ana_group(ana_group)
            server = group.server.gateway if group is not None and group.server else ''
            if server == holder:
                continue
            if commit.acknowledged_s is None:
                # Whether it ever was in force nobody knows: what it lets be may be.
                spans += [(server, last_sent_s, float('inf'))] if server else []
                continue
            if holder:
                spans.append((holder, since_s, commit.acknowledged_s))
            holder, since_s = server, last_sent_s
        return spans + ([(holder, since_s, float('inf'))] if holder else [])

    def not_allowed(self, ana_group: int, readings: Iterable[Tuple[str, float]]) -> List[Problem]:
        """Of the (gateway, time) at which a target said optimized."""
        spans: Dict[str, List[Tuple[float, float]]] = {}
        for gateway, from_s, to_s in self.allowed(ana_group):
            spans.setdefault(gateway, []).append((from_s - CLOCK_S, to_s + ASKED_BEFORE_S + CLOCK_S))
        return [Problem(at_s, f'{gateway} is optimized for ANA group {ana_group}, and no map lets it')
                for gateway, at_s in readings
                if not any(from_s <= at_s <= to_s for from_s, to_s in spans.get(gateway, ()))]

    # -- promotions -------------------------------------------------------------------------------------

    def judge_promotions(self) -> List[Problem]:
        """Of the versions in force since the last call."""
        problems: List[Problem] = []
        for commit in self.in_force():
            version = tuple(commit.map.version)
            if version <= self._judged:
                continue
            self._judged = version
            at_s = commit.acknowledged_s or 0.0
            self._fenced.update({gone.instance: gone.osd_epoch for gone in commit.map.departed
                                 if gone.osd_epoch is not None})
            for group in commit.map.ana_groups:
                texts = self._judge(group)
                # What led to a commit of which only the seats tell was lost with the end of a killed mgr's log.
                problems += [Problem(at_s, f'map {version[0]}.{version[1]}: {text}') for text in texts
                             if commit.sent_s is not None]
            problems += [Problem(at_s, f'map {version[0]}.{version[1]}: {gateway.instance} was fenced and is let in')
                         for gateway in commit.map.gateways if gateway.instance in self._fenced]
        return problems

    def _judge(self, group: Any) -> List[str]:
        writers = self._writers.setdefault(group.id, {})
        server, problems = group.server, []
        if server is not None:
            for earlier, was in list(writers.items()):
                if earlier == server:
                    continue
                problem = self._still_writes(group, earlier, was)
                if problem:
                    problems.append(f'ANA group {group.id} is {group.phase.value} at {server}, and {problem}')
                del writers[earlier]
            writers[server] = (group.phase.value, tuple(group.since))
        return problems

    def _still_writes(self, group: Any, instance: Any, was: Tuple[str, Tuple[int, int]]) -> str:
        """Why it may write yet, '' when it cannot."""
        phase, since = was
        if (group.id, since, LEAVING.get(phase), instance) in self._confirmed:
            return ''
        epoch = self._fenced.get(instance)
        if epoch is None:
            return f'{instance} was {phase}, has confirmed nothing and is not fenced'
        if epoch > group.osd_epoch:
            return f'{instance} is fenced at osd_epoch {epoch}, and the barrier is at {group.osd_epoch} only'
        return ''

    def fenced(self) -> Dict[Any, Tuple[int, Any]]:
        """By instance: the osd_epoch of its fence, and its addresses."""
        return {gone.instance: (gone.osd_epoch, gone.addresses) for commit in self.in_force()
                for gone in commit.map.departed if gone.osd_epoch is not None}

    # -- moves ------------------------------------------------------------------------------------------

    def moves(self) -> List[Tuple[float, int, str, str, bool]]:
        """(time, ANA group, from gateway, to gateway, fenced): `fenced` tells failovers from handovers."""
        found = []
        last: Dict[int, Any] = {}
        for commit in self.in_force():
            gone = {departed.instance for departed in commit.map.departed}
            for group in commit.map.ana_groups:
                server, before = group.server, last.get(group.id)
                if server is not None and server != before:
                    if before is not None:
                        found.append((commit.acknowledged_s or 0.0, group.id, before.gateway, server.gateway,
                                      before in gone or before in self._fenced))
                    last[group.id] = server
        return found
