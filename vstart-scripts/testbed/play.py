"""Plays one scenario: brings its event about, waits for what must follow, and measures.

A scenario has two parts, each with a measuring window of its own: from the event on, and (where the ANA group
moved) the failback. Nothing waits for a fixed time except where the scenario itself asks for it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Dict, List, Optional

from guest import GuestError
from nvmeof_ha_core.model import Phase
from nvmeof_ha_core.timing import HOSTS_RETURN_S

from .cluster import CommandFailed
from .gateway import Gateway
from .stage import Stage
from .timeline import Entry
from .waiting import WaitTimeout

ANA_GROUP = 1
OWNER, OTHER = 'gw1', 'gw2'
FAILBACK = 'failback'


class Unexpected(AssertionError):
    """Something must be so by now, and is not."""


@dataclass(frozen=True)
class Outcome:
    """What a scenario gave; None where a figure does not apply. Times in seconds.

    `lost` and `stale` of a scenario include what the verification at its very end found, which is also in its
    failback's: nobody can tell in which of the two a block went. Torn or foreign blocks count as lost.
    """

    name: str
    ok: bool
    moved: bool
    switch_s: Optional[float]
    no_path_s: Optional[float]
    host_stall_s: Optional[float]
    io_errors: int
    lost: int
    stale: int
    overlaps: int
    timeline: List[Entry]

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Expectation:
    """`moves`: the ANA group goes to the other gateway; if not, it must have a path all the time. `tolerant`: I/O
    errors and overlaps are only counted."""

    moves: bool = True
    tolerant: bool = False

    def met(self, moved: bool, measured: Measured) -> bool:
        sound = not measured.lost and not measured.stale
        quiet = not measured.io_errors and not measured.overlaps
        pausing = self.moves or not measured.no_path_s
        return moved == self.moves and sound and (quiet or self.tolerant) and pausing


@dataclass
class Measured:
    """Figures of the writers and the sampler for one part."""

    host_stall_s: Optional[float] = None
    no_path_s: Optional[float] = None
    io_errors: int = 0
    lost: int = 0
    stale: int = 0
    overlaps: int = 0


@dataclass
class Part:
    """One measured part of a scenario; open as long as `to_s` is None."""

    from_s: float
    to_s: Optional[float] = None
    switch_s: Optional[float] = None
    measured: Measured = field(default_factory=Measured)


class Play:
    """One scenario on the stage; its functions are what scenarios are written in."""

    def __init__(self, stage: Stage, name: str, expectation: Expectation) -> None:
        self.stage = stage
        self.name = name
        self.expectation = expectation
        self.owner: Gateway = stage.gateways[OWNER]
        self._history = stage.sampler.history
        self._first: Optional[Part] = None
        self._failback: Optional[Part] = None
        self._switched_s = 0.0   # when the other gateway was optimized
        self._drain_s = 0.0      # when the failback's drain began
        self.problem = ''   # why it could not be played to its end

    def run(self, title: str, act: Callable[[Play], None]) -> List[Outcome]:
        """Play it; what went wrong is in the outcomes."""
        timeline = self.stage.timeline
        timeline.begin(f'{self.name}: {title}')
        try:
            self.stage.wait_settled()
            self.stage.mark()
            act(self)
            self._finish()
        except (WaitTimeout, Unexpected, GuestError, CommandFailed) as error:
            self.problem = str(error)
            if timeline.zero_s is None:
                timeline.event('no event: the scenario before it has left something undone')
            timeline.add(f'FAILED: {error}')
        timeline.end()
        return self._outcomes()

    # -- what scenarios do ----------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self.stage.timeline.add(text)

    def event(self, text: str, act: Callable[[], Any]) -> None:
        """Do it; the scenario's clock begins right before it is done."""
        self._first = Part(time.monotonic())
        act()
        self.stage.timeline.event(text, self._first.from_s)

    def wait_failover(self, timeout_s: float = 60) -> None:
        """Until the other gateway's listener reads back optimized, and the host writes again everywhere."""
        part = self._open_part()
        self._switched_s = self._wait_optimized(OTHER, part.from_s, timeout_s)
        part.switch_s = self._switched_s - part.from_s
        self.stage.wait_writing()

    def wait_since_event(self, seconds: float) -> None:
        """Until the event is that long ago: only for scenarios that say so."""
        end_s = self._open_part().from_s + seconds
        self.stage.wait(lambda: time.monotonic() >= end_s, seconds + 60, f'{seconds:g} s to pass')

    def close_first_part(self) -> None:
        """What happens from now on belongs to the failback."""
        self._close(self._open_part())
        self._failback = Part(time.monotonic())

    def wait_failback(self, timeout_s: float = 60 + HOSTS_RETURN_S) -> None:
        """Until the owner is optimized again; which may be for as long as the mgr waits for hosts to be connected to it."""
        assert self._failback, 'close_first_part comes first'
        # On a busy machine the failback may have begun before the first part's window was closed.
        returned_s = self._wait_optimized(OWNER, self._switched_s, timeout_s)
        starts = [self._history.last_optimized(ANA_GROUP, OTHER, returned_s),
                  self.stage.map_watch.first_seen(ANA_GROUP, Phase.DRAINING, self._switched_s)]
        self._drain_s = min(start for start in starts if start is not None)
        self._failback.switch_s = returned_s - self._drain_s

    def require(self, holds: bool, what: str) -> None:
        """For what must be so by now."""
        if not holds:
            raise Unexpected(f'expected {what}; it is not so')

    # -- the rest -------------------------------------------------------------------------------------

    def _open_part(self) -> Part:
        assert self._first, 'the event comes first'
        return self._first

    def _wait_optimized(self, gateway: str, from_s: float, timeout_s: float) -> float:
        return self.stage.wait(lambda: self._history.first_optimized(ANA_GROUP, gateway, from_s), timeout_s,
                               f'{gateway} to become optimized for ANA group {ANA_GROUP}')

    def _finish(self) -> None:
        self.stage.wait_settled()
        self.stage.verify()
        self._close(self._failback or self._open_part())
        self._measure_paths()
        self.note('all acknowledged blocks were read')

    def _close(self, part: Part) -> None:
        figures = self.stage.mark()
        for window in figures:
            for entry in window['errors'] + window['findings']:
                self.note(f'writer: {entry}')
        part.to_s = time.monotonic()
        part.measured = Measured(
            host_stall_s=max(window['longest_gap_s'] for window in figures),
            io_errors=sum(window['io_errors'] for window in figures),
            lost=sum(window['lost'] + window['corrupt'] + window['unread'] for window in figures),
            stale=sum(window['stale'] for window in figures),
            overlaps=self._history.overlaps(part.from_s, part.to_s))

    def _measure_paths(self) -> None:
        first, failback = self._open_part(), self._failback
        ends_s = time.monotonic()
        first.measured.no_path_s = self._no_path_s(first.from_s, min(first.to_s or ends_s, self._drain_s or ends_s))
        if failback:
            failback.measured.no_path_s = self._no_path_s(self._drain_s, ends_s)

    def _no_path_s(self, from_s: float, to_s: float) -> float:
        return max(self._history.no_path_s(group, from_s, to_s) for group in self.stage.layout.owners)

    def _moved(self, part: Part) -> bool:
        """Some gateway was optimized for an ANA group that is not its own."""
        return any(sample.optimized(group) - {owner} for group, owner in self.stage.layout.owners.items()
                   for sample in self._history.between(part.from_s, part.to_s or time.monotonic()))

    def _outcomes(self) -> List[Outcome]:
        first, failback = self._first or Part(time.monotonic()), self._failback
        if failback:
            first.measured.lost += failback.measured.lost
            first.measured.stale += failback.measured.stale
        entries = self.stage.timeline.entries
        outcomes = [self._outcome(self.name, first, self._moved(first), self.expectation,
                                  entries(to_s=self._drain_s or float('inf')))]
        if failback:
            begin_s = self._drain_s or failback.from_s   # the latter when it has never come
            outcomes.append(self._outcome(FAILBACK, failback, failback.switch_s is not None, Expectation(),
                                          entries(from_s=begin_s, zero_s=begin_s)))
        return outcomes

    def _outcome(self, name: str, part: Part, moved: bool, expectation: Expectation,
                 timeline: List[Entry]) -> Outcome:
        figures = part.measured
        return Outcome(name, not self.problem and expectation.met(moved, figures), moved, _rounded(part.switch_s),
                       _rounded(figures.no_path_s), _rounded(figures.host_stall_s), figures.io_errors, figures.lost,
                       figures.stale, figures.overlaps, timeline)


def _rounded(seconds: Optional[float]) -> Optional[float]:
    return None if seconds is None else round(seconds, 3)
