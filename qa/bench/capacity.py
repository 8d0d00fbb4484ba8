"""What the mgr module costs, and how soon it answers, at growing numbers of gateways: ``fleet.py`` against a real cluster.

Groups of ``PER_GROUP`` gateways.  One process speaks for most of them; a few are spoken for by another that has nothing else
to do, so that its round trips are those of beacons and not of a busy load generator.  CPU is of all threads of ceph-mgr, its
own and other modules' included, as share of one core; what the machine has left is among the figures, because without any
left the others mean little.  *Nobody reads*: gateways beacon, but read no seats, which the mgr never sees; that leaves something
of a small machine.  *Scraped*: meanwhile somebody asks for the module's own metrics, as Prometheus does.  *Floor*: the same fleets,
reads and beacons, while `bare_watcher.py` answers in the mgr's place.
"""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Callable, Dict, Iterator, List, Sequence

import rados

from testbed import status_page
from testbed.cluster import ADMIN, REPOSITORY, Cluster
from testbed.process_cost import cost, machine_idle_s
from testbed.waiting import wait_until

from .bare_watcher import BareWatcher
from .ceph_commands import CephCommands
from .fleet_process import FleetProcess

SIZES = (2, 16, 128, 1000)
PER_GROUP = 16
OBSERVED_GROUPS = 16
MODULE, LOAD, PROMETHEUS = 'nvmeof_ha', 'gil_load', 'prometheus'
BUSY_SHARE = 0.3
SCRAPE_EVERY_S = 5.0
SETTLE_S, WARM_S, MEASURE_S = 300.0, 10.0, 20.0
SCRAPED_S = 2.0
"""To ask for `/metrics`, which tells how late ticks are, holds acks up itself (at 1,000 gateways for up to 0.4 s): not those that are
measured."""
LATENESS = re.compile(r'nvmeof_ha_mgr_tick_lateness_seconds_bucket\{.*le="([^"]+)".*\} (\d+)')
Figures = Dict[str, float]
Add = Callable[[str, List[str], List[str]], None]


def run(directory: Path, say: Callable[[str], None], sizes: Sequence[int] = SIZES, seconds: float = MEASURE_S) -> Figures:
    """Figures by name."""
    modules = Path(f'{directory}-modules')
    modules.mkdir(parents=True)
    for module in (REPOSITORY / 'mgr_module' / MODULE, Path(__file__).parent / 'mgr_modules' / LOAD):
        (modules / module.name).symlink_to(module)
    with Cluster(directory, mgrs=1, modules_dir=modules) as cluster:
        cluster.start(say)
        for module in (PROMETHEUS, LOAD, MODULE):
            cluster.enable_module(module)
        return measured(cluster, say, sizes, seconds)


def measured(cluster: Cluster, say: Callable[[str], None], sizes: Sequence[int], seconds: float,
             warm_s: float = WARM_S) -> Figures:
    """On a cluster with the module enabled; other modules are kept busy if it has them."""
    figures: Figures = {}
    cluster.ceph('config', 'set', 'mgr', f'mgr/{MODULE}/trace', 'false')
    status_page.enable(cluster)
    own_modules = cluster.ceph_json('mgr', 'dump')['modules']
    with ExitStack() as stack:
        watcher = stack.enter_context(BareWatcher(cluster.conf))
        fleets = _Fleets(cluster, stack, lambda group, _new, gateways: watcher.add(group, gateways), [watcher.pid])
        for size in sizes:
            say(f'floor: {size} gateways')
            fleets.grow('floor', size)
            time.sleep(warm_s)
            figures.update(_named(size, ', floor', fleets.measure(seconds)))
            with fleets.not_reading():
                time.sleep(warm_s)
                figures.update(_named(size, ', floor, nobody reads', fleets.measure(seconds)))
    with ExitStack() as stack:
        client = stack.enter_context(rados.Rados(name=ADMIN, conffile=str(cluster.conf)))
        pids = [daemon.pid for name, daemon in cluster.daemons.items() if name.startswith('mgr.')]
        fleets = _Fleets(cluster, stack, _created_by(CephCommands(cluster, client)), pids)
        for size in sizes:
            say(f'{size} gateways')
            fleets.grow('fleet', size)
            time.sleep(warm_s)
            figures.update(_named(size, '', _with_lateness(cluster, lambda: fleets.measure(seconds))))
            with fleets.not_reading():
                time.sleep(warm_s)
                figures.update(_named(size, ', nobody reads', _with_lateness(cluster, lambda: fleets.measure(seconds))))
                with _scraped(status_page.url(cluster)) as took_s:
                    scraped = fleets.measure(seconds)
                figures.update(_named(size, ', nobody reads, scraped', {**scraped, 'scrape s, median': median(took_s)}))
            if LOAD in own_modules:
                with _busy_modules(cluster):
                    time.sleep(warm_s)
                    figures.update(_named(size, ', busy mgr', _with_lateness(cluster, lambda: fleets.measure(seconds))))
    return figures


def _created_by(commands: CephCommands) -> Add:
    """A mgr that is busy asks to be asked again."""
    def create(group: str, new: List[str], _gateways: List[str]) -> None:
        for gateway in new:
            wait_until(lambda: [commands.gw('create', group=group, id=gateway)], SETTLE_S, f'{gateway} to be created',
                       not_yet=(RuntimeError,))
    return create


def _named(size: int, condition: str, figures: Figures) -> Figures:
    return {f'{size} gateways{condition}: {name}': value for name, value in figures.items()}


