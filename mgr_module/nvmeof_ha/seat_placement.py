"""Where the seats' placement groups are: asked when their names are chosen, and again after OSD map changes.

A seat's name stays for as long as its group lives, and CRUSH may bring two seats together later.  Nothing is moved for
that; what is found is told in health, with the means to part them.  Nobody waits for the mons here, and an answer that
does not come is asked for again at the next change.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable, Dict, Optional, Sequence

from . import seat_names
from .mon import Answer, MonCommandError, Mons, parsed

AFTER_CHANGE_S = 10.0
"""Map changes come in bursts, and a fence is one, whose failover must not wait behind these questions."""
ANSWER_S = 30.0


class Survey:
    """Asks the mons at once where objects of all these names would be; ``ended``: with ``placed`` or a ``problem``."""

    def __init__(self, mon: Mons, enqueue: Callable[[Callable[[], None]], None], pool: str,
                 names: Sequence[str]) -> None:
        """``enqueue``: run this in the driver's turn."""
        self.problem = ""
        self._tree: Optional[Dict[str, list]] = None
        self._found: Dict[str, Dict[str, Any]] = {}
        self._names = tuple(names)

        def ask(command: Dict[str, Any], take: Callable[[Any], None]) -> None:
            def answered(answer: Answer) -> None:
                try:
                    take(parsed(answer, command["prefix"]))
                except MonCommandError as error:
                    self.problem = str(error)
            mon.issue({**command, "format": "json"}, lambda answer: enqueue(partial(answered, answer)))
        ask({"prefix": "osd tree"}, self._take_tree)
        for name in self._names:
            ask({"prefix": "osd map", "pool": pool, "object": name, "nspace": seat_names.NAMESPACE},
                partial(self._found.__setitem__, name))

    def _take_tree(self, tree: Dict[str, list]) -> None:
        self._tree = tree

    @property
    def ended(self) -> bool:
        return bool(self.problem) or (self._tree is not None and len(self._found) == len(self._names))

    @property
    def placed(self) -> Dict[str, seat_names.Placed]:
        """By name; once it ended without a problem."""
        assert self._tree is not None
        hosts = seat_names.hosts_of_osds(self._tree)
        return {name: seat_names.Placed(name, frozenset(hosts.get(osd, f"osd.{osd}") for osd in found["acting"]),
                                        found["acting_primary"], found["pgid"])
                for name, found in self._found.items()}


class SeatPlacement:
    """Used by one group's driver only.  ``problem``: why the seats may fail together though they need not; or empty."""

    def __init__(self, group: str, mon: Mons, enqueue: Callable[[Callable[[], None]], None],
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._group, self._mon, self._enqueue, self._clock = group, mon, enqueue, clock
        self._due_at: Optional[float] = None
        self._survey: Optional[Survey] = None
        self._asked_at = 0.0
        self.problem = ""

    def osd_map_changed(self) -> None:
        if self._due_at is None:
            self._due_at = self._clock() + AFTER_CHANGE_S

    def poll(self, pool: str, seats: Sequence[str]) -> None:
        """Called each tick while the group is looked after."""
        now = self._clock()
        if self._survey is not None:
            if self._survey.ended or now - self._asked_at >= ANSWER_S:
                self._judge(self._survey, seats)
                self._survey = None
        elif self._due_at is not None and now >= self._due_at:
            self._due_at, self._asked_at = None, now
            names = dict.fromkeys([*seats, *(name for number in range(len(seats))
                                             for name in seat_names.candidates(self._group, number))])
            self._survey = Survey(self._mon, self._enqueue, pool, list(names))

    def _judge(self, survey: Survey, seats: Sequence[str]) -> None:
        if survey.ended and not survey.problem:
            placed = survey.placed
            options = [[placed[name] for name in seat_names.candidates(self._group, number)]
                       for number in range(len(seats))]
            self.problem = seat_names.needlessly_close([placed[name] for name in seats], options)
