"""Names of a group's control objects, and which names make the three seats fail apart.

An object's name decides its placement group, hence its OSDs.  Out of several possible names per seat those are taken
whose acting sets share the fewest hosts, and then the fewest primaries: on a small cluster every acting set holds every
host, and at least one dead primary then stalls only one seat.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Sequence, Tuple

from .core.register import SEATS

NAMESPACE = "nvmeof_ha"
CANDIDATES = 12
INDEX_FORMAT = "1"


class Placed(NamedTuple):
    """Where an object of this name would be: hosts of its acting set, its acting primary OSD, its placement group."""

    name: str
    hosts: FrozenSet[str]
    primary: int
    placement_group: str = ""


def index_name(group: str) -> str:
    return f"nvmeof_ha.{group}.index"


def wake_name(group: str) -> str:
    return f"nvmeof_ha.{group}.wake"


def sos_name(group: str) -> str:
    """Agents notify it while no mgr answers their beacons; standby mgrs watch it."""
    return f"nvmeof_ha.{group}.sos"


def probe_name(seat_name: str) -> str:
    """Lives in the seat's placement group: written with the seat's name as locator key."""
    return f"{seat_name}.probe"


def candidates(group: str, seat: int) -> List[str]:
    first = f"nvmeof_ha.{group}.seat.{seat}"
    return [first] + [f"{first}.{k}" for k in range(1, CANDIDATES)]


def index_omap(seat_names: Sequence[str]) -> Dict[str, bytes]:
    """What readers find in the index object."""
    values = {"format": INDEX_FORMAT, **{f"seat.{n}": name for n, name in enumerate(seat_names)}}
    return {key: value.encode() for key, value in values.items()}


def choose(placed: Sequence[Sequence[Placed]]) -> Tuple[str, ...]:
    """One name for each seat out of its candidates; the first best, so equal clusters get equal names."""
    return tuple(seat.name for seat in _best(placed))


def _best(placed: Sequence[Sequence[Placed]]) -> Tuple[Placed, ...]:
    assert len(placed) == SEATS
    return min(product(*placed), key=_closeness)


def needlessly_close(seats: Sequence[Placed], candidates: Sequence[Sequence[Placed]]) -> str:
    """What the seats share although seats of other names would share less; empty if they do not.

    ``candidates``: for each seat.  On a cluster that is too small, the others would share as much.
    """
    hosts, primaries = _closeness(seats)
    least_hosts, least_primaries = _closeness(_best(candidates))
    if hosts > least_hosts:
        shared = [(a, b, "hold " + ", ".join(sorted(a.hosts & b.hosts))) for a, b in combinations(seats, 2)
                  if a.hosts & b.hosts]
    elif hosts == least_hosts and primaries > least_primaries:
        shared = [(a, b, f"are led by osd.{a.primary}") for a, b in combinations(seats, 2) if a.primary == b.primary]
    else:
        return ""
    return "; ".join(f"seats {a.name} ({a.placement_group}) and {b.name} ({b.placement_group}) both {what}"
                     for a, b, what in shared)


def _closeness(chosen: Sequence[Placed]) -> Tuple[int, int]:
    pairs = list(combinations(chosen, 2))
    return sum(len(a.hosts & b.hosts) for a, b in pairs), sum(a.primary == b.primary for a, b in pairs)


def hosts_of_osds(osd_tree: Mapping[str, list]) -> Dict[int, str]:
    """OSD id -> host name, from the answer to ``osd tree``; an OSD outside every host counts as a host of its own."""
    hosts = {node["id"]: f"osd.{node['id']}" for node in osd_tree["nodes"] if node["type"] == "osd"}
    for node in osd_tree["nodes"]:
        if node["type"] == "host":
            hosts.update({child: node["name"] for child in node["children"]})
    return hosts
