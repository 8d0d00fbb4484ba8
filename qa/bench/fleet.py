"""Many gateways in one process, as the mgr module and the OSDs see them: for benchmarks.

Each gateway beacons every ``beacon_s`` to the next seat in turn, reads the three seats as often, obeys every agreed map at
once and says so on all three seats, as a real one does.  What is modelled: each gateway's notifications and reads, its wire
format, its confirmations.  What is not: target, lease, contexts (the addresses are made up, so a fence hits nobody), a RADOS
client of each gateway's own.  What one gateway of a group has read, the others of its group in this process know too.
"""

from __future__ import annotations

import heapq
import secrets
import time
from functools import partial
from queue import Empty, Queue
from typing import Any, Callable, Dict, List, Optional, Tuple

import rados

from nvmeof_ha import seat_names
from nvmeof_ha.callback_threads import keep_this
from nvmeof_ha.core import register, wire
from nvmeof_ha.core.events import Beacon, Confirmation, Notes, Outcome, TargetState
from nvmeof_ha.core.model import AnaGroup, Availability, Instance, Map, Phase, Subsystem
from nvmeof_ha.core.release import RELEASE

BEACON_S = 0.5
NOTIFY_TIMEOUT_MS = 2000
OUTSTANDING_PER_OBJECT, OUTSTANDING_READS = 6, 4 * register.SEATS   # of each gateway, as real ones limit themselves
WHOLE_SEAT = (register.CLAIM_KEY, register.MAP_KEY)
_NO_SEQUENCE = '"sequence":0'
_SAID = {Phase.PROMOTING: Outcome.OPTIMIZED, Phase.DRAINING: Outcome.DRAINED}


