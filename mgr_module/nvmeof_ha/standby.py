"""The StandbyModule: what a mgr that is not the active one does for the gateway groups (DESIGN 8).

It listens on every group's SOS object, asks the active mgr now and then whether it is there, and has it replaced when
``core/standby.py`` says so.  Decides nothing.  Promises: ``shutdown`` ends ``serve`` within about ``TICK_S``, whatever
RADOS or the mons do, because ceph-mgr waits for that before it becomes the active one; the client is given back on a
thread of its own.  Beside that it serves a signpost to the active mgr's status page, which nothing here waits for.
"""

from __future__ import annotations

import errno
import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, Queue
from typing import Any, Callable, Dict, List, Optional

from mgr_module import MgrStandbyModule

from . import options, seat_names
from .channel import CANARY, NOTIFY_TIMEOUT_MS
from .core import register, standby, wire
from .core.model import Map
from .core.timing import TICK_S
from .kv_records import STORE_PREFIX, GroupKey, RecordError, Records, put_command
from .mon import Answer, MonCommandError, MonCommands, parsed
from .objects import Omap, Place, RadosFailed, Watch
from .seats import map_in
from .standby_io import Connection, StandbyIo, client_options
from .trace import StandbyTrace
from .web import WebServer
from .web_app import Signpost

FAILED_KEY = "standby_failed"
"""Mon KV store: when a standby last had a mgr failed, and why.  A wall-clock time: every mgr reads it."""
OPTIONS_S = 1.0
GROUPS_S = 5.0
RECONNECT_S = 5.0
GIVE_BACK_S = 5.0
MOST_OUTSTANDING = 6


_LEFT_BEHIND: List[Any] = []
"""A lookout for which something still waits inside librados: its client and pools, freed, would go under that."""


class StandbyModule(MgrStandbyModule):
    """Found by ceph-mgr in ``nvmeof_ha/__init__.py``."""

    MODULE_OPTIONS = options.declarations()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopping = threading.Event()
        self._page = WebServer(lambda: options.web(self.get_localized_module_option), Signpost(self.get_active_uri),
                               self.log)

    def __del__(self) -> None:
        """Nothing.  Ceph's own takes all log handlers of the interpreter away, also those of the active module, which
        lives in the same one: a mgr that had been a standby stopped logging seconds after it took over, when this object
        was collected (16.2.15)."""

    def serve(self) -> None:
        self._page.start()  # on threads of its own, and nothing here waits for it
        said = True
        while not self._stopping.is_set():
            if self._enabled():
                said = False
                self._look_out()
            elif not said:
                said = True
                self.log.info("standby_enabled is off: a dead active mgr is replaced when the mons notice")
            self._stopping.wait(OPTIONS_S)

    def shutdown(self) -> None:
        self._stopping.set()
        self._page.stop()

    def _enabled(self) -> bool:
        return bool(self.get_module_option("standby_enabled"))

    def _look_out(self) -> None:
        name = f"mgr.{self.get_mgr_id()}"
        lookout = Lookout(name, Connection(name, client_options(self.get_ceph_option)), self.log)
        try:
            while not self._stopping.is_set() and self._enabled():
                lookout.trace.on = bool(self.get_module_option("trace"))
                lookout.set_interval(options.standby_fail_interval_s(self.get_module_option))
                lookout.run(OPTIONS_S, self._stopping.is_set)
        except Exception:  # the outermost loop of this thread: the next round begins anew
            self.log.exception("the lookout of this standby failed")
        finally:
            lookout.give_back()


@dataclass
class _Group:
    """One group as it is looked after.  ``number``: names it to librados' callbacks."""

    key: GroupKey
    number: int
    place: Place
    seats: List[str]
    watch: Optional[Watch] = None
    turn: int = 0
    outstanding: Dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.key)


class _Silent:
    """Agents do not wait for an answer to their calls."""

    def text(self) -> bytes:
        return b""


