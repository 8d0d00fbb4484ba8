"""The gateway map: what is stored, and nothing else.

Immutable values that refuse to be built wrong.  The ANA group carries the state, not the (gateway, ANA group) pair,
so that "two holders" cannot be written down.  Everything here survives a mgr; timers and last-heard times do not and
live in ``machine.Soft``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any, FrozenSet, Iterable, Mapping, NamedTuple, Optional, Tuple

from . import lookup
from .timing import Timing

MAX_GATEWAYS = 32
"""2040 controller ids for each ANA group id, and NVMe allows them up to 65519: 32 ranges (gateway-contract 1.6)."""

CONTROLLER_IDS_PER_GATEWAY = 2040

NAME_RULE = "1 to 128 characters out of letters, digits, '.', '-', '_' and ':', beginning with a letter or digit"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}\Z")


class Version(NamedTuple):
    """Names a commit of the map: which mgr wrote it (ballot), and its number (epoch).  Ordered."""

    ballot: int
    epoch: int

    def __str__(self) -> str:
        return f"{self.ballot}.{self.epoch}"


NO_VERSION = Version(0, 0)


class Instance(NamedTuple):
    """One run of a target process: permissions and fences name it, never the gateway alone."""

    gateway: str
    number: int
    token: str

    def __str__(self) -> str:
        return f"{self.gateway}#{self.number}:{self.token}"


class Phase(str, Enum):
    """What an ANA group is doing; see the table in ``machine.py``."""

    UNSERVED = "UNSERVED"
    PROMOTING = "PROMOTING"
    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    FENCING = "FENCING"


class Availability(str, Enum):
    """What is known of a gateway's instance."""

    CREATED = "CREATED"
    AVAILABLE = "AVAILABLE"
    SUSPECT = "SUSPECT"
    UNAVAILABLE = "UNAVAILABLE"


class ModelError(ValueError):
    """A value that must not exist; the text names it and the rule it breaks."""


def require(holds: bool, text: str) -> None:
    """Raise ``ModelError(text)`` unless the rule holds."""
    if not holds:
        raise ModelError(text)


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it can be stored as a gateway id, pool or group name; else raise ``ModelError``."""
    require(bool(_NAME.match(name)), f"{kind} {name!r} cannot be stored: use {NAME_RULE}")
    return name


@dataclass(frozen=True)
class Subsystem:
    """One NVMe subsystem as a gateway reports it.

    ``listeners``: this gateway's listener addresses, ``"ip:port"``; ``namespaces``: (ANA group id, count) pairs.
    """

    nqn: str
    listeners: Tuple[str, ...] = ()
    namespaces: Tuple[Tuple[int, int], ...] = ()

    def namespaces_in(self, ana_group_id: int) -> int:
        return dict(self.namespaces).get(ana_group_id, 0)


@dataclass(frozen=True)
class Gateway:
    """One gateway as the map knows it.  ``instance`` is the admitted one; ``addresses`` are all its contexts'."""

    id: str
    ana_group_id: int
    enabled: bool = True
    deleting: bool = False
    availability: Availability = Availability.CREATED
    instance: Optional[Instance] = None
    last_number: int = 0
    addresses: FrozenSet[str] = frozenset()
    suspected_at: Version = NO_VERSION
    leaving: bool = False
    location: str = ""
    subsystems: Tuple[Subsystem, ...] = ()
    digest: str = ""

    def __post_init__(self) -> None:
        check_name("gateway id", self.id)
        require(1 <= self.ana_group_id <= MAX_GATEWAYS,
                f"gateway {self.id}: ANA group id {self.ana_group_id} is outside 1..{MAX_GATEWAYS}")
        if self.instance is None:
            require(self.availability in (Availability.CREATED, Availability.UNAVAILABLE),
                    f"gateway {self.id} is {self.availability.value} without an instance")
            require(not self.addresses, f"gateway {self.id} has addresses without an instance")
        else:
            require(self.instance.gateway == self.id, f"gateway {self.id} runs {self.instance}")
            require(self.instance.number == self.last_number,
                    f"gateway {self.id}: {self.instance} is not the last instance, {self.last_number}")
            require(self.availability is not Availability.UNAVAILABLE,
                    f"gateway {self.id} is UNAVAILABLE and yet has {self.instance}")

    @cached_property
    def steady(self) -> "Gateway":
        """Without what comes and goes with its beacons: as the mon KV store keeps it."""
        over = self.availability is Availability.UNAVAILABLE
        return replace(self, availability=self.availability if over else Availability.CREATED, suspected_at=NO_VERSION,
                       leaving=False, subsystems=(), digest="")

    def namespace_count(self) -> int:
        return sum(count for s in self.subsystems for _, count in s.namespaces)

    def listener_count(self) -> int:
        return sum(len(s.listeners) for s in self.subsystems)


