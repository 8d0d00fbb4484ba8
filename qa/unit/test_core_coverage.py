"""Every branch of the core is reached by examples: the property tests, which draw theirs, are left out here."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import List, Tuple

import pytest

REPOSITORY = Path(__file__).parents[2]
CORE = REPOSITORY / "mgr_module" / "nvmeof_ha" / "core"
LIMIT_S = 900
UNDER_WAY: "List[Future[Tuple[int, str]]]" = []


def measure() -> Tuple[int, str]:
    """Exit status and output of the tests.  In an interpreter of its own, so that it counts the same whichever layers run
    beside it."""
    directory = Path(__file__).parent
    tests = [path for path in sorted(directory.glob("test_core_*.py"))
             if path != Path(__file__) and not path.stem.endswith("_properties")]
    with tempfile.TemporaryDirectory(prefix="coverage-") as data:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--cov={CORE}", "--cov-branch",
             "--cov-report=term-missing:skip-covered", "--cov-fail-under=100", *map(str, tests)],
            cwd=REPOSITORY, env={**os.environ, "COVERAGE_FILE": str(Path(data) / "coverage")}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S)
    return run.returncode, run.stdout


def begin(pool: Executor, _items: List[pytest.Item]) -> None:
    UNDER_WAY.append(pool.submit(measure))


@pytest.mark.in_background(begin=begin)
@pytest.mark.timeout(LIMIT_S)
def test_the_tests_of_the_core_reach_every_branch_of_it():
    code, output = UNDER_WAY[0].result()
    assert code == 0, f"uncovered branches, or a failure among the tests:\n{output}"
