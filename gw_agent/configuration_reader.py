"""Reads the stored configuration of a gateway group: from OMAP entries to a Configuration.

Pure: no I/O. Promises: one unreadable entry costs that entry, never the rest; it becomes a problem that names the key.
An entry that asks for access control which is not enforced here is left out rather than served to everybody, and what
belongs to an entry that is left out is left out with it.
"""
from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple

from gw_agent import moves, trash_orders
from gw_agent import nqn as names
from gw_agent.configuration import (DEFAULT_BLOCK_SIZE, DEFAULT_LISTENER_PORT, DEFAULT_MAX_NAMESPACES, QOS_FIELDS,
                                    VERSION_KEY, Configuration, Listener, Namespace, QosLimits, Subsystem, entry_key)
from gw_agent.host_keys import NO_KEYS, HostKeys, SealedKey


NO_KEY_OF_EXISTING_GATEWAYS = "<invalid>"
"""What they store when they could not encrypt a key."""

KEPT_NAMESPACES = 4096


class Unreadable(ValueError):
    """An entry that cannot be served; the text says what was found."""


@dataclass
class _Building:
    """A subsystem while what belongs to it is being read."""

    subsystem: Subsystem
    allow_any_host: bool = False
    hosts: Set[str] = field(default_factory=set)
    host_keys: Dict[str, HostKeys] = field(default_factory=dict)
    listeners: Set[Listener] = field(default_factory=set)
    namespaces: Dict[int, Namespace] = field(default_factory=dict)

    def built(self) -> Subsystem:
        return replace(self.subsystem, allow_any_host=self.allow_any_host, hosts=frozenset(self.hosts),
                       host_keys=MappingProxyType(self.host_keys),
                       listeners=tuple(sorted(self.listeners)), namespaces=MappingProxyType(self.namespaces))


def parse(omap: Mapping[str, str]) -> Tuple[Configuration, List[str]]:
    """The configuration stored in `omap`, and the problems: one text for each entry that is not served as stored."""
    problems: List[str] = []
    building: Dict[str, _Building] = {}
    keys_of: Dict[str, List[str]] = {}
    for key in sorted(omap.keys() - {VERSION_KEY}):
        keys_of.setdefault(key.split(names.KEY_DELIMITER)[0], []).append(key)
    for kind, read in _READERS.items():
        for key in keys_of.get(kind, ()):
            try:
                read(key, omap[key], building)
            except Unreadable as error:
                problems.append(f"stored entry {key} is left out: {error}")
    for kind in sorted(keys_of.keys() - _READERS.keys() - {*moves.KINDS, trash_orders.KIND}):
        problems += [f"stored entry {key} has no effect: this version does not serve entries of that kind"
                     for key in keys_of[kind]]
    return Configuration(MappingProxyType({nqn: one.built() for nqn, one in building.items()})), problems


class _Fields:
    """One stored value: a JSON object whose fields are read with a type and a default."""

    def __init__(self, text: str) -> None:
        try:
            self._fields = json.loads(text)
        except (ValueError, RecursionError):
            self._fields = None
        if not isinstance(self._fields, dict):
            raise Unreadable("its value is not a JSON object")   # which may hold a key, so none of it is shown

    def text(self, name: str, default: Optional[str] = None) -> str:
        value = self._fields.get(name, default)
        if not isinstance(value, str) or not value:
            raise Unreadable(f"field {name} is {value!r}, expected a text")
        return value

    def number(self, name: str, default: Optional[int] = None, least: int = 0) -> int:
        value = self._fields.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 64:
            raise Unreadable(f"field {name} is {value!r}, expected a number from {least}")
        return value

    def flag(self, name: str) -> bool:
        return self._fields.get(name, False) is True

    def denied(self, name: str) -> bool:
        """True when it is there and false; a field that is not there denies nothing."""
        return self._fields.get(name, True) is False

    def key(self, name: str, encrypted: str) -> Optional[SealedKey]:
        """`encrypted`: the field that says whether it is."""
        value = self._fields.get(name)
        if not value:
            return None
        if not isinstance(value, str) or value == NO_KEY_OF_EXISTING_GATEWAYS:
            raise Unreadable(f"field {name} holds no key; set it again")
        return SealedKey(value, self.flag(encrypted))


def _read_subsystem(key: str, value: str, building: Dict[str, _Building]) -> None:
    fields = _Fields(value)
    nqn = _checked(names.check_subsystem_nqn, fields.text("subsystem_nqn"))
    _check_key(key, entry_key("subsystem", nqn))
    if fields.denied("enable_ha"):
        raise Unreadable("field enable_ha is false, but every subsystem is served by all gateways of the group")
    building[nqn] = _Building(Subsystem(nqn, _checked(names.check_serial, fields.text("serial_number")),
                                        fields.number("max_namespaces", DEFAULT_MAX_NAMESPACES, least=1),
                                        dhchap_key=fields.key("dhchap_key", "key_encrypted")))


