"""The three seat objects while this mgr writes them: probes, commits, laggards, lost seats.

Promises: ``Committed`` is reported only when two seats hold exactly that version; ``Deposed`` only when a seat holds a
higher ballot or the mons fenced this mgr; a write is guarded by ``claim``, so whatever lands late does no harm; one
write at most is outstanding on a seat, and none is sent to a seat whose placement group does not take writes (a read
waits behind an unfinished write of the same object); a seat that missed commits is offered the newest until it has it.  A seat that lost what it held takes no part in a
quorum before both others hold the newest map, unless an operator had the map rebuilt (``rebuild.py``).
What this mgr wrote is looked at again, a seat in its turn: a seat that holds its claim beside another map was written by
somebody who must not, serves no reader, and gets its map back.  Whatever a mgr finds that takes over is replaced only
by a regular commit, and only ``takeover.py`` adopts maps.
"""

from __future__ import annotations

import errno
import time
from typing import Callable, Dict, List, Optional, Sequence

from .core import wire
from .core.events import Committed, Deposed, Event
from .core.model import Map, Version
from .core.register import CLAIM_KEY, MAP_KEY, QUORUM, Progress, Tally, decode_claim, encode_claim
from .measures import Histogram, SeatTimes
from .objects import Create, GroupIo, Guard, ObjectWrite, Omap, Place, Relation, describe
from .seat_names import probe_name

PROBE_EVERY_S = 1.0
PROBE_LATE_S = 0.5
PROBE_VALID_S = 3.0
_PROBE_WRITE = ObjectWrite(data=b"probe")
CHECK_EVERY_S = 0.75
"""One seat in its turn; once one is found to be damaged the others are looked at, too.  So of two that a stranger damages at
once the first is found after two such turns and the ticks that they wait for, at rest within 2 s: sooner than a lease ends
for want of two readable seats."""
MENDED_TOLD_S = 60.0
RETRY_FIRST_S = 0.2
RETRY_CAP_S = 5.0

BALLOT_LEAP = 1_000_000
"""A ballot is an epoch of the mgr map, which grows by a few a minute at most: one that is further ahead is garbage, and
must not depose every mgr for ever.  A seat that holds it takes no commit either way."""


def guarded_write(version: Version, gateway_map: Optional[Map]) -> ObjectWrite:
    """The claim, and the map unless it is a bare claim, if the seat's claim is lower; the object must exist."""
    values = _values(version, gateway_map)
    return ObjectWrite(guard=Guard(CLAIM_KEY, Relation.LOWER, values[CLAIM_KEY]), omap=values)


def _same_claim_write(version: Version, gateway_map: Map) -> ObjectWrite:
    """The map, if the seat still holds the claim it was written with."""
    values = _values(version, gateway_map)
    return _over(values[CLAIM_KEY], version, gateway_map)


def _over(claim: bytes, version: Version, gateway_map: Map) -> ObjectWrite:
    """Claim and map, if the seat still holds exactly this claim."""
    return ObjectWrite(guard=Guard(CLAIM_KEY, Relation.EQUAL, claim), omap=_values(version, gateway_map))


def _new_seat(version: Version, gateway_map: Map) -> ObjectWrite:
    return ObjectWrite(create=Create.EXCLUSIVE, omap=_values(version, gateway_map))


def _values(version: Version, gateway_map: Optional[Map]) -> Omap:
    values = {CLAIM_KEY: encode_claim(version).encode()}
    if gateway_map is not None:
        values[MAP_KEY] = wire.encode_map(gateway_map)
    return values


def no_claim(omap: Omap, ballot: int) -> str:
    """Why what a seat holds as its claim is none that any mgr wrote; "" if it may be one, or there is none."""
    try:
        claim = claim_in(omap)
    except ValueError as error:
        return f"garbage: {error}"
    if claim is not None and claim.ballot > ballot + BALLOT_LEAP:
        return f"garbage: the claim {claim}, and no mgr map is that far ahead"
    return ""


def claim_in(omap: Omap) -> Optional[Version]:
    """The claim of a seat, None when it has none.  Raises ``ValueError`` when it is garbage."""
    value = omap.get(CLAIM_KEY)
    return None if value is None else decode_claim(value.decode("ascii", "replace"))


def map_in(omap: Omap) -> Optional[Map]:
    """The map of a seat, None when it holds none yet.  Raises ``wire.WireError``."""
    value = omap.get(MAP_KEY)
    return None if value is None else wire.decode_map(value)


