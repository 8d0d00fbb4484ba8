"""``dataclasses.replace`` without its checks: half of the exploration's time would be spent in them.

Equal for the values of the core and of the explored world: no field of theirs has ``init=False``, none is an ``InitVar``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import sys
from typing import Any, Iterator

_PACKAGES = ("nvmeof_ha.core.", "explore.")


def replace(value: Any, **changes: Any) -> Any:
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__, **changes)
    check = getattr(made, "__post_init__", None)
    if check is not None:
        check()
    return made


@contextlib.contextmanager
def quick_values() -> Iterator[None]:
    """While this lasts, modules of the core and the exploration use ``replace``, and reference cycles are not sought."""
    modules = [m for name, m in sys.modules.items()
               if name.startswith(_PACKAGES) and getattr(m, "replace", None) is dataclasses.replace]
    for module in modules:
        module.replace = replace  # type: ignore[attr-defined]
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        for module in modules:
            module.replace = dataclasses.replace  # type: ignore[attr-defined]
