"""The plays: how a link is cut or a daemon stalled, how long that lasts, and what must and must not follow.

The expected times are what the README promises, not what an idle machine reaches.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Callable, ContextManager, Dict, FrozenSet, Iterable, Iterator, List, Optional

from target_sim.initiator import Host

from .hosts_apart import NQN, OWNERS, HostsApart
from .outcome import Expectation, Outcome

Disturbance = Callable[[HostsApart], ContextManager[None]]
VICTIM = OWNERS[1]
NOTICED_S = 1.0
TARGET_AFTER_S = 1.0
WRITE, BLOCK = 0x01, 512


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
        apart.wait_clean()
        apart.wait_well()
        targets = apart.targets()
        try:
            with self.disturb(apart):
                from_s = timeline.event(self.name)
                apart.pass_until(from_s + self.hold_s)
        finally:
            apart.network.heal()
        mended_s = time.monotonic()
        timeline.add('mended')
        ended = _ended(apart, targets)
        # What was lost last is missed a little later.
        apart.pass_until(mended_s + NOTICED_S)
        apart.wait_well()
        to_s = time.monotonic()
        timeline.end()
        moved = frozenset(group for group, owner in OWNERS.items()
                          for sample in history.between(from_s, to_s) if sample.optimized(group) - {owner})
        late = _ended(apart, targets) - ended
        served_s = max([_moved_after(apart, group, from_s) for group in moved if not _all(ended)]
                       or [_served_after(apart, group, mended_s) for group in OWNERS])
        return Outcome(self.name, moved, ended, late, max(history.no_path_s(group, from_s, to_s) for group in OWNERS),
                       served_s, apart.write_watch.stalled_s(from_s, to_s), to_s - mended_s,
                       history.overlaps(from_s, to_s))


def _all(ended: FrozenSet[str]) -> bool:
    """Nobody was left to move to."""
    return ended == frozenset(OWNERS.values())


def _ended(apart: HostsApart, before: Dict[str, Optional[int]]) -> FrozenSet[str]:
    return frozenset(name for name, pid in apart.targets().items() if pid != before[name])


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
def _cut_from_data(apart: HostsApart) -> Iterator[None]:
    """All beacons pass, and two seats; the write of a host hangs."""
    gateway = apart.gateways[VICTIM]
    host = Host(gateway.listener_port, NQN, address=gateway.address)
    try:
        apart.network.cut(VICTIM, apart.data_primary(1))
        host.io[0].submit(WRITE, 1, cdw10=0, data=bytes(BLOCK))
        yield
    finally:
        host.close()


@contextmanager
def _cut_gateways_apart(apart: HostsApart) -> Iterator[None]:
    one, other = OWNERS.values()
    apart.network.cut(one, other)
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
def _all_links(apart: HostsApart) -> Iterator[None]:
    hosts = [*apart.names('mon', 'mgr', 'osd'), *apart.gateways]
    for host in hosts:
        apart.network.cut_from(host, hosts)
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


def _one_of_each(apart: HostsApart) -> List[str]:
    """The daemons of a server that had bad luck with what was placed on it."""
    return [apart.active_mgr(), *_mon_leader(apart), *_one_seat(apart)]


@contextmanager
def _server_killed(apart: HostsApart) -> Iterator[None]:
    gateway = apart.gateways[VICTIM]
    with _killed(_one_of_each)(apart):
        gateway.kill('all')
        try:
            yield
        finally:
            gateway.start()


@contextmanager
def _server_vanished(apart: HostsApart) -> Iterator[None]:
    for name in [*_one_of_each(apart), VICTIM]:
        apart.network.isolate(name)
    yield


def _then_target_killed(first: Disturbance) -> Disturbance:
    """A decision becomes overdue while the active mgr cannot take it."""
    @contextmanager
    def disturb(apart: HostsApart) -> Iterator[None]:
        apart.wait_standby()
        with first(apart):
            apart.pass_until(time.monotonic() + TARGET_AFTER_S)
            apart.gateways[VICTIM].kill('target')
            yield
    return disturb


def _active_mgr(apart: HostsApart) -> List[str]:
    return [apart.active_mgr()]


def _mgrs(apart: HostsApart) -> List[str]:
    return apart.names('mgr')


def _everything(apart: HostsApart) -> Iterable[str]:
    return apart.names('mon', 'mgr', 'osd')


def _osds(apart: HostsApart) -> Iterable[str]:
    return apart.names('osd')


def _one_seat(apart: HostsApart) -> List[str]:
    return apart.seat_primaries()[:1]


def _two_seats(apart: HostsApart) -> Iterable[str]:
    return apart.seat_primaries()[:2]


def _mon_leader(apart: HostsApart) -> List[str]:
    return [apart.mon_leader()]


# -- the plays ------------------------------------------------------------------------------------------------------

_FAILOVER = Expectation(dark_s=7.0, served_s=7.0, moves=frozenset({1}), ends=frozenset({VICTIM}))

_OVERDUE = replace(_FAILOVER, dark_s=8.0, served_s=8.0)

# Seats and mons that are silent together look like a cable that was pulled, so the targets end.  OSDs that wake do not
# serve at once: for up to 8 s their placement groups are "laggy".
_STANDSTILL = Expectation(dark_s=45.0, served_s=15.0, moves=None, ends=frozenset(OWNERS.values()))

PLAYS = (
    Play('gateway cut from the cluster', _cut('mon', 'mgr', 'osd'), 10, _FAILOVER, quick=True),
    Play('gateway cut from the cluster for 2 s', _cut('mon', 'mgr', 'osd'), 2, Expectation(dark_s=2.0, served_s=2.0)),
    Play('gateway cut from the OSDs', _cut('osd'), 10, _FAILOVER, quick=True),
    Play('gateway cut from the mons', _cut('mon'), 12),
    Play('gateway cut from the mgrs', _cut('mgr'), 6, quick=True),
    Play('gateway cut from the OSD of one seat', _cut_from_one_seat, 10),
    Play('gateway cut from the OSD of its data', _cut_from_data, 30, replace(_FAILOVER, dark_s=7.0, served_s=20.0)),
    Play('gateways cut from one another', _cut_gateways_apart, 5, quick=True),
    Play('nothing from the gateway arrives', _cut('mon', 'mgr', 'osd', one_way='to'), 10, _FAILOVER),
    Play('nothing to the gateway arrives', _cut('mon', 'mgr', 'osd', one_way='from'), 10, _FAILOVER),
    Play('all links cut for 2 s', _all_links, 2, Expectation(dark_s=2.0, served_s=2.0)),
    Play('all links cut for 20 s', _all_links, 20, _STANDSTILL),
    Play('mgr cut from the mons', _cut_mgr_from_mons, 45),
    Play('mgr cut from everything', _cut_mgr_off, 45),
    Play('mgr killed, then a target', _then_target_killed(_killed(_active_mgr)), 15, _OVERDUE),
    Play('mgr paused, then a target killed', _then_target_killed(_paused(_active_mgr)), 15, _OVERDUE),
    Play('mgr cut from everything, then a target killed', _then_target_killed(_cut_mgr_off), 15, _OVERDUE),
    Play('all mgrs killed', _killed(_mgrs), 300),
    Play('lossy link (5 %)', _lossy(5), 20),
    Play('slow and lossy link (2 Mbit/s, 3 %)', _lossy(3, 2000), 10, quick=True),
    Play('very lossy link (15 %)', _lossy(15), 20),
    # The other OSDs may not even serve reads without it, from 8 to 16 s on until the mons have given it up.
    Play('OSD of one seat paused', _paused(_one_seat), 40, Expectation(dark_s=25.0)),
    Play('OSD of one seat cut from everything', _isolate_osd, 40, Expectation(dark_s=25.0)),
    # Where the last renewal of a placement group's read lease (16 s) was long ago, it is "laggy" for 8 s more.
    Play('OSDs of two seats paused', _paused(_two_seats), 10, Expectation(dark_s=20.0, served_s=10.0), quick=True),
    Play('all OSDs paused for 15 s', _paused(_osds), 15, Expectation(dark_s=25.0, served_s=10.0)),
    Play('all OSDs paused for 25 s', _paused(_osds), 25, Expectation(dark_s=35.0, served_s=10.0)),
    Play('mon leader killed', _killed(_mon_leader), 10),
    # No placement group takes writes until the mons have given up the OSD.  A client that had its session with the mon
    # that vanished looks for another one after 30 s only: a gateway of that kind seems to be cut off itself.
    Play('mgr, mon leader, OSD and gateway vanish', _server_vanished, 60,
         replace(_FAILOVER, dark_s=50.0, served_s=50.0, ends=None)),
    Play('whole cluster paused for 4 s', _paused(_everything), 4, Expectation(dark_s=3.0, served_s=1.0), quick=True),
    Play('whole cluster paused for 15 s', _paused(_everything), 15, _STANDSTILL),
    Play('whole cluster paused for 30 s', _paused(_everything), 30, _STANDSTILL),
    Play('OSD of one seat killed', _killed(_one_seat), 10),
    # Without their leader the mons need up to 15 s before they do anything: give up the OSD, replace the mgr, fence.
    Play('mgr, mon leader, OSD and gateway killed', _server_killed, 30,
         replace(_FAILOVER, dark_s=27.0, served_s=27.0)),
)
