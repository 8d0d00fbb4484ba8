"""What the gateways of one gateway group serve: the stored configuration as immutable values.

Pure: no I/O. `parse` turns the OMAP of the object `nvmeof[.<group>].state` into a Configuration; the `..._entry`
functions make the key and value that store one thing. Keys and values are those of existing ceph-nvmeof gateways
(elements joined with `_`; the value is the gRPC request as JSON with the field names of gateway.proto), so that their
tools and gateways read what ours wrote and the other way round.

Promises: one unreadable entry costs that entry, never the rest; it becomes a problem that names the key. An entry that
asks for access control which is not enforced here (keys, host masks) is left out rather than served to everybody.
Does not promise: that an image exists or an address can be bound; that is for the target to say.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

from gw_agent import nqn as names

VERSION_KEY = "omap_version"
MODEL_NUMBER = "Ceph bdev Controller"
DEFAULT_MAX_NAMESPACES = 256
DEFAULT_BLOCK_SIZE = 512
DEFAULT_LISTENER_PORT = 4420
TRTYPE = "TCP"

Entry = Tuple[str, str]


@dataclass(frozen=True, order=True)
class Listener:
    """Where hosts connect; served by the gateway whose host name is `host_name`."""

    host_name: str
    traddr: str
    trsvcid: int = DEFAULT_LISTENER_PORT
    adrfam: str = "ipv4"
    secure: bool = False
    trtype: str = TRTYPE

    @property
    def address(self) -> str:
        """As people write it."""
        return f"[{self.traddr}]:{self.trsvcid}" if self.adrfam == "ipv6" else f"{self.traddr}:{self.trsvcid}"


@dataclass(frozen=True)
class Namespace:
    """One RBD image in a subsystem. The uuid is stored, so that hosts see one namespace behind all gateways."""

    nsid: int
    pool: str
    image: str
    uuid: str
    ana_group_id: int
    block_size: int = DEFAULT_BLOCK_SIZE

    @property
    def bdev_name(self) -> str:
        """The name of the block device in every target."""
        return f"bdev_{self.uuid}"

    @property
    def nguid(self) -> str:
        """What hosts see as NGUID: the uuid's 16 bytes."""
        return self.uuid.replace("-", "").upper()


@dataclass(frozen=True)
class Subsystem:
    """An NVMe subsystem with its listeners of all gateways."""

    nqn: str
    serial_number: str
    max_namespaces: int = DEFAULT_MAX_NAMESPACES
    model_number: str = MODEL_NUMBER
    allow_any_host: bool = False
    hosts: FrozenSet[str] = frozenset()
    listeners: Tuple[Listener, ...] = ()
    namespaces: Mapping[int, Namespace] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class Configuration:
    """All subsystems of a gateway group by NQN."""

    subsystems: Mapping[str, Subsystem] = field(default_factory=lambda: MappingProxyType({}))

    def namespaces(self) -> List[Tuple[Subsystem, Namespace]]:
        """Every namespace with its subsystem, ordered by NQN and nsid."""
        return [(subsystem, subsystem.namespaces[nsid]) for _, subsystem in sorted(self.subsystems.items())
                for nsid in sorted(subsystem.namespaces)]


class Unreadable(ValueError):
    """An entry that cannot be served; the text says what was found."""


def object_name(group: str) -> str:
    """The RADOS object that holds a gateway group's configuration."""
    return f"nvmeof.{group}.state" if group else "nvmeof.state"


def entry_key(kind: str, nqn: str, *elements: object) -> str:
    """A stored key. Elements must have passed `nqn.check_element`."""
    return names.KEY_DELIMITER.join([kind, nqn, *map(str, elements)])


def nqn_of(key: str) -> str:
    """The NQN in a stored key; empty for a key without one."""
    elements = key.split(names.KEY_DELIMITER)
    return elements[1] if len(elements) > 1 else ""


