"""Moves of a namespace from one ANA group to another, each a handover of that one namespace: every decision about them.

Pure: no I/O, no clock. A move is stored as a record in the configuration object; the namespace keeps its old group
there until the move is completed. Meanwhile it is in *limbo*: in an ANA group that no gateway map can have, so that
nobody is optimized for it. The steps:

1. whoever is asked stores the record, in one write that compares the version (`ask`);
2. each gateway that reads the record puts the namespace into limbo (`group_to_show`); the target answers when the
   namespace's I/O in flight is done. Then the gateway says so: its instance holds the namespace under this very
   record;
3. once every instance that may serve is known to hold it, or is over and fenced (`outlook`), one write changes the
   stored group and removes the record (`completion`). It also raises the stored OSD map epoch (*fence*) to that of
   every fence this conclusion stands on;
4. a gateway puts a namespace into its group only when all its contexts have seen the OSD map of the stored fence.

Promises: after 3 no instance has the namespace in the old group or can put it back there: those of the map hold it,
and one that the map names later reads the configuration later than that, so it finds the record or what came of it. A
write of a former holder is done (drained), or comes from a fenced client and is refused wherever the new holder has
written. A move that is not completed in time is taken back: the record goes, the namespace stays where it was
(`verdict`). That needs no fence: nobody else has served it meanwhile. Whatever came of a move, its end stores the
group that was agreed on, beside the namespace; a namespace leaves limbo for that group only.

Does not cover: a group that another program changes in a stored namespace which has never moved. Gateways that have the
namespace do not follow that, and one of them stores it as a move (`conversion`); one that starts before it did takes it
as it is.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Tuple

from nvmeof_ha_core.model import MAX_GATEWAYS, Availability, Instance, Map, Phase

from gw_agent import nqn as names

MOVE_KIND = "ns-move"
AGREED_KIND = "ns-group"
FENCE_KEY = "ns-fence"
PAUSE_KEY = "ns-rebalance-paused"
"""While it is stored, no gateway moves namespaces by itself."""
KINDS = (MOVE_KIND, AGREED_KIND, FENCE_KEY, PAUSE_KEY)
"""Kinds of stored entries that are not part of what gateways serve."""

LIMIT_S = 10.0
"""A move that is not completed by then is taken back. Long enough for a gateway that dies meanwhile to be fenced."""
NEXT_S = 1.0
"""Each further gateway that may complete or take back a move waits this much longer, so that they do not collide."""

Key = Tuple[str, int]
"""NQN and namespace id."""
Omap = Mapping[str, str]


class Move(NamedTuple):
    """A stored record. `origin`: the group where the namespace stays if it is taken back. `version`: of the
    configuration that the record came with, which names it. `gateway`: who was asked."""

    nqn: str
    nsid: int
    origin: int
    to: int
    version: int
    gateway: str

    @property
    def key(self) -> Key:
        return self.nqn, self.nsid

    @property
    def text(self) -> str:
        return f"namespace {self.nsid} of {self.nqn}"


class Held(NamedTuple):
    """An instance has this namespace in limbo and drained, under the record of this version."""

    nqn: str
    nsid: int
    version: int


@dataclass(frozen=True)
class Said:
    """What the agent of one instance says."""

    instance: Instance
    held: FrozenSet[Held] = frozenset()


@dataclass(frozen=True)
class Edit:
    """Entries to set and keys to remove, in one write that compares the version."""

    sets: Mapping[str, str]
    removes: FrozenSet[str] = frozenset()


@dataclass(frozen=True)
class Outlook:
    """Whether a move can be completed. `waits_for`: why not, one text each. `osd_epoch`: of the newest fence in the
    map that says so."""

    waits_for: Tuple[str, ...]
    osd_epoch: int = 0


class Fences(NamedTuple):
    """Of instances that are over. `osd_epoch`: of the newest; every client that has seen this OSD map comes after all
    that those instances wrote. `missing`: one text for each instance that is not fenced yet."""

    osd_epoch: int = 0
    missing: Tuple[str, ...] = ()


class Verdict(Enum):
    """What a gateway does about a move now."""

    WAIT = "wait"
    COMPLETE = "complete"
    TAKE_BACK = "take back"


# ---- what is stored -----------------------------------------------------------------------------------------------

def move_key(nqn: str, nsid: int) -> str:
    return names.KEY_DELIMITER.join((MOVE_KIND, nqn, str(nsid)))


def namespace_key(nqn: str, nsid: int) -> str:
    return names.KEY_DELIMITER.join(("namespace", nqn, str(nsid)))


def agreed_key(nqn: str, nsid: int) -> str:
    return names.KEY_DELIMITER.join((AGREED_KIND, nqn, str(nsid)))


def agreed_group(omap: Omap, key: Key) -> Optional[int]:
    """Where the end of its last move left a namespace; None: it never moved."""
    text = omap.get(agreed_key(*key), "")
    return int(text) if text.isdigit() else None


def agreed_groups(omap: Omap) -> Dict[Key, int]:
    """Of all namespaces that moved."""
    keys = [key.split(names.KEY_DELIMITER) for key in omap if key.startswith(AGREED_KIND + names.KEY_DELIMITER)]
    found = {(nqn, int(nsid)): agreed_group(omap, (nqn, int(nsid))) for _, nqn, nsid in keys if nsid.isdigit()}
    return {key: group for key, group in found.items() if group is not None}


def stored_moves(omap: Omap) -> Tuple[Tuple[Move, ...], Tuple[str, ...]]:
    """The records, and the keys of entries that mean nothing: unreadable, or without their namespace."""
    found: List[Move] = []
    stray: List[str] = []
    for key in sorted(key for key in omap if key.startswith((MOVE_KIND, AGREED_KIND))):
        kind, *elements = key.split(names.KEY_DELIMITER)
        if kind == AGREED_KIND and names.KEY_DELIMITER.join(("namespace", *elements)) not in omap:
            stray.append(key)
        if kind == MOVE_KIND:
            move = _read(omap[key])
            if move is None or move_key(*move.key) != key or namespace_key(*move.key) not in omap:
                stray.append(key)
            else:
                found.append(move)
    return tuple(found), tuple(stray)


def stored_fence(omap: Omap) -> int:
    """The OSD map epoch that every context must have seen before a namespace is put into its group."""
    text = omap.get(FENCE_KEY, "0")
    return int(text) if text.isdigit() else 0


def _read(text: str) -> Optional[Move]:
    try:
        value = json.loads(text)
        move = Move(value["subsystem_nqn"], value["nsid"], value["origin"], value["anagrpid"], value["version"],
                    value["gateway"])
    except (ValueError, KeyError, TypeError):
        return None
    numbers = all(type(number) is int and number > 0 for number in (move.nsid, move.origin, move.to, move.version))
    return move if numbers and isinstance(move.nqn, str) and isinstance(move.gateway, str) else None


def ask(version: int, key: Key, origin: int, to: int, gateway: str) -> Edit:
    """Step 1, on the configuration of `version`. `origin`: the stored group, which this gateway shows too."""
    nqn, nsid = key
    value = {"subsystem_nqn": nqn, "nsid": nsid, "origin": origin, "anagrpid": to, "version": version + 1,
             "gateway": gateway}
    return Edit({move_key(*key): json.dumps(value)})


def completion(omap: Omap, move: Move, osd_epoch: int) -> Optional[Edit]:
    """Step 3; None when this record is not stored any more, so that somebody else has ended the move."""
    if not is_stored(omap, move):
        return None
    sets = {**_agreed(omap, move.key, move.to), **raised_fence(omap, osd_epoch)}
    return Edit(sets, frozenset({move_key(*move.key)}))


def raised_fence(omap: Omap, osd_epoch: int) -> Dict[str, str]:
    """What to store so that from now on no namespace is put into its group before `osd_epoch` was seen."""
    return {FENCE_KEY: str(osd_epoch)} if osd_epoch > stored_fence(omap) else {}


def taking_back(omap: Omap, move: Move) -> Optional[Edit]:
    """The namespace stays in its group; None as in `completion`."""
    if not is_stored(omap, move):
        return None
    return Edit(_agreed(omap, move.key, move.origin), frozenset({move_key(*move.key)}))


def _agreed(omap: Omap, key: Key, group: int) -> Dict[str, str]:
    namespace = json.loads(omap[namespace_key(*key)])
    return {namespace_key(*key): json.dumps({**namespace, "anagrpid": group}), agreed_key(*key): str(group)}


def conversion(omap: Omap, version: int, key: Key, shown: int, gateway: str) -> Optional[Edit]:
    """Makes a move of a group that somebody changed in the stored namespace: gateways that have the namespace show it
    in the group that it had."""
    text = omap.get(namespace_key(*key))
    if text is None or move_key(*key) in omap:
        return None
    namespace = json.loads(text)
    if namespace.get("anagrpid") == shown:
        return None
    return Edit({**_agreed(omap, key, shown), **ask(version, key, shown, int(namespace["anagrpid"]), gateway).sets})


def is_stored(omap: Omap, move: Move) -> bool:
    """This very record, and its namespace."""
    found = omap.get(move_key(*move.key))
    return found is not None and _read(found) == move and namespace_key(*move.key) in omap


# ---- what a gateway shows -----------------------------------------------------------------------------------------

def limbo(max_namespaces: int) -> Optional[int]:
    """The ANA group of a subsystem that no gateway map can have; None: the subsystem is too small for one, and for
    another that no namespace is ever in (`unused`)."""
    return max_namespaces if max_namespaces > MAX_GATEWAYS + 1 else None


def unused(max_namespaces: int) -> int:
    """An ANA group that neither a gateway map nor limbo has, where there is a limbo."""
    return max_namespaces - 1


def group_to_show(stored: int, agreed: Optional[int], limbo_group: Optional[int], moving: bool,
                  found: Optional[int]) -> int:
    """The ANA group that a namespace should have on this target. `found`: the one it has there, None if it is not
    there. Unless it is in limbo, it stays there: what differs was changed by somebody without a move."""
    if moving and limbo_group is not None:
        return limbo_group
    if found is None or found == limbo_group:
        return stored if agreed is None else agreed
    return found


def must_be_set(group: int, limbo_group: Optional[int], found: int, answered: Optional[int]) -> bool:
    """`answered`: the group that the target confirmed last to this very process, None if none. Limbo counts only when
    it did: what an earlier agent sent may still be carried out, and a later request of ours is carried out after it."""
    return group != found or (group == limbo_group and answered != group)


def passed(fence: int, contexts_passed: int) -> bool:
    """A namespace may be put into its group: every context has seen the stored fence's OSD map."""
    return contexts_passed >= fence


