"""Starts a child that dies with its parent, whatever kills the parent (PR_SET_PDEATHSIG).

Call it from the main thread only: the signal comes when the *thread* that forked ends. The setting survives exec of an
ordinary program; a set-uid one would lose it.
"""
from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from typing import IO, Mapping, Optional, Sequence

PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def start(argv: Sequence[str], pass_fds: Sequence[int] = (), env: Optional[Mapping[str, str]] = None,
          output: Optional[IO[bytes]] = None) -> "subprocess.Popen[bytes]":
    """Raises OSError when the program cannot be run. `output` gets what it prints (default: as the parent's)."""
    parent = os.getpid()

    def die_with_parent() -> None:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:   # it ended before the call
            os._exit(1)

    return subprocess.Popen(argv, pass_fds=pass_fds, env=None if env is None else dict(env), preexec_fn=die_with_parent,
                            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
