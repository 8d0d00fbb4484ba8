"""Paths of the exploration as scenario files, and scenario files played on the explored worlds, step by step.

Here nothing happens by itself: each line is one thing that happens, exactly as the search told it, and all others wait.
So a violation's path is a scenario that ``qa/scenarios`` plays again without loss.  Such a file begins with one of

    explored gateways N ana-groups M [running] [awaited] [FAULT COUNT ...]     mgr, seats, gateway hosts
    explored seats mgrs N decisions M [FAULT COUNT ...]                        the register alone

where ``FAULT COUNT`` is what may go wrong on a path (fields of ``Budget``, or of ``register_world.start``).  ``show`` tells
what everybody knows, ``what now`` what can happen; ``faults stop`` lets everybody do his work until all is well.  A story
ends where something does not hold, or cannot happen: a path that once led to a violation may be barred since.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

from nvmeof_ha.core.actions import Action
from nvmeof_ha.core.model import ModelError

from . import moves, register_moves, register_world
from .healing import checked, heal
from .interrupted import LASTING, deaths
from .paths import FAULTS_STOP, HOLDS
from .scopes import from_words
from .world import EMITTED, World, describe

class NotNow(ValueError):
    """A line names nothing that can happen now."""


class Story:
    """One explored world that a scenario walks through."""

    def __init__(self, begin: str) -> None:
        words = begin.split()
        self._ended = ""
        self._play: Any = _Register(words[2:]) if words[1:2] == ["seats"] else _Group(words[1:])

    def play(self, lines: List[str]) -> List[str]:
        """What is seen: ``every invariant holds``, or where the story ends."""
        seen: List[str] = []
        for line in lines:
            if self._ended:
                break
            try:
                seen += self._told(line)
            except NotNow:
                self._ended = f"cannot happen: {line}"
            except (AssertionError, ModelError) as error:
                self._ended = f"VIOLATED by {line!r}: {error}"
        return [*seen, self._ended] if self._ended else seen or [HOLDS]

    def _told(self, line: str) -> List[str]:
        if line == "show":
            return [told.strip() for told in self._play.describe().splitlines()]
        if line == "what now":
            return list(self._play.possible())
        self._play.follow(line)
        return []


def _counts(words: Sequence[str]) -> Dict[str, int]:
    return {name.replace("-", "_"): int(count) for name, count in zip(words[::2], words[1::2])}


Possible = Dict[str, Callable[[], Any]]


class _Register:
    def __init__(self, words: Sequence[str]) -> None:
        self._world = register_world.start(**_counts(words))

    def possible(self) -> Possible:
        def taken(move: register_moves.Move) -> Callable[[], register_world.World]:
            return lambda: register_moves.follow(self._world, move)
        return {words: taken(move) for words, move in register_moves.everything(self._world).items()}

    def follow(self, line: str) -> None:
        self._world = _chosen(self.possible(), line)

    def describe(self) -> str:
        return register_world.describe(self._world)


class _Group:
    def __init__(self, words: Sequence[str]) -> None:
        self._world = from_words(words)
        self._emitted: List[Tuple[World, Tuple[Action, ...]]] = []

    def possible(self) -> Possible:
        found: Possible = dict(moves.everything(self._world))
        for world, actions in self._emitted:
            if any(isinstance(action, LASTING) for action in actions):
                found.update((death.words, death.followed) for death in deaths(world, actions))
        return found

    def follow(self, line: str) -> None:
        if line == FAULTS_STOP:
            self._world = heal(self._world)
            return
        possible = self.possible()
        EMITTED.clear()
        self._world = checked(_chosen(possible, line))
        self._emitted = list(EMITTED)

    def describe(self) -> str:
        return describe(self._world)


def _chosen(possible: Possible, line: str) -> Any:
    if line not in possible:
        raise NotNow
    return possible[line]()
