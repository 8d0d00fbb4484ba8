"""``dataclasses.replace`` without its checks: half of the time of whoever steps the core in a loop would be spent in them.

Equal for the values of the core, of the driver and of what is built around them: no field of theirs has ``init=False``,
none is an ``InitVar``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import sys
from typing import Any, Iterator


def replace(value: Any, **changes: Any) -> Any:
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__, **changes)
    names = value.__dataclass_fields__
    if len(made.__dict__) > len(names):   # what a cached property has found is not so of the other value
        for name in made.__dict__.keys() - names.keys():
            del made.__dict__[name]
    check = getattr(made, "__post_init__", None)
    if check is not None:
        check()
    return made


@contextlib.contextmanager
def quick_values(*packages: str) -> Iterator[None]:
    """While this lasts, modules whose names begin with one of ``packages`` use ``replace``, and reference cycles are not
    sought."""
    modules = [m for name, m in list(sys.modules.items())
               if name.startswith(packages) and getattr(m, "replace", None) is dataclasses.replace]
    for module in modules:
        module.replace = replace  # type: ignore[attr-defined]
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
        for module in modules:
            module.replace = dataclasses.replace  # type: ignore[attr-defined]
