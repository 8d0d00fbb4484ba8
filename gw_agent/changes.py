"""Changes of the configuration that the API offers, each checked against the latest stored version.

Pure: a function here takes the stored version and what was asked, and returns the Change to store; or raises Refused,
whose text says what was asked, what was found and what to do. Because the store may call it again on a newer version,
two gateways that are asked at the same time cannot both be told yes for the same thing.
"""
from __future__ import annotations

import errno
import ipaddress
from dataclasses import dataclass, replace
from typing import Mapping, Optional, Sequence

from gw_agent import configuration as stored
from gw_agent import nqn as names
from gw_agent import rebalance, trash_orders
from gw_agent.config_store import Change, Stored
from gw_agent.configuration import Listener, Namespace, Subsystem
from gw_agent.moves import Key

MAX_NAMESPACES_LIMIT = 1024
BLOCK_SIZES = (512, 1024, 2048, 4096)
PORT_LIMIT = 65535
RBD_NAME_LIMIT_BYTES = 1024


class Refused(Exception):
    """The request is not done. `code` is an errno value; `stored`: it stays stored, and may be done later."""

    def __init__(self, code: int, text: str, stored: bool = False) -> None:
        self.code = code
        self.stored = stored
        super().__init__(text)


@dataclass(frozen=True)
class NamespaceRequest:
    """A namespace to be added; None and 0 stand for "choose"."""

    nqn: str
    pool: str
    image: str
    uuid: str
    nsid: Optional[int] = None
    block_size: int = 0
    ana_group_id: int = 0
    force: bool = False
    auto_visible: bool = True
    trash_image: bool = False


def subsystem(now: Stored, nqn: str) -> Subsystem:
    """The stored subsystem with this NQN."""
    found = now.configuration.subsystems.get(nqn)
    if found is None:
        known = ", ".join(sorted(now.configuration.subsystems)) or "none"
        raise Refused(errno.ENOENT, f"there is no subsystem {nqn}; there are: {known}")
    return found


def grouped_nqn(nqn: str, group: str, no_group_append: bool) -> str:
    """The NQN of a new subsystem: the gateway group's name is appended, so that equal names in two groups differ."""
    if no_group_append or not group:
        return nqn
    return f"{nqn}.{group.replace(names.KEY_DELIMITER, '-')}"


def add_subsystem(now: Stored, nqn: str, serial_number: str, max_namespaces: int, enable_ha: bool = True) -> Change:
    """`max_namespaces` 0: the default."""
    if not enable_ha:
        raise Refused(errno.EINVAL, f"subsystem {nqn} is asked for without high availability (enable_ha), but every "
                      "subsystem is served by all gateways of the group, with ANA states; ask for it with enable_ha")
    _check(names.check_subsystem_nqn(nqn))
    _check(names.check_serial(serial_number))
    if nqn in now.configuration.subsystems or stored.entry_key("subsystem", nqn) in now.omap:
        raise Refused(errno.EEXIST, f"subsystem {nqn} exists already")
    for other in now.configuration.subsystems.values():
        if other.serial_number == serial_number:
            raise Refused(errno.EEXIST, f"serial number {serial_number} is used by subsystem {other.nqn}; choose "
                          "another one, or give none")
    if not 0 <= max_namespaces <= MAX_NAMESPACES_LIMIT:
        raise Refused(errno.EINVAL, f"a subsystem can hold 1 to {MAX_NAMESPACES_LIMIT} namespaces, asked for "
                      f"{max_namespaces}")
    return _set(stored.subsystem_entry(Subsystem(nqn, serial_number,
                                                 max_namespaces or stored.DEFAULT_MAX_NAMESPACES)))


def delete_subsystem(now: Stored, nqn: str, force: bool) -> Change:
    """With everything that belongs to it."""
    if stored.entry_key("subsystem", nqn) not in now.omap:
        raise Refused(errno.ENOENT, f"there is no subsystem {nqn}")
    found = now.configuration.subsystems.get(nqn)
    if found is not None and found.namespaces and not force:
        nsids = ", ".join(str(nsid) for nsid in sorted(found.namespaces))
        raise Refused(errno.EBUSY, f"subsystem {nqn} still has namespaces ({nsids}); delete them first, or use force")
    return Change(removes=stored.keys_of_subsystem(now.omap, nqn))


def add_host(now: Stored, nqn: str, host: str) -> Change:
    """`*` allows any host."""
    found = subsystem(now, nqn)
    _check(names.check_host_nqn(host))
    if host == names.ANY_HOST and found.allow_any_host:
        raise Refused(errno.EEXIST, f"subsystem {nqn} allows any host already")
    if host in found.hosts:
        raise Refused(errno.EEXIST, f"host {host} is allowed in subsystem {nqn} already")
    return _set(stored.host_entry(nqn, host))


