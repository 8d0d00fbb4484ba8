"""Replays one driver's or standby's trace in a mgr's log: ``begin`` and ``step`` must do again what they did."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

from nvmeof_ha import trace
from nvmeof_ha.core import invariants, machine, standby
from nvmeof_ha.core.events import Tick
from nvmeof_ha.core.model import ModelError
from nvmeof_ha.core.plain import PlainError
from nvmeof_ha.core.soft import State

from .findings import Place, Result, Violation

SHOWN = 3000


class DriverReplay:
    """One gateway group, or the standby, in one log file.

    A damaged line is forgiven when the mgr began anew after it: it was killed in the middle of the line.
    """

    def __init__(self, result: Result) -> None:
        self._result = result
        self._state: Any = None
        self._number = 0
        self._damaged = self._refused = ""

    def take(self, place: Place, text: str) -> Optional[trace.Line]:
        """The line, once it was replayed; None if it counts for nothing.

        Raises ``Violation``; the next state that was logged is a new beginning.
        """
        try:
            line = trace.decode(text)
        except PlainError as error:
            self._state, self._damaged = None, f"{place}: a line of the trace is damaged ({error}): {text[:SHOWN]}"
            return None
        damaged, self._damaged = self._damaged, ""
        if damaged and not isinstance(line, (trace.Began, trace.LooksOut)):
            raise Violation(damaged)
        missing, self._number = line.number - self._number - 1, line.number
        state, self._state = self._state, None
        try:
            self._state = self._replayed(line, state, missing)
        except (ModelError, invariants.InvariantViolated) as error:
            raise Violation(f"{place}: {type(error).__name__}: {error}; event {_event(line)}") from None
        except Violation as violation:
            raise Violation(f"{place}: {violation}") from None
        return None if self._refused else line

    def _replayed(self, line: trace.Line, state: Any, missing: int) -> Any:
        if isinstance(line, trace.Began):
            return self._begin(line)
        if isinstance(line, (trace.Stands, trace.LooksOut)):
            if state is None or missing:
                return line.state
            return self._compare_state(self._ticked(state, line.ticks), line.state)
        if self._refused:
            refused, self._refused = self._refused, ""
            raise Violation(f"the driver went on with a map that it had to refuse: {refused}")
        if state is None:
            self._result.unjudged += 1
            return None
        if missing:
            raise Violation(f"{missing} lines are missing before number {line.number}, or their numbers are wrong")
        state = self._ticked(state, line.ticks)
        after, actions = self._step(state, line.event, line.now)
        _compare(line, after, actions)
        return after

    def _begin(self, line: trace.Began) -> Optional[State]:
        self._refused = ""
        state, actions = machine.begin(line.found, line.records, line.ballot, line.timing, line.now,
                                       line.failback_doubling, line.disasters)
        self._result.take_overs += 1
        _compare(line, state, actions)
        try:
            invariants.check_map(state.map)
        except invariants.InvariantViolated as error:
            # Somebody wrote it into the seats.  The driver stops there, so nothing may follow.
            self._refused = str(error)
            return None
        return state

    def _ticked(self, state: Any, ticks: Sequence[Tuple[float, Any]]) -> Any:
        for now, tick in ticks:
            state, actions = self._step(state, tick, now)
            if actions:
                raise Violation(f"the tick {tick} at {now} led to no action, and in the replay to {_listed(actions)}")
        return state

    def _step(self, state: Any, event: Any, now: float) -> Tuple[Any, Sequence[Any]]:
        self._result.steps += 1
        self._result.ticks += isinstance(event, (Tick, standby.Tick))
        if isinstance(state, standby.State):
            return standby.step(state, event, now)
        after, actions = machine.step(state, event, now)
        if after.map is not state.map:
            invariants.check_map(after.map)
            invariants.check_step(state.map, after.map)
        return after, actions

    @staticmethod
    def _compare_state(replayed: Any, logged: Any) -> Any:
        if replayed != logged:
            parts = ("", "soft") if isinstance(logged, State) else ("",)
            names = [name for part in parts for name in _different(replayed, logged, part)]
            raise Violation(f"the state is another one than in the replay: {', '.join(names)}\n"
                            f"  logged   {str(logged)[:SHOWN]}\n  replayed {str(replayed)[:SHOWN]}")
        return logged


def _different(one: Any, other: Any, part: str) -> List[str]:
    one, other = (getattr(one, part), getattr(other, part)) if part else (one, other)
    return [f"{part}.{name}".strip(".") for name in vars(one) if getattr(one, name) != getattr(other, name)]


def _compare(line: Any, after: Any, actions: Sequence[Any]) -> None:
    version = after.map.version if isinstance(after, State) else None
    logged = getattr(line, "version", None)   # a standby has none
    if tuple(actions) == line.actions and version == logged:
        return
    raise Violation(f"the replay comes to something else after {_event(line)}\n"
                    f"  logged   version {logged}, {_listed(line.actions)}\n"
                    f"  replayed version {version}, {_listed(actions)}")


def _event(line: trace.Line) -> str:
    return str(getattr(line, "event", type(line).__name__))[:SHOWN]


def _listed(actions: Sequence[Any]) -> str:
    return "actions [" + "; ".join(str(action)[:SHOWN] for action in actions) + "]"