def _read_host(key: str, value: str, building: Dict[str, _Building]) -> None:
    fields = _Fields(value)
    subsystem = _subsystem(building, fields.text("subsystem_nqn"))
    host = _checked(names.check_host_nqn, fields.text("host_nqn"))
    _check_key(key, entry_key("host", subsystem.subsystem.nqn, host))
    keys = HostKeys(fields.key("dhchap_key", "key_encrypted"), fields.key("psk", "psk_encrypted"))
    if host == names.ANY_HOST and keys != NO_KEYS:
        raise Unreadable("it has a key, and allowing any host without would weaken access control")
    if host == names.ANY_HOST:
        subsystem.allow_any_host = True
    else:
        subsystem.hosts.add(host)
        if keys != NO_KEYS:
            subsystem.host_keys[host] = keys


def _read_listener(key: str, value: str, building: Dict[str, _Building]) -> None:
    """Existing gateways store an IPv6 address with its brackets."""
    fields = _Fields(value)
    subsystem = _subsystem(building, fields.text("nqn"))
    adrfam = fields.text("adrfam", "ipv4").lower()
    if adrfam not in ("ipv4", "ipv6"):
        raise Unreadable(f"field adrfam is {adrfam!r}, expected ipv4 or ipv6")
    subsystem.listeners.add(Listener(fields.text("host_name"), fields.text("traddr").strip("[]"),
                                     fields.number("trsvcid", DEFAULT_LISTENER_PORT, least=1), adrfam,
                                     fields.flag("secure")))


@functools.lru_cache(KEPT_NAMESPACES)
def _namespace_in(value: str) -> Tuple[str, Namespace]:
    """With its subsystem's NQN. Kept, because a change leaves all others as they were, and there may be many."""
    fields = _Fields(value)
    return fields.text("subsystem_nqn"), Namespace(
        fields.number("nsid", least=1), fields.text("rbd_pool_name"), fields.text("rbd_image_name"),
        _checked(names.check_uuid, fields.text("uuid")).lower(), fields.number("anagrpid", 1, least=1),
        fields.number("block_size", DEFAULT_BLOCK_SIZE, least=1), not fields.flag("no_auto_visible"),
        trash_image=fields.flag("trash_image"))


def _read_namespace(key: str, value: str, building: Dict[str, _Building]) -> None:
    nqn, namespace = _namespace_in(value)
    subsystem = _subsystem(building, nqn)
    _check_key(key, entry_key("namespace", subsystem.subsystem.nqn, namespace.nsid))
    for what, value in (("nsid", namespace.nsid), ("anagrpid", namespace.ana_group_id)):
        if value > subsystem.subsystem.max_namespaces:
            raise Unreadable(f"{what} {value} is above the subsystem's max_namespaces "
                             f"{subsystem.subsystem.max_namespaces}")
    subsystem.namespaces[namespace.nsid] = namespace


def _read_namespace_host(key: str, value: str, building: Dict[str, _Building]) -> None:
    fields = _Fields(value)
    subsystem, namespace = _namespace(fields, building)
    host = _checked(lambda nqn: names.check_nqn("host NQN", nqn), fields.text("host_nqn"))
    _check_key(key, entry_key("ns-host", subsystem.subsystem.nqn, namespace.nsid, host))
    if namespace.auto_visible:
        raise Unreadable(f"namespace {namespace.nsid} is visible to every host of the subsystem")
    subsystem.namespaces[namespace.nsid] = replace(namespace, hosts=namespace.hosts | {host})


def _read_qos(key: str, value: str, building: Dict[str, _Building]) -> None:
    fields = _Fields(value)
    subsystem, namespace = _namespace(fields, building)
    _check_key(key, entry_key("qos", subsystem.subsystem.nqn, namespace.nsid))
    limits = QosLimits(**{name: fields.number(name, 0) for name in QOS_FIELDS})
    subsystem.namespaces[namespace.nsid] = replace(namespace, qos=limits)


_READERS: Dict[str, Callable[[str, str, Dict[str, _Building]], None]] = {
    "subsystem": _read_subsystem, "host": _read_host, "listener": _read_listener, "namespace": _read_namespace,
    "ns-host": _read_namespace_host, "qos": _read_qos}
"""By the first element of the key, in the order of reading: what belongs to a thing comes after it."""


def _subsystem(building: Mapping[str, _Building], nqn: str) -> _Building:
    if nqn not in building:
        raise Unreadable(f"its subsystem {nqn} is not stored, or left out itself")
    return building[nqn]


def _namespace(fields: _Fields, building: Mapping[str, _Building]) -> Tuple[_Building, Namespace]:
    subsystem, nsid = _subsystem(building, fields.text("subsystem_nqn")), fields.number("nsid", least=1)
    if nsid not in subsystem.namespaces:
        raise Unreadable(f"its namespace {nsid} is not stored, or left out itself")
    return subsystem, subsystem.namespaces[nsid]


def _check_key(key: str, expected: str) -> None:
    """An entry under a key that is not its own could be neither changed nor deleted."""
    if key != expected:
        raise Unreadable(f"what its value describes belongs under the key {expected}")


def _checked(check: Callable[[str], Optional[str]], text: Any) -> str:
    refused = check(text)
    if refused:
        raise Unreadable(refused)
    return str(text)
