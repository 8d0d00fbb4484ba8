"""A host that does 4 KiB I/O as fast as it is answered, with few commands in flight; and what a difference of two such
measurements means."""

from __future__ import annotations

import random
import selectors
import time
from contextlib import ExitStack
from math import expm1, log
from statistics import fmean, median
from typing import Dict, List, NamedTuple, Sequence, Tuple

from target_sim.initiator import Host, Queue
from testbed.gateway import Gateway

BLOCK = bytes(4096)
READ, WRITE = 0x02, 0x01
LBA_BYTES = 512
SHUFFLES = 2000
CONFIDENCE = 0.95


class Round(NamedTuple):
    """Of some seconds of I/O."""

    iops: float
    p99_ms: float


class SteadyHost:
    """A context manager.  Each queue has one command in flight, read or write by turns of chance, anywhere in the
    namespace."""

    def __init__(self, gateway: Gateway, host_nqn: str, nqn: str, nsid: int, namespace_bytes: int, queues: int) -> None:
        self._where = (gateway.listener_port, nqn, queues, host_nqn, gateway.address)
        self._nsid = nsid
        self._blocks = namespace_bytes // len(BLOCK)
        self._chance = random.Random(1)
        self._stack = ExitStack()

    def __enter__(self) -> SteadyHost:
        port, nqn, queues, host_nqn, address = self._where
        self._host = self._stack.enter_context(Host(port, nqn, queues=queues, hostnqn=host_nqn, address=address))
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    def round(self, seconds: float) -> Round:
        took_s: List[float] = []
        begun_s = time.monotonic()
        with selectors.DefaultSelector() as ready:
            under_way: Dict[Queue, Tuple[int, float]] = {}
            for queue in self._host.io:
                ready.register(queue, selectors.EVENT_READ)
                under_way[queue] = self._submit(queue)
            while under_way:
                for key, _ in ready.select():
                    queue = key.fileobj
                    command, sent_s = under_way.pop(queue)
                    assert queue.wait(command).status == 0
                    now_s = time.monotonic()
                    took_s.append(now_s - sent_s)
                    if now_s - begun_s < seconds:
                        under_way[queue] = self._submit(queue)
        took_s.sort()
        return Round(len(took_s) / (time.monotonic() - begun_s), 1000 * took_s[int(0.99 * len(took_s))])

    def _submit(self, queue: Queue) -> Tuple[int, float]:
        block = self._chance.randrange(self._blocks) * len(BLOCK) // LBA_BYTES
        fields = {'nsid': self._nsid, 'cdw10': block, 'cdw12': len(BLOCK) // LBA_BYTES - 1}
        sent_s = time.monotonic()
        if self._chance.random() < 0.5:
            return queue.submit(WRITE, data=BLOCK, **fields), sent_s
        return queue.submit(READ, length=len(BLOCK), **fields), sent_s


class Compared(NamedTuple):
    """Medians; by how many percent the first of a pair is above the second, in the mean of all pairs; and `noise`: what
    chance alone stays within, in 95 of 100 cases."""

    first: float
    second: float
    percent: float
    noise: float

    @property
    def differs(self) -> bool:
        return abs(self.percent) > self.noise


def compare(first: Sequence[float], second: Sequence[float]) -> Compared:
    """Of values that were measured in pairs, one right after the other: a machine that becomes slower or faster meanwhile
    changes both.  Which of a pair is the first kind is shuffled many times: what the difference is then is the noise."""
    chance = random.Random(1)
    ratios = [log(a / b) for a, b in zip(first, second)]
    shuffled = sorted(abs(_percent([ratio if chance.random() < 0.5 else -ratio for ratio in ratios]))
                      for _ in range(SHUFFLES))
    return Compared(median(first), median(second), _percent(ratios), shuffled[int(CONFIDENCE * SHUFFLES)])


def _percent(ratios: Sequence[float]) -> float:
    return 100 * expm1(fmean(ratios))
