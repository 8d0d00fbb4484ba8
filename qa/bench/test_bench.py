"""Claims about the benchmarks: each can be run, and its figures are of what it says.  Never about speed."""

from __future__ import annotations

import json
from typing import Callable, Iterator
from xml.etree import ElementTree

import pytest
import rados

from bench import agent_cost, capacity, commits, core, data_path, failovers, growth, many_at_once, plots, standing_still
from bench.__main__ import main
from bench.fleet import BEACON_S, next_beat_s
from bench.loaded_gateway import Shape
from bench.steady_io import compare
from bench.two_gateways import TwoGateways
from testbed.cluster import ADMIN


@pytest.fixture(scope='module')
def two(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[TwoGateways]:
    """Serving, with nothing to serve but what a test adds."""
    with TwoGateways(tmp_path_factory.mktemp('bench') / 'cluster', say) as stage:
        yield stage


def test_the_core_is_measured_at_each_size_and_printed_as_a_table(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(core, 'SIZES', (2, 3))
    assert main(['--only', 'core', '--json', str(tmp_path / 'figures.json')]) == 0
    output = capsys.readouterr().out
    assert 'map_bytes, 3 gateways' in output and 'median' in output
    assert (tmp_path / 'figures.json').read_text().count('beacon_us') == 2


@pytest.mark.timeout(600)
def test_a_round_of_failovers_measures_every_kind_of_them_and_the_floor(two, say):
    figures, = failovers.measure(two, say, 1)
    for kind in ('target crash', 'host loss', 'frozen target'):
        assert 0 < figures[f'{kind}: fenced at'] < figures[f'{kind}: served']
    assert 0 < figures['orderly stop: drained at'] < figures['orderly stop: served']
    assert all(seconds > 0 for name, seconds in figures.items() if name.endswith('without a path'))
    assert 0 < figures['floor: blocklist and OSD map'] < figures['floor: with the ANA states']


def test_gateways_of_a_fleet_that_were_held_up_together_do_not_beacon_together_ever_after():
    for late_s in (0.0, 0.1, BEACON_S, 1.7):
        due_s = [100.0 + 0.01 * number for number in range(50)]
        now = due_s[-1] + late_s
        beats = [next_beat_s(due, now) for due in due_s]
        assert all(now < beat <= now + BEACON_S for beat in beats)
        assert sorted(round((beat - due) / BEACON_S, 6) % 1 for beat, due in zip(beats, due_s)) == [0.0] * 50


def test_acks_are_measured_when_those_that_the_scrape_before_held_up_are_over(monkeypatch):
    done = []
    monkeypatch.setattr(capacity, '_lateness', lambda _cluster: done.append('scraped') or {0.1: len(done)})
    monkeypatch.setattr(capacity.time, 'sleep', done.append)
    capacity._with_lateness(None, lambda: done.append('measured') or {})
    assert done == ['scraped', capacity.SCRAPED_S, 'measured', 'scraped'] and capacity.SCRAPED_S > 1.0


@pytest.mark.timeout(600)
def test_a_fleet_of_gateways_settles_and_its_beacons_are_answered(two, say):
    figures = capacity.measured(two.cluster, say, sizes=(3,), seconds=2.0, warm_s=0.0)
    assert figures['3 gateways: beacons answered per second'] > 0 and figures['3 gateways: beacons unanswered'] == 0
    assert 0 < figures['3 gateways: ack ms, median'] <= figures['3 gateways: ack ms, p99']
    assert figures['3 gateways: CPU share of mgr'] > 0 and figures['3 gateways: mgr resident MB'] > 0
    assert figures['3 gateways, nobody reads: beacons answered per second'] > 0
    assert figures['3 gateways, nobody reads, scraped: ack ms, p99'] > 0
    assert figures['3 gateways, nobody reads, scraped: scrape s, median'] > 0
    assert figures['3 gateways, floor, nobody reads: ack ms, median'] > 0
    floor = {name: value for name, value in figures.items() if name.startswith('3 gateways, floor: ')}
    assert floor['3 gateways, floor: beacons answered per second'] > 0 == floor['3 gateways, floor: beacons unanswered']
    assert 0 < floor['3 gateways, floor: ack ms, median'] <= floor['3 gateways, floor: ack ms, p99']
    assert 0 < floor['3 gateways, floor: mgr resident MB'] < figures['3 gateways: mgr resident MB']


def test_the_size_of_a_map_and_the_time_until_a_change_is_stored_are_measured(two, say):
    figures = commits.measured(two.cluster, say, sizes=(2,), changes=3)
    assert figures['2 gateways: map bytes'] > 500
    assert 0 < figures['2 gateways: one seat ms, mean'] and 0 < figures['2 gateways: stored ms, median']


@pytest.mark.timeout(600)
def test_the_time_until_the_ana_groups_of_lost_gateways_are_served_is_measured(two, say):
    nqn = 'nqn.2016-06.io.spdk:many'
    two.apis[1].create_subsystem(nqn, 'MANY')
    two.apis[1].create_listeners(nqn, two.gateways)
    with rados.Rados(name=ADMIN, conffile=str(two.cluster.conf)) as client:
        figures = many_at_once.measure(two.cluster, client, two.gateways, nqn, {'one': two.gateways[:1]}, say)
    assert 0 < figures['one: first ANA group served after s'] <= figures['one: last ANA group served after s']
    assert figures['one: addresses fenced'] > 0 < figures['one: OSD maps made']
    assert figures['one: ANA groups of the fullest survivor'] == 2


@pytest.mark.timeout(600)
def test_the_gateway_host_and_its_data_path_are_measured(two, say, monkeypatch):
    monkeypatch.setattr(agent_cost, 'STEADY_S', 2.0)
    monkeypatch.setattr(agent_cost, 'CHANGES', 1)
    monkeypatch.setattr(standing_still, 'LONG_S', 60.0)
    monkeypatch.setattr(data_path, 'PAIRS', 2)
    monkeypatch.setattr(data_path, 'ROUND_S', 0.3)
    gateway, shape = two.gateways[0], Shape(subsystems=2, ana_groups=2, namespaces=4)
    with rados.Rados(name=ADMIN, conffile=str(two.cluster.conf)) as client:
        figures = agent_cost.measure(two.cluster, client, two.gateways, shape, say)
        figures.update(data_path.measure(two.cluster, client, gateway, say))
    assert all(value > 0 for name, value in figures.items() if '%' not in name and 'left' not in name)
    assert figures['loaded: beacon, bytes'] < 1024
    assert 'change of 2 ANA states, s' in figures and '1 in flight: p99 ms without' in figures


@pytest.mark.timeout(600)
def test_growth_is_simulated_compared_and_kept_as_table_and_plots(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(growth, 'SIZES', (4, 32))
    monkeypatch.setattr(growth, 'GROUP_SIZES', (2, 8))
    monkeypatch.setattr(growth, 'LONGER_FROM', 32)
    monkeypatch.setattr(growth, 'MEASURED_SIZES', (16,))
    monkeypatch.setattr(growth, 'MEASURED_GROUP', 8)
    monkeypatch.setattr(growth, 'SEEDS', 1)
    monkeypatch.setattr(growth, 'TIMES', 1)
    assert main(['--only', 'growth', '--results', str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert output.count('holds') >= 8 and 'location lost s' in output
    figures, = json.loads((tmp_path / 'growth.json').read_text())
    for size in (4, 32):
        for group_size in (2, 8):
            name = f'{size} gateways in groups of {group_size}'
            assert 0 < figures[f'{name}: location lost, first served s'] <= figures[f'{name}: location lost, last served s']
            assert figures[f'{name}: location lost, OSD maps'] >= 1 <= figures[f'{name}: one lost, commits']
            assert 0 < figures[f'{name}: at rest, interpreter'] < 1
    assert figures['32 gateways in groups of 8, beacon_s 2: one lost, last served s'] > figures[
        '32 gateways in groups of 8: one lost, last served s']
    assert 'compared, 16 gateways: CPU share of mgr, measured' in figures
    ElementTree.fromstring((tmp_path / 'growth-served.svg').read_text())


def test_results_are_kept_as_figures_table_and_plots(monkeypatch, tmp_path):
    monkeypatch.setattr(core, 'SIZES', (2,))
    assert main(['--only', 'core', '--results', str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ['core.json', 'core.txt']


def test_a_plot_shows_the_medians_over_the_runs_by_number_of_gateways():
    runs = [{'2 gateways: ack ms, p99': 3.0, '1000 gateways: ack ms, p99': 9.0, '2 gateways, busy mgr: ack ms, p99': 4.0},
            {'2 gateways: ack ms, p99': 5.0, '1000 gateways: ack ms, p99': 9.0}]
    assert plots.by_gateways(runs, ('ack ms, p99',)) == {
        'ack ms, p99': [(2.0, 4.0), (1000.0, 9.0)], 'ack ms, p99, busy mgr': [(2.0, 4.0)]}
    svg, = plots.of('capacity', runs).values()
    assert ElementTree.fromstring(svg).tag.endswith('svg') and 'busy mgr' in svg
    assert plots.of('failovers', runs) == {}


def test_a_difference_is_told_from_noise():
    noisy = [100.0 + number % 5 for number in range(20)]
    assert not compare(noisy, noisy[::-1]).differs
    assert compare([value * 0.9 for value in noisy], noisy).differs
