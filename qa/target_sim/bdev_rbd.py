"""RBD block devices and the registered clusters they share a RADOS client through.

Each registered cluster is one RADOS client with one address, so blocklisting that address cuts off exactly the
images opened through it. Everything but reads and writes is synchronous and blocks the event loop, as it blocks
the application thread of the real target. Completions arrive on librbd's threads and are handed to the loop,
many at a time where they come fast.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import re
import threading
import uuid
from typing import Any, Callable, Optional

import rados
import rbd

from .bdev import Bdev, BdevError, BdevRegistry, Done

SIZE_CHECK_S = 1.0
CORE_MASK = re.compile(r"(0x)?[0-9a-fA-F]+|\[[0-9,-]+\]")


class CephFailure(Exception):
    """Something in Ceph failed; the RPC only ever says "Operation not permitted"."""


def _connect(
    user_id: Optional[str], params: list[tuple[str, str]], config_file: Optional[str] = None, read_default: bool = True
) -> rados.Rados:
    """Without a named file the usual places are tried, and it is no error to find none there. Parameters override
    the file. Raises CephFailure.
    """
    client = None
    try:
        client = rados.Rados(rados_id=user_id or "admin")
        if config_file is not None:
            client.conf_read_file(config_file)
        elif read_default:
            with contextlib.suppress(rados.Error):
                client.conf_read_file()
        for name, value in params:
            client.conf_set(name, value)
        client.connect()
    except (rados.Error, OSError) as error:
        if client is not None:
            client.shutdown()
        raise CephFailure(str(error)) from error
    return client


class Cluster:
    """A registered cluster: a connected RADOS client under a name."""

    def __init__(
        self,
        name: str,
        user_id: Optional[str],
        config_param: Optional[list[tuple[str, str]]],
        config_file: Optional[str],
        key_file: Optional[str],
        core_mask: Optional[str],
    ) -> None:
        """Connects. Raises CephFailure."""
        if core_mask is not None and not CORE_MASK.fullmatch(core_mask):
            raise CephFailure(f"{core_mask} is no core mask")
        self.name = name
        self.users = 0
        self._shown = {
            "user_id": user_id,
            "config_param": None if config_param is None else dict(config_param),
            "config_file": config_file,
            "key_file": key_file,
        }
        self._core_mask = core_mask
        params = list(config_param or []) + ([("keyring", key_file)] if key_file else [])
        self.client = _connect(user_id, params, config_file)

    def bdev_json(self) -> dict:
        return {key: value for key, value in self._shown.items() if value is not None}

    def as_json(self) -> dict:
        shown = {"cluster_name": self.name, **self.bdev_json()}
        if self._core_mask is not None:
            shown["core_mask"] = self._core_mask
        return shown


class Clusters:
    def __init__(self) -> None:
        self._clusters: dict[str, Cluster] = {}

    def register(self, name: str, **parameters: Any) -> None:
        """Raises CephFailure."""
        if name in self._clusters:
            raise CephFailure(f"cluster {name} is registered already")
        self._clusters[name] = Cluster(name, **parameters)

    def unregister(self, name: str) -> None:
        """Raises CephFailure: unknown, or an image is open through it."""
        cluster = self.get(name)
        if cluster.users:
            raise CephFailure(f"cluster {name} is used by {cluster.users} images")
        del self._clusters[name]
        cluster.client.shutdown()

    def get(self, name: str) -> Cluster:
        """Raises CephFailure."""
        if name not in self._clusters:
            raise CephFailure(f"no cluster {name} is registered")
        return self._clusters[name]

    def __iter__(self):
        return iter(list(self._clusters.values()))


class _Completions:
    """Carries completions from librbd's threads to the loop with one wake-up for as many as have gathered."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: collections.deque = collections.deque()
        self._woken = False

    def put(self, done: Done, ok: bool, data: bytes) -> None:
        self._queue.append((done, ok, data))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        while self._queue:
            done, ok, data = self._queue.popleft()
            done(ok, data)


