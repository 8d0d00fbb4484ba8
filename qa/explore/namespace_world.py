"""A small world in which one namespace moves between ANA groups: every decision is made by ``gw_agent/moves.py``.

What is around them is a model: a configuration object, the gateway map with its mgr (whose own rules the other scopes
explore; here it fails over, fences, drains and admits as they say), targets that carry requests out in order and
answer a change of a namespace's group when its I/O is done, agents that read both late and may restart, writes that a
dead target has left on their way.  All of it is immutable; the configuration's and the map's histories are kept, since
whoever is late acts on an old one."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Dict, FrozenSet, NamedTuple, Optional, Tuple

from gw_agent import moves
from gw_agent.moves import Held, Move, Said
from nvmeof_ha_core.model import AnaGroup, Availability, Departed, Gateway, Instance, Map, Phase

NQN, NSID = "nqn.2016-06.io.spdk:n", 1
GROUPS = (1, 2)
MAX_NAMESPACES = 64
NOBODY = -1
RUNS, FROZEN, DEAD = 1, 2, 0

Omap = Tuple[Tuple[str, str], ...]
Word = Tuple[int, FrozenSet[int]]
"""Instance number, and the records under which it holds the namespace."""


class Served(NamedTuple):
    """One ANA group in the map.  ``to``: where it is handed over to, while it drains."""

    gateway: int = NOBODY
    number: int = 0
    to: int = NOBODY
    osd_epoch: int = 0
    writer: Tuple[int, int] = (NOBODY, 0)
    """To be fenced before anybody follows."""


class GroupMap(NamedTuple):
    """The gateway map.  ``numbers``: of each gateway's instance, 0 for none.  ``over``: (gateway, number,
    osd_epoch)."""

    numbers: Tuple[int, ...]
    served: Tuple[Served, ...]
    over: Tuple[Tuple[int, int, int], ...] = ()


class Node(NamedTuple):
    """One gateway.  ``seen``, ``loaded``, ``applied``: which map and configuration, by their place in the history.
    ``group``: of the namespace in its target, 0: not there; ``queue``: requests that the target has not carried out,
    (group, sent by the agent that runs now); ``open``: ANA groups that are optimized; ``io``: a write in flight,
    ``hung``: for good;
    ``drained``: of these groups, under the map that was seen; ``concluded``: (record, osd_epoch), to be stored."""

    state: int = RUNS
    number: int = 1
    seen: int = 0
    loaded: int = 0
    applied: int = 0
    group: int = 0
    queue: Tuple[Tuple[int, bool], ...] = ()
    answered: int = 0
    wanted: int = 0
    held: FrozenSet[int] = frozenset()
    changed: int = 0
    passed: int = 0
    open: FrozenSet[int] = frozenset()
    io: bool = False
    hung: bool = False
    draining: bool = False
    drained: FrozenSet[int] = frozenset()
    concluded: Optional[Tuple[Move, int]] = None


class World(NamedTuple):
    """``late``: (gateway, number) of dead targets whose write is still on its way.  ``left``: what may happen yet."""

    configs: Tuple[Omap, ...]
    maps: Tuple[GroupMap, ...]
    nodes: Tuple[Node, ...]
    words: Tuple[Word, ...]
    osd_epoch: int
    late: FrozenSet[Tuple[int, int]]
    left: Tuple[Tuple[str, int], ...]

    @property
    def omap(self) -> Omap:
        return self.configs[-1]

    @property
    def version(self) -> int:
        return len(self.configs)

    @property
    def map(self) -> GroupMap:
        return self.maps[-1]

    def may(self, what: str) -> bool:
        return dict(self.left)[what] > 0

    def spent(self, what: str) -> "World":
        return self._replace(left=tuple((name, count - (name == what)) for name, count in self.left))

    def with_node(self, index: int, **changes: object) -> "World":
        node = self.nodes[index]._replace(**changes)  # type: ignore[arg-type]
        return self._replace(nodes=self.nodes[:index] + (node,) + self.nodes[index + 1:])

    def stored(self, edit: Optional[moves.Edit]) -> "World":
        """One write that compared the version."""
        if edit is None:
            return self
        omap = {key: value for key, value in self.omap if key not in edit.removes}
        omap.update(edit.sets)
        return self._replace(configs=self.configs + (tuple(sorted(omap.items())),))

    def committed(self, **changes: object) -> "World":
        return self._replace(maps=self.maps + (self.map._replace(**changes),))  # type: ignore[arg-type]


FAULTS = ("asks", "crashes", "freezes", "agent_restarts", "starts", "handovers", "others_change", "hangs")


def start(gateways: int, **counts: int) -> World:
    """All well: gateway 0 serves group 1 with the namespace, gateway 1 serves group 2."""
    text = json.dumps({"subsystem_nqn": NQN, "nsid": NSID, "anagrpid": 1})
    served = (Served(0, 1), Served(1, 1))
    node = Node(loaded=0, applied=1, group=1, wanted=1, answered=1)
    nodes = tuple(node._replace(open=frozenset({i + 1} if i < 2 else ())) for i in range(gateways))
    return World((((moves.namespace_key(NQN, NSID), text),),), (GroupMap((1,) * gateways, served),), nodes,
                 ((0, frozenset()),) * gateways, 1, frozenset(), tuple((name, counts.get(name, 0)) for name in FAULTS))


# ---- as the real functions want it ---------------------------------------------------------------------------------

@lru_cache(maxsize=None)
def records(omap: Omap) -> Tuple[Move, ...]:
    return moves.stored_moves(dict(omap))[0]


@lru_cache(maxsize=None)
def stored_group(omap: Omap) -> int:
    return int(json.loads(dict(omap)[moves.namespace_key(NQN, NSID)])["anagrpid"])


@lru_cache(maxsize=None)
def agreed(omap: Omap) -> Optional[int]:
    return moves.agreed_groups(dict(omap)).get((NQN, NSID))


@lru_cache(maxsize=None)
def fence(omap: Omap) -> int:
    return moves.stored_fence(dict(omap))


def limbo() -> int:
    found = moves.limbo(MAX_NAMESPACES)
    assert found is not None
    return found


def name(index: int) -> str:
    return f"gw{index + 1}"


def instance(index: int, number: int) -> Instance:
    return Instance(name(index), number, "t")


@lru_cache(maxsize=None)
def real_map(found: GroupMap) -> Map:
    last: Dict[int, int] = {index: number for index, number, _ in found.over}
    gateways = tuple(
        Gateway(name(i), i + 1, availability=Availability.AVAILABLE if number else Availability.UNAVAILABLE,
                instance=instance(i, number) if number else None, last_number=number or last.get(i, 0),
                addresses=frozenset({"address"} if number else ())) for i, number in enumerate(found.numbers))
    departed = tuple(Departed(instance(i, number), frozenset({"address"}), osd_epoch or None)
                     for i, number, osd_epoch in found.over)
    return Map("rbd", "g1", gateways=gateways, departed=departed,
               ana_groups=tuple(_real_group(g, s) for g, s in zip(GROUPS, found.served)))


def _real_group(number: int, served: Served) -> AnaGroup:
    owner = name(number - 1)
    if served.writer[0] != NOBODY:
        return AnaGroup(number, owner, Phase.FENCING, writers=frozenset({instance(*served.writer)}),
                        osd_epoch=served.osd_epoch)
    if served.gateway == NOBODY:
        return AnaGroup(number, owner, osd_epoch=served.osd_epoch)
    holder = instance(served.gateway, served.number)
    phase = Phase.ACTIVE if served.to == NOBODY else Phase.DRAINING
    return AnaGroup(number, owner, phase, holder=holder, writers=frozenset({holder}), osd_epoch=served.osd_epoch)


@lru_cache(maxsize=None)
def said(words: Tuple[Word, ...]) -> Dict[str, Said]:
    return {name(i): Said(instance(i, number), frozenset(Held(NQN, NSID, version) for version in held))
            for i, (number, held) in enumerate(words) if number}


# ---- what must hold ------------------------------------------------------------------------------------------------

def serves(node: Node) -> bool:
    return node.state == RUNS and node.group in node.open


def check(world: World) -> None:
    """Raises ``AssertionError``."""
    serving = [i for i, node in enumerate(world.nodes) if serves(node)]
    assert len(serving) <= 1, f"two are optimized for the namespace: {', '.join(map(name, serving))}"
    for i in serving:
        for j, other in enumerate(world.nodes):
            assert i == j or not other.io, f"{name(i)} serves it while a write of {name(j)} is in flight"
        for j, number in world.late:
            assert (j, number) == (i, world.nodes[i].number) or _refused(world, i, j, number), (
                f"a write of {name(j)}#{number} may land after one of {name(i)}")


def _refused(world: World, index: int, other: int, number: int) -> bool:
    """The other instance is fenced, and this one's writes carry an OSD map that says so."""
    return any(world.nodes[index].passed >= osd_epoch > 0 for i, n, osd_epoch in world.map.over
               if (i, n) == (other, number))


def describe(world: World) -> str:
    lines = [f"configuration {world.version}: " + "; ".join(f"{k} {v}" for k, v in world.omap), f"map {world.map}",
             f"words {[(n, sorted(h)) for n, h in world.words]}, late {sorted(world.late)}"]
    return "\n".join(lines + [f"{name(i)}: {node}" for i, node in enumerate(world.nodes)])
