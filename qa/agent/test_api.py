"""Claims about the gRPC API, on a running target and a real cluster, as a client sees it."""
from __future__ import annotations

import errno
import socket
import uuid
from contextlib import ExitStack

import grpc
import pytest
from running_target import gateway_settings, running_target
from standalone_gateway import StandaloneGateway
from testbed.cluster import CommandFailed
from testbed.ports import free_ports
from testbed.waiting import wait_until

from gw_agent.config_store import StoreUnavailable
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc

HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
ADDR = "127.0.0.2"
WAIT_S = 60


def exists(cluster, image):
    try:
        cluster.run("rbd", "info", f"rbd/{image}")
    except CommandFailed:
        return False
    return True


def served(stub, nqn):
    return {subsystem.nqn: subsystem for subsystem in stub.get_subsystems(pb.get_subsystems_req()).subsystems}[nqn]


def test_a_subsystem_is_created_with_the_groups_name_listed_and_deleted(stub, nqn, group):
    assert nqn == f"nqn.2016-06.io.spdk:api.{group}"
    listed, = stub.list_subsystems(pb.list_subsystems_req()).subsystems
    assert (listed.nqn, listed.enable_ha, listed.namespace_count) == (nqn, True, 0)
    assert (listed.min_cntlid, listed.max_cntlid, listed.max_namespaces) == (1, 2040, 256)
    assert listed.serial_number.startswith("Ceph") and len(listed.serial_number) == 18
    found = served(stub, nqn)
    assert (found.serial_number, found.model_number) == (listed.serial_number, "Ceph bdev Controller")
    assert stub.list_subsystems(pb.list_subsystems_req(serial_number="other")).subsystems == []
    assert stub.delete_subsystem(pb.delete_subsystem_req(subsystem_nqn=nqn)).status == 0
    assert stub.list_subsystems(pb.list_subsystems_req()).subsystems == []
    assert stub.get_subsystems(pb.get_subsystems_req()).subsystems == []


def test_refusals_have_a_status_and_a_reason_and_change_nothing(stub, nqn, gateway):
    version = gateway.run(gateway.store.load()).version
    for reply, code, reason in (
            (stub.create_subsystem(pb.create_subsystem_req(subsystem_nqn=nqn, no_group_append=True, enable_ha=True)),
             errno.EEXIST, "exists already"),
            (stub.create_subsystem(pb.create_subsystem_req(subsystem_nqn="x_y", enable_ha=True)), errno.EINVAL,
             "contains '_'"),
            (stub.create_subsystem(pb.create_subsystem_req(subsystem_nqn=nqn + "2")), errno.EINVAL,
             "ask for it with enable_ha"),
            (stub.create_subsystem(pb.create_subsystem_req(subsystem_nqn=nqn + "2", enable_ha=True, dhchap_key="k")),
             errno.EINVAL, "does not begin with DHHC-1:"),
            (stub.delete_subsystem(pb.delete_subsystem_req(subsystem_nqn="nqn.x")), errno.ENOENT, "no subsystem"),
            (stub.add_host(pb.add_host_req(subsystem_nqn=nqn, host_nqn=HOST, psk="k")), errno.EINVAL, "psk: the key"),
            (stub.list_hosts(pb.list_hosts_req(subsystem="nqn.x")), errno.ENOENT, "no subsystem"),
            (stub.create_listener(pb.create_listener_req(nqn=nqn, traddr=ADDR, host_name="gw9",
                                                         verify_host_name=True)), errno.ENODEV, "which is gw1"),
            (stub.delete_listener(pb.delete_listener_req(nqn=nqn, traddr=ADDR, host_name="*")), errno.EINVAL, "force"),
            (stub.namespace_add(pb.namespace_add_req(subsystem_nqn=nqn, rbd_image_name="i", trash_image=True)),
             errno.EINVAL, "only an image that is created for its namespace")):
        assert reply.status == code and reason in reply.error_message
    assert gateway.run(gateway.store.load()).version == version


def test_hosts_are_allowed_listed_and_removed(stub, nqn):
    for host in (HOST, "*"):
        assert stub.add_host(pb.add_host_req(subsystem_nqn=nqn, host_nqn=host)).status == 0
    listed = stub.list_hosts(pb.list_hosts_req(subsystem=nqn))
    assert listed.allow_any_host and [host.nqn for host in listed.hosts] == [HOST]
    assert served(stub, nqn).allow_any_host
    for host in (HOST, "*"):
        assert stub.remove_host(pb.remove_host_req(subsystem_nqn=nqn, host_nqn=host)).status == 0
    assert served(stub, nqn).hosts == [] and not served(stub, nqn).allow_any_host


