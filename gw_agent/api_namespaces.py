"""The gateway's API, namespaces: RBD images in subsystems."""
from __future__ import annotations

import errno
import logging
import uuid

from gw_agent import changes, listings
from gw_agent.api_frame import ApiFrame, answers
from gw_agent.changes import NamespaceRequest, Refused
from gw_agent.config_store import Change, Stored
from gw_agent.pb import gateway_pb2 as pb

log = logging.getLogger(__name__)


class NamespaceVerbs(ApiFrame):
    """The methods of gateway.proto that are about namespaces."""

    @answers(pb.nsid_status)
    async def namespace_add(self, request: pb.namespace_add_req) -> pb.nsid_status:
        for name, what in (("no_auto_visible", "a namespace for chosen hosts only"),
                           ("trash_image", "moving the image to the trash")):
            if getattr(request, name):
                raise Refused(errno.EOPNOTSUPP, f"{what} is not offered by this version; add it without {name}")
        asked = NamespaceRequest(
            request.subsystem_nqn, request.rbd_pool_name or self.settings.ceph.pool, request.rbd_image_name,
            request.uuid or str(uuid.uuid4()), request.nsid, request.block_size, request.anagrpid, request.force)

        def make(now: Stored) -> Change:
            return changes.add_namespace(now, asked, self.local.ana_groups())

        make(await self.store.load())
        made_image = await self._provide_image(asked, request)
        try:
            change, note = await self.change(f"image {asked.pool}/{asked.image} added to {asked.nqn}", make)
        except Refused as error:
            if made_image and not error.stored:
                await self._take_image_back(asked)
            raise
        return pb.nsid_status(status=0, error_message=note, nsid=changes.namespace_of(change, asked.nqn))

    @answers(pb.req_status)
    async def namespace_delete(self, request: pb.namespace_delete_req) -> pb.req_status:
        return await self.done(f"namespace {request.nsid} deleted from {request.subsystem_nqn}", lambda now:
                                changes.delete_namespace(now, request.subsystem_nqn, request.nsid))

    @answers(pb.namespaces_info)
    async def list_namespaces(self, request: pb.list_namespaces_req) -> pb.namespaces_info:
        if request.subsystem:
            await self.subsystem(request.subsystem)
        now = await self.store.load()
        bdevs = await self.local.rpc.call("bdev_get_bdevs")
        size_by_bdev = {bdev["name"]: bdev["block_size"] * bdev["num_blocks"] for bdev in bdevs}
        return pb.namespaces_info(subsystem_nqn=request.subsystem, namespaces=listings.configured_namespaces(
            now.configuration, size_by_bdev, request.subsystem, request.nsid, request.uuid))

    async def _provide_image(self, asked: NamespaceRequest, request: pb.namespace_add_req) -> bool:
        """Makes the image when that was asked for; True when it was made."""
        if request.create_image and not request.size:
            raise Refused(errno.EINVAL, "a new image needs a size")
        if request.size and not request.create_image:
            raise Refused(errno.EINVAL, "a size is for a new image only; ask for the image to be created too")
        size = await self.images.size(asked.pool, asked.image)
        if size is None:
            if not request.create_image:
                raise Refused(errno.ENODEV, f"there is no image {asked.pool}/{asked.image}; make it with `rbd "
                              "create`, or ask for it to be created")
            await self.images.create(asked.pool, asked.image, request.size)
            return True
        if request.create_image and size != request.size:
            raise Refused(errno.EEXIST, f"image {asked.pool}/{asked.image} exists with {size} bytes, asked for a new "
                          f"one of {request.size}")
        return False

    async def _take_image_back(self, asked: NamespaceRequest) -> None:
        try:
            await self.images.remove(asked.pool, asked.image)
        except Refused as error:
            log.warning("the new image of a namespace that could not be added stays: %s", error)
