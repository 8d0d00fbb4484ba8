"""Limits of block devices, levels and flags of the log, and the configuration that shows who sees a namespace."""

from __future__ import annotations

import time
from typing import Iterator

import pytest

from target_sim.conftest import Exported
from target_sim.initiator import Host
from target_sim.target_process import RpcFailure, TargetProcess

HOSTS = [f"nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8{n}" for n in range(2)]
UNDECODABLE = (-32603, "spdk_json_decode_object failed")
WRITES, LIMIT = 300, 1000


def failure(target: TargetProcess, method: str, params: dict) -> tuple[int, str]:
    with pytest.raises(RpcFailure) as failed:
        target.rpc(method, **params)
    return failed.value.error["code"], failed.value.error["message"]


def limits(target: TargetProcess, bdev: str) -> list[int]:
    return list(target.rpc("bdev_get_bdevs", name=bdev)[0]["assigned_rate_limits"].values())


# limits


def test_limits_are_kept_rounded_and_apart(target: TargetProcess, exported: Exported) -> None:
    bdev = exported.bdevs[0]
    for asked, shown in (
        ({"rw_ios_per_sec": 1500}, [2000, 0, 0, 0]),
        ({"rw_mbytes_per_sec": 3, "r_mbytes_per_sec": 2}, [2000, 3, 2, 0]),
        ({"w_mbytes_per_sec": 17592186044416, "rw_ios_per_sec": 18446744073709551615}, [2000, 3, 2, 17592186044415]),
        ({"rw_ios_per_sec": 0, "rw_mbytes_per_sec": 0}, [0, 0, 2, 17592186044415]),
        ({"r_mbytes_per_sec": 0, "w_mbytes_per_sec": 0}, [0, 0, 0, 0]),
    ):
        assert target.rpc("bdev_set_qos_limit", name=bdev, **asked) is True
        assert limits(target, bdev) == shown


@pytest.mark.parametrize(
    "params, error",
    [
        ({}, (-22, "No rate limits specified")),
        ({"rw_ios_per_sec": 18446744073709551615}, (-22, "No rate limits specified")),
        ({"name": "nosuch", "rw_ios_per_sec": 1000}, (-19, "No such device")),
        ({"rw_ios_per_sec": -1}, UNDECODABLE),
        ({"rw_ios_per_sec": "1"}, UNDECODABLE),
        ({"timeslice_in_usecs": 1}, UNDECODABLE),
    ],
)
def test_what_is_no_limit_is_refused(params: dict, error: tuple, target: TargetProcess, exported: Exported) -> None:
    assert failure(target, "bdev_set_qos_limit", {"name": exported.bdevs[0], **params}) == error


def test_a_host_is_slowed_down(target: TargetProcess, exported: Exported) -> None:
    target.rpc("bdev_set_qos_limit", name=exported.bdevs[0], rw_ios_per_sec=LIMIT)
    with Host(exported.port, exported.nqn) as host:
        started = time.monotonic()
        for _ in range(WRITES):
            assert host.write(1, 0, bytes(512)).status == 0
        assert time.monotonic() - started > 0.8 * WRITES / LIMIT


@pytest.fixture
def unused(target: TargetProcess) -> Iterator[str]:
    yield target.rpc("bdev_malloc_create", name="unused", num_blocks=8192, block_size=512)
    target.rpc("bdev_malloc_delete", name="unused")


def test_limits_of_an_unused_device_are_set_once(target: TargetProcess, unused: str) -> None:
    assert target.rpc("bdev_set_qos_limit", name=unused, rw_ios_per_sec=1000) is True
    assert failure(target, "bdev_set_qos_limit", {"name": unused, "rw_ios_per_sec": 0}) == (
        -32602,
        "Failed to configure rate limit: Resource temporarily unavailable",
    )
    assert limits(target, unused) == [1000, 0, 0, 0]


# the log


