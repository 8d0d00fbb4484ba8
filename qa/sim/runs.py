"""Run seeds: a safety phase with faults, then a heal and a liveness phase; collect what was found."""

from __future__ import annotations

import traceback
from itertools import count
from random import Random
from typing import NamedTuple

from nvmeof_ha import driver, fencer, takeover
from nvmeof_ha.core import answers
from nvmeof_ha.core.timing import BACKOFF_CAP_S

from . import faults, mons
from .agent import BOOT_S
from .group import Group, Violation
from .host import Host
from .shortcuts import shortcuts
from .target import START_S

LOOK_S = 0.5


class Result(NamedTuple):
    """``problem``: "" if nothing went wrong.  ``settled_s``: from the end of all faults."""

    seed: int
    problem: str
    timeline: str
    excused: int
    promotions: int
    simulated_s: float
    settled_s: float


def run(seed: int, keep_timeline: bool = False) -> Result:
    """Simulate one seed.  The timeline is kept of one that fails, or on demand."""
    with shortcuts():
        return play(seed, keep_timeline)


def liveness_s(group: Group) -> float:
    """How long a group may take from the end of all faults until everything is where it belongs: the sum of what may
    be waited for one after the other, with the back-offs and flaps of mgr and hosts as the faults have left them."""
    timing, state, now = group.timing, group.mgr.state, group.mgr.process.clock.now()
    take_over_s = 2 * takeover.ANSWER_S + driver.RETRY_S
    depart_s = 2 * timing.suspect_s + timing.lease_wait_s
    fence_s = fencer.ANSWER_S + answers.FENCE_RETRY_S + mons.PROPOSAL_S[1]
    restart_s = BOOT_S[1] + START_S[1] + timing.restrict_s + max(_pause_s(h) for h in group.hosts)
    flaps, waits = 1, [0.0]
    if state is not None:
        flaps += max(map(len, state.soft.flaps.values()), default=0)
        waits += [bar.until - now for bar in state.soft.declined.values()]
        # one more drain may fail
        waits += [bar.until - now + 2 * bar.delay_s for bar in state.soft.drain_backoff.values()]
    failback_s = min(timing.failback_delay_s * 2 ** flaps, BACKOFF_CAP_S)
    return (take_over_s + depart_s + fence_s + timing.promote_s + restart_s + failback_s + 2 * timing.drain_s
            + max(waits) + timing.promote_s)


def _pause_s(host: Host) -> float:
    """Until the warden may start a target again, of those that ended soon after their start."""
    now = host.clock.now()
    return next(s for s in count() if host.warden.pace.due(now + s)) if host.up else 0.0


def play(seed: int, keep_timeline: bool = False) -> Result:
    """The same without shortcuts."""
    group = Group(Random(seed), 2 + seed % 2)
    problem = ""
    try:
        faults.inject(group)
        group.world.run_until(faults.SAFETY_S)
        faults.heal(group)
        bound_s = liveness_s(group)
        end_s = faults.SAFETY_S + bound_s
        while not group.settled() and group.world.now < end_s:
            group.world.run_until(group.world.now + LOOK_S)
        group.check_data()
        if not group.settled():
            problem = f"not settled {bound_s:.1f} s after all faults ended"
    except Violation as violation:
        problem = str(violation)
    except Exception:  # the outermost loop of one run: whatever the core raises is the finding
        problem = traceback.format_exc()
    return Result(seed, problem, group.describe() if problem or keep_timeline else "", group.history.excused,
                  len(group.history.promotions), group.world.now, group.world.now - faults.SAFETY_S)
