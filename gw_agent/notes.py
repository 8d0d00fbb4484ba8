"""What the agent tells operators beside its beacon. Pure.

Promises: as much as a beacon takes, and never more, whatever is wrong here.
"""
from __future__ import annotations

from typing import Optional, Sequence, Tuple

from nvmeof_ha_core import wire
from nvmeof_ha_core.events import Notes
from nvmeof_ha_core.release import RELEASE

from gw_agent.target_run import TargetRun


def notes(run: Optional[TargetRun], hung_moves: Sequence[str], lease_left_s: float, loop_lag_s: float) -> Notes:
    """`run`: None while no target is attached. `lease_left_s`: not positive once the lease is over."""
    said = Notes(RELEASE, hung_moves=limited(hung_moves, "moves hang"), lease_left_s=round(max(0.0, lease_left_s), 3),
                 loop_lag_s=round(max(0.0, loop_lag_s), 3))
    if run is None:
        return said
    return Notes(RELEASE, limited(run.problems, "problems"), said.hung_moves, run.repairs, run.io[:wire.MOST_IO],
                 said.lease_left_s, said.loop_lag_s)


def limited(texts: Sequence[str], what: str) -> Tuple[str, ...]:
    """At most as many texts, of at most as many characters, as a beacon takes; the last then tells how many more
    there are of `what`."""
    left_out = len(texts) - wire.MOST_EXPOSED
    if left_out > 0:
        texts = [*texts[:wire.MOST_EXPOSED - 1], f"{left_out + 1} more {what}"]
    return tuple(text[:wire.LONGEST_EXPOSED] for text in texts)
