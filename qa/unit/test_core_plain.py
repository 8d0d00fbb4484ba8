"""Plain values: what a dataclass becomes, and that nothing else is taken for one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Dict, FrozenSet, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import pytest

from nvmeof_ha.core.plain import Codec, Codecs, PlainError


class Colour(str, Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


@dataclass(frozen=True)
class Inner:
    name: str
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Other:
    flag: bool = False


@dataclass(frozen=True)
class Outer:
    inner: Inner
    points: Tuple[Point, ...] = ()
    pair: Tuple[int, str] = (0, "")
    names: FrozenSet[str] = frozenset()
    by_point: Mapping[Point, float] = None  # type: ignore[assignment]
    by_name: Dict[str, int] = None  # type: ignore[assignment]
    maybe: Optional[Inner] = None
    either: Union[Inner, Other, None] = None


OUTER = Codecs().of(Outer)
FULL = Outer(Inner("a"), (Point(1, 2.5), Point(3, 4)), (7, "x"), frozenset({"b", "a"}), {Point(0, 0.5): 1.0},
             {"z": 1, "a": 2}, Inner("m", Colour.RED), Other(True))
PLAIN = {"inner": {"name": "a"}, "points": [[1, 2.5], [3, 4]], "pair": [7, "x"], "names": ["a", "b"],
         "by_point": [[[0, 0.5], 1.0]], "by_name": [["z", 1], ["a", 2]], "maybe": {"name": "m"},
         "either": {"Other": {"flag": True}}}


def test_a_value_becomes_its_fields_without_those_that_have_their_default_and_comes_back():
    assert OUTER.encode(FULL) == PLAIN
    assert OUTER.decode(PLAIN) == FULL
    assert OUTER.encode(Outer(Inner("a"))) == {"inner": {"name": "a"}}
    assert OUTER.decode({"inner": {"name": "a"}}) == Outer(Inner("a"))


def test_mappings_keep_their_order_because_the_core_forgets_the_oldest_first():
    assert list(OUTER.decode(PLAIN).by_name) == ["z", "a"]


def test_a_union_says_which_of_its_types_a_value_is():
    either = Codecs().of(Union[Inner, Other])
    assert either.encode(Inner("a")) == {"Inner": {"name": "a"}}
    assert either.decode({"Other": {}}) == Other()
    assert Codecs().of(Sequence[Optional[int]]).decode([1, None]) == (1, None)


def test_a_special_type_is_encoded_as_its_owner_likes():
    by_name = Codecs({Inner: Codec(lambda inner: inner.name, Inner)})
    assert by_name.of(Outer).encode(Outer(Inner("a"))) == {"inner": "a"}
    assert by_name.of(Outer).decode({"inner": "a"}) == Outer(Inner("a"))


@pytest.mark.parametrize("hint, value, found", [
    (int, "1", "expected int, found '1'"), (int, True, "expected int"), (str, None, "expected str"),
    (float, "x", "expected float"), (Tuple[int, ...], {"a": 1}, "expected a list"), (Point, [1], "expected 2 items"),
    (Colour, "blue", "Colour: 'blue' is not a valid"), (Inner, {"nam": "a"}, "the fields of Inner"),
    (Inner, [], "the fields of Inner"), (Inner, {}, "Inner: .*missing"),
    (Union[Inner, Other], {"Third": {}}, "named as one of Inner, Other"),
    (Union[Inner, Other], {"Inner": {}, "Other": {}}, "named as one of"), (Union[Inner, Other], 3, "named as one of")])
def test_what_is_no_value_of_the_type_is_refused_with_what_was_found(hint: Any, value: Any, found: str):
    with pytest.raises(PlainError, match=found):
        Codecs().of(hint).decode(value)


@pytest.mark.parametrize("hint", [bytes, object, "text"])
def test_a_type_that_the_core_does_not_use_is_refused_when_the_codec_is_made(hint: Any):
    with pytest.raises(TypeError, match="extend plain.py"):
        Codecs().of(hint)
