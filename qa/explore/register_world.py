"""The world of the register search: three seats, mgrs one after another, readers; as small immutable tuples.

What is real: ``register.Tally``, ``adopt``, ``judge``, ``merge``, and what a ``View`` concludes, on real maps.  What is
played, and the facts it follows (DESIGN 4):

* a seat is an object whose writes are guarded by ``claim < new claim``; each write of a mgr lands on each seat by
  itself: now, later, also after its mgr died, or never; its answer may be lost, then the same write is tried again;
* a mgr sends a bare claim to all seats, reads each seat that took it at some time after that, adopts what two or three
  of them hold, commits it under its own ballot, and decides the next one when that is acknowledged; one write at most
  is outstanding on a seat, and a laggard is offered the newest when it has answered;
* mgrs may be at work at the same time: the older one goes on until a seat shows it a higher ballot;
* a seat object may be lost once; a mgr makes it anew when the two others hold its newest map;
* a reader asks all seats at one moment and judges at each answer; a seat answers with what it held then or what it holds
  now; answers to the round before may still come, and a restarted reader has forgotten everything.

The maps differ in what matters to a reader: instance A serves, A is suspected, B serves and A is over.  Which of these
follows is drawn freely.  The record of what was sent, on which map it builds and what was acknowledged is no part of
the system: the invariants are judged by it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Iterator, List, NamedTuple, Optional, Tuple

from nvmeof_ha.core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Version
from nvmeof_ha.core.register import SEATS, Tally, View

from .world import Violation

A, B = Instance("gw1", 1, "a"), Instance("gw2", 1, "b")
A_SERVES, A_SUSPECT, B_SERVES = 0, 1, 2
FOLLOWS = {A_SERVES: (A_SUSPECT,), A_SUSPECT: (A_SERVES, B_SERVES), B_SERVES: (B_SERVES,)}
KINDS = ("A serves", "A is suspected", "B serves")

WAITING, CLAIMING, LEADING, DEPOSED, DEAD = range(5)


class Content(NamedTuple):
    """A map, by what tells it from others."""

    version: Version
    kind: int

    def __str__(self) -> str:
        return f"{self.version} ({KINDS[self.kind]})"


class Write(NamedTuple):
    """``content`` None: a bare claim.  ``new``: only if the object does not exist; all others only if it does."""

    version: Version
    content: Optional[Content]
    new: bool = False


class Link(NamedTuple):
    """What one mgr has to do with one seat.  ``tallied``: the claim that its tally notes there.  ``read``, ``found``: it
    read the seat after its claim."""

    outstanding: Optional[Write] = None
    tallied: Optional[Version] = None
    missing: bool = False
    read: bool = False
    found: Optional[Content] = None


class Answers(NamedTuple):
    """What one reader has of one seat: in its present round, and in the one before.  ``asked``: what the seat held when
    the round began."""

    asked: Optional[Content] = None
    answer: Optional[Content] = None
    before: Optional[Content] = None


class Seat(NamedTuple):
    exists: bool
    claim: Version
    held: Optional[Content]
    links: Tuple[Link, ...]
    answers: Tuple[Answers, ...]


class Mgr(NamedTuple):
    """``asked``: the newest map it wants stored.  ``done``: acknowledged.  ``left``: decisions that it may still take."""

    status: int = WAITING
    asked: Optional[Content] = None
    done: bool = False
    left: int = 0


class Reader(NamedTuple):
    """``permits``, ``restricts``, ``version``: its view.  ``rounds``: how many it may still begin.  ``since``,
    ``since_before``: the newest version that was acknowledged when its present round, and the one before, began."""

    permits: Optional[Content] = None
    restricts: Tuple[Content, ...] = ()
    version: Version = Version(0, 0)
    rounds: int = 0
    restarts: int = 0
    since: Optional[Version] = None
    since_before: Optional[Version] = None


class Sent(NamedTuple):
    """One map that was ever sent.  ``late``: a later mgr had claimed two seats by then."""

    content: Content
    parent: Optional[Version]
    late: bool
    acknowledged: bool = False


class World(NamedTuple):
    seats: Tuple[Seat, ...]
    mgrs: Tuple[Mgr, ...]
    readers: Tuple[Reader, ...]
    record: Tuple[Sent, ...] = ()
    losses: int = 0
    lost_answers: int = 0


def start(mgrs: int, decisions: int = 0, readers: int = 0, rounds: int = 0, restarts: int = 0, losses: int = 0,
          lost_answers: int = 0) -> World:
    """All seats hold a first map that a mgr of long ago stored."""
    first = Content(Version(1, 1), A_SERVES)
    seat = Seat(True, first.version, first, (Link(),) * mgrs, (Answers(),) * readers)
    return World((seat,) * SEATS, (Mgr(left=decisions),) * mgrs,
                 (Reader(rounds=rounds, restarts=restarts),) * readers, (Sent(first, None, False, True),), losses,
                 lost_answers)


def ballot(mgr: int) -> int:
    return mgr + 2


@lru_cache(maxsize=None)
def real(content: Content) -> Map:
    """The map that a content stands for."""
    over = content.kind == B_SERVES
    suspect = content.kind == A_SUSPECT
    gateways = (
        Gateway("gw1", 1, instance=None if over else A, last_number=1,
                addresses=frozenset() if over else frozenset({"a"}),
                availability=Availability.UNAVAILABLE if over else
                Availability.SUSPECT if suspect else Availability.AVAILABLE,
                suspected_at=content.version if suspect else Version(0, 0)),
        Gateway("gw2", 2, instance=B, last_number=1, addresses=frozenset({"b"}), availability=Availability.AVAILABLE))
    server = B if over else A
    return Map("p", "g", content.version, gateways,
               (AnaGroup(1, "gw1", Phase.ACTIVE, holder=server, writers=frozenset({server})),))


def content_of(found: Optional[Map]) -> Optional[Content]:
    """The content that a map stands for; maps are those of ``real``."""
    if found is None:
        return None
    kind = A_SERVES
    gateway = found.gateway("gw1")
    assert gateway is not None
    if gateway.instance is None:
        kind = B_SERVES
    elif gateway.availability is Availability.SUSPECT:
        kind = A_SUSPECT
    return Content(found.version, kind)


def view_of(reader: Reader) -> View:
    """The reader's view, as ``register`` made it."""
    return View(None if reader.permits is None else real(reader.permits), tuple(real(c) for c in reader.restricts),
                reader.version)


