"""A Linux host with two paths to one namespace of another guest's kernel target: what it sees and what its I/O goes through."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Callable

import pytest

from guest import Forward, Guest, GuestError, GuestTimeout, Image, LinuxHost, Writer

NQN = "nqn.2016-06.io.example:kernel-target"
GATEWAYS = ("127.0.0.2", "127.0.0.3")
WAIT_S = 90

# A RAM disk behind two ports; the kernel target has ANA states per port and ANA group.
TARGET = """
set -e
modprobe brd rd_nr=1 rd_size=16384
modprobe nvmet_tcp
mount -t configfs configfs /sys/kernel/config
cd /sys/kernel/config/nvmet
mkdir subsystems/{nqn} subsystems/{nqn}/namespaces/7
echo 1 > subsystems/{nqn}/attr_allow_any_host
echo /dev/ram0 > subsystems/{nqn}/namespaces/7/device_path
echo 1 > subsystems/{nqn}/namespaces/7/enable
for n in 1 2; do
    mkdir ports/$n
    echo tcp > ports/$n/addr_trtype
    echo ipv4 > ports/$n/addr_adrfam
    echo 10.0.2.15 > ports/$n/addr_traddr
    echo 442$n > ports/$n/addr_trsvcid
    ln -s $PWD/subsystems/{nqn} ports/$n/subsystems/
