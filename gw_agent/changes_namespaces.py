"""Changes of a namespace that exists, each checked against the latest stored version: who sees it, how much may be done
with it, what becomes of its image.

Pure, as `changes.py`, whose rules apply.
"""
from __future__ import annotations

import dataclasses
import errno
from typing import List, Mapping, Tuple

from gw_agent import configuration as stored
from gw_agent import nqn as names
from gw_agent.changes import Refused, subsystem
from gw_agent.config_store import Change, Stored
from gw_agent.configuration import QOS_FIELDS, Namespace
from gw_agent.trash_orders import Order

HOSTS_LIMIT = 16
"""As many hosts as an existing gateway allows for one namespace that not all see."""


def namespace(now: Stored, nqn: str, nsid: int) -> Namespace:
    """The stored namespace."""
    found = subsystem(now, nqn).namespaces.get(nsid)
    if found is None:
        known = ", ".join(map(str, sorted(subsystem(now, nqn).namespaces))) or "none"
        raise Refused(errno.ENOENT, f"there is no namespace {nsid} in subsystem {nqn}; there are: {known}")
    return found


def set_limits(now: Stored, nqn: str, nsid: int, asked: Mapping[str, int]) -> Change:
    """`asked`: by the names of QOS_FIELDS; a limit that is not named stays as it was, 0 lifts it."""
    found = namespace(now, nqn, nsid)
    if not asked:
        raise Refused(errno.EINVAL, f"no limit is given; there are {', '.join(QOS_FIELDS)}")
    key = stored.entry_key("qos", nqn, nsid)
    kept = {name: limit for name, limit in dataclasses.asdict(found.qos).items() if limit or key in now.omap}
    return Change(dict([stored.qos_entry(nqn, nsid, {**kept, **asked})]))


def add_host(now: Stored, nqn: str, nsid: int, host: str) -> Change:
    """Lets a host see a namespace that not all see."""
    found = namespace(now, nqn, nsid)
    refused = names.check_nqn("host NQN", host)
    if refused is not None:
        raise Refused(errno.EINVAL, refused)
    if found.auto_visible:
        raise Refused(errno.EINVAL, f"namespace {nsid} of {nqn} is visible to every host of the subsystem; hosts of "
                      "its own are for a namespace that was added with no_auto_visible")
    if host in found.hosts:
        raise Refused(errno.EEXIST, f"host {host} sees namespace {nsid} of {nqn} already")
    if len(found.hosts) >= HOSTS_LIMIT:
        raise Refused(errno.E2BIG, f"{HOSTS_LIMIT} hosts see namespace {nsid} of {nqn}, and no more can")
    return Change(dict([stored.namespace_host_entry(nqn, nsid, host)]))


def delete_host(now: Stored, nqn: str, nsid: int, host: str) -> Change:
    """Hides a namespace from a host again."""
    found = namespace(now, nqn, nsid)
    if found.auto_visible:
        raise Refused(errno.EINVAL, f"namespace {nsid} of {nqn} is visible to every host of the subsystem; it has no "
                      "hosts of its own")
    if host not in found.hosts:
        raise Refused(errno.ENOENT, f"host {host} is none of those that see namespace {nsid} of {nqn}: "
                      f"{', '.join(sorted(found.hosts)) or 'none'}")
    return Change(removes=frozenset({stored.entry_key("ns-host", nqn, nsid, host)}))


def change_visibility(now: Stored, nqn: str, nsid: int, auto_visible: bool, force: bool) -> Change:
    """Shows a namespace to every host of the subsystem, or to chosen ones only; nothing to store when it is so."""
    found = namespace(now, nqn, nsid)
    if auto_visible == found.auto_visible:
        return Change()
    if found.hosts and not force:
        raise Refused(errno.EBUSY, f"namespace {nsid} of {nqn} has hosts of its own "
                      f"({', '.join(sorted(found.hosts))}); remove them first, or use force, which removes them")
    key = stored.entry_key("namespace", nqn, nsid)
    return Change({key: stored.with_fields(now.omap[key], no_auto_visible=not auto_visible)},
                  frozenset(stored.entry_key("ns-host", nqn, nsid, host) for host in found.hosts))


def set_trash_image(now: Stored, nqn: str, nsid: int, trash_image: bool) -> Change:
    """What becomes of the image when the namespace is deleted; nothing to store when it is so."""
    if namespace(now, nqn, nsid).trash_image == trash_image:
        return Change()
    key = stored.entry_key("namespace", nqn, nsid)
    return Change({key: stored.with_fields(now.omap[key], trash_image=trash_image)})


def delete(now: Stored, nqn: str, nsid: int, sure: bool) -> Change:
    """With everything that belongs to it, also one that is not served. `sure`: its image may go to the trash."""
    found = subsystem(now, nqn).namespaces.get(nsid)
    if stored.entry_key("namespace", nqn, nsid) not in now.omap:
        namespace(now, nqn, nsid)
    if found is not None and found.trash_image and not sure:
        raise Refused(errno.EINVAL, f"image {found.pool}/{found.image} of namespace {nsid} in {nqn} would go to the "
                      "trash; say that you are sure (--i-am-sure), or keep it with: namespace set_rbd_trash_image "
                      f"--subsystem {nqn} --nsid {nsid} --rbd-trash-image-on-delete no")
    return Change(removes=stored.keys_of_namespace(now.omap, nqn, nsid))


def with_trash_order(change: Change, order: Order) -> Change:
    """The deletion of a namespace, and that its image goes to the trash."""
    return Change(dict([order.entry]), change.removes)


def users_of_image(now: Stored, pool: str, image: str) -> List[Tuple[str, int]]:
    """NQN and id of the namespaces that have this image."""
    return [(other.nqn, there.nsid) for other, there in now.configuration.namespaces()
            if (there.pool, there.image) == (pool, image)]