@contextmanager
def _busy_modules(cluster: Cluster) -> Iterator[None]:
    """A module that computes for ``BUSY_SHARE`` of the time, and a Prometheus that scrapes."""
    cluster.ceph('config', 'set', 'mgr', f'mgr/{LOAD}/share', str(BUSY_SHARE))
    try:
        with _scraped(cluster.ceph_json('mgr', 'services').get(PROMETHEUS, '')):
            yield
    finally:
        cluster.ceph('config', 'set', 'mgr', f'mgr/{LOAD}/share', '0')


@contextmanager
def _scraped(url: str) -> Iterator[List[float]]:
    """Metrics are asked for every ``SCRAPE_EVERY_S``, unless the URL is empty.  Gives how long each answer took, in s."""
    ended = threading.Event()
    took_s: List[float] = []

    def scrape() -> None:
        while not ended.is_set():
            begun_s = time.monotonic()
            with urllib.request.urlopen(f'{url}metrics', timeout=30) as answer:
                answer.read()
            took_s.append(time.monotonic() - begun_s)
            ended.wait(SCRAPE_EVERY_S)
    scraper = threading.Thread(target=scrape, daemon=True)
    if url:
        scraper.start()
    try:
        yield took_s
    finally:
        ended.set()


class _Fleets:

    def __init__(self, cluster: Cluster, stack: ExitStack, add: Add, answering: List[int]) -> None:
        """``add``: has a group look after new gateways; of which there are so many now.  ``answering``: the processes
        that do."""
        self._cluster, self._add, self._answering = cluster, add, answering
        self._observer = stack.enter_context(FleetProcess(cluster.conf))
        self._bulk = stack.enter_context(FleetProcess(cluster.conf))
        self._groups: Dict[str, int] = {}

    def grow(self, prefix: str, size: int) -> None:
        """To so many gateways in all; returns once every ANA group is at its owner."""
        for number in range((size + PER_GROUP - 1) // PER_GROUP):
            group, wanted = f'{prefix}{number}', min(PER_GROUP, size - number * PER_GROUP)
            gateways = [f'gw{number}-{member}' for member in range(wanted)]
            new = gateways[self._groups.get(group, 0):]
            if new:
                self._add(group, new, gateways)
            observed = [name for name in new if number < OBSERVED_GROUPS and name in (f'gw{number}-0', f'gw{number}-1')]
            for fleet, named in ((self._observer, observed), (self._bulk, [n for n in new if n not in observed])):
                if named:
                    fleet.ask('add', group=group, gateways=named, ana_groups=wanted)
            self._groups[group] = wanted
        wait_until(lambda: not (self._unsettled(self._observer) or self._unsettled(self._bulk)), SETTLE_S,
                   'every ANA group to be at its owner', interval_s=1.0)

    def _unsettled(self, fleet: FleetProcess) -> List[str]:
        """Of the groups that it speaks for gateways of."""
        return fleet.ask('unsettled', groups=self._groups)

    @contextmanager
    def not_reading(self) -> Iterator[None]:
        """Gateways beacon and read no seats."""
        self._read(False)
        try:
            yield
        finally:
            self._read(True)

    def _read(self, on: bool) -> None:
        for fleet in (self._observer, self._bulk):
            fleet.ask('read', on=on)

    def measure(self, seconds: float) -> Figures:
        """``mgr``: who answers."""
        daemons = self._cluster.daemons
        pids = {'mgr': self._answering,
                'OSDs': [d.pid for name, d in daemons.items() if name.startswith('osd.')],
                'load generator': [self._observer.pid, self._bulk.pid]}
        fleets = (self._observer, self._bulk)
        for fleet in fleets:
            fleet.ask('reset')
        begun_s, idle_s = time.monotonic(), machine_idle_s()
        cpu_s = {what: _cpu_s(of_it) for what, of_it in pids.items()}
        time.sleep(seconds)
        took_s = time.monotonic() - begun_s
        figures = {f'CPU share of {what}': (_cpu_s(of_it) - cpu_s[what]) / took_s for what, of_it in pids.items()}
        figures['CPU share left'] = (machine_idle_s() - idle_s) / took_s
        figures['mgr resident MB'] = sum(cost(pid).resident_mb for pid in pids['mgr'])
        observed, most = (fleet.ask('figures') for fleet in fleets)
        figures['beacons answered per second'] = (observed['acks'] + most['acks']) / took_s
        figures['beacons unanswered'] = sum(f['unanswered'] + f['left_out'] for f in (observed, most))
        figures['ack ms, median'], figures['ack ms, p99'], figures['ack ms, most'] = observed['ack_ms']
        figures['load generator late s, most'] = max(observed['late_s'], most['late_s'])
        return figures


def _with_lateness(cluster: Cluster, measure: Callable[[], Figures]) -> Figures:
    before = _lateness(cluster)
    time.sleep(SCRAPED_S)
    return {**measure(), 'tick late s, p99 at most': _p99(before, _lateness(cluster))}


def _lateness(cluster: Cluster) -> Dict[float, int]:
    """Ticks of all drivers that were late by no more than so many seconds."""
    found: Dict[float, int] = {}
    for bound, count in LATENESS.findall(status_page.metrics(cluster)):
        found[float(bound)] = found.get(float(bound), 0) + int(count)
    return found


def _cpu_s(pids: List[int]) -> float:
    return sum(cost(pid).cpu_s for pid in pids)


def _p99(before: Dict[float, int], after: Dict[float, int]) -> float:
    """The bound of the histogram's bucket that it is in."""
    new = {bound: count - before.get(bound, 0) for bound, count in sorted(after.items())}
    whole = new[max(new)]
    return next(bound for bound, count in new.items() if count >= 0.99 * whole)
