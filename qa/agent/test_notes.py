"""Claims about what an agent tells operators beside its beacons. Pure but for the event loop that is measured."""
from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

from gw_agent.ana import FoundNamespace
from gw_agent.group_io import GroupIo
from gw_agent.loop_lag import STEP_S, LoopLag
from gw_agent.notes import limited, notes
from nvmeof_ha_core import wire
from nvmeof_ha_core.events import Beacon, Notes
from nvmeof_ha_core.gateway import INACCESSIBLE, MIXED, OPTIMIZED
from nvmeof_ha_core.release import RELEASE

NQN = "nqn.a:b"


def test_io_is_counted_by_ana_group_and_what_began_since_the_last_look_is_not():
    spaces = [FoundNamespace(NQN, 1, 1, "a"), FoundNamespace(NQN, 2, 1, "b"), FoundNamespace(NQN, 3, 2, "c")]
    io = GroupIo()
    assert io.rates({"a": 5, "b": 5}, spaces, 10.0) == ()
    assert io.rates({"a": 105, "b": 55, "c": 900}, spaces, 12.0) == ((1, 75),)
    assert io.rates({"a": 5, "c": 1000}, spaces, 14.0) == ((2, 50),), "a device that was made again counts anew"
    assert io.rates({}, spaces, 15.0) == (), "nobody asked: nothing was done"
    assert io.operations == {"a": 5, "b": 55, "c": 1000}
    assert io.rates({}, [], 16.0) == () and io.operations == {}


def test_devices_of_ana_groups_that_no_host_reaches_are_asked_about_once_more_and_then_no_longer():
    spaces = [FoundNamespace(NQN, 1, 1, "a"), FoundNamespace(NQN, 2, 2, "b"), FoundNamespace(NQN, 3, 3, "c")]
    io = GroupIo()
    assert io.worth_asking(spaces, {1: OPTIMIZED, 2: MIXED, 3: INACCESSIBLE}) == ["a", "b"]
    assert io.worth_asking(spaces, {1: INACCESSIBLE, 3: OPTIMIZED}) == ["a", "b", "c"]
    assert io.worth_asking(spaces, {1: INACCESSIBLE, 3: OPTIMIZED}) == ["c"]


def test_whatever_is_wrong_fits_into_a_beacon():
    run = SimpleNamespace(problems=tuple(f"{n} " + "x" * 400 for n in range(40)), repairs=3,
                          io=tuple((group, 1) for group in range(100)))
    said = notes(run, ["m" * 400] * 20, -1.0, 0.1234)
    beacon = Beacon("gw1", None, 1, notes=said)
    assert wire.decode_beacon(wire.encode_beacon(beacon)) == beacon
    assert said.problems[-1] == "25 more problems" and said.hung_moves[-1] == "5 more moves hang"
    assert (said.release, said.ana_repairs, said.lease_left_s, said.loop_lag_s) == (RELEASE, 3, 0.0, 0.123)


def test_without_a_target_only_what_the_agent_itself_knows_is_told():
    assert notes(None, (), 2.0, 0.0) == Notes(RELEASE, lease_left_s=2.0)
    assert limited(["a", "b"], "texts") == ("a", "b")


def test_a_stall_of_the_loop_is_told_once():
    async def stalled() -> None:
        lag = LoopLag()
        running = asyncio.ensure_future(lag.run())
        await asyncio.sleep(0)
        time.sleep(2 * STEP_S)   # the stall itself
        while True:
            await asyncio.sleep(0)
            worst_s = lag.take()
            if worst_s:
                break
        assert worst_s >= 0.9 * STEP_S
        assert lag.take() == 0.0
        running.cancel()

    asyncio.run(asyncio.wait_for(stalled(), 60))
