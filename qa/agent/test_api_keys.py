"""Claims about keys of hosts over the API: every gateway of the group enforces them, and nobody else can read them."""
from __future__ import annotations

import base64
import errno
import zlib
from contextlib import ExitStack

import grpc
import pytest
from running_target import gateway_settings, running_target
from standalone_gateway import StandaloneGateway
from testbed.waiting import wait_until

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc

NQN, HOST = "nqn.2016-06.io.spdk:secret", "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
WAIT_S = 60


def interchange(kind, secret):
    return f"{kind}:01:{base64.b64encode(secret + zlib.crc32(secret).to_bytes(4, 'little')).decode()}:"


KEYS = [interchange("DHHC-1", secret * 32) for secret in (b"1", b"2", b"3")]
PSK = interchange("NVMeTLSkey-1", b"4" * 32)


@pytest.fixture
def pair(nvmf_tgt, cluster, ceph, group, target, directory, tmp_path):
    """Two gateways of a group with its key, and their clients."""
    path = tmp_path / "group.key"
    path.write_text(base64.b64encode(b"k" * 32).decode())
    path.chmod(0o600)
    more = f"encryption_key = {path}\n"
    with ExitStack() as stack:
        other = stack.enter_context(running_target(nvmf_tgt, tmp_path))
        gateways = [stack.enter_context(StandaloneGateway(ceph, settings, socket, number)) for number, (settings, socket)
                    in enumerate(((gateway_settings(directory, cluster, group=group, more=more), target),
                                  (gateway_settings(tmp_path, cluster, "127.0.0.3", "gw2", group, more), other)), 1)]
        yield gateways, [gateway_pb2_grpc.GatewayStub(stack.enter_context(grpc.insecure_channel(gateway.address)))
                         for gateway in gateways]


def key_names(gateway):
    """What the gateway's target shows of the host."""
    subsystem, = [s for s in gateway.run(gateway.rpc.call("nvmf_get_subsystems")) if s["nqn"] == NQN]
    return {host["nqn"]: host for host in subsystem["hosts"]}.get(HOST, {})


def done(reply):
    assert reply.status == 0, reply.error_message


def test_keys_that_are_set_and_changed_anywhere_are_enforced_everywhere_and_readable_nowhere(pair, caplog):
    caplog.set_level("DEBUG")
    gateways, (one, two) = pair
    done(one.create_subsystem(pb.create_subsystem_req(subsystem_nqn=NQN, enable_ha=True, no_group_append=True,
                                                      dhchap_key=KEYS[0])))
    done(one.add_host(pb.add_host_req(subsystem_nqn=NQN, host_nqn=HOST, dhchap_key=KEYS[1], psk=PSK)))
    for gateway in gateways:
        wait_until(lambda: set(key_names(gateway)) == {"nqn", "dhchap_key", "dhchap_ctrlr_key"}, WAIT_S, "both keys")
    before = key_names(gateways[0])
    assert key_names(gateways[1]) == before, "the same names everywhere"
    done(two.change_host_key(pb.change_host_key_req(subsystem_nqn=NQN, host_nqn=HOST, dhchap_key=KEYS[2])))
    done(two.change_subsystem_key(pb.change_subsystem_key_req(subsystem_nqn=NQN, dhchap_key=KEYS[1])))
    for gateway in gateways:
        wait_until(lambda: not set(key_names(gateway).values()) & (set(before.values()) - {HOST}), WAIT_S, "new keys")
    for stub in (one, two):
        host, = stub.list_hosts(pb.list_hosts_req(subsystem=NQN)).hosts
        assert host.use_dhchap and host.use_psk
        subsystem, = stub.list_subsystems(pb.list_subsystems_req(subsystem_nqn=NQN)).subsystems
        assert subsystem.has_dhchap_key
    stored = gateways[0].run(gateways[0].store.load()).omap
    assert not [key for key in (*KEYS, PSK) if key[15:40] in caplog.text + str(stored)]


def test_a_refused_key_changes_nothing_and_is_not_repeated(pair):
    (gateway, _), (stub, _) = pair
    done(stub.create_subsystem(pb.create_subsystem_req(subsystem_nqn=NQN, enable_ha=True, no_group_append=True)))
    version = gateway.run(gateway.store.load()).version
    mistyped = KEYS[0].replace("MTEx", "MTEy", 1)
    for reply, code, said in (
            (stub.add_host(pb.add_host_req(subsystem_nqn=NQN, host_nqn=HOST, dhchap_key=mistyped)), errno.EINVAL,
             "dhchap_key: the key has a wrong checksum"),
            (stub.add_host(pb.add_host_req(subsystem_nqn=NQN, host_nqn=HOST, psk=KEYS[0])), errno.EINVAL,
             "psk: the key does not begin with NVMeTLSkey-1:"),
            (stub.add_host(pb.add_host_req(subsystem_nqn=NQN, host_nqn="*", dhchap_key=KEYS[0])), errno.EINVAL,
             "a key belongs to one host"),
            (stub.add_host(pb.add_host_req(subsystem_nqn=NQN, host_nqn=HOST, dhchap_key="x", key_encrypted=True)),
             errno.EINVAL, "encrypts them itself"),
            (stub.change_host_key(pb.change_host_key_req(subsystem_nqn=NQN, host_nqn=HOST, dhchap_key=KEYS[0])),
             errno.ENOENT, "add it with the key")):
        assert reply.status == code and said in reply.error_message, reply
        assert not [key for key in (*KEYS, mistyped) if key[15:40] in reply.error_message]
    assert gateway.run(gateway.store.load()).version == version
