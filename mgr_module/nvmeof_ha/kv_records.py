"""The mon KV store: which groups there are, the operator's intent for each gateway, a copy of the last map.

Keys, below the module's own prefix:

    group/<pool>/<group>      JSON: format, state, control_pool, seats (names of the seat objects; [] until chosen),
                              disasters (locations that an operator declared lost; may be missing)
    gw/<pool>/<group>/<id>    ``wire.encode_gateway_record``
    map/<pool>/<group>/<n>    shard n of the last committed map: ``<ballot>.<epoch> <n>/<shards> <base64 of zlib>``
    history/<pool>/<group>/<n>   page n of what happened (``transitions.py``)

Promises: values stay below the store's limit of 64 KiB; writes of one group land in the order they were asked for, each
repeated until the mons took it or a later write of the same key replaced it; reading never fails as a whole because
one value is damaged.  The map copy is lazy: it may be older than the seats, never newer.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Set, Tuple

from .core import wire
from .core.model import Disaster, Map
from .mon import Answer, Mons

STORE_PREFIX = "mgr/nvmeof_ha/"
SHARD_CHARACTERS = 60000
FORMAT = 1

CREATING = "creating"
CREATED = "created"


class RecordError(ValueError):
    """A value in the KV store that cannot be used; the text names its key."""


class GroupKey(NamedTuple):
    """Names a gateway group."""

    pool: str
    group: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.group}"

    @property
    def record_key(self) -> str:
        return f"group/{self.pool}/{self.group}"

    def gateway_key(self, gateway_id: str) -> str:
        return f"gw/{self.pool}/{self.group}/{gateway_id}"

    def map_key(self, shard: int) -> str:
        return f"map/{self.pool}/{self.group}/{shard}"

    def history_key(self, page: int) -> str:
        return f"history/{self.pool}/{self.group}/{page}"


@dataclass(frozen=True)
class GroupRecord:
    """``state``: CREATING until the first map is committed, so only then may the seats hold no map."""

    state: str = CREATING
    control_pool: str = ""
    seats: Tuple[str, ...] = ()
    disasters: Tuple[Disaster, ...] = ()

    def created(self) -> "GroupRecord":
        return replace(self, state=CREATED)


def encode_group(record: GroupRecord) -> str:
    return json.dumps({"format": FORMAT, "state": record.state, "control_pool": record.control_pool,
                       "seats": list(record.seats), "disasters": [d._asdict() for d in record.disasters]},
                      sort_keys=True)


def decode_group(key: str, value: str) -> GroupRecord:
    try:
        found = json.loads(value)
        disasters = tuple(Disaster(str(d["location"]), bool(d["clearing"])) for d in found.get("disasters", ()))
        record = GroupRecord(found["state"], found["control_pool"], tuple(found["seats"]), disasters)
        if found["format"] != FORMAT or record.state not in (CREATING, CREATED) or len(record.seats) not in (0, 3):
            raise ValueError(f"format {found['format']}, state {record.state!r}, {len(record.seats)} seats")
        return record
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"mon KV key {STORE_PREFIX}{key} cannot be used ({error!r}): {value[:80]!r}; restore it, or "
                          "upgrade this mgr if a newer one wrote it") from None


def encode_map_copy(gateway_map: Map) -> List[str]:
    """The values of ``map/...`` keys 0, 1, ..."""
    text = base64.b64encode(zlib.compress(wire.encode_map(gateway_map))).decode()
    shards = [text[at:at + SHARD_CHARACTERS] for at in range(0, len(text), SHARD_CHARACTERS)]
    return [f"{gateway_map.version} {number}/{len(shards)} {shard}" for number, shard in enumerate(shards)]


def decode_map_copy(values: Mapping[int, str]) -> Optional[Map]:
    """The map in shards ``number -> value``; None when there is none or they do not belong together (a write of
    several keys was cut short: the next commit repairs it)."""
    try:
        parts = {number: value.split(" ", 2) for number, value in values.items()}
        version, numbering, _ = parts[0]
        count = int(numbering.partition("/")[2])
        if any(parts[n][:2] != [version, f"{n}/{count}"] for n in range(count)):
            return None
        return wire.decode_map(zlib.decompress(base64.b64decode("".join(parts[n][2] for n in range(count)))))
    except (KeyError, ValueError, IndexError, zlib.error):
        return None


class Records:
    """What the KV store holds, kept in memory from the module's start; this module is its only writer."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self._values = dict(found)
        self._asked: Set[str] = set()
        self._lock = threading.Lock()

    def ask(self, key: str) -> None:
        """The store is asked to take a value of this key, and may have it although nobody is left to note that."""
        with self._lock:
            self._asked.add(key)

    def note(self, key: str, value: Optional[str]) -> None:
        """The store took this write; None: the key was removed."""
        with self._lock:
            self._asked.discard(key)
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value

    def _under(self, prefix: str) -> Dict[str, str]:
        with self._lock:
            return {key[len(prefix):]: value for key, value in self._values.items() if key.startswith(prefix)}

    def groups(self) -> List[GroupKey]:
        keys = [GroupKey(*name.split("/", 1)) for name in self._under("group/") if "/" in name]
        return sorted(keys)

    def group(self, key: GroupKey) -> Optional[GroupRecord]:
        """None: there is no such group.  Raises ``RecordError``."""
        with self._lock:
            value = self._values.get(key.record_key)
        return None if value is None else decode_group(key.record_key, value)

    def gateways(self, key: GroupKey) -> Tuple[Tuple[wire.GatewayRecord, ...], List[str]]:
        """The gateways' records, and what was wrong with the rest."""
        gateways: List[wire.GatewayRecord] = []
        problems: List[str] = []
        for gateway_id, value in sorted(self._under(key.gateway_key("")).items()):
            try:
                gateways.append(wire.decode_gateway_record(value))
            except wire.WireError as error:
                problems.append(f"mon KV key {STORE_PREFIX}{key.gateway_key(gateway_id)}: {error}")
        return tuple(gateways), problems

    def map_copy(self, key: GroupKey) -> Optional[Map]:
        prefix = key.map_key(0)[:-1]
        return decode_map_copy({int(n): v for n, v in self._under(prefix).items() if n.isdigit()})

    def history_pages(self, key: GroupKey) -> List[str]:
        return list(self._under(key.history_key(0)[:-1]).values())

    def highest_copied_epoch(self) -> int:
        """The highest epoch of any group's map copy, 0 without one."""
        with self._lock:
            copies = [v for k, v in self._values.items() if k.startswith("map/") and k.endswith("/0")]
        versions = [copy.split(" ", 1)[0] for copy in copies]
        epochs = [version.partition(".")[2] for version in versions]
        return max((int(epoch) for epoch in epochs if epoch.isdigit()), default=0)

    def keys_of(self, key: GroupKey) -> List[str]:
        """Every key of a group, its own record last: what must go when the group goes."""
        prefixes = (key.gateway_key(""), key.map_key(0)[:-1], key.history_key(0)[:-1])
        with self._lock:
            parts = sorted(k for k in self._asked.union(self._values) if k.startswith(prefixes))
        return parts + [key.record_key]


