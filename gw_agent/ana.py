"""The ANA states of the running target: read back, set, and the namespaces behind them.

What for: the plan (`core/gateway.py`) works on what the target shows, never on what it was told. All calls of one
change go out in one write. Promises: `states` is what was last read back from every listener; a group without any
listener has the state that was last asked for; namespaces are those that were read, and those that the target confirmed
since (`note`). Does not decide who may be optimized.
"""
from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Set, Tuple

from gw_agent import target_state
from gw_agent.moves import Key
from gw_agent.spdk_rpc import Request, RpcFailure, RpcTimeout, RpcUnreachable, SpdkRpc
from nvmeof_ha_core.gateway import INACCESSIBLE, MIXED
from nvmeof_ha_core.model import Subsystem

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 3.0
ADDRESS_FIELDS = ("trtype", "adrfam", "traddr", "trsvcid")
READ_ATTEMPTS = 5
SUBSYSTEMS_AT_ONCE = 8
"""Subsystems whose ANA states are read in one write where nothing waits for them: the target tells of 64 of them for 10 ms,
in which it does no I/O (measured, SPDK v26.05, 32 ANA groups)."""


@dataclass(frozen=True)
class FoundNamespace:
    """A namespace as far as a drain needs it."""

    nqn: str
    nsid: int
    ana_group_id: int
    bdev_name: str


@dataclass(frozen=True)
class _Listener:
    nqn: str
    address: Tuple[Tuple[str, str], ...]
    states: Mapping[int, str]

    @property
    def key(self) -> Tuple[str, Tuple[Tuple[str, str], ...]]:
        return self.nqn, self.address


