"""Claims about making a target equal to the configuration, on a running target and a real cluster."""
from __future__ import annotations

import socket
import uuid
from dataclasses import replace

import pytest
from running_target import OneContext, gateway_settings, running_target, with_rpc
from testbed.ports import free_ports

from gw_agent import known_target, target_state
from gw_agent.configuration import Configuration, Listener, Namespace, QosLimits, Subsystem
from gw_agent.moves import Move
from gw_agent.reconcile import Reconciler

ADDR = "127.0.0.2"
CNTLIDS = (2041, 4080)
READS = ["nvmf_get_transports", "nvmf_get_subsystems", "bdev_get_bdevs", "framework_get_config", "rpc_get_methods"]
READS_OF_DISCOVERY = ["nvmf_get_subsystems", "nvmf_discovery_get_referrals"]
OTHER_HOST = "nqn.2014-08.org.nvmexpress:uuid:1e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("reconcile")


@pytest.fixture(scope="module")
def target(nvmf_tgt, directory):
    with running_target(nvmf_tgt, directory) as path:
        yield path


@pytest.fixture(scope="module")
def images(cluster):
    names = [f"reconcile{n}" for n in range(3)]
    for name in names:
        cluster.run("rbd", "create", "--size", "8M", f"rbd/{name}")
    return names


@pytest.fixture
def gateway(target, cluster, directory):
    """Runs `use(reconciler, contexts, rpc)`; the target is emptied before and after."""
    settings = gateway_settings(directory, cluster)

    def run(use):
        async def body(rpc):
            contexts = OneContext(rpc, str(cluster.conf))
            reconciler = Reconciler(rpc, settings, contexts, CNTLIDS)
            await reconciler.apply(Configuration())
            try:
                return await use(reconciler, contexts, rpc)
            finally:
                contexts.permitted = True
                await Reconciler(rpc, settings, contexts, CNTLIDS).apply(Configuration())
        return with_rpc(target, body)
    return run


@pytest.fixture
def subsystem(images):
    nqn = f"nqn.2016-06.io.spdk:{uuid.uuid4()}"
    namespaces = {n: Namespace(n, "rbd", image, str(uuid.uuid4()), n) for n, image in enumerate(images[:2], 1)}
    port, = free_ports(1, ADDR)
    return Subsystem(nqn, "Ceph1", 16, hosts=frozenset({HOST}), namespaces=namespaces,
                     listeners=(Listener("gw1", ADDR, port), Listener("gw2", "127.0.0.3", port)))


def of(*subsystems):
    return Configuration({subsystem.nqn: subsystem for subsystem in subsystems})


class CountingRpc:
    """Passes requests on and remembers them, and how many were written at once."""

    def __init__(self, rpc):
        self._rpc = rpc
        self.methods = []
        self.writes = []

    async def pipeline(self, requests, timeout_s):
        self._count(requests)
        return await self._rpc.pipeline(requests, timeout_s)

    async def results(self, requests, timeout_s):
        self._count(requests)
        return await self._rpc.results(requests, timeout_s)

    def _count(self, requests):
        self.methods += [method for method, _ in requests]
        self.writes.append(len(requests))

    async def call(self, method, params=None, timeout_s=5.0):
        self.methods.append(method)
        return await self._rpc.call(method, params, timeout_s)


async def ana_states(rpc, nqn):
    listeners = await rpc.call("nvmf_subsystem_get_listeners", {"nqn": nqn})
    return {state["ana_state"] for listener in listeners for state in listener["ana_states"]}


async def groups(rpc, nqn):
    """ANA group by namespace id, as the target has them."""
    return (await target_state.read(rpc)).groups[nqn]


async def listening(rpc, nqn):
    return (await target_state.read(rpc)).subsystems[nqn].listeners


def test_an_empty_target_gets_everything_and_every_ana_group_is_inaccessible(gateway, subsystem):
    async def use(reconciler, contexts, rpc):
        report = await reconciler.apply(of(subsystem))
        shown, = await rpc.call("nvmf_get_subsystems", {"nqn": subsystem.nqn})
        return (report, shown, await ana_states(rpc, subsystem.nqn), await groups(rpc, subsystem.nqn),
                await listening(rpc, subsystem.nqn))

    report, shown, states, found, listeners = gateway(use)
    assert report.applied and report.problems == [] and not report.retry
    assert listeners == {target_state.address(subsystem.listeners[0])} and found == {1: 1, 2: 2}
    assert states == {"inaccessible"}
    assert (shown["min_cntlid"], shown["max_cntlid"]) == CNTLIDS
    assert (shown["serial_number"], shown["model_number"]) == ("Ceph1", "Ceph bdev Controller")
    assert [host["nqn"] for host in shown["hosts"]] == [HOST] and not shown["allow_any_host"]
    for namespace in shown["namespaces"]:
        wanted = subsystem.namespaces[namespace["nsid"]]
        assert (namespace["uuid"], namespace["nguid"]) == (wanted.uuid, wanted.nguid)


