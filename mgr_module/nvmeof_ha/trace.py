"""One JSON line for each step of the core: event, time, map version, actions.  Enough to replay the step later."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Sequence

from .core import wire
from .core.model import Map


def line(event: Any, now: float, version: Any, actions: Sequence[Any]) -> str:
    return json.dumps({"now": now, "event": plain(event), "version": list(version),
                       "actions": [plain(action) for action in actions]}, sort_keys=True, separators=(",", ":"))


def plain(value: Any) -> Any:
    """The value as JSON knows it; a dataclass becomes an object that names its type, a set a sorted list."""
    if isinstance(value, Map):
        return json.loads(wire.encode_map(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{f.name: plain(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value
