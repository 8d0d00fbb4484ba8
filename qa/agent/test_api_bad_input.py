"""Claims about what the API does with input that is wrong in every way: a precise status and a message each, nothing
stored, and the agent goes on. On a running target and a real cluster, over gRPC; also bytes that are no request."""
from __future__ import annotations

import errno
import json
import socket
import uuid
from typing import Any, Callable, Dict, Iterator, Tuple

import grpc
import pytest
import rados
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_target import gateway_settings
from standalone_gateway import StandaloneGateway

from gw_agent.config_store import ABOUT_CHANGES
from gw_agent.configuration import VERSION_KEY
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc

NQN = "nqn.2016-06.io.spdk:bad"
HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
UUID = "0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
ADDR = "127.0.0.2"
MIB = 1 << 20
LONG = "x" * 300_000
MESSAGE_LIMIT = 4000
SERVICE = pb.DESCRIPTOR.services_by_name["Gateway"]
NOT_ASKED = ("set_ana_state", "namespace_change_load_balancing_group")
"""The first is refused whatever is in it (test_api.py), the other is carried out by a whole agent."""


@pytest.fixture(scope="module")
def gateway(target: str, cluster: Any, ceph: rados.Rados, directory: Any) -> Iterator[StandaloneGateway]:
    """One for all of these tests: that it goes on is a part of the claim."""
    with StandaloneGateway(ceph, gateway_settings(directory, cluster, group="bad"), target) as running:
        yield running


@pytest.fixture(scope="module")
def stub(gateway: StandaloneGateway) -> Iterator[Any]:
    """With a subsystem that has an allowed host and namespace 1."""
    with grpc.insecure_channel(gateway.address) as channel:
        made = gateway_pb2_grpc.GatewayStub(channel)
        for call, request in (
                (made.create_subsystem, pb.create_subsystem_req(subsystem_nqn=NQN, no_group_append=True, enable_ha=True,
                                                                serial_number="BAD1", max_namespaces=4)),
                (made.add_host, pb.add_host_req(subsystem_nqn=NQN, host_nqn=HOST)),
                (made.namespace_add, pb.namespace_add_req(subsystem_nqn=NQN, rbd_pool_name="rbd", rbd_image_name="bad1",
                                                          create_image=True, size=8 * MIB, uuid=UUID))):
            reply = call(request)
            assert reply.status == 0, reply.error_message
        yield made


def entries(gateway: StandaloneGateway) -> Dict[str, str]:
    omap = gateway.run(gateway.store.load()).omap
    return {key: value for key, value in omap.items() if key not in ABOUT_CHANGES}


@pytest.fixture
def unchanged(gateway: StandaloneGateway, stub: Any) -> Iterator[None]:
    """What is stored and what the target has is the same after the test; what was taken back shows in the version."""
    def now() -> Tuple[Dict[str, str], Any]:
        return (entries(gateway), gateway.run(gateway.rpc.call("nvmf_get_subsystems", {"nqn": NQN})))
    before = now()
    yield
    assert now() == before


def subsystem(**fields: Any) -> Tuple[str, Any]:
    return "create_subsystem", pb.create_subsystem_req(**{
        "subsystem_nqn": NQN + "2", "no_group_append": True, "enable_ha": True, **fields})


def listener(**fields: Any) -> Tuple[str, Any]:
    return "create_listener", pb.create_listener_req(**{"nqn": NQN, "host_name": "gw1", "traddr": ADDR, **fields})


def host(nqn: str, **fields: Any) -> Tuple[str, Any]:
    return "add_host", pb.add_host_req(**{"subsystem_nqn": NQN, "host_nqn": nqn, **fields})


def namespace(**fields: Any) -> Tuple[str, Any]:
    return "namespace_add", pb.namespace_add_req(**{
        "subsystem_nqn": NQN, "rbd_pool_name": "rbd", "rbd_image_name": "bad2", "create_image": True, "size": 8 * MIB,
        **fields})