def subsystem_entry(subsystem: Subsystem, no_group_append: bool = True) -> Entry:
    """Key and value that store a subsystem; its listeners, hosts and namespaces are entries of their own."""
    return entry_key("subsystem", subsystem.nqn), _json({
        "subsystem_nqn": subsystem.nqn, "serial_number": subsystem.serial_number,
        "max_namespaces": subsystem.max_namespaces, "enable_ha": True, "no_group_append": no_group_append})


def host_entry(nqn: str, host_nqn: str) -> Entry:
    """Key and value that allow a host; `*` allows any."""
    return entry_key("host", nqn, host_nqn), _json({"subsystem_nqn": nqn, "host_nqn": host_nqn})


def listener_entry(nqn: str, listener: Listener) -> Entry:
    """Key and value that store a listener of any gateway of the group."""
    key = entry_key("listener", nqn, listener.host_name, listener.trtype, listener.traddr, listener.trsvcid)
    return key, _json({"nqn": nqn, "host_name": listener.host_name, "traddr": listener.traddr,
                       "adrfam": listener.adrfam, "trsvcid": listener.trsvcid, "secure": listener.secure})


def namespace_entry(nqn: str, namespace: Namespace) -> Entry:
    """Key and value that store a namespace; by then its image exists, so replaying it never makes one."""
    return entry_key("namespace", nqn, namespace.nsid), _json({
        "rbd_pool_name": namespace.pool, "rbd_image_name": namespace.image, "subsystem_nqn": nqn,
        "nsid": namespace.nsid, "block_size": namespace.block_size, "uuid": namespace.uuid,
        "anagrpid": namespace.ana_group_id, "create_image": False, "force": True, "no_auto_visible": False,
        "trash_image": False})


def keys_of_subsystem(omap: Mapping[str, str], nqn: str) -> FrozenSet[str]:
    """Every stored key that belongs to a subsystem, of whatever kind."""
    return frozenset(key for key in omap if nqn_of(key) == nqn)


def keys_of_namespace(omap: Mapping[str, str], nqn: str, nsid: int) -> FrozenSet[str]:
    """Every stored key that belongs to a namespace, of whatever kind."""
    return frozenset(key for key in omap if key.startswith(("namespace", "qos", "ns-"))
                     and key.split(names.KEY_DELIMITER)[1:3] == [nqn, str(nsid)])


def parse(omap: Mapping[str, str]) -> Tuple[Configuration, List[str]]:
    """The configuration stored in `omap`, and the problems: one text for each entry that is not served as stored."""
    problems: List[str] = []
    subsystems: Dict[str, Subsystem] = {}
    for kind in _READERS:
        read = _READERS[kind]
        for key in sorted(omap):
            if key.split(names.KEY_DELIMITER)[0] != kind:
                continue
            try:
                subsystem = read(_Fields(omap[key]), subsystems)
                subsystems[subsystem.nqn] = subsystem
            except Unreadable as error:
                problems.append(f"stored entry {key} is left out: {error}")
    for key in sorted(omap):
        if key != VERSION_KEY and key.split(names.KEY_DELIMITER)[0] not in _READERS:
            problems.append(f"stored entry {key} has no effect: this version does not serve entries of that kind")
    return Configuration(MappingProxyType(subsystems)), problems


class _Fields:
    """One stored value: a JSON object whose fields are read with a type and a default."""

    def __init__(self, text: str) -> None:
        try:
            self._fields = json.loads(text)
        except ValueError:
            self._fields = None
        if not isinstance(self._fields, dict):
            raise Unreadable(f"its value is not a JSON object: {text[:60]!r}")

    def text(self, name: str, default: Optional[str] = None) -> str:
        value = self._fields.get(name, default)
        if not isinstance(value, str) or not value:
            raise Unreadable(f"field {name} is {value!r}, expected a text")
        return value

    def number(self, name: str, default: Optional[int] = None, least: int = 0) -> int:
        value = self._fields.get(name, default)
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise Unreadable(f"field {name} is {value!r}, expected a number from {least}")
        return value

    def flag(self, name: str) -> bool:
        return self._fields.get(name, False) is True

    def refuse(self, name: str, why: str) -> None:
        """For a field that asks for something that would silently not be enforced."""
        if self._fields.get(name):
            raise Unreadable(f"field {name} is set, but {why}")


