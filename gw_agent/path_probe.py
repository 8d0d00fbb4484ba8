"""Tries whether this host's own RADOS client is served in an object's placement group, without changing the object.

Two writes: one of a small object of the gateway's own, put into the same placement group by its locator key, which
shows that the acting OSDs take writes; and one on the very object, which the OSD must hold ready for writing before it
compares a guard that never holds. Promises: the object is never changed, nor made; one try at a time for each place;
no call on the event loop. The object of its own is removed again; one that could not be stays, and is harmless.
"""
from __future__ import annotations

import asyncio
import errno
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Dict, Iterator, Tuple

import rados

from gw_agent.io_progress import PROMPT_S, Place

log = logging.getLogger(__name__)

THREADS = 8
"""A try that hangs keeps one until the client gives it up."""
GUARD = "nvmeof_ha.never"
ANSWERS = (errno.ECANCELED, errno.ENOENT, errno.EOPNOTSUPP)
"""To a write whose guard does not hold: so it is; there is no such object; the pool has no omap to compare. Other
errors show nothing: time-outs, and what is refused before the placement group is looked at."""


class PathProbe:
    """Of one gateway."""

    def __init__(self, client: "rados.Rados", gateway: str) -> None:
        self._client = client
        self._name = f"nvmeof_ha.{gateway}.path"
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="path-probe")
        self._trying: Dict[Place, Tuple["asyncio.Future[bool]", float]] = {}

    async def prompt(self, place: Place) -> bool:
        """Whether the OSDs answered within `PROMPT_S`; who asks while a try is under way gets the answer to that."""
        loop = asyncio.get_running_loop()
        if place not in self._trying:
            trying = loop.run_in_executor(self._threads, self._try, place)
            self._trying[place] = trying, loop.time()
            trying.add_done_callback(lambda _: self._trying.pop(place, None))
        trying, since_s = self._trying[place]
        done, _ = await asyncio.wait([trying], timeout=max(0.0, since_s + PROMPT_S - loop.time()))
        return bool(done) and trying.result()

    def _try(self, place: Place) -> bool:
        try:
            with self._opened(place, place.key or place.name) as ioctx:
                ioctx.write_full(self._name, b"")
                ioctx.remove_object(self._name)
            with self._opened(place, place.key) as ioctx, rados.WriteOpCtx() as operation:
                operation.omap_cmp(GUARD, GUARD, rados.LIBRADOS_CMPXATTR_OP_EQ)
                operation.rm_xattr(GUARD)
                ioctx.operate_write_op(operation, place.name)
        except rados.Error as error:
            if getattr(error, "errno", None) in ANSWERS:
                return True
            log.info("this host's own client was not served for %s: %s", place.name, error)
            return False
        raise AssertionError(f"the guard {GUARD} held on {place}")

    @contextmanager
    def _opened(self, place: Place, key: str) -> Iterator["rados.Ioctx"]:
        with self._client.open_ioctx2(place.pool_id) as ioctx:
            ioctx.set_namespace(place.namespace)
            ioctx.set_locator_key(key)
            yield ioctx
