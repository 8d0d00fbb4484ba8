"""The history of one gateway group: what its driver's steps amount to, kept over changes of the mgr.

The driver only puts its steps aside (``watch``); the module looks at them when it has time (``catch_up``).  Promises:
whatever goes wrong here reaches neither the driver nor the module: it is logged, health says that nothing is recorded
any more, and what is recorded stays.  What ended in the last seconds of a mgr that died may be missing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import replace
from typing import Callable, Deque, List, Tuple

from .core.events import Committed, Event, Fenced
from .core.model import Map
from .core.soft import State
from .kv_records import GroupKey, Records
from .measures import Totals
from .recorder import Recorder, Step
from .status import Status
from .transitions import KEPT, PAGE, Transition, decode_pages, encode_page, page_of


class History:
    def __init__(self, key: GroupKey, records: Records, log: logging.Logger, keep: Callable[[str, str], None],
                 repaired: bool = False) -> None:
        """``keep``: write a value to the mon KV store some time.  ``repaired``: it goes on after an operator's repair."""
        self._key, self._log, self._keep = key, log, keep
        self._records = tuple(decode_pages(records.history_pages(key)))
        self._recorder = Recorder(self._records[-1].number + 1 if self._records else 1, repaired)
        self._steps: Deque[Step] = deque()
        self._last_map: Map = Map(key.pool, key.group)
        self._problem = ""
        self.totals = Totals()

    @property
    def records(self) -> Tuple[Transition, ...]:
        """The newest ``KEPT``, oldest first."""
        return self._records

    def watch(self, event: Event, state: State, now: float) -> None:
        """In the driver's turn.  Steps that change nothing are the most: they are not kept."""
        if state.map is not self._last_map or isinstance(event, (Committed, Fenced)):
            self._last_map = state.map
            self._steps.append(Step(event, state, now))

    def catch_up(self) -> List[Transition]:
        """What has ended since the last call; one thread calls this."""
        ended: List[Transition] = []
        try:
            wall_ahead_s = time.time() - time.monotonic()
            while self._steps and not self._problem:
                ended += self._recorder.note(self._steps.popleft(), wall_ahead_s)
            self._store(ended)
            for record in ended:
                self.totals.note(record)
        except Exception as error:  # the outermost frame of all that records: see the head of this file
            self._log.exception("%s: its history is not recorded any more", self._key)
            self._problem = f"its history is not recorded any more ({type(error).__name__}: {error}); report this"
        if self._problem:
            self._steps.clear()
        return ended

    def _store(self, ended: List[Transition]) -> None:
        self._records = (self._records + tuple(ended))[-KEPT:]
        for first in sorted({record.number - record.number % PAGE for record in ended}):
            page = [r for r in self._records if first <= r.number < first + PAGE]
            self._keep(self._key.history_key(page_of(first)), encode_page(page))

    def with_problem(self, status: Status) -> Status:
        return replace(status, problems=status.problems + (self._problem,)) if self._problem else status
