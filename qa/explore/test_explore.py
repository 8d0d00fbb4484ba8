"""Everything that can happen in a small world keeps every invariant, all of it heals, and a mgr that dies in the midst of
its actions is replaced without harm."""

from __future__ import annotations

import time
from typing import List

import pytest

from . import figures as counting
from .figures import Result, begin
from .scopes import SCOPES

JOBS = 2

RESULTS: List[Result] = []


@pytest.fixture(scope="module")
def running(request):
    """When it began, and the scopes of the tests that are wanted, under way."""
    chosen = [item.callspec.params.get("scope") for item in request.session.items if hasattr(item, "callspec")]
    futures = begin(JOBS, [scope.name for scope in SCOPES if scope in chosen])
    yield time.monotonic(), futures
    for future in futures.values():
        future.cancel()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.name)
def test_every_state_is_safe_and_heals(scope, running, say):
    result = running[1][scope.name].result()
    say(str(result))
    RESULTS.append(result)
    assert not result.violation, result.violation
    found = result.found
    assert found.states >= scope.least_states, f"coverage was lost: {found.states} states, {scope.least_states} recorded"
    assert found.complete or found.states == scope.most_states


def test_enough_was_explored(running, say, figures):
    total = counting.figures(RESULTS, running[0])
    figures(**{name: total[name] for name in ("states", "edges", "lists", "deaths")})
    say(f"{total['states']} states, {total['edges']} edges, {total['lists']} lists of actions interrupted in "
        f"{total['deaths']} ways, {total['seconds']} s")
    assert len(RESULTS) < len(SCOPES) or total["states"] >= 200_000
