"""The clock of leases: seconds since the host booted, time in suspend included.

CLOCK_BOOTTIME and not CLOCK_MONOTONIC, because a lease must run out while a machine sleeps. It is one clock for all
processes of a host, so the send time of a seat read means the same to the warden and to the agent.
"""
from __future__ import annotations

import time


def boottime_s() -> float:
    """Now, in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