def test_applying_again_sends_nothing_but_the_reads_also_after_the_agent_was_restarted(gateway, subsystem):
    async def use(reconciler, contexts, rpc):
        await reconciler.apply(of(subsystem))
        counting = CountingRpc(rpc)
        restarted = Reconciler(counting, reconciler.settings, contexts, CNTLIDS)
        return await restarted.apply(of(subsystem)), counting.methods

    report, methods = gateway(use)
    assert report.applied
    assert methods == READS + READS_OF_DISCOVERY


def test_many_changes_in_a_row_do_not_each_read_the_whole_target(gateway, subsystem, monkeypatch):
    """What was read and changed is known for a while, after a problem for a shorter one."""
    monkeypatch.setattr(known_target, "KNOWN_S", 3600.0)
    monkeypatch.setattr(known_target, "KNOWN_WITH_PROBLEMS_S", 3600.0)
    empty = replace(subsystem, namespaces={}, listeners=())
    broken = replace(empty, namespaces={1: replace(subsystem.namespaces[1], image="nosuch")})

    async def use(reconciler, contexts, rpc):
        counting = CountingRpc(rpc)
        knowing = Reconciler(counting, reconciler.settings, contexts, CNTLIDS)
        reads = []
        for wanted in (empty, subsystem, empty, subsystem, broken, empty, broken, subsystem, empty):
            if len(reads) == 6:
                monkeypatch.setattr(known_target, "KNOWN_WITH_PROBLEMS_S", 0.0)
            await knowing.apply(of(wanted))
            reads.append(counting.methods.count("bdev_get_bdevs"))
        return reads, await target_state.read(rpc)

    reads, state = gateway(use)
    assert reads == [1, 1, 1, 1, 1, 1, 1, 2, 2]
    assert state.subsystems[subsystem.nqn].namespaces == {} and state.bdevs == {}


def without_limits_of_none(state):
    return replace(state, limits={name: limits for name, limits in state.limits.items() if limits != QosLimits()})


def test_a_change_of_namespaces_alone_costs_requests_for_them_only_and_tells_how_they_are(gateway, subsystem, images):
    """And the target is as it is when everything is compared."""
    one, two = subsystem.namespaces[1], subsystem.namespaces[2]
    third = Namespace(3, "rbd", images[2], str(uuid.uuid4()), 1, auto_visible=False, hosts=frozenset({HOST}),
                      qos=QosLimits(1000))
    other = replace(subsystem, nqn=f"{subsystem.nqn}-other", listeners=(), namespaces={})
    steps = [({1: one, 2: two, 3: third}, ["bdev_rbd_create", "nvmf_subsystem_add_ns", "nvmf_ns_add_host",
                                          "bdev_set_qos_limit"]),
             ({1: one, 3: third}, ["nvmf_subsystem_remove_ns", "bdev_rbd_delete"]),
             ({1: one, 3: replace(third, qos=QosLimits(2000), hosts=frozenset())},
              ["nvmf_ns_remove_host", "bdev_set_qos_limit"]),
             ({}, ["nvmf_subsystem_remove_ns", "nvmf_subsystem_remove_ns", "bdev_rbd_delete", "bdev_rbd_delete"])]

    async def use(reconciler, contexts, rpc):
        counting = CountingRpc(rpc)
        knowing = Reconciler(counting, reconciler.settings, contexts, CNTLIDS)
        first = await knowing.apply(of(subsystem, other))
        seen = []
        for namespaces, _ in steps:
            counting.methods.clear()
            wanted = of(replace(subsystem, namespaces=namespaces), other)
            report = await knowing.apply(wanted)
            assert report.applied, report.problems
            state = await target_state.read(rpc)
            seen.append((list(counting.methods), {key: there and there.ana_group_id
                                                  for key, there in report.namespaces.items()}, state))
            restarted = CountingRpc(rpc)
            await Reconciler(restarted, reconciler.settings, contexts, CNTLIDS).apply(wanted)
            assert restarted.methods == READS + READS_OF_DISCOVERY, "nothing was left to do"
            assert without_limits_of_none(knowing._known._known[0]) == without_limits_of_none(state)
        return first, seen

    first, seen = gateway(use)
    assert first.namespaces is None
    assert [methods for methods, _, _ in seen] == [methods for _, methods in steps]
    assert [{nsid: group for (_, nsid), group in told.items()} for _, told, _ in seen] == [
        {3: 1}, {2: None}, {3: 1}, {1: None, 3: None}]
    assert seen[1][2].bdevs.keys() == {one.bdev_name, third.bdev_name}