class RbdBdev(Bdev):
    product_name = "Ceph Rbd Disk"

    def __init__(self, name: str, identity: Optional[uuid.UUID], block_size: int, image: RbdImage) -> None:
        super().__init__(name, identity, block_size, image.size() // block_size)
        self.image = image
        changing = () if image.read_only else ("write", "write_zeroes")
        self.supported = frozenset(("read", "unmap", "flush", "reset") + changing)
        self._completions = _Completions()

    def _start(self, operation: Callable, done: Done, *arguments: Any) -> None:
        def finished(
            completion: rbd.Completion, data: Optional[bytes] = None, kept_until_done: tuple = arguments
        ) -> None:
            # librbd may read the buffer of a write until now, and its binding does not keep it alive.
            self._completions.put(done, completion.get_return_value() >= 0, data or b"")

        try:
            operation(*arguments, finished)
        except rbd.Error:
            self._completions.put(done, False, b"")

    def read(self, offset: int, length: int, done: Done) -> None:
        self._start(self.image.handle.aio_read, done, offset, length)

    def write(self, offset: int, data: bytes, done: Done) -> None:
        self._start(self.image.handle.aio_write, done, data, offset)

    def write_zeroes(self, offset: int, length: int, done: Done) -> None:
        self._start(self.image.handle.aio_write_zeroes, done, offset, length)

    def unmap(self, offset: int, length: int, done: Done) -> None:
        self._start(self.image.handle.aio_discard, done, offset, length)

    def flush(self, done: Done) -> None:
        self._start(self.image.handle.aio_flush, done)

    def close(self) -> None:
        self.image.close()

    def driver_json(self) -> dict:
        return {"rbd": {"pool_name": self.image.pool_name, "rbd_name": self.image.rbd_name, **self.image.owner_json}}


class RbdImage:
    """An open image and the client it was opened through. It holds the header watch that `rbd status` shows."""

    def __init__(
        self,
        pool_name: str,
        rbd_name: str,
        read_only: bool,
        cluster: Optional[Cluster],
        user_id: Optional[str],
        config: Optional[list[tuple[str, str]]],
    ) -> None:
        """Without a cluster the image gets a client of its own. Raises CephFailure."""
        self.pool_name, self.rbd_name, self.read_only = pool_name, rbd_name, read_only
        self.cluster = cluster
        self._own = None if cluster else _connect(user_id, config or [], read_default=config is None)
        self._ioctx = None
        try:
            # Looking up a pool that this client's map does not know makes it fetch the newest map first.
            self._ioctx = (cluster.client if cluster else self._own).open_ioctx(pool_name)
            self.handle = rbd.Image(self._ioctx, rbd_name, read_only=read_only)
        except (rados.Error, rbd.Error) as error:
            self._close_client()
            raise CephFailure(str(error)) from error
        if cluster:
            cluster.users += 1
            self.owner_json = cluster.bdev_json()
        else:
            self.owner_json = {
                key: value for key, value in (("user_id", user_id), ("config", dict(config or []))) if value
            }
        self._guard = threading.Lock()
        self._is_open = True

    def size(self) -> int:
        return self.handle.size()

    def size_if_open(self) -> Optional[int]:
        """For the size watcher's thread."""
        with self._guard:
            return self.handle.size() if self._is_open else None

    def resize(self, size: int) -> None:
        """Raises BdevError."""
        try:
            self.handle.resize(size)
        except rbd.Error as error:
            raise BdevError(abs(getattr(error, "errno", None) or errno.EIO)) from error

    def close(self) -> None:
        with self._guard:
            self._is_open = False
            self.handle.close()
        if self.cluster:
            self.cluster.users -= 1
        self._close_client()

    def _close_client(self) -> None:
        if self._ioctx is not None:
            self._ioctx.close()
        if self._own is not None:
            self._own.shutdown()


class SizeWatcher:
    """Notices that an image was resized elsewhere.

    librbd learns it through its header watch, but its Python binding has no callback for that, so the (cached)
    size is looked at each second. A thread does it: a look may have to read the header, and must not stop the
    loop while Ceph hangs.
    """

    def __init__(self, registry: BdevRegistry) -> None:
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._wake = threading.Event()
        self._started = False

    def start(self) -> None:
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name="rbd-size", daemon=True).start()

    def stop(self) -> None:
        self._wake.set()

    def _run(self) -> None:
        while not self._wake.wait(SIZE_CHECK_S):
            for bdev in self._registry:
                if isinstance(bdev, RbdBdev):
                    self._look(bdev)

    def _look(self, bdev: RbdBdev) -> None:
        try:
            size = bdev.image.size_if_open()
        except rbd.Error:
            return
        if size is not None and size // bdev.block_size != bdev.num_blocks:
            self._loop.call_soon_threadsafe(self._registry.resize, bdev, size // bdev.block_size)
