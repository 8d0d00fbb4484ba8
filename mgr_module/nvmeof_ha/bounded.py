"""How a group's driver waits: as a generator, so that whoever runs the driver says how its time passes.

What the driver does is one generator: it yields the longest time that it may wait (seconds) and is sent the next item
of its queue, or None when that time is over.
"""

from __future__ import annotations

from typing import Any, Callable, Generator, List, TypeVar

from .objects import LongEnded

Result = TypeVar("Result")
Turns = Generator[float, Any, Result]
Pump = Callable[[Callable[[], bool], float], Turns[bool]]
"""``yield from pump(until, timeout_s)`` runs what arrives for this driver until ``until()`` or the timeout, and returns
which."""


class TookTooLong(RuntimeError):
    """The call did not end in time; its result will be thrown away."""


class Bounded:
    """Calls that may hang, with a limit on the wait; one that hangs keeps the next from piling up behind it."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._hangs = False

    def call(self, send: Callable[[LongEnded], None], timeout_s: float, what: str) -> Turns[Any]:
        """The call's result, or the exception that it was ended with.  ``send(ended)`` begins it.

        Raises:
            TookTooLong: no result within ``timeout_s``, or an earlier call still hangs.
        """
        if self._hangs:
            raise TookTooLong(f"an earlier call to RADOS still hangs, so this is not tried: {what}; check that "
                              "the mons answer (`ceph -s`)")
        results: List[Any] = []

        def ended(result: Any) -> None:
            self._hangs = False
            results.append(result)
        self._hangs = True
        send(ended)
        if not (yield from self._pump(lambda: bool(results), timeout_s)):
            raise TookTooLong(f"RADOS did not answer within {timeout_s:g} s to: {what}; check that the mons answer "
                              "(`ceph -s`)")
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]
