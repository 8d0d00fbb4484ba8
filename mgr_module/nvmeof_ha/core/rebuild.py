"""The map of a group whose seats are lost: made from what is left, so that whoever may still write is fenced first.

What is left is older than what was lost: the mon KV store's records, its lazy copy of a map, perhaps the third seat, a
mgr's memory.  So nothing is concluded from what they say of phases and holders.  What holds all the same (DESIGN 4):

* whoever was permitted anything has a record that names it and all its addresses, until a fence of it was seen, or it
  was seen to end with nothing left to serve;
* whoever followed another instance in a record was admitted when that one was certainly over;
* a fence that was seen had been taken by the mons, so it is in the OSD map that they have now.

Hence every unfenced instance that anything names is a writer of every ANA group; the latest of each gateway is suspected
and gets its W, the others are over; and every barrier asks for the OSD map of now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, FrozenSet, List, NamedTuple, Sequence, Set, Tuple

from .model import (NO_VERSION, AnaGroup, Availability, Departed, Disaster, Gateway, Instance, Map, Phase, Version,
                    smallest_free)

EPOCH_LEAP = 1_000_000
"""More commits than can have followed the newest map that is left: a version names one content only."""
NUMBER_LEAP = 1_000
"""More instances of removed gateways than can have been forgotten with the seats."""


class Left(NamedTuple):
    """What is left of a group.  ``maps``: older maps of it, in any order.  ``gateways``, ``unfenced``: of the mon KV store's
    records.  ``osd_epoch``: asked of the mons after no mgr before this one could write any more."""

    maps: Sequence[Map]
    gateways: Tuple[Gateway, ...]
    unfenced: Tuple[Departed, ...]
    disasters: Tuple[Disaster, ...]
    osd_epoch: int


def leapt(found: Map) -> Map:
    """The same map, under a version from which on nothing was ever committed."""
    return replace(found, version=Version(found.version.ballot, found.version.epoch + EPOCH_LEAP))


def rebuild(pool: str, group: str, left: Left) -> Map:
    """The map to go on from (``machine.begin``), as if it had been found."""
    newest = max(left.maps, key=lambda m: m.version, default=Map(pool, group))
    addresses = _addresses(left)
    over = {d.instance for m in left.maps for d in m.departed if d.osd_epoch is not None}
    gateways = _gateways(newest, left, addresses, over)
    current = {g.instance for g in gateways if g.instance is not None}
    writers = frozenset(i for i, found in addresses.items() if found and i not in over)
    departed = tuple(Departed(i, addresses[i]) for i in sorted(writers - current))
    since = leapt(newest).version
    groups = tuple(_ana_group(g, newest, writers, left.osd_epoch, since) for g in gateways)
    return leapt(replace(
        newest, gateways=gateways, ana_groups=tuple(sorted(groups, key=lambda g: g.id)), departed=departed,
        lease_wait_s=max([newest.lease_wait_s, *(m.lease_wait_s for m in left.maps)]),
        number_floor=newest.number_floor + NUMBER_LEAP, osd_epoch_floor=max(newest.osd_epoch_floor, left.osd_epoch),
        disasters=left.disasters))


def _addresses(left: Left) -> Dict[Instance, FrozenSet[str]]:
    """Every instance that anything names, with all its addresses that anything names."""
    named: List[Tuple[Instance, FrozenSet[str]]] = [(d.instance, d.addresses) for d in left.unfenced]
    for gateway in [*left.gateways, *(g for m in left.maps for g in m.gateways)]:
        if gateway.instance is not None:
            named.append((gateway.instance, gateway.addresses))
    named += [(d.instance, d.addresses) for m in left.maps for d in m.departed]
    found: Dict[Instance, FrozenSet[str]] = {}
    for instance, addresses in named:
        found[instance] = found.get(instance, frozenset()) | addresses
    return found


def _gateways(newest: Map, left: Left, addresses: Dict[Instance, FrozenSet[str]],
              over: Set[Instance]) -> Tuple[Gateway, ...]:
    """Those that have a record, which is written before a map names them; others were removed.  One that is being deleted
    gives way where two claim an ANA group's id: the other one has inherited it."""
    made: List[Gateway] = []
    for record in sorted(left.gateways, key=lambda r: (r.deleting, r.id)):
        taken = {g.ana_group_id for g in made}
        number = record.ana_group_id if record.ana_group_id not in taken else smallest_free(taken)
        known = sorted((i for i in addresses if i.gateway == record.id), key=lambda i: (i != record.instance, i))
        latest = max([record.last_number, *(i.number for i in known)])
        instance = next((i for i in known if i.number == latest and i not in over), None)
        availability = Availability.CREATED if instance is None else Availability.SUSPECT
        made.append(replace(
            record, ana_group_id=number, instance=instance, last_number=latest, availability=availability,
            addresses=frozenset() if instance is None else addresses[instance], leaving=False, subsystems=(), digest="",
            suspected_at=NO_VERSION if instance is None else leapt(newest).version))
    return tuple(sorted(made, key=lambda g: g.id))


def _ana_group(owner: Gateway, newest: Map, writers: FrozenSet[Instance], osd_epoch: int, since: Version) -> AnaGroup:
    known = newest.ana_group(owner.ana_group_id)
    passed = osd_epoch if known is None else max(osd_epoch, known.osd_epoch)
    return AnaGroup(owner.ana_group_id, owner.id, Phase.FENCING if writers else Phase.UNSERVED, writers=writers,
                    osd_epoch=passed, since=since)
