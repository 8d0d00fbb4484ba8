"""RADOS watches that cannot bring the process down.

The binding's `rados.Watch` crashes the process in two cases:

* a watch whose `close` failed is closed again when it is freed, through a pointer that librados has freed already
  (seen on 16.2.15);
* a watch that the garbage collector finds in a cycle, closed or not: its attributes are cleared before it is freed,
  and freeing it uses them (seen on 16.2.15 and 18.2.7). A callback that is a method of the watch's holder makes such a
  cycle, and so does any frame with the watch in a local variable, once an exception keeps that frame.

So nobody else ever holds a `Watch`: they are kept here, and named by a number. Promises no more than the binding: a
lost watch is noticed by its error callback or by `check`.
"""
from __future__ import annotations

from itertools import count
from typing import Any, Callable, Dict, Optional

import rados

_numbers = count(1)
_watches: Dict[int, "rados.Watch"] = {}


def begin(ioctx: "rados.Ioctx", name: str, on_notify: Callable[..., Any],
          on_error: Optional[Callable[..., None]] = None) -> int:
    """Watch an object; returns the number of the watch. Blocks, raises rados.Error.

    `on_notify(notify_id, notifier_id, watch_id, data)` and `on_error(watch_id, error)` are called by a thread of
    librados'; what the former returns is the answer to the notification.
    """
    number = next(_numbers)
    _watches[number] = ioctx.watch(name, on_notify, on_error)
    return number


def check(number: int) -> None:
    """Raises rados.Error when the watch is lost."""
    _watches[number].check()


def end(number: int) -> None:
    """Blocks. Raises rados.Error; the watch is then lost, is kept in memory, and must not be ended again."""
    _watches[number].close()
    del _watches[number]
