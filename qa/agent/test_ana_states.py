"""Claims about reading the ANA states of many subsystems, which a target is asked for in turns."""
from __future__ import annotations

import asyncio
from typing import Any, Dict, List, Optional, Sequence, Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gw_agent.ana import SUBSYSTEMS_AT_ONCE, AnaStates
from gw_agent.json_rpc import RpcTimeout
from gw_agent.spdk_rpc import Request
from nvmeof_ha_core.gateway import MIXED, OPTIMIZED

NQNS = [f"nqn.2016-06.io.spdk:many{number:02}" for number in range(2 * SUBSYSTEMS_AT_ONCE + 3)]


class Target:
    """With a listener in each of ``NQNS`` but those that are ``unheard``, and one namespace in each that ``groups`` names,
    in that ANA group.  ``asked``: how many requests came in each write."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(NQNS, "inaccessible")
        self.unheard: Set[str] = set()
        self.groups: Dict[str, int] = {}
        self.asked: List[int] = []
        self.frozen = False

    async def pipeline(self, requests: Sequence[Request], _timeout_s: float) -> List[Any]:
        self.asked.append(len(requests))
        return [RpcTimeout("frozen") if self.frozen else self._answer(*request) for request in requests]

    def _answer(self, method: str, params: Optional[dict]) -> Any:
        if method == "nvmf_get_subsystems":
            return [{"subtype": "NVMe", "nqn": nqn, "listen_addresses": [], "namespaces": [
                {"nsid": 1, "anagrpid": self.groups[nqn], "bdev_name": nqn}] if nqn in self.groups else []} for nqn in NQNS]
        assert method == "nvmf_subsystem_get_listeners" and params is not None
        address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "4420"}
        states = [{"ana_group": 1, "ana_state": self.states[params["nqn"]]}]
        return [] if params["nqn"] in self.unheard else [{"address": address, "ana_states": states}]


def test_all_subsystems_are_read_a_few_at_a_time_and_a_target_that_answers_nothing_is_asked_once():
    async def use() -> None:
        target = Target()
        ana = AnaStates(target)  # type: ignore[arg-type]
        await ana.read_back()
        target.asked.clear()
        target.states = dict.fromkeys(NQNS, "optimized")
        assert await ana.read_states() and ana.states == {1: OPTIMIZED}
        assert target.asked == [SUBSYSTEMS_AT_ONCE, SUBSYSTEMS_AT_ONCE, 3]
        target.states[NQNS[-1]] = "inaccessible"
        assert await ana.read_states() and ana.states == {1: MIXED}
        target.frozen = True
        target.asked.clear()
        with pytest.raises(RpcTimeout):
            await ana.read_states()
        assert target.asked == [SUBSYSTEMS_AT_ONCE]
    asyncio.run(use())


NEWS = st.one_of(
    st.tuples(st.just("state"), st.sampled_from(NQNS[:2]), st.sampled_from(["optimized", "inaccessible", "non_optimized"])),
    st.tuples(st.just("listener"), st.sampled_from(NQNS[:2]), st.booleans()),
    st.tuples(st.just("group"), st.sampled_from(NQNS[:2]), st.integers(1, 2)),
    st.tuples(st.just("doubt"), st.just(""), st.just(1)),
    st.tuples(st.just("nothing"), st.just(""), st.just(0)))


@given(st.lists(NEWS, max_size=8), st.data())
def test_whoever_read_before_knows_after_a_read_what_one_who_reads_for_the_first_time_does(news, data):
    async def use() -> None:
        target = Target()
        ana = AnaStates(target)  # type: ignore[arg-type]
        await ana.read_back()
        for what, nqn, value in news:
            if what == "state":
                target.states[nqn] = value
            elif what == "listener":
                (target.unheard.add if value else target.unheard.discard)(nqn)
            elif what == "group":
                target.groups[nqn] = value
            elif what == "doubt":
                ana.doubt([value])
            known = ana.states, ana.subsystems
            of_all = what == "group" or data.draw(st.booleans(), label="of all")
            changed = await (ana.read_back if of_all else ana.read_states)()
            first = AnaStates(target)  # type: ignore[arg-type]
            await first.read_back()
            assert (ana.states, ana.subsystems, ana.digest) == (first.states, first.subsystems, first.digest)
            assert ana.namespaces == first.namespaces and changed == (known != (ana.states, ana.subsystems))
    asyncio.run(use())
