"""Counts what an agent leaves behind outside its process, and ends a process right before or after one of these steps.

A step is a RADOS operation that changes something, a change of an RBD image, a JSON-RPC request that changes the
target, a file that comes or goes. Everything is counted but what is known to change nothing, so a
new kind of step is not missed.
Steps are named, with a number for equal ones, because some run at the same time and their order varies.

The process under test calls `Steps.watch` before it opens anything and gives its gateway `Steps.cluster(...)`;
production code knows nothing of this. Does not see: what librbd does inside one call.
"""
from __future__ import annotations

import os
import re
import signal
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Iterator, List

import rbd

from gw_agent import images, key_ring
from gw_agent.spdk_rpc import SpdkRpc

READING_REQUESTS = re.compile(r"(.*_)?get_|framework_wait_init|rpc_get_methods|bdev_rbd_register_cluster")
"""A context is made once for each target, by whoever needs it first."""
READING_CALLS = frozenset({
    "close", "get_omap_vals", "get_omap_vals_by_keys", "operate_read_op", "set_omap", "remove_omap_keys", "watch"})
"""Of an Ioctx; some only fill an operation."""


@dataclass(frozen=True)
class Fault:
    """`step` "": nothing happens. `victim_pid` 0: the process that takes the step, else that one."""

    step: str = ""
    after: bool = False
    victim_pid: int = 0


class Steps:
    """Of one process; they count once `armed`."""

    def __init__(self, fault: Fault) -> None:
        self.armed = False
        self.taken: List[str] = []
        self._fault = fault
        self._counted: "Counter[str]" = Counter()
        self._lock = threading.Lock()

    def watch(self) -> None:
        """From now on all JSON-RPC requests, image changes and key files of this process; RADOS: see `cluster`."""
        send = SpdkRpc._send

        def send_one_by_one(rpc: SpdkRpc, requests: Any) -> Any:
            sent = []
            for method, params in requests:
                with self._step(f"JSON-RPC {method}", not READING_REQUESTS.match(method)):
                    sent += send(rpc, [(method, params)])
            return sent

        SpdkRpc._send = send_one_by_one   # type: ignore[method-assign]
        images.rbd = _Rbd(self)   # type: ignore[assignment]
        key_ring.os = _Through(os, self, "file", lambda name: name not in ("replace", "unlink"))

    def cluster(self, cluster: Any) -> Any:
        """The same RADOS client, its pools watched."""
        return _Cluster(cluster, self)

    def pool(self, ioctx: Any) -> Any:
        """The same pool, watched."""
        return _Through(ioctx, self, "RADOS", READING_CALLS.__contains__)

    def counted(self, kind: str, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._step(f"{kind} {name}", True):
                return call(*args, **kwargs)
        return counted

    @contextmanager
    def _step(self, name: str, counts: bool) -> Iterator[None]:
        if not self.armed or not counts:
            yield
            return
        with self._lock:
            self._counted[name] += 1
            step = f"{name} {self._counted[name]}"
            self.taken.append(step)
        if step == self._fault.step and not self._fault.after:
            self._end()
        yield
        if step == self._fault.step and self._fault.after:
            self._end()

    def _end(self) -> None:
        if not self._fault.victim_pid:
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(self._fault.victim_pid, signal.SIGKILL)
        while not _ended(self._fault.victim_pid):
            pass


def _ended(pid: int) -> bool:
    """Also when whoever started it has noticed."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


class _Through:
    """An object whose calls are steps, but for those that `harmless` names."""

    def __init__(self, real: Any, steps: Steps, kind: str, harmless: Callable[[str], bool]) -> None:
        self.real = real
        self._steps = steps
        self._kind = kind
        self._harmless = harmless

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        return found if self._harmless(name) or not callable(found) else self._steps.counted(self._kind, name, found)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self.real.__exit__(*exception)


class _Cluster(_Through):
    """A RADOS client. Opening a pool changes nothing."""

    def __init__(self, real: Any, steps: Steps) -> None:
        super().__init__(real, steps, "mon", lambda name: name == "get_fsid")

    def open_ioctx(self, pool: str) -> Any:
        return self._steps.pool(self.real.open_ioctx(pool))


class _Rbd:
    """The binding, with calls on watched pools. It wants the pool itself."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        return getattr(rbd, name)

    def RBD(self) -> Any:
        return _OfPool(rbd.RBD(), self._steps, "RBD", lambda name: False)

    def Image(self, ioctx: Any, *args: Any, **kwargs: Any) -> Any:
        return _Through(rbd.Image(ioctx.real, *args, **kwargs), self._steps, "RBD image",
                        lambda name: name in ("size", "watchers_list", "id"))


class _OfPool(_Through):
    """Calls that take a pool first."""

    def __getattr__(self, name: str) -> Any:
        counted = super().__getattr__(name)
        return lambda ioctx, *args, **kwargs: counted(ioctx.real, *args, **kwargs)
