"""Claims about reading the seats: what a gateway is told while RADOS does not answer its first question, and that a seat whose
claim alone is read gives what it would have given whole."""

from __future__ import annotations

import errno
import random
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from gw_agent.seat_reader import NOT_READ_YET, UNANSWERED_S, WHOLE_SEAT, SeatReader, index_name
from nvmeof_ha_core import wire
from nvmeof_ha_core.model import Map, Version
from nvmeof_ha_core.register import CLAIM_KEY, MAP_KEY, encode_claim


class SilentIoctx:
    """An OSD that leaves every operation unanswered, as from Ceph 18 on those of a user without OSD caps."""

    name = "rbd"

    def get_omap_vals_by_keys(self, _operation: Any, _keys: Any) -> Tuple[None, int]:
        return None, 0

    def operate_aio_read_op(self, *_arguments: Any) -> None:
        pass


def test_an_index_that_is_not_answered_is_told_with_the_caps_that_may_be_missing():
    reader = SeatReader(SilentIoctx(), "g1", lambda: None)  # type: ignore[arg-type]
    reader.start_round(100.0)
    reader.start_round(100.0 + UNANSWERED_S - 0.1)
    assert reader.trouble == NOT_READ_YET and reader.collect() == []
    reader.start_round(100.0 + UNANSWERED_S)
    assert "lacks caps; it needs mon 'profile rbd' osd 'profile rbd pool=rbd'" in reader.trouble


SEATS = ("s0", "s1", "s2")


def held(version: Optional[Version], claim: Optional[Version] = None) -> Dict[str, bytes]:
    """What a seat holds: a map and its claim, or another."""
    found = {} if version is None else {MAP_KEY: wire.encode_map(Map("rbd", "g1", version))}
    return {**found, CLAIM_KEY: encode_claim(claim or version or Version(0, 0)).encode()}


class Objects:
    """Answers each read at once. ``asked``: of the seats, which keys."""

    name = "rbd"

    def __init__(self) -> None:
        seats = {f"seat.{number}": name.encode() for number, name in enumerate(SEATS)}
        self.objects: Dict[str, Dict[str, bytes]] = {index_name("g1"): {"format": b"1", **seats}}
        self.asked: List[Tuple[str, Tuple[str, ...]]] = []
        self._keys: Tuple[str, ...] = ()
        self._values: List[Tuple[str, bytes]] = []

    def get_omap_vals_by_keys(self, _operation: Any, keys: Sequence[str]) -> Tuple[List[Tuple[str, bytes]], int]:
        self._keys, self._values = tuple(keys), []
        return self._values, 0

    def operate_aio_read_op(self, _operation: Any, name: str, done: Any, _safe: Any) -> None:
        if name in SEATS:
            self.asked.append((name, self._keys))
        there = self.objects.get(name)
        self._values += [(key, there[key]) for key in self._keys if there is not None and key in there]
        done(SimpleNamespace(get_return_value=lambda code=0 if there is not None else -errno.ENOENT: code))


class Read:
    """A reader that knows where the seats are, and what each of its rounds gave."""

    def __init__(self) -> None:
        self.io = Objects()
        self.reader = SeatReader(self.io, "g1", lambda: None)  # type: ignore[arg-type]
        self.now_s = 100.0
        self.round()

    def round(self, news: bool = False) -> List[Optional[Version]]:
        """The version of the map that each seat gave."""
        self.now_s += 0.5
        self.io.asked.clear()
        self.reader.start_round(self.now_s, news)
        rounds = self.reader.collect() + self.reader.collect()
        if not rounds:
            return [None] * len(SEATS)
        assert {found.sent_s for found in rounds} == {self.now_s}
        for data, gateway_map in zip(rounds[-1].data, rounds[-1].maps):
            assert data is None or wire.decode_map(data) == gateway_map
        return [None if gateway_map is None else gateway_map.version for gateway_map in rounds[-1].maps]

    @property
    def keys(self) -> List[Tuple[str, ...]]:
        return [keys for _, keys in self.io.asked]


def test_a_seat_whose_map_is_known_is_asked_for_its_claim_and_for_more_only_when_that_is_another():
    read, first, second = Read(), Version(3, 7), Version(3, 8)
    read.io.objects.update({name: held(first) for name in SEATS})
    assert read.round() == [first] * 3 and read.keys == [WHOLE_SEAT] * 3
    assert read.round() == [first] * 3 and read.keys == [(CLAIM_KEY,)] * 3
    read.io.objects["s1"] = held(second)
    assert read.round() == [first, second, first] and read.keys == [(CLAIM_KEY,)] * 3 + [WHOLE_SEAT]
    assert read.round() == [first, second, first] and read.keys == [(CLAIM_KEY,)] * 3
    assert read.round(news=True) == [first, second, first] and read.keys == [WHOLE_SEAT] * 3


@pytest.mark.parametrize("there", [None, {}, {CLAIM_KEY: b"garbage"}, {MAP_KEY: b"garbage", CLAIM_KEY: b"garbage"}])
def test_a_seat_that_lost_its_claim_gives_nothing_and_is_read_whole_until_it_does_again(there):
    read, version = Read(), Version(3, 7)
    read.io.objects.update({name: held(version) for name in SEATS})
    read.round()
    if there is None:
        del read.io.objects["s0"]
    else:
        read.io.objects["s0"] = there
    assert read.round() == [None, version, version]
    assert read.round() == [None, version, version] and read.keys[0] == WHOLE_SEAT
    read.io.objects["s0"] = held(version)
    assert read.round() == [version] * 3


def test_of_a_seat_that_a_new_mgr_has_only_claimed_or_whose_map_is_another_the_claim_tells_nothing():
    read, old, new = Read(), Version(3, 7), Version(4, 0)
    read.io.objects.update({name: held(old, claim=new) for name in SEATS})
    assert read.round() == [old] * 3
    assert read.round() == [old] * 3 and read.keys == [WHOLE_SEAT] * 3
    read.io.objects["s2"] = held(new)   # the same claim: its map was put back
    assert read.round() == [old, old, new]


@pytest.mark.parametrize("seed", range(50))
def test_what_a_seat_gives_is_what_it_holds_whatever_is_written_to_it(seed):
    """By mgrs: claims first, then maps; a map again under its claim, seats that vanish and are made anew."""
    rng, read = random.Random(seed), Read()
    version = Version(1, 1)
    for _ in range(40):
        for name in SEATS:
            what = rng.random()
            there = read.io.objects.get(name)
            if what < 0.1:
                version = Version(version.ballot + 1, 0)
                read.io.objects[name] = {**(there or {}), **held(None, claim=version)}
            elif what < 0.4:
                version = version._replace(epoch=version.epoch + 1)
                read.io.objects[name] = held(version)
            elif what < 0.45:
                read.io.objects.pop(name, None)
            elif what < 0.5 and there:
                read.io.objects[name] = held(version, claim=version)
        shown = [read.io.objects.get(name, {}).get(MAP_KEY) for name in SEATS]
        assert read.round(news=rng.random() < 0.2) == [data and wire.decode_map(data).version for data in shown]
