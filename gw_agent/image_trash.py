"""Moves images to the trash as the stored orders say, whoever was asked for it and whether that gateway still lives.

Promises: an order ends once its image is in the trash or gone, and never touches an image that a namespace has, that
somebody has open, or that only has the same name. `carry_out` gives up after `WAIT_S` and says so to who asked; what an
agent left behind when it died, or left to itself, is tried until it is done.
"""
from __future__ import annotations

import asyncio
import errno
import logging
from contextlib import asynccontextmanager
from typing import AsyncIterator, Callable, Dict, Optional, Set

from gw_agent import changes_namespaces, trash_orders
from gw_agent.changes import Refused
from gw_agent.config_store import Change, ConfigStore, Stored, StoreError
from gw_agent.images import Images
from gw_agent.trash_orders import Order

log = logging.getLogger(__name__)

WAIT_S = 15.0
"""For the other gateways to close the image of a deleted namespace; they follow within a second."""
LOOK_AGAIN_S = 0.25
LOOK_S = 1.0
ABANDONED_S = 30.0
"""Who was asked has ended its order by then, or died."""


class ImageTrash:
    """Of one agent; `gateway`: its id."""

    def __init__(self, store: ConfigStore, images: Images, gateway: str) -> None:
        self._store = store
        self._images = images
        self._gateway = gateway
        self._asked: Set[Order] = set()
        self._seen_s: Dict[Order, float] = {}
        self._told: Set[Order] = set()

    @asynccontextmanager
    async def asked(self, order: Order) -> AsyncIterator[None]:
        """Somebody stores it and waits for `carry_out`. If it is still stored at the end, it goes on by itself."""
        self._asked.add(order)
        try:
            yield
        finally:
            self._asked.discard(order)

    async def carry_out(self, order: Order) -> None:
        """Once it is stored. Raises Refused, with the image left and the order gone; StoreError."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + WAIT_S
        while True:
            try:
                return await self._try(order)
            except Refused as error:
                if error.code != errno.EBUSY or loop.time() > end_s:
                    await self._end(order)
                    image = f"{order.pool}/{order.image}"
                    raise Refused(error.code, f"the namespace is deleted, but its image {image} is not in the trash: "
                                  f"{error}. Move it there with: rbd trash mv {image}", True) from None
            await asyncio.sleep(LOOK_AGAIN_S)

    async def serve(self, held: Callable[[], Optional[Stored]]) -> None:
        """Never returns. `held`: the configuration as this gateway knows it."""
        while True:
            await asyncio.sleep(LOOK_S)
            stored = held()
            found = [] if stored is None else trash_orders.stored_orders(stored.omap)
            now_s = asyncio.get_running_loop().time()
            self._seen_s = {order: self._seen_s.get(order, now_s) for order in found}
            for order in found:
                if order not in self._asked and (order.gateway == self._gateway
                                                 or now_s - self._seen_s[order] > ABANDONED_S):
                    await self._go_on(order, now_s - self._seen_s[order] > WAIT_S)

    async def _go_on(self, order: Order, late: bool) -> None:
        try:
            await self._try(order)
            log.info("image %s/%s of a namespace that was deleted before is in the trash", order.pool, order.image)
        except StoreError as error:
            log.info("image %s/%s goes to the trash later: %s", order.pool, order.image, error)
        except Refused as error:
            if late and order not in self._told:
                self._told.add(order)
                log.warning("image %s/%s of a deleted namespace is not in the trash yet: %s", order.pool, order.image,
                            error)

    async def _try(self, order: Order) -> None:
        users = changes_namespaces.users_of_image(await self._store.load(), order.pool, order.image)
        if users:   # an existing gateway, which does not know of orders, may have added it
            raise Refused(errno.EEXIST, f"namespace {users[0][1]} of {users[0][0]} has it now")
        await self._images.trash(order.pool, order.image, order.image_id)
        await self._end(order)

    async def _end(self, order: Order) -> None:
        await self._store.change(lambda now: Change(removes=frozenset({order.key} & now.omap.keys())))
