"""The discovery log, the listeners of the discovery subsystem, and referrals to discovery services elsewhere."""

from __future__ import annotations

from typing import Iterator

import pytest

from target_sim.conftest import Exported
from target_sim.initiator import DiscoveryEntry, Host
from target_sim.subsystem import DISCOVERY_NQN
from target_sim.target_process import RpcFailure, TargetProcess, free_port, listen_address

ELSEWHERE = {"trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.9", "trsvcid": "4420"}
REFERRAL = DiscoveryEntry(subtype=1, secure=False, nqn=DISCOVERY_NQN, traddr="127.0.0.9", trsvcid="4420", flags=0)
CURRENT, DISCOVERY_LOG_CHANGE = 3, 0x70F002
BOTH_FLAGS = 3


@pytest.fixture
def asking(target: TargetProcess, exported: Exported) -> Iterator[Host]:
    """A host that is connected to the discovery service at the exported listener, for long."""
    listener = {"nqn": DISCOVERY_NQN, "listen_address": exported.address}
    target.rpc("nvmf_subsystem_add_listener", **listener)
    with Host(exported.port, DISCOVERY_NQN, queues=0, kato_ms=120000) as host:
        yield host
    target.rpc("nvmf_subsystem_remove_listener", **listener)


@pytest.fixture
def referred(target: TargetProcess) -> Iterator[None]:
    target.rpc("nvmf_discovery_add_referral", address=ELSEWHERE)
    yield
    target.rpc("nvmf_discovery_remove_referral", address=ELSEWHERE)


def test_the_log_names_subsystems_for_allowed_hosts_and_the_discovery_service_itself(
    target: TargetProcess, exported: Exported, asking: Host
) -> None:
    entry = DiscoveryEntry(2, False, exported.nqn, "127.0.0.1", str(exported.port), 0)
    itself = DiscoveryEntry(CURRENT, False, DISCOVERY_NQN, "127.0.0.1", str(exported.port), BOTH_FLAGS)
    assert asking.discovery_log() == [itself, entry]
    target.rpc("nvmf_subsystem_allow_any_host", nqn=exported.nqn, allow_any_host=False)
    assert asking.discovery_log() == [itself]
    target.rpc("nvmf_subsystem_add_host", nqn=exported.nqn, host=asking.hostnqn)
    assert asking.discovery_log() == [itself, entry]


def test_a_referral_is_in_everybodys_log_and_announced(target: TargetProcess, asking: Host) -> None:
    assert REFERRAL not in asking.discovery_log()
    event = asking.admin.submit(0x0C)
    assert target.rpc("nvmf_discovery_add_referral", address=ELSEWHERE) is True
    assert asking.admin.wait(event).dw0 == DISCOVERY_LOG_CHANGE
    assert asking.discovery_log()[-1] == REFERRAL
    event = asking.admin.submit(0x0C)
    assert target.rpc("nvmf_discovery_remove_referral", address=ELSEWHERE) is True
    assert asking.admin.wait(event).dw0 == DISCOVERY_LOG_CHANGE
    assert REFERRAL not in asking.discovery_log()


def test_referrals_are_told_apart_by_address_and_nqn(target: TargetProcess, referred: None) -> None:
    shown = {"address": ELSEWHERE, "secure_channel": False, "subnqn": DISCOVERY_NQN}
    assert target.rpc("nvmf_discovery_get_referrals") == [shown]
    again = {**ELSEWHERE, "adrfam": "ipv4"}
    assert target.rpc("nvmf_discovery_add_referral", address=again, subnqn=DISCOVERY_NQN) is True
    assert target.rpc("nvmf_discovery_get_referrals") == [shown]
    other = {"address": ELSEWHERE, "subnqn": "nqn.2016-06.io.spdk:elsewhere"}
    assert target.rpc("nvmf_discovery_add_referral", secure_channel=True, **other) is True
    assert target.rpc("nvmf_discovery_get_referrals") == [{**other, "secure_channel": True}, shown]
    assert target.rpc("nvmf_discovery_remove_referral", **other) is True
    assert target.rpc("nvmf_discovery_get_referrals") == [shown]


@pytest.mark.parametrize(
    "method, params, code, message",
    [
        ("add", {"address": {**ELSEWHERE, "trsvcid": ""}}, -32603, "Service ID is required."),
        ("add", {"subnqn": DISCOVERY_NQN}, -32602, "Invalid parameters"),
        ("add", {"address": {**ELSEWHERE, "bogus": "1"}}, -32602, "Invalid parameters"),
        ("add", {"address": ELSEWHERE, "subnqn": "n" * 400}, -32602, "Invalid subsystem NQN"),
        ("add", {"address": ELSEWHERE, "tgt_name": "x"}, -32603, "Unable to find a target."),
        ("remove", {"address": {**ELSEWHERE, "trsvcid": "1"}}, -32603, "Unable to remove a referral."),
        ("remove", {"address": ELSEWHERE, "secure_channel": False}, -32602, "Invalid parameters"),
        ("get", {"tgt_name": "x"}, -32603, "Unable to find a target"),
        ("get", {"nqn": "x"}, -32602, "Invalid parameters"),
    ],
)
def test_what_is_refused(target: TargetProcess, method: str, params: dict, code: int, message: str) -> None:
    name = f"nvmf_discovery_{method}_referral" + "s" * (method == "get")
    with pytest.raises(RpcFailure) as failure:
        target.rpc(name, **params)
    assert failure.value.error == {"code": code, "message": message}


def test_an_address_stays_open_while_any_subsystem_listens_there(target: TargetProcess, exported: Exported) -> None:
    port = free_port()
    own = listen_address(port)
    for nqn in (exported.nqn, DISCOVERY_NQN):
        target.rpc("nvmf_subsystem_add_listener", nqn=nqn, listen_address=own)
    target.rpc("nvmf_subsystem_remove_listener", nqn=exported.nqn, listen_address=own)
    with Host(port, DISCOVERY_NQN, queues=0) as host:
        assert [entry.trsvcid for entry in host.discovery_log() if entry.subtype == CURRENT] == [str(port)]
    target.rpc("nvmf_subsystem_remove_listener", nqn=DISCOVERY_NQN, listen_address=own)
    with pytest.raises(ConnectionRefusedError):
        Host(port, DISCOVERY_NQN, queues=0)
