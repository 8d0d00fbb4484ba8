"""Claims about what the API does with a namespace that exists, and about connections and logs, on a running target and
a real cluster, as a client sees it."""
from __future__ import annotations

import errno
import json
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict

import pytest
import rbd
from target_sim.initiator import Host
from testbed.cluster import CommandFailed
from testbed.ports import free_ports
from testbed.waiting import wait_until

from gw_agent import api_images, images
from gw_agent.moves import FENCE_KEY, Fences
from gw_agent.pb import gateway_pb2 as pb

HOSTS = [f"nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8{n}" for n in range(2)]
ADDR = "127.0.0.2"
MIB = 1 << 20
ENABLED = {"rw_ios_per_second": 0, "rw_mbytes_per_second": 0, "r_mbytes_per_second": 0, "w_mbytes_per_second": 0}


@pytest.fixture
def add(stub, nqn):
    """Adds a namespace; an image of 8 MiB is made for it unless one is named."""
    def added(**fields: Any) -> pb.nsid_status:
        new = {} if "rbd_image_name" in fields else {
            "rbd_image_name": f"new-{uuid.uuid4().hex[:8]}", "create_image": True, "size": 8 * MIB}
        return stub.namespace_add(pb.namespace_add_req(subsystem_nqn=nqn, **{**new, **fields}))
    return added


@pytest.fixture
def change(stub, nqn):
    """Calls a method about namespace 1."""
    def changed(method: str, **fields: Any) -> Any:
        request = {"namespace_set_qos_limits": "namespace_set_qos_req"}.get(method, f"{method}_req")
        return getattr(stub, method)(getattr(pb, request)(**{"subsystem_nqn": nqn, "nsid": 1, **fields}))
    return changed


@pytest.fixture
def listed(stub, nqn):
    return lambda: stub.list_namespaces(pb.list_namespaces_req(subsystem=nqn)).namespaces[0]


@pytest.fixture
def add_known(add, listed, gateway):
    """Adds a namespace, and tells the gateway the RADOS address of its target, as the gateway map would."""
    def added(**fields: Any) -> str:
        assert add(**fields).status == 0
        gateway.addresses = gateway.run(gateway.watchers("rbd", listed().rbd_image_name))
        return listed().rbd_image_name
    return added


@pytest.fixture
def stored(gateway):
    """The stored values of the kinds that are asked for."""
    def entries(kind: str) -> Dict[str, Any]:
        omap = gateway.run(gateway.store.load()).omap
        return {key: json.loads(value) for key, value in omap.items() if key.split("_")[0] == kind}
    return entries


def limits(namespace):
    return [namespace.rw_ios_per_second, namespace.rw_mbytes_per_second, namespace.r_mbytes_per_second,
            namespace.w_mbytes_per_second]


def connect(stub, nqn, hostnqn):
    """A host, connected through a listener that is optimized by hand, as nobody else would in these tests."""
    port, = free_ports(1, ADDR)
    assert stub.add_host(pb.add_host_req(subsystem_nqn=nqn, host_nqn=hostnqn)).status == 0
    assert stub.create_listener(pb.create_listener_req(nqn=nqn, traddr=ADDR, trsvcid=port)).status == 0
    return Host(port, nqn, hostnqn=hostnqn, address=ADDR), port


def optimize(gateway, nqn, port):
    gateway.run(gateway.rpc.call("nvmf_subsystem_listener_set_ana_state", {
        "nqn": nqn, "ana_state": "optimized", "anagrpid": 1,
        "listen_address": {"trtype": "TCP", "adrfam": "ipv4", "traddr": ADDR, "trsvcid": str(port)}}))


# Limits.


def test_limits_are_set_kept_merged_and_lifted(add, change, listed, stored, gateway, nqn):
    assert add().status == 0
    assert change("namespace_set_qos_limits", rw_ios_per_second=1500, w_mbytes_per_second=3).status == 0
    assert limits(listed()) == [1500, 0, 0, 3]
    assert stored("qos") == {f"qos_{nqn}_1": {"subsystem_nqn": nqn, "nsid": 1, "rw_ios_per_second": "1500",
                                              "w_mbytes_per_second": "3"}}
    shown, = gateway.run(gateway.rpc.call("bdev_get_bdevs", {"name": listed().bdev_name}))
    assert list(shown["assigned_rate_limits"].values()) == [2000, 0, 0, 3]
    assert change("namespace_set_qos_limits", rw_ios_per_second=0, r_mbytes_per_second=2 ** 64 - 1).status == 0
    assert limits(listed()) == [0, 0, 2 ** 64 - 1, 3]
    assert change("namespace_set_qos_limits", **ENABLED).status == 0
    shown, = gateway.run(gateway.rpc.call("bdev_get_bdevs", {"name": listed().bdev_name}))
    assert not any(shown["assigned_rate_limits"].values())
    reply = change("namespace_set_qos_limits")
    assert reply.status == errno.EINVAL and "no limit is given" in reply.error_message


