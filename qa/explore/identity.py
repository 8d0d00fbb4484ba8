"""Results remembered by which objects they were made from.

Worlds that follow from one another share most of their parts, so the same function meets the same objects many times.
Objects are told apart by identity, because comparing maps would cost what this saves; they are kept as long as the
result, so that no identity is used again.  Only for pure functions.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Hashable, Tuple

MOST = 40_000


class Remembered:
    """``call(function, objects, plain)`` is ``function(*objects, *plain)``; ``plain`` arguments are compared by value."""

    def __init__(self) -> None:
        self._known: Dict[Any, Tuple[Any, Any]] = {}

    def call(self, function: Callable[..., Any], objects: Tuple[Any, ...], plain: Tuple[Hashable, ...]) -> Any:
        key = (function, plain, *map(id, objects))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST:
                self._known.clear()
            known = self._known[key] = (function(*objects, *plain), objects)
        return known[0]

    def forget(self) -> None:
        self._known.clear()


REMEMBERED = Remembered()
