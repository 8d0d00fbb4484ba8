"""The three-seat register that holds the map (DESIGN 4): who may write, what a write needs, what a read may conclude.

A small replicated register with ballots.  Promises: two mgrs never both believe a commit of the same ballot; a mgr
that took over has every commit that an earlier mgr saw acknowledged; a reader extends a permission only by what two
seats agree on, and honours a restriction from any seat.  It does not promise that a commit lands: a seat may be gone.

Stored in the omap of each seat object: ``claim`` (``encode_claim``; only ever grows, every write is guarded by
``omap_cmp(claim < new claim)``) and ``map`` (``wire.encode_map``).  A bare claim writes only ``claim``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import FrozenSet, Iterable, Mapping, Optional, Sequence, Tuple

from .model import NO_VERSION, Instance, Map, Version

SEATS = 3
QUORUM = 2

CLAIM_KEY = "claim"
MAP_KEY = "map"

_BALLOT_DIGITS, _EPOCH_DIGITS = 10, 12


def encode_claim(version: Version) -> str:
    """``ballot.epoch`` zero-padded, so that the OSD's byte-wise comparison is the order of versions."""
    return f"{version.ballot:0{_BALLOT_DIGITS}d}.{version.epoch:0{_EPOCH_DIGITS}d}"


def decode_claim(text: str) -> Version:
    """Raises ``ValueError`` naming the text if it is not a claim."""
    ballot, dot, epoch = text.partition(".")
    if not (dot and len(ballot) == _BALLOT_DIGITS and len(epoch) == _EPOCH_DIGITS and (ballot + epoch).isdigit()):
        raise ValueError(f"claim {text!r} is not {'0' * _BALLOT_DIGITS}.{'0' * _EPOCH_DIGITS}")
    return Version(int(ballot), int(epoch))


def still_holds(claim: bytes, gateway_map: Map) -> bool:
    """Whether a seat that held this map when it was read is sure to hold it, from its claim alone.

    Each write of a seat sets its claim, to a higher one unless it stores the map of that claim again, and a version is the
    name of one map.  Of a seat whose claim is not its map's version (a mgr that takes over claims it first), nothing is sure."""
    return claim == encode_claim(gateway_map.version).encode()


def quorum_lost(lost: int) -> bool:
    """With so many seats lost, what the others hold may be older than what was acknowledged."""
    return lost > SEATS - QUORUM


class Progress(str, Enum):
    """How far a write on the three seats has come."""

    PENDING = "pending"
    DONE = "done"
    DEPOSED = "deposed"


@dataclass(frozen=True)
class Tally:
    """One version's way onto the seats.  ``stored``: the highest claim seen on each seat; a seat that timed out or
    failed says nothing and may be asked again: the guard makes a repetition harmless, late or not."""

    version: Version
    stored: Mapping[int, Version] = field(default_factory=dict)

    def acknowledged(self, seat: int) -> "Tally":
        """The seat took the write."""
        return replace(self, stored={**self.stored, seat: self.version})

    def refused(self, seat: int, claim: Version) -> "Tally":
        """The guard failed; ``claim`` is what the seat was then found to hold.  Equal: an earlier try had landed."""
        return replace(self, stored={**self.stored, seat: claim})

    def lost(self, seat: int) -> "Tally":
        """The seat does not hold any more what it took."""
        return replace(self, stored={s: claim for s, claim in self.stored.items() if s != seat})

    @property
    def seats(self) -> FrozenSet[int]:
        """Seats that hold this version."""
        return frozenset(seat for seat, claim in self.stored.items() if claim == self.version)

    @property
    def progress(self) -> Progress:
        if any(claim.ballot > self.version.ballot for claim in self.stored.values()):
            return Progress.DEPOSED
        return Progress.DONE if len(self.seats) >= QUORUM else Progress.PENDING