# Size.


def test_a_namespace_grows_with_its_image_while_a_host_is_connected(add, change, listed, cluster):
    assert add().status == 0
    for size_mib, wanted in ((12, 12 * MIB), (12, 12 * MIB)):
        reply = change("namespace_resize", new_size=size_mib)
        assert (reply.status, reply.error_message) == (0, "")
        assert listed().rbd_image_size == wanted
    info = json.loads(cluster.run("rbd", "info", f"rbd/{listed().rbd_image_name}", "--format", "json"))
    assert info["size"] == 12 * MIB
    for size_mib, reason in ((4, "would lose data"), (0, "from 1 to"), (2 ** 64 - 1, "from 1 to")):
        reply = change("namespace_resize", new_size=size_mib)
        assert reply.status == errno.EINVAL and reason in reply.error_message
    assert listed().rbd_image_size == 12 * MIB


# Who sees it.


def test_a_hidden_namespace_is_shown_to_chosen_hosts(add, change, listed, stored, stub, nqn):
    assert add(no_auto_visible=True).status == 0
    assert (listed().auto_visible, list(listed().hosts)) == (False, [])
    for host in HOSTS:
        assert change("namespace_add_host", host_nqn=host).status == 0
    served, = stub.get_subsystems(pb.get_subsystems_req()).subsystems
    assert (served.namespaces[0].auto_visible, sorted(served.namespaces[0].hosts)) == (False, HOSTS)
    assert stored("ns-host")[f"ns-host_{nqn}_1_{HOSTS[0]}"] == {"subsystem_nqn": nqn, "nsid": 1, "host_nqn": HOSTS[0]}
    assert change("namespace_add_host", host_nqn=HOSTS[0]).status == errno.EEXIST
    assert change("namespace_delete_host", host_nqn=HOSTS[0]).status == 0
    assert list(listed().hosts) == HOSTS[1:]
    reply = change("namespace_delete_host", host_nqn=HOSTS[0])
    assert reply.status == errno.ENOENT and HOSTS[1] in reply.error_message
    assert change("namespace_add_host", host_nqn="*").status == errno.EINVAL
    assert change("namespace_delete").status == 0 and stored("ns-host") == {}


def test_what_a_stock_target_cannot_change_is_refused_and_stays(add, change, listed, stored):
    assert add().status == 0
    reply = change("namespace_change_visibility", auto_visible=False)
    assert reply.status == errno.EOPNOTSUPP and "Ceph's fork" in reply.error_message
    assert change("namespace_change_visibility", auto_visible=True).status == 0
    reply = change("namespace_add_host", host_nqn=HOSTS[0])
    assert reply.status == errno.EINVAL and "visible to every host" in reply.error_message
    assert change("namespace_delete_host", host_nqn=HOSTS[0]).status == errno.EINVAL
    assert listed().auto_visible and stored("ns-host") == {}


# Its image.


def trashed(cluster):
    return [entry["name"] for entry in json.loads(cluster.run("rbd", "trash", "ls", "rbd", "--format", "json"))]


def test_an_image_goes_to_the_trash_with_its_namespace_when_that_was_said(add_known, change, listed, cluster):
    image = add_known(trash_image=True)
    assert listed().trash_image
    reply = change("namespace_delete")
    assert reply.status == errno.EINVAL and "--i-am-sure" in reply.error_message
    assert change("namespace_delete", i_am_sure=True).status == 0
    assert image in trashed(cluster)
    with pytest.raises(CommandFailed):
        cluster.run("rbd", "info", f"rbd/{image}")


