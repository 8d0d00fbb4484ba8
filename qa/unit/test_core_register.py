"""Claims about the three seats: what a write needs, what a new mgr adopts, what a reader may conclude."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core.model import NO_VERSION, Availability, Map, Phase, Version
from nvmeof_ha.core.register import (NOTHING_SEEN, Progress, Tally, View, adopt, decode_claim, encode_claim, judge,
                                     merge, quorum_lost, still_holds)

from .driven import GW1, GW2, ana_group, serving, stored_map

OLD, NEW, NEWER = Version(1, 7), Version(1, 8), Version(2, 9)


def held_by_gw1(version: Version, **gw1: object) -> Map:
    return replace(stored_map((replace(serving(GW1), **gw1), serving(GW2)), (ana_group(1, Phase.ACTIVE, GW1),)),
                   version=version)


def drained(version: Version) -> Map:
    return replace(stored_map((serving(GW1), serving(GW2)), (ana_group(1, Phase.DRAINING, GW1),)), version=version)


def test_claims_sort_as_bytes_like_versions():
    versions = [Version(1, 9), Version(1, 10), Version(9, 1), Version(10, 0), Version(2 ** 31, 5)]
    claims = [encode_claim(v).encode() for v in versions]
    assert claims == sorted(claims)
    assert [decode_claim(c.decode()) for c in claims] == versions


@pytest.mark.parametrize("text", ["", "1.2", "0000000001-000000000002", "000000000a.000000000002",
                                  "0000000001.00000000002", "0000000001.000000000002.3"])
def test_a_malformed_claim_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match="claim '.*' is not 0000000000.000000000000"):
        decode_claim(text)


def test_a_seat_still_holds_its_map_while_its_claim_is_that_maps_version():
    found = replace(stored_map((), ()), version=Version(3, 7))
    assert still_holds(encode_claim(Version(3, 7)).encode(), found)
    for claim in (encode_claim(Version(4, 0)), encode_claim(Version(3, 6)), "", "3.7"):
        assert not still_holds(claim.encode(), found)


def test_a_commit_is_done_when_two_seats_took_it():
    tally = Tally(NEW)
    assert tally.progress is Progress.PENDING
    tally = tally.acknowledged(0)
    assert tally.progress is Progress.PENDING
    assert tally.acknowledged(0).progress is Progress.PENDING, "one seat twice is one seat"
    assert tally.acknowledged(2).progress is Progress.DONE
    assert tally.acknowledged(2).seats == {0, 2}


def test_a_seat_that_already_holds_this_version_took_an_earlier_try():
    assert Tally(NEW).acknowledged(0).refused(1, NEW).progress is Progress.DONE


def test_a_seat_that_lost_what_it_took_counts_no_more_until_it_takes_it_again():
    tally = Tally(NEW).acknowledged(0).acknowledged(1).lost(1)
    assert tally.progress is Progress.PENDING and tally.seats == {0}
    assert tally.lost(2) == tally
    assert tally.acknowledged(1).progress is Progress.DONE


def test_a_seat_with_a_later_epoch_of_the_same_ballot_neither_counts_nor_deposes():
    assert Tally(OLD).acknowledged(0).refused(1, NEW).progress is Progress.PENDING


def test_one_seat_with_a_higher_ballot_deposes_even_after_two_acknowledged():
    assert Tally(NEW).acknowledged(0).acknowledged(1).refused(2, Version(2, 0)).progress is Progress.DEPOSED


def test_a_new_mgr_adopts_the_newest_map_of_the_seats_that_took_its_claim():
    old, new = held_by_gw1(OLD), held_by_gw1(NEW)
    assert adopt({0: old, 1: new, 2: old}, {0, 1}) == new
    assert adopt({0: old, 1: old, 2: new}, {0, 1}) == old, "seat 2 was not claimed: its map may yet change"
    assert adopt({0: None, 1: old}, {0, 1, 2}, in_use=False) == old
    assert adopt({0: None, 1: None}, {0, 1}, in_use=False) is None


@pytest.mark.parametrize("maps, claimed", [({0: None}, {0, 1}), ({0: None, 1: None}, {0}), ({}, {0, 1, 2})])
def test_fewer_than_two_claimed_and_read_seats_conclude_nothing(maps, claimed):
    with pytest.raises(ValueError, match="claimed seats could be read, 2 are needed"):
        adopt(maps, claimed, in_use=False)


@pytest.mark.parametrize("lost, gone", [(0, False), (1, False), (2, True), (3, True)])
def test_with_two_seats_lost_no_quorum_remembers_every_acknowledged_map(lost, gone):
    assert quorum_lost(lost) is gone


def test_a_seat_that_lost_its_map_stands_in_for_no_other():
    """Seat 2 was late and seat 0 emptied: what they say together may be older than what was acknowledged."""
    with pytest.raises(ValueError, match="only 1 claimed seats"):
        adopt({0: None, 2: held_by_gw1(OLD)}, {0, 2})


def test_two_equal_answers_permit():
    view = judge([held_by_gw1(OLD), None, held_by_gw1(OLD)])
    assert view.permits == held_by_gw1(OLD) and view.version == OLD and view.answered
    assert view.may_serve(GW1, 1) and view.may_keep(GW1, 1)
    assert not view.may_serve(GW2, 1) and not view.may_serve(GW1, 2)


def test_one_answer_permits_nothing_but_restricts():
    view = judge([held_by_gw1(OLD, availability=Availability.SUSPECT), None, None])
    assert view.permits is None and view.suspected(GW1)
    assert not view.may_keep(GW1, 1)


def test_no_answer_concludes_nothing():
    view = judge([None, None, None], OLD)
    assert view == View(None, (), OLD) and not view.answered


def test_one_newer_seat_takes_away_what_two_older_ones_permit():
    view = judge([held_by_gw1(OLD), held_by_gw1(OLD), drained(NEW)])
    assert view.permits == held_by_gw1(OLD)
    assert not view.may_keep(GW1, 1) and not view.may_serve(GW1, 1)
    assert view.version == OLD, "a commit on one seat may never be acknowledged: it is no floor"


def test_an_older_seat_takes_nothing_away_from_what_two_newer_ones_permit():
    assert judge([held_by_gw1(NEW), drained(OLD), held_by_gw1(NEW)]).may_serve(GW1, 1)


def test_a_suspicion_forbids_becoming_but_not_staying_optimized():
    view = judge([held_by_gw1(NEW, availability=Availability.SUSPECT)] * 2)
    assert view.may_keep(GW1, 1) and not view.may_serve(GW1, 1)


def test_what_is_older_than_the_floor_is_not_heard_at_all():
    assert judge([held_by_gw1(OLD), held_by_gw1(OLD), None], NEW) == View(None, (), NEW)


def test_different_ballots_with_the_same_epoch_are_different_commits():
    same_epoch = Version(2, NEW.epoch)
    assert judge([held_by_gw1(NEW), held_by_gw1(same_epoch), None]).permits is None


def test_an_instance_that_one_newer_seat_calls_over_may_keep_nothing():
    later = held_by_gw1(NEW).without_gateway("gw1").without_ana_group(1)
    view = judge([held_by_gw1(OLD), held_by_gw1(OLD), later])
    assert view.over(GW1) and not view.may_keep(GW1, 1)


def test_a_read_without_a_quorum_leaves_what_was_permitted_before():
    standing = merge(NOTHING_SEEN, judge([held_by_gw1(OLD)] * 3))
    nothing = merge(standing, judge([None, None, None], standing.version))
    assert nothing == standing
    one = merge(standing, judge([drained(NEW), None, None], standing.version))
    assert one.permits == held_by_gw1(OLD) and not one.may_keep(GW1, 1)
    assert merge(standing, judge([drained(NEW)] * 2)).version == NEW


def test_a_restriction_of_a_newer_seat_is_not_undone_by_a_read_that_misses_that_seat():
    agreed = merge(NOTHING_SEEN, judge([held_by_gw1(OLD)] * 3))
    restricted = merge(agreed, judge([drained(NEW), held_by_gw1(OLD), held_by_gw1(OLD)]))
    late = merge(restricted, judge([None, held_by_gw1(OLD), held_by_gw1(OLD)], restricted.version))
    assert not restricted.may_keep(GW1, 1) and not late.may_keep(GW1, 1)
    newest = Version(NEW.ballot, NEW.epoch + 1)
    assert merge(late, judge([None] + [held_by_gw1(newest)] * 2, late.version)).may_keep(GW1, 1)


def test_nothing_seen_permits_nothing():
    assert not NOTHING_SEEN.may_keep(GW1, 1) and NOTHING_SEEN.version == NO_VERSION
    assert not NOTHING_SEEN.suspected(GW1) and not NOTHING_SEEN.over(GW1)