def tally_of(world: World, mgr: int) -> Tally:
    """How far the newest write of a mgr has come, as far as it knows."""
    asked = world.mgrs[mgr].asked
    version = Version(ballot(mgr), 0) if asked is None else asked.version
    return Tally(version, {i: s.links[mgr].tallied for i, s in enumerate(world.seats)
                           if s.links[mgr].tallied is not None})


# ---- the record, and what must hold --------------------------------------------------------------------------------

def line(record: Tuple[Sent, ...], version: Optional[Version]) -> Iterator[Version]:
    """A version and all those that it builds on."""
    by_version = {s.content.version: s for s in record}
    while version is not None:
        yield version
        version = by_version[version].parent


def newest_acknowledged(world: World) -> Version:
    return max(s.content.version for s in world.record if s.acknowledged)


def note_sent(world: World, mgr: int, content: Content, parent: Version) -> World:
    """Raises ``Violation`` if the version names another map already."""
    for sent in world.record:
        if sent.content.version == content.version and sent.content != content:
            raise Violation(f"two maps are sent as {content.version}: {KINDS[sent.content.kind]}; {KINDS[content.kind]}")
        if sent.content == content:
            return world
    late = any(holders(world, later) >= 2 for later in range(mgr + 1, len(world.mgrs)))
    return world._replace(record=tuple(sorted(world.record + (Sent(content, parent, late),))))


def holders(world: World, mgr: int) -> int:
    """Seats that hold this ballot or a later one."""
    return sum(s.exists and s.claim.ballot >= ballot(mgr) for s in world.seats)


def note_acknowledged(world: World, content: Content) -> World:
    """Raises ``Violation`` if this loses another acknowledged map, is lost by a later mgr, or comes from a deposed one."""
    sent = next(s for s in world.record if s.content == content)
    if sent.late:
        raise Violation(f"{content} is acknowledged, and was sent after a later mgr had claimed two seats")
    for other in world.record:
        if other.acknowledged:
            low, high = sorted((other.content.version, content.version))
            if low not in line(world.record, high):
                raise Violation(f"{low} and {high} are both acknowledged, and the later one does not build on the other")
    for number, mgr in enumerate(world.mgrs):
        later = ballot(number) > content.version.ballot and mgr.asked is not None
        if later and content.version not in line(world.record, mgr.asked.version):  # type: ignore[union-attr]
            raise Violation(f"{content} is acknowledged, and the mgr of ballot {ballot(number)} goes on without it")
    record = tuple(s._replace(acknowledged=True) if s.content == content else s for s in world.record)
    return world._replace(record=record)