def test_an_own_listener_is_served_inaccessible_and_another_gateways_is_only_stored(stub, nqn):
    port, = free_ports(1, ADDR)
    for host_name, traddr in (("gw1", ADDR), ("gw2", "127.0.0.3")):
        reply = stub.create_listener(pb.create_listener_req(nqn=nqn, host_name=host_name, traddr=traddr,
                                                            trsvcid=port))
        assert reply.status == 0, reply.error_message
    assert [(entry.host_name, entry.traddr, entry.trsvcid) for entry in
            stub.list_listeners(pb.list_listeners_req(subsystem=nqn)).listeners] == [
                ("gw1", ADDR, port), ("gw2", "127.0.0.3", port)]
    assert [address.traddr for address in served(stub, nqn).listen_addresses] == [ADDR]
    shown, = stub.show_gateway_listeners_info(pb.show_gateway_listeners_info_req(subsystem_nqn=nqn)).gw_listeners
    assert (shown.listener.host_name, shown.listener.traddr) == ("gw1", ADDR)
    assert {state.grp_id: state.state for state in shown.lb_states} == {1: pb.INACCESSIBLE, 2: pb.INACCESSIBLE}
    for host_name, traddr in (("gw1", ADDR), ("gw2", "127.0.0.3")):
        assert stub.delete_listener(pb.delete_listener_req(nqn=nqn, host_name=host_name, traddr=traddr,
                                                           trsvcid=port)).status == 0
    assert served(stub, nqn).listen_addresses == []


def test_a_listener_that_the_target_cannot_make_is_taken_back(stub, nqn):
    with socket.socket() as taken:
        taken.bind((ADDR, 0))
        taken.listen()
        reply = stub.create_listener(pb.create_listener_req(nqn=nqn, traddr=ADDR, trsvcid=taken.getsockname()[1]))
    assert reply.status == errno.EIO and "is the port free?" in reply.error_message
    assert stub.list_listeners(pb.list_listeners_req(subsystem=nqn)).listeners == []


def test_a_namespace_is_added_listed_and_deleted_and_its_image_stays(stub, nqn, image, cluster):
    reply = stub.namespace_add(pb.namespace_add_req(subsystem_nqn=nqn, rbd_image_name=image))
    assert (reply.status, reply.nsid) == (0, 1), reply.error_message
    listed, = stub.list_namespaces(pb.list_namespaces_req(subsystem=nqn)).namespaces
    assert (listed.nsid, listed.rbd_pool_name, listed.rbd_image_name) == (1, "rbd", image)
    assert (listed.rbd_image_size, listed.block_size, listed.load_balancing_group) == (8 << 20, 512, 1)
    found, = served(stub, nqn).namespaces
    assert (found.uuid, found.bdev_name, found.anagrpid) == (listed.uuid, f"bdev_{listed.uuid}", 1)
    assert found.nguid.lower() == listed.uuid.replace("-", "")
    assert stub.delete_subsystem(pb.delete_subsystem_req(subsystem_nqn=nqn)).status == errno.EBUSY
    assert stub.namespace_delete(pb.namespace_delete_req(subsystem_nqn=nqn, nsid=1)).status == 0
    assert stub.list_namespaces(pb.list_namespaces_req()).namespaces == []
    assert served(stub, nqn).namespaces == [] and exists(cluster, image)


def test_an_image_is_made_when_that_is_asked_for(stub, nqn, cluster):
    name = f"new-{uuid.uuid4().hex[:8]}"

    def add(**fields):
        return stub.namespace_add(pb.namespace_add_req(subsystem_nqn=nqn, rbd_image_name=name, **fields))

    assert "no image rbd/" + name in add().error_message
    assert "needs a size" in add(create_image=True).error_message
    assert "for a new image only" in add(size=4 << 20).error_message
    assert add(create_image=True, size=4 << 20, anagrpid=2).status == 0
    listed, = stub.list_namespaces(pb.list_namespaces_req(subsystem=nqn, nsid=1)).namespaces
    assert (listed.rbd_image_size, listed.load_balancing_group) == (4 << 20, 2)
    assert add().status == errno.EEXIST
    assert add(create_image=True, size=8 << 20, force=True).status == errno.EEXIST
    assert add(create_image=True, size=4 << 20, force=True).nsid == 2


def test_an_unknown_pool_is_named(stub, nqn):
    reply = stub.namespace_add(pb.namespace_add_req(subsystem_nqn=nqn, rbd_pool_name="nopool", rbd_image_name="i"))
    assert reply.status == errno.ENODEV and "no pool 'nopool'" in reply.error_message


def test_a_namespace_that_the_target_refuses_is_taken_back_with_its_new_image(stub, nqn, cluster, gateway):
    name, namespace_uuid = f"new-{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
    gateway.contexts.wrong = True
    reply = stub.namespace_add(pb.namespace_add_req(
        subsystem_nqn=nqn, rbd_image_name=name, create_image=True, size=4 << 20, uuid=namespace_uuid))
    gateway.contexts.wrong = False
    assert reply.status == errno.EIO and "cannot open image" in reply.error_message
    assert stub.list_namespaces(pb.list_namespaces_req()).namespaces == []
    assert not exists(cluster, name)


