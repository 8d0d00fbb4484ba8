"""Every branch of the core is reached by examples: the property tests, which draw theirs, are left out here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CORE = REPOSITORY / "mgr_module" / "nvmeof_ha" / "core"


def test_the_tests_of_the_core_reach_every_branch_of_it(tmp_path):
    """In an interpreter of its own, so that it counts the same whichever layers run beside it."""
    directory = Path(__file__).parent
    tests = [path for path in sorted(directory.glob("test_core_*.py"))
             if path != Path(__file__) and not path.stem.endswith("_properties")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--cov={CORE}", "--cov-branch",
         "--cov-report=term-missing:skip-covered", "--cov-fail-under=100", *map(str, tests)],
        cwd=REPOSITORY, env={**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240)
    assert run.returncode == 0, f"uncovered branches, or a failure among the tests:\n{run.stdout}"
