"""Claims about what a host learns of the group when it asks one gateway, on running targets."""
from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest
from gateway_host import NQN as SERVED_NQN
from running_target import OneContext, gateway_settings, running_target
from target_sim.initiator import Host
from testbed.ports import free_ports
from testbed.waiting import wait_until

from gw_agent import discovery
from gw_agent.configuration import Configuration, Listener, Subsystem
from gw_agent.nqn import DISCOVERY_NQN
from gw_agent.reconcile import Reconciler
from gw_agent.spdk_rpc import SpdkRpc

NQN = "nqn.2016-06.io.spdk:discovered"
HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
ADDRESS_OF = {"gw1": "127.0.0.2", "gw2": "127.0.0.3"}
REFERRAL, CURRENT = 1, 3
BEACONS_IN_TWO_LOOKS = 5


def of(*subsystems):
    return Configuration({subsystem.nqn: subsystem for subsystem in subsystems})


@pytest.fixture(scope="module")
def targets(nvmf_tgt, tmp_path_factory):
    """Their RPC sockets by gateway."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(running_target(nvmf_tgt, tmp_path_factory.mktemp(name))) for name in ADDRESS_OF}


@pytest.fixture
def listeners():
    return {name: Listener(name, address, free_ports(1, address)[0]) for name, address in ADDRESS_OF.items()}


@pytest.fixture
def subsystem(listeners):
    return Subsystem(NQN, "Ceph1", 16, hosts=frozenset({HOST}), listeners=tuple(listeners.values()))


@pytest.fixture
def configure(targets, tmp_path):
    """Applies a configuration on both gateways, as each does by itself; the targets are emptied at the end."""
    cluster = SimpleNamespace(conf="/nowhere/ceph.conf")
    settings = {name: gateway_settings(tmp_path, cluster, address, name) for name, address in ADDRESS_OF.items()}

    async def apply(configuration):
        for name, path in targets.items():
            rpc = await SpdkRpc.connect(path)
            try:
                report = await Reconciler(rpc, settings[name], OneContext(rpc, cluster.conf), (1, 2040)).apply(configuration)
                assert report.applied, report.problems
            finally:
                await rpc.close()

    yield lambda configuration: asyncio.run(apply(configuration))
    asyncio.run(apply(Configuration()))


def learned(listener, hostnqn=HOST):
    """Subsystem listeners that a host knows once it has asked there and followed each referral, as `nvme connect-all`
    does."""
    known, asked, to_ask = set(), set(), [(listener.traddr, listener.trsvcid)]
    while to_ask:
        where = to_ask.pop()
        asked.add(where)
        with Host(where[1], DISCOVERY_NQN, queues=0, hostnqn=hostnqn, address=where[0]) as host:
            for entry in host.discovery_log():
                there = (entry.traddr, int(entry.trsvcid))
                if entry.nqn == NQN:
                    known.add(there)
                elif entry.subtype == REFERRAL and there not in asked:
                    to_ask.append(there)
    return known


def test_a_host_that_asks_any_gateway_learns_the_listeners_of_all(configure, subsystem, listeners):
    configure(of(subsystem))
    everywhere = {(listener.traddr, listener.trsvcid) for listener in listeners.values()}
    for listener in listeners.values():
        assert learned(listener) == everywhere
        assert learned(listener, "nqn.2014-08.org.nvmexpress:stranger") == set()


def test_what_a_gateway_refers_to_follows_the_configuration_and_hosts_are_told(configure, subsystem, listeners):
    configure(of(replace(subsystem, listeners=(listeners["gw1"],))))
    own = listeners["gw1"]
    with Host(own.trsvcid, DISCOVERY_NQN, queues=0, kato_ms=120000, address=own.traddr) as host:
        assert [entry.subtype for entry in host.discovery_log()] == [CURRENT]
        event = host.admin.submit(0x0C)
        configure(of(subsystem))
        host.admin.wait(event)
        other = listeners["gw2"]
        assert [(entry.subtype, entry.traddr, entry.trsvcid) for entry in host.discovery_log()][1:] == [
            (REFERRAL, other.traddr, str(other.trsvcid))]
        event = host.admin.submit(0x0C)
        configure(of(replace(subsystem, listeners=(own,))))
        host.admin.wait(event)
        assert [entry.subtype for entry in host.discovery_log()] == [CURRENT]


def test_a_gateway_without_listeners_answers_no_discovery(configure, subsystem, listeners):
    configure(of(subsystem))
    configure(of(replace(subsystem, listeners=(listeners["gw2"],))))
    with pytest.raises(ConnectionRefusedError):
        learned(listeners["gw1"])
    assert learned(listeners["gw2"]) == {(listeners["gw2"].traddr, listeners["gw2"].trsvcid)}


def test_who_only_asks_is_no_connected_host(serving, mgr, host, listener):
    """Or a failback would wait for it where it does not ask."""
    use = {"hostnqn": HOST, "address": listener.traddr, "queues": 0}
    with Host(listener.trsvcid, SERVED_NQN, **use):
        mgr.hear(host.name, lambda b: b.connections == 1, "one connected host")
        with Host(listener.trsvcid, DISCOVERY_NQN, kato_ms=120000, **use):
            heard = len(mgr.beacons)
            wait_until(lambda: len(mgr.beacons) > heard + BEACONS_IN_TWO_LOOKS, 60, "two looks at the target")
            assert mgr.beacons[-1].connections == 1


def test_the_well_known_port_is_answered_too_where_it_is_wanted():
    wanted = of(Subsystem("n1", "s", listeners=(Listener("gw1", "10.0.0.1", 4420), Listener("gw1", "10.0.0.1", 4430),
                                                Listener("gw1", "10.0.0.2", 4420, secure=True),
                                                Listener("gw2", "10.0.0.3", 4420))))
    listening = {("ipv4", "10.0.0.1", 4420), ("ipv4", "10.0.0.2", 4420)}
    assert discovery.own_addresses(wanted, listening, "gw1", 8009) == {
        ("ipv4", "10.0.0.1", 4420), ("ipv4", "10.0.0.1", 8009)}, "where it listens, and not with TLS"
    assert discovery.own_addresses(wanted, listening, "gw1", 0) == {("ipv4", "10.0.0.1", 4420)}


def test_each_address_of_another_gateway_is_referred_to_once():
    wanted = of(Subsystem("n1", "s1", listeners=(Listener("gw1", "10.0.0.1", 4420), Listener("gw2", "10.0.0.3", 4430),
                                                 Listener("gw2", "fd00::3", 4420, "ipv6"),
                                                 Listener("gw3", "0.0.0.0", 4420))),
                Subsystem("n2", "s2", listeners=(Listener("gw2", "10.0.0.3", 4420),
                                                 Listener("gw3", "10.0.0.4", 4420, secure=True))))
    assert discovery.addresses_of_others(wanted, "gw1") == {("ipv4", "10.0.0.3", 4420), ("ipv6", "fd00::3", 4420)}
