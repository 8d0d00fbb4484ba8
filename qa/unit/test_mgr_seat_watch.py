"""A seat stays watched, whatever becomes of its watch; only what may wait for an OSD has a thread."""

from __future__ import annotations

import errno
import threading
from queue import Empty, Queue
from typing import Any, Callable, List

import pytest
import rados

from nvmeof_ha import seat_watch
from nvmeof_ha.rados_ops import RadosIo

ROUTINE = b'{"confirmations":[],"reaped":[],"leaving":false,"stuck":"","subsystems":null}'


class Watch:
    def __init__(self, place: "Place") -> None:
        self._place = place
        self.broken = False

    def check(self) -> None:
        if self.broken:
            raise rados.NotConnected('lost')

    def close(self) -> None:
        self._place.closed.append(self)
        if self.broken:
            raise rados.ConnectionShutdown('this mgr was replaced', errno=errno.ESHUTDOWN)


class Place:
    """In place of librados' ioctx.  ``answers`` not set: the placement group stalls."""

    def __init__(self) -> None:
        self.made: List[Watch] = []
        self.closed: List[Watch] = []
        self.answers = threading.Event()
        self.answers.set()
        self.refuses = False
        self.heard: Callable[..., bytes] = lambda *_arguments: b''
        self.lost: Callable[..., None] = lambda *_arguments: None

    def watch(self, _name: str, heard: Callable[..., bytes], lost: Callable[..., None], _timeout_s: int) -> Watch:
        assert self.answers.wait(30)
        if self.refuses:
            raise rados.ObjectNotFound('no such object', errno=errno.ENOENT)
        self.heard, self.lost = heard, lost
        self.made.append(Watch(self))
        return self.made[-1]


class Ack:
    def text(self) -> bytes:
        return b'ack'


class Driver:
    """Its queue, and the time that it sees."""

    def __init__(self, place: Place) -> None:
        self.queue: Queue = Queue()
        self.now = 100.0
        self.io = RadosIo(None, self.queue.put, 'test')
        self.routine: List[Any] = []
        self.watch = seat_watch.SeatWatch(1, 'seat', place, self.queue.put, self.routine.append, Ack(), self.io._in_thread,
                                          lambda: self.now)

    def turn(self) -> Any:
        """One item: a call is carried out."""
        item = self.queue.get(timeout=30)
        if callable(item):
            item()
        return item

    def idle(self) -> bool:
        try:
            return bool(self.queue.get(timeout=0.02)) and False
        except Empty:
            return not self.io.outstanding


@pytest.fixture
def place() -> Any:
    made = Place()
    yield made
    made.answers.set()


def test_what_is_heard_is_answered_at_once_and_wakes_the_driver_unless_it_is_routine(place):
    driver = Driver(place)
    driver.turn()
    assert place.heard(1, 77, 2, ROUTINE) == b'ack' and driver.routine == [(1, 77, ROUTINE)]
    assert place.heard(1, 78, 2, None) == b'ack' and driver.turn() == (1, 78, b'')


def test_a_lost_watch_is_given_back_and_made_again_whoever_says_so(place):
    driver = Driver(place)
    driver.turn()
    place.lost(1, 'error')
    for _ in ('lost', 'closed', 'made'):
        driver.turn()
    assert place.closed == place.made[:1] and len(place.made) == 2
    place.made[1].broken = True
    driver.watch.poll()
    assert driver.idle(), 'looked at again within the same second'
    driver.now += seat_watch.CHECK_EVERY_S
    driver.watch.poll()
    driver.turn()
    assert 'ESHUTDOWN' in driver.watch.problem, 'what could not be given back is told of until there is another'
    driver.turn()
    assert len(place.made) == 3 and not driver.watch.problem
    assert place.made[1] in seat_watch._WATCHES.values(), 'freed, it would take the mgr with it'


def test_what_is_said_of_an_earlier_watch_is_not_taken_for_this_one(place):
    driver = Driver(place)
    driver.turn()
    first_lost = place.lost
    for _ in range(2):
        first_lost(1, 'error')
    for _ in ('lost', 'lost', 'closed', 'made'):
        driver.turn()
    first_lost(1, 'error')
    driver.turn()
    assert driver.idle() and len(place.made) == 2 and len(place.closed) == 1


def test_while_a_placement_group_stalls_one_call_waits_and_nobody_else(place):
    place.answers.clear()
    driver = Driver(place)
    for _ in range(50):
        driver.now += 1.0
        driver.watch.poll()
    assert driver.io.outstanding == 1
    place.answers.set()
    driver.turn()
    assert driver.idle() and len(place.made) == 1


def test_an_object_that_cannot_be_watched_is_tried_again_less_and_less_often(place):
    place.refuses = True
    driver = Driver(place)
    driver.turn()
    assert 'cannot be watched: ENOENT' in driver.watch.problem
    waits = []
    for _ in range(8):
        begun = driver.now
        while not driver.io.outstanding:
            driver.now += 0.1
            driver.watch.poll()
        driver.turn()
        waits.append(driver.now - begun)
    assert waits[0] < 0.5 and waits == sorted(waits) and 5.0 <= waits[-1] < 5.2
    place.refuses = False
    driver.now += 6
    driver.watch.poll()
    driver.turn()
    assert not driver.watch.problem and len(place.made) == 1


@pytest.mark.parametrize('stalls', [False, True], ids=['watched', 'being made'])
def test_a_watch_that_is_stopped_is_given_back_and_is_outstanding_until_then(place, stalls):
    if stalls:
        place.answers.clear()
    driver = Driver(place)
    if not stalls:
        driver.turn()
    driver.watch.stop()
    assert driver.io.outstanding == 1
    place.answers.set()
    assert driver.io.let_operations_end(driver.queue)
    assert len(place.made) == 1 and place.closed == place.made


def test_a_watch_that_cannot_be_made_stays_that_way_once_it_is_stopped(place):
    place.refuses = True
    driver = Driver(place)
    driver.turn()
    driver.watch.stop()
    driver.now += 60
    driver.watch.poll()
    assert driver.idle()
