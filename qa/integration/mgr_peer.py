"""A gateway host as the mgr module sees one: reads the seats, sends beacons, confirms what the map asks of it.

A protocol peer without target, warden and lease: it obeys every map at once, and its one context is a RADOS client of
its own, whose real address it beacons, so that a fence really hits it. What a test breaks, it breaks from outside.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from contextlib import contextmanager
from functools import partial
from queue import Empty, Queue
from typing import Callable, Dict, FrozenSet, Iterator, List, Optional, Tuple

import rados

from nvmeof_ha.core import register, wire
from nvmeof_ha.core.events import Beacon, Confirmation, Outcome, TargetState
from nvmeof_ha.core.model import NO_VERSION, Instance, Map, Phase, Subsystem
from testbed.cluster import Cluster
from testbed.gateway import nvme_gw
from testbed.waiting import wait_until

NAMESPACE = 'nvmeof_ha'
BEACON_S = 0.5
READ_S = 0.25
NQN = 'nqn.2016-06.io.spdk:peer'


def connect(cluster: Cluster, **options: str) -> rados.Rados:
    client = rados.Rados(conffile=str(cluster.conf), name='client.admin', conf=options)
    client.connect(timeout=10)
    return client


class SeatReader:
    """The control objects of one group, read as a warden reads them, but waiting for each answer."""

    def __init__(self, client: rados.Rados, group: str, pool: str = 'rbd') -> None:
        self.group = group
        self.ioctx = client.open_ioctx(pool)
        self.ioctx.set_namespace(NAMESPACE)
        self._names: Tuple[str, ...] = ()

    @property
    def names(self) -> Tuple[str, ...]:
        if not self._names:
            index = self.omap(f'nvmeof_ha.{self.group}.index')
            assert index['format'] == b'1'
            self._names = tuple(index[f'seat.{n}'].decode() for n in range(register.SEATS))
        return self._names

    def omap(self, name: str) -> Dict[str, bytes]:
        with rados.ReadOpCtx() as read_op:
            values, _ = self.ioctx.get_omap_vals(read_op, '', '', 100)
            self.ioctx.operate_read_op(read_op, name)
            return dict(values)

    def put(self, name: str, values: Dict[str, bytes]) -> None:
        with rados.WriteOpCtx() as write_op:
            self.ioctx.set_omap(write_op, tuple(values), tuple(values.values()))
            self.ioctx.operate_write_op(write_op, name)

    def maps(self) -> List[Optional[Map]]:
        found: List[Optional[Map]] = []
        for name in self.names:
            try:
                found.append(_decoded(self.omap(name).get(register.MAP_KEY)))
            except rados.ObjectNotFound:
                found.append(None)
        return found

    def agreed(self) -> Optional[Map]:
        """The map that two seats hold."""
        return register.judge(self.maps()).permits

    def agreed_soon(self, within_s: float) -> Optional[Map]:
        """The same, from those seats that answer by then: a stalled placement group delays nobody."""
        answers: 'Queue[Tuple[int, rados.Completion, Iterator, rados.ReadOp]]' = Queue()
        for seat, name in enumerate(self.names):
            read_op = rados.ReadOp()
            read_op.create()
            values, _ = self.ioctx.get_omap_vals_by_keys(read_op, (register.MAP_KEY,))
            self.ioctx.operate_aio_read_op(read_op, name, partial(_answered, answers, seat, values, read_op), None)
        maps: List[Optional[Map]] = [None] * register.SEATS
        deadline = time.monotonic() + within_s
        for _ in maps:
            try:
                seat, completion, values, read_op = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            if completion.get_return_value() == 0:
                maps[seat] = _decoded(dict(values).get(register.MAP_KEY))
            read_op.release()
        return register.judge(maps).permits

    def wait_for(self, condition: Callable[[Map], object], timeout_s: float, what: str) -> Map:
        """The first agreed map for which the condition holds."""
        def look() -> Optional[Map]:
            gateway_map = self.agreed()
            return gateway_map if gateway_map is not None and condition(gateway_map) else None
        return wait_until(look, timeout_s, what, interval_s=0.05, not_yet=(rados.ObjectNotFound,))


def _answered(answers: 'Queue', seat: int, values: Iterator, read_op: rados.ReadOp,
              completion: rados.Completion) -> None:
    answers.put((seat, completion, values, read_op))


def _decoded(data: Optional[bytes]) -> Optional[Map]:
    try:
        return None if data is None else wire.decode_map(data)
    except wire.WireError:
        return None


def notify(seats: SeatReader, payload: str, seat: int = 0, wait_s: float = 5.0) -> Optional[bytes]:
    """The first answer to a notify on a seat object, None when nobody answered within `wait_s`."""
    answered = threading.Event()
    answers: List[bytes] = []

    def done(_completion: object, _code: int, acks: Optional[list], _timeouts: Optional[list]) -> None:
        answers.extend(payload for _, _, payload in acks or [] if payload)
        answered.set()
    seats.ioctx.aio_notify(seats.names[seat], done, payload, 2000)
    answered.wait(wait_s)
    return answers[0] if answers else None


class Peer:
    """One gateway; a context manager that ends its threads and clients."""

    def __init__(self, cluster: Cluster, group: str, gateway_id: str, pool: str = 'rbd',
                 namespaces: Tuple[Tuple[int, int], ...] = ((1, 2), (2, 2)), number: int = 0) -> None:
        """`number`: of its first instance; 0: one above the map's last."""
        self.gateway_id = gateway_id
        self._client = connect(cluster)
        self._seats = SeatReader(self._client, group, pool)
        self.context = connect(cluster)
        self._subsystems = (Subsystem(NQN, ('127.0.0.2:4420',), namespaces),)
        self._number = number
        self._sequence = 0
        self._stopped = False
        self._map: Optional[Map] = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.instance: Optional[Instance] = None
        self.acks: List[wire.Ack] = []
        self.errors: List[int] = []
        self.applied = NO_VERSION
        self.optimized: FrozenSet[int] = frozenset()
        self.silent = False
        self.leaving = False
        self.confirming = True
        self.reaped: Tuple[Instance, ...] = ()
        self._thread = threading.Thread(target=self._run, name=gateway_id)

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self.context.shutdown()
        self._client.shutdown()

    @property
    def address(self) -> str:
        return self.context.get_addrs()

    def crash(self) -> None:
        """The target died, and its warden says so."""
        with self._lock:
            self.reaped, self.instance, self.optimized, self._stopped = (self.instance,), None, frozenset(), True
            self._beat()

    def begin_anew(self, cluster: Cluster) -> None:
        """A new target process: new context, new instance."""
        with self._lock:
            self.context.shutdown()
            self.context = connect(cluster)
            self.instance, self.optimized, self._number = None, frozenset(), 0
            self.silent = self._stopped = False

    def notify(self, payload: str, seat: int = 0, wait_s: float = 5.0) -> Optional[bytes]:
        return notify(self._seats, payload, seat, wait_s)

    def _run(self) -> None:
        while not self._ended.is_set():
            started = time.monotonic()
            with self._lock:
                if not self.silent:
                    self._beat()
            self._ended.wait(max(0.02, BEACON_S - (time.monotonic() - started)))

    def _beat(self) -> None:
        # What cannot be read now changes nothing: a gateway beacons on while its seats stall.
        gateway_map = self._map = self._seats.agreed_soon(READ_S) or self._map
        if gateway_map is None:
            return
        gateway = gateway_map.gateway(self.gateway_id)
        self._sequence += 1
        if self.instance is None and not self._stopped and (gateway is not None or self._number):
            number = self._number or gateway.last_number + 1
            self.instance = Instance(self.gateway_id, number, secrets.token_hex(4))
        confirmations = self._obey(gateway_map)
        beacon = Beacon(self.gateway_id, self.instance, self._sequence, version=self.applied,
                        target=TargetState.SERVING, leaving=self.leaving, addresses=frozenset({self.address}),
                        reaped=self.reaped, confirmations=confirmations, digest='d1', load=1,
                        subsystems=self._subsystems)
        answer = self.notify(wire.encode_beacon(beacon).decode(), self._sequence % register.SEATS, 2 * BEACON_S)
        if answer is not None:
            self.acks.append(wire.decode_ack(answer))

    def _obey(self, gateway_map: Map) -> Tuple[Confirmation, ...]:
        if not self.confirming:
            return ()
        mine = gateway_map.served_by(self.instance) if self.instance else ()
        self.optimized = frozenset(g.id for g in mine if g.permitted == self.instance)
        self.applied = gateway_map.version
        said = {Phase.PROMOTING: Outcome.OPTIMIZED, Phase.DRAINING: Outcome.DRAINED}
        return tuple(Confirmation(g.id, g.since, said[g.phase]) for g in mine if g.phase in said)


