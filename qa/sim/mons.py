"""The mons: OSD map and blocklist, mgr map, KV store, and the commands that the module sends them.

Facts followed (facts on ceph-mgr, sections 0 and 5): ``osd blocklist add`` takes 0.1 to 1.0 s (the mons' proposal), and
commands that come meanwhile share it; a KV write takes 4 ms; a mon command works for a blocklisted client too; the mons
blocklist an mgr's RADOS client when they name another one as active.  Without a quorum nothing is answered.
"""

from __future__ import annotations

import errno
import json
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from .network import Network
from .processes import World

PROPOSAL_S = (0.1, 1.0)
KV_S = 0.004
ELECTION_ROOM_S = 0.001
HOSTS = 3
PLACEMENT_GROUPS = 32

Answered = Callable[[int, str, str], None]
"""Gets 0 or a negative errno, the output and the mons' text."""


class Mons:
    def __init__(self, world: World, network: Network) -> None:
        self._world, self._network = world, network
        self.osd_epoch = 1
        self.fenced: Dict[str, int] = {}
        self.kv: Dict[str, str] = {}
        self.mgr_epoch, self.active_gid = 0, 0
        self.electing_until = 0.0
        self.refusing = False
        self._proposed: List[Tuple[str, Callable[[], None]]] = []

    @property
    def election_s(self) -> float:
        """How long nothing can be answered yet."""
        return max(0.0, self.electing_until - self._world.now)

    def fence_of(self, addresses: Set[str]) -> Optional[int]:
        """The first OSD map epoch that blocklists all of them, or None."""
        epochs = [self.fenced.get(address) for address in addresses]
        return None if not epochs or None in epochs else max(e for e in epochs if e is not None)

    def new_active(self, gid: int, skipped: int) -> int:
        """Another mgr is the active one; ``skipped``: mgr maps made for other reasons since.  Returns the epoch."""
        self.mgr_epoch += 1 + skipped
        self.active_gid = gid
        return self.mgr_epoch

    def blocklist(self, address: str, done: Callable[[], None]) -> None:
        """Part of the next OSD map."""
        self._proposed.append((address, done))
        if len(self._proposed) == 1:
            self._world.later(self._world.between(PROPOSAL_S), self._commit)

    def _commit(self) -> None:
        if self.election_s:
            self._world.later(self.election_s + ELECTION_ROOM_S, self._commit)
            return
        self.osd_epoch += 1
        proposed, self._proposed = self._proposed, []
        for address, done in proposed:
            self.fenced.setdefault(address, self.osd_epoch)
            done()

    def newest_osd_map(self, place: str, got: Callable[[int], None]) -> None:
        """For a RADOS client at ``place``: the newest OSD map epoch, as of when the mons were asked."""
        self._network.carry(place, "mons", 0.0, self._give_osd_map, place, got)

    def _give_osd_map(self, place: str, got: Callable[[int], None]) -> None:
        if self.election_s:
            self._world.later(self.election_s + ELECTION_ROOM_S, self._give_osd_map, place, got)
        else:
            self._network.carry("mons", place, 0.0, got, self.osd_epoch)

    # -- commands ---------------------------------------------------------------------------------------------------

    def command(self, place: str, command: Dict[str, Any], answered: Answered) -> None:
        def answer(code: int, output: str = "", text: str = "") -> None:
            self._network.carry("mons", place, 0.0, answered, code, output, text)
        self._network.carry(place, "mons", 0.0, self._take, command, answer)

    def _take(self, command: Dict[str, Any], answer: Callable[..., None]) -> None:
        if self.election_s:
            self._world.later(self.election_s + ELECTION_ROOM_S, self._take, command, answer)
            return
        prefix = command["prefix"]
        if prefix == "osd blocklist":
            if self.refusing:
                answer(-errno.EACCES, "", "access denied")
            else:
                self.blocklist(command["addr"], lambda: answer(0))
        elif prefix == "config-key set":
            self._world.later(KV_S, self._store, command["key"], command["val"], answer)
        elif prefix == "config-key rm":
            self._world.later(KV_S, self._store, command["key"], None, answer)
        else:
            answer(0, json.dumps(self._shown(command)))

    def _store(self, key: str, value: Optional[str], answer: Callable[..., None]) -> None:
        if value is None:
            self.kv.pop(key, None)
        else:
            self.kv[key] = value
        answer(0)

    def _shown(self, command: Dict[str, Any]) -> Dict[str, Any]:
        """Three hosts with one OSD each; a placement group's primary follows from the object's name."""
        prefix = command["prefix"]
        if prefix == "config-key dump":
            return {key: value for key, value in self.kv.items() if key.startswith(command["key"])}
        if prefix == "osd dump":
            return {"epoch": self.osd_epoch, "blocklist": {address: "" for address in self.fenced}}
        if prefix == "mgr dump":
            return {"epoch": self.mgr_epoch, "active_gid": self.active_gid, "active_name": f"mgr.{self.active_gid}"}
        if prefix == "osd tree":
            return {"nodes": [{"id": -2 - n, "type": "host", "name": f"host{n}", "children": [n]} for n in range(HOSTS)]
                    + [{"id": n, "type": "osd", "name": f"osd.{n}"} for n in range(HOSTS)]}
        if prefix == "osd map":
            number = sum(command["object"].encode()) % PLACEMENT_GROUPS
            return {"acting": [(number + n) % HOSTS for n in range(HOSTS)], "acting_primary": number % HOSTS,
                    "pgid": f"1.{number:x}"}
        raise AssertionError(f"no mon of this world answers {prefix!r}")
