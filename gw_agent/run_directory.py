"""The warden's run directory: one warden at a time, and what a later warden must know of the target.

A running target holds a lock on `target.lock` (an inherited open file, so the kernel gives it back when the last of its
threads is gone) and `target.json` says which instance it is. So a new warden can tell that an earlier target has
certainly ended, whatever became of the earlier warden, and reports that instance as reaped.

Not promised across machines: the directory must be local (`/run`), never shared.
"""
from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import stat
import time
from dataclasses import dataclass
from typing import Optional

from nvmeof_ha_core.model import Instance

log = logging.getLogger(__name__)

UMASK = 0o077
"""Of warden, agent and target: sockets, logs and whatever else they make are for their own user alone. Whoever may
connect to a target's JSON-RPC socket may serve any image to anybody."""
KEYS = "keys"
"""Holds hosts' keys as a running target reads them."""
END_S = 10.0
POLL_S = 0.02


class RunDirectoryError(Exception):
    """The directory cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class Record:
    """The target that was started last. `start_ticks` tells its process from a later one with the same pid."""

    instance: Instance
    pid: Optional[int]
    start_ticks: Optional[int]


class RunDirectory:
    """Taken while the object exists."""

    def __init__(self, path: str) -> None:
        """Raises RunDirectoryError: it cannot be made, or another warden uses it."""
        self.path = path
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            if os.stat(path).st_mode & stat.S_IWOTH:
                raise RunDirectoryError(f"run_dir {path} can be written by every user, who could put files of their "
                                        f"own there; do: chmod o-w {path}, or choose another run_dir")
            self._lock = os.open(os.path.join(path, "warden.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RunDirectoryError(f"run_dir {path} cannot be used: {error.strerror}; make it, or correct the option "
                                    "run_dir in section [gateway]") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._lock, 32, 0).decode().strip()
            os.close(self._lock)
            raise RunDirectoryError(f"another warden (process {owner or 'unknown'}) uses run_dir {path}; stop it, or "
                                    "give this gateway a run_dir of its own") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def end_earlier_target(self) -> Optional[Instance]:
        """The instance of the last target, certainly ended when this returns; None: nothing is known of one.

        Blocks for at most `END_S`. Raises RunDirectoryError when an old target does not end.
        """
        record = self._load()
        deadline_s = time.monotonic() + END_S
        while not self._target_is_gone():
            if record is not None and record.pid is not None and start_ticks(record.pid) == record.start_ticks:
                log.warning("target %d of %s outlived its warden: killing it", record.pid, record.instance)
                os.kill(record.pid, signal.SIGKILL)
            if time.monotonic() > deadline_s:
                raise RunDirectoryError(f"a target from before still holds {self._target_lock_path} after {END_S:.0f} s; "
                                        "find it (`fuser` shows it) and kill it, or reboot the host")
            time.sleep(POLL_S)
        self.remove_keys()
        return None if record is None else record.instance

    def remove_keys(self) -> None:
        """Of hosts; to be called while no target runs."""
        shutil.rmtree(os.path.join(self.path, KEYS), ignore_errors=True)

    def lock_for_target(self) -> int:
        """A locked file for the target to inherit; close it here once the target was started."""
        descriptor = os.open(self._target_lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RunDirectoryError(f"a target holds {self._target_lock_path}, so none can be started; find it "
                                    "(`fuser` shows it) and kill it") from None
        return descriptor

    def record(self, instance: Instance, pid: Optional[int]) -> None:
        """To be called before the target is started (pid None) and after."""
        ticks = None if pid is None else start_ticks(pid)
        new = os.path.join(self.path, "target.json.new")
        with open(new, "w", encoding="utf-8") as file:
            json.dump({"instance": instance, "pid": pid, "start_ticks": ticks}, file)
        os.replace(new, os.path.join(self.path, "target.json"))

    def _load(self) -> Optional[Record]:
        path = os.path.join(self.path, "target.json")
        try:
            with open(path, encoding="utf-8") as file:
                found = json.load(file)
            return Record(Instance(*found["instance"]), found["pid"], found["start_ticks"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s) and ignored; the gateway starts after its earlier instance was given up "
                        "by the mgr", path, error)
            return None

    @property
    def _target_lock_path(self) -> str:
        return os.path.join(self.path, "target.lock")

    def _target_is_gone(self) -> bool:
        try:
            os.close(self.lock_for_target())
        except RunDirectoryError:
            return False
        return True


def start_ticks(pid: int) -> Optional[int]:
    """When a process started, in clock ticks since boot; None when there is none with this pid."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None
