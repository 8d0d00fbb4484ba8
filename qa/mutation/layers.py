"""The layers that may notice a mutant, run in an interpreter of their own that finds the mutant's copies first.

``python -m mutation.layers LAYER [WHAT]`` ends with ``NOTICED`` and prints what noticed it and, from the second line on,
what was found; or it ends with 0.  ``WHAT``: one scenario, seed, scope or file of unit tests; without it, all that the
layer has time for.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Optional, Tuple

NOTICED = 7
"""Unlike what an interpreter ends with when a mutant cannot even be imported."""

SEEDS = 40
STATES = 2500
NAMESPACE_STATES = 60_000
"""They are small: these take as long."""

QA = Path(__file__).parents[1]

Noticed = Optional[Tuple[str, str]]
"""(what, found): the scenario, seed, scope or file, and what it says; None if nobody minds."""


def scenarios(what: str) -> Noticed:
    from scenarios.__main__ import difference, files
    for path in files():
        if what in ("", path.stem):
            found = _found(lambda path=path: difference(path))
            if found:
                return path.stem, found
    return None


def explore(what: str) -> Noticed:
    from explore.scopes import SCOPES, NamespaceScope
    for scope in SCOPES:
        if what in ("", scope.name):
            states = NAMESPACE_STATES if isinstance(scope, NamespaceScope) else STATES
            found = _found(lambda scope=scope, states=states: scope.explore(states) and "")
            if found:
                return scope.name, found
    return None


def sim(what: str) -> Noticed:
    from sim import runs
    seeds: Iterable[int] = [int(what)] if what else range(SEEDS)
    for seed in seeds:
        problem = runs.run(seed).problem
        if problem:
            return str(seed), problem
    return None


def unit(what: str) -> Noticed:
    """The examples of the core; what is drawn by chance and the measuring of coverage is left out."""
    import pytest
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-o", "pythonpath=",
               f"--confcutdir={QA / 'unit'}", f"--rootdir={QA}"]
    tests = [p for p in sorted((QA / "unit").glob("test_core_*.py"))
             if not p.stem.endswith(("_properties", "_coverage", "_imports")) and what in ("", p.stem)]
    report = _Report()
    with contextlib.redirect_stdout(sys.stderr):
        code = pytest.main([*options, *map(str, tests)], plugins=[report])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"the unit tests could not be run: {code!r}")
    return (Path(report.failed.split("::")[0]).stem, report.failed) if report.failed else None


class _Report:
    """Which test failed."""

    failed = ""

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid


def _found(look: Callable[[], object]) -> str:
    try:
        return str(look())
    except Exception as error:  # whatever the core raises is what was looked for
        return f"{type(error).__name__}: {error}"


LAYERS: Dict[str, Callable[[str], Noticed]] = {"scenarios": scenarios, "unit": unit, "sim": sim, "explore": explore}
"""In the order in which they are asked: the cheapest first."""


if __name__ == "__main__":
    noticed = LAYERS[sys.argv[1]](" ".join(sys.argv[2:]))
    if noticed is not None:
        print(*noticed, sep="\n")
        sys.exit(NOTICED)
