"""Watches the processes of the gateways, and the Linux host's paths to them, and tells what changes."""

from __future__ import annotations

import time
from typing import Dict, List, Mapping, Sequence, Tuple

from guest import LinuxHost, Path

from .daemon import ProcessIdentity
from .gateway import Gateway
from .observer import Observer
from .sampler import Tell

PROCESS_PERIOD_S = 0.05
NEW_PROCESS_PERIOD_S = 0.4
PATH_PERIOD_S = 0.4


class ProcessWatch(Observer):
    """Tells within `PROCESS_PERIOD_S` when a process ends, and a little later when there is a new one."""

    def __init__(self, gateways: Sequence[Gateway], tell: Tell) -> None:
        super().__init__('process watch', PROCESS_PERIOD_S)
        self._gateways = gateways
        self._tell = tell
        self._known: Dict[ProcessIdentity, str] = {}   # to what it is
        self._next_search_s = 0.0
        self.seen_pids: List[int] = []

    def look(self) -> None:
        now_s = time.monotonic()
        for process in [process for process in self._known if not process.alive()]:
            self._tell(f'{self._known.pop(process)} (pid {process.pid}) has ended', now_s)
        if now_s >= self._next_search_s:
            self._next_search_s = now_s + NEW_PROCESS_PERIOD_S
            self._search(now_s)

    def _search(self, now_s: float) -> None:
        for gateway in self._gateways:
            for kind, processes in gateway.processes().items():
                for process in processes:
                    if process not in self._known:
                        self._known[process] = f"{gateway.name}'s {kind}"
                        self.seen_pids.append(process.pid)
                        self._tell(f'{self._known[process]} runs (pid {process.pid})', now_s)


class PathWatch(Observer):
    """Tells what the host's kernel thinks of its paths. `latest` is what it said last."""

    def __init__(self, host: LinuxHost, nqn: str, gateway_of: Mapping[str, str],
                 ana_group_of: Mapping[int, int], tell: Tell) -> None:
        """`gateway_of`: name by address; `ana_group_of`: ANA group by namespace id."""
        super().__init__('path watch', PATH_PERIOD_S)
        self._host = host
        self._nqn = nqn
        self._gateway_of = gateway_of
        self._ana_group_of = ana_group_of
        self._tell = tell
        self._told: Dict[Tuple[str, int], str] = {}
        self.latest: Sequence[Path] = ()

    def look(self) -> None:
        self.latest = self._host.paths(self._nqn)
        now_s = time.monotonic()
        for key, state in summary(self.latest, self._ana_group_of).items():
            if self._told.get(key) != state:
                self._told[key] = state
                address, group = key
                what = f'is {state} for ANA group {group}' if group else f'is {state}'
                self._tell(f'host: path to {self._gateway_of.get(address, address)} {what}', now_s)


def summary(paths: Sequence[Path], ana_group_of: Mapping[int, int]) -> Dict[Tuple[str, int], str]:
    """By (address, ANA group) its ANA state, and by (address, 0) the connection's; where namespaces or
    connections differ, all states there are. A connection that is not live has no ANA state that means anything."""
    found: Dict[Tuple[str, int], set] = {}
    for path in paths:
        found.setdefault((path.address, 0), set()).add(path.state)
        if path.state == 'live' and path.nsid in ana_group_of:
            found.setdefault((path.address, ana_group_of[path.nsid]), set()).add(path.ana_state)
    return {key: '/'.join(sorted(states)) for key, states in found.items()}


def all_live(paths: Sequence[Path], nsids: Sequence[int], count: int) -> bool:
    """Each namespace has `count` live paths, exactly one of them optimized."""
    for nsid in nsids:
        own = [path.ana_state for path in paths if path.nsid == nsid and path.state == 'live']
        if len(own) != count or own.count('optimized') != 1:
            return False
    return True
