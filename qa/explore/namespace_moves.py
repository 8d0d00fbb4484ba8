"""What can happen in ``namespace_world.py``: each a name and the world after it.

``work``: what everybody does once faults have stopped; it ends by itself.  The rest are faults, requests, the hosts'
writes, and what is done only when nothing else helps (taking a move back)."""

from __future__ import annotations

from typing import Iterator, List, Tuple

from gw_agent import moves
from gw_agent.moves import Verdict

from .namespace_world import (DEAD, FROZEN, GROUPS, NOBODY, NQN, NSID, RUNS, Node, Served, World, agreed, fence,
                              limbo, name, real_map, records, said, serves, stored_group)

Step = Tuple[str, World]


def steps(world: World) -> List[Step]:
    """Everything that can happen."""
    found = list(mgr(world))
    for i, node in enumerate(world.nodes):
        if node.state == RUNS:
            found += [*target(world, i, node), *agent(world, i, node), *ends(world, i, node, 0.0),
                      *hosts(world, i, node), *faults(world, i, node), *ends(world, i, node, moves.LIMIT_S)]
        elif node.state == FROZEN:
            found.append((f"{name(i)} wakes", _woken(world, i)))
        elif world.may("starts") and not world.map.numbers[i]:
            found.append((f"{name(i)} starts", _started(world, i).spent("starts")))
    return found


def work(world: World) -> Iterator[Step]:
    """What is done when faults have stopped."""
    for i, node in enumerate(world.nodes):
        if node.state == FROZEN:
            yield f"{name(i)} wakes", _woken(world, i)
        if node.state == RUNS:
            if node.io and not node.hung:
                yield f"a write at {name(i)} is done", world.with_node(i, io=False)
            yield from target(world, i, node)
            yield from agent(world, i, node)
            yield from ends(world, i, node, 0.0)
    yield from mgr(world)


def patience(world: World) -> Iterator[Step]:
    """When nobody has work left: time has passed."""
    for i, node in enumerate(world.nodes):
        if node.state == RUNS:
            yield from ends(world, i, node, moves.LIMIT_S)


# ---- gateways ------------------------------------------------------------------------------------------------------

def agent(world: World, i: int, node: Node) -> Iterator[Step]:
    if node.seen < len(world.maps) - 1:
        yield f"{name(i)} reads the map", world.with_node(i, seen=len(world.maps) - 1, draining=False,
                                                          drained=frozenset())
    seen = world.maps[node.seen]
    mine = seen.numbers[i] == node.number
    for group, served in zip(GROUPS, seen.served):
        ours = (served.gateway, served.number) == (i, node.number)
        if group in node.open and not (ours and served.to == NOBODY):
            yield f"{name(i)} closes ANA group {group}", world.with_node(i, open=node.open - {group})
        elif ours and served.to == NOBODY and group not in node.open:
            yield f"{name(i)} opens ANA group {group}", world.with_node(
                i, open=node.open | {group}, passed=max(node.passed, served.osd_epoch))
        elif ours and served.to != NOBODY and group not in node.drained and not node.draining:
            yield f"{name(i)} drains ANA group {group}", _draining(world, i, node, group)
        elif ours and node.draining and not node.queue:
            yield f"{name(i)} has drained ANA group {group}", world.with_node(i, draining=False,
                                                                              drained=node.drained | {group})
    if mine and not node.loaded and (node.applied < world.version or _unfinished(world, node)):
        yield f"{name(i)} reads the configuration", world.with_node(i, loaded=world.version)
    if node.loaded:
        yield f"{name(i)} applies configuration {node.loaded}", _applied(world, i, node)
    if node.held - world.words[i][1] or node.held and world.words[i][0] != node.number:
        word = (node.number, node.held)
        yield f"{name(i)} says what it holds", world._replace(words=world.words[:i] + (word,) + world.words[i + 1:])
    if node.changed and world.version == node.applied:
        yield f"{name(i)} makes a move of what others changed", world.stored(moves.conversion(
            dict(world.omap), world.version, (NQN, NSID), node.changed, name(i)))


def _draining(world: World, i: int, node: Node, group: int) -> World:
    """It names the group that is wanted by now, so that it undoes nothing."""
    if node.group != group:
        return world.with_node(i, drained=node.drained | {group})
    return world.with_node(i, draining=True, queue=node.queue + ((node.wanted or node.group, True),))


