"""The warden's side of the agent: start it, talk to it, start it again when it dies or falls silent.

Promises: the warden's loop never waits for the agent; an agent that takes nothing or says nothing is replaced. An
agent's end is not the target's: a new agent attaches to the target that runs.
"""
from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
from typing import IO, Any, Dict, List, Optional, Sequence, Tuple

from gw_agent import child
from gw_agent.warden_link import FD_VARIABLE, WARDEN_ALIVE_S, Lines, SeatsSender, Status, encode

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.1
MOST_BACKOFF_S = 5.0
WELL_AFTER_S = 10.0
SILENT_S = 6.0
"""Longer than any pause of a busy agent; a host's pause is not counted."""
LOOP_GAP_S = 1.0
BACKLOG_BYTES = 8 * 1024 * 1024
READ_BYTES = 65536


class AgentProcess:
    """Call `turn` in the warden's loop; the socket registers itself in the selector."""

    def __init__(self, config_path: str, selector: selectors.BaseSelector, output: Optional[IO[bytes]] = None) -> None:
        self._argv = [sys.executable, "-m", "gw_agent.agent", "--config", config_path]
        self._selector = selector
        self._output = output
        self._process: Optional["subprocess.Popen[bytes]"] = None
        self._socket: Optional[socket.socket] = None
        self._out = b""
        self._lines = Lines()
        self._seats = SeatsSender()
        self._spoke = False
        self._heard_s = 0.0
        self._looked_s = 0.0
        self._told_alive_s = 0.0
        self._started_s = 0.0
        self._start_at_s = 0.0
        self._backoff_s = FIRST_BACKOFF_S
        self._stopping = False
        self._names: Tuple[str, ...] = ()
        self._status = Status()
        self._latest: Optional[Tuple[float, Sequence[Optional[bytes]]]] = None
        self.received: List[Dict[str, Any]] = []
        """Messages since the warden last took them."""

    @property
    def running(self) -> bool:
        return self._process is not None

    def turn(self, now_s: float) -> None:
        """Start the agent if it is due, notice its end or its silence."""
        if now_s - self._looked_s > LOOP_GAP_S:
            self._heard_s = now_s   # this process did not run, so what it did not hear proves nothing
        self._looked_s = now_s
        if self._spoke:
            self._spoke, self._heard_s = False, now_s
        if self._process is None:
            if not self._stopping and now_s >= self._start_at_s:
                self._start(now_s)
            return
        code = self._process.poll()
        if code is not None:
            self._ended(code, now_s)
        elif now_s - self._heard_s > SILENT_S or len(self._out) > BACKLOG_BYTES:
            log.error("the agent (process %d) has said nothing for %.1f s: replacing it", self._process.pid,
                      now_s - self._heard_s)
            self._heard_s = now_s
            self._process.kill()
        elif now_s - self._told_alive_s >= WARDEN_ALIVE_S:
            self._told_alive_s = now_s
            self._send(encode("alive"))

    def seat_names(self, names: Tuple[str, ...]) -> None:
        if names != self._names:
            self._names = names
            self._send(encode("seat_names", names=names))

    def status(self, status: Status) -> None:
        """Tell the agent when it is news."""
        if status != self._status:
            self._status = status
            self._send(status.encode())

    def seats(self, sent_s: float, data: Sequence[Optional[bytes]]) -> None:
        """Forward one read."""
        self._latest = (sent_s, data)
        if self._socket is not None:
            self._send(self._seats.encode(sent_s, data))

    def stop(self) -> None:
        """Ask it to end, and start no other."""
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        self._stopping = True
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    def _start(self, now_s: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            environment = {**os.environ, FD_VARIABLE: str(theirs.fileno())}
            try:
                self._process = child.start(self._argv, (theirs.fileno(),), environment, self._output)
            except OSError as error:
                ours.close()
                log.error("the agent cannot be started (%s): %s", " ".join(self._argv), error)
                self._start_at_s = now_s + MOST_BACKOFF_S
                return
        ours.setblocking(False)
        self._socket, self._out, self._lines, self._seats = ours, b"", Lines(), SeatsSender()
        self._started_s = self._heard_s = now_s
        self._selector.register(ours, selectors.EVENT_READ, self._on_ready)
        log.info("agent %d started", self._process.pid)
        self._send(encode("seat_names", names=self._names) + self._status.encode())
        if self._latest is not None:
            self.seats(*self._latest)

    def _ended(self, code: int, now_s: float) -> None:
        assert self._process is not None
        if self._stopping:
            log.info("the agent has ended")
        else:
            self._backoff_s = (FIRST_BACKOFF_S if now_s - self._started_s > WELL_AFTER_S
                               else min(2 * self._backoff_s, MOST_BACKOFF_S))
            self._start_at_s = now_s + self._backoff_s
            log.error("agent %d has ended (%s %d); starting it again in %.1f s, the target goes on", self._process.pid,
                      "signal" if code < 0 else "exit status", abs(code), self._backoff_s)
        self._close()
        self._process = None

    def _close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _send(self, data: bytes) -> None:
        if self._socket is not None:
            self._out += data
            self._flush()

    def _flush(self) -> None:
        assert self._socket is not None
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out):]
        except BlockingIOError:
            pass
        except OSError:
            self._close()   # its end is noticed as a child
            return
        self._selector.modify(self._socket, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0),
                              self._on_ready)

    def _on_ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE and self._socket is not None:
            self._flush()
        if self._socket is None or not events & selectors.EVENT_READ:
            return
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._spoke = True
            self.received += self._lines.feed(data)
        else:
            self._close()
