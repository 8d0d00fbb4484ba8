"""Command line, start-up states, socket and lock file, signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path
from typing import Callable

import pytest

from target_sim.initiator import Host
from target_sim.target_process import FLAGS, RpcFailure, TargetProcess, free_port, listen_address, wait_for

EXIT_LIMIT_S = 60
TOO_EARLY = "Method may only be called after framework is initialized using framework_start_init RPC."
WRONG_STATE = -1
IN_USE = 234

Start = Callable[..., TargetProcess]


def exit_code(binary: Path, *arguments: str) -> int:
    return subprocess.run(
        [str(binary), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=EXIT_LIMIT_S,
        check=False,
    ).returncode


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


@pytest.mark.parametrize(
    "arguments, code", [(("--no-such-flag",), 2), (("-Z",), 2), (("-s", "many"), 2), (("-r",), 2), (("--no-huge",), 1)]
)
def test_a_command_line_that_nvmf_tgt_refuses_is_refused_alike(
    arguments: tuple[str, ...], code: int, nvmf_tgt: Path
) -> None:
    assert exit_code(nvmf_tgt, *arguments) == code


@pytest.mark.parametrize("flag", ["-v", "--version", "-h", "--help"])
def test_version_and_help_end_with_0(flag: str, nvmf_tgt: Path) -> None:
    assert exit_code(nvmf_tgt, flag) == 0


def test_reactors_show_the_process_id(target: TargetProcess) -> None:
    assert target.rpc("framework_get_reactors")["pid"] == target.process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_nothing_left(number: int, start_target: Start) -> None:
    target = start_target().wait_ready()
    target.process.send_signal(number)
    assert target.process.wait(EXIT_LIMIT_S) == 0
    assert not target.socket_path.exists()
    assert not Path(f"{target.socket_path}.lock").exists()


def test_a_stop_disconnects_hosts(start_target: Start) -> None:
    target = start_target().wait_ready()
    port, nqn = free_port(), "nqn.2016-06.io.spdk:stop"
    target.rpc("nvmf_create_transport", trtype="TCP")
    target.rpc("nvmf_create_subsystem", nqn=nqn, allow_any_host=True, ana_reporting=True)
    target.rpc("nvmf_subsystem_add_listener", nqn=nqn, listen_address=listen_address(port))
    with Host(port, nqn) as host:
        target.process.send_signal(signal.SIGTERM)
        assert host.admin.is_closed(within_s=EXIT_LIMIT_S)
        assert host.io[0].is_closed(within_s=EXIT_LIMIT_S)
    assert target.process.wait(EXIT_LIMIT_S) == 0


def test_spdk_kill_instance_answers_and_then_stops(start_target: Start) -> None:
    target = start_target().wait_ready()
    assert target.rpc("spdk_kill_instance", sig_name="SIGTERM") is True
    assert target.process.wait(EXIT_LIMIT_S) == 0


def test_a_second_process_on_the_same_socket_ends_with_234_and_the_first_goes_on(start_target: Start) -> None:
    first = start_target().wait_ready()
    second = start_target(directory=first.socket_path.parent)
    assert second.process.wait(EXIT_LIMIT_S) == IN_USE
    assert first.rpc("framework_get_reactors")["pid"] == first.process.pid


def test_after_sigkill_the_socket_refuses_and_a_restart_takes_it_over(start_target: Start) -> None:
    killed = start_target().wait_ready()
    killed.process.kill()
    killed.process.wait()
    assert killed.socket_path.exists() and Path(f"{killed.socket_path}.lock").exists()
    assert not connects(killed.socket_path)
    again = start_target(directory=killed.socket_path.parent).wait_ready()
    assert again.rpc("framework_get_reactors")["pid"] == again.process.pid
    assert again.rpc("nvmf_get_transports") == [], "configuration must not outlive the process"


def test_before_initialization_only_startup_methods_work(start_target: Start) -> None:
    target = start_target("--wait-for-rpc").wait_ready()
    for method in ("nvmf_get_subsystems", "bdev_rbd_get_clusters_info", "bdev_get_bdevs"):
        with pytest.raises(RpcFailure) as failure:
            target.rpc(method)
        assert failure.value.error == {"code": WRONG_STATE, "message": TOO_EARLY}
    startup = target.rpc("rpc_get_methods", current=True)
    assert "framework_start_init" in startup and "nvmf_get_subsystems" not in startup


def test_framework_wait_init_returns_when_start_init_was_called(start_target: Start) -> None:
    target = start_target("--wait-for-rpc").wait_ready()
    waiter = target.client()
    waiting = waiter.send("framework_wait_init")
    target.rpc("rpc_get_methods")
    assert not waiter.is_answered(waiting)
    assert target.rpc("framework_start_init") is True
    assert waiter.answer(waiting)["result"] is True
    assert [subsystem["subtype"] for subsystem in target.rpc("nvmf_get_subsystems")] == ["Discovery"]
    with pytest.raises(RpcFailure) as failure:
        target.rpc("framework_start_init")
    assert failure.value.error["code"] == WRONG_STATE
    waiter.close()


def test_a_target_that_waits_for_rpc_stops_at_a_signal(start_target: Start) -> None:
    target = start_target("--wait-for-rpc").wait_ready()
    target.process.terminate()
    assert target.process.wait(EXIT_LIMIT_S) == 0


def test_a_configuration_file_is_applied(start_target: Start, tmp_path: Path) -> None:
    calls = [{"method": "bdev_malloc_create", "params": {"name": "configured", "num_blocks": 64, "block_size": 512}}]
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"subsystems": [{"subsystem": "bdev", "config": calls}]}))
    target = start_target("--json", str(config)).wait_ready()
    target.rpc("framework_wait_init")
    assert [bdev["name"] for bdev in target.rpc("bdev_get_bdevs")] == ["configured"]


def test_two_targets_may_not_share_a_core_unless_told_so(nvmf_tgt: Path, start_target: Start, tmp_path: Path) -> None:
    locking = [flag for flag in FLAGS if flag != "--disable-cpumask-locks"]
    logs = open(tmp_path / "first.log", "wb")
    first = subprocess.Popen(
        [str(nvmf_tgt), *locking, "-r", str(tmp_path / "first.sock")],
        stdin=subprocess.DEVNULL,
        stdout=logs,
        stderr=logs,
    )
    try:
        wait_for(lambda: connects(tmp_path / "first.sock") or first.poll() is not None, "the first target")
        assert first.poll() is None, "core 0 is claimed by a process outside of this test"
        assert exit_code(nvmf_tgt, *locking, "-r", str(tmp_path / "second.sock")) == 1
        start_target().wait_ready()
    finally:
        first.kill()
        first.wait()
        logs.close()