def test_the_flag_is_changed_and_a_kept_image_stays(add, change, listed, cluster, stored, nqn):
    assert add(trash_image=True).status == 0
    for trash_image in (False, True, True, False):
        assert change("namespace_set_rbd_trash_image", trash_image=trash_image).status == 0
        assert listed().trash_image == stored("namespace")[f"namespace_{nqn}_1"]["trash_image"] == trash_image
    image = listed().rbd_image_name
    assert change("namespace_delete").status == 0
    assert image not in trashed(cluster) and cluster.run("rbd", "info", f"rbd/{image}")


def test_an_image_that_somebody_else_uses_never_goes_to_the_trash(add, add_known, change, listed, cluster, ceph):
    image = add_known(trash_image=True)
    assert add(rbd_image_name=image, force=True).nsid == 2
    reply = change("namespace_delete", i_am_sure=True)
    assert reply.status == errno.EBUSY and "namespace 2 in" in reply.error_message
    assert change("namespace_delete", nsid=2).status == 0
    with ceph.open_ioctx("rbd") as ioctx, rbd.Image(ioctx, image):
        reply = change("namespace_delete", i_am_sure=True)
    assert reply.status == errno.EBUSY and "nothing was deleted" in reply.error_message
    assert listed().nsid == 1 and image not in trashed(cluster)
    assert change("namespace_delete", i_am_sure=True).status == 0 and image in trashed(cluster)


def test_an_image_that_is_open_elsewhere_needs_force(add, listed, image, ceph):
    with ceph.open_ioctx("rbd") as ioctx, rbd.Image(ioctx, image):
        reply = add(rbd_image_name=image)
        assert reply.status == errno.EBUSY and f"rbd status rbd/{image}" in reply.error_message
        assert add(rbd_image_name=image, force=True).status == 0
    assert listed().rbd_image_name == image


def test_what_a_gateway_of_the_group_has_not_closed_yet_is_waited_for(add, listed, image, ceph, gateway, monkeypatch):
    """The namespace that it had it for was deleted, and it did not follow yet."""
    with ceph.open_ioctx("rbd") as ioctx, rbd.Image(ioctx, image):
        gateway.addresses = gateway.run(gateway.watchers("rbd", image))
        with monkeypatch.context() as impatient:
            impatient.setattr(api_images, "CLOSE_WAIT_S", 0.0)
            reply = add(rbd_image_name=image)
        assert reply.status == errno.EBUSY and "a gateway of this group has it open" in reply.error_message
        looks = []
        look = images._look
        monkeypatch.setattr(images, "_look", lambda *of: looks.append(of) or look(*of))
        adding = ThreadPoolExecutor(1).submit(add, rbd_image_name=image)
        wait_until(lambda: len(looks) > 1, 30, "the image to be looked at again")
        assert not adding.done()
    assert adding.result().status == 0 and listed().rbd_image_name == image


def test_who_died_is_fenced_before_its_image_is_served_again_and_that_fence_has_been_seen(
        add, listed, image, stored, gateway, monkeypatch):
    monkeypatch.setattr(api_images, "CLOSE_WAIT_S", 0.0)
    gateway.fenced = Fences(76, ("instance gw2#3 is not fenced yet",))
    reply = add(rbd_image_name=image)
    assert reply.status == errno.EBUSY and "instance gw2#3 is not fenced yet" in reply.error_message
    gateway.fenced = Fences(77)
    assert add(rbd_image_name=image).status == 0
    assert stored(FENCE_KEY) == {FENCE_KEY: 77}
    gateway.fenced = Fences()
    assert add(rbd_image_name=image, force=True).status == 0, "an older map lowers nothing"
    assert stored(FENCE_KEY) == {FENCE_KEY: 77}


def test_an_image_of_another_pool_is_served(add, listed, cluster):
    cluster.run("ceph", "osd", "pool", "create", "second", "8")
    cluster.run("rbd", "pool", "init", "second")
    assert add(rbd_pool_name="second").status == 0
    assert listed().rbd_pool_name == "second" and listed().rbd_image_size == 8 * MIB
    reply = add(rbd_pool_name="second/ns")
    assert reply.status == errno.EOPNOTSUPP and "RBD namespace" in reply.error_message


# What hosts do.


