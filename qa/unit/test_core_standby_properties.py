"""Whatever a standby hears in whatever order, it orders only what it may order."""

from __future__ import annotations

from typing import Dict, List, Optional

from hypothesis import given, settings
from hypothesis import strategies as st

from nvmeof_ha.core import standby
from nvmeof_ha.core.model import Version
from nvmeof_ha.core.standby import (Answered, AskMons, Called, Echoed, Fail, MonsSaid, MonsSilent, SeatsRead, Tick,
                                    Unanswered, Watched)
from nvmeof_ha.core.wire import Ack, Sos

from .driven_standby import ACTIVE, BALLOTS, MAP, NEXT, ONE, TWO

GROUPS = ('rbd/g1', 'rbd/g2')
INTERVAL_S = 60.0

groups = st.sampled_from(GROUPS)
gids = st.sampled_from([0, ACTIVE, ACTIVE, ACTIVE, NEXT])
flags = st.sampled_from([False, False, False, True])


def version(gid: int) -> Version:
    return BALLOTS.get(gid, Version(0, 0))


ACKS = st.builds(lambda gid, stopping, age_s: Ack(version(gid), age_s, stopping=stopping, gid=gid), gids, flags,
                 st.sampled_from([0.0, 0.0, 9.0]))
SOSES = st.builds(lambda instance, gid, dead, stopping: Sos(instance.gateway, instance, gid, version(gid), dead,
                                                            stopping=stopping),
                  st.sampled_from([ONE, TWO]), gids, st.booleans(), flags)
CALLS = st.builds(Called, groups, SOSES)
EVENTS = st.one_of(
    CALLS, CALLS, st.builds(Echoed, groups), st.builds(Answered, groups, ACKS), st.builds(Unanswered, groups),
    st.builds(SeatsRead, groups, st.sampled_from([MAP, MAP, None])),
    st.builds(MonsSaid, gids, st.just(12), st.sampled_from([None, None, None, 3.0, 1000.0])),
    st.builds(MonsSilent, st.just('no quorum')), st.just(Tick()), st.builds(Watched, st.just(GROUPS[:1])),
    st.builds(Watched, st.just(GROUPS)))
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.05, 0.1, 0.1, 0.3, 0.5, 0.9, 5.0]), EVENTS), max_size=200)
QUIET = [(0.1, Tick()) if n % 5 else (0.1, Answered(GROUPS[0], Ack(version(ACTIVE), gid=ACTIVE))) for n in range(120)]


class Witness:
    """What an observer of the standby's inputs knows, kept apart from its state."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heard: Dict[int, float] = {}
        self.answered: Dict[str, float] = {}
        self.echoed: Dict[str, float] = {}
        self.failed_at: Optional[float] = None
        self.asking = False

    def sees(self, event: standby.Event) -> None:
        if isinstance(event, Called):
            self.heard.setdefault(event.sos.gid, self.now)
        elif isinstance(event, Answered) and standby.is_answer(event.ack):
            self.heard.setdefault(event.ack.gid, self.now)
            self.answered[event.group] = self.now
        elif isinstance(event, Echoed):
            self.echoed[event.group] = self.now
        elif isinstance(event, MonsSilent):
            self.failed_at = None

    def judges(self, event: standby.Event, actions: tuple) -> None:
        for action in actions:
            if isinstance(action, AskMons):
                assert isinstance(event, Tick)
            if isinstance(action, Fail):
                self.judges_failure(event, action)

    def judges_failure(self, event: standby.Event, action: Fail) -> None:
        assert isinstance(event, MonsSaid), 'the mons were asked right before'
        assert event.active_gid == action.gid != 0, 'it is the active one'
        assert event.failed_ago_s is None or event.failed_ago_s >= INTERVAL_S
        assert self.now - self.heard[action.gid] >= standby.GRACE_S, 'it was heard, and long ago'
        assert self.failed_at is None or self.now - self.failed_at >= INTERVAL_S, 'not twice'
        assert max(self.echoed.values()) >= self.now - standby.ECHO_S, 'RADOS answers'
        if action.why.startswith('in group '):
            group = action.why.split()[2]
            assert self.now - self.answered.get(group, float('-inf')) >= standby.PATIENCE_S
        self.failed_at = self.now


def play(steps: List[tuple]) -> Witness:
    witness = Witness()
    state, _ = standby.step(standby.begin(INTERVAL_S, 0.0), Watched(GROUPS), 0.0)
    for wait_s, event in steps:
        witness.now += wait_s
        witness.sees(event)
        state, actions = standby.step(state, event, witness.now)
        witness.judges(event, actions)
    return witness


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_from_the_start(steps):
    play(steps)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_after_a_quiet_while(steps):
    play(QUIET + steps)


DEAD = [(0.0, Called(GROUPS[0], Sos('gw1', ONE, ACTIVE, version(ACTIVE), True))), (0.1, Echoed(GROUPS[0])),
        (0.1, SeatsRead(GROUPS[0], MAP)), (0.1, Tick()), (0.1, Tick())]


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=4), st.lists(EVENTS, max_size=4))
def test_in_the_midst_of_a_case(before, after):
    """Where an order is near, so that the claims are not kept by never giving one."""
    play(QUIET + [(0.0, e) for e in before] + DEAD + [(0.0, e) for e in after] + [(0.0, MonsSaid(ACTIVE, 12, None))])


def test_the_case_by_itself_ends_with_an_order():
    assert play(QUIET + DEAD + [(0.0, MonsSaid(ACTIVE, 12, None))]).failed_at is not None
