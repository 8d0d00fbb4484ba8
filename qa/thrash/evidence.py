"""All that is looked at to judge a run: logs, traces of the mgrs, stalls of the host, samples of the targets."""

from __future__ import annotations

import time
from typing import List, Sequence, Tuple

from testbed.cluster import POOL
from testbed.gateway import GROUP
from testbed.stage import Stage

from .fence_check import FenceCheck
from .history import History, Problem
from .log_watch import LogWatch
from .mgr_trace import MgrTrace
from .schedule import Played, unwatched
from .stall_watch import StallWatch

KEEP_S = 120.0
"""Older samples are forgotten: a long run has millions."""


class Evidence:
    """Of a stage that has been started."""

    def __init__(self, stage: Stage) -> None:
        daemons = stage.cluster.daemons.values()
        self._stage = stage
        self.logs = LogWatch([gateway.warden.log for gateway in stage.gateways.values()]
                             + [path for daemon in daemons for path in (daemon.log, daemon.output)])
        self.history = History()
        self._trace = MgrTrace([daemon.log for daemon in daemons if daemon.name.startswith('mgr')],
                               f'{POOL}/{GROUP}', self.history)
        self.stall_watch = StallWatch(stage.writers, stage.timeline.add)
        self.stall_watch.start()
        self.fences = FenceCheck(stage.cluster)
        self._maps_taken = 0

    def close(self) -> None:
        self.stall_watch.stop()
        self.fences.close()

    def take_news(self) -> None:
        """Of the maps: what the mgrs logged, and what the seats had."""
        self._trace.take_news()
        seen = self._stage.map_watch.seen
        for at_s, gateway_map in seen[self._maps_taken:]:
            self.history.seen(gateway_map, at_s)
        self._maps_taken = len(seen)

    def problems(self, from_s: float, to_s: float, played: Sequence[Played]) -> List[Problem]:
        """What the maps, the fences and the targets' states say together, between two times."""
        found = self.history.judge_promotions()
        found += [Problem(to_s, text) for text in self.fences.problems(self.history.fenced())]
        samples = self._stage.sampler.history.between(from_s, to_s)
        for ana_group in self._stage.layout.owners:
            readings: List[Tuple[str, float]] = [
                (gateway, sample.readings[gateway].at_s) for sample in samples for gateway in sample.optimized(ana_group)
                if not unwatched(played, gateway, sample.readings[gateway].at_s)]
            found += self.history.not_allowed(ana_group, readings)
        self._stage.sampler.history.forget(to_s - KEEP_S)
        return found

    def told_around(self, at_s: float) -> List[str]:
        """The logs' lines around a time of the monotonic clock."""
        return self.logs.around(at_s + time.time() - time.monotonic())
