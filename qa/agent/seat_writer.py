"""Writes the seats of a gateway group as a mgr would, so that warden and agent are tested without one.

It decides nothing: a test hands it the map that it wants the gateways to read.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Optional

import rados

from nvmeof_ha_core import register, wire
from nvmeof_ha_core.model import NO_VERSION, Map, Version

NAMESPACE = "nvmeof_ha"


class SeatWriter:
    """The three seats, the index and the wake-up object of one group in a pool."""

    def __init__(self, client: "rados.Rados", pool: str, group: str) -> None:
        self.pool, self.group = pool, group
        self.ioctx = client.open_ioctx(pool)
        self.ioctx.set_namespace(NAMESPACE)
        self.names = [f"nvmeof_ha.{group}.seat.{seat}" for seat in range(register.SEATS)]
        self.map = Map(pool, group, NO_VERSION)

    def make(self) -> None:
        """The objects, still without a map."""
        self._set(f"nvmeof_ha.{self.group}.index",
                  {"format": "1", **{f"seat.{seat}": name for seat, name in enumerate(self.names)}})
        for name in (*self.names, f"nvmeof_ha.{self.group}.wake"):
            self._set(name, {})

    def commit(self, gateway_map: Map, seats: range = range(register.SEATS)) -> Map:
        """Store the map under the next version on these seats, and wake the gateways."""
        version = Version(max(self.map.version.ballot, 1), self.map.version.epoch + 1)
        self.map = replace(gateway_map, version=version)
        for seat in seats:
            self.store(seat, wire.encode_map(self.map))
        self.ioctx.notify(f"nvmeof_ha.{self.group}.wake", wire.encode_wake(version).decode(), timeout_ms=1000)
        return self.map

    def store(self, seat: int, data: bytes, claim: Optional[Version] = None) -> None:
        """Put anything at all on one seat; `claim`: other than the map's."""
        self._set(self.names[seat], {register.CLAIM_KEY: register.encode_claim(claim or self.map.version),
                                     register.MAP_KEY: data})

    def remove(self) -> None:
        for name in (*self.names, f"nvmeof_ha.{self.group}.index", f"nvmeof_ha.{self.group}.wake"):
            try:
                self.ioctx.remove_object(name)
            except rados.ObjectNotFound:
                pass

    def _set(self, name: str, values: dict) -> None:
        with rados.WriteOpCtx() as operation:
            operation.new(0)
            if values:
                self.ioctx.set_omap(operation, tuple(values), tuple(values.values()))
            self.ioctx.operate_write_op(operation, name)