@dataclass(frozen=True)
class Departed:
    """An instance that is over: its lease has certainly ended, or its warden reaped it.

    ``osd_epoch`` is the OSD map epoch at which all ``addresses`` are blocklisted; None: not fenced (yet).
    """

    instance: Instance
    addresses: FrozenSet[str] = frozenset()
    osd_epoch: Optional[int] = None

    def __post_init__(self) -> None:
        require(self.osd_epoch is None or bool(self.addresses),
                f"{self.instance} cannot be fenced: it has no address")


class Disaster(NamedTuple):
    """A location that an operator declared lost; ``clearing``: its recovery has begun (``locations.py``)."""

    location: str
    clearing: bool = False


_SHAPE = {  # phase -> (has holder, has incoming)
    Phase.UNSERVED: (False, False),
    Phase.PROMOTING: (False, True),
    Phase.ACTIVE: (True, False),
    Phase.DRAINING: (True, False),
    Phase.FENCING: (False, False),
}


@dataclass(frozen=True)
class AnaGroup:
    """One ANA group.  ``since`` is the version of the commit that brought its phase and holder about.

    ``writers``: instances that may have written since the last confirmed drain or fence.  ``osd_epoch``: of the last
    fence; every context must have passed it before it serves this group.  ``target``: where a planned move leads (the
    gateway's id; advisory, chosen again when the drain is confirmed), only while DRAINING.  ``moved_to``: the instance that an operator moved the
    group to; while it lives, the group's home is there and not at the owner.
    """

    id: int
    owner: str
    phase: Phase = Phase.UNSERVED
    holder: Optional[Instance] = None
    incoming: Optional[Instance] = None
    writers: FrozenSet[Instance] = frozenset()
    osd_epoch: int = 0
    since: Version = NO_VERSION
    target: str = ""
    moved_to: Optional[Instance] = None

    def __post_init__(self) -> None:
        shape = (self.holder is not None, self.incoming is not None)
        require(shape == _SHAPE[self.phase],
                f"ANA group {self.id} is {self.phase.value} with holder {self.holder} and incoming {self.incoming}")
        server = self.server
        require(server is None or self.writers == {server},
                f"ANA group {self.id} is {self.phase.value} at {server} while writers are "
                f"{sorted(map(str, self.writers))}")
        require(self.phase is Phase.FENCING or server is not None or not self.writers,
                f"ANA group {self.id} is {self.phase.value} while {sorted(map(str, self.writers))} may write")

    @property
    def server(self) -> Optional[Instance]:
        """The one instance that may be optimized or still has I/O to drain."""
        return self.holder or self.incoming

    @property
    def home(self) -> str:
        """The gateway id where the group belongs for now."""
        return self.owner if self.moved_to is None else self.moved_to.gateway

    @property
    def permitted(self) -> Optional[Instance]:
        """The one instance that this phase lets become or stay optimized."""
        return None if self.phase is Phase.DRAINING else self.server


