"""One QEMU guest: a Linux machine to run commands in, started and stopped by whoever holds its name and directory.

    guest = Guest("host", Path("/tmp/demo"))
    guest.start()
    code, output = guest.run("nvme list")
    guest.stop()

Nothing is remembered in the object: any process may make another `Guest` of the same name and directory and go on with the
running guest. 127.0.0.0/8 in the guest is the loopback of the machine it runs on. Uses KVM only where the processor's own
is there: on an emulated one a stock kernel does not boot.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from guest.channel import Channel, ChannelError, pack
from guest.image import Image

ADDRESS, GATEWAY = "10.0.2.15", "10.0.2.2"
MEMORY_MIB = 192
START_S, STOP_S, KILLED_S, RUN_S = 180, 10, 2, 120
POLL_S, POLL_LONGEST_S = 0.005, 0.1
CLOCK_ROUNDS = 8
LOG_LINES = 60
UNIX_PATH_BYTES = 100


class GuestError(Exception):
    """The guest did not do what was asked; the text has the end of its kernel log where that may help."""


class GuestTimeout(GuestError):
    """A command took too long."""


class Result(NamedTuple):
    code: int
    output: str


class Forward(NamedTuple):
    """Connections to an address of the machine that are passed on to a port of the guest."""
    address: str
    port: int
    guest_port: int


class ClockOffset(NamedTuple):
    """Guest time minus machine time, off by at most `uncertainty_s`."""
    offset_s: float
    uncertainty_s: float


def acceleration() -> list[str]:
    hardware = any(Path("/sys/module", module).is_dir() for module in ("kvm_intel", "kvm_amd"))
    if hardware and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max"]


class Guest:
    def __init__(self, name: str, directory: Path, image: Image | None = None) -> None:
        self.name = name
        self.directory = Path(directory).resolve() / name
        self.image = image or Image()
        self.pid_file = self.directory / "pid"
        self.console = self.directory / "console.log"
        self.socket_path = self.directory / "control"
        self.channel = Channel(self.socket_path)

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pid(self) -> int | None:
        """Of the running QEMU; None if there is none, or if the number belongs to another process by now."""
        try:
            pid = int(self.pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.socket_path) in command else None

    def start(self, memory_mib: int = MEMORY_MIB, forwards: Iterable[Forward] = (), timeout_s: float = START_S) -> float:
        """Builds the image if need be, boots, sets the clock. Seconds from the start of QEMU to the first answer."""
        if self.pid():
            raise GuestError(f"guest {self.name} in {self.directory} is already running: stop it first")
        if not shutil.which("qemu-system-x86_64"):
            raise GuestError("qemu-system-x86_64 is not installed: `apt-get install qemu-system-x86`")
        if len(os.fsencode(self.socket_path)) > UNIX_PATH_BYTES:
            raise GuestError(f"{self.socket_path} is too long for a Unix socket: give a directory with a shorter path")
        self.image.ensure()
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        begin_s = time.monotonic()
        started = subprocess.run(self.command(memory_mib, forwards), capture_output=True, text=True, check=False)
        if started.returncode:
            raise GuestError(f"QEMU for guest {self.name} did not start: {started.stderr.strip()}")
        self.wait_until_up(begin_s + timeout_s)
        up_after_s = time.monotonic() - begin_s
        self.sync_clock()
        return up_after_s

    def command(self, memory_mib: int, forwards: Iterable[Forward]) -> list[str]:
        network = "user,id=net" + "".join(f",hostfwd=tcp:{f.address}:{f.port}-{ADDRESS}:{f.guest_port}" for f in forwards)
        # Multipath is a kernel option here: Debian's cloud kernel has nvme_core built in.
        settings = {"name": self.name, "address": ADDRESS, "gateway": GATEWAY,
                    "hostid": uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.{self.directory}")}
        kernel_line = ("console=ttyS0 quiet loglevel=4 panic=1 mitigations=off nvme_core.multipath=Y "
                       + " ".join(f"guest.{key}={value}" for key, value in settings.items()))
        return ["qemu-system-x86_64", *acceleration(), "-machine", "pc,usb=off", "-m", str(memory_mib), "-smp", "1",
                "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-kernel", str(self.image.kernel), "-initrd", str(self.image.initramfs), "-append", kernel_line,
                "-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console",
                "-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile=",
                "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
                "-chardev", f"socket,id=control,path={self.socket_path},server=on,wait=off",
                "-device", "virtserialport,chardev=control,name=control",
                "-pidfile", str(self.pid_file), "-daemonize"]

    def wait_until_up(self, deadline_s: float) -> None:
        while True:
            try:
                self.channel.request("PING", timeout_s=1)
                return
            except ChannelError as error:
                if not self.pid() or time.monotonic() > deadline_s:
                    self.stop()
                    raise GuestError(f"guest {self.name} did not come up: {error}\n{self.console_tail()}") from error
                time.sleep(POLL_S)

    def console_tail(self) -> str:
        try:
            lines = self.console.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError as error:
            return str(error)
        return "\n".join([f"end of {self.console}:", *lines])

    def log_tails(self) -> str:
        """For the report of a failed test."""
        return f"{self.console_tail()}\n{self.dmesg()}"

    def request(self, operation: str, *arguments: str, timeout_s: float = 30) -> list[str]:
        try:
            return self.channel.request(operation, *arguments, timeout_s=timeout_s)
        except ChannelError as error:
            if self.pid():
                raise GuestError(f"guest {self.name}: {error}") from error
            raise GuestError(f"guest {self.name} is not running: {error}\n{self.console_tail()}") from error

    def bg(self, command: str) -> str:
        """Starts a shell command; the name of its job, which wait() takes."""
        job = uuid.uuid4().hex[:12]
        self.request("RUN", job, pack(command))
        return job

    def poll(self, job: str) -> Result | None:
        """None while it runs."""
        words = self.request("POLL", job)
        if words[0] != "DONE":
            return None
        return Result(int(words[1]), base64.b64decode(words[2]).decode(errors="replace"))

    def wait(self, job: str, timeout_s: float = RUN_S) -> Result:
        """Exit code and output of a job, which is forgotten then. Raises GuestTimeout and leaves the job running."""
        deadline_s = time.monotonic() + timeout_s
        pause_s = POLL_S
        while True:
            result = self.poll(job)
            if result is not None:
                self.request("FREE", job)
                return result
            if time.monotonic() > deadline_s:
                raise GuestTimeout(f"guest {self.name}: job {job} still runs after {timeout_s:g} s\n{self.dmesg()}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, POLL_LONGEST_S)

    def kill(self, job: str, signal_number: int = signal.SIGTERM) -> None:
        """Sends a signal to all processes of a job."""
        self.request("KILL", job, str(int(signal_number)))

    def run(self, command: str, timeout_s: float = RUN_S) -> Result:
        """Runs a shell command. Raises GuestTimeout and kills it when it takes too long."""
        job = self.bg(command)
        try:
            return self.wait(job, timeout_s)
        except GuestTimeout as error:
            with contextlib.suppress(GuestError):   # it may just have ended; or hang in the kernel, beyond any signal
                self.kill(job, signal.SIGKILL)
                self.wait(job, KILLED_S)
            raise GuestTimeout(f"`{command}`: {error}") from error

    def check(self, command: str, timeout_s: float = RUN_S) -> str:
        """Output of a command that must succeed. Raises GuestError."""
        code, output = self.run(command, timeout_s)
        if code:
            raise GuestError(f"guest {self.name}: `{command}` ended with {code}: {output.strip()}\n{self.dmesg()}")
        return output

    def read_file(self, path: str) -> str:
        """A file's content (at most its last MiB), without a process in the guest."""
        return base64.b64decode(self.request("READ", pack(path))[2]).decode(errors="replace")

    def dmesg(self, lines: int = LOG_LINES) -> str:
        """The end of the kernel log, or why it cannot be had: for error messages, so it raises nothing."""
        try:
            job = self.bg(f"dmesg | tail -n {lines}")
            end_s = time.monotonic() + STOP_S
            while time.monotonic() < end_s:
                result = self.poll(job)
                if result is not None:
                    self.request("FREE", job)
                    return f"end of the guest's kernel log:\n{result.output}"
                time.sleep(POLL_LONGEST_S)
        except GuestError as error:
            return f"no kernel log: {error}"
        return "no kernel log: dmesg does not end"

    def clock_offset(self) -> ClockOffset:
        """By the quickest of several questions for the time."""
        best = ClockOffset(0, float("inf"))
        for _ in range(CLOCK_ROUNDS):
            asked_s, asked_at_s = time.time(), time.monotonic()
            guest_s = int(self.request("PING")[2]) / 1e6
            took_s = time.monotonic() - asked_at_s
            if took_s / 2 < best.uncertainty_s:
                best = ClockOffset(guest_s - (asked_s + took_s / 2), took_s / 2)
        return best

    def sync_clock(self) -> ClockOffset:
        """Sets the guest's clock to the machine's. The offset that is left."""
        offset = self.clock_offset()
        # One way takes about as long as the best half round trip just seen.
        self.request("CLOCK", str(int((time.time() + offset.uncertainty_s) * 1e6)))
        return self.clock_offset()

    def stop(self) -> None:
        """Powers off; kills QEMU if that takes too long. Does nothing if it is not running."""
        pid = self.pid()
        if pid is None:
            return
        with contextlib.suppress(ChannelError):
            self.channel.request("OFF", timeout_s=2)
            if self.gone_within(pid, STOP_S):
                return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if not self.gone_within(pid, STOP_S):
            raise GuestError(f"QEMU of guest {self.name}, process {pid}, does not end after SIGKILL")

    def gone_within(self, pid: int, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while self.pid() == pid:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        return True