def _unfinished(world: World, node: Node) -> bool:
    """The target is not as the configuration that was applied wants it, or did not say so yet."""
    omap = world.configs[node.applied - 1]
    moving, found = bool(records(omap)), node.group or None
    group = moves.group_to_show(stored_group(omap), agreed(omap), limbo(), moving, found)
    return not node.queue and not node.hung and (
        found is None or moves.must_be_set(group, limbo(), found, node.answered or None))


def _applied(world: World, i: int, node: Node) -> World:
    """As `TargetRun.apply_now` and the reconciler do it; a subsystem with a request that waits is left alone."""
    omap = world.configs[node.loaded - 1]
    moving, found, stored = bool(records(omap)), node.group or None, stored_group(omap)
    passed = max(node.passed, fence(omap))   # the barrier
    group = moves.group_to_show(stored, agreed(omap), limbo(), moving, found)
    changed = group if group != stored and not moving else 0
    node = node._replace(loaded=0, applied=node.loaded, passed=passed, wanted=group, changed=changed)
    waits = node.hung or any(ours for _, ours in node.queue)
    if not waits and (found is None or moves.must_be_set(group, limbo(), found, node.answered or None)):
        if moving or moves.passed(fence(omap), passed):
            node = node._replace(queue=node.queue + ((group, True),), answered=0)
    node = _holding(world, node)
    return world._replace(nodes=world.nodes[:i] + (node,) + world.nodes[i + 1:])


def _holding(world: World, node: Node) -> Node:
    moving = records(world.configs[node.applied - 1])
    return node._replace(held=frozenset(m.version for m in moving if node.answered == limbo()))


def target(world: World, i: int, node: Node) -> Iterator[Step]:
    """Requests are carried out in order, each when the namespace has no I/O in flight."""
    if node.queue and not node.io:
        (group, mine), rest = node.queue[0], node.queue[1:]
        node = node._replace(group=group, queue=rest, answered=group if mine else node.answered)
        node = _holding(world, node) if mine else node
        yield f"{name(i)}'s target puts it into group {group}", world._replace(
            nodes=world.nodes[:i] + (node,) + world.nodes[i + 1:])


def ends(world: World, i: int, node: Node, age_s: float) -> Iterator[Step]:
    """It concludes, from the map as it is now, and stores it later."""
    if node.concluded is not None:
        move, osd_epoch = node.concluded
        after = world.stored(moves.completion(dict(world.omap), move, osd_epoch))
        yield f"{name(i)} stores that the move is completed", after.with_node(i, concluded=None)
        return
    for move in records(world.omap):
        if node.applied < move.version:
            continue
        gateway_map = real_map(world.map)
        found = moves.outlook(gateway_map, move, said(world.words))
        verdict = moves.verdict(gateway_map, move, found, age_s, 0.0)
        if verdict is Verdict.COMPLETE:
            concluded = (move, found.osd_epoch)
            yield f"{name(i)} concludes that the move is completed", world.with_node(i, concluded=concluded)
        elif verdict is Verdict.TAKE_BACK:
            yield f"{name(i)} takes the move back", world.stored(moves.taking_back(dict(world.omap), move))


def hosts(world: World, i: int, node: Node) -> Iterator[Step]:
    if node.io and not node.hung:
        yield f"a write at {name(i)} is done", world.with_node(i, io=False)
    elif serves(node):
        yield f"a host writes through {name(i)}", world.with_node(i, io=True)


# ---- what goes wrong, and what is asked for ------------------------------------------------------------------------

def faults(world: World, i: int, node: Node) -> Iterator[Step]:
    if world.may("asks"):
        moving = moves.move_key(NQN, NSID) in dict(world.omap)
        for to in GROUPS:
            if not moving and to != stored_group(world.omap) == node.wanted:
                yield f"{name(i)} is asked to move it to group {to}", world.stored(moves.ask(
                    world.version, (NQN, NSID), node.wanted, to, name(i))).spent("asks")
    if world.may("others_change") and i == 0 and not records(world.omap):
        omap = dict(world.omap)
        key = moves.namespace_key(NQN, NSID)
        old, new = stored_group(world.omap), 3 - stored_group(world.omap)
        edit = moves.Edit({key: omap[key].replace(f'"anagrpid": {old}', f'"anagrpid": {new}')})
        yield f"somebody stores group {new}", world.stored(edit).spent("others_change")
    if world.may("hangs") and node.io:
        yield f"the write at {name(i)} hangs", world.with_node(i, hung=True).spent("hangs")
    if world.may("crashes"):
        yield f"{name(i)}'s target dies", _dead(world, i, node).spent("crashes")
    if world.may("freezes"):
        yield f"{name(i)} freezes until its lease is over", _frozen(world, i, node).spent("freezes")
    if world.may("agent_restarts"):
        yield f"{name(i)}'s agent restarts", world.with_node(
            i, loaded=0, applied=0, answered=0, wanted=0, held=frozenset(), changed=0, passed=0, draining=False,
            drained=frozenset(), concluded=None, queue=tuple((group, False) for group, _ in node.queue)
        ).spent("agent_restarts")