# ---- what is concluded --------------------------------------------------------------------------------------------

def outlook(gateway_map: Map, move: Move, said: Mapping[str, Said]) -> Outlook:
    """`gateway_map`: agreed, and read after the record was stored. `said`: by gateway id."""
    held = Held(*move.key, move.version)
    waits = []
    for gateway in gateway_map.gateways:
        word = said.get(gateway.id)
        if gateway.instance is not None and (word is None or word.instance != gateway.instance
                                             or held not in word.held):
            waits.append(f"gateway {gateway.id} ({gateway.availability.value}) has not drained it yet")
    found = fences(gateway_map)
    return Outlook((*waits, *found.missing), found.osd_epoch)


def fences(gateway_map: Map) -> Fences:
    """As far as the map knows of them."""
    newest = max([gateway_map.osd_epoch_floor, *(g.osd_epoch for g in gateway_map.ana_groups),
                  *(d.osd_epoch or 0 for d in gateway_map.departed)])
    return Fences(newest, tuple(f"instance {departed.instance} is not fenced yet" for departed in gateway_map.departed
                                if departed.osd_epoch is None and departed.addresses))


def verdict(gateway_map: Map, move: Move, found: Outlook, age_s: float, delay_s: float) -> Verdict:
    """`age_s`: since this gateway first saw the record. `delay_s`: from `delays`."""
    if age_s < delay_s:
        return Verdict.WAIT
    if gateway_map.ana_group(move.to) is None:
        return Verdict.TAKE_BACK
    if not found.waits_for:
        return Verdict.COMPLETE
    return Verdict.TAKE_BACK if age_s >= LIMIT_S + delay_s else Verdict.WAIT


