"""Where the agents of a gateway group say which namespaces their targets hold for a move (`moves.py`).

An entry for each gateway (`gateway_entries.py`): the instance, and what it holds. It is not part of the configuration,
because saying something changes nothing for others but the one who completes a move; and not of the gateway map, so
that a move costs no commits and needs no mgr. Watched, so that each word is heard at once. Promises: a word that cannot
be read counts as none. Nothing is written while no namespace moves.
"""
from __future__ import annotations

import asyncio
import json
import logging
from typing import Callable, Dict, Optional

import rados

from gw_agent import rados_watch
from gw_agent.config_store import StoreUnavailable
from gw_agent.gateway_entries import GatewayEntries
from gw_agent.moves import Held, Said
from nvmeof_ha_core.model import Instance

log = logging.getLogger(__name__)

NOTIFY_TIMEOUT_MS = 1000


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
        self._entries = GatewayEntries(ioctx, object_name(group))
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._watch: Optional[int] = None
        self._lost = True

    async def watch(self) -> None:
        """Begins to watch, or again when the watch was lost. Raises StoreUnavailable."""
        if self._lost:
            old, self._watch, self._lost = self._watch, None, False
            try:
                if old is not None:
                    await self._entries.run("end a lost watch of", rados_watch.end, old)
                self._watch = await self._entries.run("watch", self._begin_watch)
            except StoreUnavailable:
                self._lost = True
                raise

    async def say(self, gateway_id: str, said: Said) -> None:
        """Replaces what this gateway said before. Raises StoreUnavailable."""
        await self._entries.write(gateway_id, encode(said))
        self._entries.in_background(self._notify)

    async def read(self) -> Dict[str, Said]:
        """What was said, by gateway id. Raises StoreUnavailable."""
        words = {key: decode(text) for key, text in (await self._entries.read()).items()}
        return {key: said for key, said in words.items() if said is not None}

    # What follows runs in threads.

    def _begin_watch(self) -> int:
        ioctx, oid = self._entries.ioctx, self._entries.oid
        with rados.WriteOpCtx() as operation:
            operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
            ioctx.operate_write_op(operation, oid)
        return rados_watch.begin(ioctx, oid, self._on_notify, self._on_watch_error)

    def _notify(self) -> None:
        try:
            self._entries.ioctx.notify(self._entries.oid, timeout_ms=NOTIFY_TIMEOUT_MS)
        except rados.Error as error:
            log.info("what was said about a move is seen within a second: the notification failed: %s", error)

    def _on_notify(self, notify_id: int, notifier_id: int, watch_id: int, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._heard)

    def _on_watch_error(self, watch_id: int, *error: int) -> None:
        self._lost = True
