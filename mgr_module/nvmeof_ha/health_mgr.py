"""Health checks of the mgrs: is there another one, is a dead one replaced in time, does this one keep time.

``MgrWatch`` looks rarely and waits for nobody; what cannot be read is no finding.  The rest is pure.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Tuple

from .findings import Finding, Lasts
from .kv_records import GroupKey
from .mon import Answer, Mons
from .status import Status

NO_STANDBY_S = 60.0
"""After a change of the mgr the one before comes back as a standby."""
GRACE = "mon_mgr_beacon_grace"
GRACE_S = 30.0
"""Ceph's own default.  I/O goes on meanwhile, but a gateway that dies then is not replaced before the mgr is."""
LATE_TICKS = 5
DEAF_S = 10.0
HEARING_SEATS = 2
READ_EVERY_S = 300.0
JUMP_S, JUMP_TOLD_S = 1.0, 600.0


class MgrView(NamedTuple):
    """``standbys``, ``grace_s``: None where unknown.  ``jumped_s``: by how much wall clock and monotonic clock have
    parted lately: the host was suspended, or its clock was set."""

    standbys: Optional[int] = None
    grace_s: Optional[float] = None
    jumped_s: float = 0.0


class MgrWatch:
    """One per module; one thread calls ``view``."""

    def __init__(self, mgr_map: Callable[[], Dict[str, Any]], mon: Mons, clock: Callable[[], float] = time.monotonic,
                 wall: Callable[[], float] = time.time) -> None:
        self._mgr_map, self._mon, self._clock, self._wall = mgr_map, mon, clock, wall
        self._grace_s: Optional[float] = None
        self._read_at = float("-inf")
        self._ahead_s = wall() - clock()
        self._jump: Tuple[float, float] = (float("-inf"), 0.0)

    def view(self) -> MgrView:
        now = self._clock()
        if now - self._read_at >= READ_EVERY_S:
            self._read_at = now
            self._mon.issue({"prefix": "config get", "who": "mon", "key": GRACE}, self._answered)
        ahead_s = self._wall() - now
        if abs(ahead_s - self._ahead_s) >= JUMP_S:
            self._jump = now, ahead_s - self._ahead_s
        self._ahead_s = ahead_s
        at, jumped_s = self._jump
        standbys = self._mgr_map().get("standbys")
        return MgrView(None if standbys is None else len(standbys), self._grace_s,
                       jumped_s if now - at < JUMP_TOLD_S else 0.0)

    def _answered(self, answer: Answer) -> None:
        """On a thread of the mgr's."""
        try:
            self._grace_s = float(answer.output.strip()) if answer.code == 0 else None
        except ValueError:
            self._grace_s = None


def of_mgrs(view: MgrView, now: float, lasts: Lasts) -> Iterator[Finding]:
    if view.standbys == 0 and lasts("standby", "", now) >= NO_STANDBY_S:
        yield Finding("NVMEOF_HA_NO_STANDBY_MGR", "this mgr is the only one: I/O goes on while it is away, but nobody "
                      "takes over from a gateway that fails then; start a second ceph-mgr on another host")
    if view.grace_s is not None and view.grace_s > GRACE_S:
        yield Finding("NVMEOF_HA_MGR_GRACE", f"{GRACE} is {view.grace_s:g} s: where no standby mgr steps in, a "
                      f"gateway that fails while the mgr hangs is replaced that late; `ceph config set mon "
                      f"{GRACE} {GRACE_S:g}`")
    if view.jumped_s:
        yield Finding("NVMEOF_HA_MGR_LATE", f"the wall clock of this mgr's host jumped by {view.jumped_s:+.1f} s "
                      "within the last 10 minutes: it was suspended, or its clock was set; times in `history` are off "
                      "by that, and a mgr must not be suspended")


def of_driver(key: GroupKey, status: Status, now: float, lasts: Lasts) -> Iterator[Finding]:
    if not status.running:
        return
    if status.late_ticks >= LATE_TICKS:
        yield Finding("NVMEOF_HA_MGR_LATE", f"group {key}: {status.late_ticks} ticks came late within a minute, and "
                      "what was not heard meanwhile does not count as a gateway's silence; give this mgr's host more "
                      "CPU, or disable modules that keep it busy")
    if status.green_seats < HEARING_SEATS and lasts("deaf", str(key), now) >= DEAF_S:
        yield Finding("NVMEOF_HA_MGR_LATE", f"group {key}: this mgr hears itself through {status.green_seats} of 3 "
                      f"seat objects for more than {DEAF_S:g} s, and suspects nobody meanwhile; see that the pool's "
                      "placement groups are active (`ceph -s`), else `ceph mgr fail`")
