"""The warden's orderly end, step by step.  Pure: told what is so, it says what to do.

First the agent's beacons ask for a handover and the target goes on until the map gives it nothing to serve; then the
target ends, its instance is reported as reaped (so that nobody waits for a lease), and the agent ends. Every wait has a
limit; a second signal skips the handover.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Iterable, Optional, Set, Tuple

from nvmeof_ha_core import gateway
from nvmeof_ha_core.model import Instance
from nvmeof_ha_core.register import View
from nvmeof_ha_core.timing import Timing

TELL_S = 1.0
"""For the last beacon; without it the mgr finds out by silence."""
AGENT_STOP_S = 2.0


@dataclass(frozen=True)
class Step:
    """What to do now; all of it may be repeated."""

    stop_target: bool = False
    kill_target: bool = False
    stop_agent: bool = False
    kill_agent: bool = False
    done: bool = False


@dataclass
class Leaving:
    """`asked`: how often a stop was asked for."""

    asked: int = 0
    since_s: Optional[float] = None
    ended_s: Optional[float] = None
    agent_asked_s: Optional[float] = None
    acknowledged: Set[Instance] = field(default_factory=set)

    def told(self, instances: Iterable[Instance]) -> None:
        """The mgr acknowledged a beacon that named these as reaped."""
        self.acknowledged.update(instances)

    def step(self, running: Optional[Instance], view: View, reaped: Tuple[Instance, ...], agent_runs: bool,
             timing: Timing, now_s: float) -> Step:
        """`running`: the instance whose target still runs."""
        if self.since_s is None:
            self.since_s = now_s
        if running is not None:
            handed_over = _left(view, running) or not agent_runs
            limit_s = 2 * timing.drain_s + timing.promote_s
            due = handed_over or self.asked > 1 or now_s - self.since_s > limit_s
            return Step(stop_target=due, kill_target=self.asked > 2)
        if self.ended_s is None:
            self.ended_s = now_s
        if not agent_runs:
            return Step(done=True)
        known = all(i in self.acknowledged or (view.permits is not None and view.permits.current(i) is None)
                    for i in reaped)
        if self.agent_asked_s is None:
            if not (known or self.asked > 1 or now_s - self.ended_s > TELL_S):
                return Step()
            self.agent_asked_s = now_s
        return Step(stop_agent=True, kill_agent=now_s - self.agent_asked_s > AGENT_STOP_S)


def _left(view: View, instance: Instance) -> bool:
    """The map knows that the instance leaves and gives it nothing; or it was never admitted, or is over."""
    if view.permits is None:
        return False
    admitted = view.permits.current(instance)
    return admitted is None or (admitted.leaving and gateway.may_leave(view, instance))
