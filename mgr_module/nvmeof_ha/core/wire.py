"""The JSON formats that cross between mgr and gateways: map, beacon, ack, wake-up, call for help, gateway record.

Promises: ``decode_x(encode_x(value)) == value``; whatever else arrives raises ``WireError`` with the path of the
offending field, what was found and what is expected, and never any other exception.  Unknown fields are ignored, so
that a newer peer of the same format version may add some; a higher format version is refused by name.
Golden files: ``proto/wire``.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Callable, Dict, FrozenSet, List, NamedTuple, Optional, Tuple, TypeVar, Union

from .events import Beacon, Confirmation, Notes, Outcome, TargetState
from .model import (NO_VERSION, AnaGroup, Availability, Departed, Disaster, Gateway, Instance, Map, ModelError, Phase,
                    Subsystem, Version)
from .timing import Timing, TimingError

FORMAT = 1

_LARGEST = 1e9
_A_NUMBER = "a number from 0 to 1e9"
_LARGEST_COUNT = 2 ** 63
_A_COUNT = "a whole number from 0 to 2**63"
_LONGEST_NAME = 128
LONGEST_EXPOSED, MOST_EXPOSED = 300, 16
"""Characters of a text, and texts, in a beacon's lists of them: a stranger must not make the mgr's health large."""
MOST_IO = 64

T = TypeVar("T")


class WireError(ValueError):
    """Bytes that are not what they should be."""


class NewerFormat(WireError):
    """Written by a newer release."""


class _At:
    """A JSON value and its path, so that an error can name the place."""

    def __init__(self, value: Any, path: str) -> None:
        self.value, self.path = value, path

    def fail(self, expected: str) -> WireError:
        # a list or an object may be as large and as deeply nested as the sender likes
        if isinstance(self.value, (list, dict)):
            found = "a list" if isinstance(self.value, list) else "an object"
        else:
            found = json.dumps(self.value)
        return WireError(f"{self.path}: expected {expected}, found {found[:60]}")

    def __getitem__(self, key: str) -> "_At":
        if not isinstance(self.value, dict):
            raise self.fail("an object")
        if key not in self.value:
            raise WireError(f"{self.path}: field {key!r} is missing")
        return _At(self.value[key], f"{self.path}.{key}")

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def _of(self, kind: type, expected: str) -> Any:
        if not isinstance(self.value, kind) or (kind is not bool and isinstance(self.value, bool)):
            raise self.fail(expected)
        return self.value

    def text(self) -> str:
        return self._of(str, "a text")

    def name(self) -> str:
        """Names come back in refusals, which every ack of the group carries: a stranger must not make those large."""
        if len(self.text()) > _LONGEST_NAME:
            raise self.fail(f"a name of at most {_LONGEST_NAME} characters")
        return self.value

    def flag(self) -> bool:
        return self._of(bool, "true or false")

    def count(self) -> int:
        value = self._of(int, _A_COUNT)
        if not 0 <= value <= _LARGEST_COUNT:
            raise self.fail(_A_COUNT)
        return value

    def number(self) -> float:
        value = self._of((int, float), _A_NUMBER)  # type: ignore[arg-type]
        if not 0 <= value <= _LARGEST:  # NaN fails too: no timer that counts from it would ever end
            raise self.fail(_A_NUMBER)
        return float(value)

    def items(self) -> List["_At"]:
        return [_At(v, f"{self.path}[{i}]") for i, v in enumerate(self._of(list, "a list"))]

    def each(self, decode: Callable[["_At"], T]) -> Tuple[T, ...]:
        return tuple(decode(item) for item in self.items())

    def maybe(self, decode: Callable[["_At"], T]) -> Optional[T]:
        return None if self.value is None else decode(self)

    def one_of(self, enum: Callable[[Any], T]) -> T:
        try:
            return enum(self.text())
        except ValueError:
            raise self.fail(f"one of {', '.join(member.value for member in enum)}") from None  # type: ignore


def _load(data: Union[bytes, str], what: str) -> _At:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{what}: not JSON ({error}): {data[:40]!r}") from None
    at = _At(value, what)
    found = at["format"].count()
    if found != FORMAT:
        kind = NewerFormat if found > FORMAT else WireError
        raise kind(f"{what}: format {found}, this release understands {FORMAT} only: upgrade the older side")
    return at


def _built(at: _At, build: Callable[[], T]) -> T:
    try:
        return build()
    except (ModelError, TimingError) as error:
        raise WireError(f"{at.path}: {error}") from None


def _dump(value: Dict[str, Any]) -> bytes:
    return json.dumps({"format": FORMAT, **value}, sort_keys=True, separators=(",", ":")).encode()


def _version(at: _At) -> Version:
    items = at.items()
    if len(items) != 2:
        raise at.fail("[ballot, epoch]")
    return Version(items[0].count(), items[1].count())


def _instance(at: _At) -> Instance:
    return Instance(at["gateway"].name(), at["number"].count(), at["token"].name())


def _from_instance(instance: Optional[Instance]) -> Any:
    return None if instance is None else instance._asdict()


def _addresses(at: _At) -> FrozenSet[str]:
    return frozenset(at.each(_At.text))


def _subsystem(at: _At) -> Subsystem:
    def pair(item: _At) -> Tuple[int, int]:
        return item["ana_group"].count(), item["count"].count()
    return Subsystem(at["nqn"].text(), at["listeners"].each(_At.text), at["namespaces"].each(pair))


def _from_subsystem(subsystem: Subsystem) -> Dict[str, Any]:
    return {"nqn": subsystem.nqn, "listeners": list(subsystem.listeners),
            "namespaces": [{"ana_group": group, "count": count} for group, count in subsystem.namespaces]}


def _gateway(at: _At) -> Gateway:
    return _built(at, lambda: Gateway(
        id=at["id"].text(), ana_group_id=at["ana_group_id"].count(), enabled=at["enabled"].flag(),
        deleting=at["deleting"].flag(), availability=at["availability"].one_of(Availability),
        instance=at["instance"].maybe(_instance), last_number=at["last_number"].count(),
        addresses=_addresses(at["addresses"]), suspected_at=_version(at["suspected_at"]),
        leaving=at["leaving"].flag(), location=at["location"].text(),
        subsystems=at["subsystems"].each(_subsystem), digest=at["digest"].text()))


def _from_gateway(gateway: Gateway) -> Dict[str, Any]:
    return {"id": gateway.id, "ana_group_id": gateway.ana_group_id, "enabled": gateway.enabled,
            "deleting": gateway.deleting, "availability": gateway.availability.value,
            "instance": _from_instance(gateway.instance), "last_number": gateway.last_number,
            "addresses": sorted(gateway.addresses), "suspected_at": list(gateway.suspected_at),
            "leaving": gateway.leaving, "location": gateway.location, "digest": gateway.digest,
            "subsystems": [_from_subsystem(s) for s in gateway.subsystems]}


def _ana_group(at: _At) -> AnaGroup:
    return _built(at, lambda: AnaGroup(
        id=at["id"].count(), owner=at["owner"].text(), phase=at["phase"].one_of(Phase),
        holder=at["holder"].maybe(_instance), incoming=at["incoming"].maybe(_instance),
        writers=frozenset(at["writers"].each(_instance)), osd_epoch=at["osd_epoch"].count(),
        since=_version(at["since"]), target=at["target"].text(), moved_to=at["moved_to"].maybe(_instance)))


def _from_ana_group(group: AnaGroup) -> Dict[str, Any]:
    return {"id": group.id, "owner": group.owner, "phase": group.phase.value,
            "holder": _from_instance(group.holder), "incoming": _from_instance(group.incoming),
            "writers": [_from_instance(w) for w in sorted(group.writers)], "osd_epoch": group.osd_epoch,
            "since": list(group.since), "target": group.target, "moved_to": _from_instance(group.moved_to)}


def _departed(at: _At) -> Departed:
    return _built(at, lambda: Departed(_instance(at["instance"]), _addresses(at["addresses"]),
                                       at["osd_epoch"].maybe(_At.count)))


def _from_departed(departed: Departed) -> Dict[str, Any]:
    return {"instance": _from_instance(departed.instance), "addresses": sorted(departed.addresses),
            "osd_epoch": departed.osd_epoch}


def _disaster(at: _At) -> Disaster:
    return Disaster(at["location"].name(), at["clearing"].flag())


def _timing(at: _At) -> Timing:
    return _built(at, lambda: Timing(**{timer.name: at[timer.name].number() for timer in fields(Timing)}))


def encode_map(gateway_map: Map) -> bytes:
    return _dump({
        "pool": gateway_map.pool, "group": gateway_map.group, "version": list(gateway_map.version),
        "gateways": [_from_gateway(g) for g in gateway_map.gateways],
        "ana_groups": [_from_ana_group(g) for g in gateway_map.ana_groups],
        "departed": [_from_departed(d) for d in gateway_map.departed],
        "timing": gateway_map.timing.to_dict(), "lease_wait_s": gateway_map.lease_wait_s,
        "number_floor": gateway_map.number_floor, "osd_epoch_floor": gateway_map.osd_epoch_floor,
        "disasters": [d._asdict() for d in gateway_map.disasters]})


def decode_map(data: Union[bytes, str]) -> Map:
    """The map in a seat object; raises ``WireError``."""
    at = _load(data, "map")
    return _built(at, lambda: Map(
        pool=at["pool"].text(), group=at["group"].text(), version=_version(at["version"]),
        gateways=at["gateways"].each(_gateway), ana_groups=at["ana_groups"].each(_ana_group),
        departed=at["departed"].each(_departed), timing=_timing(at["timing"]),
        lease_wait_s=at["lease_wait_s"].number(), number_floor=at["number_floor"].count(),
        osd_epoch_floor=at["osd_epoch_floor"].count(),
        disasters=at["disasters"].each(_disaster) if "disasters" in at else ()))


class GatewayRecord(NamedTuple):
    """What the mon KV store keeps of a gateway: the operator's intent, its instance with the addresses that a fence would
    need, and earlier instances that may not be fenced yet (``actions.StoreGateway``)."""

    gateway: Gateway
    unfenced: Tuple[Departed, ...] = ()


def encode_gateway_record(record: GatewayRecord) -> str:
    return _dump({**_from_gateway(record.gateway), "unfenced": [_from_departed(d) for d in record.unfenced]}).decode()


def decode_gateway_record(data: Union[bytes, str]) -> GatewayRecord:
    """Raises ``WireError``."""
    at = _load(data, "gateway record")
    return GatewayRecord(_gateway(at), at["unfenced"].each(_departed) if "unfenced" in at else ())


def encode_beacon(beacon: Beacon) -> bytes:
    return _dump({
        "gateway": beacon.gateway, "instance": _from_instance(beacon.instance), "sequence": beacon.sequence,
        "version": list(beacon.version), "target": beacon.target.value, "leaving": beacon.leaving,
        "stuck": beacon.stuck, "addresses": sorted(beacon.addresses),
        "confirmations": [{"ana_group_id": c.ana_group_id, "since": list(c.since), "outcome": c.outcome.value}
                          for c in beacon.confirmations],
        "reaped": [_from_instance(i) for i in beacon.reaped], "digest": beacon.digest, "load": beacon.load,
        "connections": beacon.connections, "exposed": list(beacon.exposed), "notes": _from_notes(beacon.notes),
        "subsystems": None if beacon.subsystems is None else [_from_subsystem(s) for s in beacon.subsystems]})


def _confirmation(at: _At) -> Confirmation:
    return Confirmation(at["ana_group_id"].count(), _version(at["since"]), at["outcome"].one_of(Outcome))


def _from_notes(notes: Notes) -> Dict[str, Any]:
    return {"release": notes.release, "problems": list(notes.problems), "hung_moves": list(notes.hung_moves),
            "ana_repairs": notes.ana_repairs, "lease_left_s": notes.lease_left_s, "loop_lag_s": notes.loop_lag_s,
            "io": [{"ana_group": group, "per_second": rate} for group, rate in notes.io]}


def _notes(at: _At) -> Notes:
    def pair(item: _At) -> Tuple[int, int]:
        return item["ana_group"].count(), item["per_second"].count()
    if len(at["io"].items()) > MOST_IO:
        raise at["io"].fail(f"at most {MOST_IO} pairs")
    return Notes(at["release"].name(), _texts(at["problems"]), _texts(at["hung_moves"]), at["ana_repairs"].count(),
                 at["io"].each(pair), at["lease_left_s"].number(), at["loop_lag_s"].number())


def _texts(at: _At) -> Tuple[str, ...]:
    texts = at.each(_At.text)
    if len(texts) > MOST_EXPOSED or any(len(text) > LONGEST_EXPOSED for text in texts):
        raise at.fail(f"at most {MOST_EXPOSED} texts of {LONGEST_EXPOSED} characters")
    return texts


def decode_beacon(data: Union[bytes, str]) -> Beacon:
    at = _load(data, "beacon")
    beacon = Beacon(
        gateway=at["gateway"].name(), instance=at["instance"].maybe(_instance), sequence=at["sequence"].count(),
        version=_version(at["version"]), target=at["target"].one_of(TargetState), leaving=at["leaving"].flag(),
        stuck=at["stuck"].text(), addresses=_addresses(at["addresses"]),
        confirmations=at["confirmations"].each(_confirmation), reaped=at["reaped"].each(_instance),
        digest=at["digest"].text(), load=at["load"].count(),
        connections=at["connections"].count(), exposed=_texts(at["exposed"]),
        notes=_notes(at["notes"]) if "notes" in at else Notes(),
        subsystems=at["subsystems"].maybe(lambda item: item.each(_subsystem)))
    for instance in filter(None, (beacon.instance, *beacon.reaped)):
        if instance.gateway != beacon.gateway:
            raise WireError(f"beacon: gateway {beacon.gateway!r} speaks of instance {instance} of another gateway")
    return beacon


class Ack(NamedTuple):
    """The mgr's answer to any beacon of the group; one text serves all gateways, so that it is ready in the callback.

    ``driver_age_s``: since the driver's last tick.  ``want_full``: gateways whose full subsystem list is wanted.
    ``refused``: gateway or instance -> why its beacon was not taken.  ``stopping``: the module was stopped on purpose.
    ``gid``: of the mgr that answers, as the mgr map names it.
    """

    version: Version
    driver_age_s: float = 0.0
    want_full: Tuple[str, ...] = ()
    refused: Dict[str, str] = {}
    stopping: bool = False
    gid: int = 0


def encode_ack(ack: Ack) -> bytes:
    return _dump({"version": list(ack.version), "driver_age_s": round(ack.driver_age_s, 3),
                  "want_full": list(ack.want_full), "refused": ack.refused, "stopping": ack.stopping,
                  "gid": ack.gid})


def decode_ack(data: Union[bytes, str]) -> Ack:
    at = _load(data, "ack")
    refused = at["refused"]
    names = refused._of(dict, "an object")
    return Ack(_version(at["version"]), at["driver_age_s"].number(), at["want_full"].each(_At.text),
               {name: refused[name].text() for name in names}, at["stopping"].flag(), at["gid"].count())


def encode_wake(version: Version) -> bytes:
    return _dump({"version": list(version)})


def decode_wake(data: Union[bytes, str]) -> Version:
    return _version(_load(data, "wake-up")["version"])


class Sos(NamedTuple):
    """What an agent tells the standby mgrs while its beacons go unanswered.

    ``gid``, ``version``, ``stopping``: of the last ack, 0, (0, 0) and false when there was none.  ``target_dead``: its
    warden saw the target's process end, and no mgr took note.  ``leaving``, ``stuck``: as in its beacons.
    """

    gateway: str
    instance: Optional[Instance]
    gid: int = 0
    version: Version = NO_VERSION
    target_dead: bool = False
    leaving: bool = False
    stuck: bool = False
    stopping: bool = False


def encode_sos(sos: Sos) -> bytes:
    return _dump({**sos._asdict(), "instance": _from_instance(sos.instance), "version": list(sos.version)})


def decode_sos(data: Union[bytes, str]) -> Sos:
    at = _load(data, "sos")
    return Sos(at["gateway"].name(), at["instance"].maybe(_instance), at["gid"].count(), _version(at["version"]),
               at["target_dead"].flag(), at["leaving"].flag(), at["stuck"].flag(), at["stopping"].flag())
