"""When librados may be torn down: not while an operation is under way."""

from __future__ import annotations

import threading
from queue import Queue
from typing import Any, List

import pytest

from nvmeof_ha.rados_ops import RadosIo


class SlowCluster:
    """In place of librados' client: its answer comes when the test says so."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def wait_for_latest_osdmap(self) -> None:
        assert self.answer.wait(30)


@pytest.fixture
def slow_cluster() -> Any:
    slow = SlowCluster()
    yield slow
    slow.answer.set()


def test_an_operation_is_outstanding_until_its_answer_was_taken_from_the_queue(slow_cluster):
    queue: Queue = Queue()
    io, ended = RadosIo(slow_cluster, queue.put, "test"), []  # type: ignore[var-annotated]
    io.wait_for_latest_osdmap(ended.append)
    assert io.outstanding == 1
    slow_cluster.answer.set()
    io.in_turn(queue.get(timeout=30))()
    assert (io.outstanding, ended) == (0, [None])


def test_an_operation_that_ends_in_time_is_waited_for(slow_cluster):
    queue: Queue = Queue()
    io = RadosIo(slow_cluster, queue.put, "test")
    ended: List[Any] = []
    io.wait_for_latest_osdmap(ended.append)
    slow_cluster.answer.set()
    assert io.let_operations_end(queue) and ended == [None]


def test_an_operation_that_hangs_is_given_up_and_reported(slow_cluster):
    queue: Queue = Queue()
    io = RadosIo(slow_cluster, queue.put, "test")
    io.wait_for_latest_osdmap(lambda _result: None)
    assert not io.let_operations_end(queue, 0.05)