def test_flags_are_set_and_cleared(target: TargetProcess) -> None:
    assert target.rpc("log_get_flags")["nvmf"] is False
    assert target.rpc("log_set_flag", flag="NVMF_tcp") is True
    flags = target.rpc("log_get_flags")
    assert flags["nvmf_tcp"] and not flags["nvmf"]
    assert target.rpc("log_clear_flag", flag="nvmf_tcp") is True
    assert not any(target.rpc("log_get_flags").values())


@pytest.mark.parametrize("kind, default", [("level", "NOTICE"), ("print_level", "INFO")])
def test_levels_are_set(kind: str, default: str, target: TargetProcess) -> None:
    assert target.rpc(f"log_get_{kind}") == default
    assert target.rpc(f"log_set_{kind}", level="WARNING") is True
    assert target.rpc(f"log_get_{kind}") == "WARNING"
    assert target.rpc(f"log_set_{kind}", level=default) is True


@pytest.mark.parametrize(
    "method, params, error",
    [
        ("log_set_flag", {"flag": "nosuch"}, (-32602, "invalid log flag")),
        ("log_clear_flag", {"flag": "nosuch"}, (-32602, "invalid log flag")),
        ("log_set_flag", {"flag": "nvmf", "x": 1}, UNDECODABLE),
        ("log_set_level", {"level": "debug"}, UNDECODABLE),
        ("log_set_print_level", {"level": 1}, UNDECODABLE),
        ("framework_get_config", {"name": "nosuch"}, (-32602, "Subsystem 'nosuch' not found")),
        ("framework_get_config", {"name": "nvmf", "x": 1}, (-32602, "Invalid arguments")),
    ],
)
def test_what_is_not_known_is_refused(method: str, params: dict, error: tuple, target: TargetProcess) -> None:
    assert failure(target, method, params) == error


# who sees a namespace


def shown(target: TargetProcess, nqn: str) -> dict[int, tuple[bool, set[str]]]:
    """By nsid: whether it is hidden, and the hosts that see it all the same."""
    found: dict[int, tuple[bool, set[str]]] = {}
    for request in target.rpc("framework_get_config", name="nvmf"):
        params = request["params"]
        if request["method"] == "nvmf_subsystem_add_ns" and params["nqn"] == nqn:
            found[params["namespace"]["nsid"]] = params["namespace"]["no_auto_visible"], set()
        elif request["method"] == "nvmf_ns_add_host" and params["nqn"] == nqn:
            found[params["nsid"]][1].add(params["host"])
    return found


def test_a_hidden_namespace_is_seen_by_its_hosts_only(target: TargetProcess, exported: Exported) -> None:
    exported.bdevs.append(target.rpc("bdev_malloc_create", name="hidden", num_blocks=8192, block_size=512))
    exported.add_namespace("hidden", 3, no_auto_visible=True)
    asked = {"nqn": exported.nqn, "nsid": 3, "host": HOSTS[0]}
    with Host(exported.port, exported.nqn, hostnqn=HOSTS[0]) as host:
        assert host.read(3, 0, 1).status != 0
        for _ in range(2):
            assert target.rpc("nvmf_ns_add_host", **asked) is True
        assert host.read(3, 0, 1).status == 0
        with Host(exported.port, exported.nqn, hostnqn=HOSTS[1]) as other:
            assert other.read(3, 0, 1).status != 0 and other.read(1, 0, 1).status == 0
        assert shown(target, exported.nqn) == {1: (False, set()), 2: (False, set()), 3: (True, {HOSTS[0]})}
        for _ in range(2):
            assert target.rpc("nvmf_ns_remove_host", **asked) is True
        assert host.read(3, 0, 1).status != 0
    assert shown(target, exported.nqn)[3] == (True, set())


@pytest.mark.parametrize("wrong", [{"nsid": 1}, {"nsid": 9}, {"host": "bogus"}])
def test_a_namespace_that_all_see_has_no_hosts_of_its_own(
    wrong: dict, target: TargetProcess, exported: Exported
) -> None:
    asked = {"nqn": exported.nqn, "nsid": 1, "host": HOSTS[0], **wrong}
    assert failure(target, "nvmf_ns_add_host", asked) == (-32602, "Invalid parameters")
