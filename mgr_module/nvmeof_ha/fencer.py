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
from .mon import Answer, MonCommandError, Mons, parsed

ANSWER_S = 10.0


def plain(address: str) -> str:
    """``ip:port/nonce`` without the messenger version that some releases print before it."""
    kind, colon, rest = address.partition(":")
    return rest if colon and kind in ("v1", "v2", "any") else address


class _Attempt:
    """One instance's fence under way."""

    def __init__(self, instance: Instance, addresses: FrozenSet[str], now: float) -> None:
        self.instance, self.addresses, self.started = instance, addresses, now
        self.unanswered: Set[str] = set(addresses)


class Fencer:
    """Used by one group's driver only."""

    def __init__(self, mon: Mons, enqueue: Callable[[Callable[[], None]], None], report: Callable[[Event], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        """``enqueue``: run this in the driver's turn; ``report``: give this event to the core."""
        self._mon, self._enqueue, self._report, self._clock = mon, enqueue, report, clock
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
            self._issue(command, attempt, partial(self._added, attempt, address))

    def poll(self) -> None:
        for attempt in list(self._attempts.values()):
            if self._clock() >= attempt.started + ANSWER_S:
                self._fail(attempt, f"the mons did not answer within {ANSWER_S:g} s: check that they have a quorum")

    def _issue(self, command: Dict[str, Any], attempt: _Attempt, answered: Callable[[Answer], None]) -> None:
        def in_driver(answer: Answer) -> None:
            if self._attempts.get(attempt.instance) is attempt:
                answered(answer)
        self._mon.issue(command, lambda answer: self._enqueue(lambda: in_driver(answer)))

    def _added(self, attempt: _Attempt, address: str, answer: Answer) -> None:
        if answer.code:
            self._fail(attempt, f"`ceph osd blocklist add {address}` was refused: {answer.describe()}")
            return
        attempt.unanswered.discard(address)
        if not attempt.unanswered:
            self._issue({"prefix": "osd dump", "format": "json"}, attempt, partial(self._dumped, attempt))

    def _dumped(self, attempt: _Attempt, answer: Answer) -> None:
        try:
            osd_map = parsed(answer, "osd dump")
        except MonCommandError as error:
            self._fail(attempt, str(error))
            return
        listed = {plain(address) for address in osd_map["blocklist"]}
        missing = sorted(a for a in attempt.addresses if plain(a) not in listed)
        if missing:
            self._fail(attempt, f"{missing[0]} is not on the blocklist of osdmap e{osd_map['epoch']} although the mons "
                                "acknowledged it: do not remove blocklist entries of gateways")
            return
        del self._attempts[attempt.instance]
        self.took.note(self._clock() - attempt.started)
        self._report(Fenced(attempt.instance, osd_map["epoch"]))

    def _fail(self, attempt: _Attempt, reason: str) -> None:
        del self._attempts[attempt.instance]
        self._report(FenceFailed(attempt.instance, f"{attempt.instance} is not fenced: {reason}"))
