"""The floor of `capacity`: a process with librados alone that takes beacons in the mgr's place.

It watches as many objects as the module does, answers each notification with one constant text of an ack's length, and does
nothing else but keep librados' threads known to Python, as the module does: no tick, no probe, no look at what came.  Beside
them lie index and wake-up object, and a map in which all is well, so that the fleet (`fleet.py`) beacons and reads as it does
with the module.

Told what to do as `fleet_process.py` is: ``{"do": "add", "group": NAME, "gateways": [NAME, ...]}``, all gateways of the group.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import rados

from gw_agent import rados_watch
from nvmeof_ha import seat_names
from nvmeof_ha.callback_threads import keep_this
from nvmeof_ha.core import register, wire
from nvmeof_ha.core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Version
from testbed.cluster import ADMIN, POOL

from .fleet_process import UNLIMITED, AskedProcess, subsystems

GID = 4242
"""Of no mgr, and as long as one's."""


class BareWatcher(AskedProcess):
    """The parent's side; a context manager."""

    def __init__(self, conf: Path) -> None:
        super().__init__('bench.bare_watcher', str(conf))

    def add(self, group: str, gateways: List[str]) -> None:
        """All gateways of a group, new or grown."""
        self.ask('add', group=group, gateways=gateways)


def settled_map(group: str, gateways: List[str]) -> Map:
    """All are AVAILABLE, and each serves the ANA group that it owns."""
    instances = [Instance(name, 1, 'f1008a11') for name in gateways]
    version = Version(1, len(gateways))
    return Map(POOL, group, version,
               tuple(Gateway(i.gateway, number, availability=Availability.AVAILABLE, instance=i, last_number=1,
                             addresses=frozenset({f'10.0.0.{number}:0/1'}), subsystems=subsystems(len(gateways)),
                             digest='0123456789abcdef' * 2) for number, i in enumerate(instances, 1)),
               tuple(AnaGroup(number, i.gateway, Phase.ACTIVE, holder=i, writers=frozenset({i}), since=version)
                     for number, i in enumerate(instances, 1)))


class _Watches:

    def __init__(self, ioctx: rados.Ioctx) -> None:
        self._ioctx = ioctx
        self._seats: Dict[str, List[str]] = {}
        self._watches: List[Any] = []

    def add(self, group: str, gateways: List[str]) -> None:
        gateway_map = settled_map(group, gateways)
        values = {register.MAP_KEY: wire.encode_map(gateway_map),
                  register.CLAIM_KEY: register.encode_claim(gateway_map.version).encode()}
        new = group not in self._seats
        seats = self._seats.setdefault(group, [seat_names.candidates(group, n)[0] for n in range(register.SEATS)])
        for name, omap in {**{seat: values for seat in seats}, seat_names.wake_name(group): {},
                           seat_names.index_name(group): seat_names.index_omap(seats)}.items():
            with rados.WriteOpCtx() as operation:
                operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
                if omap:
                    self._ioctx.set_omap(operation, tuple(omap), tuple(omap.values()))
                self._ioctx.operate_write_op(operation, name)
        if new:
            ack = wire.encode_ack(wire.Ack(gateway_map.version, driver_age_s=0.123, gid=GID))

            def heard(*_notification: Any) -> bytes:
                keep_this()
                return ack
            self._watches += [rados_watch.begin(self._ioctx, seat, heard) for seat in seats]


def main(arguments: List[str]) -> None:
    conf, = arguments
    with rados.Rados(name=ADMIN, conffile=conf, conf=UNLIMITED) as client:
        with client.open_ioctx(POOL) as ioctx:
            ioctx.set_namespace(seat_names.NAMESPACE)
            watches = _Watches(ioctx)
            print(json.dumps('connected'), flush=True)
            for line in sys.stdin:
                request = json.loads(line)
                assert request.pop('do') == 'add'
                print(json.dumps(watches.add(**request)), flush=True)


if __name__ == '__main__':
    main(sys.argv[1:])
