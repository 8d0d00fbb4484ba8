"""Breadth-first search over ``namespace_world.py``: every order of everything, within a scope; and from every state,
once faults have stopped, the namespace is out of limbo, alike everywhere, and served.

A violation is raised with the shortest path to it.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Deque, Dict, List, Set, Tuple

from .namespace_moves import patience, steps, work
from .namespace_world import DEAD, World, check, describe, limbo, name, records, serves, stored_group
from .search import Found
from .world import Violation

MOST_WORK = 400
"""More steps in a row than any world needs to heal."""


def explore(start: World, begin: str, most_states: int) -> Found:
    """``begin``: the scope's words for the start."""
    found, began = Found(), time.process_time()
    parents: List[Tuple[int, str]] = [(-1, "")]
    index: Dict[World, int] = {start: 0}
    queue: Deque[Tuple[int, World]] = deque([(0, start)])
    well: Set[World] = set()
    while queue:
        depth, world = queue.popleft()
        found.states += 1
        found.deepest = max(found.deepest, depth)
        told = ""
        try:
            for told, after in steps(world):
                found.edges += 1
                check(after)
                if after not in index and len(index) < most_states:
                    index[after] = len(parents)
                    parents.append((index[world], told))
                    queue.append((depth + 1, after))
            told = "faults stop"
            _heal(world, well)
            found.healing += 1
        except (AssertionError, ValueError) as error:
            path = [*_path(parents, index[world]), told]
            raise Violation("\n".join(["", str(error), "", begin, "----", *path, "", "Before the last step:",
                                       describe(world)])) from error
    found.complete = len(index) < most_states
    found.seconds = time.process_time() - began
    return found


def _path(parents: List[Tuple[int, str]], index: int) -> List[str]:
    path = []
    while index > 0:
        index, told = parents[index]
        path.append(told)
    return path[::-1]


def _heal(world: World, well: Set[World]) -> None:
    """Raises ``AssertionError``; adds all worlds on the way to ``well``."""
    path = []
    while world not in well and len(path) < MOST_WORK:
        path.append(world)
        after = next(work(world), None) or next(patience(world), None)
        if after is None:
            _healed(world)
            break
        world = after[1]
        check(world)
    assert len(path) < MOST_WORK, "work never ends"
    well.update(path)


def _healed(world: World) -> None:
    assert not records(world.omap), f"a move never ends: {records(world.omap)}"
    alive = [i for i, node in enumerate(world.nodes) if node.state != DEAD]
    for i in alive:
        node = world.nodes[i]
        assert node.group != limbo(), f"{name(i)} keeps it in limbo"
        assert node.group == stored_group(world.omap), f"{name(i)} has it in group {node.group}"
    assert not alive or any(serves(node) for node in world.nodes), "nobody serves it"
