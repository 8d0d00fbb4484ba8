"""Claims about the order and the limits of an orderly end."""
from __future__ import annotations

from gw_agent.leaving import AGENT_STOP_S, TELL_S, Leaving, Step
from nvmeof_ha_core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Version
from nvmeof_ha_core.register import View, judge
from nvmeof_ha_core.timing import Timing

MINE = Instance("gw1", 1, "t")
TIMING = Timing()


def view(leaving: bool, serves: bool, instance: bool = True) -> View:
    gateway = Gateway("gw1", 1, availability=Availability.AVAILABLE if instance else Availability.UNAVAILABLE,
                      instance=MINE if instance else None, last_number=1, leaving=leaving)
    group = AnaGroup(1, "gw1", Phase.ACTIVE, holder=MINE, writers=frozenset({MINE})) if serves else AnaGroup(1, "gw1")
    return judge([Map("rbd", "g1", Version(1, 1), (gateway,), (group,))] * 3)


def step(leaving: Leaving, seen: View, now_s: float, running: bool = True, agent_runs: bool = True) -> Step:
    return leaving.step(MINE if running else None, seen, () if running else (MINE,), agent_runs, TIMING, now_s)


def test_the_target_goes_on_until_the_map_gives_it_nothing() -> None:
    leaving = Leaving(asked=1)
    assert step(leaving, view(False, False), 0) == Step(), "the mgr does not know yet and might promote it"
    assert step(leaving, view(True, True), 1) == Step()
    assert step(leaving, view(True, False), 2) == Step(stop_target=True)


def test_the_handover_has_a_limit() -> None:
    leaving, limit_s = Leaving(asked=1), 2 * TIMING.drain_s + TIMING.promote_s
    assert step(leaving, view(True, True), 0) == Step()
    assert step(leaving, view(True, True), limit_s) == Step()
    assert step(leaving, view(True, True), limit_s + 0.1) == Step(stop_target=True)


def test_asking_again_skips_the_handover_and_a_third_time_kills() -> None:
    assert step(Leaving(asked=2), view(True, True), 0) == Step(stop_target=True)
    assert step(Leaving(asked=3), view(True, True), 0) == Step(stop_target=True, kill_target=True)


def test_without_an_agent_nobody_can_ask_for_a_handover() -> None:
    assert step(Leaving(asked=1), view(False, True), 0, agent_runs=False).stop_target


def test_the_agent_tells_of_the_end_before_it_ends_itself() -> None:
    leaving = Leaving(asked=1)
    assert step(leaving, view(True, False), 0, running=False) == Step()
    leaving.told([MINE])
    assert step(leaving, view(True, False), 0.1, running=False) == Step(stop_agent=True)
    assert step(leaving, view(True, False), 0.2, running=False, agent_runs=False) == Step(done=True)


def test_a_silent_mgr_and_a_stuck_agent_delay_the_end_only_so_long() -> None:
    leaving = Leaving(asked=1)
    assert step(leaving, view(True, False), 0, running=False) == Step()
    assert step(leaving, view(True, False), TELL_S + 0.1, running=False) == Step(stop_agent=True)
    assert step(leaving, view(True, False), TELL_S + AGENT_STOP_S + 0.2, running=False).kill_agent


def test_an_end_that_the_map_knows_needs_no_word() -> None:
    assert step(Leaving(asked=1), view(False, False, instance=False), 0, running=False).stop_agent
