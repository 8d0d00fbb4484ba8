"""Claims about contexts, the barrier, ANA states and drains, on a running target and a real cluster."""
from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any, Awaitable, Callable, FrozenSet, Iterator, Optional

import pytest
import rados
import rbd

from gw_agent.ana import AnaStates
from gw_agent.contexts import Contexts
from gw_agent.drain import Drain
from gw_agent.io_counters import IoCounters
from gw_agent.probe_images import ProbeImages
from gw_agent.pulse import Pulse
from gw_agent.spdk_rpc import SpdkRpc
from gw_agent.target_state import FoundNamespace
from nvmeof_ha_core.gateway import INACCESSIBLE, MIXED, OPTIMIZED
from nvmeof_ha_core.model import Gateway, Instance
from running_target import gateway_settings, running_target, with_rpc
from testbed.ports import free_ports

POOL = "rbd"
MINE = Instance("gw1", 1, "t")
NQN = "nqn.2016-06.io.spdk:contexts"


class Bench:
    """A target, a cluster client, and a map of which the test says what addresses it names."""

    def __init__(self, path: str, client: "rados.Rados", settings: Any) -> None:
        self.path, self.client, self.settings = path, client, settings
        self.named: FrozenSet[str] = frozenset()
        self.pulse = Pulse()
        self.osd_epoch = 0

    def record(self) -> Optional[Gateway]:
        return Gateway("gw1", 1, instance=MINE, last_number=1, addresses=self.named)

    def commit(self, addresses: FrozenSet[str]) -> None:
        self.named = addresses
        self.pulse.beat()

    async def contexts(self, rpc: SpdkRpc, dead: FrozenSet[str] = frozenset()) -> Contexts:
        methods = frozenset(await rpc.call("rpc_get_methods"))
        made = Contexts(rpc, self.settings, methods, ProbeImages(self.client, POOL, "gw1"), self.pulse, self.record,
                        lambda: self.osd_epoch)
        await made.attach(dead)
        return made

    def run(self, use: Callable[[SpdkRpc], Awaitable[Any]]) -> Any:
        return with_rpc(self.path, use)


@pytest.fixture
def bench(cluster: Any, nvmf_tgt: Path, tmp_path: Path) -> Iterator[Bench]:
    client = rados.Rados(conffile=str(cluster.conf), name="client.admin",
                         conf={"keyring": str(cluster.keyring())})
    client.connect()
    with running_target(nvmf_tgt, tmp_path) as path:
        yield Bench(path, client, gateway_settings(tmp_path, cluster))
    client.shutdown()


def osdmap_epoch(client: "rados.Rados") -> int:
    _, out, _ = client.mon_command(json.dumps({"prefix": "osd dump", "format": "json"}), b"")
    return json.loads(out)["epoch"]


async def first_permitted(bench: Bench, contexts: Contexts) -> None:
    asked = asyncio.ensure_future(contexts.first())
    while not contexts.addresses:
        await asyncio.wait([asked], timeout=0.01)
    bench.commit(contexts.addresses)
    await asked


def test_no_image_goes_into_a_context_whose_address_no_map_names(bench: Bench) -> None:
    async def use(rpc: SpdkRpc) -> None:
        contexts = await bench.contexts(rpc)
        asked = asyncio.ensure_future(contexts.context_for("bdev_a"))
        while not contexts.addresses:
            await asyncio.wait([asked], timeout=0.01)
        assert not asked.done() and not contexts.permitted_addresses
        bench.osd_epoch = 7
        bench.commit(contexts.addresses)
        assert await asked == "nvmeof_ha.0"
        assert contexts.permitted_addresses == contexts.addresses
        assert contexts.passed_osd_epoch == 7, "the newest fence of the map was waited for"
    bench.run(use)


