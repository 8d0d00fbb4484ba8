"""What the simulation of growth (``growth.py``) is fed with: costs of the real driver, measured here and now, and figures of
other benchmarks that are kept in ``results``.

The driver is ``GroupDriver`` itself, with real wire formats, on the seats, mons and gateways of ``qa/sim``: first at rest,
then with every third gateway lost.  Not in it is what the binding to librados costs, which has no part in the simulator.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple
from unittest import mock

from nvmeof_ha.channel import Heard
from nvmeof_ha.core import machine
from nvmeof_ha.core.actions import Fence
from nvmeof_ha.core.events import Beacon, Committed, Event, Fenced
from nvmeof_ha.core.model import Instance
from nvmeof_ha.core.soft import State
from nvmeof_ha.driver import GroupDriver
from nvmeof_ha.fencer import Fencer
from nvmeof_ha.mon import Answer
from nvmeof_ha.osd_dumps import OsdDumps
from sim.group import Group

RESULTS = Path(__file__).parent / 'results'
REST_S, AFTER_S, LOOK_S = 10.0, 5.0, 0.05
ADDRESSES = 8
"""Of a gateway: one for each RADOS client of its target, `many-at-once`."""
DUMP_BASE_BYTES = 100_000
"""Of `osd dump` without a blocklist, for some 60 OSDs and 10 pools."""


class DriverCosts(NamedTuple):
    """Seconds of one interpreter.  ``rest``, ``unrest``: (a tick, each beacon that it takes) of a group that is well, or not.
    ``event``: the mean step for what is stored, fenced or confirmed.  ``served_s``: simulated, from the loss of a third
    of the gateways to the last ANA group; ``commits``: until then."""

    rest: Tuple[float, float]
    unrest: Tuple[float, float]
    event: float
    served_s: float
    commits: int


class _Watched:
    """Notes what each tick, beacon and step cost the driver, and how many beacons a tick took.  A beacon is read by itself,
    and those of a tick are given to the core together."""

    def __init__(self) -> None:
        self.phase, self.beacons = 'start', 0
        self.ticks: Dict[str, List[Tuple[float, int]]] = defaultdict(list)
        self.read: Dict[str, List[float]] = defaultdict(list)
        self.taken: Dict[str, List[float]] = defaultdict(list)
        self.events: List[float] = []

    def tick(self, driver: GroupDriver, *arguments: Any) -> None:
        begun_s, before = time.process_time(), self.beacons
        _TICK(driver, *arguments)
        self.ticks[self.phase].append((time.process_time() - begun_s, self.beacons - before))

    def beacon(self, driver: GroupDriver, heard: Heard) -> Optional[Beacon]:
        begun_s = time.process_time()
        beacon = _BEACON(driver, heard)
        if beacon is not None:
            self.beacons += 1
            self.read[self.phase].append(time.process_time() - begun_s)
        return beacon

    def beacons_of_tick(self, state: State, beacons: Sequence[Beacon], now: float) -> State:
        begun_s = time.process_time()
        state = _BEACONS(state, beacons, now)
        if beacons:
            self.taken[self.phase].append((time.process_time() - begun_s) / len(beacons))
        return state

    def step(self, driver: GroupDriver, event: Event) -> None:
        begun_s = time.process_time()
        _STEP(driver, event)
        if isinstance(event, (Committed, Fenced)) and self.phase == 'lost':
            self.events.append(time.process_time() - begun_s)

    def of(self, *phases: str) -> Tuple[float, float]:
        beacon_s = sum(median([took_s for phase in phases for took_s in costs[phase]]) for costs in (self.read, self.taken))
        ticks = [took_s - count * beacon_s for phase in phases for took_s, count in self.ticks[phase]]
        return max(median(ticks), 0.0), beacon_s


_TICK, _BEACON, _STEP, _BEACONS = GroupDriver._tick, GroupDriver._beacon, GroupDriver._step, machine._on_beacons


def driver(size: int, times: int) -> DriverCosts:
    """Of a group of so many gateways, each with an ANA group of its own; the least of several measurements."""
    found = [_driver(size) for _ in range(times)]
    return DriverCosts(min(one.rest for one in found), min(one.unrest for one in found), min(one.event for one in found),
                       found[0].served_s, found[0].commits)


def _driver(size: int) -> DriverCosts:
    watched = _Watched()
    with mock.patch.object(GroupDriver, '_tick', lambda *a: watched.tick(*a)), \
            mock.patch.object(GroupDriver, '_beacon', lambda *a: watched.beacon(*a)), \
            mock.patch.object(machine, '_on_beacons', watched.beacons_of_tick), \
            mock.patch.object(GroupDriver, '_step', lambda *a: watched.step(*a)):
        group = Group(Random(size), gateways=size)
        group.slow_share = 0.0
        while not group.settled():
            group.world.run_until(group.world.now + 1.0)
        watched.phase = 'rest'
        group.world.run_until(group.world.now + REST_S)
        watched.phase, lost_at, before = 'lost', group.world.now, group.committed.version.epoch
        orphans = range(1, size + 1, 3)
        for number in orphans:
            group.hosts[number - 1].kill()
        while not all(map(group.optimized, orphans)):
            group.world.run_until(group.world.now + LOOK_S)
        served_s, commits = group.world.now - lost_at, group.committed.version.epoch - before
        watched.phase = 'after'
        group.world.run_until(group.world.now + AFTER_S)
    return DriverCosts(watched.of('rest'), watched.of('after'), mean(watched.events), served_s, commits)


def map_bytes(size: int) -> float:
    """As `commits` found it in the seats, between its sizes by the square that it grows with."""
    found = {int(name.split()[0]): value for name, value in kept('commits').items() if name.endswith('map bytes')}
    low = max([known for known in found if known <= size], default=min(found))
    high = min([known for known in found if known >= size], default=max(found))
    share = 0.0 if low == high else (size ** 2 - low ** 2) / (high ** 2 - low ** 2)
    return found[low] + share * (found[high] - found[low])


def fenced_s(entries: int) -> Tuple[float, float]:
    """What the fencer pays to read `osd dump` with so many entries on the blocklist, in seconds; and its bytes."""
    issued: List[Tuple[dict, Any]] = []

    class Mons:
        def issue(self, command: dict, done: Any) -> None:
            issued.append((command, done))
    blocklist = {f'10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}:0/{2_000_000_000 + n}': '2026-01-01T00:00:00.000000+0000'
                 for n in range(max(entries, ADDRESSES))}
    output = json.dumps({'epoch': 9, 'blocklist': blocklist, 'osds': ['x' * 1000] * (DUMP_BASE_BYTES // 1004)})
    took = []
    for _ in range(3):
        reported: List[Any] = []
        fencer = Fencer(Mons(), OsdDumps(Mons()), lambda call: call(), reported.append)
        fencer.fence(Fence(Instance('gw1', 1, 't'), frozenset(list(blocklist)[:ADDRESSES])), 1.0)
        while len(issued) > 1 or issued[0][0]['prefix'] != 'osd dump':
            issued.pop(0)[1](Answer(0, '', ''))
        begun_s = time.process_time()
        issued.pop(0)[1](Answer(0, output, ''))
        took.append(time.process_time() - begun_s)
        assert isinstance(reported[-1], Fenced)
    return min(took), float(len(output))


def kept(bench: str) -> Dict[str, float]:
    """The median of each figure over the runs of a benchmark that are kept."""
    runs = json.loads((RESULTS / f'{bench}.json').read_text())
    return {name: median([run[name] for run in runs]) for name in runs[0]}

