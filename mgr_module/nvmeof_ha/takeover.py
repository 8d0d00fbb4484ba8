"""How a mgr gets hold of a group: control objects, ballot, claims, and the newest map (DESIGN 4).

Promises: nothing is adopted before two seats took this mgr's bare claim and were read afterwards; a seat that is
missing, silent or undecodable is no answer, never an empty map; seats without a map are believed only while the KV
store says that the group is still being created.  Everything here may be tried again, by the same mgr or the next.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from . import seat_names
from .bounded import Pump, Turns
from .core import register, wire
from .core.model import Map, Version
from .kv_records import CREATING, GroupKey, GroupRecord
from .mon import Answer, MonCommandError, Mons, parsed
from .objects import Create, GroupIo, ObjectWrite, Omap, Place, describe
from .seat_placement import Survey
from .seats import BALLOT_LEAP, Seat, Seats, claim_in, guarded_write, map_in

ANSWER_S = 5.0
STRAGGLER_S = 0.3
"""How long the third seat is waited for once two have answered."""


class NotNow(RuntimeError):
    """The group cannot be taken over at present; the text says why, and what to do."""


class NotActive(RuntimeError):
    """The mons name another mgr as the active one."""


class Adopted(NamedTuple):
    """``found``: None only for a group that is being created."""

    ballot: int
    found: Optional[Map]
    problems: List[str]


class Identity(NamedTuple):
    """This mgr, as the mgr map that made it the active one names it."""

    gid: int
    map_epoch: int


class TakeOver:
    """Used by one group's driver only, for as many attempts as it takes."""

    def __init__(self, key: GroupKey, identity: Identity, mon: Mons, io: GroupIo, pump: Pump,
                 enqueue: Callable[[Callable[[], None]], None]) -> None:
        """``enqueue``: run this in the driver's turn."""
        self._key, self._identity = key, identity
        self._mon, self._io, self._pump, self._enqueue = mon, io, pump, enqueue
        self._made: Dict[str, Optional[int]] = {}

    # -- control objects ------------------------------------------------------------------------------------------

    def choose_names(self, pool: str) -> Turns[List[str]]:
        """Names of the three seat objects, by where their placement groups are now."""
        candidates = [seat_names.candidates(self._key.group, seat) for seat in range(register.SEATS)]
        survey = Survey(self._mon, self._enqueue, pool, [name for names in candidates for name in names])
        if not (yield from self._pump(lambda: survey.ended, ANSWER_S)):
            raise NotNow(f"the mons did not answer 'osd tree' and 'osd map' within {ANSWER_S:g} s")
        if survey.problem:
            raise NotNow(survey.problem)
        placed = survey.placed
        return list(seat_names.choose([[placed[name] for name in names] for names in candidates]))

    def make_objects(self, place: Place, names: List[str]) -> Turns[None]:
        """Seats, wake and SOS objects and index of a group that is being created; harmless where they exist."""
        wanted = {**{name: {} for name in names}, **self._signposts(names)}
        self._make(place, wanted)
        yield from self._pump(lambda: None not in self._made.values(), ANSWER_S)
        for name in wanted:
            code = self._made[name]
            if code != 0:
                why = "no answer" if code is None else describe(code)
                raise NotNow(f"object {name} could not be made in namespace {seat_names.NAMESPACE}: {why}; check that "
                             "the pool takes writes (`ceph -s`)")

    def renew_signposts(self, place: Place, names: List[str]) -> None:
        """Wake and SOS objects and index again, as the record has them: a damaged index would keep a gateway from
        starting.  Nobody waits for them."""
        self._make(place, self._signposts(names))

    def _signposts(self, names: List[str]) -> Dict[str, Omap]:
        return {seat_names.wake_name(self._key.group): {}, seat_names.sos_name(self._key.group): {},
                seat_names.index_name(self._key.group): seat_names.index_omap(names)}

    def _make(self, place: Place, wanted: Dict[str, Omap]) -> None:
        for name, omap in wanted.items():
            if self._made.get(name, -1) is not None:  # an attempt that still hangs is not sent again
                self._made[name] = None
                self._io.write(place, name, ObjectWrite(create=Create.IDEMPOTENT, omap=omap),
                               partial(self._made.__setitem__, name))

    # -- ballot, claims, map --------------------------------------------------------------------------------------

    def wait_for_writable(self, seats: Seats) -> Turns[List[Seat]]:
        """Seats whose placement group just took a write: a claim to another one would only block its readers."""
        yield from self._wait_most(lambda: len(seats.writable()), ANSWER_S)
        if seats.pool_gone:
            raise NotNow("the pool of its control objects does not exist any more")
        found = seats.writable()
        if len(found) < register.QUORUM:
            raise NotNow("; ".join([f"{len(found)} of {register.SEATS} seats take writes, {register.QUORUM} are needed",
                                    *seats.problems()]))
        return found

    def adopt(self, seats: Seats, writable: List[Seat], record: GroupRecord) -> Turns[Adopted]:
        """Raises ``NotNow`` or ``NotActive``."""
        ballot = yield from self._ballot()
        claimed = yield from self._claim(seats, writable, ballot)
        maps, problems = yield from self._read(seats, claimed)
        try:
            found = register.adopt(maps, [seat.number for seat in claimed])
        except ValueError as error:
            raise NotNow("; ".join([str(error), *problems])) from None
        if found is None and record.state != CREATING:
            raise NotNow("the seats hold no map, but the group was in use: the control objects were lost or replaced; "
                         "nothing is decided until they are restored")
        return Adopted(ballot, found, problems)

    def _ballot(self) -> Turns[int]:
        mgr_map = yield from self._ask({"prefix": "mgr dump", "format": "json"})
        if mgr_map["epoch"] < self._identity.map_epoch:
            raise NotNow(f"a mon answered with mgr map e{mgr_map['epoch']}, which is older than the one that made this "
                         f"mgr the active one, e{self._identity.map_epoch}")
        if mgr_map["active_gid"] != self._identity.gid:
            raise NotActive(f"the mons name mgr {mgr_map['active_name']!r} (gid {mgr_map['active_gid']}) as the active "
                            f"one, not this one (gid {self._identity.gid})")
        return mgr_map["epoch"]

    def _claim(self, seats: Seats, writable: List[Seat], ballot: int) -> Turns[List[Seat]]:
        claim = Version(ballot, 0)
        held: Dict[int, Version] = {}
        problems: Dict[int, str] = {}

        def refused(seat: Seat, code: int, omap: Omap) -> None:
            try:
                stored = claim_in(omap)
            except ValueError as error:
                problems[seat.number] = f"seat object {seat.name} holds garbage: {error}"
                return
            if stored is None:
                problems[seat.number] = f"claim of seat object {seat.name} could not be read: {describe(code)}"
            else:
                held[seat.number] = stored

        def written(seat: Seat, code: int) -> None:
            if code == 0:
                held[seat.number] = claim
            elif code == -errno.ECANCELED:
                self._io.read_omap(seats.place, seat.name, partial(refused, seat))
            elif not seats.fenced_here(code):
                seat.missing = seat.missing or code == -errno.ENOENT
                problems[seat.number] = (f"seat object {seat.name} is missing" if seat.missing else
                                         f"seat object {seat.name} refused a claim: {describe(code)}")
        for seat in writable:
            self._io.write(seats.place, seat.name, guarded_write(claim, None), partial(written, seat))
        yield from self._wait_most(lambda: len(held) + len(problems), ANSWER_S, len(writable))
        ahead = [v for v in held.values() if ballot < v.ballot <= ballot + BALLOT_LEAP]
        if ahead:
            raise NotNow(f"a seat holds the claim {max(ahead)}, which is above ballot {ballot}: another mgr is at work")
        for seat in writable:
            if seat.number in held and held[seat.number].ballot > ballot:
                problems[seat.number] = (f"seat object {seat.name} holds the claim {held[seat.number]}, and no mgr "
                                         "map is that far ahead: garbage")
        claimed = [seat for seat in writable if held.get(seat.number) == claim]
        if len(claimed) < register.QUORUM:
            raise NotNow("; ".join([f"{len(claimed)} seats took the claim {claim}, {register.QUORUM} are needed",
                                    *_in_seat_order(problems)]))
        return claimed

    def _read(self, seats: Seats, claimed: List[Seat]) -> Turns[Tuple[Dict[int, Optional[Map]], List[str]]]:
        maps: Dict[int, Optional[Map]] = {}
        answered: Set[int] = set()
        problems: Dict[int, str] = {}

        def read(seat: Seat, code: int, omap: Omap) -> None:
            answered.add(seat.number)
            if code:
                problems[seat.number] = f"seat object {seat.name} could not be read: {describe(code)}"
                return
            try:
                found = map_in(omap)
            except wire.WireError as error:
                problems[seat.number] = (f"seat object {seat.name} holds what this mgr cannot use ({error}); the map "
                                         "of a good seat can be copied there (README, What happens when)")
                return
            if found is not None and (found.pool, found.group) != self._key:
                problems[seat.number] = f"seat object {seat.name} holds the map of group {found.pool}/{found.group}"
                return
            maps[seat.number] = found
        for seat in claimed:
            self._io.read_omap(seats.place, seat.name, partial(read, seat))
        yield from self._wait_most(lambda: len(answered), ANSWER_S, len(claimed))
        return maps, _in_seat_order(problems)

    # -- waiting --------------------------------------------------------------------------------------------------

    def _wait_most(self, count: Callable[[], int], timeout_s: float, all_of: int = register.SEATS) -> Turns[None]:
        """Until all answered; or, a little after two did; or until the timeout."""
        if (yield from self._pump(lambda: count() >= min(register.QUORUM, all_of), timeout_s)):
            yield from self._pump(lambda: count() >= all_of, STRAGGLER_S)

    def _ask(self, command: Dict[str, Any]) -> Turns[Any]:
        answers: List[Answer] = []
        self._mon.issue(command, lambda answer: self._enqueue(lambda: answers.append(answer)))
        if not (yield from self._pump(lambda: bool(answers), ANSWER_S)):
            raise NotNow(f"the mons did not answer {command['prefix']!r} within {ANSWER_S:g} s")
        try:
            return parsed(answers[0], command["prefix"])
        except MonCommandError as error:
            raise NotNow(str(error)) from None


def _in_seat_order(problems: Dict[int, str]) -> List[str]:
    """Not as the answers came, or each attempt would tell the same as something new."""
    return [problems[number] for number in sorted(problems)]