class Seat:
    """One seat object: whether its placement group takes writes, and how the last write fared."""

    def __init__(self, number: int, name: str, probe_place: Place) -> None:
        """``probe_place``: with the seat's name as locator key."""
        self.number, self.name, self.probe_place = number, name, probe_place
        self.problem = ""
        self.busy = self.missing = self.damaged = self.checking = False
        self.no_map = ""
        """Why what it holds in place of a map is none."""
        self.garbage: Optional[bytes] = None
        """What it holds in place of a claim."""
        self.checked = self.mended_at = float("-inf")
        self.mended = ""
        self.retry_at, self._retry_s = 0.0, RETRY_FIRST_S
        self.probing = False
        self.probe_sent = self.probe_taken = float("-inf")
        self.offered = 0.0
        self.commits, self.probes = Histogram(), Histogram()

    @property
    def lost(self) -> str:
        """Why what the seat held is certainly gone, "" if it may be there."""
        why = "is missing" if self.missing else self.no_map
        if not why and self.garbage is not None:
            why = "holds garbage in place of a claim"
        return why and f"seat object {self.name} {why}"

    def writable(self, now: float) -> bool:
        late = self.probing and now - self.probe_sent >= PROBE_LATE_S
        return not late and now - self.probe_taken < PROBE_VALID_S

    def failed(self, why: str, now: float) -> None:
        self.problem = f"seat object {self.name}: {why}"
        self.retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, RETRY_CAP_S)

    def took(self) -> None:
        self.problem, self.retry_at, self._retry_s = "", 0.0, RETRY_FIRST_S
        self.missing = self.damaged = False
        self.garbage, self.no_map = None, ""


