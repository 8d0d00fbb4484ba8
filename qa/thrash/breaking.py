"""Brings one fault about on the stage, and mends it.

Promises: `play` returns when the fault is mended as far as this program can do it: what was stopped goes on, what was
killed and nobody restarts was started again; also when it is told to hurry. Whether all is well then is for others to
wait for.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, Optional

from testbed.stage import Stage

from . import cluster_faults, gateway_faults, network_faults
from .gateway_faults import GatewayFaults
from .links import Links
from .network_faults import NetworkFaults
from .schedule import BY_NAME, Fault, Played

ACTS: Dict[str, Callable[[Any], None]] = {**gateway_faults.ACTS, **cluster_faults.ACTS, **network_faults.ACTS}
# The others are told by their processes.
ACTS.update({name: GatewayFaults.stop_processes if kind.stops else GatewayFaults.end_processes
             for name, kind in BY_NAME.items() if name not in ACTS})


def play(stage: Stage, links: Optional[Links], fault: Fault, hurry: threading.Event, played: List[Played]) -> None:
    """Appends to `played`, also when it could not be mended. Raises WaitTimeout or CommandFailed then."""
    hurry.wait(fault.after_s)
    if hurry.is_set():
        return
    act = NetworkFaults(stage, fault, hurry, links)
    act.tell(f'FAULT: {fault}')
    begun_s = time.monotonic()
    try:
        ACTS[fault.kind.name](act)
        act.tell(f'mended: {fault.kind.name} {fault.gateway}')
    finally:
        played.append(Played(fault, begun_s, time.monotonic()))
