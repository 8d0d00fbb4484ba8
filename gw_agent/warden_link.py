"""What the warden and the agent say to one another: one JSON object a line over an inherited socket pair.

warden -> agent
  {"say": "seat_names", "names": [...]}
  {"say": "map", "id": 3, "data": "<the map as it is in the seat>"}      once for each distinct map
  {"say": "seats", "sent_s": 12.3, "maps": [3, 3, null]}                 every read; a map's id for each seat
  {"say": "status", "instance": [gateway, number, token] | null, "target_pid": 7 | null, "reaped": [...],
   "leaving": false}                                                     at the start and whenever it changed
  {"say": "alive"}                           twice a second; the agent of a silent warden sends no beacons
agent -> warden
  {"say": "alive"}                           each second; a silent agent is restarted
  {"say": "read"}                            the mgr has a newer map than the last read showed
  {"say": "kill", "instance": [...], "reason": "..."}
  {"say": "told", "instances": [...]}        the mgr acknowledged that these were reaped

Both ends are of one release on one host, so nothing here is versioned. No I/O in this file.
"""
from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from nvmeof_ha_core.model import Instance, Map
from nvmeof_ha_core.wire import decode_map

FD_VARIABLE = "NVMEOF_HA_WARDEN_FD"
"""Environment variable with the number of the agent's end."""

ALIVE_S = 1.0
WARDEN_ALIVE_S = 0.5
MAPS_REMEMBERED = 8


def encode(say: str, **fields: Any) -> bytes:
    """One message."""
    return json.dumps({"say": say, **fields}, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Cuts the byte stream into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> List[Dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


@dataclass(frozen=True)
class Status:
    """What the warden runs."""

    instance: Optional[Instance] = None
    target_pid: Optional[int] = None
    reaped: Tuple[Instance, ...] = ()
    leaving: bool = False

    def encode(self) -> bytes:
        return encode("status", instance=self.instance, target_pid=self.target_pid, reaped=self.reaped,
                      leaving=self.leaving)

    @classmethod
    def decode(cls, message: Dict[str, Any]) -> "Status":
        instance = message["instance"]
        return cls(None if instance is None else Instance(*instance), message["target_pid"],
                   tuple(Instance(*reaped) for reaped in message["reaped"]), message["leaving"])


class SeatsSender:
    """The warden's side: turns reads into messages, each distinct map only once for each agent process."""

    def __init__(self) -> None:
        self._ids: "OrderedDict[bytes, int]" = OrderedDict()
        self._next_id = 1

    def encode(self, sent_s: float, data: Sequence[Optional[bytes]]) -> bytes:
        """The messages for one read; `data`: the map of each seat as stored, None for no answer."""
        messages, ids = b"", []
        for seat_data in data:
            if seat_data is not None and seat_data not in self._ids:
                messages += encode("map", id=self._next_id, data=seat_data.decode())
                self._ids[seat_data] = self._next_id
                self._next_id += 1
            ids.append(None if seat_data is None else self._ids[seat_data])
        while len(self._ids) > MAPS_REMEMBERED:
            self._ids.popitem(last=False)
        return messages + encode("seats", sent_s=sent_s, maps=ids)


class SeatsReceiver:
    """The agent's side. Remembers more maps than the sender, which sends a forgotten one again under a new id."""

    def __init__(self) -> None:
        self._maps: "OrderedDict[int, Map]" = OrderedDict()

    def take_map(self, message: Dict[str, Any]) -> None:
        self._maps[message["id"]] = decode_map(message["data"])
        while len(self._maps) > 4 * MAPS_REMEMBERED:
            self._maps.popitem(last=False)

    def read(self, message: Dict[str, Any]) -> Tuple[float, List[Optional[Map]]]:
        """Send time and the map of each seat."""
        return message["sent_s"], [None if number is None else self._maps[number] for number in message["maps"]]
