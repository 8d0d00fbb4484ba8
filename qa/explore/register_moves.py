"""Everything that can happen in one state of the register's world, as small tuples: what, to whom, where.

``moves`` lists them, ``follow`` carries one out with the register's own functions, ``tell`` says it in words.  Seats that
are alike cannot be told apart: of those, only the first is taken.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from nvmeof_ha.core import register
from nvmeof_ha.core.model import Version
from nvmeof_ha.core.register import QUORUM, Progress, Tally

from .register_world import (CLAIMING, DEAD, DEPOSED, FOLLOWS, KINDS, LEADING, WAITING, Answers, Content, Link, Mgr,
                             Reader, Seat, World, Write, ballot, check_adopted, check_read, check_seats, content_of,
                             newest_acknowledged, note_acknowledged, note_sent, real, tally_of, view_of)

Move = Tuple[Any, ...]


def moves(world: World) -> Iterator[Move]:
    different = [i for i, seat in enumerate(world.seats) if seat not in world.seats[:i]]
    for number, mgr in enumerate(world.mgrs):
        yield from _mgr_moves(world, number, mgr, different)
    for number, reader in enumerate(world.readers):
        yield from _reader_moves(world, number, reader, different)
    if world.losses:
        for index in different:
            if world.seats[index].exists:
                yield "lose", index


def _mgr_moves(world: World, number: int, mgr: Mgr, different: List[int]) -> Iterator[Move]:
    if mgr.status == WAITING:
        if number == 0 or world.mgrs[number - 1].status != WAITING:
            yield "begin", number
        return
    alive = mgr.status in (CLAIMING, LEADING)
    for index in different:
        seat = world.seats[index]
        link = seat.links[number]
        if link.outstanding is not None:
            yield "land", number, index
            if alive and world.lost_answers and _takes(seat, link.outstanding):
                yield "land unanswered", number, index
        if mgr.status == CLAIMING and seat.exists and not link.read and link.tallied == Version(ballot(number), 0):
            yield "read", number, index
        if mgr.status == LEADING and link.outstanding is None and mgr.asked is not None:
            if link.tallied == mgr.asked.version and seat.claim != link.tallied:
                yield "look", number, index
    if mgr.status == CLAIMING and sum(s.links[number].read for s in world.seats) >= QUORUM:
        yield "adopt", number
    if mgr.status == LEADING and mgr.done and mgr.left and mgr.asked is not None:
        for kind in FOLLOWS[mgr.asked.kind]:
            yield "decide", number, kind
    if alive:
        yield "die", number


def _reader_moves(world: World, number: int, reader: Reader, different: List[int]) -> Iterator[Move]:
    if reader.rounds:
        yield "ask", number
    for index in different:
        seat = world.seats[index]
        answers = seat.answers[number]
        if reader.since is not None and answers.answer is None:
            if answers.asked is not None:
                yield "answer then", number, index
            if seat.exists and seat.held is not None and seat.held != answers.asked:
                yield "answer now", number, index
        if reader.since_before is not None and answers.before is None and seat.exists and seat.held is not None:
            yield "answer late", number, index
    if reader.restarts and (reader.permits or reader.restricts):
        yield "restart", number


def follow(world: World, move: Move) -> World:
    """Raises ``Violation``."""
    after = _FOLLOW[move[0]](world, *move[1:])
    check_seats(after)
    return _without_what_cannot_matter(after)


# ---- one part of the world changed ----------------------------------------------------------------------------------

def _with_mgr(world: World, number: int, mgr: Mgr) -> World:
    return world._replace(mgrs=world.mgrs[:number] + (mgr,) + world.mgrs[number + 1:])


def _with_seat(world: World, index: int, seat: Seat) -> World:
    return world._replace(seats=world.seats[:index] + (seat,) + world.seats[index + 1:])


def _linked(seat: Seat, number: int, link: Link) -> Seat:
    return seat._replace(links=seat.links[:number] + (link,) + seat.links[number + 1:])


def _with_link(world: World, number: int, index: int, **changes: Any) -> World:
    seat = world.seats[index]
    return _with_seat(world, index, _linked(seat, number, seat.links[number]._replace(**changes)))


def _with_tally(world: World, number: int, tally: Tally) -> World:
    return world._replace(seats=tuple(
        _linked(s, number, s.links[number]._replace(tallied=tally.stored.get(i))) for i, s in enumerate(world.seats)))


def _without_what_cannot_matter(world: World) -> World:
    """A mgr that decides nothing any more has forgotten everything; what it sent and can never land is gone."""
    certain = not world.losses and all(s.exists for s in world.seats)
    for number, mgr in enumerate(world.mgrs):
        if mgr.status in (DEAD, DEPOSED):
            seats = []
            for seat in world.seats:
                write = seat.links[number].outstanding
                gone = write is None or certain and not _takes(seat, write)
                seats.append(_linked(seat, number, Link(None if gone else write)))
            world = world._replace(seats=tuple(seats))
    return world


# ---- mgrs -----------------------------------------------------------------------------------------------------------

def _begin(world: World, number: int) -> World:
    claim = Write(Version(ballot(number), 0), None)
    world = _with_mgr(world, number, world.mgrs[number]._replace(status=CLAIMING))
    return world._replace(seats=tuple(_linked(s, number, Link(claim)) for s in world.seats))


def _takes(seat: Seat, write: Write) -> bool:
    return not seat.exists if write.new else seat.exists and seat.claim < write.version


def _written(seat: Seat, write: Write) -> Seat:
    return seat._replace(exists=True, claim=write.version, held=seat.held if write.content is None else write.content)


def _land(world: World, number: int, index: int) -> World:
    """The write is carried out at its seat, and its mgr, if it still works, learns how it went."""
    seat = world.seats[index]
    write = seat.links[number].outstanding
    assert write is not None
    takes = _takes(seat, write)
    world = _with_seat(world, index, _written(seat, write) if takes else seat)
    world = _with_link(world, number, index, outstanding=None)
    if world.mgrs[number].status not in (CLAIMING, LEADING):
        return world
    tally = tally_of(world, number)
    if takes:
        world = _with_link(world, number, index, missing=False)
        tally = tally.acknowledged(index) if write.version == tally.version else tally
    elif write.new or not seat.exists:
        world = _with_link(world, number, index, missing=not write.new)
    else:
        tally = tally.refused(index, seat.claim)
    return _judged(world, number, tally)


def _judged(world: World, number: int, tally: Tally) -> World:
    world, mgr = _with_tally(world, number, tally), world.mgrs[number]
    if tally.progress is Progress.DEPOSED:
        return _with_mgr(world, number, Mgr(DEPOSED))
    if mgr.asked is not None and tally.progress is Progress.DONE and not mgr.done:
        world = note_acknowledged(world, mgr.asked)
        world = _with_mgr(world, number, mgr._replace(done=True))
    return _offered(world, number)


def _offered(world: World, number: int) -> World:
    """Every seat that is not known to hold the newest map is offered it, a lost one only once both others have it."""
    asked = world.mgrs[number].asked
    if asked is None:
        return world
    tally = tally_of(world, number)
    for index, seat in enumerate(world.seats):
        link = seat.links[number]
        due = link.tallied is None or link.tallied < asked.version
        if not due or link.outstanding is not None or link.missing and len(tally.seats - {index}) < QUORUM:
            continue
        world = _with_link(world, number, index, outstanding=Write(asked.version, asked, link.missing))
    return world


def _land_unanswered(world: World, number: int, index: int) -> World:
    """The write is carried out, its answer is lost, and the same write is tried again."""
    write = world.seats[index].links[number].outstanding
    assert write is not None
    return _with_seat(world, index, _written(world.seats[index], write))._replace(lost_answers=world.lost_answers - 1)


def _read(world: World, number: int, index: int) -> World:
    return _with_link(world, number, index, read=True, found=world.seats[index].held)


def _adopt(world: World, number: int) -> World:
    links = [s.links[number] for s in world.seats]
    claimed = [i for i, link in enumerate(links) if link.tallied == Version(ballot(number), 0)]
    maps = {i: None if link.found is None else real(link.found) for i, link in enumerate(links) if link.read}
    found = content_of(register.adopt(maps, claimed))
    assert found is not None
    check_adopted(world, number, found)
    world = world._replace(seats=tuple(
        _linked(s, number, s.links[number]._replace(read=False, found=None)) for s in world.seats))
    return _sent(world, number, Content(Version(ballot(number), found.version.epoch + 1), found.kind), found.version)


def _sent(world: World, number: int, content: Content, parent: Version) -> World:
    world = note_sent(world, number, content, parent)
    world = _with_tally(world, number, Tally(content.version))
    mgr = world.mgrs[number]._replace(status=LEADING, asked=content, done=False)
    return _offered(_with_mgr(world, number, mgr), number)


def _decide(world: World, number: int, kind: int) -> World:
    mgr = world.mgrs[number]
    assert mgr.asked is not None
    version = Version(ballot(number), mgr.asked.version.epoch + 1)
    world = _with_mgr(world, number, mgr._replace(left=mgr.left - 1))
    return _sent(world, number, Content(version, kind), mgr.asked.version)


def _die(world: World, number: int) -> World:
    return _with_mgr(world, number, Mgr(DEAD))


def _look(world: World, number: int, index: int) -> World:
    return _judged(world, number, tally_of(world, number).lost(index))


def _lose(world: World, index: int) -> World:
    seat = world.seats[index]._replace(exists=False, claim=Version(0, 0), held=None)
    return _with_seat(world, index, seat)._replace(losses=world.losses - 1)


# ---- readers --------------------------------------------------------------------------------------------------------

def _with_reader(world: World, number: int, reader: Reader) -> World:
    return world._replace(readers=world.readers[:number] + (reader,) + world.readers[number + 1:])


def _with_answers(seat: Seat, number: int, answers: Answers) -> Seat:
    return seat._replace(answers=seat.answers[:number] + (answers,) + seat.answers[number + 1:])


def _ask(world: World, number: int) -> World:
    reader = world.readers[number]
    reader = reader._replace(rounds=reader.rounds - 1, since=newest_acknowledged(world), since_before=reader.since)
    seats = tuple(_with_answers(s, number, Answers(s.held, None, s.answers[number].answer)) for s in world.seats)
    return _with_reader(world._replace(seats=seats), number, reader)


def _answer(world: World, number: int, index: int, which: str) -> World:
    seat = world.seats[index]
    answers = seat.answers[number]
    if which == "late":
        answers = answers._replace(before=seat.held)
    else:
        answers = answers._replace(answer=answers.asked if which == "then" else seat.held, asked=None)
    world = _with_seat(world, index, _with_answers(seat, number, answers))
    reader = world.readers[number]
    since = reader.since_before if which == "late" else reader.since
    assert since is not None
    found: List[Optional[Content]] = [s.answers[number].before if which == "late" else s.answers[number].answer
                                      for s in world.seats]
    before = view_of(reader)
    fresh = register.judge([None if c is None else real(c) for c in found], before.version)
    after = register.merge(before, fresh)
    check_read(world, number, found, since, fresh, before, after)
    restricts = [content_of(m) for m in after.restricts]
    return _with_reader(world, number, reader._replace(
        permits=content_of(after.permits), restricts=tuple(c for c in restricts if c is not None),
        version=after.version))


def _restart(world: World, number: int) -> World:
    reader = world.readers[number]
    seats = tuple(_with_answers(s, number, Answers()) for s in world.seats)
    return _with_reader(world._replace(seats=seats), number,
                        Reader(rounds=reader.rounds, restarts=reader.restarts - 1))


_FOLLOW: Dict[str, Callable[..., World]] = {
    "begin": _begin, "land": _land, "land unanswered": _land_unanswered, "read": _read, "adopt": _adopt,
    "decide": _decide, "die": _die, "look": _look, "lose": _lose, "ask": _ask, "restart": _restart,
    "answer then": lambda w, n, i: _answer(w, n, i, "then"), "answer now": lambda w, n, i: _answer(w, n, i, "now"),
    "answer late": lambda w, n, i: _answer(w, n, i, "late")}


# ---- words ----------------------------------------------------------------------------------------------------------

_WORDS = {
    "begin": "mgr {0} begins", "land": "{2} of mgr {0} reaches seat {1}",
    "land unanswered": "{2} of mgr {0} reaches seat {1}, its answer is lost", "read": "mgr {0} reads seat {1}",
    "adopt": "mgr {0} adopts the newest map that it read", "decide": "mgr {0} decides that {2}", "die": "mgr {0} dies",
    "look": "mgr {0} looks at seat {1} again", "lose": "seat {1} is lost", "ask": "reader {0} asks all seats",
    "answer then": "seat {1} answers reader {0} with what it held when asked",
    "answer now": "seat {1} answers reader {0} with what it holds now",
    "answer late": "seat {1} answers an earlier question of reader {0}", "restart": "reader {0} restarts"}


def tell(world: World, move: Move) -> str:
    """The move in words; mgrs are named by their ballot."""
    what, who = move[0], move[1]
    is_reader = what.startswith("answer") or what in ("ask", "restart")
    third = ""
    if what.startswith("land"):
        write = world.seats[move[2]].links[who].outstanding
        assert write is not None
        third = ("the claim " if write.content is None else "the map ") + str(write.version)
    elif what == "decide":
        third = KINDS[move[2]]
    seat = who if what == "lose" else move[2] if len(move) > 2 else 0
    return _WORDS[what].format(who + 1 if is_reader else ballot(who), seat + 1, third)


def key(world: World) -> int:
    """Seats cannot be told apart, so their order does not count."""
    return hash((tuple(sorted(map(hash, world.seats))), *world[1:]))


def everything(world: World) -> Dict[str, Move]:
    """All moves by their words."""
    return {tell(world, move): move for move in moves(world)}