def put_command(key: str, value: str) -> Dict[str, Any]:
    return {"prefix": "config-key set", "key": STORE_PREFIX + key, "val": value}


def remove_command(key: str) -> Dict[str, Any]:
    return {"prefix": "config-key rm", "key": STORE_PREFIX + key}


@dataclass
class _Write:
    key: str
    value: Optional[str]
    done: Callable[[], None]
    not_before: float


class KvWriter:
    """Writes of one group, one at a time; used by its driver only.

    Every write makes the mons commit, and for a second after any commit of theirs a blocklist entry has to wait.  So
    what is not urgent is written lazily: a while later, and not while a fence is under way.
    """

    ANSWER_S = 5.0
    RETRY_S = 1.0
    LAZY_S = 1.5

    def __init__(self, mon: Mons, records: Records, enqueue: Callable[[Callable[[], None]], None],
                 fencing: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """``enqueue``: run this in the driver's turn."""
        self._mon, self._records, self._enqueue, self._fencing = mon, records, enqueue, fencing
        self._clock = clock
        self._waiting: "OrderedDict[str, _Write]" = OrderedDict()
        self._under_way: Optional[_Write] = None
        self._sent_at = self._retry_at = 0.0
        self.problem = ""

    def write(self, key: str, value: Optional[str], done: Callable[[], None] = lambda: None,
              lazy: bool = False) -> None:
        """``value`` None removes the key.  ``done`` is called once the store took exactly this write."""
        self._waiting.pop(key, None)
        self._waiting[key] = _Write(key, value, done, self._clock() + self.LAZY_S if lazy else 0.0)
        self._next()

    def poll(self) -> None:
        now = self._clock()
        if self._under_way is not None and now >= self._sent_at + self.ANSWER_S:
            self._failed(self._under_way, f"no answer within {self.ANSWER_S:g} s")
        self._next()

    def _next(self) -> None:
        now = self._clock()
        if self._under_way is not None or now < self._retry_at:
            return
        fencing = self._fencing()
        due = (w for w in self._waiting.values() if not w.not_before or (w.not_before <= now and not fencing))
        write = next(due, None)
        if write is None:
            return
        del self._waiting[write.key]
        self._under_way, self._sent_at = write, now
        if write.value is None:
            command = remove_command(write.key)
        else:
            self._records.ask(write.key)
            command = put_command(write.key, write.value)
        self._mon.issue(command, lambda answer: self._enqueue(lambda: self._answered(write, answer)))

    def _answered(self, write: _Write, answer: Answer) -> None:
        if write is not self._under_way:
            return  # given up; it was sent again, or a later write of the key replaced it
        if answer.code:
            self._failed(write, answer.describe())
            return
        self._records.note(write.key, write.value)
        self._under_way, self._retry_at, self.problem = None, 0.0, ""
        write.done()
        self._next()

    def _failed(self, write: _Write, why: str) -> None:
        self.problem = f"mon KV key {STORE_PREFIX}{write.key} could not be written: {why}"
        self._under_way, self._retry_at = None, self._clock() + self.RETRY_S
        if write.key not in self._waiting:
            self._waiting[write.key] = write
            self._waiting.move_to_end(write.key, last=False)