class Lookout:
    """Between the core and the cluster, as long as one client lasts; used by one thread."""

    def __init__(self, name: str, connection: Connection, log: logging.Logger) -> None:
        self._name, self._connection, self._log = name, connection, log
        self.trace = StandbyTrace(f"standby/{name}", log, False)
        self._queue: Queue[Any] = Queue()
        self._io: Optional[StandbyIo] = None
        self._mon = MonCommands(connection.send_command)
        self._state = standby.begin(options.STANDBY_FAIL_INTERVAL_S, time.monotonic())
        self._session = secrets.token_hex(4)
        self._count = 0
        self._groups: Dict[int, _Group] = {}
        self._opening: Dict[GroupKey, int] = {}
        self._numbers = 0
        self._groups_at = self._tick_at = 0.0
        self._connect_at: Optional[float] = 0.0
        self._noted = threading.Event()
        self._noted.set()
        self._given_back = False

    def set_interval(self, interval_s: float) -> None:
        self._step(standby.IntervalSet(interval_s))

    def run(self, for_s: float, stopping: Callable[[], bool]) -> None:
        """Do what is due, for so long."""
        until = time.monotonic() + for_s
        while time.monotonic() < until and not stopping():
            now = time.monotonic()
            if now >= self._tick_at:
                self._tick_at = now + TICK_S
                self._poll(now)
            try:
                item = self._queue.get(timeout=max(0.0, self._tick_at - time.monotonic()))
            except Empty:
                continue
            if self._io is not None:
                item = self._io.in_turn(item)
            if callable(item):
                item()
            else:
                self._heard(*item)

    def give_back(self) -> None:
        """Returns at once.  Nothing is decided from now on."""
        self._given_back = True
        threading.Thread(target=self._give_back, name="nvmeof_ha.give_back", daemon=True).start()

    def _give_back(self) -> None:
        for watch in self._watches():
            watch.stop()
        done = self._io is None or self._io.let_operations_end(self._queue, GIVE_BACK_S)
        if self._noted.wait(GIVE_BACK_S) and done:
            self._connection.close()
        else:
            _LEFT_BEHIND.append(self)

    def _watches(self) -> List[Watch]:
        return [group.watch for group in self._groups.values() if group.watch is not None]

    # -- the core -----------------------------------------------------------------------------------------------------

    def _step(self, event: standby.Event) -> None:
        if self._given_back:
            return
        before, now = self._state, time.monotonic()
        self._state, actions = standby.step(before, event, now)
        self.trace.stepped(before, event, now, self._state, actions)
        for action in actions:
            self._act(action)

    def _act(self, action: standby.Action) -> None:
        if isinstance(action, standby.Say):
            self._log.warning("%s", action.text)
        elif isinstance(action, standby.AskMons):
            self._ask_mons()
        elif isinstance(action, standby.Fail):
            self._fail(action)
        else:
            group = next((g for g in self._groups.values() if g.name == action.group), None)
            if group is not None and isinstance(action, standby.Ask):
                self._ask(group, action.everywhere)
            elif group is not None:
                self._read_seats(group)

    def _poll(self, now: float) -> None:
        if self._connect_at is not None and now >= self._connect_at:
            self._connect_at = None
            self._connection.open(lambda result: self._queue.put(lambda: self._connected(result)))
        elif self._io is not None:
            for watch in self._watches():
                watch.poll()
            if now >= self._groups_at:
                self._groups_at = now + GROUPS_S
                self._issue({"prefix": "config-key dump", "key": f"{STORE_PREFIX}group/"}, self._found_groups)
            self._step(standby.Tick())

    def _connected(self, result: Any) -> None:
        if isinstance(result, RadosFailed):
            self._log.warning("%s; tried again in %g s", result, RECONNECT_S)
            self._connect_at = time.monotonic() + RECONNECT_S
            return
        self._io = StandbyIo(self._connection.client, self._queue.put, "nvmeof_ha.standby")
        self._log.info("%s looks out for an active mgr that does not answer", self._name)

    def _issue(self, command: Dict[str, Any], ended: Callable[[Answer], None]) -> None:
        """A command to the mons; its answer in this thread."""
        self._mon.issue(command, lambda answer: self._queue.put(partial(ended, answer)))

    # -- groups -------------------------------------------------------------------------------------------------------

    def _found_groups(self, answer: Answer) -> None:
        try:
            values = parsed(answer, "config-key dump")
        except MonCommandError as error:
            self._log.warning("the gateway groups are not known: %s", error)
            return
        records = Records({key[len(STORE_PREFIX):]: value for key, value in values.items()})
        found = set(records.groups())
        for group in [group for group in self._groups.values() if group.key not in found]:
            self._groups.pop(group.number)
            if group.watch is not None:
                group.watch.stop()
        known = {group.key for group in self._groups.values()} | set(self._opening)
        for key in found - known:
            self._open(key, records)
        self._watched()

    def _open(self, key: GroupKey, records: Records) -> None:
        try:
            record = records.group(key)
        except RecordError as error:
            self._log.warning("%s", error)
            return
        if record is None or not record.seats or self._io is None:
            return
        self._numbers += 1
        number = self._opening[key] = self._numbers
        self._io.open(record.control_pool or key.pool, "",
                      lambda place: self._opened(_Group(key, number, place, list(record.seats))))

    def _opened(self, group: _Group) -> None:
        del self._opening[group.key]
        if isinstance(group.place, Exception):
            self._log.debug("the control objects of group %s cannot be reached: %s", group.key, group.place)
            return
        assert self._io is not None
        self._groups[group.number] = group
        group.watch = self._io.watch(group.number, seat_names.sos_name(group.key.group), group.place, _Silent())
        self._watched()

    def _watched(self) -> None:
        self._step(standby.Watched(tuple(group.name for group in self._groups.values())))

    # -- calls and questions ------------------------------------------------------------------------------------------

    def _heard(self, number: int, notifier: int, data: bytes) -> None:
        """On a group's SOS object."""
        group = self._groups.get(number)
        if group is None:
            return
        if data.startswith(CANARY):
            if data[len(CANARY):].startswith(self._session.encode()):
                self._step(standby.Echoed(group.name))
            return
        try:
            self._step(standby.Called(group.name, wire.decode_sos(data)))
        except wire.WireError as error:
            self._log.debug("%s: a call of client.%d cannot be used: %s", group.key, notifier, error)

    def _ask(self, group: _Group, everywhere: bool) -> None:
        """What is sent is a canary in any case: the active mgr's driver overlooks it, its watch answers it."""
        self._count += 1
        group.turn += 1
        token = f"{CANARY.decode()}{self._session}:{self._count}"
        self._notify(group, seat_names.sos_name(group.key.group), token, lambda code, acks: None)
        for name in group.seats if everywhere else [group.seats[group.turn % len(group.seats)]]:
            self._notify(group, name, token, partial(self._asked, group))

    def _notify(self, group: _Group, name: str, token: str, ended: Callable[[int, List[bytes]], None]) -> None:
        assert self._io is not None
        if group.outstanding.get(name, 0) >= MOST_OUTSTANDING:
            return
        group.outstanding[name] = group.outstanding.get(name, 0) + 1

        def done(code: int, acks: List[bytes]) -> None:
            group.outstanding[name] -= 1
            ended(code, acks)
        self._io.ask(group.place, name, token, NOTIFY_TIMEOUT_MS, done)

    def _asked(self, group: _Group, code: int, acks: List[bytes]) -> None:
        if code not in (0, -errno.ETIMEDOUT):
            return
        for data in acks:
            try:
                self._step(standby.Answered(group.name, wire.decode_ack(data)))
                return
            except wire.WireError as error:
                self._log.debug("%s: an answer of the active mgr cannot be used: %s", group.key, error)
        self._step(standby.Unanswered(group.name))

    def _read_seats(self, group: _Group) -> None:
        assert self._io is not None
        answers: List[Optional[Map]] = []

        def read(code: int, omap: Omap) -> None:
            if code:
                return
            try:
                answers.append(map_in(omap))
            except wire.WireError:
                answers.append(None)
            if len(answers) >= register.QUORUM:
                self._step(standby.SeatsRead(group.name, register.judge(answers).permits))
        for name in group.seats:
            self._io.read_omap(group.place, name, read)

    # -- the mons -----------------------------------------------------------------------------------------------------

    def _ask_mons(self) -> None:
        answers: List[Answer] = []
        self._issue({"prefix": "mgr dump", "format": "json"}, answers.append)
        self._issue({"prefix": "config-key get", "key": STORE_PREFIX + FAILED_KEY},
                    lambda answer: self._mons_said(answers[0], answer))

    def _mons_said(self, dump: Answer, noted: Answer) -> None:
        try:
            mgr_map = parsed(dump, "mgr dump")
            active_gid, epoch = mgr_map["active_gid"], mgr_map["epoch"]
            ago_s = None if noted.code == -errno.ENOENT else time.time() - parsed(noted, "config-key get")["at"]
        except (MonCommandError, KeyError, TypeError) as error:
            self._step(standby.MonsSilent(str(error)))
        else:
            self._step(standby.MonsSaid(active_gid, epoch, ago_s))

    def _fail(self, action: standby.Fail) -> None:
        """Noted afterwards: for a second after any commit the mons would let the order wait."""
        note = json.dumps({"gid": action.gid, "at": round(time.time(), 3), "by": self._name, "why": action.why})
        self._noted.clear()

        def failed(answer: Answer) -> None:
            if answer.code:
                self._noted.set()
                self._queue.put(lambda: self._step(standby.MonsSilent(f"mgr fail: {answer.describe()}")))
            else:
                self._mon.issue(put_command(FAILED_KEY, note), lambda _answer: self._noted.set())
        self._mon.issue({"prefix": "mgr fail", "who": str(action.gid)}, failed)
