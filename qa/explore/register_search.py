"""Breadth-first search over the register's world: every order of writes, answers, deaths and reads, within a scope.

A violation is raised with the shortest path from the start, as a scenario file.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Deque, List, Tuple

from quick_values import quick_values

from . import register_moves as play
from .paths import scenario
from .register_world import World, describe
from .search import Found
from .world import Violation


def explore(start: World, begin: str, most_states: int) -> Found:
    """``begin``: the scenario's words for the start."""
    found, began = Found(), time.process_time()
    parents: List[Tuple[int, play.Move]] = [(-1, ())]
    seen = {play.key(start)}
    queue: Deque[Tuple[int, int, World]] = deque([(0, 0, start)])
    with quick_values("nvmeof_ha.core.", "explore."):
        while queue:
            index, depth, world = queue.popleft()
            found.states += 1
            found.deepest = max(found.deepest, depth)
            for move in play.moves(world):
                found.edges += 1
                try:
                    after = play.follow(world, move)
                except (AssertionError, ValueError) as error:
                    path = _path(start, parents, index) + [play.tell(world, move)]
                    raise Violation(scenario(begin, path, str(error), describe(world))) from error
                key = play.key(after)
                if key not in seen and len(seen) < most_states:
                    seen.add(key)
                    queue.append((len(parents), depth + 1, after))
                    parents.append((index, move))
    found.complete = len(seen) < most_states
    found.seconds = time.process_time() - began
    return found


def _path(start: World, parents: List[Tuple[int, play.Move]], index: int) -> List[str]:
    moves: List[play.Move] = []
    while index > 0:
        index, move = parents[index]
        moves.append(move)
    words, world = [], start
    for move in reversed(moves):
        words.append(play.tell(world, move))
        world = play.follow(world, move)
    return words
