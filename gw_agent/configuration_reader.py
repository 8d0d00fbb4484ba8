"""Reads the stored configuration of a gateway group: from OMAP entries to a Configuration.

Pure: no I/O. Promises: one unreadable entry costs that entry, never the rest; it becomes a problem that names the key.
An entry that asks for access control which is not enforced here is left out rather than served to everybody, and what
belongs to an entry that is left out is left out with it. After a change of a few entries `parse_again` reads those and
what depends on them, so that it costs the same however many there are.
"""
from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Optional, Set, Tuple

from gw_agent import config_journal as journal
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


Problems = Mapping[str, str]
"""By stored key: why it is not served as stored."""


def parse(omap: Mapping[str, str]) -> Tuple[Configuration, Problems]:
    """The configuration stored in `omap`, and what of it is not served as stored."""
    building: Dict[str, _Building] = {}
    problem_of = _read(omap, omap.keys() - {VERSION_KEY}, building)
    return Configuration(MappingProxyType({nqn: one.built() for nqn, one in building.items()})), problem_of


def parse_again(omap: Mapping[str, str], changed: Collection[str], before: Configuration,
                problems: Problems) -> Tuple[Configuration, Problems]:
    """As `parse`, where only these keys are other than in what gave `before` and `problems`. Subsystems and namespaces
    that they do not concern are the same objects as before."""
    concerned = _Concerned(changed)
    subsystems = dict(before.subsystems)
    building = {nqn: _Building(subsystem) for nqn, subsystem in subsystems.items() if nqn not in concerned.heads}
    read = _read(omap, concerned.among(omap) | (set(changed) & omap.keys()) - {VERSION_KEY}, building)
    for nqn in concerned.heads:
        subsystems.pop(nqn, None)
        if nqn in building:
            subsystems[nqn] = building[nqn].built()
    for nqn, nsids in concerned.nsids.items():
        if nqn in subsystems and nqn not in concerned.heads:
            namespaces = dict(subsystems[nqn].namespaces)
            for nsid in nsids:
                namespaces.pop(nsid, None)
            namespaces.update(building[nqn].namespaces)
            subsystems[nqn] = replace(subsystems[nqn], namespaces=MappingProxyType(namespaces))
    gone = concerned.among(problems) | set(changed)
    return (Configuration(MappingProxyType(subsystems)),
            {**{key: text for key, text in problems.items() if key not in gone}, **read})


class _Concerned:
    """What a change of some keys concerns: whole subsystems (`heads`), or single namespaces."""

    def __init__(self, changed: Iterable[str]) -> None:
        self.heads: Set[str] = set()
        self.nsids: Dict[str, Set[int]] = {}
        self._keys: Set[str] = set()
        self._prefixes: List[str] = []
        for key in changed:
            kind, nqn, nsid, *_ = (*key.split(names.KEY_DELIMITER, 3), "", "")
            if kind in _OF_NAMESPACE and nsid.isascii() and nsid.isdigit():
                self.nsids.setdefault(nqn, set()).add(int(nsid))
            elif kind in _READERS:
                self.heads.add(nqn)
        for nqn in self.heads:
            self._keys.add(entry_key("subsystem", nqn))
            self._prefixes += [entry_key(kind, nqn, "") for kind in _READERS]
        for nqn, nsids in self.nsids.items():
            self._keys.update(entry_key(kind, nqn, nsid) for kind in _OF_NAMESPACE for nsid in nsids)
            self._prefixes += [entry_key("ns-host", nqn, nsid, "") for nsid in nsids]

    def among(self, keys: Iterable[str]) -> Set[str]:
        prefixes = tuple(self._prefixes)
        return {key for key in keys if key.startswith(prefixes) or key in self._keys}


