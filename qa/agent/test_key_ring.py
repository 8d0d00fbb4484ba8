"""Claims about hosts' keys in a running target: who gets which, where they lie, and what is left of them."""
from __future__ import annotations

import asyncio
import base64
import os
import zlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from running_target import OneContext, gateway_settings, running_target
from target_sim.initiator import Host
from testbed.ports import free_ports

from gw_agent.configuration import Configuration, Listener, Subsystem
from gw_agent.group_key import GroupKey
from gw_agent.host_keys import HostKeys
from gw_agent.reconcile import Reconciler
from gw_agent.spdk_rpc import SpdkRpc

ADDR = "127.0.0.2"
NQN = "nqn.2016-06.io.spdk:keyed"
HOST, OTHER = (f"nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8{n}" for n in "ab")
SECRETS = [f"{kind}:01:{base64.b64encode(secret + zlib.crc32(secret).to_bytes(4, 'little')).decode()}:"
           for kind in ("DHHC-1", "NVMeTLSkey-1") for secret in (b"1" * 32, b"2" * 32, b"3" * 32)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("keyring")


@pytest.fixture(scope="module")
def target(nvmf_tgt, directory):
    with running_target(nvmf_tgt, directory) as path:
        yield path


@pytest.fixture(scope="module")
def group_key(directory):
    path = directory / "group.key"
    path.write_text(base64.b64encode(b"k" * 32).decode())
    path.chmod(0o600)
    return GroupKey(str(path))


@pytest.fixture(scope="module")
def sealed(group_key):
    """Three keys for authentication, then three for TLS, encrypted."""
    return [group_key.seal(secret) for secret in SECRETS]


@pytest.fixture
def subsystem(sealed):
    port, = free_ports(1, ADDR)
    return Subsystem(NQN, "Ceph1", 16, hosts=frozenset({HOST, OTHER}), listeners=(Listener("gw1", ADDR, port),),
                     dhchap_key=sealed[2], host_keys={HOST: HostKeys(sealed[0], sealed[3])})


class Gateway:
    """Reconciles the target, and looks at it."""

    def __init__(self, path, settings):
        self._path, self._settings = path, settings
        self.keys = settings.gateway.run_dir + "/keys"

    def _with_rpc(self, use):
        async def body():
            rpc = await SpdkRpc.connect(self._path)
            try:
                return await use(rpc)
            finally:
                await rpc.close()
        return asyncio.run(body())

    def apply(self, *subsystems):
        return self.apply_each(Configuration({subsystem.nqn: subsystem for subsystem in subsystems}))[0]

    def apply_each(self, *configurations, between=lambda: None):
        """One after the other, by one agent; `between`: what happens before the last."""
        async def use(rpc):
            reconciler = Reconciler(rpc, self._settings, OneContext(rpc, "/nowhere"), (1, 9))
            reports = [await reconciler.apply(wanted) for wanted in configurations[:-1]]
            between()
            return [*reports, await reconciler.apply(configurations[-1])]
        return self._with_rpc(use)

    def rpc(self, method, params=None):
        return self._with_rpc(lambda rpc: rpc.call(method, params))

    def hosts(self):
        return {host.pop("nqn"): host for host in self.rpc("nvmf_get_subsystems", {"nqn": NQN})[0]["hosts"]}

    def psk(self):
        return next(request["params"].get("psk") for request in self.rpc("framework_get_config", {"name": "nvmf"})
                    if request["params"].get("host") == HOST)

    def keyring(self):
        return {key["name"]: key for key in self.rpc("keyring_get_keys") if not key["removed"]}


@pytest.fixture
def gateway(target, directory, group_key):
    more = f"encryption_key = {directory}/group.key\n"
    settings = gateway_settings(directory, SimpleNamespace(conf="/nowhere"), ADDR, more=more)
    found = Gateway(target, settings)
    yield found
    found.apply()


def test_hosts_get_their_keys_and_who_has_one_must_authenticate(gateway, subsystem):
    assert gateway.apply(subsystem).applied
    shown = gateway.hosts()
    assert set(shown[HOST]) == {"dhchap_key", "dhchap_ctrlr_key"} and shown[OTHER] == {}
    assert set(gateway.keyring()) == {*shown[HOST].values(), gateway.psk()}
    port = subsystem.listeners[0].trsvcid
    with Host(port, NQN, hostnqn=OTHER, queues=0, address=ADDR):
        pass
    with pytest.raises(AssertionError):
        Host(port, NQN, hostnqn=HOST, queues=0, address=ADDR)


def test_a_key_lies_in_a_file_for_the_target_alone_and_nowhere_else(gateway, subsystem, directory, caplog):
    caplog.set_level("DEBUG")
    assert gateway.apply(subsystem).applied
    files = {name: key["path"] for name, key in gateway.keyring().items()}
    assert sorted(open(path).read() for path in files.values()) == sorted([SECRETS[0], SECRETS[2], SECRETS[3]])
    assert all(path == f"{gateway.keys}/{name}" for name, path in files.items())
    assert {oct(path.stat().st_mode & 0o777) for path in (directory / "gw1" / "keys").iterdir()} == {"0o600"}
    assert (directory / "gw1" / "keys").stat().st_mode & 0o777 == 0o700
    seen = caplog.text + (directory / "target.log").read_text() + str(gateway.rpc("framework_get_config", {"name": "nvmf"}))
    assert not [secret for secret in SECRETS if secret[15:40] in seen]


def test_a_second_apply_changes_nothing_and_a_changed_key_changes_that_alone(gateway, subsystem, sealed):
    gateway.apply(subsystem)
    before, keyring = gateway.hosts(), gateway.keyring()
    assert gateway.apply(subsystem).applied and gateway.keyring() == keyring
    with Host(subsystem.listeners[0].trsvcid, NQN, hostnqn=OTHER, queues=0, address=ADDR) as host:
        assert gateway.apply(replace(subsystem, host_keys={HOST: HostKeys(sealed[1], sealed[3])})).applied
        assert host.identify(1).status == 0
    after = gateway.hosts()
    assert after[HOST]["dhchap_key"] != before[HOST]["dhchap_key"]
    assert after[HOST]["dhchap_ctrlr_key"] == before[HOST]["dhchap_ctrlr_key"]
    assert before[HOST]["dhchap_key"] not in gateway.keyring()


def test_a_host_that_gets_a_key_stays_connected(gateway, subsystem, sealed):
    gateway.apply(subsystem)
    with Host(subsystem.listeners[0].trsvcid, NQN, hostnqn=OTHER, queues=0, address=ADDR) as host:
        assert gateway.apply(replace(subsystem, host_keys={
            **subsystem.host_keys, OTHER: HostKeys(sealed[1])})).applied
        assert set(gateway.hosts()[OTHER]) == {"dhchap_key", "dhchap_ctrlr_key"}
        assert host.identify(1).status == 0


def test_another_tls_key_takes_effect_and_other_hosts_stay_connected(gateway, subsystem, sealed):
    gateway.apply(subsystem)
    before = gateway.psk()
    with Host(subsystem.listeners[0].trsvcid, NQN, hostnqn=OTHER, queues=0, address=ADDR) as host:
        assert gateway.apply(replace(subsystem, host_keys={HOST: HostKeys(sealed[0], sealed[4])})).applied
        assert host.identify(1).status == 0
    assert gateway.psk() not in (None, before) and before not in gateway.keyring()


@pytest.mark.parametrize("keys", ["authentication", "TLS"])
def test_a_host_that_is_allowed_keeps_its_keys_and_its_connection_if_the_new_ones_cannot_be_read(
        gateway, subsystem, sealed, keys):
    secured = replace(subsystem, host_keys={HOST: HostKeys(None, sealed[3])})
    gateway.apply(secured)
    psk, foreign = gateway.psk(), replace(sealed[4], text=sealed[4].text[:-8] + "AAAAAAA=")
    with Host(subsystem.listeners[0].trsvcid, NQN, hostnqn=HOST, queues=0, address=ADDR) as host:
        report = gateway.apply(replace(secured, host_keys={
            HOST: HostKeys(None, foreign) if keys == "TLS" else HostKeys(foreign, sealed[3])}))
        assert host.identify(1).status == 0
    problem, = report.problems
    assert f"cannot use a key of host {HOST} in {NQN}" in problem
    assert gateway.psk() == psk and psk in gateway.keyring() and not report.applied


def test_the_old_key_for_authentication_stays_where_the_target_reads_it_if_the_new_one_cannot_be_read(
        gateway, subsystem, sealed):
    gateway.apply(subsystem)
    before = gateway.keyring()
    foreign = replace(sealed[1], text=sealed[1].text[:-8] + "AAAAAAA=")
    assert not gateway.apply(replace(subsystem, host_keys={HOST: HostKeys(foreign, sealed[3])})).applied
    assert gateway.keyring() == before and all(os.path.exists(key["path"]) for key in before.values())


def test_a_tls_key_that_the_target_refuses_leaves_the_old_one_and_is_not_tried_again(gateway, subsystem, sealed):
    """Each try ends the host's connections."""
    def wanted(psk):
        return Configuration({NQN: replace(subsystem, host_keys={HOST: HostKeys(None, psk)})})

    hosts = []

    def connect():
        hosts.append(Host(subsystem.listeners[0].trsvcid, NQN, hostnqn=HOST, queues=0, address=ADDR))
        hosts[0].__enter__()

    gateway.apply_each(wanted(sealed[3]))
    before, no_tls_key = gateway.psk(), sealed[1]
    first, second = gateway.apply_each(wanted(no_tls_key), wanted(no_tls_key), between=connect)
    assert hosts[0].identify(1).status == 0
    hosts[0].__exit__()
    key = f"host_{NQN}_{HOST}"
    assert list(first.problem_of) == list(second.problem_of) == [key]
    assert "allow host" in first.problem_of[key] and "refused it" in second.problem_of[key]
    assert gateway.psk() == before and before in gateway.keyring()
    assert gateway.apply_each(wanted(sealed[3]))[0].applied and set(gateway.keyring()) == {before}


def test_keys_that_are_not_wanted_any_more_leave_nothing(gateway, subsystem, directory):
    gateway.apply(subsystem)
    assert gateway.apply(replace(subsystem, dhchap_key=None, host_keys={})).applied
    assert gateway.hosts() == {HOST: {}, OTHER: {}}
    assert not gateway.keyring() and not list((directory / "gw1" / "keys").iterdir())


def test_a_key_that_cannot_be_decrypted_keeps_its_host_out_and_nobody_else(gateway, subsystem, sealed):
    foreign = replace(sealed[0], text=sealed[0].text[:-8] + "AAAAAAA=")
    report = gateway.apply(replace(subsystem, host_keys={HOST: HostKeys(foreign)}))
    problem, = report.problems
    assert f"cannot use a key of host {HOST} in {NQN}: what is stored was not encrypted with" in problem
    assert gateway.hosts() == {OTHER: {}}
