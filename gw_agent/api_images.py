"""The images behind namespaces: found or made for a new namespace, moved to the trash after the last one.

Promises: an image that somebody else has open is not given to a namespace unless that is forced, and never goes to the
trash; nor does one that another namespace has. Does not promise: that nobody opens an image between the look and the
deed; RBD itself then refuses to move it.
"""
from __future__ import annotations

import asyncio
import errno
import logging
from typing import Optional

from gw_agent import changes_namespaces, configuration, moves, trash_orders
from gw_agent.api_frame import ApiFrame
from gw_agent.changes import NamespaceRequest, Refused
from gw_agent.config_store import Change
from gw_agent.configuration import Namespace
from gw_agent.images import LIMIT_BYTES, Look
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.trash_orders import Order

log = logging.getLogger(__name__)

CLOSE_WAIT_S = 8.0
"""For the other gateways to close the image of a deleted namespace, which is to be served again; they follow within a
second. Long enough for a gateway that died to be fenced, too."""
LOOK_AGAIN_S = 0.25


class ImageKeeping(ApiFrame):
    """What the verbs of namespaces do with images."""

    async def provide_image(self, asked: NamespaceRequest, request: pb.namespace_add_req) -> bool:
        """Makes the image when that was asked for; True when it was made. Raises Refused."""
        if request.create_image and not request.size:
            raise Refused(errno.EINVAL, "a new image needs a size")
        if request.size and not request.create_image:
            raise Refused(errno.EINVAL, "a size is for a new image only; ask for the image to be created too")
        block_size = asked.block_size or configuration.DEFAULT_BLOCK_SIZE
        if request.size > LIMIT_BYTES or request.size % block_size:
            raise Refused(errno.EINVAL, f"size {request.size} is not a multiple of the block size {block_size}, or "
                          f"above {LIMIT_BYTES}")
        if request.trash_image and not request.create_image:
            raise Refused(errno.EINVAL, "only an image that is created for its namespace can be asked to go to the "
                          "trash with it; for this one, say so once the namespace is there (set_rbd_trash_image)")
        found = await self.images.look(asked.pool, asked.image)
        if found is None:
            if not request.create_image:
                raise Refused(errno.ENODEV, f"there is no image {asked.pool}/{asked.image}; make it with `rbd "
                              "create`, or ask for it to be created")
            await self.images.create(asked.pool, asked.image, request.size)
            return True
        if request.create_image and found.size != request.size:
            raise Refused(errno.EEXIST, f"image {asked.pool}/{asked.image} exists with {found.size} bytes, asked for a "
                          f"new one of {request.size}")
        if not asked.force:
            await self._wait_until_closed(asked, found)
        # What was fenced may have served it: no gateway serves it from now on without having seen that OSD map.
        fenced = self.local.fences().osd_epoch
        if moves.raised_fence((await self.store.load()).omap, fenced):
            await self.store.change(lambda now: Change(moves.raised_fence(now.omap, fenced)))
        return False

    async def _wait_until_closed(self, asked: NamespaceRequest, found: Look) -> None:
        """No namespace has the image, so a gateway of this group that has it open did not follow the deletion of one
        yet, or is over; what it still writes must not land on top of what the next gateway writes. Raises Refused."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + CLOSE_WAIT_S
        while True:
            self._check_not_open(asked.pool, asked.image, found, "two that write it without knowing of one another "
                                 "destroy its data. Close it there, or use force if that is no danger")
            left = [f"a gateway of this group has it open at {address}" for address in sorted(found.watchers)]
            left += self.local.fences().missing
            if not left:
                return
            if loop.time() > end_s:
                raise Refused(errno.EBUSY, f"image {asked.pool}/{asked.image} may still be written by what served it "
                              f"before: {'; '.join(left)}; try again in a moment, or use force if that is no danger")
            await asyncio.sleep(LOOK_AGAIN_S)
            found = await self.images.look(asked.pool, asked.image) or found

    async def take_image_back(self, asked: NamespaceRequest) -> None:
        """Removes the new image of a namespace that could not be added."""
        try:
            await self.images.remove(asked.pool, asked.image)
        except Refused as error:
            log.warning("the new image of a namespace that could not be added stays: %s", error)

    async def order_of_trash(self, nqn: str, namespace: Namespace) -> Optional[Order]:
        """For the image of a namespace that is to be deleted; None when there is none any more. Raises Refused when
        somebody else uses it."""
        now = await self.store.load()
        for other_nqn, nsid in changes_namespaces.users_of_image(now, namespace.pool, namespace.image):
            if (other_nqn, nsid) != (nqn, namespace.nsid):
                raise Refused(errno.EBUSY, f"image {namespace.pool}/{namespace.image} of namespace {namespace.nsid} in "
                              f"{nqn} cannot go to the trash, because namespace {nsid} in {other_nqn} has it too; "
                              f"nothing was deleted. {_keep(nqn, namespace)}")
        found = await self.images.look(namespace.pool, namespace.image)
        if found is None:
            return None
        self._check_not_open(namespace.pool, namespace.image, found, "so it cannot go to the trash; nothing was "
                             f"deleted. {_keep(nqn, namespace)}")
        return trash_orders.order(namespace, found.image_id, self.settings.gateway.name)

    def _check_not_open(self, pool: str, image: str, found: Look, consequence: str) -> None:
        """By others than gateways of this group, which close and open images as namespaces come and go."""
        elsewhere = found.watchers - self.local.group_addresses()
        if elsewhere:
            raise Refused(errno.EBUSY, f"image {pool}/{image} is open elsewhere, at {', '.join(sorted(elsewhere))} "
                          f"(see `rbd status {pool}/{image}`); {consequence}")


def _keep(nqn: str, namespace: Namespace) -> str:
    return (f"To delete the namespace and keep the image: namespace set_rbd_trash_image --subsystem {nqn} --nsid "
            f"{namespace.nsid} --rbd-trash-image-on-delete no")
