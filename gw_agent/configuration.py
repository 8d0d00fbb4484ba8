"""What the gateways of one gateway group serve: the stored configuration as immutable values.

Pure: no I/O. The `..._entry` functions make the key and value that store one thing in the OMAP of the object
`nvmeof[.<group>].state`; `configuration_reader.py` turns all of them into a Configuration. Keys and values are those of
existing ceph-nvmeof gateways (elements joined with `_`; the value is the gRPC request as JSON with the field names of
gateway.proto, 64-bit numbers as text), so that their tools and gateways read what ours wrote and the other way round.

Does not promise: that an image exists or an address can be bound; that is for the target to say.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

from gw_agent import nqn as names
from gw_agent.host_keys import NO_KEYS, HostKeys, SealedKey

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
class QosLimits:
    """How much hosts may do with one namespace through one gateway; 0: as much as they like."""

    rw_ios_per_second: int = 0
    rw_mbytes_per_second: int = 0
    r_mbytes_per_second: int = 0
    w_mbytes_per_second: int = 0


NO_LIMITS = QosLimits()
QOS_FIELDS = tuple(QosLimits.__dataclass_fields__)


@dataclass(frozen=True)
class Namespace:
    """One RBD image in a subsystem. The uuid is stored, so that hosts see one namespace behind all gateways."""

    nsid: int
    pool: str
    image: str
    uuid: str
    ana_group_id: int
    block_size: int = DEFAULT_BLOCK_SIZE
    auto_visible: bool = True
    """False: only `hosts` see it, instead of every host of the subsystem."""
    hosts: FrozenSet[str] = frozenset()
    qos: QosLimits = NO_LIMITS
    trash_image: bool = False
    """The image goes to the trash when the namespace is deleted."""

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
    dhchap_key: Optional[SealedKey] = None
    """By which it proves to hosts who it is."""
    host_keys: Mapping[str, HostKeys] = field(default_factory=lambda: MappingProxyType({}))
    """Of the hosts that have any."""

    def keys_of(self, host: str) -> HostKeys:
        return self.host_keys.get(host, NO_KEYS)


@dataclass(frozen=True)
class Configuration:
    """All subsystems of a gateway group by NQN."""

    subsystems: Mapping[str, Subsystem] = field(default_factory=lambda: MappingProxyType({}))

    def with_uuid_or_image(self, uuid: str, pool: str, image: str) -> List[Tuple[Subsystem, Namespace]]:
        """Namespaces that have one of them. Looks at each, so it does nothing more for those that do not."""
        return [(subsystem, there) for subsystem in self.subsystems.values()
                for there in subsystem.namespaces.values()
                if there.uuid == uuid or (there.image == image and there.pool == pool)]

    def namespaces(self) -> List[Tuple[Subsystem, Namespace]]:
        """Every namespace with its subsystem, ordered by NQN and nsid."""
        return [(subsystem, subsystem.namespaces[nsid]) for _, subsystem in sorted(self.subsystems.items())
                for nsid in sorted(subsystem.namespaces)]


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
    """Key and value that store a namespace; by then its image exists, so replaying it never makes one. Its hosts and
    limits are entries of their own."""
    return entry_key("namespace", nqn, namespace.nsid), _json({
        "rbd_pool_name": namespace.pool, "rbd_image_name": namespace.image, "subsystem_nqn": nqn,
        "nsid": namespace.nsid, "block_size": namespace.block_size, "uuid": namespace.uuid,
        "anagrpid": namespace.ana_group_id, "create_image": False, "size": "0", "force": True,
        "no_auto_visible": not namespace.auto_visible, "trash_image": namespace.trash_image})


def namespace_host_entry(nqn: str, nsid: int, host_nqn: str) -> Entry:
    """Key and value that show a namespace which not all see to one host."""
    return entry_key("ns-host", nqn, nsid, host_nqn), _json({
        "subsystem_nqn": nqn, "nsid": nsid, "host_nqn": host_nqn})


def qos_entry(nqn: str, nsid: int, limits: Mapping[str, int]) -> Entry:
    """Key and value that store limits of a namespace: those of QOS_FIELDS that somebody set, 0 included."""
    return entry_key("qos", nqn, nsid), _json({
        "subsystem_nqn": nqn, "nsid": nsid, **{name: str(limits[name]) for name in QOS_FIELDS if name in limits}})


def with_fields(value: str, **fields: Any) -> str:
    """A stored value with some fields changed and every other one, known here or not, as it was."""
    return _json({**json.loads(value), **fields})


def keys_of_subsystem(omap: Mapping[str, str], nqn: str) -> FrozenSet[str]:
    """Every stored key that belongs to a subsystem, of whatever kind."""
    return frozenset(key for key in omap if nqn_of(key) == nqn)


def keys_of_namespace(omap: Mapping[str, str], nqn: str, nsid: int) -> FrozenSet[str]:
    """Every stored key that belongs to a namespace, of whatever kind."""
    return frozenset(key for key in omap if key.startswith(("namespace", "qos", "ns-"))
                     and key.split(names.KEY_DELIMITER)[1:3] == [nqn, str(nsid)])


def _json(fields: Dict[str, Any]) -> str:
    return json.dumps(fields)
