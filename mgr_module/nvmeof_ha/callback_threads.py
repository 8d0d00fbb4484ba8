"""Threads of librados' that call Python again and again keep what Python needs of them in between.

A thread that Python did not start gets a Python thread state when a callback begins and loses it when the callback ends; since
Python 3.11 memory is mapped and unmapped each time.  That was half of what it costs a process to answer 2,000 notifications
a second (two of librados' threads: 8.1 % of a core with it, 4.7 % without; Python 3.11).  One ``PyGILState_Ensure`` that is never
given back keeps the state.  The price: when such a thread ends with its RADOS client, its state (some 20 KB) stays until the
process ends.  Promises: where Python does not offer that call, callbacks cost what they did.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any, Callable, Set

_KEPT: Set[int] = set()
"""Threads.  One whose number a later thread gets is the worse for that: it is not kept."""


def _found() -> Callable[[], Any]:
    try:
        import ctypes
        return ctypes.pythonapi.PyGILState_Ensure
    except (ImportError, AttributeError):
        return lambda: None


_ensure = _found()


def keep_this() -> None:
    """Called in a callback; imports nothing, because it may run in another interpreter than the module."""
    thread = get_ident()
    if thread not in _KEPT:
        _KEPT.add(thread)
        _ensure()