def test_after_a_problem_of_a_namespace_everything_is_compared_again(gateway, subsystem, images):
    """What of it was done is undone when it is not wanted any more."""
    one = subsystem.namespaces[1]
    broken = replace(subsystem.namespaces[2], image="nosuch", uuid=str(uuid.uuid4()))
    too_much = Namespace(3, "rbd", images[2], str(uuid.uuid4()), 99)   # an ANA group that no target of 16 takes

    async def use(reconciler, contexts, rpc):
        reports = []
        for namespaces in ({1: one}, {1: one, 2: broken, 3: too_much}, {2: broken}, {}):
            reports.append(await reconciler.apply(of(replace(subsystem, namespaces=namespaces))))
        return reports, await target_state.read(rpc)

    reports, state = gateway(use)
    assert [report.applied for report in reports] == [True, False, False, True]
    assert reports[1].namespaces == {(subsystem.nqn, 2): None, (subsystem.nqn, 3): None}
    assert reports[2].namespaces is None and list(reports[2].problem_of) == [f"namespace_{subsystem.nqn}_2"]
    assert state.subsystems[subsystem.nqn].namespaces == {} and state.bdevs == {}


def with_namespace(subsystem, nsid, **changed):
    return of(replace(subsystem, namespaces={
        **subsystem.namespaces, nsid: replace(subsystem.namespaces[nsid], **changed)}))


def test_only_the_difference_of_limits_and_of_who_sees_a_namespace_is_sent(gateway, subsystem):
    """Also by a restarted agent, and the namespace is not made anew."""
    steps = [({"auto_visible": False, "hosts": frozenset({HOST})},
              ["nvmf_subsystem_remove_ns", "nvmf_subsystem_add_ns", "nvmf_ns_add_host"]),
             ({"auto_visible": False, "hosts": frozenset({OTHER_HOST})}, ["nvmf_ns_remove_host", "nvmf_ns_add_host"]),
             ({"auto_visible": False, "hosts": frozenset({OTHER_HOST}), "qos": QosLimits(1500, 7)},
              ["bdev_set_qos_limit"]),
             ({"auto_visible": False, "hosts": frozenset({OTHER_HOST}), "qos": QosLimits(2000, 7)}, []),
             ({"auto_visible": False}, ["nvmf_ns_remove_host", "bdev_set_qos_limit"])]

    async def use(reconciler, contexts, rpc):
        await reconciler.apply(of(subsystem))
        sent = []
        for changed, _ in steps:
            counting = CountingRpc(rpc)
            report = await Reconciler(counting, reconciler.settings, contexts, CNTLIDS).apply(
                with_namespace(subsystem, 1, **changed))
            assert report.applied, report.problems
            sent.append([method for method in counting.methods if method not in READS + READS_OF_DISCOVERY])
        return sent, (await target_state.read(rpc)).subsystems[subsystem.nqn].hidden

    sent, hidden = gateway(use)
    assert sent == [methods for _, methods in steps] and hidden == {1: set()}


def test_who_sees_a_namespace_is_not_changed_while_its_io_makes_no_progress(gateway, subsystem):
    """Every ANA change of the subsystem would wait with it."""
    progress = []

    async def quiet(bdev_name):
        return bool(progress)

    hidden = with_namespace(subsystem, 1, auto_visible=False)
    shown = with_namespace(subsystem, 1, auto_visible=False, hosts=frozenset({HOST}))

    async def use(reconciler, contexts, rpc):
        await reconciler.apply(hidden)
        counting = CountingRpc(rpc)
        careful = Reconciler(counting, reconciler.settings, contexts, CNTLIDS, quiet=quiet)
        reports = [await careful.apply(shown)]
        waited = list(counting.methods)
        progress.append(True)
        return [*reports, await careful.apply(shown)], waited, counting.methods

    (first, second), waited, methods = gateway(use)
    key = f"ns-host_{subsystem.nqn}_1_{HOST}"
    assert first.waiting == {key} and first.retry and "makes no progress" in first.problem_of[key]
    assert "nvmf_ns_add_host" not in waited and "nvmf_ns_add_host" in methods and second.applied