def remove_host(now: Stored, nqn: str, host: str) -> Change:
    """`*` ends that any host is allowed."""
    subsystem(now, nqn)
    key = stored.entry_key("host", nqn, host)
    if key not in now.omap:
        what = "any host is not allowed" if host == names.ANY_HOST else f"host {host} is not allowed"
        raise Refused(errno.ENOENT, f"{what} in subsystem {nqn}")
    return Change(removes=frozenset({key}))


def checked_listener(host_name: str, traddr: str, trsvcid: int, adrfam: str, secure: bool) -> Listener:
    """The listener with its address in the shortest form."""
    _check(names.check_element("host name", host_name))
    try:
        address = ipaddress.ip_address(traddr.strip("[]"))
    except ValueError:
        raise Refused(errno.EINVAL, f"address '{traddr}' is not an IPv4 or IPv6 address; names are not "
                      "resolved") from None
    if adrfam != f"ipv{address.version}":
        raise Refused(errno.EINVAL, f"address {traddr} is of family ipv{address.version}, asked for {adrfam}; give "
                      f"the address family ipv{address.version}")
    if not 0 <= trsvcid <= PORT_LIMIT:
        raise Refused(errno.EINVAL, f"port {trsvcid} is not between 1 and {PORT_LIMIT}")
    return Listener(host_name, str(address), trsvcid or stored.DEFAULT_LISTENER_PORT, adrfam, secure)


def add_listener(now: Stored, nqn: str, listener: Listener) -> Change:
    """Of any gateway of the group; the one with that host name makes it."""
    if listener.secure and subsystem(now, nqn).allow_any_host:
        raise Refused(errno.EINVAL, f"subsystem {nqn} allows any host, and with TLS each host needs a key; remove host * "
                      "first")
    subsystem(now, nqn)
    for other_nqn, other in sorted(now.configuration.subsystems.items()):
        for there in other.listeners:
            if (there.traddr, there.trsvcid) != (listener.traddr, listener.trsvcid):
                continue
            if other_nqn == nqn and there.host_name == listener.host_name:
                raise Refused(errno.EEXIST, f"subsystem {nqn} listens on {listener.address} of {listener.host_name} "
                              "already")
            if there.host_name == listener.host_name and there.secure != listener.secure:
                raise Refused(errno.EINVAL, f"{listener.address} is a listener {'with' if there.secure else 'without'} "
                              f"TLS in subsystem {other_nqn}, and one port is one or the other; choose another port")
            if there.host_name != listener.host_name and not ipaddress.ip_address(there.traddr).is_unspecified:
                raise Refused(errno.EADDRINUSE, f"{listener.address} is a listener of {there.host_name} in subsystem "
                              f"{other_nqn}, so it cannot be one of {listener.host_name} too; an address belongs to "
                              "one host")
    return _set(stored.listener_entry(nqn, listener))


def delete_listener(now: Stored, nqn: str, listener: Listener, any_host_name: bool) -> Change:
    """`any_host_name`: whatever gateway it belongs to."""
    found = [there for there in subsystem(now, nqn).listeners
             if (there.traddr, there.trsvcid) == (listener.traddr, listener.trsvcid)
             and (any_host_name or there.host_name == listener.host_name)]
    if not found:
        whose = "any gateway" if any_host_name else listener.host_name
        raise Refused(errno.ENOENT, f"subsystem {nqn} has no listener {listener.address} of {whose}")
    keys = {stored.listener_entry(nqn, replace(there, traddr=traddr))[0] for there in found
            for traddr in (there.traddr, f"[{there.traddr}]")}   # existing gateways store IPv6 ones with brackets
    return Change(removes=frozenset(keys & now.omap.keys()))


