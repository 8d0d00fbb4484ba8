"""The driver of one gateway group: takes it over, then event -> ``machine.step`` -> actions in order.

One thread and one queue for each group; groups do not wait for one another.  Promises: the core sees one event at a
time with a monotonic time; actions are carried out in the order given and never block (their results are events);
every step is checked against the invariants before anything of it is carried out, and a violated one stops the driver
for good, as does being deposed.  A group that cannot be taken over is tried again.
Decides nothing: what is done when is ``core/machine.py``'s.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, Callable, Deque, Dict, List, Optional

import rados

from . import seat_names, trace
from .bounded import Bounded, TookTooLong
from .channel import BadBeacons, Channel, Heard
from .core import invariants, machine, wire
from .core.actions import Action, Commit, Fence, ForgetGateway, Reply, StoreGateway, Wake
from .core.events import BeaconReceived, Command, Committed, Deposed, Event, GatewayStored, SetTiming, Tick
from .core.model import NO_VERSION, Map, ModelError
from .core.soft import State
from .core.timing import TICK_S
from .fencer import Fencer
from .kv_records import CREATED, GroupKey, GroupRecord, KvWriter, RecordError, Records, encode_group, encode_map_copy
from .mon import MonCommands
from .options import Options
from .rados_ops import Operations
from .seats import Seats
from .status import Status
from .takeover import Identity, NotActive, NotNow, TakeOver

RETRY_S = 2.0
LIBRADOS_S = 5.0
MAP_COPY_EVERY_S = 2.0


class Stop(Exception):
    """The driver was told to end."""


class GroupDriver:
    """``start`` it once; ``stop`` and ``join`` end it."""

    def __init__(self, key: GroupKey, identity: Identity, cluster: Any, mon: MonCommands, records: Records,
                 options: Options, log: logging.Logger) -> None:
        """``cluster``: the mgr's own ``rados.Rados``."""
        self.key = key
        self.status = Status()
        self._cluster, self._records = cluster, records
        self._options, self._log = options, log
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._later: Deque[Any] = deque()
        self._stopping = threading.Event()
        self._requests = itertools.count(1)
        self._waiters: Dict[int, SimpleQueue] = {}
        self._operations = Operations(self._queue)
        self._fencer = Fencer(mon, self._queue.put, self._queue.put)
        self._kv = KvWriter(mon, records, self._queue.put, self._fencer.busy)
        self._bounded = Bounded(f"nvmeof_ha.{key}", lambda: self._queue.put(_nothing))
        self._attempt = TakeOver(key, identity, mon, self._operations, self._pump, self._queue.put)
        self._seats: Optional[Seats] = None
        self._channel: Optional[Channel] = None
        self._state: Optional[State] = None
        self._record = GroupRecord()
        self._record_problems: List[str] = []
        self._adopted_problems: List[str] = []
        self._copied = NO_VERSION
        self._copy_at = 0.0
        self._bad_beacons = BadBeacons()
        self._thread = threading.Thread(target=self._run, name=f"nvmeof_ha.{key}", daemon=True)

    # -- used by other threads --------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._queue.put(_nothing)

    def join(self, timeout_s: float) -> bool:
        """True when the driver and its watches have ended."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def set_options(self, options: Options) -> None:
        self._queue.put(lambda: self._new_options(options))

    def request(self, make: Callable[[int], Command], timeout_s: float) -> Optional[Reply]:
        """Give a command to the core and wait for its reply; None: it did not come in time."""
        request_id = next(self._requests)
        replies: SimpleQueue[Reply] = SimpleQueue()
        self._waiters[request_id] = replies
        self._queue.put(make(request_id))
        try:
            return replies.get(timeout=timeout_s)
        except Empty:
            return None
        finally:
            self._waiters.pop(request_id, None)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._take_over_until_done()
            self._serve()
        except Stop:
            self._stopped("the module is being stopped")
        except NotActive as error:
            self._stopped(str(error))
        except (invariants.InvariantViolated, ModelError) as error:
            self._log.exception("%s: an invariant is violated, nothing is decided any more", self.key)
            self._stopped(str(error), broken=True)
        except Exception as error:  # the outermost loop of this thread: seen in the log and in health
            self._log.exception("%s: the driver failed", self.key)
            self._stopped(f"{type(error).__name__}: {error}", broken=True)
        finally:
            self._give_back()

    def _stopped(self, reason: str, broken: bool = False) -> None:
        gone = self._seats is not None and self._seats.pool_gone
        self.status = replace(self.status, running=False, stopped=reason, broken=broken,
                              pool_gone=gone or self.status.pool_gone)

    def _give_back(self) -> None:
        if self._channel is not None:
            stopping = self._stopping.is_set()
            self._channel.ack.prepare(wire.Ack(self._committed_version(), stopping=stopping))
            self._channel.stop()
            self._channel.join(1.0)

    def _pump(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Run completions and answers while something else is waited for; events wait in ``_later``."""
        deadline = time.monotonic() + timeout_s
        while not until():
            if self._stopping.is_set():
                raise Stop()
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            if self._seats is not None:
                self._seats.poll()
            self._kv.poll()
            try:
                item = self._queue.get(timeout=min(left_s, TICK_S))
            except Empty:
                continue
            self._take_internal(item)
        return True

    def _take_internal(self, item: Any) -> None:
        if isinstance(item, rados.Completion):
            self._operations.finish(item)
        elif callable(item):
            item()
        elif isinstance(item, Deposed):
            raise NotActive(item.reason)
        else:
            self._later.append(item)

    # -- taking over ------------------------------------------------------------------------------------------------

    def _take_over_until_done(self) -> None:
        while True:
            try:
                self._take_over()
                return
            except (NotNow, RecordError, TookTooLong) as error:
                reason = str(error)
            except rados.Error as error:
                reason = f"librados: {error}"
            if reason != self.status.waiting_for:
                self._log.warning("%s cannot be taken over yet: %s", self.key, reason)
            if self._seats is not None and self._seats.pool_gone:
                self._seats = None
                self._publish(pool_gone=True)
            self._publish(waiting_for=reason)
            self._pump(lambda: False, RETRY_S)

    def _take_over(self) -> None:
        record = self._prepared_record()
        if self._seats is None:
            # Kept for later attempts: its probes may hang, and must not pile up.
            self._seats = self._open_seats(record)
        writable = self._attempt.wait_for_writable(self._seats)
        if record.state == CREATED:
            self._attempt.renew_signposts(self._seats.ioctx, list(record.seats))
        else:
            self._attempt.make_objects(self._seats.ioctx, list(record.seats))
        self._bounded.call(self._cluster.wait_for_latest_osdmap, LIBRADOS_S, "fetch the newest OSD map", self._pump)
        adopted = self._attempt.adopt(self._seats, writable, record)
        self._adopted_problems = adopted.problems
        gateways, self._record_problems = self._records.gateways(self.key)
        for problem in self._adopted_problems + self._record_problems:
            self._log.warning("%s: %s", self.key, problem)
        found = adopted.found or Map(self.key.pool, self.key.group)
        self._log.info("%s: takes over at %s with ballot %d", self.key, found.version, adopted.ballot)
        timing = self._options.timing or found.timing
        state, actions = machine.begin(found, gateways, adopted.ballot, timing, time.monotonic(),
                                       self._options.failback_doubling)
        invariants.check_map(state.map)
        self._channel = Channel(self._operations, self._seats.ioctx, record.seats,
                                seat_names.wake_name(self.key.group), self._queue.put)
        self._state = state
        for action in actions:
            self._act(action)
        self._publish(waiting_for="its first commit was not acknowledged yet", pool_gone=False)

    def _prepared_record(self) -> GroupRecord:
        """The group's record, with seat names."""
        record = self._records.group(self.key)
        if record is None:
            raise NotNow("its record was removed from the mon KV store")
        if not record.seats:
            names = self._attempt.choose_names(record.control_pool or self.key.pool)
            record = replace(record, seats=tuple(names))
            self._write_record(record)
        self._record = record
        return record

    def _open_seats(self, record: GroupRecord) -> Seats:
        pool = record.control_pool or self.key.pool
        ioctx = self._open(pool)
        probes = [self._open(pool, locator=name) for name in record.seats]
        return Seats(self._operations, ioctx, record.seats, probes, self._queue.put)

    def _open(self, pool: str, locator: str = "") -> Any:
        def open_ioctx() -> Any:
            ioctx = self._cluster.open_ioctx(pool)
            ioctx.set_namespace(seat_names.NAMESPACE)
            if locator:
                ioctx.set_locator_key(locator)
            return ioctx
        try:
            return self._bounded.call(open_ioctx, LIBRADOS_S, f"open pool {pool!r}", self._pump)
        except rados.ObjectNotFound:
            self._publish(pool_gone=True)
            raise NotNow(f"pool {pool!r} does not exist; make it again, or delete the group's gateways") from None

    def _write_record(self, record: GroupRecord) -> None:
        done: List[bool] = []
        self._kv.write(self.key.record_key, encode_group(record), lambda: done.append(True))
        if not self._pump(lambda: bool(done), LIBRADOS_S):
            raise NotNow(self._kv.problem or "the mon KV store did not answer")

    # -- serving ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while self._later:
            self._take(self._later.popleft())
        next_tick = time.monotonic()
        while not self._stopping.is_set():
            assert self._state is not None and self._channel is not None
            if self._state.stopped:
                raise NotActive(self._state.stopped)
            try:
                self._take(self._queue.get(timeout=max(0.0, next_tick - time.monotonic())))
            except Empty:
                pass
            if time.monotonic() >= next_tick:
                self._poll()
                self._step(Tick(self._channel.green_seats()))
                next_tick = time.monotonic() + TICK_S
        raise Stop()

    def _poll(self) -> None:
        assert self._seats is not None and self._channel is not None and self._state is not None
        self._seats.poll()
        self._channel.poll(self._state.map.timing.beacon_s)
        self._kv.poll()
        self._fencer.poll()
        self._copy_map()
        if self._adopted_problems and self._seats.all_hold:
            self._adopted_problems = []  # what could not be read was replaced by a commit that the others have too
        if self._seats.pool_gone:
            raise NotActive("the pool of its control objects does not exist any more; delete the group's gateways, or "
                            "make the pool again and have the mgr begin anew (`ceph mgr fail`)")

    def _take(self, item: Any) -> None:
        """One item of the queue: a completion, a call, what a watch heard, or an event."""
        if isinstance(item, rados.Completion):
            self._operations.finish(item)
        elif callable(item):
            item()
        elif isinstance(item, tuple):
            self._hear(Heard(*item))
        else:
            self._step(item)

    def _hear(self, heard: Heard) -> None:
        assert self._channel is not None
        if self._channel.is_canary(heard):
            return
        try:
            beacon = wire.decode_beacon(heard.data)
        except wire.WireError as error:
            if self._bad_beacons.note(heard.notifier, str(error)):
                self._log.warning("%s: a beacon of client.%d cannot be used: %s", self.key, heard.notifier, error)
            self._prepare_ack()
            return
        self._step(BeaconReceived(beacon))

    def _step(self, event: Event) -> None:
        before, now = self._state, time.monotonic()
        assert before is not None
        state, actions = machine.step(before, event, now)
        if state.map is not before.map:
            invariants.check_map(state.map)
            invariants.check_step(before.map, state.map)
        if self._log.isEnabledFor(logging.DEBUG) and (actions or not isinstance(event, Tick)):
            self._log.debug("step %s %s", self.key, trace.line(event, now, state.map.version, actions))
        self._state = state
        for action in actions:
            self._act(action)
        if isinstance(event, Committed):
            self._on_committed()
        self._prepare_ack()
        self._publish()

    def _on_committed(self) -> None:
        if self._record.state != CREATED:
            self._record = self._record.created()
            self._kv.write(self.key.record_key, encode_group(self._record))

    def _act(self, action: Action) -> None:
        assert self._seats is not None and self._channel is not None
        if isinstance(action, Commit):
            self._seats.commit(action.map)
        elif isinstance(action, Wake):
            self._channel.wake(action.version)
        elif isinstance(action, Fence):
            self._log.warning("%s: fencing %s: %s", self.key, action.instance, ", ".join(sorted(action.addresses)))
            self._fencer.fence(action, self._options.blocklist_expire_s)
        elif isinstance(action, StoreGateway):
            gateway = action.gateway
            stored = GatewayStored(gateway.id, gateway.instance, gateway.addresses)
            self._kv.write(self.key.gateway_key(gateway.id), wire.encode_gateway_record(gateway),
                           lambda: self._queue.put(stored), lazy=not gateway.addresses)  # nothing can be permitted yet
        elif isinstance(action, ForgetGateway):
            self._kv.write(self.key.gateway_key(action.gateway_id), None)
        elif isinstance(action, Reply):
            waiter = self._waiters.get(action.request_id)
            if waiter is not None:
                waiter.put(action)

    def _new_options(self, options: Options) -> None:
        self._options = options
        if self._state is not None:
            timing = options.timing or self._state.map.timing
            self._step(SetTiming(next(self._requests), timing, options.failback_doubling))

    def _copy_map(self) -> None:
        committed, now = self.status.committed, time.monotonic()
        if committed is None or committed.version == self._copied or now < self._copy_at:
            return
        self._copied, self._copy_at = committed.version, now + MAP_COPY_EVERY_S
        for shard, value in enumerate(encode_map_copy(committed)):
            self._kv.write(self.key.map_key(shard), value, lazy=True)

    # -- what others see --------------------------------------------------------------------------------------------

    def _committed_version(self) -> Any:
        committed = None if self._state is None else self._state.committed
        return NO_VERSION if committed is None else committed.version

    def _prepare_ack(self) -> None:
        assert self._state is not None and self._channel is not None
        refused = {**self._state.soft.refused, **self._bad_beacons.recent()}
        self._channel.ack.prepare(wire.Ack(self._committed_version(),
                                           want_full=tuple(sorted(self._state.soft.want_full)), refused=refused))

    def _publish(self, **changes: Any) -> None:
        state, seats, channel = self._state, self._seats, self._channel
        problems = self._record_problems + self._adopted_problems
        problems += seats.problems() if seats is not None else []
        problems += channel.problems() if channel is not None else []
        problems += [self._kv.problem] if self._kv.problem else []
        committed = None if state is None else state.committed
        fenceless = tuple(why for instance, why in self._fencer.failures.items()
                          if committed is not None and committed.departure(instance) is not None)
        bad_beacons = tuple(f"{who}: {why}" for who, why in self._bad_beacons.recent().items())
        self.status = replace(self.status, committed=committed, running=committed is not None,
                              fence_failures=fenceless, problems=tuple(problems),
                              bad_beacons=bad_beacons, **changes)


def _nothing() -> None:
    """Wakes a driver that waits for its queue."""
