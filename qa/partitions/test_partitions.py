"""Links that are cut and daemons that stand still: what moves and what ends is what must, and nothing else does.

All plays are there for `qa/partitions.sh`; here are those that are quick for what they tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from conformance import check
from testbed.timeline import Timeline

from .hosts_apart import HostsApart
from .plays import PLAYS, Play


@pytest.fixture(scope='module')
def story() -> List[str]:
    """What the observers saw, for those who look at a failure."""
    return []


@pytest.fixture(scope='module')
def apart(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None],
          story: List[str]) -> Iterator[HostsApart]:
    directory: Path = tmp_path_factory.mktemp('apart') / 'cluster'
    with HostsApart(directory, say, Timeline(story.append)) as hosts:
        yield hosts
    replayed = check([directory])
    say(replayed.describe())
    assert not replayed.violations, '\n'.join(replayed.violations)


@pytest.mark.parametrize('play', [play for play in PLAYS if play.quick], ids=lambda play: play.name)
def test_what_follows_is_what_must_and_nothing_else(apart: HostsApart, story: List[str], play: Play) -> None:
    del story[:]
    outcome = play.run(apart)
    problems = outcome.problems(play.expected)
    assert not problems, '\n'.join([*problems, *story])
