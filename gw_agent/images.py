"""RBD images as far as the API needs them: does one exist, how large is it, make one, take a new one back.

Promises: no call blocks the event loop, and each has a deadline. Does not promise: that an image that exists can be
opened by the target, whose user may be another one.
"""
from __future__ import annotations

import asyncio
import errno
from typing import Any, Callable, Optional

import rados
import rbd

from gw_agent.changes import Refused

CALL_TIMEOUT_S = 10.0


class Images:
    """Images of any pool of one cluster. Every call raises Refused."""

    def __init__(self, cluster: "rados.Rados") -> None:
        self._cluster = cluster

    async def size(self, pool: str, image: str) -> Optional[int]:
        """Bytes, or None when there is no such image."""
        return await self._run(pool, image, _size)

    async def create(self, pool: str, image: str, size: int) -> None:
        """Makes an image of `size` bytes with the cluster's default features."""
        await self._run(pool, image, lambda ioctx, name: rbd.RBD().create(ioctx, name, size))

    async def remove(self, pool: str, image: str) -> None:
        """For an image that this gateway made a moment ago and nothing used yet; RBD refuses if it is open."""
        await self._run(pool, image, lambda ioctx, name: rbd.RBD().remove(ioctx, name))

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
        except (rados.Error, rbd.Error) as error:
            raise Refused(getattr(error, "errno", None) or errno.EIO, f"RBD cannot use image {pool}/{image}: {error}; "
                          "may this gateway's user use the pool?") from None


def _size(ioctx: "rados.Ioctx", name: str) -> Optional[int]:
    try:
        with rbd.Image(ioctx, name, read_only=True) as image:
            return int(image.size())
    except rbd.ImageNotFound:
        return None
