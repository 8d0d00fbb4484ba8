"""How a mgr gets hold of a group: control objects, ballot, claims, and the newest map (DESIGN 4).

Promises: nothing is adopted before two seats took this mgr's bare claim and were read afterwards; a seat that is
missing, silent or undecodable is no answer, never an empty map; seats without a map are believed only while the KV
store says that the group is still being created.  Everything here may be tried again, by the same mgr or the next.

When an operator asked for a repair, and all three seats answered, and two of them certainly lost what they held, the map
is rebuilt from what is left (``core/rebuild.py``).
"""

from __future__ import annotations

import errno
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from . import seat_names
from .bounded import Pump, Turns
from .core import rebuild, register, wire
from .core.model import NO_VERSION, Map, Version
from .kv_records import CREATING, STORE_PREFIX, GroupKey, GroupRecord, Records
from .mon import Answer, MonCommandError, Mons, parsed
from .objects import Create, GroupIo, ObjectWrite, Omap, Place, describe
from .seat_placement import Survey
from .seats import Seat, Seats, claim_in, guarded_write, map_in, no_claim

ANSWER_S = 5.0
STRAGGLER_S = 0.3
"""How long the third seat is waited for once two have answered."""


class NotNow(RuntimeError):
    """The group cannot be taken over at present; the text says why, and what to do."""


class NotActive(RuntimeError):
    """The mons name another mgr as the active one."""


