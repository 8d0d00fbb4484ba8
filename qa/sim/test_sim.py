"""Claims about whole simulated histories; ``python -m sim --seeds N`` runs more seeds than a test run has time for."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import List

import pytest

from nvmeof_ha.core import gateway, lease
from sim import runs
from sim.__main__ import count, kept_seeds, nothing

SEEDS = 500
SEEDS_AT_ONCE = 10
UNDER_WAY: "List[Future[List[runs.Result]]]" = []


def simulate(pool: Executor, _items: List[pytest.Item]) -> None:
    seeds = sorted({*range(SEEDS), *kept_seeds()})
    UNDER_WAY.extend(pool.submit(run_all, seeds[first:first + SEEDS_AT_ONCE])
                     for first in range(0, len(seeds), SEEDS_AT_ONCE))


def run_all(seeds: List[int]) -> List[runs.Result]:
    return [runs.run(seed) for seed in seeds]


@pytest.mark.in_background(begin=simulate)
@pytest.mark.timeout(900)
def test_no_seed_breaks_safety_and_every_one_settles_once_faults_end(say, figures):
    found = nothing()
    for results in UNDER_WAY:
        for result in results.result():
            count(found, result)
    failed = found.pop("failed")
    figures(**{name: value for name, value in found.items() if name != "layer"})
    say(str(found))
    assert not failed, "\n".join(f"seed {f['seed']}: {f['problem']}\n{f['timeline']}" for f in failed)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_shortcuts_change_nothing_that_happens(seed):
    assert runs.run(seed, keep_timeline=True) == runs.play(seed, keep_timeline=True)


def test_a_seed_is_the_same_run_in_every_process():
    """Whatever order sets have there: else a seed that failed would prove nothing."""
    code = ("from sim import runs\nfor seed in range(6):\n    r = runs.run(seed, keep_timeline=True)\n"
            "    print(r.timeline.split('map:')[0], r[3:])")
    seen = {subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env={
        **os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": order}).stdout for order in "123"}
    assert len(seen) == 1 and b"all faults end" in seen.pop()


def _first_problem(seeds):
    return next((r.problem for r in map(runs.run, seeds) if r.problem), "")


def test_a_promotion_without_its_barrier_is_noticed(monkeypatch):
    real = gateway.plan
    monkeypatch.setattr(gateway, "plan", lambda view, instance, valid, target: real(
        view, instance, valid, replace(target, passed_osd_epoch=10**9)))
    assert "which may still write, is fenced at" in _first_problem(range(30))


def test_a_warden_that_ignores_its_lease_is_noticed(monkeypatch):
    monkeypatch.setattr(lease.Ward, "verdict", lambda self, now: lease.KEEP)
    assert _first_problem(range(60))