def about(method: str, request: str = "", **fields: Any) -> Tuple[str, Any]:
    return method, getattr(pb, request or f"{method}_req")(**{"subsystem_nqn": NQN, "nsid": 1, **fields})


CASES = [
    # Names.
    (subsystem(subsystem_nqn=""), errno.EINVAL, "is empty"),
    (subsystem(subsystem_nqn="nqn"), errno.EINVAL, "not of the form nqn."),
    (subsystem(subsystem_nqn="nqn.2016-13.io.spdk:a"), errno.EINVAL, "not of the form nqn."),
    (subsystem(subsystem_nqn="nqn.2016-06.io.spdk:" + "a" * 210), errno.EINVAL, "230 bytes long; at most 223"),
    (subsystem(subsystem_nqn="nqn.2016-06.io.spdk:" + "ä" * 110), errno.EINVAL, "240 bytes long; at most 223"),
    (subsystem(subsystem_nqn="nqn.2016-06.io.spdk:a_b"), errno.EINVAL, "contains '_'"),
    (subsystem(subsystem_nqn="nqn.2016-06.io.spdk:a b"), errno.EINVAL, "spaces or unprintable"),
    (subsystem(subsystem_nqn="nqn.2016-06.io.spdk:a\0"), errno.EINVAL, "spaces or unprintable"),
    (subsystem(subsystem_nqn="nqn.2016-06.io.spdk:\u202ea"), errno.EINVAL, "spaces or unprintable"),
    (subsystem(subsystem_nqn="nqn.2014-08.org.nvmexpress.discovery"), errno.EINVAL, "discovery subsystem"),
    (subsystem(subsystem_nqn="nqn.2014-08.org.nvmexpress:uuid:1"), errno.EINVAL, "does not end in a UUID"),
    (subsystem(subsystem_nqn="nqn.2016-06.io.spdk:" + LONG), errno.EINVAL, "300020 bytes long"),
    (subsystem(subsystem_nqn=LONG + "_"), errno.EINVAL, "contains '_'"),
    (subsystem(subsystem_nqn=NQN), errno.EEXIST, "exists already"),
    (subsystem(serial_number="BAD1"), errno.EEXIST, "is used by subsystem"),
    (subsystem(serial_number="S" * 21), errno.EINVAL, "1 to 20 printable"),
    (subsystem(serial_number="ü"), errno.EINVAL, "1 to 20 printable"),
    (subsystem(max_namespaces=1025), errno.EINVAL, "1 to 1024"),
    (subsystem(max_namespaces=2 ** 32 - 1), errno.EINVAL, "1 to 1024"),
    (subsystem(enable_ha=False), errno.EINVAL, "enable_ha"),
    (host("nqn.bad"), errno.EINVAL, "not of the form nqn."),
    (host(HOST), errno.EEXIST, "allowed in subsystem"),
    (host(HOST + "0"), errno.EINVAL, "does not end in a UUID"),
    (host(LONG), errno.EINVAL, "at most 223"),
    (host(HOST, subsystem_nqn="nqn.no"), errno.ENOENT, "no subsystem nqn.no; there are: " + NQN),
    (("remove_host", pb.remove_host_req(subsystem_nqn=NQN, host_nqn="*")), errno.ENOENT, "any host is not allowed"),
    (("delete_subsystem", pb.delete_subsystem_req(subsystem_nqn=NQN)), errno.EBUSY, "still has namespaces (1)"),
    (("delete_subsystem", pb.delete_subsystem_req(subsystem_nqn=LONG)), errno.ENOENT, "no subsystem"),
    # Addresses.
    (listener(traddr="gw1.example"), errno.EINVAL, "not an IPv4 or IPv6 address"),
    (listener(traddr=""), errno.EINVAL, "not an IPv4 or IPv6 address"),
    (listener(traddr="127.0.0.256"), errno.EINVAL, "not an IPv4 or IPv6 address"),
    (listener(traddr="fd00::1"), errno.EINVAL, "give the address family ipv6"),
    (listener(traddr="127.0.0.2", adrfam=pb.ipv6), errno.EINVAL, "give the address family ipv4"),
    (listener(adrfam=7), errno.EINVAL, "address family 7 is none of 0 (ipv4), 1 (ipv6)"),
    (listener(trsvcid=65536), errno.EINVAL, "port 65536"),
    (listener(host_name="a_b"), errno.EINVAL, "contains '_'"),
    (listener(host_name="gw9", verify_host_name=True), errno.ENODEV, "which is gw1"),
    (listener(traddr="192.0.2.1"), errno.EIO, "is it an address of this host"),
    (listener(traddr="[2001:db8::1]", adrfam=pb.ipv6), errno.EIO, "is it an address of this host"),
    (("delete_listener", pb.delete_listener_req(nqn=NQN, host_name="gw1", traddr=ADDR)), errno.ENOENT, "no listener"),
    # Namespaces.
    (namespace(nsid=1), errno.EEXIST, "namespace id 1 is used"),
    (namespace(nsid=5), errno.EINVAL, "above 4"),
    (namespace(nsid=2 ** 32 - 1), errno.EINVAL, "above 4"),
    (namespace(uuid=UUID.upper()), errno.EEXIST, "is that of namespace 1"),
    (namespace(uuid="1"), errno.EINVAL, "UUID '1' is not of the form"),
    (namespace(uuid="{" + UUID + "}"), errno.EINVAL, "is not of the form"),
    (namespace(anagrpid=3), errno.ENODEV, "does not exist; there are 1, 2"),
    (namespace(anagrpid=-1), errno.ENODEV, "does not exist; there are 1, 2"),
    (namespace(block_size=513), errno.EINVAL, "is not one of 512"),
    (namespace(size=MIB + 1), errno.EINVAL, "not a multiple of the block size 512"),
    (namespace(size=4096 + 512, block_size=4096), errno.EINVAL, "not a multiple of the block size 4096"),
    (namespace(size=2 ** 64 - 512), errno.EINVAL, "or above"),
    (namespace(size=0), errno.EINVAL, "needs a size"),
    (namespace(create_image=False), errno.EINVAL, "for a new image only"),
    (namespace(create_image=False, size=0), errno.ENODEV, "no image rbd/bad2"),
    (namespace(create_image=False, size=0, trash_image=True), errno.EINVAL, "only an image that is created"),
    (namespace(rbd_pool_name="nosuch"), errno.ENODEV, "no pool 'nosuch'"),
    (namespace(rbd_pool_name="rbd/ns"), errno.EOPNOTSUPP, "RBD namespace"),
    (namespace(rbd_image_name="bad1"), errno.EEXIST, "is used by namespace 1"),
    (namespace(rbd_image_name="bad1", size=4 * MIB, force=True), errno.EEXIST, "exists with 8388608 bytes"),
    (namespace(rbd_image_name=""), errno.EINVAL, "is empty or has characters"),
    (namespace(rbd_image_name="a@snap"), errno.EINVAL, "plain name"),
    (namespace(rbd_image_name="a\nb"), errno.EINVAL, "plain name"),
    (namespace(rbd_image_name=LONG), errno.EINVAL, "at most"),
    (namespace(rbd_pool_name=LONG), errno.EINVAL, "at most"),
    (about("namespace_resize", new_size=4), errno.EINVAL, "would lose data"),
    (about("namespace_resize", new_size=2 ** 64 - 1), errno.EINVAL, "from 1 to"),
    (about("namespace_resize", nsid=0, new_size=9), errno.ENOENT, "no namespace 0"),
    (about("namespace_set_qos_limits", "namespace_set_qos_req"), errno.EINVAL, "no limit is given"),
    (about("namespace_add_host", host_nqn=HOST), errno.EINVAL, "visible to every host"),
    (about("namespace_change_visibility", auto_visible=False), errno.EOPNOTSUPP, "Ceph's fork"),
    (about("namespace_delete", nsid=3), errno.ENOENT, "no namespace 3"),
    (about("namespace_get_io_stats", nsid=3), errno.ENOENT, "no namespace 3"),
    (("list_namespaces", pb.list_namespaces_req(subsystem="nqn.no")), errno.ENOENT, "no subsystem nqn.no"),
    (("list_connections", pb.list_connections_req()), errno.ENOENT, "no subsystem ;"),
    (("set_gateway_log_level", pb.set_gateway_log_level_req(log_level=1)), errno.EINVAL, "none of debug"),
    (("set_spdk_nvmf_logs", pb.set_spdk_nvmf_logs_req(print_level=-1)), errno.EINVAL, "print_level -1 is none of"),
]


