"""Everything that can happen in a small world keeps every invariant, and all of it heals."""

from __future__ import annotations

import pytest

from .scopes import SCOPES


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: scope.name)
def test_every_state_is_safe_and_heals(scope, say):
    found = scope.explore()
    say(f"{scope.name}: {found}")
    assert found.states >= scope.least_states, f"coverage was lost: {found.states} states, {scope.least_states} recorded"
    assert found.complete or found.states == scope.most_states