def check_adopted(world: World, mgr: int, found: Content) -> None:
    """Raises ``Violation`` if a mgr that takes over would lose a map that an earlier one saw acknowledged."""
    kept = set(line(world.record, found.version))
    lost = [s.content for s in world.record
            if s.acknowledged and s.content.version.ballot < ballot(mgr) and s.content.version not in kept]
    if lost:
        raise Violation(f"the mgr of ballot {ballot(mgr)} adopts {found}, which loses {', '.join(map(str, lost))}")


def check_seats(world: World) -> None:
    """Whatever two seats hold was sent before a later mgr had claimed two; one claim never stands beside two maps."""
    held: List[Content] = [s.held for s in world.seats if s.exists and s.held is not None]
    for content in held:
        if any(o.version == content.version and o != content for o in held):
            raise Violation(f"two seats hold different maps as {content.version}")
        if held.count(content) >= 2 and next(s for s in world.record if s.content == content).late:
            raise Violation(f"two seats hold {content}, which was sent after a later mgr had claimed two")


def check_read(world: World, number: int, answers: List[Optional[Content]], since: Version, fresh: View,
               before: View, after: View) -> None:
    """What a reader concludes from one more answer."""
    reader = world.readers[number]
    if fresh.permits is not None:
        permits = content_of(fresh.permits)
        if answers.count(permits) < 2:
            raise Violation(f"reader {number + 1} takes {permits} as permitting, of {_told(answers)}")
        if fresh.permits.version < since:
            raise Violation(f"reader {number + 1} takes {permits} as permitting in a round that began when {since} was "
                            "acknowledged")
    if after.version < before.version or (before.permits and after.permits is None) or (
            before.permits and after.permits and after.permits.version < before.permits.version):
        raise Violation(f"reader {number + 1} goes back from {reader.permits} to {content_of(after.permits)}")
    for instance in (A, B):
        if after.may_serve(instance, 1):
            _check_may_serve(number, instance, answers, before, after)


def _check_may_serve(number: int, instance: Instance, answers: List[Optional[Content]], before: View,
                     after: View) -> None:
    assert after.permits is not None
    name = "A" if instance == A else "B"
    wanted = (B_SERVES,) if instance == B else (A_SERVES,)
    for answer in answers:
        if answer is not None and answer.version > after.permits.version and answer.kind not in wanted:
            raise Violation(f"reader {number + 1} lets {name} serve by {after.permits.version}, though {answer} was read")
    for known in before.restricts:
        forbids = content_of(known).kind not in wanted  # type: ignore[union-attr]
        if known.version > after.permits.version and forbids:
            raise Violation(f"reader {number + 1} lets {name} serve by {after.permits.version} again, after it acted on "
                            f"{content_of(known)}")


def _told(answers: List[Optional[Content]]) -> str:
    return ", ".join("no answer" if a is None else str(a) for a in answers)


def describe(world: World) -> str:
    """The end of a path, for people."""
    lines = [f"seat: {'claim ' + str(s.claim) + ', map ' + str(s.held) if s.exists else 'lost'}" for s in world.seats]
    names = ("not begun", "claims", "leads", "deposed", "dead")
    for number, mgr in enumerate(world.mgrs):
        tally = tally_of(world, number)
        lines.append(f"mgr {ballot(number)}: {names[mgr.status]}, wants {mgr.asked or 'its claim'}, "
                     f"{tally.progress.value} with {len(tally.seats)} seats")
    for number, reader in enumerate(world.readers):
        lines.append(f"reader {number + 1}: permitted by {reader.permits}, restricted by "
                     f"{', '.join(map(str, reader.restricts)) or 'nothing'}")
    lines += [f"sent: {s.content} on {s.parent}{', acknowledged' if s.acknowledged else ''}" for s in world.record]
    return "\n".join("    " + line for line in lines)