@pytest.mark.parametrize("call, code, text", CASES, ids=[f"{method}-{number}" for number, ((method, _), *_rest) in
                                                         enumerate(CASES)])
def test_what_is_wrong_is_named_and_nothing_is_changed(call: Tuple[str, Any], code: int, text: str, stub: Any,
                                                       unchanged: None) -> None:
    method, request = call
    reply = getattr(stub, method)(request)
    assert (reply.status, text in reply.error_message) == (code, True), reply
    assert len(reply.error_message) < MESSAGE_LIMIT


def test_a_port_that_somebody_has_is_not_taken(stub: Any, unchanged: None) -> None:
    with socket.socket() as taken:
        taken.bind((ADDR, 0))
        taken.listen()
        method, request = listener(trsvcid=taken.getsockname()[1])
        reply = getattr(stub, method)(request)
    assert reply.status == errno.EIO and "is the port free?" in reply.error_message


# What is no request at all.


def raw(gateway: StandaloneGateway, method: str, data: bytes) -> grpc.StatusCode:
    with grpc.insecure_channel(gateway.address) as channel:
        call = channel.unary_unary(f"/Gateway/{method}")
        with pytest.raises(grpc.RpcError) as failed:
            call(data)
    assert failed.value.details()
    return failed.value.code()


