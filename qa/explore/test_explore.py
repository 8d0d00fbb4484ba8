"""Everything that can happen in a small world keeps every invariant, all of it heals, and a mgr that dies in the midst of
its actions is replaced without harm."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from typing import Dict, List

import pytest

from . import figures as counting
from .figures import Result, begin
from .scopes import SCOPES

UNDER_WAY: "Dict[str, Future[Result]]" = {}
RESULTS: List[Result] = []
BEGAN = time.monotonic()


def explore(pool: Executor, items: List[pytest.Item]) -> None:
    """The scopes of the tests that are wanted."""
    chosen = [item.callspec.params["scope"] for item in items]
    UNDER_WAY.update(begin(pool, [scope.name for scope in SCOPES if scope in chosen]))


@pytest.mark.in_background(begin=explore)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.name)
def test_every_state_is_safe_and_heals(scope, say):
    result = UNDER_WAY[scope.name].result()
    say(str(result))
    RESULTS.append(result)
    assert not result.violation, result.violation
    found = result.found
    assert found.states >= scope.least_states, f"coverage was lost: {found.states} states, {scope.least_states} recorded"
    assert found.complete or found.states == scope.most_states


@pytest.mark.in_background
def test_enough_was_explored(say, figures):
    total = counting.figures(RESULTS, BEGAN)
    figures(**{name: total[name] for name in ("states", "edges", "lists", "deaths")})
    say(f"{total['states']} states, {total['edges']} edges, {total['lists']} lists of actions interrupted in "
        f"{total['deaths']} ways")
    assert len(RESULTS) < len(SCOPES) or total["states"] >= 200_000
