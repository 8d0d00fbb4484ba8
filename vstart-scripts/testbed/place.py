"""Where something of the testbed runs: with which address, and in which network namespace.

Promises: what is started with `prefix` before its command has the network of the place; inside `entered` the calling
thread has it, and so have the processes and threads that are started there (librados starts its own when it connects).
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Tuple

NAMESPACES = Path('/run/netns')
THIS_THREAD = '/proc/thread-self/ns/net'
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Place:
    """`namespace` '': the caller's network."""

    address: str = '127.0.0.1'
    namespace: str = ''

    @property
    def prefix(self) -> Tuple[str, ...]:
        """Words to put before a command."""
        return ('ip', 'netns', 'exec', self.namespace) if self.namespace else ()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Raises OSError when the namespace is gone, or the caller is not root."""
        if not self.namespace:
            yield
            return
        before = os.open(THIS_THREAD, os.O_RDONLY)
        try:
            inside = os.open(NAMESPACES / self.namespace, os.O_RDONLY)
            try:
                _enter(inside)
            finally:
                os.close(inside)
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f'cannot enter a network namespace: {os.strerror(code)}; it needs root')
