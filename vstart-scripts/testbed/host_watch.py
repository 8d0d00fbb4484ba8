"""Watches the processes of the gateways, and the Linux host's paths to them, and tells what changes."""

from __future__ import annotations

import time
from typing import Dict, List, Mapping, Sequence, Tuple

from guest import GuestError, LinuxHost

from .daemon import ProcessIdentity
from .gateway import Gateway
from .observer import Observer
from .sampler import Tell

PROCESS_PERIOD_S = 0.05
NEW_PROCESS_PERIOD_S = 0.4
PATH_PERIOD_S = 0.25


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
    """Tells what the host's kernel thinks of its paths: one to each gateway, for each ANA group.

    `latest` has the ANA states by (gateway, ANA group), and the connections' states by (gateway, 0). One namespace
    stands for its ANA group. Reads single files: to start a process costs the host a multiple of that.
    """

    def __init__(self, host: LinuxHost, nqn: str, gateway_of: Mapping[str, str],
                 ana_group_of: Mapping[int, int], tell: Tell) -> None:
        """`gateway_of`: name by address; `ana_group_of`: ANA group by namespace id."""
        super().__init__('path watch', PATH_PERIOD_S)
        self._host = host
        self._nqn = nqn
        self._gateway_of = gateway_of
        self._ana_group_of = ana_group_of
        self._tell = tell
        self._files: Dict[Tuple[str, int], str] = {}   # in the guest's sysfs
        self._told: Dict[Tuple[str, int], str] = {}
        self.latest: Dict[Tuple[str, int], str] = {}

    def look(self) -> None:
        try:
            self._files = self._files or self._find_files()
            found = {key: self._host.guest.read_file(path).strip() for key, path in self._files.items()}
        except GuestError:
            # A controller or a path has gone. Whether the guest has is looked at elsewhere.
            self._files = {}
            return
        self.latest = self._meant(found)
        now_s = time.monotonic()
        for (gateway, group), state in self.latest.items():
            if self._told.get((gateway, group)) != state:
                self._told[gateway, group] = state
                self._tell(f'host: path to {gateway} is {state}' + (f' for ANA group {group}' if group else ''), now_s)

    def _find_files(self) -> Dict[Tuple[str, int], str]:
        files: Dict[Tuple[str, int], str] = {}
        for path in self._host.paths(self._nqn):
            gateway = self._gateway_of[path.address]
            files[gateway, 0] = f'/sys/class/nvme/{path.controller}/state'
            if path.nsid in self._ana_group_of:
                files.setdefault((gateway, self._ana_group_of[path.nsid]),
                                 f'/sys/class/nvme/{path.controller}/{path.name}/ana_state')
        return files

    @staticmethod
    def _meant(found: Dict[Tuple[str, int], str]) -> Dict[Tuple[str, int], str]:
        """Without the ANA states of a connection that is not live: those are from before."""
        return {(gateway, group): state for (gateway, group), state in found.items()
                if not group or found[gateway, 0] == 'live'}

    def in_order(self, owners: Mapping[int, str]) -> bool:
        """A live path to each gateway, optimized at the owner of an ANA group (given by group) and nowhere else."""
        gateways = set(self._gateway_of.values())
        return (all(self.latest.get((gateway, 0)) == 'live' for gateway in gateways)
                and all((self.latest.get((gateway, group)) == 'optimized') == (gateway == owner)
                        for gateway in gateways for group, owner in owners.items()))