class Adopted(NamedTuple):
    """``found``: None only for a group that is being created.  ``rebuilt``: it was made from what is left."""

    ballot: int
    found: Optional[Map]
    problems: List[str]
    rebuilt: bool = False


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

    def adopt(self, seats: Seats, writable: List[Seat], record: GroupRecord, again: bool = False,
              repair_with: Optional[Sequence[Map]] = None) -> Turns[Adopted]:
        """Raises ``NotNow`` or ``NotActive``.  ``again``: this mgr has held the seats before.  ``repair_with``: an operator
        asked for a repair; older maps of the group."""
        in_use = record.state != CREATING
        ballot = yield from self._ballot()
        claimed, not_claimed = yield from self._claim(seats, writable, ballot, again)
        maps, not_read = yield from self._read(seats, claimed, in_use)
        problems = _in_seat_order({**not_claimed, **not_read})
        try:
            found = register.adopt(maps, [seat.number for seat in claimed], in_use)
        except ValueError as error:
            if repair_with is None:
                raise NotNow("; ".join([str(error), *problems, *self._way_out(seats)])) from None
            uncertain = [s for s in seats.seats if s not in writable or not s.lost and s.number not in maps]
            left = [*repair_with, *(m for m in maps.values() if m is not None)]
            rebuilt = yield from self._rebuild(seats, uncertain, left, problems, record)
            return Adopted(ballot, rebuilt, problems, rebuilt=True)
        if again and found is not None:
            found = rebuild.leapt(found)  # what this mgr wrote before under the same ballot may still land
        return Adopted(ballot, found, problems)

    def _way_out(self, seats: Seats) -> List[str]:
        if not register.quorum_lost(len(seats.lost())):
            return []
        return [f"`ceph nvmeof-ha repair {self._key.pool} {self._key.group}` says what can be done"]

    def _rebuild(self, seats: Seats, uncertain: List[Seat], maps: List[Map], problems: List[str],
                 record: GroupRecord) -> Turns[Map]:
        """Only where no seat can hold a newer map that was not read, and everybody who may write is known: by records
        that are read now, since the mgr before may have stored some after this one began."""
        if uncertain:
            raise NotNow("; ".join(["not repaired: what " + " and ".join(seat.name for seat in uncertain) + " holds is "
                                    "not known, and it may be the newest map; make its placement group take reads and "
                                    "writes (`ceph pg map`, `ceph health detail`)", *problems]))
        prefix = self._key.gateway_key("")
        stored = yield from self._ask({"prefix": "config-key dump", "key": STORE_PREFIX + prefix, "format": "json"})
        records, unusable = Records({key[len(STORE_PREFIX):]: value for key, value in stored.items()}).gateways(self._key)
        if unusable:
            raise NotNow("; ".join(["not repaired: an instance that may still write could be named only in a record that "
                                    "cannot be read; restore it, or remove it (`ceph config-key rm`) if no target of "
                                    "that gateway runs", *unusable]))
        osd_map = yield from self._ask({"prefix": "osd dump", "format": "json"})
        seats.make_anew()
        return rebuild.rebuild(*self._key, rebuild.Left(
            maps, tuple(r.gateway for r in records), tuple(d for r in records for d in r.unfenced), record.disasters, osd_map["epoch"]))

    def _ballot(self) -> Turns[int]:
        mgr_map = yield from self._ask({"prefix": "mgr dump", "format": "json"})
        if mgr_map["epoch"] < self._identity.map_epoch:
            raise NotNow(f"a mon answered with mgr map e{mgr_map['epoch']}, which is older than the one that made this "
                         f"mgr the active one, e{self._identity.map_epoch}")
        if mgr_map["active_gid"] != self._identity.gid:
            raise NotActive(f"the mons name mgr {mgr_map['active_name']!r} (gid {mgr_map['active_gid']}) as the active "
                            f"one, not this one (gid {self._identity.gid})")
        return mgr_map["epoch"]

    def _claim(self, seats: Seats, writable: List[Seat], ballot: int,
               again: bool) -> Turns[Tuple[List[Seat], Dict[int, str]]]:
        """The seats that only this mgr and later ones can write now, and what is wrong with others.  ``again``: this mgr
        has held the seats before."""
        claim = Version(ballot, 0)
        held: Dict[int, Version] = {}
        problems: Dict[int, str] = {}

        def refused(seat: Seat, code: int, omap: Omap) -> None:
            garbage = no_claim(omap, ballot)
            if garbage:
                seat.garbage = omap[register.CLAIM_KEY]
                problems[seat.number] = f"seat object {seat.name} holds {garbage}"
                return
            stored = claim_in(omap)
            if stored is None:
                problems[seat.number] = f"claim of seat object {seat.name} could not be read: {describe(code)}"
            else:
                held[seat.number] = stored

        def written(seat: Seat, code: int) -> None:
            seat.missing, seat.garbage, seat.no_map = code == -errno.ENOENT, None, ""
            if code == 0:
                held[seat.number] = claim
            elif code == -errno.ECANCELED:
                self._io.read_omap(seats.place, seat.name, partial(refused, seat))
            elif not seats.fenced_here(code):
                problems[seat.number] = (f"seat object {seat.name} is missing" if seat.missing else
                                         f"seat object {seat.name} refused a claim: {describe(code)}")
        for seat in writable:
            self._io.write(seats.place, seat.name, guarded_write(claim, None), partial(written, seat))
        yield from self._wait_most(lambda: len(held) + len(problems), ANSWER_S, len(writable))
        ahead = [v for v in held.values() if v.ballot > ballot]
        if ahead:
            raise NotNow(f"a seat holds the claim {max(ahead)}, which is above ballot {ballot}: another mgr is at work")
        claimed = [seat for seat in writable
                   if held.get(seat.number) == claim or again and held.get(seat.number, NO_VERSION).ballot == ballot]
        return claimed, problems

    def _read(self, seats: Seats, claimed: List[Seat],
              in_use: bool) -> Turns[Tuple[Dict[int, Optional[Map]], Dict[int, str]]]:
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
            except wire.NewerFormat as error:
                problems[seat.number] = f"seat object {seat.name} holds what this mgr cannot use ({error})"
                return
            except wire.WireError as error:
                seat.no_map = f"holds what is no map ({error})"
            else:
                if found is None and in_use:
                    seat.no_map = "holds no map, though the group was in use"
                elif found is not None and (found.pool, found.group) != self._key:
                    seat.no_map = f"holds the map of group {found.pool}/{found.group}"
                else:
                    maps[seat.number] = found
            if seat.no_map:
                problems[seat.number] = seat.lost
        for seat in claimed:
            self._io.read_omap(seats.place, seat.name, partial(read, seat))
        yield from self._wait_most(lambda: len(answered), ANSWER_S, len(claimed))
        return maps, problems

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