def adopt(maps: Mapping[int, Optional[Map]], claimed: Iterable[int], in_use: bool = True) -> Optional[Map]:
    """What a new mgr goes on from: the newest map on the seats that took its bare claim.

    ``maps``: seat -> map read *after* the claim was acknowledged there, None where the seat object exists and holds
    no map.  A seat that did not answer, whose object is missing or unreadable is simply absent.  ``in_use``: the group
    has had a map; a seat without one then lost what it held, and is no answer either.

    Raises:
        ValueError: fewer than two claimed seats were read: nothing may be concluded.
    """
    usable = [seat for seat in claimed if seat in maps and not (in_use and maps[seat] is None)]
    if len(usable) < QUORUM:
        raise ValueError(f"only {len(usable)} claimed seats could be read, {QUORUM} are needed")
    found = [gateway_map for gateway_map in (maps[seat] for seat in usable) if gateway_map is not None]
    return max(found, key=lambda m: m.version, default=None)


@dataclass(frozen=True)
class View:
    """What one read of the seats lets a gateway conclude.

    ``permits``: the map that two seats agree on and that nothing newer was seen to restrict, or None.
    ``restricts``: every map whose restrictions count.  ``version``: the floor for the next read.
    """

    permits: Optional[Map]
    restricts: Tuple[Map, ...]
    version: Version

    @property
    def answered(self) -> bool:
        return bool(self.restricts)

    def suspected(self, instance: Instance) -> bool:
        """Some map that counts suspects the instance."""
        return any(_is_suspect(m, instance) for m in self.restricts)

    def over(self, instance: Instance) -> bool:
        """Some map that counts says that the instance must end."""
        return any(m.is_over(instance) for m in self.restricts)

    def may_serve(self, instance: Instance, ana_group_id: int) -> bool:
        """The permitting map lets the instance become optimized for the ANA group and no other map forbids it."""
        return not self.suspected(instance) and self.may_keep(instance, ana_group_id)

    def may_keep(self, instance: Instance, ana_group_id: int) -> bool:
        """As ``may_serve``, suspicion aside: that only ends the extension of the lease."""
        if self.permits is None or self.over(instance):
            return False
        return all(_permits(m, instance, ana_group_id) for m in (self.permits, *self.restricts))


def _is_suspect(gateway_map: Map, instance: Instance) -> bool:
    gateway = gateway_map.current(instance)
    return gateway is not None and gateway.availability.value == "SUSPECT"


def _permits(gateway_map: Map, instance: Instance, ana_group_id: int) -> bool:
    group = gateway_map.ana_group(ana_group_id)
    return group is not None and group.permitted == instance


def judge(answers: Sequence[Optional[Map]], floor: Version = NO_VERSION) -> View:
    """Judge one read of the seats.

    ``answers``: the map of each seat, None where it did not answer, is missing or unreadable.  ``floor``: the highest
    version acted on so far; nobody ever acts on a lower one.  Fewer than two answers conclude nothing, except that
    what restricts counts from any seat.
    """
    seen = [m for m in answers if m is not None and m.version >= floor]
    versions = [m.version for m in seen]
    agreed = max((v for v in versions if versions.count(v) >= QUORUM), default=None)
    restricts = tuple(m for m in seen if agreed is None or m.version >= agreed)
    permits = next((m for m in seen if m.version == agreed), None)
    newest = agreed if agreed is not None else floor
    return View(permits, restricts, max(floor, newest))


def merge(standing: View, fresh: View) -> View:
    """What holds after a further read: a read that two seats did not answer alike ends nothing (the lease does).

    A map newer than the agreed one was acted on when it restricted, so it goes on restricting while the seat that
    showed it is late or silent; otherwise a read that two older seats answer first would undo it.
    """
    permits = fresh.permits or standing.permits
    agreed = NO_VERSION if permits is None else permits.version
    answered = {m.version for m in fresh.restricts}
    newer = {m.version: m for m in standing.restricts if m.version > agreed and m.version not in answered}
    return View(permits, fresh.restricts + tuple(newer.values()) or standing.restricts,
                max(standing.version, fresh.version))


NOTHING_SEEN = View(None, (), NO_VERSION)