def test_the_address_found_is_the_one_that_ceph_sees(bench: Bench) -> None:
    async def use(rpc: SpdkRpc) -> None:
        contexts = await bench.contexts(rpc)
        await first_permitted(bench, contexts)
        address, = contexts.addresses
        command = json.dumps({"prefix": "osd blocklist", "blocklistop": "add", "addr": address})
        assert bench.client.mon_command(command, b"")[0] == 0
        bench.client.wait_for_latest_osdmap()
        await contexts.barrier(osdmap_epoch(bench.client))
        with bench.client.open_ioctx(POOL) as ioctx:
            rbd.RBD().create(ioctx, "fenced", 4 * 1024 * 1024)
        reply, = await rpc.pipeline([("bdev_rbd_create", {
            "name": "fenced", "pool_name": POOL, "rbd_name": "fenced", "block_size": 512,
            "cluster_name": "nvmeof_ha.0"})])
        assert "Operation not permitted" in str(reply)
    bench.run(use)


def test_contexts_hold_no_more_images_than_the_settings_say(bench: Bench) -> None:
    places = bench.settings.gateway.bdevs_per_context

    async def use(rpc: SpdkRpc) -> None:
        contexts = await bench.contexts(rpc)
        await first_permitted(bench, contexts)
        first = {await contexts.context_for(f"bdev_{n}") for n in range(places)}
        assert first == {"nvmeof_ha.0"}
        more = asyncio.ensure_future(contexts.context_for("bdev_more"))
        while len(contexts.addresses) < 2:
            await asyncio.wait([more], timeout=0.01)
        assert contexts.permitted_addresses < contexts.addresses, "what runs goes on while the new one waits"
        assert contexts.news == contexts.addresses - bench.named, "beacons tell the mgr what it does not know"
        bench.commit(contexts.addresses)
        assert await more == "nvmeof_ha.1"
        assert not contexts.news
        contexts.released("bdev_3")
        assert await contexts.context_for("bdev_other") == "nvmeof_ha.0"
    bench.run(use)


def test_a_new_agent_finds_the_contexts_of_the_running_target(bench: Bench) -> None:
    async def use(rpc: SpdkRpc) -> None:
        before = await bench.contexts(rpc)
        await first_permitted(bench, before)
        after = await bench.contexts(rpc)
        assert after.addresses == before.addresses == after.permitted_addresses
        assert await after.context_for("bdev_a") == "nvmeof_ha.0"
        forgotten = await bench.contexts(rpc, dead=before.addresses)
        assert forgotten.addresses == before.addresses, "what the map names is not taken for dead"
    bench.run(use)


async def serve_one_namespace(bench: Bench, rpc: SpdkRpc, port: int) -> None:
    contexts = await bench.contexts(rpc)
    await first_permitted(bench, contexts)
    with bench.client.open_ioctx(POOL) as ioctx:
        try:
            rbd.RBD().create(ioctx, "drained", 4 * 1024 * 1024)
        except rbd.ImageExists:
            pass
    await rpc.call("nvmf_create_transport", {"trtype": "TCP"})
    await rpc.call("nvmf_create_subsystem", {"nqn": NQN, "serial_number": "S1", "allow_any_host": True,
                                             "ana_reporting": True, "max_namespaces": 4})
    await rpc.call("bdev_rbd_create", {"name": "bdev_d", "pool_name": POOL, "rbd_name": "drained",
                                       "block_size": 512, "cluster_name": "nvmeof_ha.0", "uuid": str(uuid.uuid4())})
    await rpc.call("nvmf_subsystem_add_ns", {"nqn": NQN, "namespace": {"bdev_name": "bdev_d", "nsid": 1,
                                                                       "anagrpid": 2}})
    await rpc.call("nvmf_subsystem_add_listener", {
        "nqn": NQN, "listen_address": {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.2",
                                       "trsvcid": str(port)}, "ana_state": "inaccessible"})