done
echo inaccessible > ports/2/ana_groups/1/ana_state
"""


def free_port(address: str) -> int:
    with socket.create_server((address, 0)) as server:
        return server.getsockname()[1]


class KernelTarget:
    def __init__(self, guest: Guest, ports: dict[str, int]) -> None:
        self.guest = guest
        self.ports = ports

    def set_ana(self, states: dict[str, str]) -> None:
        """In the order given."""
        for address, state in states.items():
            number = GATEWAYS.index(address) + 1
            self.guest.check(f"echo {state} > /sys/kernel/config/nvmet/ports/{number}/ana_groups/1/ana_state")

    def log_tails(self) -> str:
        return self.guest.log_tails()


@pytest.fixture(scope="module")
def target(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelTarget]:
    ports = {address: free_port(address) for address in GATEWAYS}
    forwards = [Forward(address, port, 4420 + number) for number, (address, port) in enumerate(ports.items(), 1)]
    with Guest("target", tmp_path_factory.mktemp("target"), image) as running:
        running.start(forwards=forwards)
        running.check(TARGET.format(nqn=NQN))
        yield KernelTarget(running, ports)


@pytest.fixture
def host(guest: Guest, target: KernelTarget) -> Iterator[LinuxHost]:
    connected = LinuxHost(guest)
    target.set_ana({"127.0.0.2": "optimized", "127.0.0.3": "inaccessible"})
    for address, port in target.ports.items():
        connected.connect(address, port, NQN, keep_alive_s=30)
    connected.wait_for_paths(NQN, 2)
    yield connected
    connected.disconnect(NQN)


def states(host: LinuxHost) -> dict[str, str]:
    return {path.address: path.ana_state for path in host.paths(NQN)}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def wait_for_writes(writer: Writer, count: int = 20) -> None:
    goal = writer.status()["writes"] + count
    wait_until(lambda: writer.status()["writes"] >= goal)


def test_paths_and_namespaces_are_what_the_target_offers(host: LinuxHost, target: KernelTarget) -> None:
    paths = host.paths(NQN)
    assert [(p.address, p.port, p.state, p.nsid, p.ana_state) for p in paths] == [
        ("127.0.0.2", target.ports["127.0.0.2"], "live", 7, "optimized"),
        ("127.0.0.3", target.ports["127.0.0.3"], "live", 7, "inaccessible")]
    assert len({p.controller for p in paths}) == len({p.name for p in paths}) == 2
    assert list(host.namespaces(NQN)) == [7]
    assert host.paths("nqn.2016-06.io.example:other") == [] and host.namespaces("nqn.2016-06.io.example:other") == {}


def test_io_moves_with_the_ana_state_and_nothing_is_lost(host: LinuxHost, target: KernelTarget) -> None:
    writer = host.start_writer(NQN, 7, interval_us=5000)
    for old, new in (GATEWAYS, GATEWAYS[::-1], GATEWAYS):
        wait_for_writes(writer)
        target.set_ana({old: "inaccessible", new: "optimized"})
        wait_until(lambda: states(host) == {old: "inaccessible", new: "optimized"})
    wait_for_writes(writer)
    final = writer.stop()
    assert (final["io_errors"], final["lost"], final["stale"], final["corrupt"], final["unread"]) == (0, 0, 0, 0, 0)
    assert final["device_id"] == 7 and final["checked"] > 0


def test_a_time_without_usable_path_is_shared_out_between_the_windows_it_spans(host: LinuxHost, target: KernelTarget) -> None:
    writer = host.start_writer(NQN, 7, interval_us=5000)
    wait_for_writes(writer)
    target.set_ana({"127.0.0.2": "inaccessible"})
    wait_until(lambda: writer.status()["gap_s"] > 1)
    before = writer.mark()
    wait_until(lambda: writer.status()["longest_gap_s"] > 2)
    target.set_ana({"127.0.0.3": "optimized"})
    wait_for_writes(writer)
    after = writer.mark()
    final = writer.stop()
    assert before["longest_gap_s"] > 1 and after["longest_gap_s"] > 2
    assert before["longest_gap_s"] + after["longest_gap_s"] == pytest.approx(final["longest_gap_s"], abs=0.1)
    assert after["longest_gap_at_epoch"] == pytest.approx(before["end_epoch"], abs=0.01)
    assert final["longest_io_s"] > 3 and final["io_errors"] == 0 and final["lost"] == 0


def test_a_writer_that_cannot_end_says_so_and_ends_later(host: LinuxHost, target: KernelTarget) -> None:
    writer = host.start_writer(NQN, 7)
    wait_for_writes(writer)
    target.set_ana({"127.0.0.2": "inaccessible"})
    wait_until(lambda: writer.status()["gap_s"] > 0.5)
    with pytest.raises(GuestTimeout, match="(?s)does not end.*gap_s"):
        writer.stop(timeout_s=0.5)
    target.set_ana({"127.0.0.2": "optimized"})
    assert host.guest.wait(writer.job).code == 0


def test_waiting_for_paths_that_do_not_come_says_what_there_is(host: LinuxHost) -> None:
    with pytest.raises(GuestTimeout, match="(?s)not 3 live paths to namespaces .7,.*127.0.0.2.*127.0.0.3"):
        host.wait_for_paths(NQN, 3, timeout_s=0)


def test_an_io_error_is_counted_and_dated(host: LinuxHost, target: KernelTarget) -> None:
    enable = f"/sys/kernel/config/nvmet/subsystems/{NQN}/namespaces/7/enable"
    writer = host.start_writer(NQN, 7)
    wait_for_writes(writer)
    before = writer.mark()
    target.guest.check(f"echo 0 > {enable}")
    try:
        wait_until(lambda: writer.status()["io_errors"] > 0)
        final = writer.stop()
    finally:
        target.guest.check(f"echo 1 > {enable}")
    assert final["unread"] > 0 and before["io_errors"] == 0
    error = final["errors"][0]
    assert error["op"] in ("read", "write") and error["errno"] and before["end_epoch"] <= error["epoch"] <= final["end_epoch"]
    host.wait_for_paths(NQN, 2)


def test_a_gateway_that_does_not_listen_is_an_error_that_names_it(guest: Guest) -> None:
    port = free_port("127.0.0.2")
    with pytest.raises(GuestError, match=f"(?s)-s {port}.*ended with"):
        LinuxHost(guest).connect("127.0.0.2", port, NQN)


def test_a_namespace_that_is_not_there_gets_no_writer(host: LinuxHost) -> None:
    with pytest.raises(GuestError, match="no namespace 8 of .*but {7: '/dev/nvme"):
        host.start_writer(NQN, 8)
