"""Where the agents of a gateway group say which namespaces their targets hold for a move (`moves.py`).

One RADOS object beside the seats, one omap key for each gateway: the instance, and what it holds. It is not part of the
configuration, because saying something changes nothing for others but the one who completes a move; and not of the
gateway map, so that a move costs no commits and needs no mgr. Watched, so that each word is heard at once. Promises: no
call blocks the event loop, each has a deadline. A word that cannot be read counts as none. Nothing is written while no
namespace moves.
"""
from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Optional

import rados

from gw_agent import rados_watch
from gw_agent.config_store import StoreUnavailable
from gw_agent.moves import Held, Said
from nvmeof_ha_core.model import Instance

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
NOTIFY_TIMEOUT_MS = 1000
MOST_WORDS = 1024
THREADS = 3


def object_name(group: str) -> str:
    return f"nvmeof_ha.{group}.moves"


def encode(said: Said) -> str:
    return json.dumps({"instance": said.instance._asdict(), "held": [held._asdict() for held in sorted(said.held)]})


def decode(text: str) -> Optional[Said]:
    """None: not what an agent writes."""
    try:
        value = json.loads(text)
        instance, held = Instance(**value["instance"]), frozenset(Held(**one) for one in value["held"])
    except (ValueError, KeyError, TypeError):
        return None
    return Said(instance, held)


class MoveWords:
    """Of one gateway group. `heard`: called in the loop when somebody said something."""

    def __init__(self, ioctx: "rados.Ioctx", group: str, heard: Callable[[], None]) -> None:
        self._ioctx = ioctx
        self._oid = object_name(group)
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="move-words")
        self._watch: Optional[int] = None
        self._lost = True

    async def watch(self) -> None:
        """Begins to watch, or again when the watch was lost. Raises StoreUnavailable."""
        if self._lost:
            old, self._watch, self._lost = self._watch, None, False
            try:
                if old is not None:
                    await self._run("end a lost watch of", rados_watch.end, old)
                self._watch = await self._run("watch", self._begin_watch)
            except StoreUnavailable:
                self._lost = True
                raise

    async def say(self, gateway_id: str, said: Said) -> None:
        """Replaces what this gateway said before. Raises StoreUnavailable."""
        await self._run("write", self._write, gateway_id, encode(said))
        self._loop.run_in_executor(self._threads, self._notify)

    async def read(self) -> Dict[str, Said]:
        """What was said, by gateway id. Raises StoreUnavailable."""
        words = {key: decode(text) for key, text in (await self._run("read", self._read)).items()}
        return {key: said for key, said in words.items() if said is not None}

    async def _run(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return await asyncio.wait_for(self._loop.run_in_executor(self._threads, call, *args), TIMEOUT_S)
        except asyncio.TimeoutError:
            raise StoreUnavailable(f"RADOS did not {what} object {self._oid} within {TIMEOUT_S:.0f} s; look at "
                                   "`ceph health`") from None
        except rados.Error as error:
            raise StoreUnavailable(f"RADOS could not {what} object {self._oid}: {error}; look at `ceph health`, and at "
                                   "this user's caps") from None

    # What follows runs in the threads.

    def _begin_watch(self) -> int:
        with rados.WriteOpCtx() as operation:
            operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
            self._ioctx.operate_write_op(operation, self._oid)
        return rados_watch.begin(self._ioctx, self._oid, self._on_notify, self._on_watch_error)

    def _write(self, gateway_id: str, text: str) -> None:
        with rados.WriteOpCtx() as operation:
            self._ioctx.set_omap(operation, (gateway_id,), (text,))
            self._ioctx.operate_write_op(operation, self._oid)

    def _read(self) -> Dict[str, str]:
        with rados.ReadOpCtx() as operation:
            words, _ = self._ioctx.get_omap_vals(operation, "", "", MOST_WORDS)
            self._ioctx.operate_read_op(operation, self._oid)
            return {key: value.decode(errors="replace") for key, value in words}

    def _notify(self) -> None:
        try:
            self._ioctx.notify(self._oid, timeout_ms=NOTIFY_TIMEOUT_MS)
        except rados.Error as error:
            log.info("what was said about a move is seen within a second: the notification failed: %s", error)

    def _on_notify(self, notify_id: int, notifier_id: int, watch_id: int, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._heard)

    def _on_watch_error(self, watch_id: int, *error: int) -> None:
        self._lost = True