def _late(world: World, i: int, node: Node) -> World:
    return world._replace(late=world.late | {(i, node.number)}) if node.io else world


def _dead(world: World, i: int, node: Node) -> World:
    return _late(world, i, node).with_node(i, **Node(state=DEAD, number=node.number)._asdict())


def _frozen(world: World, i: int, node: Node) -> World:
    """Its lease ends before anybody may take over, so what it has not sent yet is not optimized any more."""
    return _late(world, i, node).with_node(i, state=FROZEN, open=frozenset(), io=False)


def _woken(world: World, i: int) -> World:
    node = world.nodes[i]
    if world.map.numbers[i] != node.number:
        return world.with_node(i, **Node(state=DEAD, number=node.number)._asdict())
    # not over: its own write, if one was on its way, is done or ends before what comes now
    return world.with_node(i, state=RUNS)._replace(late=world.late - {(i, node.number)})


def _started(world: World, i: int) -> World:
    number = world.nodes[i].number + 1
    numbers = world.map.numbers[:i] + (number,) + world.map.numbers[i + 1:]
    return world.with_node(i, **Node(number=number)._asdict()).committed(numbers=numbers)


# ---- the mgr -------------------------------------------------------------------------------------------------------

def mgr(world: World) -> Iterator[Step]:
    gateway_map = world.map
    for i, number in enumerate(gateway_map.numbers):
        if number and world.nodes[i].state != RUNS:
            yield f"{name(i)} is over", _over(world, i, number)
    for i, number, osd_epoch in gateway_map.over:
        if not osd_epoch:
            yield f"{name(i)}#{number} is fenced", _fenced(world, i, number)
    for n, served in enumerate(gateway_map.served):
        node = world.nodes[served.gateway] if served.gateway != NOBODY else None
        if served.gateway == NOBODY and served.writer[0] == NOBODY and any(gateway_map.numbers):
            yield f"ANA group {n + 1} is given to somebody", _with_group(world, n, _promoted(world, served))
        elif node is not None and served.to == NOBODY and world.may("handovers"):
            for to, number in enumerate(gateway_map.numbers):
                if number and to != served.gateway:
                    yield (f"ANA group {n + 1} is to be handed over to {name(to)}",
                           _with_group(world, n, served._replace(to=to)).spent("handovers"))
        elif node is not None and served.to != NOBODY:
            current = node.state == RUNS and node.seen == len(world.maps) - 1
            if current and n + 1 in node.drained and n + 1 not in node.open:
                yield f"ANA group {n + 1} is handed over", _with_group(world, n, _promoted(
                    world, Served(to=served.to, osd_epoch=served.osd_epoch)))
            yield f"the handover of ANA group {n + 1} is abandoned", _with_group(world, n, served._replace(to=NOBODY))


def _with_group(world: World, n: int, served: Served) -> World:
    return world.committed(served=world.map.served[:n] + (served,) + world.map.served[n + 1:])


def _promoted(world: World, served: Served) -> Served:
    numbers = world.map.numbers
    lowest = next(i for i, number in enumerate(numbers) if number)
    to = served.to if served.to != NOBODY and numbers[served.to] else lowest
    return Served(to, numbers[to], osd_epoch=served.osd_epoch)


def _over(world: World, i: int, number: int) -> World:
    served = tuple(Served(osd_epoch=s.osd_epoch, writer=(i, number)) if (s.gateway, s.number) == (i, number) else s
                   for s in world.map.served)
    return world.committed(numbers=world.map.numbers[:i] + (0,) + world.map.numbers[i + 1:], served=served,
                           over=tuple(sorted({*world.map.over, (i, number, 0)})))


def _fenced(world: World, i: int, number: int) -> World:
    osd_epoch = world.osd_epoch + 1
    over = tuple(sorted({*world.map.over, (i, number, osd_epoch)} - {(i, number, 0)}))
    served = tuple(Served(osd_epoch=osd_epoch) if s.writer == (i, number) else s for s in world.map.served)
    return world._replace(osd_epoch=osd_epoch).committed(over=over, served=served)
