"""Run seeds: a safety phase with faults, then a heal and a liveness phase; collect what was found."""

from __future__ import annotations

import traceback
from random import Random
from typing import NamedTuple

from . import faults
from .group import Group, Violation

LIVENESS_S = 60.0
"""Bound for a healed group: the longest keep of anything that a fault can leave behind (suspicion, W, a drain that is
abandoned twice, promote_s, fence retries, failback), with room for the mons' proposals."""


class Result(NamedTuple):
    seed: int
    problem: str
    timeline: str
    excused: int
    simulated_s: float


def run(seed: int, gateways: int = 0) -> Result:
    """Simulate one seed; ``problem`` is empty if nothing went wrong."""
    group = Group(Random(seed), gateways or 2 + seed % 2)
    problem = ""
    try:
        faults.inject(group)
        group.world.run_until(faults.SAFETY_S)
        faults.heal(group)
        end_s = faults.SAFETY_S + LIVENESS_S
        while not group.settled() and group.world.now < end_s:
            group.world.run_until(group.world.now + 1.0)
        group.check_data()
        if not group.settled():
            problem = f"not settled {LIVENESS_S:.0f} s after all faults ended"
    except Violation as violation:
        problem = str(violation)
    except Exception:  # the outermost loop of one run: whatever the core raises is the finding
        problem = traceback.format_exc()
    return Result(seed, problem, group.describe() if problem else "", group.excused, group.world.now)