def _read(omap: Mapping[str, str], keys: Collection[str], building: Dict[str, _Building]) -> Dict[str, str]:
    """Reads these entries into `building`; returns the problems."""
    problem_of: Dict[str, str] = {}
    keys_of: Dict[str, List[str]] = {}
    for key in sorted(keys):
        keys_of.setdefault(key.split(names.KEY_DELIMITER)[0], []).append(key)
    for kind, read in _READERS.items():
        for key in keys_of.get(kind, ()):
            try:
                read(key, omap[key], building)
            except Unreadable as error:
                problem_of[key] = f"stored entry {key} is left out: {error}"
    for kind in sorted(keys_of.keys() - _READERS.keys() - _NOT_SERVED):
        problem_of.update((key, f"stored entry {key} has no effect: this version does not serve entries of that kind")
                          for key in keys_of[kind])
    return problem_of


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
    nqn, host = fields.text("subsystem_nqn"), _checked(names.check_host_nqn, fields.text("host_nqn"))
    _check_key(key, entry_key("host", nqn, host))
    subsystem = _subsystem(building, nqn)
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
    nqn = fields.text("nqn")
    if not key.startswith(entry_key("listener", nqn, "")):
        raise Unreadable(f"what its value describes belongs to subsystem {nqn}, its key does not")
    subsystem = _subsystem(building, nqn)
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
    _check_key(key, entry_key("namespace", nqn, namespace.nsid))
    subsystem = _subsystem(building, nqn)
    for what, value in (("nsid", namespace.nsid), ("anagrpid", namespace.ana_group_id)):
        if value > subsystem.subsystem.max_namespaces:
            raise Unreadable(f"{what} {value} is above the subsystem's max_namespaces "
                             f"{subsystem.subsystem.max_namespaces}")
    subsystem.namespaces[namespace.nsid] = namespace


def _read_namespace_host(key: str, value: str, building: Dict[str, _Building]) -> None:
    fields = _Fields(value)
    host = _checked(lambda nqn: names.check_nqn("host NQN", nqn), fields.text("host_nqn"))
    subsystem, namespace = _namespace(key, "ns-host", fields, building, host)
    if namespace.auto_visible:
        raise Unreadable(f"namespace {namespace.nsid} is visible to every host of the subsystem")
    subsystem.namespaces[namespace.nsid] = replace(namespace, hosts=namespace.hosts | {host})


def _read_qos(key: str, value: str, building: Dict[str, _Building]) -> None:
    fields = _Fields(value)
    subsystem, namespace = _namespace(key, "qos", fields, building)
    limits = QosLimits(**{name: fields.number(name, 0) for name in QOS_FIELDS})
    subsystem.namespaces[namespace.nsid] = replace(namespace, qos=limits)


_READERS: Dict[str, Callable[[str, str, Dict[str, _Building]], None]] = {
    "subsystem": _read_subsystem, "host": _read_host, "listener": _read_listener, "namespace": _read_namespace,
    "ns-host": _read_namespace_host, "qos": _read_qos}
"""By the first element of the key, in the order of reading: what belongs to a thing comes after it."""
_OF_NAMESPACE = ("namespace", "ns-host", "qos")
_NOT_SERVED = {*moves.KINDS, trash_orders.KIND, journal.KIND}
"""Kinds of entries that are no part of what gateways serve."""


def _subsystem(building: Mapping[str, _Building], nqn: str) -> _Building:
    if nqn not in building:
        raise Unreadable(f"its subsystem {nqn} is not stored, or left out itself")
    return building[nqn]


def _namespace(key: str, kind: str, fields: _Fields, building: Mapping[str, _Building],
               *elements: str) -> Tuple[_Building, Namespace]:
    """That an entry of this kind belongs to. The key is checked first, so that whatever else is said of an entry is
    about what its key names."""
    nqn, nsid = fields.text("subsystem_nqn"), fields.number("nsid", least=1)
    _check_key(key, entry_key(kind, nqn, nsid, *elements))
    subsystem = _subsystem(building, nqn)
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
