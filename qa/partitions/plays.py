"""The plays: how a link is cut or a daemon stalled, how long that lasts, and what must and must not follow.

The expected times are what the README promises, not what an idle machine reaches.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, ContextManager, Dict, Iterable, Iterator

from .hosts_apart import OWNERS, HostsApart
from .outcome import Expectation, Outcome

Disturbance = Callable[[HostsApart], ContextManager[None]]
VICTIM = OWNERS[1]
NOTICED_S = 1.0


@dataclass(frozen=True)
class Play:
    """`disturb`: a context manager that brings it about and mends it.  `quick`: worth its time in every test run."""

    name: str
    disturb: Disturbance
    hold_s: float
    expected: Expectation = Expectation()
    quick: bool = False

    def run(self, apart: HostsApart) -> Outcome:
        """Leaves all as it was. Raises WaitTimeout when that does not come about."""
        timeline, history = apart.timeline, apart.sampler.history
        timeline.begin(self.name)
        apart.wait_well()
        targets = apart.targets()
        from_s = timeline.event(self.name)
        try:
            with self.disturb(apart):
                apart.pass_until(from_s + self.hold_s)
        finally:
            apart.network.heal()
        mended_s = time.monotonic()
        timeline.add('mended')
        # What was lost last is missed a little later.
        apart.pass_until(mended_s + NOTICED_S)
        apart.wait_well()
        to_s = time.monotonic()
        timeline.end()
        moved = frozenset(group for group, owner in OWNERS.items()
                          for sample in history.between(from_s, to_s) if sample.optimized(group) - {owner})
        ended = frozenset(name for name, pid in apart.targets().items() if pid != targets[name])
        served_s = max([_moved_after(apart, group, from_s) for group in moved]
                       or [_served_after(apart, group, mended_s) for group in OWNERS])
        return Outcome(self.name, moved, ended, max(history.no_path_s(group, from_s, to_s) for group in OWNERS),
                       served_s, to_s - mended_s, history.overlaps(from_s, to_s))


def _moved_after(apart: HostsApart, ana_group: int, from_s: float) -> float:
    others = set(OWNERS.values()) - {OWNERS[ana_group]}
    times = [apart.sampler.history.first_optimized(ana_group, other, from_s) for other in others]
    return min(at_s for at_s in times if at_s is not None) - from_s


def _served_after(apart: HostsApart, ana_group: int, from_s: float) -> float:
    return next(sample.at_s for sample in apart.sampler.history.between(from_s)
                if sample.optimized(ana_group)) - from_s


# -- disturbances ---------------------------------------------------------------------------------------------------

def _cut(*kinds: str, one_way: str = '') -> Disturbance:
    """The victim from the daemons of these kinds; `one_way`: what is lost, "to" them or "from" them."""
    @contextmanager
    def disturb(apart: HostsApart) -> Iterator[None]:
        _cut_links(apart, VICTIM, apart.names(*kinds), one_way)
        yield
    return disturb


def _cut_links(apart: HostsApart, one: str, others: Iterable[str], one_way: str = '') -> None:
    if one_way == 'from':
        for other in others:
            apart.network.cut(other, one, one_way=True)
    else:
        apart.network.cut_from(one, others, one_way=bool(one_way))


@contextmanager
def _cut_from_one_seat(apart: HostsApart) -> Iterator[None]:
    apart.network.cut(VICTIM, apart.seat_primaries()[0])
    yield


@contextmanager
def _cut_gateways_apart(apart: HostsApart) -> Iterator[None]:
    apart.network.cut(*OWNERS.values())
    yield


@contextmanager
def _cut_mgr_from_mons(apart: HostsApart) -> Iterator[None]:
    apart.network.cut_from(apart.active_mgr(), apart.names('mon'))
    yield


@contextmanager
def _cut_mgr_off(apart: HostsApart) -> Iterator[None]:
    apart.network.isolate(apart.active_mgr())
    yield


@contextmanager
def _isolate_osd(apart: HostsApart) -> Iterator[None]:
    apart.network.isolate(apart.seat_primaries()[0])
    yield


def _lossy(percent: int, kbit_s: int = 0) -> Disturbance:
    @contextmanager
    def disturb(apart: HostsApart) -> Iterator[None]:
        apart.network.lossy(VICTIM, percent)
        if kbit_s:
            apart.network.narrow(VICTIM, kbit_s)
        yield
    return disturb


def _paused(choose: Callable[[HostsApart], Iterable[str]]) -> Disturbance:
    @contextmanager
    def disturb(apart: HostsApart) -> Iterator[None]:
        daemons = [apart.cluster.daemons[name] for name in choose(apart)]
        try:
            for daemon in daemons:
                daemon.kill(signal.SIGSTOP)
            yield
        finally:
            for daemon in daemons:
                daemon.kill(signal.SIGCONT)
    return disturb


def _killed(choose: Callable[[HostsApart], Iterable[str]]) -> Disturbance:
    @contextmanager
    def disturb(apart: HostsApart) -> Iterator[None]:
        daemons = [apart.cluster.daemons[name] for name in choose(apart)]
        for daemon in daemons:
            daemon.kill()
        try:
            yield
        finally:
            for daemon in daemons:
                daemon.wait_gone(5.0)
                daemon.start()
    return disturb


def _everything(apart: HostsApart) -> Iterable[str]:
    return apart.names('mon', 'mgr', 'osd')


def _one_seat(apart: HostsApart) -> Iterable[str]:
    return apart.seat_primaries()[:1]


def _two_seats(apart: HostsApart) -> Iterable[str]:
    return apart.seat_primaries()[:2]


def _mon_leader(apart: HostsApart) -> Iterable[str]:
    return [f'mon.{apart.cluster.ceph_json("quorum_status")["quorum_leader_name"]}']


# -- the plays ------------------------------------------------------------------------------------------------------

_FAILOVER = Expectation(dark_s=7.0, served_s=7.0, moves=frozenset({1}), ends=frozenset({VICTIM}))

PLAYS = (
    Play('gateway cut from the cluster', _cut('mon', 'mgr', 'osd'), 10, _FAILOVER, quick=True),
    Play('gateway cut from the OSDs', _cut('osd'), 10, _FAILOVER),
    Play('gateway cut from the mons', _cut('mon'), 12, quick=False),
    Play('gateway cut from the mgrs', _cut('mgr'), 6, quick=True),
    Play('gateway cut from the OSD of one seat', _cut_from_one_seat, 10),
    Play('gateways cut from one another', _cut_gateways_apart, 5, quick=True),
    Play('nothing from the gateway arrives', _cut('mon', 'mgr', 'osd', one_way='to'), 10, _FAILOVER),
    Play('nothing to the gateway arrives', _cut('mon', 'mgr', 'osd', one_way='from'), 10, _FAILOVER, quick=True),
    Play('mgr cut from the mons', _cut_mgr_from_mons, 45),
    Play('mgr cut from everything', _cut_mgr_off, 45),
    Play('lossy link (5 %)', _lossy(5), 20),
    Play('slow and lossy link (2 Mbit/s, 3 %)', _lossy(3, 2000), 20, quick=True),
    Play('OSD of one seat paused', _paused(_one_seat), 10),
    Play('OSD of one seat cut from everything', _isolate_osd, 10),
    Play('OSD of one seat killed', _killed(_one_seat), 10),
    Play('OSDs of two seats paused', _paused(_two_seats), 10, Expectation(dark_s=10.0, served_s=1.0), quick=True),
    Play('mon leader killed', _killed(_mon_leader), 10),
    Play('whole cluster paused for 4 s', _paused(_everything), 4, Expectation(dark_s=3.0, served_s=1.0), quick=True),
    Play('whole cluster paused for 15 s', _paused(_everything), 15, Expectation(dark_s=25.0, served_s=10.0)),
    Play('whole cluster paused for 30 s', _paused(_everything), 30, Expectation(dark_s=40.0, served_s=10.0)),
)
BY_NAME: Dict[str, Play] = {play.name: play for play in PLAYS}
