"""Claims about an agent, or a target, that is killed while a namespace moves to another ANA group
(`change_load_balancing_group`): once both run again it is in the old group or in the new one, for the configuration and for
both gateways, it was never served by both, and the move can be asked for again.

Two gateways and a real mgr, which replaces a killed target as in production. The steps are those of both agents: of the one
that is asked, and of the one that the namespace goes to. CI plays a sample that the seed names; `--all-faults` all of them.
"""
from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any, Iterator, List, Tuple

import pytest

from fault_steps import Fault
from moving_pair import NSID, MovingPair
from testbed.nvmeof_setup import SetupRefused
from testbed.waiting import wait_until

SEED = 5
OLD, NEW = 1, 2
AGAIN_S = 90.0
SAMPLE = 1
"""Faults of agents, and as many of targets."""


@pytest.fixture(scope="module")
def pair(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MovingPair]:
    cluster.enable_module("nvmeof_ha")
    with MovingPair(cluster, tmp_path_factory.mktemp("moving"), "moving", 60) as made:
        yield made


@pytest.mark.timeout(7200)
def test_a_killed_agent_or_target_leaves_the_namespace_in_one_group_and_never_in_two_places(
        pair: MovingPair, request: Any, say: Any) -> None:
    every = bool(request.config.getoption("--all-faults"))
    agents, targets = faults(undisturbed(pair))
    assert agents and targets
    if not every:
        chosen = random.Random(SEED)
        agents, targets = chosen.sample(agents, SAMPLE), chosen.sample(targets, SAMPLE)
    came = {OLD: 0, NEW: 0}
    for number, (where, fault, of_target) in enumerate(
            [(*one, False) for one in agents] + [(*one, True) for one in targets], 1):
        if every:
            say(f"{number} of {len(agents) + len(targets)}: {name(where, fault, of_target)}")
        came[meet(pair, where, fault, of_target)] += 1
    if every:
        say(f"moves: {len(agents)} faults of agents, {len(targets)} of targets; "
            f"taken back after {came[OLD]}, completed after {came[NEW]}")


def test_two_places_at_once_would_be_seen(pair: MovingPair) -> None:
    with pair.watched() as seen:
        pair.make_optimized(pair.gateways[1], OLD)
        wait_until(lambda: seen, AGAIN_S, "both gateways to be seen optimized")
    pair.wait_well()


def name(where: int, fault: Fault, of_target: bool) -> str:
    return f"{'target' if of_target else 'agent'} {where + 1} killed {'after' if fault.after else 'before'} {fault.step}"


def undisturbed(pair: MovingPair) -> List[List[str]]:
    """The steps of each agent."""
    for file in pair.faults:
        file.ask(Fault())
    move(pair, NEW)
    assert pair.wait_place() == NEW
    steps = [file.taken() for file in pair.faults]
    for file in pair.faults:
        file.forget()
    home(pair)
    return steps


def faults(steps: List[List[str]]) -> Tuple[List[Tuple[int, Fault]], List[Tuple[int, Fault]]]:
    """Of agents, and of targets: whose steps they are of, and which."""
    found = [(where, Fault(step, after)) for where, taken in enumerate(steps) for step in taken
             for after in (False, True)]
    return ([(where, fault) for where, fault in found if not (fault.after and "notify" in fault.step)],
            [(where, fault) for where, fault in found if "JSON-RPC" in fault.step or "operate_write_op" in fault.step])


def meet(pair: MovingPair, where: int, fault: Fault, of_target: bool) -> int:
    """Returns the group that the namespace was in before the move was asked for again."""
    what = name(where, fault, of_target)
    victim = pair.gateways[where].pids()["target"] if of_target else 0
    with pair.watched() as seen:
        pair.faults[where].ask(replace(fault, victim_pid=victim))
        try:
            move(pair, NEW)
            done = True
        except SetupRefused:
            done = False
        wait_until(pair.faults[where].met, AGAIN_S, f"{what} to happen")
        found = pair.wait_place()
        assert found in (OLD, NEW), f"{what}: the namespace is in group {found}"
        assert found == NEW or not done, f"{what}: the move was said to be done, and it is not"
        pair.wait_well()
        again(pair, NEW)
        assert pair.wait_place() == NEW, f"{what}, then repeated"
        home(pair)
    assert not seen, f"{what}: {seen[0]}"
    return found


def home(pair: MovingPair) -> None:
    again(pair, OLD)
    assert pair.wait_place() == OLD
    pair.wait_well()


def move(pair: MovingPair, to: int) -> None:
    with pair.api() as api:
        api.move_namespace(pair.nqn, NSID, to)


def again(pair: MovingPair, to: int) -> None:
    """Until it is done: it is refused with the reason while a gateway is not well."""
    deadline_s = time.monotonic() + AGAIN_S
    while True:
        try:
            return move(pair, to)
        except SetupRefused:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(0.2)
