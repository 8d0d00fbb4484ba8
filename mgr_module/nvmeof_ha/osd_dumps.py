"""`osd dump` for all groups of a mgr: those who want it at about the same time share one.

What for: where many gateways are lost at once, each fence is shown by an OSD map, whose text has megabytes in a large cluster and
more with each address that was ever fenced; one for each fence cost the square of what was lost.  Promises: what is given was asked
for after whoever gets it asked, so it is no older than what the mons had acknowledged to him by then; nobody waits behind a question
that the mons have left unanswered for ``PATIENCE_S``.  Whoever gets it reads it; the first one does for all.
"""

from __future__ import annotations

import threading
import time
from functools import cached_property
from typing import Callable, FrozenSet, List, NamedTuple, Optional

from .mon import Answer, Mons, parsed

PATIENCE_S = 2.0
PREFIX = "osd dump"


def plain(address: str) -> str:
    """``ip:port/nonce`` without the messenger version that some releases print before it."""
    kind, colon, rest = address.partition(":")
    return rest if colon and kind in ("v1", "v2", "any") else address


class Told(NamedTuple):
    """``epoch``: of the OSD map; ``blocklist``: addresses, without messenger version."""

    epoch: int
    blocklist: FrozenSet[str]


class OsdDump:
    """One answer of the mons'."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @cached_property
    def told(self) -> Told:
        """Raises ``MonCommandError``."""
        osd_map = parsed(self._answer, PREFIX)
        return Told(osd_map["epoch"], frozenset(map(plain, osd_map["blocklist"])))


Done = Callable[[OsdDump], None]
"""Called on any thread; must only enqueue."""


class OsdDumps:
    """Used by all drivers of a mgr, in any thread."""

    def __init__(self, mon: Mons, clock: Callable[[], float] = time.monotonic) -> None:
        self._mon, self._clock = mon, clock
        self._lock = threading.Lock()
        self._asked: Optional[float] = None
        """When the latest question was sent; None: it is answered."""
        self._questions = 0
        self._next: List[Done] = []
        """They asked after that, and get the answer to the next one."""

    def newest(self, done: Done) -> None:
        with self._lock:
            self._next.append(done)
        self.poll()

    def poll(self) -> None:
        """To be called now and then."""
        with self._lock:
            if not self._next or self._asked is not None and self._clock() < self._asked + PATIENCE_S:
                return
            asking, self._next = self._next, []
            self._asked = self._clock()
            self._questions += 1
            number = self._questions
        self._mon.issue({"prefix": PREFIX, "format": "json"}, lambda answer: self._answered(number, asking, answer))

    def _answered(self, number: int, asking: List[Done], answer: Answer) -> None:
        dump = OsdDump(answer)
        for done in asking:
            done(dump)
        with self._lock:
            if number == self._questions:
                self._asked = None
        self.poll()
