"""Fencing: the OSD blocklist, through mon commands.

Promises: ``Fenced`` only when one OSD map, fetched from the mons after every blocklist command was acknowledged, lists
every address, and with that map's epoch; never from a map that this mgr has cached.  Anything else, silence of the mons
included, is ``FenceFailed`` with the reason, and may be tried again.  Entries are never removed.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable, Dict, FrozenSet, Set

from .core.actions import Fence
from .core.events import Event, Fenced, FenceFailed
from .core.model import Instance
from .measures import Histogram
from .mon import Answer, MonCommandError, Mons
from .osd_dumps import OsdDump, OsdDumps, plain

ANSWER_S = 10.0


class _Attempt:
    """One instance's fence under way."""

    def __init__(self, instance: Instance, addresses: FrozenSet[str], now: float) -> None:
        self.instance, self.addresses, self.started = instance, addresses, now
        self.unanswered: Set[str] = set(addresses)


class Fencer:
    """Used by one group's driver only."""

    def __init__(self, mon: Mons, osd_dumps: OsdDumps, enqueue: Callable[[Callable[[], None]], None],
                 report: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        """``enqueue``: run this in the driver's turn; ``report``: give this event to the core."""
        self._mon, self._osd_dumps, self._enqueue, self._report, self._clock = mon, osd_dumps, enqueue, report, clock
        self._attempts: Dict[Instance, _Attempt] = {}
        self.took = Histogram()

    def busy(self) -> bool:
        return bool(self._attempts)

    def fence(self, action: Fence, expire_s: float) -> None:
        """All addresses at once: blocklist commands that reach the mons together share one proposal."""
        attempt = _Attempt(action.instance, action.addresses, self._clock())
        self._attempts[action.instance] = attempt
        for address in sorted(action.addresses):
            command = {"prefix": "osd blocklist", "blocklistop": "add", "addr": address, "expire": expire_s}
            self._mon.issue(command, self._in_turn(attempt, partial(self._added, attempt, address)))

    def poll(self) -> None:
        self._osd_dumps.poll()
        for attempt in list(self._attempts.values()):
            if self._clock() >= attempt.started + ANSWER_S:
                self._fail(attempt, f"the mons did not answer within {ANSWER_S:g} s: check that they have a quorum")

    def _in_turn(self, attempt: _Attempt, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """Has an answer taken in the driver's turn, if the attempt is not over by then."""
        def taken(answer: Any) -> None:
            if self._attempts.get(attempt.instance) is attempt:
                take(answer)
        return lambda answer: self._enqueue(lambda: taken(answer))

    def _added(self, attempt: _Attempt, address: str, answer: Answer) -> None:
        if answer.code:
            self._fail(attempt, f"`ceph osd blocklist add {address}` was refused: {answer.describe()}")
            return
        attempt.unanswered.discard(address)
        if not attempt.unanswered:
            self._osd_dumps.newest(self._in_turn(attempt, partial(self._dumped, attempt)))

    def _dumped(self, attempt: _Attempt, dump: OsdDump) -> None:
        try:
            epoch, listed = dump.told
        except MonCommandError as error:
            self._fail(attempt, str(error))
            return
        missing = sorted(a for a in attempt.addresses if plain(a) not in listed)
        if missing:
            self._fail(attempt, f"{missing[0]} is not on the blocklist of osdmap e{epoch} although the mons "
                                "acknowledged it: do not remove blocklist entries of gateways")
            return
        del self._attempts[attempt.instance]
        self.took.note(self._clock() - attempt.started)
        self._report(Fenced(attempt.instance, epoch))

    def _fail(self, attempt: _Attempt, reason: str) -> None:
        del self._attempts[attempt.instance]
        self._report(FenceFailed(attempt.instance, f"{attempt.instance} is not fenced: {reason}"))