def test_a_change_is_taken_back_when_the_target_is_gone(stub, nqn, gateway):
    gateway.run(gateway.rpc.close())
    reply = stub.add_host(pb.add_host_req(subsystem_nqn=nqn, host_nqn=HOST))
    assert reply.status == errno.EIO and "the target did not answer" in reply.error_message
    assert stub.list_hosts(pb.list_hosts_req(subsystem=nqn)).hosts == []


def test_a_namespace_that_waits_for_its_rados_client_is_stored_with_a_note(stub, nqn, image, gateway):
    gateway.contexts.permitted = False
    reply = stub.namespace_add(pb.namespace_add_req(subsystem_nqn=nqn, rbd_image_name=image))
    assert reply.status == 0 and "does not permit" in reply.error_message
    gateway.contexts.permitted = True
    assert gateway.run(gateway.apply_now()).applied
    assert len(served(stub, nqn).namespaces) == 1


def test_while_the_gateway_is_not_ready_every_method_is_unavailable_with_the_reason(stub, gateway):
    gateway.not_ready = "the gateway map does not name it"
    for call, request in ((stub.list_subsystems, pb.list_subsystems_req()),
                          (stub.get_subsystems, pb.get_subsystems_req()),
                          (stub.get_gateway_info, pb.get_gateway_info_req()),
                          (stub.namespace_add, pb.namespace_add_req())):
        with pytest.raises(grpc.RpcError) as failure:
            call(request)
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "the gateway map does not name it" in failure.value.details()


def test_ana_states_cannot_be_set_by_hand(stub):
    with pytest.raises(grpc.RpcError) as failure:
        stub.set_ana_state(pb.ana_info())
    assert failure.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "follow the gateway map" in failure.value.details()


def test_the_gateway_tells_who_it_is(stub, gateway, group):
    info = stub.get_gateway_info(pb.get_gateway_info_req(cli_version="1"))
    assert (info.name, info.group, info.load_balancing_group, info.hostname) == ("gw1", group, 1, "gw1")
    assert info.bool_status and info.cli_version == "1" and info.spdk_version
    assert f"{info.addr}:{info.port}" == gateway.address


def test_a_lost_configuration_object_is_an_error_and_takes_nothing_down(stub, nqn, gateway, ceph):
    with ceph.open_ioctx("rbd") as ioctx:
        ioctx.remove_object(gateway.store.oid)
    reply = stub.list_subsystems(pb.list_subsystems_req())
    assert reply.status == errno.EIO and "is gone" in reply.error_message
    with pytest.raises(StoreUnavailable):
        gateway.run(gateway.apply_now())
    assert served(stub, nqn).nqn == nqn


def test_another_gateway_of_the_group_follows_and_a_restarted_one_replays(nvmf_tgt, cluster, ceph, group, image,
                                                                         target, directory, tmp_path):
    with ExitStack() as stack:
        settings = gateway_settings(tmp_path, cluster, "127.0.0.3", "gw2", group)
        one = stack.enter_context(StandaloneGateway(ceph, gateway_settings(directory, cluster, group=group), target))
        stub = gateway_pb2_grpc.GatewayStub(stack.enter_context(grpc.insecure_channel(one.address)))
        nqn = configure_for_gw2(stub, image)
        mine = served(stub, nqn)
        for what in ("follows", "is restarted"):
            with running_target(nvmf_tgt, tmp_path) as path, StandaloneGateway(ceph, settings, path, 2) as two, \
                    grpc.insecure_channel(two.address) as channel:
                theirs = gateway_pb2_grpc.GatewayStub(channel)
                if what == "follows":
                    assert stub.add_host(pb.add_host_req(subsystem_nqn=nqn, host_nqn=HOST)).status == 0
                    wait_until(lambda: served(theirs, nqn).hosts, WAIT_S, "the other gateway to allow the host too")
                found = served(theirs, nqn)
                assert [host.nqn for host in found.hosts] == [HOST]
                assert found.namespaces == mine.namespaces and found.serial_number == mine.serial_number
                assert [address.traddr for address in found.listen_addresses] == ["127.0.0.3"]
                assert (found.min_cntlid, mine.min_cntlid) == (2041, 1)


def configure_for_gw2(stub, image):
    """A subsystem with a namespace, and a listener of gateway gw2; returns its NQN."""
    nqn = stub.create_subsystem(pb.create_subsystem_req(subsystem_nqn="nqn.2016-06.io.spdk:two", enable_ha=True)).nqn
    assert stub.namespace_add(pb.namespace_add_req(subsystem_nqn=nqn, rbd_image_name=image)).status == 0
    assert stub.create_listener(pb.create_listener_req(nqn=nqn, host_name="gw2", traddr="127.0.0.3",
                                                       trsvcid=free_ports(1, "127.0.0.3")[0])).status == 0
    return nqn