def test_limits_and_visibility_are_there_before_the_first_listener(gateway, subsystem):
    async def use(reconciler, contexts, rpc):
        counting = CountingRpc(rpc)
        report = await Reconciler(counting, reconciler.settings, contexts, CNTLIDS).apply(with_namespace(
            subsystem, 2, auto_visible=False, hosts=frozenset({HOST}), qos=QosLimits(w_mbytes_per_second=9)))
        state = await target_state.read(rpc)
        return report, counting.methods, state

    report, methods, state = gateway(use)
    assert report.applied
    assert methods.index("nvmf_subsystem_add_listener") > max(
        methods.index(method) for method in ("nvmf_ns_add_host", "bdev_set_qos_limit"))
    assert state.subsystems[subsystem.nqn].hidden == {2: {HOST}}
    assert state.limits[subsystem.namespaces[2].bdev_name] == QosLimits(w_mbytes_per_second=9)
    assert not state.changes_visibility


def test_what_is_no_longer_wanted_goes_and_the_rest_stays(gateway, subsystem):
    async def use(reconciler, contexts, rpc):
        await reconciler.apply(of(subsystem))
        less = replace(subsystem, hosts=frozenset(), listeners=(), allow_any_host=True,
                       namespaces={2: subsystem.namespaces[2]})
        report = await reconciler.apply(of(less))
        shown, = await rpc.call("nvmf_get_subsystems", {"nqn": subsystem.nqn})
        return report, shown, list(contexts.released_names)

    report, shown, released = gateway(use)
    assert report.applied
    assert shown["listen_addresses"] == [] and shown["hosts"] == [] and shown["allow_any_host"]
    assert [namespace["nsid"] for namespace in shown["namespaces"]] == [2]
    assert released == [subsystem.namespaces[1].bdev_name]


def test_an_empty_configuration_empties_the_target(gateway, subsystem):
    async def use(reconciler, contexts, rpc):
        await reconciler.apply(of(subsystem))
        report = await reconciler.apply(Configuration())
        return report, await target_state.read(rpc), list(contexts.released_names)

    report, state, released = gateway(use)
    assert report.applied and state.subsystems == {} and state.bdevs == {} and state.has_transport
    assert sorted(released) == sorted(namespace.bdev_name for namespace in subsystem.namespaces.values())


def test_a_subsystem_whose_serial_number_changed_is_made_again(gateway, subsystem):
    async def use(reconciler, contexts, rpc):
        await reconciler.apply(of(subsystem))
        report = await reconciler.apply(of(replace(subsystem, serial_number="Ceph2")))
        shown, = await rpc.call("nvmf_get_subsystems", {"nqn": subsystem.nqn})
        return report, shown

    report, shown = gateway(use)
    assert report.applied and shown["serial_number"] == "Ceph2" and len(shown["namespaces"]) == 2


@pytest.mark.parametrize("change", ["uuid", "image"])
def test_a_namespace_that_became_another_one_is_replaced(gateway, subsystem, images, change):
    new = replace(subsystem.namespaces[1], image=images[2],
                  uuid=str(uuid.uuid4()) if change == "uuid" else subsystem.namespaces[1].uuid)

    async def use(reconciler, contexts, rpc):
        await reconciler.apply(of(subsystem))
        report = await reconciler.apply(of(replace(subsystem, namespaces={**subsystem.namespaces, 1: new})))
        return report, await target_state.read(rpc)

    report, state = gateway(use)
    assert report.applied
    assert state.bdevs[new.bdev_name] == ("rbd", images[2]) and len(state.bdevs) == 2
    assert state.subsystems[subsystem.nqn].namespaces[1].uuid == new.uuid


