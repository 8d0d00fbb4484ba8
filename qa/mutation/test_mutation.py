"""Every guard is missed by some layer when it is gone; ``python -m mutation`` says by which."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import List

import pytest

from mutation.copies import Mutant, Patch, PatchError, mutate
from mutation.mutants import MUTANTS
from mutation.run import Outcome, begin, begin_unchanged, judge

UNDER_WAY: "List[Future[Outcome]]" = []
UNCHANGED: "List[Future[Outcome]]" = []


def judge_all(pool: Executor, _items: List[pytest.Item]) -> None:
    UNDER_WAY.extend(begin(pool, MUTANTS))


def judge_unchanged(pool: Executor, _items: List[pytest.Item]) -> None:
    UNCHANGED.extend(begin_unchanged(pool))


@pytest.mark.in_background(begin=judge_all)
@pytest.mark.timeout(1200)
def test_every_mutant_is_noticed(say, figures):
    assert len({m.name for m in MUTANTS}) == len(MUTANTS) >= 18
    outcomes = {}
    for future in UNDER_WAY:
        outcome = future.result()
        outcomes[outcome.mutant.name] = outcome
        say(f"{outcome.seconds:6.1f} s  {outcome.mutant.name}: {outcome.layer or 'nobody notices'}")
    broken = [o.broken for o in outcomes.values() if o.broken]
    assert not broken, "\n".join(broken)
    survivors = [name for name, o in outcomes.items() if not o.layer]
    figures(mutants=len(outcomes), survived=len(survivors))
    assert not survivors, "tests are missing: nobody notices\n" + "\n".join(survivors)


@pytest.mark.in_background(begin=judge_unchanged)
@pytest.mark.timeout(1200)
def test_an_unchanged_copy_is_noticed_by_nobody():
    unchanged = [future.result() for future in UNCHANGED]
    broken = [o.broken for o in unchanged if o.broken]
    assert not broken, "\n".join(broken)
    wrong = [f"{o.layer} {o.what} reports a fault of the unchanged code: {o.found}" for o in unchanged if o.layer]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("old", ["no such text", "return "], ids=["absent", "many times"])
def test_a_guard_that_was_moved_is_reported(tmp_path, old):
    with pytest.raises(PatchError, match="not once"):
        mutate(tmp_path, Mutant("moved", (Patch("nvmeof_ha/core/machine.py", old, ""),)))


def test_a_copy_that_is_no_python_is_reported(tmp_path):
    with pytest.raises(PatchError, match="no Python"):
        mutate(tmp_path, Mutant("broken", (Patch("nvmeof_ha/core/lease.py", "    def verdict(", "    def verdict"),)))


def test_a_copy_that_cannot_be_imported_is_no_finding():
    broken = Mutant("not importable", (Patch("nvmeof_ha/core/lease.py", "KEEP = Verdict(", "KEEP = NoSuchName("),))
    assert "NoSuchName" in judge(broken).broken
