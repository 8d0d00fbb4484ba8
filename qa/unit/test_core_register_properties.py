"""Quorums that must meet: whatever the seats go through, no reader and no new mgr misses what two seats took.

A history is drawn: mgrs one after another, each claims, adopts and commits; each write lands on some seats, at once or
late; readers read some of the seats at any time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple

from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha.core.model import NO_VERSION, Availability, Instance, Map, Version
from nvmeof_ha.core.register import (NOTHING_SEEN, SEATS, Progress, Tally, View, adopt, decode_claim, encode_claim,
                                     judge, merge)

from .driven import GW1, serving, stored_map

SUBSETS = st.frozensets(st.integers(0, SEATS - 1))


@dataclass
class Seats:
    """Three omap objects; every write carries the guard ``claim < new claim``."""

    claims: List[str] = field(default_factory=lambda: [encode_claim(NO_VERSION)] * SEATS)
    maps: List[Optional[Map]] = field(default_factory=lambda: [None] * SEATS)

    def write(self, seat: int, version: Version, gateway_map: Optional[Map]) -> bool:
        if self.claims[seat] >= encode_claim(version):
            return False
        self.claims[seat] = encode_claim(version)
        if gateway_map is not None:
            self.maps[seat] = gateway_map
        return True

    def tally(self, tally: Tally, seat: int, gateway_map: Optional[Map]) -> Tally:
        if self.write(seat, tally.version, gateway_map):
            return tally.acknowledged(seat)
        return tally.refused(seat, decode_claim(self.claims[seat]))


def gateway_map(version: Version, suspect: bool) -> Map:
    availability = Availability.SUSPECT if suspect else Availability.AVAILABLE
    return replace(stored_map((serving(GW1, availability=availability),), ()), version=version)


class History:
    """Drives one drawn history and keeps what was acknowledged."""

    def __init__(self, data: Any) -> None:
        self.data, self.seats = data, Seats()
        self.acknowledged: List[Map] = []
        self.late: List[Tuple[int, Version, Optional[Map]]] = []
        self.ballot = 0
        self.current: Optional[Map] = None

    def write(self, version: Version, content: Optional[Map]) -> Progress:
        """A write that reaches some seats now, and some later, when nobody waits for it any more."""
        tally = Tally(version)
        for seat in sorted(self.data.draw(SUBSETS, label=f"{version} lands on")):
            tally = self.seats.tally(tally, seat, content)
        self.late += [(seat, version, content) for seat in range(SEATS) if seat not in tally.stored]
        self.taken = tally.seats
        return tally.progress

    def land_late(self) -> None:
        if self.late:
            at = self.data.draw(st.integers(0, len(self.late) - 1), label="lands late")
            self.seats.write(*self.late.pop(at))

    def take_over(self) -> None:
        self.ballot, self.current = self.ballot + 1, None
        if self.write(Version(self.ballot, 0), None) is not Progress.DONE:
            return
        maps = {seat: self.seats.maps[seat] for seat in self.taken}
        try:
            found = adopt(maps, self.taken, in_use=bool(self.acknowledged))
        except ValueError:
            assert None in maps.values()
            return
        newest = max((m.version for m in self.acknowledged), default=NO_VERSION)
        assert (found.version if found else NO_VERSION) >= newest, "a takeover misses nothing acknowledged"
        suspect = bool(found and found.gateways[0].availability is Availability.SUSPECT)
        self.current = gateway_map(Version(self.ballot, (found.version.epoch if found else 0) + 1), suspect)
        self.commit(self.current)

    def change(self) -> None:
        if self.current is not None:
            version = Version(self.ballot, self.current.version.epoch + 1)
            self.commit(gateway_map(version, self.data.draw(st.booleans(), label="suspect")))

    def commit(self, content: Map) -> None:
        """The next commit follows only on an acknowledged one, as in the core."""
        done = self.write(content.version, content) is Progress.DONE
        self.current = content if done else None
        if done:
            self.acknowledged.append(content)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_readers_and_new_mgrs_never_miss_what_two_seats_took(data):
    history, view = History(data), NOTHING_SEEN
    for _ in range(data.draw(st.integers(5, 14))):
        data.draw(st.sampled_from([history.take_over, history.change, history.change, history.land_late]))()
        seats = data.draw(SUBSETS, label="read")
        answers = [history.seats.maps[s] if s in seats else None for s in range(SEATS)]
        read = judge(answers, view.version)
        check_read(read, history.acknowledged)
        assert merge(view, read).version >= view.version
        view = merge(view, read)


def check_read(read: View, acknowledged: List[Map]) -> None:
    newest = max((m.version for m in acknowledged), default=NO_VERSION)
    if read.permits is None:
        return
    assert read.permits.version >= newest, "two seats never agree on less than what was acknowledged"
    assert read.permits in read.restricts
    if any(m.version == read.permits.version and m != read.permits for m in acknowledged):
        raise AssertionError("one version, two contents")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.tuples(st.integers(1, 3), st.booleans()), min_size=3, max_size=3), st.integers(0, 3))
def test_what_permits_is_equal_on_two_seats_and_restricted_by_no_newer_one(drawn, floor):
    contents: Dict[int, Map] = {}
    for answer in filter(None, drawn):
        contents.setdefault(answer[0], gateway_map(Version(1, answer[0]), answer[1]))
    answers = [None if a is None else contents[a[0]] for a in drawn]
    view = judge(answers, Version(1, floor))
    if view.permits is not None:
        assert answers.count(view.permits) >= 2 and view.permits.version >= Version(1, floor)
    suspects = {m.version for m in answers if m and m.gateways[0].availability is Availability.SUSPECT}
    counted = max((v for v in suspects if v >= view.version), default=None)
    assert view.suspected(GW1) == (counted is not None)
    assert not view.over(GW1) and (view.over(Instance("gw1", 1, "other")) or not view.answered)