def test_connections_and_what_was_done_are_shown(add, change, stub, nqn, gateway):
    assert add().status == 0
    assert stub.add_host(pb.add_host_req(subsystem_nqn=nqn, host_nqn=HOSTS[1])).status == 0
    host, port = connect(stub, nqn, HOSTS[0])
    with host:
        optimize(gateway, nqn, port)
        assert host.write(1, 0, bytes(4096)).status == 0 and host.read(1, 0, 1).status == 0
        here, absent = stub.list_connections(pb.list_connections_req(subsystem=nqn)).connections
        stats = change("namespace_get_io_stats")
    assert (here.nqn, here.connected, here.traddr, here.trsvcid, here.trtype) == (HOSTS[0], True, ADDR, port, "TCP")
    assert here.qpairs_count == 2 and here.controller_id == host.cntlid and not here.secure
    assert (absent.nqn, absent.connected, absent.traddr, absent.controller_id) == (HOSTS[1], False, "<n/a>", -1)
    assert (stats.status, stats.subsystem_nqn, stats.nsid) == (0, nqn, 1) and stats.tick_rate
    assert (stats.bytes_written, stats.num_write_ops) == (4096, 1) and stats.num_read_ops >= 1


def test_a_host_feels_its_limit(add, change, stub, nqn, gateway):
    """On a target that is slow anyway this would hold by itself; the limit that is shown is what the claim rests on."""
    assert add().status == 0 and change("namespace_set_qos_limits", rw_ios_per_second=1000).status == 0
    host, port = connect(stub, nqn, HOSTS[0])
    with host:
        optimize(gateway, nqn, port)
        before = change("namespace_get_io_stats")
        for _ in range(200):
            assert host.read(1, 0, 1).status == 0
        after = change("namespace_get_io_stats")
    assert (after.ticks - before.ticks) / after.tick_rate > 0.8 * 200 / 1000


@pytest.mark.parametrize("method, fields", [
    ("namespace_resize", {"new_size": 9}), ("namespace_set_qos_limits", {"rw_ios_per_second": 1}),
    ("namespace_get_io_stats", {}), ("namespace_change_visibility", {"auto_visible": True}),
    ("namespace_set_rbd_trash_image", {"trash_image": True}), ("namespace_add_host", {"host_nqn": HOSTS[0]}),
    ("namespace_delete_host", {"host_nqn": HOSTS[0]}), ("namespace_delete", {})])
def test_a_namespace_that_is_not_there_is_named(method, fields, change, nqn):
    reply = change(method, **fields)
    assert reply.status == errno.ENOENT and f"no namespace 1 in subsystem {nqn}" in reply.error_message
    reply = change(method, subsystem_nqn="nqn.x", **fields)
    assert reply.status == errno.ENOENT and "no subsystem nqn.x; there are: " + nqn in reply.error_message


# Logs.


def test_the_agents_log_level_is_shown_and_set(stub):
    before = logging.getLogger().level
    try:
        assert stub.set_gateway_log_level(pb.set_gateway_log_level_req(log_level=pb.error)).status == 0
        assert stub.get_gateway_log_level(pb.get_gateway_log_level_req()).log_level == pb.error
        for level in (pb.notset, 33):
            reply = stub.set_gateway_log_level(pb.set_gateway_log_level_req(log_level=level))
            assert reply.status == errno.EINVAL and "none of debug, info" in reply.error_message
    finally:
        logging.getLogger().setLevel(before)


def test_the_targets_log_is_shown_set_and_calmed(stub):
    def shown():
        reply = stub.get_spdk_nvmf_log_flags_and_level(pb.get_spdk_nvmf_log_flags_and_level_req())
        assert reply.status == 0
        return reply.log_level, reply.log_print_level, {flag.name: flag.enabled for flag in reply.nvmf_log_flags}

    assert stub.set_spdk_nvmf_logs(pb.set_spdk_nvmf_logs_req(log_level=pb.ERROR, print_level=pb.WARNING)).status == 0
    level, print_level, flags = shown()
    assert (level, print_level) == (pb.ERROR, pb.WARNING) and {"nvmf", "nvmf_tcp"} <= set(flags) and all(flags.values())
    reply = stub.set_spdk_nvmf_logs(pb.set_spdk_nvmf_logs_req(log_level=9))
    assert reply.status == errno.EINVAL and "ERROR, WARNING" in reply.error_message
    assert stub.disable_spdk_nvmf_logs(pb.disable_spdk_nvmf_logs_req()).status == 0
    level, print_level, flags = shown()
    assert (level, print_level) == (pb.NOTICE, pb.INFO) and not any(flags.values())