def test_a_namespace_moves_through_limbo_and_keeps_its_group_if_others_change_it(gateway, subsystem):
    wide = replace(subsystem, max_namespaces=64)
    key, move = (wide.nqn, 1), Move(wide.nqn, 1, 1, 2, 3, "gw1")

    def with_group(group):
        return of(replace(wide, namespaces={**wide.namespaces, 1: replace(wide.namespaces[1], ana_group_id=group)}))

    async def use(reconciler, contexts, rpc):
        seen = []
        for wanted, moving, agreed in ((1, (), {}), (2, (), {}), (1, (move,), {}), (2, (), {key: 2}), (1, (), {key: 2})):
            report = await reconciler.apply(with_group(wanted), moving, agreed)
            held = reconciler.groups.held(with_group(wanted), moving)
            seen.append(((await groups(rpc, wide.nqn))[1], bool(held), report.applied))
        restarted = Reconciler(rpc, reconciler.settings, contexts, CNTLIDS)
        await restarted.apply(with_group(1), (move,), {key: 2}, passed=False)
        waits = (await groups(rpc, wide.nqn))[1], bool(restarted.groups.held(with_group(1), (move,)))
        late = await restarted.apply(with_group(1), (), {key: 1}, passed=False)
        return seen, waits, (await groups(rpc, wide.nqn))[1], late.retry, list(contexts.released_names)

    seen, again, late, retry, released = gateway(use)
    assert seen == [(1, False, True), (1, False, False), (64, True, True), (2, False, True), (2, False, False)]
    assert again == (64, True)
    assert late == 64 and retry, "the fence's OSD map was not seen"
    assert released == []


def test_a_missing_image_is_a_problem_of_its_namespace_and_the_rest_is_served(gateway, subsystem):
    broken = replace(subsystem.namespaces[1], image="nosuch")

    async def use(reconciler, contexts, rpc):
        report = await reconciler.apply(of(replace(subsystem, namespaces={**subsystem.namespaces, 1: broken})))
        return (report, await groups(rpc, subsystem.nqn), await listening(rpc, subsystem.nqn),
                list(contexts.released_names))

    report, found, listeners, released = gateway(use)
    assert not report.applied and not report.retry
    assert list(report.problem_of) == [f"namespace_{subsystem.nqn}_1"]
    assert "open image rbd/nosuch" in report.problems[0] and "does it exist" in report.problems[0]
    assert found == {2: 2} and listeners == {target_state.address(subsystem.listeners[0])}
    assert released == [broken.bdev_name]


def test_listeners_wait_for_namespaces_whose_rados_client_is_not_permitted_yet(gateway, subsystem):
    async def use(reconciler, contexts, rpc):
        contexts.permitted = False
        waiting = await reconciler.apply(of(subsystem))
        found = await groups(rpc, subsystem.nqn), await listening(rpc, subsystem.nqn)
        contexts.permitted = True
        return waiting, found, await reconciler.apply(of(subsystem)), await listening(rpc, subsystem.nqn)

    waiting, found, done, listeners = gateway(use)
    assert waiting.retry and not waiting.applied and found == ({}, set())
    assert any("does not permit" in problem for problem in waiting.problems)
    assert done.applied and not done.retry and len(listeners) == 1


def test_an_address_in_use_is_a_problem_of_its_listener(gateway, subsystem):
    with socket.socket() as taken:
        taken.bind((ADDR, subsystem.listeners[0].trsvcid))
        taken.listen()

        async def use(reconciler, contexts, rpc):
            return await reconciler.apply(of(subsystem)), await groups(rpc, subsystem.nqn)

        report, found = gateway(use)
    assert list(report.problem_of) == [f"listener_{subsystem.nqn}_gw1_TCP_{ADDR}_{subsystem.listeners[0].trsvcid}"]
    assert "is the port free?" in report.problems[0]
    assert found == {1: 1, 2: 2}


def test_many_subsystems_are_made_in_few_writes(gateway, subsystem):
    port = subsystem.listeners[0].trsvcid
    many = [replace(subsystem, nqn=f"{subsystem.nqn}-{n}", namespaces={}, listeners=(Listener("gw1", ADDR, port),))
            for n in range(50)]

    async def use(reconciler, contexts, rpc):
        counting = CountingRpc(rpc)
        report = await Reconciler(counting, reconciler.settings, contexts, CNTLIDS).apply(of(*many))
        return report, counting.writes

    report, writes = gateway(use)
    assert report.applied
    assert writes == [len(READS), 50, 50, 50, len(READS_OF_DISCOVERY), 1]
