"""One gateway group in the mon KV store, as its driver reads and writes it; the formats are ``kv_records.py``'s.

Used by the group's driver only.  Promises: ``poll`` copies a committed map every ``MAP_COPY_EVERY_S`` at most; what is not
urgent waits while a fence is under way (``KvWriter``).
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Callable, List, Optional, Sequence, Tuple

from .core import wire
from .core.actions import StoreGateway
from .core.events import Event, GatewayStored
from .core.model import NO_VERSION, Disaster, Map
from .kv_records import CREATED, GroupKey, GroupRecord, KvWriter, Records, encode_group, encode_map_copy
from .mon import Mons

MAP_COPY_EVERY_S = 2.0


class GroupStore:
    def __init__(self, key: GroupKey, mon: Mons, records: Records, enqueue: Callable[[Callable[[], None]], None],
                 fencing: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """``enqueue``: run this in the driver's turn.  ``fencing``: a fence is under way."""
        self._key, self._records, self._clock = key, records, clock
        self._writer = KvWriter(mon, records, enqueue, fencing, clock)
        self.record = GroupRecord()
        self.unusable: List[str] = []
        """Records of gateways that could not be read."""
        self._copied = NO_VERSION
        self._copy_at = 0.0

    def problems(self) -> List[str]:
        return self.unusable + ([self._writer.problem] if self._writer.problem else [])

    @property
    def answers_not(self) -> str:
        """Why what was asked for is not stored yet."""
        return self._writer.problem or "the mon KV store did not answer"

    def poll(self, committed: Optional[Map] = None) -> None:
        """``committed``: to be copied in its time."""
        self._writer.poll()
        now = self._clock()
        if committed is None or committed.version == self._copied or now < self._copy_at:
            return
        self._copied, self._copy_at = committed.version, now + MAP_COPY_EVERY_S
        for shard, value in enumerate(encode_map_copy(committed)):
            self._writer.write(self._key.map_key(shard), value, lazy=True)

    def write_lazily(self, key: str, value: str) -> None:
        self._writer.write(key, value, lazy=True)

    # -- the group ----------------------------------------------------------------------------------------------------

    def read(self) -> Optional[GroupRecord]:
        """The group's record; None: it was removed.  Raises ``RecordError``."""
        return self._records.group(self._key)

    def keep(self, record: GroupRecord, done: Callable[[], None] = lambda: None) -> None:
        """``done`` is called once the store took it."""
        self.record = record
        self._writer.write(self._key.record_key, encode_group(record), done)

    def note_committed(self) -> None:
        """The group has a map from now on."""
        if self.record.state != CREATED:
            self.keep(self.record.created())

    def keep_disasters(self, disasters: Tuple[Disaster, ...]) -> None:
        self.keep(replace(self.record, disasters=disasters))

    # -- its gateways -------------------------------------------------------------------------------------------------

    def gateways(self) -> Tuple[wire.GatewayRecord, ...]:
        """Those that can be read; ``unusable`` has the others."""
        found, self.unusable = self._records.gateways(self._key)
        return found

    def keep_gateway(self, action: StoreGateway, report: Callable[[Event], None]) -> None:
        """``report``: give this event to the core."""
        gateway = action.gateway
        stored = GatewayStored(gateway.id, gateway.instance, gateway.addresses)
        record = wire.GatewayRecord(gateway, action.unfenced)
        self._writer.write(self._key.gateway_key(gateway.id), wire.encode_gateway_record(record), lambda: report(stored),
                           lazy=not gateway.addresses)  # nothing can be permitted yet

    def forget_gateway(self, gateway_id: str) -> None:
        self._writer.write(self._key.gateway_key(gateway_id), None)

    def older_maps(self, remembered: Sequence[Map]) -> List[Map]:
        """What a rebuilt map may go by: ``remembered``, and the copy."""
        copy = self._records.map_copy(self._key)
        return [*remembered, *([copy] if copy is not None else [])]
