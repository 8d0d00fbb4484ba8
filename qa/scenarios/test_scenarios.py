"""Every scenario file shows exactly what it says (``python -m scenarios --rewrite`` writes what is seen now)."""

from __future__ import annotations

import pytest

from scenarios.__main__ import difference, files
from scenarios.language import ScenarioError, play


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_scenario(path, figures):
    figures(scenarios=1)
    assert not difference(path)


def test_each_weak_point_of_the_existing_monitor_has_its_scenario():
    assert {int(path.stem[5:7]) for path in files() if path.stem.startswith("weak-")} == set(range(13))


@pytest.mark.parametrize("text", ["gateways 2\nshow\n", "fly gw1\n----\n", "show\n----\n", "gateways\n----\n"])
def test_a_line_that_is_no_command_is_refused_by_name(text):
    with pytest.raises(ScenarioError):
        play(text)
