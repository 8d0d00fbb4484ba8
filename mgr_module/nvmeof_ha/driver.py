"""The driver of one gateway group: takes it over, then event -> ``machine.step`` -> actions in order.

Promises: the core sees one event at a time with a monotonic time; actions are carried out in the order given and never
block (their results are events); every step is checked against the invariants before anything of it is carried out,
and a violated one stops the driver for good, as does being deposed.  A group that cannot be taken over is tried again.
Decides nothing: what is done when is ``core/machine.py``'s.  Neither does it say how time passes: it is one generator
(``bounded.Turns``) with one queue, run in a thread (``driver_loop.py``) or by a simulator.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Deque, List, Optional, Sequence

from . import seat_names
from .bounded import Bounded, TookTooLong, Turns
from .channel import Channel, Heard
from .core import invariants, machine, rest, wire
from .core.actions import Action, Commit, Fence, ForgetGateway, Reply, StoreDisasters, StoreGateway, Wake
from .core.events import Beacon, BeaconReceived, Committed, Deposed, Event, SetTiming, Tick
from .core.model import NO_VERSION, Map, ModelError
from .core.soft import State
from .core.timing import TICK_S
from .fencer import Fencer
from .hearing import Hearing
from .group_store import GroupStore
from .kv_records import CREATED, GroupKey, GroupRecord, RecordError, Records
from .measures import Measured, Pace
from .mon import Mons
from .objects import GroupIo, NoSuchPool, Place, RadosFailed
from .options import Options
from .osd_dumps import OsdDumps
from .seat_placement import SeatPlacement
from .seats import Seats
from .status import Status
from .takeover import Identity, NotActive, NotNow, TakeOver
from .trace import Trace

RETRY_S = 2.0
LIBRADOS_S = 5.0
REPAIR_S = 8.0
"""For how long a repair that an operator asked for is tried."""
PUBLISH_S = 1.0
"""How often a group that is in order says so: as often as the module looks."""
UNHEARD_S = 5.0
"""How often the mgr sees whether it could hear, in a group in which nobody has anything to say."""
NOBODY = 0
"""Request id of a command whose reply nobody waits for."""


class Stop(Exception):
    """The driver was told to end."""


class GroupDriver:
    """Run ``body`` once.  Its queue's items are calls, events of the core, and what watches heard (``Heard``)."""

    def __init__(self, key: GroupKey, identity: Identity, mon: Mons, osd_dumps: OsdDumps, records: Records,
                 options: Options, log: logging.Logger, io: GroupIo, put: Callable[[Any], None],
                 answer: Callable[[Reply], None],
                 clock: Callable[[], float] = time.monotonic,
                 watch: Callable[[Event, State, float], None] = lambda event, state, now: None,
                 repair_with: Optional[Sequence[Map]] = None) -> None:
        """``osd_dumps``: of the whole mgr.  ``put``: into this driver's queue, from any thread.  ``answer``: takes the
        replies to commands.  ``watch``: is shown each step when its actions are under way, and must only take note.
        ``repair_with``: an operator asked for lost seats to be rebuilt, within ``REPAIR_S``; maps that the driver before
        knew."""
        self.key = key
        self.status = Status()
        self._gid = identity.gid
        self._options, self._log = options, log
        self._trace = Trace(key, log, options.trace)
        self._io, self._put, self._answer, self._clock, self._watch = io, put, answer, clock, watch
        self._later: Deque[Any] = deque()
        self._stopping = False
        self._fencer = Fencer(mon, osd_dumps, put, put, clock)
        self._store = GroupStore(key, mon, records, put, self._fencer.busy, clock)
        self._bounded = Bounded(self._pump)
        self._placement = SeatPlacement(key.group, mon, put, clock)
        self._attempt = TakeOver(key, identity, mon, io, self._pump, put)
        self._repair_with, self._repair_until = repair_with, clock() + REPAIR_S
        self._seats: Optional[Seats] = None
        self._channel: Optional[Channel] = None
        self._state: Optional[State] = None
        self._adopted_problems: List[str] = []
        self._hearing = Hearing(key, log, clock)
        self._pace = Pace()

    # -- used by other threads --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """The body ends at its next turn."""
        self._stopping = True
        self._put(lambda: None)  # wakes a driver that waits for its queue

    def set_options(self, options: Options) -> None:
        self._put(lambda: self._new_options(options))

    def osd_map_changed(self) -> None:
        self._put(self._placement.osd_map_changed)

    def keep(self, key: str, value: str) -> None:
        """Write this to the mon KV store, when there is nothing better to do."""
        self._put(lambda: self._store.write_lazily(key, value))

    def measured(self) -> Measured:
        """So far, by any thread."""
        return Measured(self._pace.lateness.snapshot(), self._fencer.took.snapshot(),
                        {} if self._seats is None else self._seats.times())

    @property
    def state(self) -> Optional[State]:
        """As of the last step; None until the group was taken over."""
        return self._state

    # -- the body ---------------------------------------------------------------------------------------------------

    def body(self) -> Turns[None]:
        """Until the driver is stopped, by whatever: ``status`` says why.  Closing the generator early is like the death
        of the mgr: nothing is given back."""
        try:
            yield from self._take_over_until_done()
            yield from self._serve()
        except Stop:
            self._stopped("the module is being stopped")
        except NotActive as error:
            self._stopped(str(error))
        except (invariants.InvariantViolated, ModelError) as error:
            self._log.exception("%s: an invariant is violated, nothing is decided any more", self.key)
            self._stopped(str(error), broken=True)
        except Exception as error:  # the outermost loop: seen in the log and in health
            self._log.exception("%s: the driver failed", self.key)
            self._stopped(f"{type(error).__name__}: {error}", broken=True)
        self._give_back()

    def _stopped(self, reason: str, broken: bool = False) -> None:
        gone = self._seats is not None and self._seats.pool_gone
        self.status = replace(self.status, running=False, stopped=reason, broken=broken,
                              pool_gone=gone or self.status.pool_gone)

    def _give_back(self) -> None:
        if self._channel is not None:
            self._channel.ack.prepare(wire.Ack(self._committed_version(), stopping=self._stopping, gid=self._gid))
            self._channel.stop()

    def _pump(self, until: Callable[[], bool], timeout_s: float) -> Turns[bool]:
        """Run completions and answers while something else is waited for; events wait in ``_later``."""
        deadline = self._clock() + timeout_s
        while not until():
            if self._stopping:
                raise Stop()
            left_s = deadline - self._clock()
            if left_s <= 0:
                return False
            if self._seats is not None:
                self._seats.poll()
            self._store.poll()
            item = yield min(left_s, TICK_S)
            if item is not None:
                self._take_internal(item)
        return True

    def _take_internal(self, item: Any) -> None:
        if callable(item):
            item()
        elif isinstance(item, Deposed):
            raise NotActive(item.reason)
        else:
            self._later.append(item)

    # -- taking over ------------------------------------------------------------------------------------------------

    def _take_over_until_done(self) -> Turns[None]:
        while True:
            try:
                yield from self._take_over()
                return
            except (NotNow, RecordError, TookTooLong) as error:
                reason = str(error)
            except RadosFailed as error:
                reason = f"librados: {error}"
            if reason != self.status.waiting_for:
                self._log.warning("%s cannot be taken over yet: %s", self.key, reason)
            if self._seats is not None and self._seats.pool_gone:
                self._seats = None
                self._publish(pool_gone=True)
            self._publish(waiting_for=reason)
            yield from self._pump(lambda: False, RETRY_S)

    def _take_over(self) -> Turns[None]:
        record = yield from self._prepared_record()
        if self._seats is None:
            # Kept for later attempts: its probes may hang, and must not pile up.
            self._seats = yield from self._open_seats(record)
        writable = yield from self._attempt.wait_for_writable(self._seats)
        if record.state == CREATED:
            self._attempt.renew_signposts(self._seats.place, list(record.seats))
        else:
            yield from self._attempt.make_objects(self._seats.place, list(record.seats))
        yield from self._bounded.call(self._io.wait_for_latest_osdmap, LIBRADOS_S, "fetch the newest OSD map")
        adopted = yield from self._attempt.adopt(self._seats, writable, record, self._repair_with is not None,
                                                 self._older_maps())
        gateways = () if adopted.rebuilt else self._store.gateways()
        self._adopted_problems = adopted.problems
        for problem in self._adopted_problems + self._store.unusable:
            self._log.warning("%s: %s", self.key, problem)
        found = adopted.found or Map(self.key.pool, self.key.group)
        self._log.info("%s: takes over at %s with ballot %d", self.key, found.version, adopted.ballot)
        if adopted.rebuilt:
            self._log.warning("%s: its seats were lost, and its map is rebuilt from what is left; every instance that may "
                              "still write is fenced first", self.key)
        timing = self._options.timing or found.timing
        begun = (found, tuple(record.gateway for record in gateways), adopted.ballot, timing, self._clock(),
                 self._options.failback_doubling, record.disasters)
        state, actions = machine.begin(*begun)
        self._trace.began(*begun, state, actions)
        invariants.check_map(state.map)
        self._channel = Channel(self._io, self._seats.place, record.seats, seat_names.wake_name(self.key.group),
                                self._clock)
        self._state = state
        for action in actions:
            self._act(action)
        self._publish(waiting_for="its first commit was not acknowledged yet", pool_gone=False)

    def _older_maps(self) -> Optional[Sequence[Map]]:
        """What a rebuilt map may be made from, if an operator asked for it just now."""
        if self._repair_with is None or self._clock() > self._repair_until:
            return None
        return self._store.older_maps(self._repair_with)

    def _prepared_record(self) -> Turns[GroupRecord]:
        """The group's record, with seat names."""
        record = self._store.read()
        if record is None:
            raise NotNow("its record was removed from the mon KV store")
        if not record.seats:
            names = yield from self._attempt.choose_names(record.control_pool or self.key.pool)
            record = replace(record, seats=tuple(names))
            done: List[bool] = []
            self._store.keep(record, lambda: done.append(True))
            if not (yield from self._pump(lambda: bool(done), LIBRADOS_S)):
                raise NotNow(self._store.answers_not)
        self._store.record = record
        return record

    def _open_seats(self, record: GroupRecord) -> Turns[Seats]:
        pool = record.control_pool or self.key.pool
        place = yield from self._open(pool)
        probe_places = []
        for name in record.seats:
            probe_places.append((yield from self._open(pool, locator=name)))
        return Seats(self._io, place, record.seats, probe_places, self._put, self._clock)

    def _open(self, pool: str, locator: str = "") -> Turns[Place]:
        try:
            return (yield from self._bounded.call(partial(self._io.open, pool, locator), LIBRADOS_S,
                                                  f"open pool {pool!r}"))
        except NoSuchPool:
            self._publish(pool_gone=True)
            raise NotNow(f"pool {pool!r} does not exist; delete the group's gateways") from None

    # -- serving ----------------------------------------------------------------------------------------------------

    def _serve(self) -> Turns[None]:
        while self._later:
            self._take(self._later.popleft())
        due = self._clock()
        while not self._stopping:
            assert self._state is not None and self._channel is not None
            if self._state.stopped:
                raise NotActive(self._state.stopped)
            item = yield max(0.0, due - self._clock())
            begun = self._clock()
            if begun >= due:
                self._tick(due)
                due = self._clock() + rest.tick_s(self._state, self._clock(), self._clock() - begun)
            if item is not None:
                before = self._state
                self._take(item)
                if self._state is not before:
                    due = min(due, self._clock() + rest.tick_s(self._state, self._clock()))
        raise Stop()

    def _tick(self, due: float) -> None:
        assert self._state is not None and self._channel is not None
        self._pace.ticked(self._clock(), due, self._state.map.timing.beacon_s)
        self._poll()
        green_seats = self._channel.green_seats()   # before: what was heard too late made no seat green in time
        beacons = [self._beacon(Heard(*heard)) for heard in self._io.routine()]
        self._decide(Tick(green_seats, tuple(filter(None, beacons))))
        self._prepare_ack()
        if not rest.in_order(self._state) or self._clock() - self.status.published_at >= PUBLISH_S:
            self._publish()

    def _poll(self) -> None:
        assert self._seats is not None and self._channel is not None and self._state is not None
        self._seats.poll()
        self._channel.poll(self._state.map.timing.beacon_s if self._state.map.running else UNHEARD_S)
        self._store.poll(self.status.committed)
        self._fencer.poll()
        self._placement.poll(self._store.record.control_pool or self.key.pool, self._store.record.seats)
        if self._adopted_problems and self._seats.all_hold:
            self._adopted_problems = []  # what could not be read was replaced by a commit that the others have too
        if self._seats.pool_gone:
            raise NotActive("the pool of its control objects does not exist any more; delete the group's gateways")

    def _take(self, item: Any) -> None:
        """One item of the queue: a call, what a watch heard, or an event."""
        if callable(item):
            item()
        elif isinstance(item, tuple):
            beacon = self._beacon(Heard(*item))
            if beacon is not None:
                self._decide(BeaconReceived(beacon))
            self._prepare_ack()   # what a beacon alone changes can be published with the next tick
        else:
            self._step(item)

    def _beacon(self, heard: Heard) -> Optional[Beacon]:
        assert self._channel is not None
        return None if self._channel.is_canary(heard) else self._hearing.beacon(heard)

    def _step(self, event: Event) -> None:
        self._decide(event)
        self._prepare_ack()
        self._publish()

    def _decide(self, event: Event) -> None:
        before, now = self._state, self._clock()
        assert before is not None
        state, actions = machine.step(before, event, now)
        self._trace.stepped(before, event, now, state, actions)
        if state.map is not before.map:
            invariants.check_map(state.map)
            invariants.check_step(before.map, state.map)
        self._state = state
        for action in actions:
            self._act(action)
        self._watch(event, state, now)
        if isinstance(event, Committed):
            self._store.note_committed()

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
            self._store.keep_gateway(action, self._put)
        elif isinstance(action, ForgetGateway):
            self._store.forget_gateway(action.gateway_id)
        elif isinstance(action, StoreDisasters):
            self._store.keep_disasters(action.disasters)
        elif isinstance(action, Reply):
            self._answer(action)

    def _new_options(self, options: Options) -> None:
        self._options, self._trace.on = options, options.trace
        if self._state is not None:
            timing = options.timing or self._state.map.timing
            self._step(SetTiming(NOBODY, timing, options.failback_doubling))

    # -- what others see --------------------------------------------------------------------------------------------

    def _committed_version(self) -> Any:
        committed = None if self._state is None else self._state.committed
        return NO_VERSION if committed is None else committed.version

    def _prepare_ack(self) -> None:
        assert self._state is not None and self._channel is not None
        refused = {**self._state.soft.refused, **self._hearing.refused()}
        self._channel.ack.prepare(wire.Ack(self._committed_version(),
                                           want_full=tuple(sorted(self._state.soft.want_full)), refused=refused,
                                           gid=self._gid))

    def _publish(self, **changes: Any) -> None:
        state, seats, channel = self._state, self._seats, self._channel
        problems = self._store.problems() + self._adopted_problems
        problems += seats.problems() if seats is not None else []
        problems += channel.problems() if channel is not None else []
        committed = None if state is None else state.committed
        fenceless = () if state is None or committed is None else tuple(
            why for instance, why in state.soft.fence_errors.items() if committed.departure(instance) is not None)
        said = self._hearing.said(() if committed is None else [gateway.id for gateway in committed.gateways])
        bad_beacons = tuple(f"{who}: {why}" for who, why in self._hearing.refused().items())
        self.status = replace(self.status, committed=committed, running=committed is not None,
                              fence_failures=fenceless, problems=tuple(problems),
                              bad_beacons=bad_beacons, seats_close=self._placement.problem,
                              mass_silence=state is not None and state.soft.mass_silence,
                              exposed=tuple(sorted({text for one in said.values() for text in one.exposed})),
                              soft=None if state is None else state.soft, said=said,
                              green_seats=0 if channel is None else channel.green_seats(),
                              late_ticks=self._pace.late_lately, seats_lost=tuple(seats.lost()) if seats else (),
                              published_at=self._clock(), **changes)
