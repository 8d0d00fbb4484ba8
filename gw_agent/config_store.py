"""The stored configuration of a gateway group in RADOS: read, guarded change, and word that it changed.

One object (`configuration.object_name`) in the gateway group's pool holds everything as OMAP, under the same rules as
existing ceph-nvmeof gateways, with which the object may be shared:

* every change is one write operation that compares `omap_version` with what was read and raises it by one, so a writer
  that did not see the latest state changes nothing and is told so;
* an exclusive lock (`omap_file_lock`) is held around a change. It is a courtesy to existing gateways, which apply a
  change to their target before they store it; our own correctness stands on the comparison alone, so ours ends after
  5 s instead of their 20: a writer that died with it delays the next one by no more;
* after a change the object is notified; who missed that sees the new version at the next poll.

Promises: no call blocks the event loop, and each has a deadline. A missing object is an error and never an empty
configuration, because the gateways would then take everything down. Does not promise: that a write which timed out
was not done; read again before concluding anything.
"""
from __future__ import annotations

import asyncio
import errno
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Tuple

import rados

from gw_agent import configuration_reader, rados_watch
from gw_agent.configuration import VERSION_KEY, Configuration, object_name

log = logging.getLogger(__name__)

OPERATION_TIMEOUT_S = 5.0
NOTIFY_TIMEOUT_MS = 2000
LOCK_NAME = "omap_file_lock"
LOCK_COOKIE = "omap_file_cookie"
LOCK_DURATION_S = 5
LOCK_WAIT_S = 30.0
LOCK_RETRY_S = 0.25
CONFLICT_RETRIES = 10
PAGE_ENTRIES = 512
THREADS = 3
"""A reader, a writer, and a notification that may wait 2 s for a watcher that died."""


class StoreError(Exception):
    """The stored configuration cannot be read or changed; the text says why and what to do."""


class StoreUnavailable(StoreError):
    """RADOS gave no answer in time or an error. A change may or may not have been stored."""


class StoreBusy(StoreError):
    """Others kept changing the configuration, or kept the lock, for too long. Nothing was stored."""


@dataclass(frozen=True)
class Stored:
    """One version of the stored configuration."""

    version: int
    omap: Mapping[str, str]
    configuration: Configuration
    problems: Tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """What to write: entries to set and keys to remove."""

    sets: Mapping[str, str] = field(default_factory=dict)
    removes: FrozenSet[str] = frozenset()

    def inverse(self, before: Stored, after: Stored) -> "Change":
        """The change that takes this one back, leaving alone every key that somebody changed since.

        `before` is the version this change was made on, `after` the latest one.
        """
        untouched_sets = [key for key, value in self.sets.items() if after.omap.get(key) == value]
        restored = {key: before.omap[key] for key in untouched_sets if key in before.omap}
        restored.update({key: before.omap[key] for key in self.removes
                         if key in before.omap and key not in after.omap})
        return Change(restored, frozenset(key for key in untouched_sets if key not in before.omap))


