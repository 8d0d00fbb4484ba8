"""One daemon of the testbed: how it is started, and which process it is now.

Promises: a signal reaches only the process that was started here, never a later one that got the same
pid (the start time in /proc is compared while a pidfd holds the process); `from_state` of what
`to_state` returned gives an equal Daemon in another process, which may signal, wait for and restart it.
Does not watch: a daemon that dies stays dead until `restart`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from .waiting import WaitTimeout, wait_until

PROC = Path('/proc')
TRACED = '] trace '   # in a line of a mgr's log
BOOT_ID = PROC / 'sys/kernel/random/boot_id'

# A daemon sees none of the caller's variables: a PYTHONPATH or CEPH_ARGS set for the tests would change
# what it loads, and another interpreter on PATH what an embedded Python takes for its own.
CLEAN_ENVIRONMENT = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
                     'HOME': '/nonexistent', 'LANG': 'C.UTF-8'}


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from every other one on this machine before and after it."""

    pid: int
    start_ticks: int   # clock ticks from boot to its start
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Optional[ProcessIdentity]:
        """The identity of the process that has this pid now; None when there is none."""
        fields = _stat_fields(pid)
        if fields is None:
            return None
        return cls(pid, int(fields[19]), BOOT_ID.read_text().strip())

    def alive(self) -> bool:
        """False also for a zombie: it runs no code and holds no socket, unless other threads of it live on.  So it is for
        a moment when one of those executes another program, as a ceph-mgr does that is to load a module."""
        fields = _stat_fields(self.pid)
        return (fields is not None and (fields[0] not in 'ZX' or int(fields[17]) > 1)
                and int(fields[19]) == self.start_ticks and BOOT_ID.read_text().strip() == self.boot_id)

    def kill(self, signal_number: int) -> bool:
        """Send the signal; False when that process is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, signal_number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)


def _stat_fields(pid: int) -> Optional[List[str]]:
    """Fields of /proc/PID/stat from the state on (index 0 = field 3 of proc(5))."""
    try:
        text = (PROC / str(pid) / 'stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(')') + 2:].split()


class Daemon:
    """A named process that stays in the foreground, with its output in a file."""

    def __init__(self, name: str, argv: List[str], log: Path, output: Path,
                 environment: Optional[Dict[str, str]] = None) -> None:
        """`log` is what the daemon itself writes, `output` gets its stdout and stderr (they may be one
        file); `environment` is added to CLEAN_ENVIRONMENT."""
        self.name = name
        self.argv = argv
        self.log = log
        self.output = output
        self.environment = environment or {}
        self.on_start: Callable[[], None] = lambda: None   # called after each start, e.g. to note the pid
        self.identity: Optional[ProcessIdentity] = None
        self._child: Optional[subprocess.Popen] = None

    @property
    def pid(self) -> Optional[int]:
        return self.identity.pid if self.identity else None

    def start(self) -> None:
        if self.alive():
            raise RuntimeError(f'{self.name} already runs as pid {self.pid}; stop it first')
        with open(self.output, 'ab') as output:
            # A session of its own: Ctrl-C at the caller's terminal must not reach the daemons.
            self._child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**CLEAN_ENVIRONMENT, **self.environment}, start_new_session=True)
        self.identity = ProcessIdentity.of(self._child.pid)
        self.on_start()

    def alive(self) -> bool:
        if self._child is not None:
            self._child.poll()   # reaps it when it is our child and has ended
        return self.identity is not None and self.identity.alive()

    def kill(self, signal_number: int = signal.SIGKILL) -> bool:
        """Send a signal; False when the daemon does not run."""
        return self.identity is not None and self.identity.kill(signal_number)

    def wait_gone(self, timeout_s: float) -> bool:
        """True as soon as the process has ended, False when it has not within `timeout_s`."""
        try:
            wait_until(lambda: not self.alive(), timeout_s, f'{self.name} to end', interval_s=0.02)
        except WaitTimeout:
            return False
        return True

    def stop(self, timeout_s: float = 2.0) -> None:
        """SIGTERM, and SIGKILL when that has no effect within `timeout_s`."""
        self.kill(signal.SIGTERM)
        if not self.wait_gone(timeout_s):
            self.kill(signal.SIGKILL)
            self.wait_gone(timeout_s)

    def restart(self) -> None:
        """End it hard if it still runs, and start it again; does not wait until it serves."""
        self.kill(signal.SIGKILL)
        if not self.wait_gone(5.0):
            raise RuntimeError(f'{self.name} (pid {self.pid}) survived SIGKILL for 5 s; it hangs in the '
                               f'kernel, see /proc/{self.pid}/stack')
        self.start()

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of its log, and of its output when that is another file."""
        parts = []
        for path in dict.fromkeys((self.log, self.output)):
            text = _tail(path, lines)
            if text:
                parts.append(f'{self.name}: {path}\n{text}')
        return '\n'.join(parts) or f'{self.name}: {self.log} is empty'

    def to_state(self) -> Dict[str, Any]:
        identity = self.identity
        return {'name': self.name, 'argv': self.argv, 'log': str(self.log), 'output': str(self.output),
                'environment': self.environment,
                'process': identity and {'pid': identity.pid, 'start_ticks': identity.start_ticks,
                                         'boot_id': identity.boot_id}}

    @classmethod
    def from_state(cls, state: Dict[str, Any]) -> Daemon:
        daemon = cls(state['name'], state['argv'], Path(state['log']), Path(state['output']),
                     state['environment'])
        if state['process']:
            daemon.identity = ProcessIdentity(**state['process'])
        return daemon


def _tail(path: Path, lines: int) -> str:
    """Without the trace of a mgr: its lines are long, many, and for a replay."""
    if not path.exists():
        return ''
    with open(path, 'rb') as log:
        size, span = log.seek(0, os.SEEK_END), 400 * lines
        while True:
            log.seek(max(0, size - span))
            found = [line for line in log.read().decode(errors='replace').splitlines() if TRACED not in line]
            if len(found) > lines or span >= size:
                return '\n'.join(found[-lines:])
            span *= 4


def stop_all(daemons: List[Daemon], timeout_s: float = 2.0) -> List[str]:
    """SIGTERM all at once, SIGKILL what is left after `timeout_s`; returns the names of the latter."""
    for daemon in daemons:
        daemon.kill(signal.SIGTERM)
    try:
        wait_until(lambda: not any(daemon.alive() for daemon in daemons), timeout_s, 'all daemons to end',
                   interval_s=0.02)
    except WaitTimeout:
        pass
    killed = [daemon for daemon in daemons if daemon.kill(signal.SIGKILL)]
    for daemon in killed:
        daemon.wait_gone(5.0)
    return [daemon.name for daemon in killed]
