"""Reads the gateway map from the three seats, without ever blocking.

A round asks all three seats at one moment; its send time is what a lease may be counted from. Answers come back on
librados' threads, which only queue them and wake the loop; `collect` hands out each round again whenever another of
its seats has answered, so that two quick answers are enough and a stalled placement group delays nobody.
A seat whose map is known is asked for its claim alone, and for the map where that does not tell that it is still the same:
the map of a large group, read by each of its gateways three times each `beacon_s`, was most of what went over the network.

Promises: a seat object that is missing, unreadable or of a newer format is no answer, and is reported once. A stalled
seat is asked at most `OUTSTANDING_PER_SEAT` times before it answers. Does not judge what was read (`core/register.py`).
"""
from __future__ import annotations

import errno
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Callable, Dict, List, Optional, Tuple

import rados

from gw_agent.ceph_client import CAPS
from nvmeof_ha_core import wire
from nvmeof_ha_core.model import Map
from nvmeof_ha_core.register import CLAIM_KEY, MAP_KEY, SEATS, still_holds

log = logging.getLogger(__name__)

OUTSTANDING_PER_SEAT = 4
INDEX_PERIOD_S = 5.0
KNOWN_MAPS = 8
WHOLE_SEAT = (CLAIM_KEY, MAP_KEY)
INDEX_FORMAT = "1"
INDEX_SEAT_KEYS = tuple(f"seat.{seat}" for seat in range(SEATS))


def index_name(group: str) -> str:
    """The object that names the seats of a gateway group."""
    return f"nvmeof_ha.{group}.index"


def wake_name(group: str) -> str:
    """The object on which the mgr says that it committed a map."""
    return f"nvmeof_ha.{group}.wake"


@dataclass(eq=False)
class Round:
    """One read of the seats; `data` and `maps` hold what has been answered so far."""

    sent_s: float
    names: Tuple[str, ...]
    data: List[Optional[bytes]] = field(default_factory=lambda: [None] * SEATS)
    maps: List[Optional[Map]] = field(default_factory=lambda: [None] * SEATS)


NOT_READ_YET = "the index of the gateway group was not read yet"
UNANSWERED_S = 5.0


