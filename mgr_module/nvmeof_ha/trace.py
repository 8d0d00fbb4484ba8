"""The trace of a driver or a standby: every step of its core as JSON lines in the mgr's log, enough to replay each one.

Off unless the module's option ``trace`` is set; then one line for each take-over, event and what came of it, at level
info.  A tick that brought no beacon and led to no action waits for the next line, which carries it.  From time to time, and
when the trace is switched on, a line has the whole state, so that a replay may begin there; lines are numbered, so that a
missing one is noticed.  ``decode`` reads them back; ``python -m conformance`` replays them through the core and compares.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple, Union

from .core import standby
from .core.actions import Action
from .core.events import Event, Tick
from .core.model import Disaster, Gateway, Map, Version
from .core.plain import Codecs, PlainError
from .core.soft import State
from .core.timing import Timing

MARK = "trace"
STATE_EVERY_S = 600.0
MOST_TICKS = 600


@dataclass(frozen=True)
class Began:
    """``machine.begin``: its arguments and what it returned."""

    number: int
    found: Map
    records: Tuple[Gateway, ...]
    ballot: int
    timing: Timing
    now: float
    failback_doubling: bool
    version: Version
    actions: Tuple[Action, ...]
    disasters: Tuple[Disaster, ...] = ()


@dataclass(frozen=True)
class Stepped:
    """``machine.step`` with this event, after the ticks, which led to no action.  ``version``: of the decided map."""

    number: int
    now: float
    event: Event
    version: Version
    actions: Tuple[Action, ...] = ()
    ticks: Tuple[Tuple[float, Tick], ...] = ()


@dataclass(frozen=True)
class Stands:
    """The whole state, after the ticks."""

    number: int
    state: State
    ticks: Tuple[Tuple[float, Tick], ...] = ()


@dataclass(frozen=True)
class LookedOut:
    """``standby.step`` of a mgr that is not the active one, as ``Stepped``."""

    number: int
    now: float
    event: standby.Event
    actions: Tuple[standby.Action, ...] = ()
    ticks: Tuple[Tuple[float, standby.Tick], ...] = ()


@dataclass(frozen=True)
class LooksOut:
    """The whole state of a standby, after the ticks."""

    number: int
    state: standby.State
    ticks: Tuple[Tuple[float, standby.Tick], ...] = ()


Line = Union[Began, Stepped, Stands, LookedOut, LooksOut]
_CODEC = Codecs().of(Line)


def encode(line: Line) -> str:
    return json.dumps(_CODEC.encode(line), separators=(",", ":"))


def decode(text: str) -> Line:
    """Raises ``PlainError``."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PlainError(f"not JSON: {error}") from None
    return _CODEC.decode(value)


def _is_time_alone(event: Any) -> bool:
    return isinstance(event, standby.Tick) or isinstance(event, Tick) and not event.heard


class _Steps:
    """``on`` may be set at any time by the thread that calls ``stepped``."""

    def __init__(self, key: Any, log: logging.Logger, on: bool) -> None:
        """``key``: stands in each line and tells whose it is."""
        self.on = on
        self._key, self._log = key, log
        self._number = 0
        self._state_due = 0.0
        self._ticks: List[Tuple[float, Any]] = []

    def stepped(self, before: Any, event: Any, now: float, after: Any, actions: Sequence[Any]) -> None:
        """``before``, ``after``: the states around the step."""
        if not self.on:
            if self._state_due:  # what is missing from now on shows as a missing line
                self._state_due, self._ticks, self._number = 0.0, [], self._number + 1
            return
        if now >= self._state_due:
            self._state_due = now + STATE_EVERY_S
            self._write(self._state_line(before))
        if _is_time_alone(event) and not actions and len(self._ticks) < MOST_TICKS:
            self._ticks.append((now, event))
            return
        self._write(self._step_line(now, event, after, tuple(actions)))

    def _step_line(self, now: float, event: Any, after: Any, actions: Tuple[Any, ...]) -> Line:
        raise NotImplementedError

    def _state_line(self, state: Any) -> Line:
        raise NotImplementedError

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _taken_ticks(self) -> Tuple[Tuple[float, Any], ...]:
        ticks, self._ticks = tuple(self._ticks), []
        return ticks

    def _write(self, line: Line) -> None:
        self._log.info("%s %s %s", MARK, self._key, encode(line))


class Trace(_Steps):
    """Of one driver; ``key`` is its gateway group."""

    def began(self, found: Map, records: Tuple[Gateway, ...], ballot: int, timing: Timing, now: float,
              failback_doubling: bool, disasters: Tuple[Disaster, ...], state: State, actions: Sequence[Action]) -> None:
        if self.on:
            self._state_due = now + STATE_EVERY_S
            self._write(Began(self._next(), found, tuple(records), ballot, timing, now, failback_doubling,
                              state.map.version, tuple(actions), disasters))

    def _step_line(self, now: float, event: Event, after: State, actions: Tuple[Action, ...]) -> Line:
        return Stepped(self._next(), now, event, after.map.version, actions, self._taken_ticks())

    def _state_line(self, state: State) -> Line:
        return Stands(self._next(), state, self._taken_ticks())


class StandbyTrace(_Steps):
    """Of one lookout; ``key`` is ``standby/`` and the mgr."""

    def _step_line(self, now: float, event: standby.Event, after: standby.State,
                   actions: Tuple[standby.Action, ...]) -> Line:
        return LookedOut(self._next(), now, event, actions, self._taken_ticks())

    def _state_line(self, state: standby.State) -> Line:
        return LooksOut(self._next(), state, self._taken_ticks())
