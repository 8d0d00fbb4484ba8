"""A stamped writer that runs in a guest: what it measured and whether each block it was told is written is still there.

The program is guest-src/stamp_writer.c; the meaning of its figures is in its head comment. Times named `epoch` are of the
guest's clock (`Guest.clock_offset` says how far off that is).
"""

from __future__ import annotations

import json
import shlex
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from guest.guest import Guest, GuestError, GuestTimeout

ANSWER_S, VERIFY_S = 60, 300
POLL_S = 0.02

Figures = dict[str, Any]
T = TypeVar("T")


class Writer:
    """Made by Writer.start(); ends with stop()."""

    def __init__(self, guest: Guest, device: str, job: str, files: str) -> None:
        self.guest = guest
        self.device = device
        self.job = job
        self.status_path = f"{files}.status"
        self.report_path = f"{files}.report"

    @classmethod
    def start(cls, guest: Guest, device: str, device_id: int = 0, run_id: str = "", slots_mib: int = 8,
              block_bytes: int = 4096, depth: int = 2, interval_us: int = 20_000) -> Writer:
        """Starts writing to the first `slots_mib` of a device. Blocks carry `run_id` (made up if empty) and `device_id`
        (the device number if 0). Each of `depth` threads pauses `interval_us` after each I/O."""
        name = uuid.uuid4().hex[:12]
        files = f"/run/writer-{name}"
        words = ["exec", "stamp_writer", device, "--run-id", run_id or name, "--device-id", device_id,
                 "--slots-mib", slots_mib, "--block-bytes", block_bytes, "--depth", depth,
                 "--interval-us", interval_us, "--report", f"{files}.report", "--status", f"{files}.status"]
        job = guest.bg(" ".join(shlex.quote(str(word)) for word in words))
        writer = cls(guest, device, job, files)
        writer.until("start", ANSWER_S, lambda: writer.exists() or None)
        return writer

    def exists(self) -> bool:
        try:
            self.status()
        except GuestError:
            return False
        return True

    def status(self) -> Figures:
        """Now (at most 0.2 s ago): counts of the run, the gap in progress, the longest gap of this window."""
        return json.loads(self.guest.read_file(self.status_path))

    def report(self) -> list[Figures]:
        """The finished windows."""
        try:
            # What follows the last newline is a window that is being written: a long one comes in several pieces.
            lines = self.guest.read_file(self.report_path).split("\n")[:-1]
            return [json.loads(line) for line in lines]
        except GuestError:
            if self.exists():
                return []    # no window is finished yet
            raise

    def mark(self) -> Figures:
        """Begins a new measuring window; the figures of the one that ends here."""
        before = len(self.report())
        self.guest.kill(self.job, signal.SIGUSR1)
        return self.until("begin a window", ANSWER_S, lambda: self.report()[before:])[0]

    def verify(self, timeout_s: float = VERIFY_S) -> Figures:
        """Reads every acknowledged block; the status afterwards. What is missing counts as `lost` in this window."""
        before = self.status()["verifications"]
        self.guest.kill(self.job, signal.SIGUSR2)
        self.until("verify", timeout_s, lambda: self.status()["verifications"] > before or None)
        return self.status()

    def stop(self, timeout_s: float = VERIFY_S) -> Figures:
        """Verifies and ends; the figures of the whole run. Raises GuestTimeout while I/O hangs."""
        self.guest.kill(self.job, signal.SIGTERM)
        try:
            code, output = self.guest.wait(self.job, timeout_s)
        except GuestTimeout as error:
            raise GuestTimeout(f"the writer on {self.device} does not end: {self.status()}\n{error}") from error
        if code not in (0, 1):
            raise GuestError(f"the writer on {self.device} died with {code}: {output}\n{self.guest.dmesg()}")
        return json.loads(output.splitlines()[-1])

    def until(self, what: str, timeout_s: float, ask: Callable[[], T | None]) -> T:
        """Asks until there is an answer that is neither empty nor None."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            answer = ask()
            if answer:
                return answer
            ended = self.guest.poll(self.job)
            if ended is not None:
                raise GuestError(f"the writer on {self.device} ended with {ended.code} when it should {what}: "
                                 f"{ended.output}\n{self.guest.dmesg()}")
            if time.monotonic() > deadline_s:
                raise GuestTimeout(f"the writer on {self.device} did not {what} within {timeout_s:g} s: "
                                   f"{self.status() if self.exists() else 'it has no status'}\n{self.guest.dmesg()}")
            time.sleep(POLL_S)
