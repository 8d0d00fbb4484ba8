"""Drivers take turns in one thread: none is forgotten, none keeps another from its turn, none takes another down."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from nvmeof_ha import driver_loop
from nvmeof_ha.bounded import Turns
from nvmeof_ha.driver_loop import DriverLoop, Slot
from testbed.waiting import wait_until

LIMIT_S, WAIT_S = 30, 0.2


@pytest.fixture
def loop() -> Iterator[DriverLoop]:
    loop = DriverLoop(logging.getLogger("test"))
    loop.start()
    yield loop
    loop.stop()
    loop._thread.join(LIMIT_S)
    assert not loop._thread.is_alive()


def slot(loop: DriverLoop, turns: Turns[Any]) -> Slot:
    made = loop.slot()
    made.turns = turns
    made.put(None)
    return made


def collecting(taken: List[Any], longest_s: float, last: Any = "end") -> Turns[None]:
    while not taken or taken[-1] != last:
        taken.append((yield longest_s))


def test_items_come_in_order_and_end_the_wait(loop):
    taken: List[Any] = []
    one = slot(loop, collecting(taken, LIMIT_S * 10))
    for item in (1, 2, "end"):
        one.put(item)
    assert one.ended.wait(LIMIT_S) and taken == [1, 2, "end"]


def test_what_was_put_before_the_beginning_is_the_first_item(loop):
    taken: List[Any] = []
    early = loop.slot()
    early.turns = collecting(taken, LIMIT_S * 10)
    early.put("end")
    early.put(None)
    assert early.ended.wait(LIMIT_S) and taken == ["end"]
    early.put("nobody is there any more")


def test_a_wait_that_an_item_has_ended_does_not_end_again(loop):
    taken: List[Any] = []
    begun_s = time.monotonic()
    one = slot(loop, collecting(taken, WAIT_S))
    for item in range(50):
        one.put(item)
    wait_until(lambda: None in taken, LIMIT_S, "a wait to end", 0.01)
    one.put("end")
    assert one.ended.wait(LIMIT_S)
    assert taken.count(None) <= (time.monotonic() - begun_s) / WAIT_S and [i for i in taken if i is not None][:-1] == [*range(50)]


def test_who_is_due_and_who_has_items_take_turns(loop):
    flooded, due = [], []   # type: List[Any], List[Any]
    enough = threading.Event()

    def waiting() -> Turns[None]:
        for _ in range(50):
            due.append((yield 0.0))
        enough.set()
    one = slot(loop, collecting(flooded, LIMIT_S * 10))
    other = slot(loop, waiting())
    number = 0
    while not enough.is_set():
        number += 1
        one.put(number)
    one.put("end")
    assert other.ended.wait(LIMIT_S) and one.ended.wait(LIMIT_S)
    assert due == [None] * 50 and flooded == [*range(1, number + 1), "end"]


def test_one_that_fails_ends_alone(loop, caplog):
    def failing() -> Turns[None]:
        yield 0.01
        raise RuntimeError("a defect")
    taken: List[Any] = []
    other = slot(loop, collecting(taken, LIMIT_S * 10))
    assert slot(loop, failing()).ended.wait(LIMIT_S)
    other.put("end")
    assert other.ended.wait(LIMIT_S) and "a defect" in caplog.text


def test_the_module_uses_no_queue_that_may_wait_for_ever():
    texts = {path.name: path.read_text() for path in Path(driver_loop.__file__).parent.rglob("*.py")}
    assert len(texts) > 40 and not [name for name, text in texts.items() if "SimpleQueue(" in text]


def test_the_shortest_waits_end_too(loop):
    """`SimpleQueue.get` of Python before 3.13 waits for ever when its time is up before it begins to wait."""
    rounds: List[int] = []

    def waiting() -> Turns[None]:
        for number in range(30000):
            hasty.put('news')
            assert (yield LIMIT_S * 10) == 'news'
            assert (yield number % 7 * 5e-7) is None
            rounds.append(number)
    hasty = slot(loop, waiting())
    assert hasty.ended.wait(LIMIT_S), f'it waits for ever after {len(rounds)} waits'
    assert len(rounds) == 30000
