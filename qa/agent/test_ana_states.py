"""Claims about reading the ANA states of many subsystems, which a target is asked for in turns."""
from __future__ import annotations

import asyncio
from typing import Any, List, Optional, Sequence

import pytest

from gw_agent.ana import AT_ONCE, AnaStates
from gw_agent.json_rpc import RpcTimeout
from gw_agent.spdk_rpc import Request
from nvmeof_ha_core.gateway import MIXED, OPTIMIZED

NQNS = [f"nqn.2016-06.io.spdk:many{number:02}" for number in range(2 * AT_ONCE + 3)]


class Target:
    """With a listener in each of ``NQNS``.  ``asked``: how many requests came in each write."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(NQNS, "inaccessible")
        self.asked: List[int] = []
        self.frozen = False

    async def pipeline(self, requests: Sequence[Request], _timeout_s: float) -> List[Any]:
        self.asked.append(len(requests))
        return [RpcTimeout("frozen") if self.frozen else self._answer(*request) for request in requests]

    def _answer(self, method: str, params: Optional[dict]) -> Any:
        if method == "nvmf_get_subsystems":
            return [{"subtype": "NVMe", "nqn": nqn, "listen_addresses": [], "namespaces": []} for nqn in NQNS]
        assert method == "nvmf_subsystem_get_listeners" and params is not None
        address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1", "trsvcid": "4420"}
        return [{"address": address, "ana_states": [{"ana_group": 1, "ana_state": self.states[params["nqn"]]}]}]


def test_all_subsystems_are_read_a_few_at_a_time_and_a_target_that_answers_nothing_is_asked_once():
    async def use() -> None:
        target = Target()
        ana = AnaStates(target)  # type: ignore[arg-type]
        await ana.read_back()
        target.asked.clear()
        target.states = dict.fromkeys(NQNS, "optimized")
        assert await ana.read_states() and ana.states == {1: OPTIMIZED}
        assert target.asked == [AT_ONCE, AT_ONCE, 3]
        target.states[NQNS[-1]] = "inaccessible"
        assert await ana.read_states() and ana.states == {1: MIXED}
        target.frozen = True
        target.asked.clear()
        with pytest.raises(RpcTimeout):
            await ana.read_states()
        assert target.asked == [AT_ONCE]
    asyncio.run(use())