def show(cluster: Cluster, group: str, pool: str = 'rbd') -> dict:
    return json.loads(nvme_gw(cluster, 'show', pool, group, '--format', 'json'))


def words(shown: dict, gateway_id: str) -> str:
    """The "ana states" of one gateway in the output of `show`."""
    return next(g['ana states'] for g in shown['Created Gateways:'] if g['gw-id'] == gateway_id)


@contextmanager
def module_options(cluster: Cluster, **options: str) -> Iterator[Callable[[str, str], None]]:
    """Module options set for a while; yields a function that sets one of them.

    A mgr does not notice `ceph config rm` of a module option before it restarts (seen on 16.2.15), so the former
    values are set instead.
    """
    def option(name: str) -> str:
        return f'mgr/nvmeof_ha/{name}'
    former = {name: cluster.ceph('config', 'get', 'mgr', option(name)).strip() for name in options}
    try:
        for name, value in options.items():
            cluster.ceph('config', 'set', 'mgr', option(name), value)
        yield lambda name, value: cluster.ceph('config', 'set', 'mgr', option(name), value) and None
    finally:
        for name, value in former.items():
            cluster.ceph('config', 'set', 'mgr', option(name), value)


def health_detail(cluster: Cluster, code: str) -> str:
    """The detail lines of one health check, '' when it is not raised."""
    checks = cluster.ceph_json('health', 'detail')['checks']
    return ' '.join(line['message'] for line in checks.get(code, {}).get('detail', []))


def wait_for_health(cluster: Cluster, code: str, *texts: str) -> str:
    """The detail once it says all the texts: for a moment the mon shows what the mgr before, or the check before, said."""
    def said() -> str:
        detail = health_detail(cluster, code)
        return detail if all(text in detail for text in texts) else ''
    return wait_until(said, 60, f'{code} to say {texts}')


def wait_for_no_health(cluster: Cluster, code: str) -> None:
    wait_until(lambda: not health_detail(cluster, code), 60, f'{code} to end')
