"""Claims about ``--json FILE``: what it says of one layer and of several."""

from __future__ import annotations

import json
import subprocess
import sys

from layer_figures import QA


def figures(tmp_path, *tests):
    file = tmp_path / "figures.json"
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--json={file}", *tests],
                   cwd=QA.parent, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return json.loads(file.read_text())


def test_a_layer_gives_its_own_figures_beside_those_that_all_give(tmp_path):
    found = figures(tmp_path, "qa/scenarios/test_scenarios.py::test_scenario[gateway-dead]",
                    "qa/scenarios/test_scenarios.py::test_scenario[frozen-target]")
    assert found.pop("seconds") > 0
    assert found == {"layer": "scenarios", "tests": 2, "violations": 0, "scenarios": 2}


def test_several_layers_are_listed(tmp_path):
    found = figures(tmp_path, "qa/unit/test_core_timing.py", "qa/scenarios/test_scenarios.py::test_scenario[no-subsystems]")
    assert [layer["layer"] for layer in found["layers"]] == ["scenarios", "unit"]


def test_it_can_be_asked_for_without_naming_a_layer(tmp_path):
    """As ``qa/test.sh --json FILE`` does: a file name of its own would be taken for the tests to run."""
    assert figures(tmp_path, "--collect-only") == {"layers": []}