class SeatReader:
    """Use it in one loop: `start_round`, and after each wake-up `collect`."""

    def __init__(self, ioctx: "rados.Ioctx", group: str, wake: Callable[[], None]) -> None:
        self._ioctx = ioctx
        self._index = index_name(group)
        self._wake = wake
        self._done: "SimpleQueue[Tuple[str, Tuple[str, ...], Any, Any, Any, Any]]" = SimpleQueue()
        self._held: Dict[str, Tuple[bytes, Map]] = {}
        """What a seat held when it was read last, where its claim alone tells whether it still does."""
        self._outstanding: Dict[str, int] = {}
        self._index_asked_s: Optional[float] = None
        self._unanswered_since_s: Optional[float] = None
        self._known: "OrderedDict[bytes, Optional[Map]]" = OrderedDict()
        self._said: Dict[str, str] = {}
        self.names: Tuple[str, ...] = ()
        """The seat objects as the index names them; empty until it was read."""
        self.trouble = NOT_READ_YET
        """Why the seats are not known; empty when they are."""

    def start_round(self, now_s: float, news: bool = False) -> None:
        """Ask all seats, and now and then the index (until it was read: only that). `news`: a newer map was announced, so
        that the claim alone would cost a round trip."""
        self._doubt_caps(now_s)
        if not self.names or self._index_asked_s is None or now_s - self._index_asked_s >= INDEX_PERIOD_S:
            self._index_asked_s = now_s
            self._read(self._index, ("format",) + INDEX_SEAT_KEYS, None)
        if self.names:
            started = Round(now_s, self.names)
            for name in self.names:
                short = name in self._held and not news
                self._read(name, (CLAIM_KEY,) if short else WHOLE_SEAT, started)

    def _doubt_caps(self, now_s: float) -> None:
        """From Ceph 18 on, OSDs leave a user without caps for them unanswered."""
        if self._unanswered_since_s is None:
            self._unanswered_since_s = now_s
        if self.trouble == NOT_READ_YET and now_s - self._unanswered_since_s >= UNANSWERED_S:
            self.trouble = (f"{self._index} was not read within {UNANSWERED_S:g} s: RADOS does not answer (`ceph health`), "
                            f"or this gateway's user lacks caps; it needs {self._needed()} (see `ceph auth ls`)")

    def _needed(self) -> str:
        return f"mon '{CAPS['mon']}' osd '{CAPS['osd'].format(pool=self._ioctx.name)}'"

    def collect(self) -> List[Round]:
        """The rounds that got a further answer since the last call, oldest first, each once."""
        answered: List[Round] = []
        while True:
            try:
                name, keys, completion, operation, values, started = self._done.get_nowait()
            except Empty:
                return sorted(answered, key=lambda r: r.sent_s)
            self._outstanding[name] -= 1
            code = completion.get_return_value()
            found = {} if code else dict(values)
            operation.release()
            if started is None:
                self._take_index(code, found)
            elif name not in self.names:
                continue
            elif keys == (CLAIM_KEY,) and not code and not self._still_holds(name, found):
                self._read(name, WHOLE_SEAT, started)
            elif self._take_seat(started, name, code, found, keys == WHOLE_SEAT) and started not in answered:
                answered.append(started)

    def _read(self, name: str, keys: Tuple[str, ...], started: Optional[Round]) -> None:
        if self._outstanding.get(name, 0) >= OUTSTANDING_PER_SEAT:
            return
        operation = rados.ReadOp()
        operation.create()
        values, _ = self._ioctx.get_omap_vals_by_keys(operation, keys)

        def done(completion: "rados.Completion") -> None:
            self._done.put((name, keys, completion, operation, values, started))
            self._wake()

        self._outstanding[name] = self._outstanding.get(name, 0) + 1
        try:
            self._ioctx.operate_aio_read_op(operation, name, done, None)
        except rados.Error as error:
            self._outstanding[name] -= 1
            operation.release()
            self._say(name, f"{name} cannot be read: {error}")

    def _take_index(self, code: int, found: Dict[str, bytes]) -> None:
        if abs(code) in (errno.EPERM, errno.EACCES):
            self._lose_seats(f"{self._index} may not be read ({_reason(code)}): this gateway's user lacks caps; it "
                             f"needs {self._needed()} (see `ceph auth ls`)")
            return
        if code:
            self._lose_seats(f"{self._index} cannot be read ({_reason(code)}): this gateway group has no gateway map "
                             "here yet, or the option group, pool or control_pool is not the group's, or the object "
                             "was lost (the module writes it anew when it begins: `ceph mgr fail`)")
            return
        layout = found.get("format", b"").decode(errors="replace")
        if layout != INDEX_FORMAT:
            self._lose_seats(f"{self._index} has format {layout!r}, this release reads {INDEX_FORMAT!r}: upgrade the "
                             "older side")
            return
        names = tuple(found.get(key, b"").decode(errors="replace") for key in INDEX_SEAT_KEYS)
        if not all(names):
            self._lose_seats(f"{self._index} names only {sum(map(bool, names))} of {SEATS} seats; restart the module "
                             "(`ceph mgr fail`), which writes it anew")
            return
        if names != self.names:
            log.info("the seats of the gateway map are %s", ", ".join(names))
        self.names, self.trouble = names, ""
        self._wake()

    def _lose_seats(self, trouble: str) -> None:
        """Seats that are known stay in use: losing the index is no reason to lose the map."""
        if not self.names:
            self.trouble = trouble
        else:
            self._say(self._index, trouble)

    def _still_holds(self, name: str, found: Dict[str, bytes]) -> bool:
        return name in self._held and still_holds(found.get(CLAIM_KEY, b""), self._held[name][1])

    def _take_seat(self, started: Round, name: str, code: int, found: Dict[str, bytes], whole: bool) -> bool:
        """Not `whole`: it still holds what it did."""
        if code or whole:
            self._held.pop(name, None)
        data, gateway_map = self._held.get(name) or (found.get(MAP_KEY), None)
        if code or data is None:
            self._say(name, f"seat {name} gave no map: {_reason(code) if code else 'none is stored there yet'}")
            return False
        gateway_map = gateway_map or self._decode(name, data)
        if gateway_map is None:
            return False
        if still_holds(found.get(CLAIM_KEY, b""), gateway_map):
            self._held[name] = data, gateway_map
        self._said.pop(name, None)
        seat = started.names.index(name)
        started.data[seat], started.maps[seat] = data, gateway_map
        return True

    def _decode(self, name: str, data: bytes) -> Optional[Map]:
        if data in self._known:
            self._known.move_to_end(data)
            return self._known[data]
        try:
            gateway_map: Optional[Map] = wire.decode_map(data)
        except wire.WireError as error:
            gateway_map = None
            self._say(name, f"seat {name} holds no gateway map that can be used, so it counts as no answer: {error}")
        self._known[data] = gateway_map
        if len(self._known) > KNOWN_MAPS:
            self._known.popitem(last=False)
        return gateway_map

    def _say(self, name: str, text: str) -> None:
        """Log what is wrong with an object, once for each text."""
        if self._said.get(name) != text:
            self._said[name] = text
            log.warning("%s", text)


def _reason(code: int) -> str:
    return errno.errorcode.get(abs(code), str(code))
