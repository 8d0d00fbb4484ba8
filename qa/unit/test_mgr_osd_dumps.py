"""`osd dump` is shared, and nobody gets one that was asked for before he asked."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha.core.actions import Fence
from nvmeof_ha.core.events import Event, Fenced
from nvmeof_ha.core.model import Instance
from nvmeof_ha.fencer import Fencer
from nvmeof_ha.mon import Answer, MonCommandError
from nvmeof_ha.osd_dumps import PATIENCE_S, OsdDump, OsdDumps


class Mons:
    """Answer when the test says so; a dump's epoch is the number of the question."""

    def __init__(self) -> None:
        self.now, self.asked = 100.0, 0
        self.open: List[Tuple[int, Callable[[Answer], None]]] = []

    def clock(self) -> float:
        return self.now

    def issue(self, command: Dict[str, Any], done: Callable[[Answer], None]) -> None:
        if command['prefix'] == 'osd blocklist':
            done(Answer(0, '', ''))
            return
        assert command == {'prefix': 'osd dump', 'format': 'json'}
        self.asked += 1
        self.open.append((self.asked, done))

    def answer(self, which: int = 0) -> None:
        number, done = self.open.pop(which)
        done(Answer(0, json.dumps({'epoch': number, 'blocklist': {'v1:10.0.0.1:0/1': '', '10.0.0.2:0/2': ''}}), ''))


def test_those_who_ask_while_one_is_under_way_share_the_next():
    mons, got = Mons(), []
    dumps = OsdDumps(mons, mons.clock)
    for who in range(4):
        dumps.newest(lambda dump, who=who: got.append((who, dump)))
    assert mons.asked == 1
    mons.answer()
    assert [who for who, _ in got] == [0] and mons.asked == 2
    mons.answer()
    assert [who for who, _ in got] == [0, 1, 2, 3] and got[1][1] is got[2][1] is got[3][1]
    assert mons.asked == 2, 'nobody wants another'
    assert got[3][1].told == (2, {'10.0.0.1:0/1', '10.0.0.2:0/2'})
    dumps.newest(lambda dump: got.append((9, dump)))
    assert mons.asked == 3


def test_an_answer_is_read_once_and_a_refusal_is_told_to_everyone():
    dump = OsdDump(Answer(0, json.dumps({'epoch': 4, 'blocklist': {}}), ''))
    assert dump.told is dump.told
    refused = OsdDump(Answer(-13, '', 'access denied'))
    for _ in range(2):
        with pytest.raises(MonCommandError, match="refused 'osd dump': EACCES: access denied"):
            refused.told


def test_nobody_waits_behind_a_question_that_stays_without_an_answer():
    mons, got = Mons(), []
    dumps = OsdDumps(mons, mons.clock)
    dumps.newest(lambda dump: got.append('first'))
    dumps.newest(lambda dump: got.append('second'))
    mons.now += 0.9 * PATIENCE_S
    dumps.poll()
    assert mons.asked == 1
    mons.now += 0.2 * PATIENCE_S
    dumps.poll()
    assert mons.asked == 2
    mons.answer(1)
    assert got == ['second']
    mons.answer()
    assert got == ['second', 'first']
    dumps.newest(lambda dump: got.append('third'))
    assert mons.asked == 3


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.just('ask'), st.just('poll'), st.tuples(st.just('answer'), st.integers(0, 3)),
                          st.tuples(st.just('wait'), st.floats(0.1, 3.0)))))
def test_whatever_the_mons_answer_when_each_gets_one_that_was_asked_for_after_he_asked(steps):
    mons = Mons()
    dumps = OsdDumps(mons, mons.clock)
    asked_after: List[int] = []
    got: Dict[int, List[int]] = {}

    def ask() -> None:
        who = len(asked_after)
        asked_after.append(mons.asked)
        dumps.newest(lambda dump: got.setdefault(who, []).append(dump.told.epoch))
    for step in steps:
        if step == 'ask':
            ask()
        elif step == 'poll':
            dumps.poll()
        elif step[0] == 'wait':
            mons.now += step[1]
        elif mons.open:
            mons.answer(step[1] % len(mons.open))
    while mons.open:
        mons.answer()
    for who, before in enumerate(asked_after):
        epoch, = got.get(who, [])
        assert epoch > before


def test_fences_of_several_groups_share_a_dump_and_do_not_wait_for_one_that_stays_away():
    mons, reported = Mons(), []
    dumps = OsdDumps(mons, mons.clock)
    fencers = [Fencer(mons, dumps, lambda call: call(), reported.append, mons.clock) for _ in range(3)]
    lost = [Instance(f'gw{number}', 1, 'a') for number in range(3)]
    for fencer, instance in zip(fencers, lost):
        fencer.fence(Fence(instance, frozenset({'10.0.0.1:0/1'})), 60.0)
    assert mons.asked == 1
    mons.now += 1.1 * PATIENCE_S
    fencers[0].poll()
    assert mons.asked == 2
    mons.answer(1)
    expected: List[Event] = [Fenced(instance, 2) for instance in lost[1:]]
    assert reported == expected
    mons.answer()
    assert reported == [*expected, Fenced(lost[0], 1)]