@pytest.mark.parametrize("method, data, code", [
    ("create_subsystem", b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
    ("create_subsystem", b"\x0a\x02\xff\xfe", grpc.StatusCode.INVALID_ARGUMENT),    # text that is not UTF-8
    ("namespace_add", b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", grpc.StatusCode.INVALID_ARGUMENT),
    ("no_such_method", b"", grpc.StatusCode.UNIMPLEMENTED),
    ("create_subsystem", b"\x0a" + b"x" * (5 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED)])
def test_bytes_that_are_no_request_get_a_status_of_grpc(method: str, data: bytes, code: grpc.StatusCode,
                                                        gateway: StandaloneGateway, unchanged: None) -> None:
    assert raw(gateway, method, data) == code


def of_field(field: Any) -> st.SearchStrategy:
    """Values of its type, with those that have a meaning here among them."""
    if field.type == field.TYPE_STRING:
        return st.one_of(st.text(max_size=40), st.sampled_from(["", "*", NQN, HOST, UUID, "rbd", "bad1", ADDR, "::1"]))
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    bits, signed = {field.TYPE_UINT32: (32, 0), field.TYPE_INT32: (31, 1), field.TYPE_UINT64: (64, 0),
                    field.TYPE_ENUM: (31, 1)}[field.type]
    return st.one_of(st.integers(-signed << bits, (1 << bits) - 1), st.integers(0, 5))


def request_of(method: Any) -> st.SearchStrategy:
    fields = {field.name: of_field(field) for field in method.input_type.fields}
    return st.tuples(st.just(method), st.fixed_dictionaries({}, optional=fields))


ANY_REQUEST = st.sampled_from([m for m in SERVICE.methods if m.name not in NOT_ASKED]).flatmap(request_of)
"""Never one that makes an image of any size, or takes away what the other tests stand on."""
HARMLESS: Dict[str, Callable[[Dict[str, Any]], bool]] = {
    "namespace_add": lambda fields: not fields.get("create_image"),
    "delete_subsystem": lambda fields: not fields.get("force"),
    "namespace_delete": lambda fields: fields.get("nsid") != 1,
    "namespace_resize": lambda fields: fields.get("new_size", 0) > 1 << 40,
    "set_gateway_log_level": lambda fields: False}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_REQUEST)
def test_any_request_is_answered_and_a_refusal_changes_nothing(gateway: StandaloneGateway, stub: Any,
                                                               asked: Tuple[Any, Dict[str, Any]]) -> None:
    method, fields = asked
    if not HARMLESS.get(method.name, lambda _: True)(fields):
        return
    before = entries(gateway)
    try:
        reply = getattr(stub, method.name)(getattr(pb, method.input_type.name)(**fields))
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
        return
    if getattr(reply, "status", 0) != 0:
        assert reply.status in errno.errorcode and 10 < len(reply.error_message) < MESSAGE_LIMIT, reply
        assert entries(gateway) == before


# What somebody else stored.


@pytest.mark.parametrize("key, value", [
    (f"namespace_{NQN}_2", "no JSON"), (f"namespace_{NQN}_2", "[" * 5000),
    (f"namespace_{NQN}_2", json.dumps({"subsystem_nqn": NQN, "nsid": 3, "rbd_pool_name": "rbd",
                                       "rbd_image_name": "bad9", "uuid": str(uuid.uuid4())})),
    (f"namespace_{NQN}_2", json.dumps({"subsystem_nqn": NQN, "nsid": 2, "rbd_pool_name": "nosuch",
                                       "rbd_image_name": "bad9", "uuid": str(uuid.uuid4()), "anagrpid": 1})),
    (f"subsystem_{NQN}3", "{}"), (f"host_{NQN}_x", json.dumps({"subsystem_nqn": NQN, "host_nqn": 7})),
    (f"listener_{NQN}_gw1_TCP_x_1", json.dumps({"nqn": NQN, "host_name": "gw1", "traddr": "x", "trsvcid": 1})),
    (f"qos_{NQN}_1", json.dumps({"subsystem_nqn": NQN, "nsid": 1, "rw_ios_per_second": "-1"})),
    (f"qos_{NQN}_1", json.dumps({"subsystem_nqn": NQN, "nsid": 1, "rw_ios_per_second": str(2 ** 70)})),
    ("foreign", "x" * 100_000), ("_", ""), ("omap_versio", ""), ("\u202e_\u202e", "\0")])
def test_a_broken_entry_costs_itself_alone_and_can_be_removed(
        key: str, value: str, gateway: StandaloneGateway, stub: Any, ceph: rados.Rados) -> None:
    def write(change: Callable[[rados.WriteOp], None]) -> None:
        version = gateway.run(gateway.store.load()).version
        with ceph.open_ioctx("rbd") as ioctx, rados.WriteOpCtx() as operation:
            change(ioctx, operation)
            ioctx.set_omap(operation, (VERSION_KEY,), (str(version + 1),))
            ioctx.operate_write_op(operation, gateway.store.oid)

    write(lambda ioctx, operation: ioctx.set_omap(operation, (key,), (value.encode(),)))
    try:
        report = gateway.run(gateway.apply_now())
        stored = gateway.run(gateway.store.load())
        assert stored.problem_of or report.problems
        listed = stub.list_namespaces(pb.list_namespaces_req(subsystem=NQN)).namespaces
        assert [namespace.nsid for namespace in listed if namespace.rbd_image_size] == [1]
        assert stub.add_host(pb.add_host_req(subsystem_nqn=NQN, host_nqn="*")).status == 0
        assert stub.remove_host(pb.remove_host_req(subsystem_nqn=NQN, host_nqn="*")).status == 0
        if key == f"namespace_{NQN}_2":
            assert "used in subsystem" in stub.namespace_add(namespace(nsid=2)[1]).error_message
            assert stub.namespace_delete(pb.namespace_delete_req(subsystem_nqn=NQN, nsid=2)).status == 0
            assert key not in gateway.run(gateway.store.load()).omap
    finally:
        write(lambda ioctx, operation: ioctx.remove_omap_keys(operation, (key,)))
        gateway.run(gateway.apply_now())