class ConfigStore:
    """The configuration object of one gateway group. Make it with `await ConfigStore.open(...)`."""

    def __init__(self, cluster: "rados.Rados", ioctx: "rados.Ioctx", group: str,
                 loop: asyncio.AbstractEventLoop) -> None:
        self.cluster = cluster
        self.oid = object_name(group)
        self._ioctx = ioctx
        self._loop = loop
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="config-store")
        self._stored: Optional[Stored] = None
        self._changing = asyncio.Lock()
        self._changed = asyncio.Event()
        self._watch: Optional[int] = None
        self._watch_lost = True

    @classmethod
    async def open(cls, cluster: "rados.Rados", pool: str, group: str) -> "ConfigStore":
        """Opens the object, making it when the gateway group is new, and watches it. Raises StoreError.

        `cluster` is a connected handle; give it a `rados_osd_op_timeout`, so that its calls end by themselves too.
        """
        loop = asyncio.get_running_loop()
        try:
            ioctx = await asyncio.wait_for(loop.run_in_executor(None, cluster.open_ioctx, pool), OPERATION_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise StoreUnavailable(f"the mons did not answer for pool '{pool}' within {OPERATION_TIMEOUT_S:.0f} s; "
                                   "look at `ceph health`") from None
        except rados.ObjectNotFound:
            raise StoreError(f"there is no pool '{pool}'; create it, or correct the option pool in section "
                             "[ceph]") from None
        store = cls(cluster, ioctx, group, loop)
        await store._run(f"make object {store.oid}", store._create)
        await store._renew_watch()
        return store

    async def close(self) -> None:
        """Ends the watch and gives the threads back."""
        watch, self._watch = self._watch, None
        if watch is not None:
            try:
                await self._run("end the watch", rados_watch.end, watch)
            except StoreError as error:
                log.info("%s", error)
        self._threads.shutdown(wait=False)

    async def load(self) -> Stored:
        """The latest version; reads all entries only when the version moved. Raises StoreError."""
        if self._stored is not None and await self._run("read its version", self._read_version) == \
                self._stored.version:
            return self._stored
        for _ in range(CONFLICT_RETRIES):
            pages = await self._run("read its entries", self._read_pages)
            if pages is not None:
                self._stored = _stored(*pages)
                return self._stored
        raise StoreBusy(f"object {self.oid} changed under each of {CONFLICT_RETRIES} reads; try again")

    async def change(self, make: Callable[[Stored], Change]) -> Tuple[Stored, Stored]:
        """Stores `make(latest version)` as one atomic step; returns the versions before and after.

        `make` may be called again on a newer version when another writer was faster; what it raises is passed on
        and nothing is stored. Raises StoreBusy, StoreUnavailable.
        """
        async with self._changing:
            await self._take_lock()
            try:
                for _ in range(CONFLICT_RETRIES):
                    before = await self.load()
                    after = await self._write(before, make(before))
                    if after is not None:
                        self._stored = after
                        return before, after
            finally:
                await self._give_lock_back()
        raise StoreBusy(f"object {self.oid} was changed by others {CONFLICT_RETRIES} times while this change was "
                        "made; try again")

    async def wait_for_change(self, timeout_s: float) -> bool:
        """True as soon as somebody notified a change, False after `timeout_s`; both are a reason to `load`.

        Renews a watch that was lost; while that fails, the timeout is the poll that replaces it.
        """
        if self._watch_lost:
            try:
                await self._renew_watch()
            except StoreError as error:
                log.warning("changes are found by polling only: %s", error)
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        self._changed.clear()
        return True

    async def _write(self, before: Stored, change: Change) -> Optional[Stored]:
        """The version after the change, or None when `before` is not the latest version any more."""
        if not change.sets and not change.removes:
            return before
        try:
            written = await self._run("change it", self._compare_and_write, before.version, change)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}; whether the change was stored is not known, so list before you repeat "
                                   "it") from None
        if not written:
            log.info("object %s moved past version %d while a change was made; making it again", self.oid,
                     before.version)
            return None
        omap = {key: value for key, value in before.omap.items() if key not in change.removes}
        omap.update(change.sets, **{VERSION_KEY: str(before.version + 1)})
        notify = self._loop.run_in_executor(self._threads, self._notify)
        notify.add_done_callback(_log_failure)
        return _stored(before.version + 1, omap)

    async def _take_lock(self) -> None:
        deadline = self._loop.time() + LOCK_WAIT_S
        while not await self._run("take its lock", self._try_lock):
            if self._loop.time() > deadline:
                raise StoreBusy(f"another gateway holds the lock on object {self.oid} for more than "
                                f"{LOCK_WAIT_S:.0f} s; try again, or see who with `rados lock info`")
            await asyncio.sleep(LOCK_RETRY_S)

    async def _give_lock_back(self) -> None:
        try:
            await self._run("give its lock back", self._unlock)
        except StoreUnavailable as error:
            log.warning("the lock stays for at most %d s: %s", LOCK_DURATION_S, error)

    async def _renew_watch(self) -> None:
        old, self._watch, self._watch_lost = self._watch, None, False
        try:
            if old is not None:
                await self._run("end a lost watch", rados_watch.end, old)
            self._watch = await self._run("watch it", rados_watch.begin, self._ioctx, self.oid, self._on_notify,
                                          self._on_watch_error)
        except StoreError:
            self._watch_lost = True
            raise

    async def _run(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """A blocking RADOS call in a thread, with a deadline."""
        try:
            return await asyncio.wait_for(self._loop.run_in_executor(self._threads, call, *args),
                                          OPERATION_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise StoreUnavailable(f"RADOS did not {what} (object {self.oid}) within {OPERATION_TIMEOUT_S:.0f} s; "
                                   "look at `ceph health`") from None
        except rados.ObjectNotFound:
            raise StoreUnavailable(f"object {self.oid} is gone; the configuration that runs is kept. Restore the "
                                   "object, or restart the gateways to begin with an empty one") from None
        except rados.Error as error:
            raise StoreUnavailable(f"RADOS could not {what} (object {self.oid}): {error}; look at `ceph health`, "
                                   "and at this user's caps") from None

    # What follows runs in the threads.

    def _create(self) -> None:
        with rados.WriteOpCtx() as operation:
            operation.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
            self._ioctx.set_omap(operation, (VERSION_KEY,), ("1",))
            try:
                self._ioctx.operate_write_op(operation, self.oid)
            except rados.ObjectExists:
                pass

    def _read_version(self) -> int:
        return self._read_page(None)[0]

    def _read_pages(self) -> Optional[Tuple[int, Dict[str, str]]]:
        """All entries of one version, or None when the version moved between two pages."""
        omap: Dict[str, str] = {}
        version: Optional[int] = None
        while True:
            found, page = self._read_page(max(omap) if omap else "")
            if version not in (None, found):
                return None
            version = found
            if not page:
                return version, omap
            omap.update(page)

    def _read_page(self, start_after: Optional[str]) -> Tuple[int, List[Tuple[str, str]]]:
        """The version, and with it (in one operation) the entries after a key; None asks for the version only."""
        with rados.ReadOpCtx() as operation:
            by_key, _ = self._ioctx.get_omap_vals_by_keys(operation, (VERSION_KEY,))
            page: Any = ()
            if start_after is not None:
                page, _ = self._ioctx.get_omap_vals(operation, start_after, "", PAGE_ENTRIES)
            self._ioctx.operate_read_op(operation, self.oid)
            found = dict(by_key).get(VERSION_KEY) or b""
            try:
                entries = [(key, (value or b"").decode(errors="replace")) for key, value in page]
            except UnicodeDecodeError as error:
                raise rados.Error(f"one of its keys is not UTF-8 text ({error}); find it with `rados listomapkeys`, "
                                  "and remove it") from None
        if not found.isdigit():
            raise rados.Error(f"its {VERSION_KEY} is {found!r}, expected a number")
        return int(found), entries

    def _compare_and_write(self, version: int, change: Change) -> bool:
        sets = {**change.sets, VERSION_KEY: str(version + 1)}
        with rados.WriteOpCtx() as operation:
            operation.omap_cmp(VERSION_KEY, str(version))
            self._ioctx.set_omap(operation, tuple(sets), tuple(sets.values()))
            if change.removes:
                self._ioctx.remove_omap_keys(operation, tuple(change.removes))
            try:
                self._ioctx.operate_write_op(operation, self.oid)
            except rados.OSError as error:
                if error.errno == errno.ECANCELED:
                    return False
                raise
        return True

    def _notify(self) -> None:
        self._ioctx.notify(self.oid, timeout_ms=NOTIFY_TIMEOUT_MS)

    def _try_lock(self) -> bool:
        try:
            self._ioctx.lock_exclusive(self.oid, LOCK_NAME, LOCK_COOKIE, "configuration change", LOCK_DURATION_S)
        except rados.ObjectBusy:
            return False
        except rados.ObjectExists:
            log.info("the lock on %s from an earlier change was not given back; it is used again", self.oid)
        return True

    def _unlock(self) -> None:
        try:
            self._ioctx.unlock(self.oid, LOCK_NAME, LOCK_COOKIE)
        except rados.ObjectNotFound:
            log.warning("the lock on %s ended before the change did", self.oid)

    def _on_notify(self, notify_id: int, notifier_id: int, watch_id: int, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    def _on_watch_error(self, watch_id: int, *error: int) -> None:
        self._watch_lost = True
        self._loop.call_soon_threadsafe(self._changed.set)


def _stored(version: int, omap: Mapping[str, str]) -> Stored:
    parsed, problems = configuration_reader.parse(omap)
    return Stored(version, omap, parsed, tuple(problems))


def _log_failure(notify: "asyncio.Future[None]") -> None:
    if not notify.cancelled() and notify.exception() is not None:
        log.info("other gateways see the change at their next poll: the notification failed: %s", notify.exception())