def _read_subsystem(fields: _Fields, subsystems: Mapping[str, Subsystem]) -> Subsystem:
    nqn = _checked(names.check_subsystem_nqn, fields.text("subsystem_nqn"))
    fields.refuse("dhchap_key", "in-band authentication is not served by this version; serving it without would "
                  "weaken access control")
    return Subsystem(nqn, _checked(names.check_serial, fields.text("serial_number")),
                     fields.number("max_namespaces", DEFAULT_MAX_NAMESPACES, least=1))


def _read_host(fields: _Fields, subsystems: Mapping[str, Subsystem]) -> Subsystem:
    subsystem = _subsystem(subsystems, fields.text("subsystem_nqn"))
    host = _checked(names.check_host_nqn, fields.text("host_nqn"))
    for name in ("psk", "dhchap_key"):
        fields.refuse(name, "keys of hosts are not served by this version; allowing the host without would weaken "
                      "access control")
    if host == names.ANY_HOST:
        return replace(subsystem, allow_any_host=True)
    return replace(subsystem, hosts=subsystem.hosts | {host})


def _read_listener(fields: _Fields, subsystems: Mapping[str, Subsystem]) -> Subsystem:
    subsystem = _subsystem(subsystems, fields.text("nqn"))
    adrfam = fields.text("adrfam", "ipv4").lower()
    if adrfam not in ("ipv4", "ipv6"):
        raise Unreadable(f"field adrfam is {adrfam!r}, expected ipv4 or ipv6")
    listener = Listener(fields.text("host_name"), fields.text("traddr"),
                        fields.number("trsvcid", DEFAULT_LISTENER_PORT, least=1), adrfam, fields.flag("secure"))
    return replace(subsystem, listeners=tuple(sorted({*subsystem.listeners, listener})))


def _read_namespace(fields: _Fields, subsystems: Mapping[str, Subsystem]) -> Subsystem:
    subsystem = _subsystem(subsystems, fields.text("subsystem_nqn"))
    fields.refuse("no_auto_visible", "namespaces for chosen hosts only are not served by this version; serving it "
                  "would show it to every host of the subsystem")
    namespace = Namespace(
        fields.number("nsid", least=1), fields.text("rbd_pool_name"), fields.text("rbd_image_name"),
        _checked(names.check_uuid, fields.text("uuid")).lower(), fields.number("anagrpid", 1, least=1),
        fields.number("block_size", DEFAULT_BLOCK_SIZE, least=1))
    for what, value in (("nsid", namespace.nsid), ("anagrpid", namespace.ana_group_id)):
        if value > subsystem.max_namespaces:
            raise Unreadable(f"{what} {value} is above the subsystem's max_namespaces {subsystem.max_namespaces}")
    return replace(subsystem, namespaces=MappingProxyType({**subsystem.namespaces, namespace.nsid: namespace}))


_READERS: Dict[str, Callable[[_Fields, Mapping[str, Subsystem]], Subsystem]] = {
    "subsystem": _read_subsystem, "host": _read_host, "listener": _read_listener, "namespace": _read_namespace}
"""By the first element of the key, in the order of reading: what belongs to a subsystem comes after it."""


def _subsystem(subsystems: Mapping[str, Subsystem], nqn: str) -> Subsystem:
    if nqn not in subsystems:
        raise Unreadable(f"its subsystem {nqn} is not stored, or left out itself")
    return subsystems[nqn]


def _checked(check: Callable[[str], Optional[str]], text: str) -> str:
    refused = check(text)
    if refused:
        raise Unreadable(refused)
    return text


def _json(fields: Dict[str, Any]) -> str:
    return json.dumps(fields)
