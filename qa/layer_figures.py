"""``--json FILE``: what each layer of a test run counted, for people and machines that compare runs.

One layer writes one object, several write ``{"layers": [...]}``.  Each has ``layer``, ``tests``, ``violations`` (failed
tests, or what the layer itself counted), ``seconds`` (of its tests, fixtures included), and the figures that its tests
gave to the fixture ``figures``: of several tests they add up.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Set

import pytest

QA = Path(__file__).parent


class LayerFigures:
    """A pytest plugin; ``file`` is None when nobody asked."""

    def __init__(self, file: Optional[Path]) -> None:
        self._file = file
        self._seconds: Dict[str, float] = defaultdict(float)
        self._tests: Dict[str, Set[str]] = defaultdict(set)
        self._failed: Dict[str, Set[str]] = defaultdict(set)
        self._given: Dict[str, Dict[str, Any]] = defaultdict(dict)

    @pytest.fixture
    def figures(self, request: pytest.FixtureRequest) -> Callable[..., None]:
        """Called with what a test counted, e.g. ``figures(states=1200)``."""
        given = self._given[layer_of(request.node.nodeid, request.config.rootpath)]

        def add(**counted: Any) -> None:
            for name, value in counted.items():
                given[name] = given[name] + value if name in given else value
        return add

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        layer = layer_of(report.nodeid, QA.parent)
        self._tests[layer].add(report.nodeid)
        self._seconds[layer] += report.duration
        if report.failed:
            self._failed[layer].add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        if self._file is None:
            return
        found = [self._of(layer) for layer in sorted(self._tests)]
        self._file.write_text(json.dumps(found[0] if len(found) == 1 else {"layers": found}, indent=1) + "\n")

    def _of(self, layer: str) -> Dict[str, Any]:
        return {"layer": layer, "tests": len(self._tests[layer]), "violations": len(self._failed[layer]),
                **self._given[layer], "seconds": round(self._seconds[layer], 1)}


def layer_of(nodeid: str, root: Path) -> str:
    """The directory of ``qa`` that the test is in."""
    return (root / nodeid.split("::")[0]).relative_to(QA).parts[0]
