"""A guest boots, runs commands, keeps time, reaches the machine's loopback, and stops."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guest import Guest, GuestError, GuestTimeout


def test_a_command_gives_its_output_and_exit_code(guest: Guest) -> None:
    assert guest.run("echo out; echo err >&2; exit 3") == (3, "out\nerr\n")


def test_a_command_killed_by_a_signal_ends_like_in_a_shell(guest: Guest) -> None:
    assert guest.run("kill -9 $$").code == 128 + 9


def test_a_failing_command_is_an_error_that_shows_the_kernel_log(guest: Guest) -> None:
    guest.check("echo something the kernel said > /dev/kmsg")
    with pytest.raises(GuestError, match="(?s)`false` ended with 1.*something the kernel said"):
        guest.check("false")


def test_a_command_that_takes_too_long_is_killed(guest: Guest) -> None:
    with pytest.raises(GuestTimeout, match="still runs after 0.2 s"):
        guest.run("echo $$ > /tmp/slow; exec sleep 1000", timeout_s=0.2)
    pid = guest.read_file("/tmp/slow").strip()
    deadline_s = time.monotonic() + 60
    while guest.run(f"kill -0 {pid}").code == 0:
        assert time.monotonic() < deadline_s, "the command is still there"


def test_jobs_run_in_parallel(guest: Guest) -> None:
    guest.check("mkfifo /tmp/pipe")
    reader = guest.bg("cat /tmp/pipe")
    writer = guest.bg("echo through > /tmp/pipe")   # each waits for the other
    assert guest.wait(writer) == (0, "")
    assert guest.wait(reader) == (0, "through\n")


def test_an_output_larger_than_any_buffer_arrives_whole(guest: Guest) -> None:
    output = guest.check("seq 1 50000")
    assert output.splitlines() == [str(number) for number in range(1, 50001)]


def test_each_of_many_threads_gets_its_own_answers(guest: Guest) -> None:
    def ask(thread: int) -> list[str]:
        return [guest.check(f"echo {thread}.{number}").strip() for number in range(20)]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert answers == [[f"{thread}.{number}" for number in range(20)] for thread in range(4)]


def test_a_client_that_dies_in_the_middle_of_a_request_disturbs_nobody(guest: Guest) -> None:
    for cut in (b"\nPI", b"\nPING dead", b"\nPING dead\n", b"\nRUN dead job ZWNobyB"):
        with socket.socket(socket.AF_UNIX) as dying:
            dying.connect(str(guest.socket_path))
            dying.sendall(cut)
        assert guest.check("echo alive") == "alive\n"


def test_a_request_that_cannot_be_served_is_refused_with_a_reason(guest: Guest) -> None:
    with pytest.raises(GuestError, match="refused READ: No such file"):
        guest.read_file("/no/such/file")
    with pytest.raises(GuestError, match="refused POLL: no such job"):
        guest.wait("nosuchjob")


def test_the_clock_is_set_to_the_machines(guest: Guest) -> None:
    guest.check("date -s '2001-02-03 04:05:06'")
    assert guest.clock_offset().offset_s < -1e6
    left = guest.sync_clock()
    assert abs(left.offset_s) < 0.1 + left.uncertainty_s
    assert left.uncertainty_s < 1


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
def test_each_loopback_address_of_the_machine_is_reached_under_its_own_name(guest: Guest, address: str) -> None:
    def greet() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(f"this is {address}\n".encode())

    with socket.create_server((address, 0)) as server:
        server.settimeout(60)
        thread = threading.Thread(target=greet)
        thread.start()
        heard = guest.check(f"nc {address} {server.getsockname()[1]} < /dev/null")
        thread.join()
    assert heard == f"this is {address}\n"


def test_a_second_object_of_the_same_name_goes_on_with_the_running_guest(guest: Guest) -> None:
    other = Guest(guest.name, guest.directory.parent, guest.image)
    assert other.pid() == guest.pid()
    assert other.check("hostname") == f"{guest.name}\n"
    with pytest.raises(GuestError, match="already running"):
        other.start()


def test_guests_run_side_by_side_and_stop_alone(guest: Guest, tmp_path: Path) -> None:
    second = Guest("two", tmp_path, guest.image)
    with second:
        second.start(memory_mib=128)
        assert second.check("cat /etc/nvme/hostnqn") != guest.check("cat /etc/nvme/hostnqn")
        pid = second.pid()
        assert pid not in (None, guest.pid())
    assert second.pid() is None
    assert guest.check("hostname") == "one\n"
    with pytest.raises(GuestError, match="two is not running"):
        second.run("true")


def test_a_guest_that_was_killed_is_missed_with_the_end_of_its_console(guest: Guest, tmp_path: Path) -> None:
    with Guest("panic", tmp_path, guest.image) as dying:
        dying.start(memory_mib=128)
        dying.bg("echo c > /proc/sysrq-trigger")
        deadline_s = time.monotonic() + 60
        while dying.pid():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        with pytest.raises(GuestError, match="(?s)is not running.*sysrq triggered crash"):
            dying.run("true")


def test_a_guest_that_was_never_started_is_not_running(guest: Guest, tmp_path: Path) -> None:
    never = Guest("never", tmp_path, guest.image)
    with pytest.raises(GuestError, match="never is not running"):
        never.run("true")
    never.stop()


def test_a_path_too_long_for_a_socket_is_refused(guest: Guest, tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="shorter path"):
        Guest("long", tmp_path / ("x" * 100), guest.image).start()


def test_the_command_line_runs_a_command_and_ends_with_its_code(guest: Guest) -> None:
    command = [sys.executable, "-m", "guest", "run", "-n", guest.name, "-d", str(guest.directory.parent)]
    qa = Path(__file__).parent.parent
    done = subprocess.run([*command, "echo by hand; exit 5"], cwd=qa, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (5, "by hand\n")
    late = subprocess.run([*command, "-t", "0.1", "sleep 100"], cwd=qa, capture_output=True, text=True, check=False)
    assert late.returncode == 124
