"""Runs one target at a time and carries out what the lease demands of it (`core/lease.py` decides).

Promises: a target runs only for an admitted instance; at lease end it is asked to be inaccessible and killed when it
does not confirm; a frozen one is killed; `turn` reports an instance as ended only once its process was reaped.
"""
from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
from dataclasses import dataclass
from typing import IO, Optional

from gw_agent import child
from gw_agent.run_directory import RunDirectory
from gw_agent.settings import SpdkSettings
from gw_agent.target_channel import TargetChannel
from gw_agent.trace import NoTrace
from nvmeof_ha_core.lease import Order, Ward
from nvmeof_ha_core.model import Instance
from nvmeof_ha_core.register import View

log = logging.getLogger(__name__)

START_LIMIT_S = 30.0
"""A target that has never answered cannot hold any host's I/O, so it may take longer than `frozen_s` to start."""
SLOW_START_S = 5.0
STOP_S = 2.0
"""SPDK ignores SIGTERM while RBD I/O hangs: after this long it is killed."""
LINGER_S = 2.0
"""After SIGKILL a process may wait in the kernel; longer than this is worth a word."""


@dataclass(frozen=True)
class Ended:
    """A target's process is gone."""

    instance: Instance
    how: str


class TargetGuard:
    """Call `turn` at least every 100 ms."""

    def __init__(self, settings: SpdkSettings, directory: RunDirectory, selector: selectors.BaseSelector,
                 output: Optional[IO[bytes]], trace: NoTrace) -> None:
        self._settings = settings
        self._directory = directory
        self._selector = selector
        self._output = output
        self._trace = trace
        self._process: Optional["subprocess.Popen[bytes]"] = None
        self._channel: Optional[TargetChannel] = None
        self._answered_once = self._said_slow = False
        self._probed_s = 0.0
        self._stop_s: Optional[float] = None
        self._killed_s: Optional[float] = None
        self._why = ""
        self.ward: Optional[Ward] = None
        """The lease of the target that runs; None: no target."""

    @property
    def pid(self) -> Optional[int]:
        return None if self._process is None else self._process.pid

    def start(self, instance: Instance, now_s: float) -> None:
        """Run a target for an admitted instance. Raises OSError, RunDirectoryError: it could not be started."""
        assert self._process is None, "one target at a time"
        argv = [self._settings.tgt_path, *self._settings.tgt_cmd_extra_args, "-r", self._settings.rpc_socket]
        lock = self._directory.lock_for_target()
        try:
            self._directory.record(instance, None)
            self._process = child.start(argv, pass_fds=(lock,), output=self._output)
            self._directory.record(instance, self._process.pid)
        finally:
            os.close(lock)
        self.ward = self._trace.ward(instance, now_s)
        self._channel = TargetChannel(self._settings.rpc_socket, self._selector)
        self._answered_once = self._said_slow = False
        self._stop_s, self._killed_s, self._why = None, None, ""
        log.info("target %d started for instance %s", self._process.pid, instance)

    def seats_read(self, view: View, sent_s: float, now_s: float) -> None:
        if self.ward is not None:
            self.ward = self.ward.seats_read(view, sent_s, now_s)

    def mons_answered(self, now_s: float, fenced: bool) -> None:
        """`fenced`: they have blocklisted a client of this target."""
        if self.ward is not None:
            self.ward = self.ward.mons_answered(now_s, fenced)

    def stop(self, now_s: float) -> None:
        """Orderly, after everything was handed over: SIGTERM, and SIGKILL if that does not help."""
        if self._process is not None and self._stop_s is None:
            self._stop_s = now_s
            self._why = "stopped"
            self._process.terminate()

    def kill(self, reason: str, now_s: float) -> None:
        """SIGKILL at once."""
        if self._process is not None and self._killed_s is None:
            self._killed_s, self._why = now_s, f"killed: {reason}"
            log.warning("killing target %d: %s", self._process.pid, reason)
            self._process.send_signal(signal.SIGKILL)

    def turn(self, now_s: float) -> Optional[Ended]:
        """Look at the target and the lease and do what is due; returns the target that has ended, once."""
        if self._process is None or self.ward is None or self._channel is None:
            return None
        code = self._process.poll()
        if code is not None:
            return self._reap(code)
        if self._killed_s is not None:
            if now_s - self._killed_s > LINGER_S:
                self._killed_s = now_s
                log.warning("target %d was killed and has not ended yet (it waits in the kernel)", self._process.pid)
            return None
        self._listen(now_s)
        self._obey(now_s)
        if self._stop_s is not None and now_s - self._stop_s > STOP_S:
            self.kill(f"it did not end within {STOP_S:g} s of SIGTERM", now_s)
        return None

    def _listen(self, now_s: float) -> None:
        """Probe, and tell the lease what was heard."""
        assert self.ward is not None and self._channel is not None
        if now_s - self._probed_s >= self.ward.timing.beacon_s or not self._answered_once:
            self._probed_s = now_s
            self._channel.probe()
        if self._channel.heard:
            self._channel.heard = False
            self._answered_once = True
            self.ward = self.ward.target_answered(now_s)
        elif not self._answered_once:
            self._await_first_answer(now_s)
        if self._channel.restricted:
            self._channel.restricted = False
            if self.ward.restrict_since_s is not None and not self.ward.restricted:
                log.info("every listener is inaccessible")
            self.ward = self.ward.restrict_confirmed()

    def _await_first_answer(self, now_s: float) -> None:
        assert self.ward is not None
        silent_s = now_s - self.ward.started_s
        if silent_s >= START_LIMIT_S:
            self.kill(f"it has not answered JSON-RPC at {self._settings.rpc_socket} within {START_LIMIT_S:g} s of its "
                      "start; is the option tgt_path in section [spdk] an SPDK target?", now_s)
            return
        if silent_s >= SLOW_START_S and not self._said_slow:
            self._said_slow = True
            log.warning("target %s does not answer JSON-RPC at %s yet; it is waited for until %g s after its start",
                        self.pid, self._settings.rpc_socket, START_LIMIT_S)
        self.ward = self.ward.target_answered(now_s)

    def _obey(self, now_s: float) -> None:
        assert self.ward is not None and self._channel is not None
        self.ward = self.ward.look(now_s)
        verdict = self.ward.verdict(now_s)
        if verdict.order is Order.KILL:
            self.kill(verdict.reason, now_s)
        elif verdict.order is Order.RESTRICT:
            first = self.ward.restrict_since_s is None
            if first:
                log.warning("%s: making every listener inaccessible", verdict.reason)
            self.ward = self.ward.restrict_asked(now_s)
            self._channel.restrict(anew=first)

    def _reap(self, code: int) -> Ended:
        assert self.ward is not None and self._channel is not None and self._process is not None
        how = self._why or "it ended by itself"
        status = f"signal {-code}" if code < 0 else f"exit status {code}"
        ended = Ended(self.ward.instance, f"{how} ({status})")
        log.log(logging.INFO if self._stop_s is not None else logging.WARNING, "target %d of %s has ended: %s",
                self._process.pid, ended.instance, ended.how)
        self._channel.close()
        self._process = self._channel = self.ward = None
        return ended
