"""Claims about the stored list of what the last changes touched."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gw_agent import config_journal as journal

KEYS = st.sets(st.text("abc_", min_size=1, max_size=3), max_size=3)


@given(st.lists(KEYS, min_size=1, max_size=40), st.data())
def test_what_the_changes_since_a_version_touched_is_told_or_nothing_is(changes, data):
    text = ""
    for version, keys in enumerate(changes, 2):
        text = journal.with_change(text, version, keys)
    since = data.draw(st.integers(0, len(changes) + 1))
    told = journal.touched(text, since, len(changes) + 1)
    behind = len(changes) + 1 - since
    if since >= 1 and 0 < behind <= journal.KEPT_CHANGES:
        assert told == frozenset().union(*changes[since - 1:])
    else:
        assert told is None


def test_a_version_that_came_without_a_word_is_not_told_of():
    text = journal.with_change(journal.with_change("", 2, {"a"}), 4, {"b"})
    assert journal.touched(text, 3, 4) == {"b"}
    assert journal.touched(text, 2, 4) is None and journal.touched(text, 4, 5) is None


def test_a_version_that_somebody_set_back_forgets_what_came_later():
    text = journal.with_change(journal.with_change("", 9, {"a"}), 5, {"b"})
    assert journal.touched(text, 4, 5) == {"b"} and journal.touched(text, 8, 9) is None


def test_a_large_change_is_not_told_of_and_the_entry_stays_small():
    text = journal.with_change(journal.with_change("", 2, {"a"}), 3, {f"{n:0100}" for n in range(1000)})
    assert journal.touched(text, 1, 3) is None and len(text) < journal.KEPT_CHARACTERS


@pytest.mark.parametrize("text", ["", "{", "5", "[5]", "[[1]]", '[["1", ["a"]]]', "[[2, 5]]", "[[2, [5]]]", "[" * 9999])
def test_what_is_no_journal_tells_nothing_and_is_replaced(text):
    assert journal.touched(text, 1, 2) is None
    assert journal.touched(journal.with_change(text, 3, {"a"}), 2, 3) == {"a"}