def next_beat_s(due_s: float, now: float) -> float:
    """After the beat of ``due_s`` took place: the first one after ``now`` in this gateway's own time.  Who was held up leaves
    beats out; gateways that were held up together would otherwise beacon together ever after, as no hosts of their own do."""
    return due_s + BEACON_S * ((now - due_s) // BEACON_S + 1)


class FleetGateway:
    """One gateway.  ``silent``: its host is gone.  ``reads``: of seats that are under way."""

    def __init__(self, group: FleetGroup, name: str, address: str, subsystems: Tuple[Subsystem, ...]) -> None:
        self.group, self.name, self.address, self.subsystems = group, name, address, subsystems
        self.instance: Optional[Instance] = None
        self.sequence = 0
        self.silent = False
        self.full_wanted = True
        self.reads = 0
        self.confirmed: Tuple[Confirmation, ...] = ()
        self._parts: Tuple[str, str] = ('', '')

    def obey(self, gateway_map: Map) -> bool:
        """True: it has something new to say, at once."""
        known = gateway_map.gateway(self.name)
        if known is None:
            return False
        if self.instance is None or gateway_map.is_over(self.instance):
            self.instance = Instance(self.name, known.last_number + 1, secrets.token_hex(4))
            self.full_wanted = True
        confirmations = tuple(Confirmation(g.id, g.since, _SAID[g.phase])
                              for g in gateway_map.served_by(self.instance) if g.phase in _SAID)
        news, self.confirmed = set(confirmations) - set(self.confirmed), confirmations
        text = self._encoded(gateway_map, None)
        before, mark, after = text.partition(_NO_SEQUENCE)
        self._parts = before + mark[:-1], after
        return bool(news)

    def _encoded(self, gateway_map: Map, subsystems: Optional[Tuple[Subsystem, ...]]) -> str:
        beacon = Beacon(self.name, self.instance, 0, gateway_map.version, TargetState.SERVING,
                        addresses=frozenset({self.address}), confirmations=self.confirmed, digest='0123456789abcdef' * 2,
                        subsystems=subsystems, load=1000, connections=4,
                        notes=Notes(RELEASE, lease_left_s=2.345, loop_lag_s=0.001, io=((1, 500), (2, 500))))
        return wire.encode_beacon(beacon).decode()

    def beacon(self, gateway_map: Map) -> str:
        """The next one."""
        self.sequence = max(self.sequence + 1, int(time.monotonic() * 1e6))
        if self.full_wanted:
            self.full_wanted = False
            return self._encoded(gateway_map, self.subsystems).replace(_NO_SEQUENCE, f'"sequence":{self.sequence}', 1)
        before, after = self._parts
        # the notes differ in each beacon of a real agent
        return f'{before}{self.sequence}{after}'.replace('2.345', f'2.{self.sequence % 1000:03d}', 1)


class FleetGroup:
    """One gateway group: what was read of its seats, and this process's gateways of it."""

    def __init__(self, name: str, seats: Tuple[str, ...]) -> None:
        self.name, self.seats = name, seats
        self.gateways: List[FleetGateway] = []
        self.raw: List[bytes] = [b''] * register.SEATS
        self.claims: List[bytes] = [b''] * register.SEATS
        self.map: Optional[Map] = None
        self.outstanding: Dict[str, int] = dict.fromkeys(seats, 0)

    def take(self, seat: int, data: bytes) -> bool:
        """What a seat holds; True: two seats agree on a newer map now."""
        if data == self.raw[seat]:
            return False
        self.raw[seat] = data
        if sum(other == data for other in self.raw) < register.QUORUM:
            return False
        found = wire.decode_map(data)
        if self.map is not None and found.version <= self.map.version:
            return False
        self.map = found
        return True

    def settled(self, gateways: int) -> bool:
        """As many gateways are AVAILABLE, and every ANA group is served by its owner."""
        def home(group: AnaGroup) -> bool:
            return group.phase is Phase.ACTIVE and group.holder is not None and group.holder.gateway == group.owner
        return (self.map is not None and all(map(home, self.map.ana_groups))
                and sum(g.availability is Availability.AVAILABLE for g in self.map.gateways) == gateways)


class Fleet:
    """``run`` it in one thread; ``do`` has a call carried out there, from any thread."""

    def __init__(self, client: rados.Rados, pool: str) -> None:
        """``reads``: gateways read the seats with each beacon, not only when woken."""
        self._ioctx = client.open_ioctx(pool)
        self._ioctx.set_namespace(seat_names.NAMESPACE)
        self.reads = True
        self._queue: Queue[Any] = Queue()
        self._due: List[Tuple[float, int, FleetGateway]] = []
        self._watches: List[Any] = []
        self._ended = False
        self.groups: Dict[str, FleetGroup] = {}
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.sent = self.unanswered = self.left_out = 0
        self.ack_s: List[float] = []
        self.late_s = 0.0

    def do(self, call: Callable[[], None]) -> None:
        self._queue.put(call)

    def end(self) -> None:
        self._ended = True

    def add(self, group_name: str, gateway_names: List[str], subsystems: Tuple[Subsystem, ...]) -> None:
        """Gateways of a group that the mgr has committed a map of."""
        group = self.groups.get(group_name) or self._found(group_name)
        for name in gateway_names:
            number = len(self._due)
            address = f'10.{number // 62500 % 250}.{number // 250 % 250}.{number % 250 + 1}:0/{secrets.randbits(31)}'
            gateway = FleetGateway(group, name, address, subsystems)
            group.gateways.append(gateway)
            heapq.heappush(self._due, (time.monotonic() + secrets.randbelow(1000) / 1000 * BEACON_S, number, gateway))

    def _found(self, name: str) -> FleetGroup:
        with rados.ReadOpCtx() as operation:
            values, _ = self._ioctx.get_omap_vals(operation, '', '', 10)
            self._ioctx.operate_read_op(operation, seat_names.index_name(name))
            index = dict(values)
        group = self.groups[name] = FleetGroup(name, tuple(index[f'seat.{n}'].decode() for n in range(register.SEATS)))
        put = self._queue.put

        def woken(*_notification: Any) -> None:
            put(partial(self._look, group))
        self._watches.append(self._ioctx.watch(seat_names.wake_name(name), woken))
        return group

    def run(self) -> None:
        """Until ``end``."""
        while not self._ended:
            wait_s = self._due[0][0] - time.monotonic() if self._due else 1.0
            try:
                self._queue.get(timeout=max(0.0, wait_s))()
            except Empty:
                pass
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                due_s, number, gateway = self._due[0]
                self.late_s = max(self.late_s, now - due_s)
                heapq.heapreplace(self._due, (next_beat_s(due_s, now), number, gateway))
                self._beat(gateway)
        for watch in self._watches:
            watch.close()

    def _beat(self, gateway: FleetGateway) -> None:
        if gateway.silent:
            return
        group = gateway.group
        if self.reads or group.map is None:
            self._read(gateway, () if group.map is None else (register.CLAIM_KEY,))
        if gateway.instance is not None and group.map is not None:
            self._notify(gateway, gateway.sequence % register.SEATS)

    def _look(self, group: FleetGroup) -> None:
        """Every gateway of the group was woken."""
        for gateway in group.gateways:
            if not gateway.silent:
                self._read(gateway)

    def _read(self, gateway: FleetGateway, keys: Tuple[str, ...] = ()) -> None:
        """As gateways do: all of the seats when there is news, else their claims, and what a new claim stands for."""
        if gateway.reads < OUTSTANDING_READS:
            for seat in range(register.SEATS):
                self._read_seat(gateway, seat, keys or WHOLE_SEAT)

    def _read_seat(self, gateway: FleetGateway, seat: int, keys: Tuple[str, ...]) -> None:
        operation = rados.ReadOp()
        operation.create()
        values, _ = self._ioctx.get_omap_vals_by_keys(operation, keys)

        def done(completion: Any) -> None:
            keep_this()
            self._queue.put(partial(self._was_read, gateway, seat, completion, operation, values))
        gateway.reads += 1
        self._ioctx.operate_aio_read_op(operation, gateway.group.seats[seat], done, None)

    def _was_read(self, reader: FleetGateway, seat: int, completion: Any, operation: Any, values: Any) -> None:
        reader.reads -= 1
        group = reader.group
        found = {} if completion.get_return_value() else dict(values)
        operation.release()
        claim = found.get(register.CLAIM_KEY, b'')
        if register.MAP_KEY not in found and claim != group.claims[seat]:
            self._read_seat(reader, seat, WHOLE_SEAT)
            return
        group.claims[seat] = claim
        if register.MAP_KEY in found and group.take(seat, found[register.MAP_KEY]):
            assert group.map is not None
            for gateway in group.gateways:
                if not gateway.silent and gateway.obey(group.map):
                    for other in range(register.SEATS):
                        self._notify(gateway, other)

    def _notify(self, gateway: FleetGateway, seat: int) -> None:
        group = gateway.group
        name = group.seats[seat]
        if group.outstanding[name] >= OUTSTANDING_PER_OBJECT * len(group.gateways):
            self.left_out += 1
            return
        assert group.map is not None
        text, put, sent_s = gateway.beacon(group.map), self._queue.put, time.monotonic()

        def done(_completion: Any, _code: int, acks: Optional[List[Any]], _timeouts: Any) -> None:
            keep_this()
            put(partial(self._answered, gateway, name, time.monotonic() - sent_s, acks or []))
        group.outstanding[name] += 1
        self.sent += 1
        self._ioctx.aio_notify(name, done, text, NOTIFY_TIMEOUT_MS)

    def _answered(self, gateway: FleetGateway, name: str, took_s: float, acks: List[Any]) -> None:
        gateway.group.outstanding[name] -= 1
        payloads = [payload for _, _, payload in acks if payload]
        if not payloads:
            self.unanswered += 1
        for payload in payloads:
            self.ack_s.append(took_s)
            if b'"want_full":[]' not in payload and gateway.name in wire.decode_ack(payload).want_full:
                gateway.full_wanted = True
