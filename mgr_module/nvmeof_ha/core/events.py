"""What can happen to the core.  Frozen values; the shells build them, ``machine.step`` consumes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import FrozenSet, Optional, Tuple, Union

from .model import NO_VERSION, Instance, Subsystem, Version
from .timing import Timing


class TargetState(str, Enum):
    """What the gateway host says of its target."""

    STARTING = "starting"
    SERVING = "serving"


class Outcome(str, Enum):
    """How a gateway answered one phase of one ANA group."""

    OPTIMIZED = "optimized"
    DRAINED = "drained"
    DECLINED = "declined"


@dataclass(frozen=True)
class Confirmation:
    """``outcome`` for exactly the commit ``since`` of ``AnaGroup.since``.

    ``DECLINED`` promises that nothing was made optimized under that commit, or that it has drained since.
    """

    ana_group_id: int
    since: Version
    outcome: Outcome


@dataclass(frozen=True)
class Notes:
    """What an agent tells operators beside its beacon: nothing is decided by it, and an older agent leaves it out.

    ``release``: of its software.  ``problems``: what of the stored configuration it does not serve, one text each.
    ``hung_moves``: namespaces whose change of ANA group does not end.  ``ana_repairs``: how often it found ANA states
    that it had not set, since it attached to the target.  ``io``: (ANA group id, I/O per second) pairs.
    ``lease_left_s``: when the beacon was made.  ``loop_lag_s``: the longest time by which its event loop was late since
    the last beacon.
    """

    release: str = ""
    problems: Tuple[str, ...] = ()
    hung_moves: Tuple[str, ...] = ()
    ana_repairs: int = 0
    io: Tuple[Tuple[int, int], ...] = ()
    lease_left_s: float = 0.0
    loop_lag_s: float = 0.0


@dataclass(frozen=True)
class Beacon:
    """One beacon of a gateway.

    ``version``: the newest map whose restrictions are all applied.  ``reaped``: instances of this gateway whose
    process this warden has seen end.  ``stuck``: I/O makes no progress although the cluster looks healthy.
    ``addresses``: of the target's RADOS clients; those that the agreed map names already may be left out.
    ``subsystems`` is None unless the ack asked for the full list; ``digest`` names it.  ``connections``: of hosts, each
    counted once for each subsystem.  ``exposed``: what is open to anybody by somebody's choice, one text each; said to
    operators, nothing is decided by it.
    """

    gateway: str
    instance: Optional[Instance]
    sequence: int
    version: Version = NO_VERSION
    target: TargetState = TargetState.STARTING
    leaving: bool = False
    stuck: str = ""
    addresses: FrozenSet[str] = frozenset()
    confirmations: Tuple[Confirmation, ...] = ()
    reaped: Tuple[Instance, ...] = ()
    digest: str = ""
    subsystems: Optional[Tuple[Subsystem, ...]] = None
    load: int = 0
    connections: int = 0
    exposed: Tuple[str, ...] = ()
    notes: Notes = Notes()


@dataclass(frozen=True)
class BeaconReceived:
    beacon: Beacon


@dataclass(frozen=True)
class Tick:
    """Time has passed.  ``green_seats``: seats whose canary came back through the driver's own callback lately.
    ``heard``: beacons that came since the last tick and could wait for this one, oldest first."""

    green_seats: int = 3
    heard: Tuple[Beacon, ...] = ()


@dataclass(frozen=True)
class Committed:
    """Two seats acknowledged exactly this version."""

    version: Version


@dataclass(frozen=True)
class GatewayStored:
    """The mon KV store holds this gateway's record with these addresses."""

    gateway_id: str
    instance: Optional[Instance]
    addresses: FrozenSet[str]


@dataclass(frozen=True)
class Fenced:
    """Every address of the instance is blocklisted; ``osd_epoch`` was read from the mons after the last answer."""

    instance: Instance
    osd_epoch: int


@dataclass(frozen=True)
class FenceFailed:
    instance: Instance
    reason: str


@dataclass(frozen=True)
class Deposed:
    """Another mgr holds a higher ballot, or the mons fenced this one."""

    reason: str


@dataclass(frozen=True)
class Command:
    """What an operator asked for; ``request_id`` comes back in ``Reply``."""

    request_id: int


@dataclass(frozen=True)
class CreateGateway(Command):
    gateway_id: str = ""


@dataclass(frozen=True)
class DeleteGateway(Command):
    gateway_id: str = ""


@dataclass(frozen=True)
class SetEnabled(Command):
    """A disabled gateway hands over what it serves and gets nothing."""

    gateway_id: str = ""
    enabled: bool = True


@dataclass(frozen=True)
class DrainGateways(Command):
    """Disable all of these, if every ANA group has somebody else to go to."""

    gateway_ids: Tuple[str, ...] = ()


@dataclass(frozen=True)
class FenceGateway(Command):
    """An operator vouches that the gateway's present instance is down: it is fenced without waiting for its lease."""

    gateway_id: str = ""


@dataclass(frozen=True)
class SetLocation(Command):
    """``location`` "": none."""

    gateway_id: str = ""
    location: str = ""


@dataclass(frozen=True)
class SetDisaster(Command):
    """That location is lost: its gateways get nothing until ``ClearDisaster``."""

    location: str = ""


@dataclass(frozen=True)
class ClearDisaster(Command):
    """The ANA groups of that location come home one by one."""

    location: str = ""


@dataclass(frozen=True)
class MoveAnaGroup(Command):
    """Hand the ANA group over to gateway ``to``; "": to the one that suits best besides its holder."""

    ana_group_id: int = 0
    to: str = ""


@dataclass(frozen=True)
class SetTiming(Command):
    timing: Timing = field(default_factory=Timing)
    failback_doubling: bool = True


def beacons_in(event: "Event") -> Tuple[Beacon, ...]:
    """All that the event brings, oldest first."""
    if isinstance(event, BeaconReceived):
        return (event.beacon,)
    return event.heard if isinstance(event, Tick) else ()


Event = Union[BeaconReceived, Tick, Committed, GatewayStored, Fenced, FenceFailed, Deposed, CreateGateway,
              DeleteGateway, SetEnabled, DrainGateways, FenceGateway, SetLocation, SetDisaster, ClearDisaster,
              MoveAnaGroup, SetTiming]

