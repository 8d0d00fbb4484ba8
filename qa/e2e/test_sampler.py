"""The sampler keeps its pace beside dead, frozen and slow targets, and tells an overlap from a handover."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Set, Tuple

import pytest

from gw_agent.json_rpc import Decoder
from testbed.sampler import Sampler
from testbed.waiting import wait_until

NQN = 'nqn.2016-06.io.spdk:test'


class SmallTarget:
    """Answers `nvmf_subsystem_get_listeners` with `state` for ANA group 1, unless it is frozen."""

    def __init__(self, path: Path, state: str) -> None:
        self.path = path
        self.state = state
        self.thawed = threading.Event()
        self.thawed.set()
        self._connections: List[socket.socket] = []
        path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        decoder = Decoder()
        try:
            while True:
                # Replies end with a newline, requests do not; each of them comes in one piece here.
                requests = decoder.feed(connection.recv(65536) + b'\n')
                if not requests:
                    return
                state = self.state
                self.thawed.wait()
                for request in requests:
                    states = [{'ana_group': 1, 'ana_state': state}, {'ana_group': 2, 'ana_state': 'inaccessible'}]
                    reply = {'jsonrpc': '2.0', 'id': request['id'], 'result': [{'ana_states': states}]}
                    connection.sendall(json.dumps(reply).encode() + b'\n')
        except OSError:
            return   # the sampler or `die` has ended it

    def die(self) -> None:
        for end in (self._server, *self._connections):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue   # the sampler has closed its end
        self._server.close()


class Told(List[Tuple[str, float]]):
    def tell(self, text: str, at_s: float) -> None:
        self.append((text, at_s))

    def has(self, text: str) -> Callable[[], bool]:
        return lambda: any(text in entry for entry, _ in self)


def answering(sampler: Sampler) -> Set[str]:
    latest = sampler.history.latest()
    return set(latest.readings) if latest else set()


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Dict[str, SmallTarget]]:
    made = {'gw1': SmallTarget(tmp_path / '1', 'optimized'), 'gw2': SmallTarget(tmp_path / '2', 'inaccessible')}
    yield made
    for target in made.values():
        target.thawed.set()
        target.die()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def sampler(targets: Dict[str, SmallTarget], told: Told) -> Iterator[Sampler]:
    started = Sampler({name: target.path for name, target in targets.items()}, NQN, [1], told.tell)
    started.start()
    wait_until(lambda: answering(started) == {'gw1', 'gw2'}, 30, 'both targets to be sampled')
    yield started
    started.stop()
    started.check()


def test_it_sees_who_is_optimized_and_tells_each_change_once(sampler: Sampler, targets: Dict[str, SmallTarget],
                                                             told: Told) -> None:
    assert sampler.history.holder(1) == 'gw1'
    targets['gw1'].state = 'inaccessible'
    wait_until(told.has("gw1's listener reads back inaccessible for ANA group 1"), 30, 'the change')
    targets['gw2'].state = 'optimized'
    wait_until(lambda: sampler.history.holder(1) == 'gw2', 30, 'the other change')
    assert len(told) == 4 and not any('group 2' in text for text, _ in told)


def test_a_frozen_target_has_no_samples_and_does_not_hold_up_the_other(sampler: Sampler, told: Told,
                                                                       targets: Dict[str, SmallTarget]) -> None:
    targets['gw1'].thawed.clear()
    wait_until(told.has("gw1's target is there and does not answer"), 30, 'the silence to be told')
    from_s = time.monotonic()
    wait_until(lambda: len(sampler.history.between(from_s)) >= 10, 30, 'ten samples')
    assert all(set(sample.readings) == {'gw2'} for sample in sampler.history.between(from_s))
    targets['gw1'].thawed.set()
    wait_until(lambda: sampler.history.holder(1) == 'gw1', 30, 'the thawed target to be sampled again')


def test_the_late_answer_of_a_thawed_target_is_not_taken_for_a_new_one(sampler: Sampler, told: Told,
                                                                       targets: Dict[str, SmallTarget]) -> None:
    targets['gw1'].thawed.clear()
    wait_until(told.has("gw1's target is there and does not answer"), 30, 'the silence to be told')
    targets['gw1'].state = 'inaccessible'
    from_s = time.monotonic()
    targets['gw1'].thawed.set()
    wait_until(lambda: 'gw1' in answering(sampler), 30, 'the thawed target to be sampled again')
    assert sampler.history.first_optimized(1, 'gw1', from_s) is None


def test_a_dead_target_has_no_samples_until_there_is_another_one(sampler: Sampler,
                                                                 targets: Dict[str, SmallTarget]) -> None:
    targets['gw1'].thawed.clear()
    targets['gw1'].die()
    targets['gw1'].thawed.set()
    wait_until(lambda: answering(sampler) == {'gw2'}, 30, 'the dead target to be missed')
    targets['gw1'] = SmallTarget(targets['gw1'].path, 'optimized')
    wait_until(lambda: sampler.history.holder(1) == 'gw1', 30, 'the next target to be sampled')


def test_two_targets_that_stay_optimized_for_one_group_are_an_overlap(sampler: Sampler, told: Told,
                                                                      targets: Dict[str, SmallTarget]) -> None:
    assert sampler.history.overlaps(0, float('inf')) == 0
    targets['gw2'].state = 'optimized'
    wait_until(told.has('OVERLAP: gw1 and gw2 are optimized for ANA group 1'), 30, 'the overlap to be told')
    wait_until(lambda: sampler.history.overlaps(0, float('inf')) > 2, 30, 'some more samples of it')
