"""Plays one round: breaks, mends, waits until all is as it should be, reads all data, and says what was not right."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from testbed.cluster import CommandFailed
from testbed.map_changes import short_instance
from testbed.stage import Stage
from testbed.waiting import WaitTimeout

from . import schedule
from .breaking import Breaking
from .log_watch import LogWatch
from .schedule import Fault

SETTLE_S = 120.0
"""More than any failover, restart and failback takes, on a busy machine too. A Linux host whose gateway died while it
connected notices after 60 s, and failbacks wait for hosts."""
LAST_CHANCE_S = 120.0
NOTICED_S = 2.0


@dataclass
class Result:
    """Figures of one round. `excused`: I/O errors and overlaps of targets that nobody could restrict (`unwatched`)."""

    number: int
    faults: List[str]
    stall_s: float = 0.0
    settle_s: Optional[float] = None   # after all was mended
    moved: bool = False
    io_errors: int = 0
    overlaps: int = 0
    excused_errors: int = 0
    excused_overlaps: int = 0
    lost: int = 0
    stale: int = 0
    findings: List[str] = field(default_factory=list)
    kinds: Tuple[str, ...] = ()

    def to_json(self) -> Dict[str, Any]:
        return asdict(self)


class Round:
    """One round on the stage, which must be settled."""

    def __init__(self, stage: Stage, number: int, faults: Tuple[Fault, ...], logs: LogWatch) -> None:
        self._stage = stage
        self._faults = faults
        self._logs = logs
        self._hurry = threading.Event()
        self.result = Result(number, [str(fault) for fault in faults], kinds=tuple(f.kind.name for f in faults))
        self.settled = False   # at its end, be it late

    @property
    def title(self) -> str:
        return f'round {self.result.number}: ' + '; '.join(self.result.faults)

    def play(self) -> Result:
        """Raises GuestError, ObserverFailed, ClusterError when the stage itself is broken."""
        stage, result = self._stage, self.result
        stage.timeline.begin(self.title)
        stage.mark()
        before = self._instances()
        from_s = stage.timeline.event('the round begins')
        self._break()
        stage.timeline.add('all is mended')
        mended_s = time.monotonic()
        # What was done last is not noticed at once; until then all seems to be well.
        stage.wait(lambda: time.monotonic() >= mended_s + NOTICED_S, 60, 'what was done to be noticed')
        if self._settle(SETTLE_S):
            result.settle_s = round(time.monotonic() - mended_s, 1)
            self._judge_gateways(before)
        self._verify()
        to_s = time.monotonic()
        self._judge_samples(from_s, to_s)
        result.findings += [f'logged: {line}' for line in self._logs.news()]
        stage.timeline.end()
        return result

    # -- parts ----------------------------------------------------------------------------------------

    def _break(self) -> None:
        with ThreadPoolExecutor(len(self._faults)) as pool:
            playing = [pool.submit(Breaking(self._stage, fault, self._hurry).play) for fault in self._faults]
            try:
                for one in playing:
                    one.result()
            except (WaitTimeout, CommandFailed) as error:
                self.result.findings.append(f'could not be mended: {error}')
            finally:
                self._hurry.set()

    def _settle(self, timeout_s: float) -> bool:
        try:
            self._stage.wait_settled(timeout_s)
            self.settled = True
        except WaitTimeout as error:
            self.result.findings.append(f'not settled: {error}'[:600])
        return self.settled

    def _verify(self) -> None:
        """Also when it is not settled: what can be read must be right."""
        if not self.settled:
            started_s = time.monotonic()
            self._settle(LAST_CHANCE_S)
            self.result.findings.append('it settled after all, %.0f s later' % (time.monotonic() - started_s)
                                        if self.settled else 'nor did it settle later')
        if self.settled:
            self._stage.verify()
        self._take(self._stage.mark())

    def _take(self, figures: List[Dict[str, Any]]) -> None:
        result = self.result
        for window in figures:
            for entry in window['errors'] + window['findings']:
                self._stage.timeline.add(f'writer: {entry}')
        result.stall_s = round(max(window['longest_gap_s'] for window in figures), 2)
        # A block that could not be read is an I/O error, and looked at again in the next round.
        result.lost = sum(window['lost'] + window['corrupt'] for window in figures)
        result.stale = sum(window['stale'] for window in figures)
        errors = sum(window['io_errors'] for window in figures)
        if schedule.unwatched(self._faults):
            result.excused_errors = errors
        else:
            result.io_errors = errors
        counts = ((result.lost, 'lost or corrupt'), (result.stale, 'stale'), (result.io_errors, 'I/O errors'))
        result.findings += [f'{count} {what}' for count, what in counts if count]

    def _judge_samples(self, from_s: float, to_s: float) -> None:
        unwatched = schedule.unwatched(self._faults)
        owners = self._stage.layout.owners
        for sample in self._stage.sampler.history.between(from_s, to_s):
            self.result.moved |= any(sample.optimized(group) - {owner} for group, owner in owners.items())
            for group in sample.overlaps:
                if sample.optimized(group) & unwatched:
                    self.result.excused_overlaps += 1
                else:
                    self.result.overlaps += 1
        if self.result.overlaps:
            self.result.findings.append(f'{self.result.overlaps} samples with two optimized gateways')
        if self.result.moved and not schedule.may_move(self._faults):
            self.result.findings.append('an ANA group moved, and there was no reason')

    def _judge_gateways(self, before: Dict[str, str]) -> None:
        """Those that nothing was done to are still the same instances."""
        # Seats and mons that are silent together look like isolation, and that ends targets.
        if {'pause-cluster', 'pause-mon'} & set(self.result.kinds):
            return
        hurt: FrozenSet[str] = schedule.hurt(self._faults)
        for name, instance in self._instances().items():
            if name not in hurt and instance != before.get(name):
                self.result.findings.append(f'{name} was {before.get(name)} and is {instance}, and nothing was done '
                                            'to it')

    def _instances(self) -> Dict[str, str]:
        latest = self._stage.map_watch.latest
        return {gateway.id: short_instance(gateway.instance) for gateway in latest.gateways} if latest else {}