class Seats:
    """Used by one group's driver only."""

    def __init__(self, io: GroupIo, place: Place, names: Sequence[str], probe_places: Sequence[Place],
                 report: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        """``report``: give this event to the core."""
        self._io, self.place, self._report, self._clock = io, place, report, clock
        self.seats = [Seat(n, name, probe_places[n]) for n, name in enumerate(names)]
        self._map: Optional[Map] = None
        self._tally: Optional[Tally] = None
        self._values: Omap = {}
        self._reported: Optional[Version] = None
        self._deposed = self._anew = False
        self.pool_gone = False

    def make_anew(self) -> None:
        """The next commit is of a map that was rebuilt, so lost seats take it as others do."""
        self._anew = True

    def lost(self) -> List[str]:
        """Seats whose content is certainly gone."""
        return [seat.lost for seat in self.seats if seat.lost]

    def commit(self, gateway_map: Map) -> None:
        """Write this map until two seats hold it; a later call replaces it."""
        self._map, self._tally = gateway_map, Tally(gateway_map.version)
        self._values = _values(gateway_map.version, gateway_map)
        for seat in self.seats:
            seat.damaged = False   # a regular commit takes its turn
        self._offer_all()

    def poll(self) -> None:
        """Called each tick: probes that are due, retries, laggards."""
        now = self._clock()
        for seat in self.seats:
            if not seat.probing and now - seat.probe_sent >= PROBE_EVERY_S:
                self._probe(seat, now)
        if now - max(seat.checked for seat in self.seats) >= CHECK_EVERY_S:
            for seat in sorted(self._to_check(now), key=lambda seat: seat.checked)[:1]:
                self._check(seat, now)
        self._offer_all()

    def writable(self) -> List[Seat]:
        now = self._clock()
        return [seat for seat in self.seats if seat.writable(now)]

    def times(self) -> Dict[int, SeatTimes]:
        """So far, by any thread."""
        return {seat.number: SeatTimes(seat.commits.snapshot(), seat.probes.snapshot()) for seat in self.seats}

    @property
    def all_hold(self) -> bool:
        """All three seats hold the newest commit."""
        return self._tally is not None and len(self._tally.seats) == len(self.seats)

    def problems(self) -> List[str]:
        now = self._clock()
        found = [seat.problem for seat in self.seats if seat.problem]
        stalled = [seat for seat in self.seats if not seat.writable(now) and not seat.problem]
        found += [f"seat object {seat.name}: its placement group takes no writes" for seat in stalled]
        return found + [seat.mended for seat in self.seats if now - seat.mended_at < MENDED_TOLD_S]

    def fenced_here(self, code: int) -> bool:
        """The mons blocklisted this mgr's RADOS client: it was replaced."""
        if code == -errno.ESHUTDOWN:
            self._depose("the mons blocklisted this mgr: another one has taken over")
        return code == -errno.ESHUTDOWN

    # -- probes ---------------------------------------------------------------------------------------------------

    def _probe(self, seat: Seat, now: float) -> None:
        seat.probing, seat.probe_sent = True, now

        def ended(code: int) -> None:
            seat.probing = False
            if code == 0:
                seat.probe_taken = self._clock()
                seat.probes.note(seat.probe_taken - now)
            elif code == -errno.ENOENT:
                self.pool_gone = True  # a probe makes its object, so only the pool can be missing
            elif not self.fenced_here(code):
                seat.failed(f"its placement group refuses a write: {describe(code)}", self._clock())
        self._io.write(seat.probe_place, probe_name(seat.name), _PROBE_WRITE, ended)

    # -- what the seats hold ----------------------------------------------------------------------------------------

    def _to_check(self, now: float) -> List[Seat]:
        """Those that took the newest commit and can be read."""
        holding = () if self._tally is None else self._tally.seats
        return [seat for seat in self.seats
                if seat.number in holding and not (seat.busy or seat.checking) and seat.writable(now)]

    def _check(self, seat: Seat, now: float) -> None:
        """Is what the seat took still there?"""
        tally = self._tally
        assert tally is not None
        seat.checking, seat.checked = True, now

        def read(code: int, omap: Omap) -> None:
            seat.checking = False
            if self._tally is not None and self._tally.version == tally.version and not seat.busy:
                self._checked(seat, code, omap)
        self._io.read_omap(self.place, seat.name, read)

    def _checked(self, seat: Seat, code: int, omap: Omap) -> None:
        assert self._tally is not None
        claim, data = omap.get(CLAIM_KEY), omap.get(MAP_KEY)
        same_claim = claim == self._values[CLAIM_KEY]
        if self.fenced_here(code) or code not in (0, -errno.ENOENT) or same_claim and data == self._values[MAP_KEY]:
            return
        self._tally = self._tally.lost(seat.number)
        if same_claim:
            seat.damaged, seat.mended_at = True, self._clock()
            seat.mended = (f"seat object {seat.name} was written by somebody else ({_not_a_map(data)}) and gets its "
                           "map back; find out who may write to this RADOS namespace (README, Caps)")
        self._offer_all()
        for other in self._to_check(self._clock()):
            self._check(other, self._clock())

    # -- commits --------------------------------------------------------------------------------------------------

    def _offer_all(self) -> None:
        now = self._clock()
        for seat in self.seats:
            if self._tally is None or self._deposed:
                return
            holds = self._tally.stored.get(seat.number)
            due = holds is None or holds < self._tally.version
            if due and not seat.busy and now >= seat.retry_at and seat.writable(now):
                self._offer(seat)

    def _offer(self, seat: Seat) -> None:
        assert self._map is not None and self._tally is not None
        gateway_map, version = self._map, self._map.version
        what = guarded_write(version, gateway_map)
        if seat.lost and not self._anew and len(self._tally.seats - {seat.number}) < QUORUM:
            return  # a new seat must not stand in for a lost one until both others hold the newest map
        if seat.missing:
            what = _new_seat(version, gateway_map)
        elif seat.garbage is not None:
            what = _over(seat.garbage, version, gateway_map)
        elif seat.damaged:
            what = _same_claim_write(version, gateway_map)
        seat.busy, seat.offered = True, self._clock()
        self._io.write(self.place, seat.name, what, lambda code: self._written(seat, version, code))

    def _written(self, seat: Seat, version: Version, code: int) -> None:
        seat.busy = False
        now = self._clock()
        if code == 0:
            seat.took()
            seat.commits.note(now - seat.offered)
            if self._tally is not None and version == self._tally.version:
                self._tally = self._tally.acknowledged(seat.number)
                self._judge()
        elif code == -errno.ECANCELED:
            seat.damaged = False
            self._read_claim(seat)
        elif code == -errno.EEXIST:
            seat.missing = False
        elif code == -errno.ENOENT:
            seat.missing = True
            seat.failed("is missing; it is made again as soon as both others hold the newest map", now)
        elif not self.fenced_here(code):
            seat.failed(f"refused a commit: {describe(code)}", now)
        self._offer_all()

    def _read_claim(self, seat: Seat) -> None:
        """The guard failed: an earlier try had landed, or another mgr holds the seat."""
        seat.busy = True

        def read(code: int, omap: Omap) -> None:
            seat.busy = False
            now = self._clock()
            if self._tally is None:
                return
            garbage = "" if code else no_claim(omap, self._tally.version.ballot)
            claim = None if code or garbage else claim_in(omap)
            if garbage:
                seat.garbage = omap[CLAIM_KEY]
                seat.failed(f"holds {garbage}; it is written anew as soon as both others hold the newest map", now)
            elif claim is not None:
                self._refused(seat, claim)
            elif not self.fenced_here(code):
                seat.failed(f"refused a commit and its claim could not be read: {describe(code)}", now)
        self._io.read_omap(self.place, seat.name, read)

    def _refused(self, seat: Seat, claim: Version) -> None:
        assert self._tally is not None
        seat.took()
        self._tally = self._tally.refused(seat.number, claim)
        self._judge()

    def _judge(self) -> None:
        assert self._tally is not None
        progress = self._tally.progress
        if progress is Progress.DEPOSED:
            highest = max(self._tally.stored.values())
            self._depose(f"a seat holds the claim {highest}: another mgr has taken over")
        elif progress is Progress.DONE and self._reported != self._tally.version:
            self._reported, self._anew = self._tally.version, False
            self._report(Committed(self._tally.version))

    def _depose(self, reason: str) -> None:
        if not self._deposed:
            self._deposed = True
            self._report(Deposed(reason))


def _not_a_map(data: Optional[bytes]) -> str:
    """What is wrong with what a seat holds in place of its map."""
    if data is None:
        return "its map is gone"
    try:
        return f"it holds version {wire.decode_map(data).version}"
    except wire.WireError as error:
        return str(error)
