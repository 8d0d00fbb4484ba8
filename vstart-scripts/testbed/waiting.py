"""Wait for a condition, in one place, so that nothing in the testbed or the tests sleeps a fixed time.

Promises: `wait_until` returns the condition's first true value, or raises `WaitTimeout` that names
what was awaited, for how long, and the last error or value seen. Only the exceptions that the caller
lists are taken as "not yet"; every other one passes through at once.
"""

from __future__ import annotations

import time
from typing import Callable, Tuple, Type, TypeVar

Value = TypeVar('Value')


class WaitTimeout(AssertionError):
    """The awaited condition did not come true in time."""


def wait_until(condition: Callable[[], Value], timeout_s: float, what: str,
               interval_s: float = 0.1,
               not_yet: Tuple[Type[BaseException], ...] = ()) -> Value:
    """Call `condition` every `interval_s` until it returns something true; return that.

    `what` completes the sentence "waited N s for …". Exceptions in `not_yet` count as false.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            value = condition()
            seen = f'last value: {value!r}'
            if value:
                return value
        except not_yet as error:
            seen = f'last error: {error}'
        if time.monotonic() >= deadline:
            raise WaitTimeout(f'waited {timeout_s:g} s for {what}; {seen}')
        time.sleep(interval_s)