def test_states_are_what_the_target_shows_and_drift_is_seen(bench: Bench) -> None:
    port, = free_ports(1, "127.0.0.2")

    async def use(rpc: SpdkRpc) -> None:
        ana = AnaStates(rpc)
        assert await ana.set([1], OPTIMIZED, 5) == []
        await ana.read_back()
        assert ana.states == {1: OPTIMIZED}, "without listeners a group is as it was asked to be"
        await serve_one_namespace(bench, rpc, port)
        assert await ana.read_back()
        assert ana.states == {1: INACCESSIBLE, 2: INACCESSIBLE} and not ana.drifted(), "a new listener is not drift"
        assert [s.namespaces for s in ana.subsystems] == [((2, 1),)]
        assert [s.listeners for s in ana.subsystems] == [(f"127.0.0.2:{port}",)]
        assert await ana.set([1, 2], OPTIMIZED, 5) == []
        assert await ana.read_back() and not await ana.read_back()
        assert ana.states == {1: OPTIMIZED, 2: OPTIMIZED} and not ana.drifted()
        address = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.2", "trsvcid": str(port)}
        await rpc.call("nvmf_subsystem_listener_set_ana_state", {
            "nqn": NQN, "listen_address": address, "ana_state": "non_optimized", "anagrpid": 2})
        await ana.read_back()
        assert ana.drifted() == {2: MIXED}
    bench.run(use)


class SlowRpc:
    """The target's answers come only when `arrive` is set."""

    def __init__(self, rpc: SpdkRpc) -> None:
        self._rpc = rpc
        self.answered, self.arrive = asyncio.Event(), asyncio.Event()

    async def pipeline(self, requests: Any, timeout_s: float) -> Any:
        replies = await self._rpc.pipeline(requests, timeout_s)
        self.answered.set()
        await self.arrive.wait()
        return replies


def test_a_namespace_that_came_or_went_while_the_target_was_read_is_drained_or_not_with_its_group(bench: Bench) -> None:
    port, = free_ports(1, "127.0.0.2")

    async def use(rpc: SpdkRpc) -> None:
        slow = SlowRpc(rpc)
        ana = AnaStates(slow)   # type: ignore[arg-type]
        await serve_one_namespace(bench, rpc, port)
        slow.arrive.set()
        await ana.read_back()
        for there in (FoundNamespace("bdev_e", str(uuid.uuid4()), 2), None):
            slow.arrive.clear()
            slow.answered.clear()
            reading = asyncio.ensure_future(ana.read_back())
            await slow.answered.wait()
            assert ana.note({(NQN, 3): there})
            slow.arrive.set()
            await reading
            assert [n.nsid for n in ana.namespaces_of(2)] == ([1, 3] if there else [1])
            assert [s.namespaces for s in ana.subsystems] == [((2, 2 if there else 1),)]
        ana.note({(NQN, 3): FoundNamespace("bdev_e", str(uuid.uuid4()), 2)})
        await ana.read_back()
        assert [n.nsid for n in ana.namespaces_of(2)] == [1], "what was read later counts"
    bench.run(use)


def test_states_alone_are_read_unless_subsystems_came_or_went(bench: Bench) -> None:
    port, = free_ports(1, "127.0.0.2")

    async def use(rpc: SpdkRpc) -> None:
        await serve_one_namespace(bench, rpc, port)
        ana = AnaStates(rpc)
        await ana.read_back()
        assert await ana.set([2], OPTIMIZED, 5) == []
        assert await ana.read_states() and ana.states == {2: OPTIMIZED}
        assert not await ana.read_states()
        assert [n.nsid for n in ana.namespaces_of(2)] == [1] and [s.namespaces for s in ana.subsystems] == [((2, 1),)]
        await rpc.call("nvmf_delete_subsystem", {"nqn": NQN})
        assert await ana.read_states()
        assert ana.subsystems == () and ana.namespaces == []
    bench.run(use)


def test_a_group_is_drained_when_each_of_its_namespaces_answered(bench: Bench) -> None:
    port, = free_ports(1, "127.0.0.2")

    async def use(rpc: SpdkRpc) -> None:
        await serve_one_namespace(bench, rpc, port)
        ana, drain = AnaStates(rpc), Drain(rpc, IoCounters(rpc),
                                            frozenset(await rpc.call("rpc_get_methods")))
        await ana.read_back()
        assert [n.nsid for n in ana.namespaces_of(2)] == [1] and not ana.namespaces_of(1)
        await asyncio.wait_for(drain.drain(ana.namespaces_of(2)), 10)
        await asyncio.wait_for(drain.drain([]), 10)
        await ana.read_back()
        assert ana.states[2] == INACCESSIBLE and ana.namespaces_of(2)
    bench.run(use)
