"""Which stored entries each of the last changes touched, so that a reader need not read all of them after a change.

Pure. One entry of the configuration object, written together with every change of ours and so as true as that: the
versions that changes led to, each with the keys that it set or removed. Programs that do not know of it leave it behind
when they raise the version; then it does not reach up to the version that is stored, and everything is read.
"""
from __future__ import annotations

import json
from typing import Any, Collection, FrozenSet, Iterable, List, Optional

KIND = KEY = "ha-changes"
KEPT_CHANGES = 32
KEPT_CHARACTERS = 8192
"""Of all keys together; a larger change is told by nobody, and costs readers a whole reading."""


def with_change(journal: str, version: int, keys: Collection[str]) -> str:
    """The journal after a change to this version."""
    kept = [entry for entry in _read(journal) if entry[0] < version][1 - KEPT_CHANGES:] + [[version, sorted(keys)]]
    while kept and sum(len(key) for _, touched in kept for key in touched) > KEPT_CHARACTERS:
        del kept[0]
    return json.dumps(kept)


def touched(journal: str, since: int, version: int) -> Optional[FrozenSet[str]]:
    """The keys that may be other in `version` than in the earlier one `since`; None: it does not tell."""
    keys_of = {number: keys for number, keys in _read(journal)}
    missing = not 0 < version - since <= KEPT_CHANGES or any(
        number not in keys_of for number in range(since + 1, version + 1))
    return None if missing else frozenset(key for number in range(since + 1, version + 1) for key in keys_of[number])


def _read(journal: str) -> List[Any]:
    """Nothing where it is not what `with_change` makes."""
    try:
        found = json.loads(journal or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) and all(map(_is_entry, found)) else []


def _is_entry(entry: Any) -> bool:
    return (isinstance(entry, list) and len(entry) == 2 and type(entry[0]) is int and isinstance(entry[1], list)
            and _texts(entry[1]))


def _texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
