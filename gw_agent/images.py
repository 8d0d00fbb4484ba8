"""RBD images as far as the API needs them: does one exist, how large is it, who has it open; make, enlarge, trash one.

Promises: no call blocks the event loop, and each has a deadline. An image that somebody has open is never removed or
moved to the trash. Does not promise: that an image which exists can be opened by the target, whose user may be another
one; nor that nobody opens it a moment after it was looked at.
"""
from __future__ import annotations

import asyncio
import errno
from typing import Any, Callable, FrozenSet, NamedTuple, Optional

import rados
import rbd

from gw_agent.changes import Refused

CALL_TIMEOUT_S = 10.0
LIMIT_BYTES = 1 << 60
"""Far above what a cluster holds, and far below what 64 bits of bytes can say."""


class Look(NamedTuple):
    """How an image is. `watchers`: RADOS addresses (`ip:0/nonce`) of those that have it open; a dead one is listed for
    up to 30 s."""

    size: int
    watchers: FrozenSet[str]
    image_id: str


class Images:
    """Images of any pool of one cluster. Every call raises Refused."""

    def __init__(self, cluster: "rados.Rados") -> None:
        self._cluster = cluster

    async def look(self, pool: str, image: str) -> Optional[Look]:
        """None when there is no such image."""
        return await self._run(pool, image, _look)

    async def create(self, pool: str, image: str, size: int) -> None:
        """Makes an image of `size` bytes with the cluster's default features."""
        await self._run(pool, image, lambda ioctx, name: rbd.RBD().create(ioctx, name, size))

    async def resize(self, pool: str, image: str, size: int) -> None:
        """Makes it larger. Whoever has it open is told by RBD."""
        await self._run(pool, image, lambda ioctx, name: _resize(ioctx, name, size))

    async def remove(self, pool: str, image: str) -> None:
        """For an image that this gateway made a moment ago and nothing used yet; RBD refuses if it is open."""
        await self._run(pool, image, lambda ioctx, name: rbd.RBD().remove(ioctx, name))

    async def trash(self, pool: str, image: str, image_id: str) -> None:
        """Moves it to the pool's trash, from where `rbd trash restore` gets it back; refused with EBUSY while it is
        open. Nothing to do when it is gone, or when the name is another image's now."""
        await self._run(pool, image, lambda ioctx, name: _trash(ioctx, name, image_id))

    async def _run(self, pool: str, image: str, use: Callable[["rados.Ioctx", str], Any]) -> Any:
        def in_thread() -> Any:
            with self._cluster.open_ioctx(pool) as ioctx:
                return use(ioctx, image)
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, in_thread), CALL_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise Refused(errno.ETIMEDOUT, f"RBD did not answer about image {pool}/{image} within "
                          f"{CALL_TIMEOUT_S:.0f} s; look at `ceph health`") from None
        except rados.ObjectNotFound:
            raise Refused(errno.ENODEV, f"there is no pool '{pool}'; `ceph osd pool ls` shows those that there "
                          "are") from None
        except rbd.ImageNotFound:
            raise Refused(errno.ENODEV, f"there is no image {pool}/{image}") from None
        except rbd.ImageBusy as error:
            raise Refused(errno.EBUSY, f"image {pool}/{image} is open: {error}") from None
        except (rados.Error, rbd.Error) as error:
            raise Refused(getattr(error, "errno", None) or errno.EIO, f"RBD cannot use image {pool}/{image}: {error}; "
                          "may this gateway's user use the pool?") from None


def _look(ioctx: "rados.Ioctx", name: str) -> Optional[Look]:
    """Reading leaves no watch of its own."""
    try:
        with rbd.Image(ioctx, name, read_only=True) as image:
            return Look(int(image.size()), frozenset(watcher["addr"] for watcher in image.watchers_list()),
                        str(image.id()))
    except rbd.ImageNotFound:
        return None


def _resize(ioctx: "rados.Ioctx", name: str, size: int) -> None:
    with rbd.Image(ioctx, name) as image:
        image.resize(size, allow_shrink=False)


def _trash(ioctx: "rados.Ioctx", name: str, image_id: str) -> None:
    """An image whose move was cut short cannot be opened any more; moving it again ends that."""
    found = _look(ioctx, name)
    if found is not None and found.image_id != image_id:
        return
    if found is not None and found.watchers:
        raise Refused(errno.EBUSY, f"image {name} is open at {', '.join(sorted(found.watchers))}")
    try:
        rbd.RBD().trash_move(ioctx, name, 0)
    except rbd.ImageNotFound:
        pass
