"""How many gateways one mgr and its cluster can look after, and what ends first: a simulation (``growth_model.py``), because
nobody has 10,000 gateways to measure.

Each size is simulated at rest, beside a module that computes in bursts, with one host lost and with a location (every third
gateway) lost at once, at the default timers and at longer ones.  A size *holds* with its timers where nothing is used to more
than ``MOST``, acks are prompt, no silence goes uncounted because ticks are late, and the last ANA group of a lost
location is served within ``LOCATION_S`` times of what a single host takes.  Where it does not hold at rest or in bursts, nothing
is lost in the simulation, and what falls behind is not tried with more gateways.  The same model is run on the machine on which
`capacity` and `many-at-once` were measured, and both are told side by side: how far it is off.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import median
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from nvmeof_ha.core.timing import Timing
from testbed.report import aligned

from . import growth_costs as costs
from .growth_machine import Work
from .growth_model import RESOURCES, Model, OtherWork, Shape, Site

SIZES = (100, 250, 500, 1000, 2500, 5000, 10000)
GROUP_SIZES = (2, 8, 16)
TIMERS: Dict[str, Timing] = {'defaults': Timing(), 'beacon_s 1': Timing(beacon_s=1.0, suspect_s=3.0, lease_s=5.0),
                             'beacon_s 2': Timing(beacon_s=2.0, suspect_s=6.0, lease_s=8.0)}
LONGER_FROM = 500
"""Gateways from which on other timers than the defaults are simulated."""
BURST_S = 0.2
MOST, ACK_MS, LOCATION_S = 0.7, 50.0, 2.0
AWAITED_S = 2.1
"""How often what a single host takes is waited for."""
WARM_S, STEADY_BEACONS = 1.0, 10_000
STEADY_S = (3.0, 30.0)
"""At least and at most, for so many beacons."""
SCENARIOS = ('at rest', 'bursts', 'one lost', 'location lost')
MACHINE = Site(mgr_cores=2, osd_cores=2, osds=3, shared=Work(110e-6, 330e-6))
"""Of the other benchmarks; what a message costs the load generator is chosen as ``OtherWork`` is."""
IDLE_CORES = {'mgr': 0.01, 'OSDs': 0.016}
"""Of the daemons without any gateway: `capacity` at 16 and 128 gateways, continued to none."""
TIMES = 3
"""The driver is measured so often, and the least counts."""
MEASURED_SIZES, MEASURED_GROUP, SEEDS = (16, 128, 1000), 16, 15
Figures = Dict[str, float]
Say = Callable[[str], None]


class Seen(NamedTuple):
    """``used``: shares of each resource; ``served``: seconds from the loss, first and last ANA group, 0.0 where not yet."""

    used: Dict[str, float]
    ack_ms: Tuple[float, float]
    late_s: float
    served_s: Tuple[float, float]
    maps: int
    commits: int
    mgr_cores: float


def run(say: Say) -> Figures:
    """Figures by name."""
    figures: Figures = {}
    say('the driver is measured')
    drivers = {size: costs.driver(size, TIMES) for size in sorted({*GROUP_SIZES, 8, MEASURED_GROUP})}
    for size, driver in drivers.items():
        for name, (tick_s, beacon_s) in (('well', driver.rest), ('not well', driver.unrest)):
            figures[f'a group of {size} that is {name}: us for a tick, without beacons'] = 1e6 * tick_s
            figures[f'a group of {size} that is {name}: us for a beacon'] = 1e6 * beacon_s
        figures[f'a group of {size}: us for a step that stores, fences or promotes'] = 1e6 * driver.event
    say('what was measured is simulated')
    figures.update(_compared(drivers))
    for timers in TIMERS:
        say(f'timers: {timers}')
        for group_size in GROUP_SIZES:
            scenarios = SCENARIOS
            for size in SIZES:
                if timers == 'defaults' or size >= LONGER_FROM:
                    name = _name(size, group_size, timers)
                    found = _of_size(name, size, group_size, TIMERS[timers], drivers[group_size], scenarios)
                    figures.update(found)
                    if f'{name}: location lost, last served s' not in found:
                        scenarios = SCENARIOS[:-1]
                    if f'{name}: bursts, interpreter' not in found:
                        break
    return figures


def _name(size: int, group_size: int, timers: str) -> str:
    return f'{size} gateways in groups of {group_size}' + ('' if timers == 'defaults' else f', {timers}')


def _of_size(name: str, size: int, group_size: int, timing: Timing, driver: costs.DriverCosts,
             scenarios: Sequence[str]) -> Figures:
    figures: Figures = {}
    for scenario in scenarios:
        shape = Shape(size, group_size, timing, costs.map_bytes(group_size), driver, _dump,
                      BURST_S if scenario == 'bursts' else 0.0)
        seen = simulated(shape, Site(), {'one lost': 1, 'location lost': 3}.get(scenario, 0))
        found = {**seen.used, 'ack ms, median': seen.ack_ms[0], 'ack ms, p99': seen.ack_ms[1],
                 'tick late s, p99': seen.late_s}
        if 'lost' in scenario:
            found.update({'OSD maps': seen.maps, 'commits': seen.commits})
            if seen.served_s[1]:
                found.update({'first served s': seen.served_s[0], 'last served s': seen.served_s[1]})
        figures.update({f'{name}: {scenario}, {what}': value for what, value in found.items()})
        if max(seen.used.values()) > MOST and 'lost' not in scenario:
            break
    return figures


@lru_cache(maxsize=None)
def _dump_of(thousands: int) -> Tuple[float, float]:
    return costs.fenced_s(1000 * thousands)


def _dump(entries: int) -> Tuple[float, float]:
    """In steps of 2,000 entries, and the line between."""
    low = entries // 2000 * 2
    (low_s, low_bytes), (high_s, high_bytes) = _dump_of(low), _dump_of(low + 2)
    share = (entries - 1000 * low) / 2000
    return low_s + share * (high_s - low_s), low_bytes + share * (high_bytes - low_bytes)


def simulated(shape: Shape, site: Site, every: int = 0, seed: int = 1,
              lost: Optional[Callable[[int], bool]] = None) -> Seen:
    """``every``: 1: one gateway is lost, 3: each third one; ``lost``: others."""
    model = Model(shape, site, OtherWork(), seed)
    beacon_s = shape.timing.beacon_s
    model.world.run_until(WARM_S + 2 * beacon_s)
    begun, before, commits, cpu_s = model.world.now, model.used(), model.commits, model.mgr_cpu_s
    model.acks.clear()
    model.late.clear()
    wanted = 0
    if every or lost is not None:
        wanted = model.lose(lost or (lambda number: number == 0 if every == 1 else number % every == 0))
    steady_s = min(max(STEADY_S[0], STEADY_BEACONS * beacon_s / shape.gateways), STEADY_S[1])
    single_s = shape.timing.suspect_s + shape.timing.lease_wait_s + 1.0
    end = begun + (AWAITED_S * single_s if wanted else steady_s)
    while model.world.now < end and not (wanted and len(model.served) >= wanted):
        model.world.run_until(min(end, model.world.now + 0.25))
    took_s = model.world.now - begun
    used = {what: (busy_s - before[what]) / took_s for what, busy_s in model.used().items()}
    acks, late = sorted(model.acks) or [0.0], sorted(model.late) or [took_s]
    served = model.served if wanted and len(model.served) >= wanted else []
    return Seen(used, (1000 * median(acks), 1000 * _p99(acks)), _p99(late), (served[0] - begun, served[-1] - begun)
                if served else (0.0, 0.0), model.maps_made, model.commits - commits, (model.mgr_cpu_s - cpu_s) / took_s)


def _p99(values: List[float]) -> float:
    return values[int(0.99 * (len(values) - 1))]


# -- compared with what was measured ----------------------------------------------------------------------------------

def _compared(drivers: Dict[int, costs.DriverCosts]) -> Figures:
    """Each figure as `simulated` and as `measured`."""
    figures: Figures = {}

    def both(name: str, here: float, there: float) -> None:
        figures[f'{name}, simulated'], figures[f'{name}, measured'] = here, there
    capacity, driver = costs.kept('capacity'), drivers[MEASURED_GROUP]
    for size in MEASURED_SIZES:
        for condition, burst_s in (('', 0.0), (', busy mgr', 0.05)):
            shape = Shape(size, MEASURED_GROUP, Timing(), costs.map_bytes(MEASURED_GROUP), driver, _dump, burst_s)
            seen, name = simulated(shape, MACHINE), f'{size} gateways{condition}'
            both(f'compared, {name}: CPU share of mgr', seen.mgr_cores + IDLE_CORES['mgr'],
                 capacity[f'{name}: CPU share of mgr'])
            both(f'compared, {name}: CPU share of OSDs', seen.used['OSDs'] * 2 + IDLE_CORES['OSDs'],
                 capacity[f'{name}: CPU share of OSDs'])
            both(f'compared, {name}: ack ms, median', seen.ack_ms[0], capacity[f'{name}: ack ms, median'])
            both(f'compared, {name}: ack ms, p99', seen.ack_ms[1], capacity[f'{name}: ack ms, p99'])
    at_once = costs.kept('many-at-once')
    for what, lost in (('one gateway', lambda n: n == 0), ('4 gateways', lambda n: n % 2 == 0),
                       ('a location of 4', lambda n: n < 4)):
        shape = Shape(8, 8, Timing(), costs.map_bytes(8), drivers[8], _dump)
        ends = [simulated(shape, MACHINE, seed=seed, lost=lost).served_s[1] for seed in range(SEEDS)]
        both(f'compared, lost {what}: last served s', median(ends), at_once[f'{what}: last ANA group served after s'])
    for size in drivers:
        shape = Shape(size, size, Timing(), costs.map_bytes(size), drivers[size], _dump)
        ends = [simulated(shape, Site(), 3, seed).served_s[1] for seed in range(SEEDS)]
        both(f'compared, a third of {size} lost, the real driver: last served s', median(ends), drivers[size].served_s)
    return figures


# -- what follows -----------------------------------------------------------------------------------------------------

def holds(figures: Figures, name: str, timing: Timing) -> str:
    """"": it does; else the first that does not, in the order of the scenarios."""
    for scenario in SCENARIOS:
        found = {what[len(f'{name}: {scenario}, '):]: value for what, value in figures.items()
                 if what.startswith(f'{name}: {scenario}, ')}
        if not found:
            return f'{scenario}: not simulated'
        what, share = limit(found)
        if share > MOST:
            return f'{scenario}: {what}'
        if scenario == 'at rest' and found['ack ms, p99'] > ACK_MS or found['ack ms, p99'] > 1000 * timing.beacon_s:
            return f'{scenario}: acks'
        if found['tick late s, p99'] > timing.beacon_s / 2:
            return f'{scenario}: late ticks'
        if 'lost' in scenario:
            one_s = figures.get(f'{name}: one lost, last served s', 0.0)
            if found.get('last served s', float('inf')) > LOCATION_S * one_s:
                return f'{scenario}: served late'
    return ''


def limit(found: Figures) -> Tuple[str, float]:
    """The resource that is used most."""
    what = max((what for what in RESOURCES if what in found), key=found.__getitem__)
    return what, found[what]


def table(runs: List[Figures]) -> str:
    """One row for each size and its timers; then what was compared."""
    figures = runs[0]
    rows = [['gateways', 'in groups of', 'timers', 'used most at rest', 'in bursts', 'ack ms p99', 'in bursts',
             'ticks late s', 'one lost s', 'location lost s', 'used most then', 'holds, or what does not']]
    for timers, timing in TIMERS.items():
        for size in SIZES:
            for group_size in GROUP_SIZES:
                name = _name(size, group_size, timers)
                found = {what[len(name) + 2:]: value for what, value in figures.items() if what.startswith(f'{name}: ')}
                if found:
                    verdict = holds(figures, name, timing) or 'holds'
                    rows.append([str(size), str(group_size), timers, *_row(found), verdict])
    compared = [['compared', 'simulated', 'measured']]
    for name, value in figures.items():
        if name.endswith(', simulated'):
            what = name[:-len(', simulated')]
            compared.append([what[len('compared, '):], f'{value:.3g}', f'{figures[f"{what}, measured"]:.3g}'])
    return f'\n{aligned(rows)}\n\n{aligned(compared)}'


def _row(found: Figures) -> List[str]:
    def most(scenario: str) -> str:
        of_it = {what[len(scenario) + 2:]: value for what, value in found.items() if what.startswith(f'{scenario}, ')}
        return '{} {:.2f}'.format(*limit(of_it)) if of_it else ''

    def figure(name: str, digits: int) -> str:
        simulated_it = any(what.startswith(name.partition(',')[0]) for what in found)
        return f'{found[name]:.{digits}f}' if name in found else 'not in time' if simulated_it else ''
    return [most('at rest'), most('bursts'), figure('at rest, ack ms, p99', 0), figure('bursts, ack ms, p99', 0),
            figure('bursts, tick late s, p99', 3), figure('one lost, last served s', 1),
            figure('location lost, last served s', 1), most('location lost')]