@dataclass(frozen=True)
class Map:
    """The gateway map of one gateway group, named by ``version``.

    ``lease_wait_s`` is W, never shorter than what any lease given out under an earlier timing needs.
    ``number_floor``: the highest instance number of gateways removed since; a gateway that is created again counts on
    from there, so that an old instance of that id never looks new.  ``osd_epoch_floor``: the highest of any ANA group removed
    since; one that is made again begins with it, because its namespaces may be the same, and so what was fenced there.
    ``disasters``: locations that were lost, and do not serve as before yet.
    """

    pool: str
    group: str
    version: Version = NO_VERSION
    gateways: Tuple[Gateway, ...] = ()
    ana_groups: Tuple[AnaGroup, ...] = ()
    departed: Tuple[Departed, ...] = ()
    timing: Timing = field(default_factory=Timing)
    lease_wait_s: float = 0.0
    number_floor: int = 0
    osd_epoch_floor: int = 0
    disasters: Tuple[Disaster, ...] = ()

    def __post_init__(self) -> None:
        for kind, ids in (("gateway", [g.id for g in self.gateways]), ("ANA group", [g.id for g in self.ana_groups]),
                          ("departed instance", [d.instance for d in self.departed]),
                          ("disaster location", [d.location for d in self.disasters])):
            require(len(set(ids)) == len(ids), f"{kind} named twice in {self.pool}/{self.group}: {ids}")
        owned = [g.ana_group_id for g in self.gateways]
        require(len(set(owned)) == len(owned), f"ANA group ids used twice in {self.pool}/{self.group}: {owned}")
        if self.lease_wait_s < self.timing.lease_wait_s:
            object.__setattr__(self, "lease_wait_s", self.timing.lease_wait_s)

    def gateway(self, gateway_id: str) -> Optional[Gateway]:
        return self._found.gateways.get(gateway_id)

    def ana_group(self, ana_group_id: int) -> Optional[AnaGroup]:
        return self._found.ana_groups.get(ana_group_id)

    def frozen(self, gateway: Gateway) -> bool:
        """Its location was declared lost: it is given no ANA group until an operator clears that."""
        return Disaster(gateway.location) in self.disasters

    def unfenced(self, gateway_id: str) -> Tuple[Departed, ...]:
        """Departed instances of that gateway that can be fenced and are not, as far as is known."""
        return self._found.unfenced.get(gateway_id, ())

    def departure(self, instance: Instance) -> Optional[Departed]:
        return next((d for d in self.departed if d.instance == instance), None)

    def current(self, instance: Instance) -> Optional[Gateway]:
        """The gateway whose admitted instance this is, or None: the instance is unknown, waiting or over."""
        gateway = self.gateway(instance.gateway)
        return gateway if gateway is not None and gateway.instance == instance else None

    def is_over(self, instance: Instance) -> bool:
        """The instance was admitted once and is no more, or its gateway was deleted: it must end."""
        gateway = self.gateway(instance.gateway)
        if gateway is None:
            return True
        return gateway.instance != instance and instance.number <= gateway.last_number

    def served_by(self, instance: Instance) -> Tuple[AnaGroup, ...]:
        return self._found.served.get(instance, ())

    def with_gateway(self, gateway: Gateway) -> "Map":
        others = [g for g in self.gateways if g.id != gateway.id]
        return replace(self, gateways=tuple(sorted(others + [gateway], key=lambda g: g.id)))

    def with_ana_group(self, ana_group: AnaGroup) -> "Map":
        others = [g for g in self.ana_groups if g.id != ana_group.id]
        return self._with(ana_groups=tuple(sorted(others + [ana_group], key=lambda g: g.id)))

    def with_departed(self, departed: Departed) -> "Map":
        others = [d for d in self.departed if d.instance != departed.instance]
        return self._with(departed=tuple(sorted(others + [departed], key=lambda d: d.instance)))

    def without_gateway(self, gateway_id: str) -> "Map":
        gone = [g.last_number for g in self.gateways if g.id == gateway_id]
        return replace(self, gateways=tuple(g for g in self.gateways if g.id != gateway_id),
                       number_floor=max([self.number_floor, *gone]))

    def without_ana_group(self, ana_group_id: int) -> "Map":
        passed = [g.osd_epoch for g in self.ana_groups if g.id == ana_group_id]
        return replace(self, ana_groups=tuple(g for g in self.ana_groups if g.id != ana_group_id),
                       osd_epoch_floor=max([self.osd_epoch_floor, *passed]))

    def ana_group_or_new(self, ana_group_id: int, owner: str) -> AnaGroup:
        """The ANA group of that id, given to ``owner`` if it has to be made."""
        return self.ana_group(ana_group_id) or AnaGroup(ana_group_id, owner, osd_epoch=self.osd_epoch_floor)

    def namespaces_in(self, ana_group_id: int) -> int:
        """Namespaces of an ANA group as the gateways report them (all see the same; a late one sees fewer)."""
        return self._reported.most.get(ana_group_id, 0)

    def namespaces_by_nqn(self, ana_group_id: int) -> Mapping[str, int]:
        """The same for each subsystem that has any."""
        return self._reported.by_nqn.get(ana_group_id, _NOTHING)

    @cached_property
    def _found(self) -> lookup.Found:
        """Made once: rules ask for each gateway and ANA group of each other one."""
        return lookup.found(self)

    @cached_property
    def running(self) -> Tuple[str, ...]:
        """Ids of the gateways that have an instance."""
        return tuple(g.id for g in self.gateways if g.instance is not None)

    @cached_property
    def in_order(self) -> bool:
        """Nothing is left to do with it: who runs is AVAILABLE and wanted, every ANA group is ACTIVE at home, where all of
        it is reached (or nobody runs or serves), and nothing is to be fenced, removed, cleared or waited for."""
        wanted = all(not g.deleting and (g.instance is None or (g.availability is Availability.AVAILABLE and g.enabled
                                                                and not g.leaving)) for g in self.gateways)
        over = all(d.osd_epoch is not None or not d.addresses for d in self.departed)
        served = all(self._at_home(g) if self.running else g.phase is Phase.UNSERVED for g in self.ana_groups)
        return wanted and over and served and not self.disasters and self.lease_wait_s == self.timing.lease_wait_s

    def _at_home(self, group: AnaGroup) -> bool:
        holder = self.current(group.holder) if group.holder is not None else None
        return (group.phase is Phase.ACTIVE and holder is not None and holder.id == group.home
                and {s.nqn for s in holder.subsystems if s.listeners}.issuperset(self.namespaces_by_nqn(group.id)))

    @property
    def nqns(self) -> FrozenSet[str]:
        """Of the subsystems with namespaces, as any gateway reports them."""
        return self._reported.nqns

    @cached_property
    def _reported(self) -> lookup.Reported:
        """Computed once: with many gateways this is most of what a step would cost."""
        return lookup.reported(self.gateways)

    def _with(self, **changes: Any) -> "Map":
        made = replace(self, **changes)
        if made.gateways is self.gateways and "_reported" in self.__dict__:
            made.__dict__["_reported"] = self._reported
        return made

    def content(self) -> "Map":
        """The map without its version: equal contents need no new commit."""
        return self._with(version=NO_VERSION)


_NOTHING: Mapping[str, int] = MappingProxyType({})


def controller_ids(ana_group_id: int) -> Tuple[int, int]:
    """First and last NVMe controller id of the gateway that owns this ANA group (DESIGN 6)."""
    first = CONTROLLER_IDS_PER_GATEWAY * (ana_group_id - 1) + 1
    return first, first + CONTROLLER_IDS_PER_GATEWAY - 1


def smallest_free(used: Iterable[int]) -> int:
    """The smallest positive number not in ``used``."""
    taken = set(used)
    return next(n for n in range(1, len(taken) + 2) if n not in taken)