class AnaStates:
    """Of one target."""

    def __init__(self, rpc: SpdkRpc, wanted_group: Callable[[str, int, int], int] = lambda nqn, nsid, found: found
                 ) -> None:
        """`wanted_group`: which ANA group a request may name for a namespace (`shown_groups.py`)."""
        self._rpc = rpc
        self._wanted_group = wanted_group
        self._nqns: Tuple[str, ...] = ()
        self._listeners: List[_Listener] = []
        self._told: Tuple[Tuple[str, ...], List[List[Dict[str, Any]]]] = (), []
        """NQNs and what the target said of the listeners of each, as it was read last."""
        self._asked: Dict[int, str] = {}
        self._reads = self._taken = 0
        self.changes = 0
        """How often anything was set."""
        self.states: Dict[int, str] = {}
        """ANA group id -> optimized, inaccessible or mixed; a group that is not named is inaccessible."""
        self._namespaces: Dict[str, Dict[int, FoundNamespace]] = {}
        self._seen_before: Set[Tuple[str, Tuple[Tuple[str, str], ...]]] = set()
        """Listeners that the read before the last one showed."""
        self._noted: Dict[Key, Tuple[int, Optional[FoundNamespace]]] = {}
        """What reads that were under way may not show yet: how many had been sent by then, and the namespace."""
        self._subsystems: Dict[str, Subsystem] = {}
        self.subsystems: Tuple[Subsystem, ...] = ()
        """As beacons report them."""
        self.digest = _digest(())
        """Names that list, so that beacons need not repeat it."""

    @property
    def namespaces(self) -> List[FoundNamespace]:
        return [namespace for found in self._namespaces.values() for namespace in found.values()]

    async def read_back(self) -> bool:
        """Read the target; true when something is other than it was. Raises RpcFailure."""
        for _ in range(READ_ATTEMPTS):
            self._reads += 1
            number, asked_nqns = self._reads, self._nqns
            found, *listeners = await self._rpc.pipeline(
                [("nvmf_get_subsystems", None), *target_state.get_listeners(asked_nqns)], READ_TIMEOUT_S)
            for reply in (found, *listeners):
                if isinstance(reply, RpcUnreachable) or reply is found and isinstance(reply, RpcFailure):
                    raise reply
            subsystems = [s for s in found if s.get("subtype") != "Discovery"]
            nqns = tuple(s["nqn"] for s in subsystems)
            if nqns == asked_nqns and not any(isinstance(reply, RpcFailure) for reply in listeners):
                return number > self._taken and self._take(number, nqns, subsystems, listeners)
            self._nqns = nqns   # subsystems came or went: ask for the listeners of those that are there now
        raise RpcTimeout("subsystems come and go faster than their listeners can be read")

    async def read_states(self) -> bool:
        """As `read_back`, of the ANA states alone, and of some subsystems after the others, so that the target does I/O
        between them. What was set meanwhile shows as mixed at worst, until it is read back."""
        self._reads += 1
        number, asked_nqns = self._reads, self._nqns
        listeners: List[Any] = []
        for first in range(0, len(asked_nqns), SUBSYSTEMS_AT_ONCE):
            together = asked_nqns[first:first + SUBSYSTEMS_AT_ONCE]
            replies = await self._rpc.pipeline(target_state.get_listeners(together), READ_TIMEOUT_S)
            for reply in replies:
                if isinstance(reply, RpcUnreachable):
                    raise reply   # a target that answers nothing is not asked for the others
            listeners += replies
        if asked_nqns != self._nqns or any(isinstance(reply, RpcFailure) for reply in listeners):
            return await self.read_back()   # subsystems came or went
        return number > self._taken and self._take(number, asked_nqns, None, listeners)

    def note(self, namespaces: Mapping[Key, Optional[target_state.FoundNamespace]]) -> bool:
        """The target has just confirmed these, or (None) that they are gone; true when beacons have news to tell."""
        before = self.subsystems
        for key, there in namespaces.items():
            found = None if there is None else FoundNamespace(*key, there.ana_group_id, there.bdev_name)
            self._noted[key] = (self._reads, found)
            self._put(key, found)
        for nqn in {nqn for nqn, _ in namespaces} & self._subsystems.keys():
            self._subsystems[nqn] = replace(self._subsystems[nqn], namespaces=self._counts(nqn))
        self._conclude(self.states.keys() | {there.ana_group_id for there in namespaces.values() if there is not None})
        return before != self.subsystems

    async def set(self, ana_group_ids: Iterable[int], state: str, timeout_s: float) -> List[RpcFailure]:
        """Set these groups on every listener; returns what failed. Read back afterwards."""
        requests: List[Request] = []
        self.changes += 1
        for ana_group_id in sorted(ana_group_ids):
            self._asked[ana_group_id] = state
            requests += [("nvmf_subsystem_listener_set_ana_state", {
                "nqn": listener.nqn, "listen_address": dict(listener.address), "ana_state": state,
                "anagrpid": ana_group_id}) for listener in self._listeners if ana_group_id in listener.states]
        replies = await self._rpc.pipeline(requests, timeout_s) if requests else []
        return [reply for reply in replies if isinstance(reply, RpcFailure)]

    async def announce(self, unused_group_of: Mapping[str, int]) -> None:
        """Have the hosts of these subsystems (an unused ANA group by NQN) read the ANA log again.

        A target tells hosts that a namespace changed, but not that its ANA group did: Linux then goes on with what it
        knows of the path, for seconds. Any change of an ANA state makes it read the whole log.
        """
        self.changes += 1
        requests: List[Request] = [("nvmf_subsystem_listener_set_ana_state", {
            "nqn": listener.nqn, "listen_address": dict(listener.address), "ana_state": state,
            "anagrpid": unused_group_of[listener.nqn]})
            for listener in self._listeners if listener.nqn in unused_group_of
            for state in ("non_optimized", INACCESSIBLE)]
        replies = await self._rpc.pipeline(requests, READ_TIMEOUT_S) if requests else []
        failures = [reply for reply in replies if isinstance(reply, RpcFailure)]
        if failures:
            log.warning("hosts notice later that a namespace moved: %s", failures[0])

    def doubt(self, ana_group_ids: Iterable[int]) -> None:
        """A change of these groups was not confirmed and could not be read back."""
        for ana_group_id in ana_group_ids:
            self.states[ana_group_id] = MIXED

    def namespaces_of(self, ana_group_id: int) -> List[FoundNamespace]:
        """Those that the target shows in this group, with the group that a drain names for them."""
        return [replace(n, ana_group_id=self._wanted_group(n.nqn, n.nsid, n.ana_group_id))
                for n in self.namespaces if n.ana_group_id == ana_group_id]

    def drifted(self) -> Dict[int, str]:
        """ANA groups that are not as they were last set, and how they are.  Only on listeners that the read before showed
        too: a new one starts inaccessible."""
        return {g: self.states[g] for listener in self._listeners if listener.key in self._seen_before
                for g, state in listener.states.items()
                if g in self.states and self._asked.get(g, INACCESSIBLE) != state}

    def _take(self, number: int, nqns: Tuple[str, ...], subsystems: Optional[List[Dict[str, Any]]],
              listeners: List[List[Dict[str, Any]]]) -> bool:
        """Several reads may be under way; an older one never replaces a newer one. True when something is new.
        `subsystems` None: they were not read, and the listeners are of those that are known."""
        before, self._taken, self._nqns = (self.states, self.subsystems), number, nqns
        self._seen_before = {listener.key for listener in self._listeners}
        told_news = (nqns, listeners) != self._told
        if told_news:
            self._told = nqns, listeners
            self._listeners = [
                _Listener(nqn, tuple((f, listener["address"][f]) for f in ADDRESS_FIELDS if f in listener["address"]),
                          {s["ana_group"]: s["ana_state"] for s in listener.get("ana_states", ())})
                for nqn, found in zip(nqns, listeners) for listener in found]
        if subsystems is not None:
            self._namespaces = {s["nqn"]: {n["nsid"]: FoundNamespace(
                s["nqn"], n["nsid"], n.get("anagrpid", n["nsid"]), n.get("bdev_name", ""))
                for n in s.get("namespaces", ())} for s in subsystems}
            self._noted = {key: note for key, note in self._noted.items() if note[0] >= number}
            for key, (_, found) in self._noted.items():
                self._put(key, found)
        if told_news or subsystems is not None:
            self._subsystems = {nqn: Subsystem(nqn, tuple(sorted(
                _text(dict(listener.address)) for listener in self._listeners if listener.nqn == nqn)), self._counts(nqn))
                for nqn in nqns}
        self._conclude(self._groups())
        return before != (self.states, self.subsystems)

    def _put(self, key: Key, found: Optional[FoundNamespace]) -> None:
        nqn, nsid = key
        if nqn in self._namespaces:
            self._namespaces[nqn].pop(nsid, None)
            if found is not None:
                self._namespaces[nqn][nsid] = found

    def _conclude(self, groups: Iterable[int]) -> None:
        before, self.subsystems = self.subsystems, tuple(self._subsystems[nqn] for nqn in sorted(self._subsystems))
        if before != self.subsystems:
            self.digest = _digest(self.subsystems)
        self.states = {group: self._state(group) for group in sorted(groups)}

    def _counts(self, nqn: str) -> Tuple[Tuple[int, int], ...]:
        """Namespaces by ANA group."""
        return tuple(sorted(Counter(n.ana_group_id for n in self._namespaces.get(nqn, {}).values()).items()))

    def _groups(self) -> FrozenSet[int]:
        """Groups that anything is to be said of."""
        groups: Set[int] = set(self._asked) | {n.ana_group_id for n in self.namespaces}
        for listener in self._listeners:
            groups.update(group for group, state in listener.states.items() if state != INACCESSIBLE)
        return frozenset(groups)

    def _state(self, ana_group_id: int) -> str:
        found = {listener.states[ana_group_id] for listener in self._listeners if ana_group_id in listener.states}
        if not found:
            return self._asked.get(ana_group_id, INACCESSIBLE)
        return found.pop() if len(found) == 1 and "non_optimized" not in found else MIXED


def _digest(subsystems: Tuple[Subsystem, ...]) -> str:
    text = json.dumps([[s.nqn, s.listeners, s.namespaces] for s in subsystems])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text(address: Mapping[str, str]) -> str:
    host = address.get("traddr", "")
    return f"[{host}]:{address.get('trsvcid', '')}" if ":" in host else f"{host}:{address.get('trsvcid', '')}"
