"""Claims about how counters of block devices are read: of those that were asked about, from targets old and new."""
from __future__ import annotations

import errno
from typing import Any, Awaitable, Callable, Dict, List, Sequence

import pytest

from gw_agent import io_counters
from gw_agent.io_counters import Counted, IoCounters
from gw_agent.json_rpc import RpcError, RpcUnreachable
from gw_agent.spdk_rpc import Request, SpdkRpc
from running_target import running_target, with_rpc

FEW = 4
DEVICES = [f"m{number}" for number in range(FEW + 3)]
DECODE_FAILED = -32603


class Recorded:
    """A connection that remembers what was asked; as a target before v26.01 takes it, if told so."""

    def __init__(self, rpc: SpdkRpc, takes_list: bool = True) -> None:
        self.rpc, self.takes_list = rpc, takes_list
        self.asked: List[Dict[str, Any]] = []

    async def call(self, method: str, params: Dict[str, Any]) -> Any:
        reply, = await self.pipeline([(method, params)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def pipeline(self, requests: Sequence[Request]) -> List[Any]:
        return [await self._one(method, dict(params or {})) for method, params in requests]

    async def _one(self, method: str, params: Dict[str, Any]) -> Any:
        self.asked.append(params)
        if ("names" in params) != self.takes_list:
            return RpcError(DECODE_FAILED, "spdk_json_decode_object failed", method, params)
        names = {"names": params["names"] if self.takes_list else [params["name"]]}
        reply, = await self.rpc.pipeline([(method, names)])
        return reply


@pytest.fixture
def use(nvmf_tgt: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """With a target that has ``DEVICES``, of which ``FEW`` are asked about at a time."""
    monkeypatch.setattr(io_counters, "FEW", FEW)

    def run(steps: Callable[[SpdkRpc], Awaitable[None]]) -> None:
        async def made(rpc: SpdkRpc) -> None:
            await rpc.results([("bdev_malloc_create", {"name": name, "num_blocks": 64, "block_size": 512})
                               for name in DEVICES])
            await steps(rpc)
        with running_target(nvmf_tgt, tmp_path) as path:
            with_rpc(path, made)
    return run


async def check_of_one(counters: IoCounters, there: str, gone: str) -> None:
    assert [bdev["name"] for bdev in (await counters.of_one(there))["bdevs"]] == [there]
    with pytest.raises(RpcError) as refused:
        await counters.of_one(gone)
    assert refused.value.code == -errno.ENODEV


def test_many_devices_are_asked_about_in_turns_and_one_that_is_gone_is_left_out(use):
    async def steps(rpc: SpdkRpc) -> None:
        asked = Recorded(rpc)
        counters = IoCounters(asked)
        assert await counters.counted([]) == {} and not asked.asked
        counted = await counters.counted(DEVICES + DEVICES)
        assert list(counted) == DEVICES and set(counted.values()) == {Counted(counted["m0"].operations, None)}
        assert [len(params["names"]) for params in asked.asked] == [FEW, 3]
        await rpc.call("bdev_malloc_delete", {"name": "m1"})
        assert list(await counters.counted(DEVICES)) == [name for name in DEVICES if name != "m1"]
        asked.asked.clear()
        assert list(await counters.counted(["m0", "m2"])) == ["m0", "m2"]
        assert asked.asked == [{"names": ["m0", "m2"]}], "a missing device is not taken for an old target"
        await check_of_one(counters, "m0", gone="m1")
    use(steps)


def test_a_target_that_tells_of_one_device_at_a_time_is_asked_so(use):
    async def steps(rpc: SpdkRpc) -> None:
        asked = Recorded(rpc, takes_list=False)
        counters = IoCounters(asked)
        assert list(await counters.counted(DEVICES[:3] + ["gone"])) == DEVICES[:3]
        asked.asked.clear()
        assert list(await counters.counted(DEVICES[:2])) == DEVICES[:2]
        assert asked.asked == [{"name": "m0"}, {"name": "m1"}], "it is not asked for a list again"
        for counters in (counters, IoCounters(asked)):
            await check_of_one(counters, "m0", gone="gone")
    use(steps)


def test_a_lost_target_is_no_target_without_devices(use):
    async def steps(rpc: SpdkRpc) -> None:
        both = [IoCounters(Recorded(rpc, takes_list)) for takes_list in (True, False)]
        for counters in both:
            await counters.counted(DEVICES[:1])
        await rpc.close()
        for counters in both:
            with pytest.raises(RpcUnreachable):
                await counters.counted(DEVICES[:1])
    use(steps)
