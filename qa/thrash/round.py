"""Plays one round: breaks, mends, waits until all is as it should be, reads all data, and says what was not right."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Sequence

from testbed.cluster import CommandFailed
from testbed.map_changes import short_instance
from testbed.namespaces import NetworkError
from testbed.stage import Stage
from testbed.waiting import WaitTimeout

from . import breaking, schedule
from .cluster_faults import ANSWER_S
from .evidence import Evidence
from .links import Links
from .result import Finding, Result
from .schedule import Fault, Lane, Played

SETTLE_S = 120.0
"""More than any failover, restart and failback takes, on a busy machine too. A Linux host whose gateway died while it
connected notices after 60 s, and failbacks wait for hosts."""
LAST_CHANCE_S = 120.0
NOTICED_S = 2.0
MOST_PROBLEMS = 5
"""Problems of one kind that are told one by one, with the logs around them."""


class Round:
    """One round on the stage, which must be settled."""

    def __init__(self, stage: Stage, links: Optional[Links], number: int, lanes: Sequence[Lane], evidence: Evidence,
                 fault_s: float, heal_s: float) -> None:
        self._stage = stage
        self._links = links
        self._lanes = lanes
        self._evidence = evidence
        self._fault_s, self._heal_s = fault_s, heal_s
        self._played: List[Played] = []
        self.result = Result(number, [' and '.join(sorted({fault.kind.name for lane in lanes for fault in lane}))])
        self.settled = False   # at its end, be it late

    @property
    def title(self) -> str:
        kinds = ' and '.join(lane[0].kind.name for lane in self._lanes)
        return f'round {self.result.number}: {kinds}'

    @property
    def _faults(self) -> List[Fault]:
        return [played.fault for played in self._played]

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
        self._wait_until(mended_s + NOTICED_S)
        if self._settle(SETTLE_S):
            result.settle_s = round(time.monotonic() - mended_s, 1)
            stage.timeline.add('all is settled')
            self._judge_gateways(before)
            self._wait_until(mended_s + self._heal_s)
        self._verify()
        self._judge(from_s, time.monotonic())
        stage.timeline.end()
        return result

    # -- parts ----------------------------------------------------------------------------------------

    def _wait_until(self, at_s: float) -> None:
        left_s = max(0.0, at_s - time.monotonic())
        self._stage.wait(lambda: time.monotonic() >= at_s, left_s + 60, f'{left_s:.0f} s to pass')

    def _break(self) -> None:
        hurry = threading.Event()
        ends = threading.Timer(self._fault_s, hurry.set)
        ends.start()

        def play(lane: Lane) -> None:
            for fault in lane:
                breaking.play(self._stage, self._links, fault, hurry, self._played)
        with ThreadPoolExecutor(len(self._lanes)) as pool:
            try:
                for playing in [pool.submit(play, lane) for lane in self._lanes]:
                    self._take_end(playing)
            finally:
                # Who is interrupted mends all the same, and at once.
                hurry.set()
                ends.cancel()

    def _take_end(self, playing: Future) -> None:
        try:
            playing.result()
        except (WaitTimeout, CommandFailed, NetworkError) as error:
            self._find('unmended', f'could not be mended: {error}')

    def _settle(self, timeout_s: float) -> bool:
        try:
            self._stage.wait_settled(timeout_s)
            self._stage.wait(self._clean, timeout_s, 'all placement groups to be clean', interval_s=1.0)
            self.settled = True
        except WaitTimeout as error:
            self._find('unsettled', f'not settled: {error}'[:600])
        return self.settled

    def _clean(self) -> bool:
        try:
            return self._stage.cluster.is_clean(ANSWER_S)
        except CommandFailed:
            return False

    def _verify(self) -> None:
        """Also when it is not settled: what can be read must be right."""
        if not self.settled:
            started_s = time.monotonic()
            self._settle(LAST_CHANCE_S)
            self._find('unsettled', 'it settled after all, %.0f s later' % (time.monotonic() - started_s)
                       if self.settled else 'nor did it settle later')
        if self.settled:
            self._stage.verify()
        self._take(self._stage.mark())

    def _find(self, kind: str, text: str, at_s: float = 0.0) -> None:
        around = self._evidence.told_around(at_s) if at_s else []
        self.result.findings.append(Finding(kind, text, around))

    def _take(self, figures: List[Dict[str, Any]]) -> None:
        result = self.result
        for window in figures:
            for entry in window['errors'] + window['findings']:
                self._stage.timeline.add(f'writer: {entry}')
        result.stall_s = round(max(window['longest_gap_s'] for window in figures), 2)
        # A block that could not be read is an I/O error, and looked at again in the next round.
        result.lost = sum(window['lost'] + window['corrupt'] for window in figures)
        result.stale = sum(window['stale'] for window in figures)
        # The guest's clock is its own.
        ahead_s = self._stage.guest.clock_offset().offset_s + time.time() - time.monotonic()
        for window in figures:
            times = [entry['epoch'] - ahead_s for entry in window['errors']]
            excused = bool(times) and all(self._excused(at_s) for at_s in times)
            if excused:
                result.excused_errors += window['io_errors']
            else:
                result.io_errors += window['io_errors']
        for count, kind, what in ((result.lost, 'lost', 'lost or corrupt'), (result.stale, 'stale', 'stale'),
                                  (result.io_errors, 'errors', 'I/O errors')):
            if count:
                self._find(kind, f'{count} {what}')

    def _excused(self, at_s: float) -> bool:
        return any(schedule.unwatched(self._played, name, at_s) for name in self._stage.gateways)

    # -- judgements -----------------------------------------------------------------------------------

    def _judge(self, from_s: float, to_s: float) -> None:
        result, evidence = self.result, self._evidence
        result.faults = [f'{played.from_s - from_s:.1f} s: {played.fault}' for played in self._played]
        self._judge_samples(from_s, to_s)
        evidence.take_news()
        problems = evidence.problems(from_s, to_s, self._played)
        result.history = len(problems)
        for problem in problems[:MOST_PROBLEMS]:
            self._find('history', f'{problem.at_s - from_s:.2f} s: {problem.text}', problem.at_s)
        moves = [move for move in evidence.history.moves() if from_s <= move[0] <= to_s]
        result.failovers = sum(fenced for *_move, fenced in moves)
        result.handovers = len(moves) - result.failovers
        result.lay_to_faults(self._played, [(stall.from_s, stall.seconds) for stall
                                            in evidence.stall_watch.stalls(from_s)],
                             [at_s for at_s, *_move, fenced in moves if fenced])
        for line in evidence.logs.news():
            self._find('logged', line)

    def _judge_samples(self, from_s: float, to_s: float) -> None:
        owners, overlaps = self._stage.layout.owners, []
        for sample in self._stage.sampler.history.between(from_s, to_s):
            self.result.moved |= any(sample.optimized(group) - {owner} for group, owner in owners.items())
            for group in sample.overlaps:
                if any(schedule.unwatched(self._played, gateway, sample.at_s) for gateway in sample.optimized(group)):
                    self.result.excused_overlaps += 1
                else:
                    overlaps.append((sample.at_s, group, ' and '.join(sorted(sample.optimized(group)))))
        self.result.overlaps = len(overlaps)
        for at_s, group, gateways in overlaps[:MOST_PROBLEMS]:
            self._find('overlap', f'{at_s - from_s:.2f} s: {gateways} are optimized for ANA group {group}', at_s)
        if self.result.moved and not schedule.may_move(self._faults):
            self._find('moved', 'an ANA group moved, and there was no reason')

    def _judge_gateways(self, before: Dict[str, str]) -> None:
        """Those that nothing was done to are still the same instances."""
        if schedule.isolating(self._faults):
            return
        hurt = schedule.hurt(self._faults)
        for name, instance in self._instances().items():
            if name not in hurt and instance != before.get(name):
                self._find('restarted', f'{name} was {before.get(name)} and is {instance}, and nothing was done to it')

    def _instances(self) -> Dict[str, str]:
        latest = self._stage.map_watch.latest
        return {gateway.id: short_instance(gateway.instance) for gateway in latest.gateways} if latest else {}