def add_namespace(now: Stored, asked: NamespaceRequest, ana_groups: Sequence[int], preferred: Sequence[int] = (),
                  operations: Mapping[Key, float] = {}) -> Change:
    """Without an ANA group it goes to the one of `ana_groups` (those of the map) that carries least, `preferred` ones
    first. `operations`: I/O per second by namespace, where it is known."""
    found = subsystem(now, asked.nqn)
    if "/" in asked.pool:
        raise Refused(errno.EOPNOTSUPP, f"pool {asked.pool!r} names an RBD namespace, which stock SPDK cannot open "
                      "(only Ceph's fork of it can); use an image outside of RBD namespaces")
    for what, text in (("pool", asked.pool), ("image", asked.image)):
        if not text or not text.isprintable() or "/" in text or "@" in text:
            raise Refused(errno.EINVAL, f"RBD {what} name {text!r} is empty or has characters such as / and @; give "
                          "the plain name of the pool and of the image")
        if len(text.encode()) > RBD_NAME_LIMIT_BYTES:
            raise Refused(errno.EINVAL, f"RBD {what} name is {len(text.encode())} bytes long; at most "
                          f"{RBD_NAME_LIMIT_BYTES} are allowed")
    block_size = asked.block_size or stored.DEFAULT_BLOCK_SIZE
    if block_size not in BLOCK_SIZES:
        raise Refused(errno.EINVAL, f"block size {block_size} is not one of {', '.join(map(str, BLOCK_SIZES))}")
    _check(names.check_uuid(asked.uuid))
    namespace = Namespace(_choose_nsid(now, found, asked.nsid), asked.pool, asked.image, asked.uuid.lower(),
                          _choose_ana_group(now, found, asked.ana_group_id, ana_groups, preferred, operations),
                          block_size,
                          asked.auto_visible, trash_image=asked.trash_image)
    _check_not_used(now, namespace, asked.force)
    return _set(stored.namespace_entry(asked.nqn, namespace))


def namespace_of(change: Change, nqn: str) -> int:
    """The nsid of the namespace that a change from `add_namespace` adds."""
    prefix = stored.entry_key("namespace", nqn, "")
    return next(int(key[len(prefix):]) for key in change.sets if key.startswith(prefix))


def _choose_nsid(now: Stored, subsystem: Subsystem, nsid: Optional[int]) -> int:
    """An id that is stored but cannot be served is used too."""
    def used(number: int) -> bool:
        return number in subsystem.namespaces or stored.entry_key("namespace", subsystem.nqn, number) in now.omap

    if not nsid:
        free = next((n for n in range(1, subsystem.max_namespaces + 1) if not used(n)), None)
        if free is None:
            raise Refused(errno.ENOSPC, f"subsystem {subsystem.nqn} holds {subsystem.max_namespaces} namespaces, and "
                          "no more fit")
        return free
    if nsid > subsystem.max_namespaces:
        raise Refused(errno.EINVAL, f"namespace id {nsid} is above {subsystem.max_namespaces}, the most that "
                      f"subsystem {subsystem.nqn} can hold")
    if used(nsid):
        raise Refused(errno.EEXIST, f"namespace id {nsid} is used in subsystem {subsystem.nqn}; choose another one, "
                      "or give none")
    return nsid


def _choose_ana_group(now: Stored, subsystem: Subsystem, asked: int, ana_groups: Sequence[int],
                      preferred: Sequence[int], operations: Mapping[Key, float]) -> int:
    usable = [group for group in sorted(ana_groups) if group <= subsystem.max_namespaces]
    if not usable:
        raise Refused(errno.ENODEV, "the gateway map has no ANA group yet that this subsystem can use; create "
                      "gateways with `ceph nvmeof-ha create`, or make the subsystem with a larger max_namespaces")
    if asked:
        if asked not in usable:
            raise Refused(errno.ENODEV, f"ANA group (load balancing group) {asked} does not exist; there are "
                          + ", ".join(map(str, usable)))
        return asked
    groups = {(other.nqn, there.nsid): there.ana_group_id for other, there in now.configuration.namespaces()}
    return rebalance.lightest([group for group in usable if group in preferred] or usable, groups, operations)


def _check_not_used(now: Stored, namespace: Namespace, force: bool) -> None:
    for order in trash_orders.stored_orders(now.omap):
        if (order.pool, order.image) == (namespace.pool, namespace.image):
            raise Refused(errno.EAGAIN, f"image {namespace.pool}/{namespace.image} is on its way to the trash with the "
                          "namespace that had it; try again in a moment, or see who has it open with `rbd status`")
    for subsystem, there in now.configuration.with_uuid_or_image(namespace.uuid, namespace.pool, namespace.image):
        if there.uuid == namespace.uuid:
            raise Refused(errno.EEXIST, f"UUID {namespace.uuid} is that of namespace {there.nsid} in subsystem "
                          f"{subsystem.nqn}; choose another one, or give none")
        if (there.pool, there.image) == (namespace.pool, namespace.image) and not force:
            raise Refused(errno.EEXIST, f"image {there.pool}/{there.image} is used by namespace {there.nsid} in "
                          f"subsystem {subsystem.nqn}; two namespaces of one image overwrite each other unless the "
                          "hosts agree, so this needs force")


def _check(reason: Optional[str]) -> None:
    if reason is not None:
        raise Refused(errno.EINVAL, reason)


def _set(entry: stored.Entry) -> Change:
    key, value = entry
    return Change({key: value})
