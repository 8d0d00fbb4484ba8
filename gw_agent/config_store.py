"""The stored configuration of a gateway group in RADOS: read, guarded change, and word that it changed.

One object (`configuration.object_name`) in the gateway group's pool holds everything as OMAP, under the same rules as
existing ceph-nvmeof gateways, with which the object may be shared:

* every change is one write operation that compares `omap_version` with what was read and raises it by one, so a writer
  that did not see the latest state changes nothing and is told so;
* an exclusive lock (`omap_file_lock`) is held around a change. It is a courtesy to existing gateways, which apply a
  change to their target before they store it; our own correctness stands on the comparison alone, so ours ends after
  5 s instead of their 20: a writer that died with it delays the next one by no more;
* after a change the object is notified; who missed that sees the new version at the next poll;
* a change also says which keys it touched (`config_journal.py`), so that others read those only.

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
from typing import Any, Callable, Collection, Dict, FrozenSet, Mapping, Optional, Tuple

import rados

from gw_agent import config_journal, configuration_reader, rados_watch
from gw_agent.configuration import VERSION_KEY, Configuration, object_name
from gw_agent.configuration_reader import Problems

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
ABOUT_CHANGES = frozenset({VERSION_KEY, config_journal.KEY})
"""Entries that say which changes there were, and nothing of what is configured."""
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
    problem_of: Problems = field(default_factory=dict)

    @classmethod
    def read(cls, version: int, omap: Mapping[str, str]) -> "Stored":
        return cls(version, omap, *configuration_reader.parse(omap))

    def changed(self, version: int, sets: Mapping[str, str], removes: Collection[str]) -> "Stored":
        """A later version, of which this is all that is other."""
        omap = {**self.omap, **sets, VERSION_KEY: str(version)}
        for key in removes:
            omap.pop(key, None)
        return Stored(version, omap, *configuration_reader.parse_again(
            omap, {*sets, *removes} - {VERSION_KEY}, self.configuration, self.problem_of))


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
        self._giving_back: Optional["asyncio.Task[None]"] = None
        """The lock of the last change. Whoever asked for that need not wait for it."""
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
        await self.lock_given_back()
        watch, self._watch = self._watch, None
        if watch is not None:
            try:
                await self._run("end the watch", rados_watch.end, watch)
            except StoreError as error:
                log.info("%s", error)
        self._threads.shutdown(wait=False)

    async def load(self) -> Stored:
        """The latest version; reads what changed since the last time. Raises StoreError."""
        for _ in range(CONFLICT_RETRIES):
            found = await (self._run("read its entries", self._read_all) if self._stored is None
                           else self._run("read what changed", self._read_on, self._stored))
            if found is not None:
                self._stored = found
                return found
        raise StoreBusy(f"object {self.oid} changed under each of {CONFLICT_RETRIES} reads; try again")

    async def change(self, make: Callable[[Stored], Change]) -> Tuple[Stored, Stored]:
        """Stores `make(latest version)` as one atomic step; returns the versions before and after.

        `make` may be called again on a newer version when another writer was faster; what it raises is passed on
        and nothing is stored. Raises StoreBusy, StoreUnavailable.
        """
        async with self._changing:
            await self.lock_given_back()
            await self._take_lock()
            try:
                for _ in range(CONFLICT_RETRIES):
                    before = await self.load()
                    after = await self._write(before, make(before))
                    if after is not None:
                        self._stored = after
                        return before, after
            finally:
                self._giving_back = asyncio.ensure_future(self._give_lock_back())
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
            written = await self._run("change it", self._compare_and_write, before, change)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{error}; whether the change was stored is not known, so list before you repeat "
                                   "it") from None
        if written is None:
            log.info("object %s moved past version %d while a change was made; making it again", self.oid,
                     before.version)
            return None
        notify = self._loop.run_in_executor(self._threads, self._notify)
        notify.add_done_callback(_log_failure)
        return before.changed(before.version + 1, written, change.removes)

    async def _take_lock(self) -> None:
        deadline = self._loop.time() + LOCK_WAIT_S
        while not await self._run("take its lock", self._try_lock):
            if self._loop.time() > deadline:
                raise StoreBusy(f"another gateway holds the lock on object {self.oid} for more than "
                                f"{LOCK_WAIT_S:.0f} s; try again, or see who with `rados lock info`")
            await asyncio.sleep(LOCK_RETRY_S)

    async def lock_given_back(self) -> None:
        """Returns when nothing is left of the last change."""
        if self._giving_back is not None:
            await asyncio.wait([self._giving_back])

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

    def _read_on(self, known: Stored) -> Optional[Stored]:
        """The latest version, or None when it moved while it was read."""
        found = self._read_keys((VERSION_KEY, config_journal.KEY))
        version = _version(found)
        if version == known.version:
            return known
        keys = config_journal.touched(found.get(config_journal.KEY, ""), known.version, version)
        if keys is None:
            return self._read_all()
        values = self._read_keys((VERSION_KEY, config_journal.KEY, *keys))
        return known.changed(version, values, keys - values.keys()) if _version(values) == version else None

    def _read_all(self) -> Optional[Stored]:
        """In as many pages as it takes; None when the version moved between two."""
        omap: Dict[str, str] = {}
        version: Optional[int] = None
        while True:
            found, page = self._read_page(max(omap) if omap else "")
            if version not in (None, found):
                return None
            version = found
            if not page:
                return Stored.read(version, omap)
            omap.update(page)

    def _read_keys(self, keys: Collection[str]) -> Dict[str, str]:
        """What there is of these entries, in one operation."""
        with rados.ReadOpCtx() as operation:
            entries, _ = self._ioctx.get_omap_vals_by_keys(operation, tuple(keys))
            self._ioctx.operate_read_op(operation, self.oid)
            return _texts(entries)

    def _read_page(self, start_after: str) -> Tuple[int, Dict[str, str]]:
        """The version, and with it (in one operation) the entries after a key."""
        with rados.ReadOpCtx() as operation:
            by_key, _ = self._ioctx.get_omap_vals_by_keys(operation, (VERSION_KEY,))
            page, _ = self._ioctx.get_omap_vals(operation, start_after, "", PAGE_ENTRIES)
            self._ioctx.operate_read_op(operation, self.oid)
            return _version(_texts(by_key)), _texts(page)

    def _compare_and_write(self, before: Stored, change: Change) -> Optional[Dict[str, str]]:
        """All that was set; None: nothing, because this is not the latest version any more."""
        version = before.version + 1
        sets = {**change.sets, VERSION_KEY: str(version), config_journal.KEY: config_journal.with_change(
            before.omap.get(config_journal.KEY, ""), version, change.sets.keys() | change.removes)}
        with rados.WriteOpCtx() as operation:
            operation.omap_cmp(VERSION_KEY, str(before.version))
            self._ioctx.set_omap(operation, tuple(sets), tuple(sets.values()))
            if change.removes:
                self._ioctx.remove_omap_keys(operation, tuple(change.removes))
            try:
                self._ioctx.operate_write_op(operation, self.oid)
            except rados.OSError as error:
                if error.errno == errno.ECANCELED:
                    return None
                raise
        return sets

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


def _texts(entries: Any) -> Dict[str, str]:
    try:
        return {key: (value or b"").decode(errors="replace") for key, value in entries}
    except UnicodeDecodeError as error:
        raise rados.Error(f"one of its keys is not UTF-8 text ({error}); find it with `rados listomapkeys`, and remove "
                          "it") from None


def _version(entries: Mapping[str, str]) -> int:
    found = entries.get(VERSION_KEY, "")
    if not (found.isascii() and found.isdigit()):
        raise rados.Error(f"its {VERSION_KEY} is {found.encode()!r}, expected a number")
    return int(found)


def _log_failure(notify: "asyncio.Future[None]") -> None:
    if not notify.cancelled() and notify.exception() is not None:
        log.info("other gateways see the change at their next poll: the notification failed: %s", notify.exception())
