"""Claims about whole simulated histories; ``python -m sim --seeds N`` runs more seeds than a test run has time for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core import gateway, lease
from sim import runs
from sim.__main__ import kept_seeds, simulate

SEEDS = 500


@pytest.mark.timeout(900)
def test_no_seed_breaks_safety_and_every_one_settles_once_faults_end(say, figures):
    found = simulate(sorted({*range(SEEDS), *kept_seeds()}), jobs=2)
    failed = found.pop("failed")
    figures(**{name: value for name, value in found.items() if name not in ("layer", "seconds")})
    say(str(found))
    assert not failed, "\n".join(f"seed {f['seed']}: {f['problem']}\n{f['timeline']}" for f in failed)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_shortcuts_change_nothing_that_happens(seed):
    assert runs.run(seed, keep_timeline=True) == runs.play(seed, keep_timeline=True)


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