def delay_s(gateway_map: Optional[Map], gateway_id: str, asked: bool) -> Optional[float]:
    """How much later than others this gateway may end a move: the one that was `asked` at once, then those that are
    AVAILABLE by ANA group id; None: it does not."""
    if asked:
        return 0.0
    rank = rank_of(gateway_map, gateway_id)
    return None if rank is None else (rank + 1) * NEXT_S


def rank_of(gateway_map: Optional[Map], gateway_id: str) -> Optional[int]:
    """The place of a gateway among those that are AVAILABLE, by ANA group id, from 0; None: it is not."""
    well = [] if gateway_map is None else sorted(
        (g.ana_group_id, g.id) for g in gateway_map.gateways if g.availability is Availability.AVAILABLE)
    ids = [gateway_id for _, gateway_id in well]
    return ids.index(gateway_id) if gateway_id in ids else None


def unsettled(gateway_map: Optional[Map]) -> Optional[str]:
    """Why no move should begin now, None if one may: it would not be completed quickly, and nobody serves the namespace
    meanwhile."""
    if gateway_map is None:
        return "the gateway map was not read yet"
    for group in gateway_map.ana_groups:
        if group.phase is not Phase.ACTIVE:
            return f"ANA group {group.id} is {group.phase.value}"
    for gateway in gateway_map.gateways:
        if gateway.instance is not None and gateway.availability is not Availability.AVAILABLE:
            return f"gateway {gateway.id} is {gateway.availability.value}"
    return next(iter(fences(gateway_map).missing), None)
