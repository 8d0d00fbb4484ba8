"""What makes a seed cheap and changes nothing that happens in it.

Values are copied without checks that cannot fail (``quick_values``); some pure functions of immutable values remember
what they said of the very same values; and what crosses as JSON in production crosses as a token here that leads back
to the value (that the formats keep what they carry is ``unit``'s to show).  A test runs seeds with and without: the
same must happen.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, Tuple
from unittest import mock

from nvmeof_ha.core import emission, placement, wire
from nvmeof_ha.core.model import Map
from quick_values import quick_values

from . import mgr_io


class Tokens:
    """In place of one format's ``encode`` and ``decode``."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._values: Dict[bytes, Any] = {}
        self._last: Any = None
        self._token = b""

    def encode(self, value: Any) -> bytes:
        if value is not self._last:
            self._token = f"{self._kind} {len(self._values)}".encode()
            self._last = self._values[self._token] = value
        return self._token

    def decode(self, token: bytes) -> Any:
        try:
            return self._values[token]
        except KeyError:
            raise wire.WireError(f"{self._kind}: {token!r} was not encoded here") from None


def remembering(function: Callable[..., Any], most: int = 64) -> Callable[..., Any]:
    """The function, which is not asked again about the same objects."""
    known: Dict[Tuple[int, ...], Tuple[tuple, Any]] = {}

    def ask(*arguments: Any) -> Any:
        key = tuple(map(id, arguments))
        found = known.get(key)
        if found is not None:
            return found[1]
        if len(known) >= most:
            known.clear()
        said = function(*arguments)
        known[key] = (arguments, said)   # kept alive, so that no other object gets their ids
        return said
    return ask


def routine(beacons: Tokens) -> Callable[[bytes], bool]:
    """``beacon_reader.is_routine`` of a token."""
    def is_routine(token: bytes) -> bool:
        try:
            said = beacons.decode(token)
        except wire.WireError:
            return False
        return not (said.confirmations or said.reaped or said.leaving or said.stuck) and said.subsystems is None
    return is_routine


@contextlib.contextmanager
def shortcuts() -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(quick_values("nvmeof_ha.", "sim."))
        for kind in ("map", "beacon"):
            tokens = Tokens(kind)
            stack.enter_context(mock.patch.multiple(wire, **{f"encode_{kind}": tokens.encode,
                                                             f"decode_{kind}": tokens.decode}))
            if kind == "beacon":
                stack.enter_context(mock.patch.object(mgr_io, "is_routine", routine(tokens)))
        stack.enter_context(mock.patch.object(placement, "covered", remembering(placement.covered)))
        stack.enter_context(mock.patch.object(emission, "record_of", remembering(emission.record_of)))
        stack.enter_context(mock.patch.object(Map, "content", remembering(Map.content)))
        yield
