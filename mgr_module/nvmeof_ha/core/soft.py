"""What one mgr knows beside the map: times, last-heard beacons, work under way.  Lost with the mgr, and safe to lose.

``State`` is the whole input and output of ``machine.step``.  Mappings are treated as values: copied, never changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, FrozenSet, Mapping, NamedTuple, Optional, Tuple, TypeVar

from .actions import StoreGateway
from .model import NO_VERSION, AnaGroup, Departed, Disaster, Gateway, Instance, Map, Version
from .timing import BACKOFF_CAP_S, Timing

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Acked(NamedTuple):
    """When the commit ``version`` was acknowledged, in seconds."""

    version: Version
    at: float


def note_acked(known: Mapping[K, Acked], versions: Mapping[K, Version], now: float) -> Mapping[K, Acked]:
    """Keep the time of each commit already acknowledged, note ``now`` for the new ones, forget the rest."""
    return {key: known[key] if key in known and known[key].version == version else Acked(version, now)
            for key, version in versions.items()}


class Backoff(NamedTuple):
    """Not again before ``until``; the next failure waits ``delay_s``."""

    until: float
    delay_s: float


def backed_off(previous: Optional[Backoff], first_s: float, now: float) -> Backoff:
    """Double the delay with every failure, up to ``BACKOFF_CAP_S``."""
    delay_s = first_s if previous is None else min(2 * previous.delay_s, BACKOFF_CAP_S)
    return Backoff(now + delay_s, delay_s)


def put(mapping: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    return {**mapping, key: value}


def drop(mapping: Mapping[K, V], key: K) -> Mapping[K, V]:
    return {k: v for k, v in mapping.items() if k != key}


@dataclass(frozen=True)
class Soft:
    """Keyed by gateway id where not said otherwise; all times are the mgr's monotonic seconds.

    ``disasters``: those that the mon KV store was last asked to hold.  ``stored``: the records that it confirmed;
    ``storing``: those last asked for.  ``announced``: addresses of an instance that serves, which the map must not name
    before its record does.  ``declined``: keyed by (ANA group id, gateway id).  ``uninformed_since``: ANA
    group id -> its holder, and since when that one has not reported a subsystem that others report.  ``waiting``:
    (version, request id) of commands whose reply waits for a
    commit.
    ``hearing_since``: since when beacons could be heard without a gap.  ``refused``: gateway id or instance -> why.
    """

    records: Tuple[Gateway, ...] = ()
    disasters: Tuple[Disaster, ...] = ()
    failback_doubling: bool = True
    heard: Mapping[str, float] = field(default_factory=dict)
    sequence: Mapping[str, int] = field(default_factory=dict)
    load: Mapping[str, int] = field(default_factory=dict)
    connections: Mapping[str, int] = field(default_factory=dict)
    stuck: Mapping[str, str] = field(default_factory=dict)
    admitted: Mapping[str, float] = field(default_factory=dict)
    well_since: Mapping[str, float] = field(default_factory=dict)
    flaps: Mapping[str, Tuple[float, ...]] = field(default_factory=dict)
    suspect_acked: Mapping[str, Acked] = field(default_factory=dict)
    phase_acked: Mapping[int, Acked] = field(default_factory=dict)
    timing_acked: Optional[Tuple[Timing, float]] = None
    drain_backoff: Mapping[int, Backoff] = field(default_factory=dict)
    uninformed_since: Mapping[int, Tuple[Instance, float]] = field(default_factory=dict)
    declined: Mapping[Tuple[int, str], Backoff] = field(default_factory=dict)
    stored: Mapping[str, Gateway] = field(default_factory=dict)
    storing: Mapping[str, StoreGateway] = field(default_factory=dict)
    announced: Mapping[str, FrozenSet[str]] = field(default_factory=dict)
    fencing: FrozenSet[Instance] = frozenset()
    fence_retry: Mapping[Instance, float] = field(default_factory=dict)
    ticked: float = 0.0
    hearing_since: float = 0.0
    waiting: Tuple[Tuple[Version, int], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    want_full: FrozenSet[str] = frozenset()
    woken: Version = NO_VERSION
    fence_errors: Mapping[Instance, str] = field(default_factory=dict)
    mass_silence: bool = False


@dataclass(frozen=True)
class State:
    """``map``: decided, perhaps not stored yet.  ``in_flight``: handed out as ``Commit`` and not acknowledged.
    ``committed``: the last acknowledged map; None until this mgr's first commit is, and nothing is decided before."""

    map: Map
    ballot: int
    committed: Optional[Map] = None
    in_flight: Optional[Map] = None
    soft: Soft = field(default_factory=Soft)
    stopped: str = ""

    @property
    def next_version(self) -> Version:
        """The version of the next map to be committed: what a change made now will be known by."""
        last = self.in_flight or self.committed or self.map
        return Version(self.ballot, last.version.epoch + 1)

    def with_map(self, gateway_map: Map) -> "State":
        return copied(self, map=gateway_map)

    def with_soft(self, **changes: Any) -> "State":
        return copied(self, soft=copied(self.soft, **changes))


def copied(value: T, **changes: Any) -> T:
    """``dataclasses.replace`` for values that check nothing, as ``State`` and ``Soft``: it would ask for each of 30 fields in
    turn, which was a third of what a beacon cost."""
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__, **changes)
    return made


def change(state: State, group: AnaGroup, **changes: Any) -> State:
    """Give an ANA group a new phase, known from now on by the version that will store it."""
    changed = replace(group, since=state.next_version, **{"target": "", **changes})
    return state.with_map(state.map.with_ana_group(changed))


def record_of(gateway: Gateway, unfenced: Tuple[Departed, ...] = (),
              announced: FrozenSet[str] = frozenset()) -> StoreGateway:
    """What the mon KV store keeps of a gateway: the operator's intent, its instance number, its addresses (``announced``:
    those that the map does not name yet), and its instances that are over and not fenced."""
    steady = gateway.steady
    return StoreGateway(replace(steady, addresses=steady.addresses | announced) if announced else steady, unfenced)
