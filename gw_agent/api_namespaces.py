"""The gateway's API, namespaces: RBD images in subsystems."""
from __future__ import annotations

import uuid

from gw_agent import changes, changes_namespaces, listings
from gw_agent.api_frame import answers
from gw_agent.api_images import ImageKeeping
from gw_agent.changes import NamespaceRequest, Refused
from gw_agent.config_store import Change, Stored
from gw_agent.pb import gateway_pb2 as pb

ALL_SUBSYSTEMS = "*"


class NamespaceVerbs(ImageKeeping):
    """The methods of gateway.proto that make, delete and list namespaces."""

    @answers(pb.nsid_status)
    async def namespace_add(self, request: pb.namespace_add_req) -> pb.nsid_status:
        asked = NamespaceRequest(
            request.subsystem_nqn, request.rbd_pool_name or self.settings.ceph.pool, request.rbd_image_name,
            request.uuid or str(uuid.uuid4()), request.nsid, request.block_size, request.anagrpid, request.force,
            not request.no_auto_visible, request.trash_image)

        preferred, operations = ((), {}) if asked.ana_group_id else await self.local.known_loads()

        def make(now: Stored) -> Change:
            return changes.add_namespace(now, asked, self.local.ana_groups(), preferred, operations)

        make(await self.store.load())
        made_image = await self.provide_image(asked, request)
        try:
            change, note = await self.change(f"image {asked.pool}/{asked.image} added to {asked.nqn}", make)
        except Refused as error:
            if made_image and not error.stored:
                await self.take_image_back(asked)
            raise
        return pb.nsid_status(status=0, error_message=note, nsid=changes.namespace_of(change, asked.nqn))

    @answers(pb.req_status)
    async def namespace_delete(self, request: pb.namespace_delete_req) -> pb.req_status:
        """Its image stays, unless it was said that it goes to the trash."""
        nqn, nsid = request.subsystem_nqn, request.nsid

        def make(now: Stored) -> Change:
            return changes_namespaces.delete(now, nqn, nsid, request.i_am_sure)

        now = await self.store.load()
        make(now)
        namespace = now.configuration.subsystems[nqn].namespaces.get(nsid)
        order = None
        if namespace is not None and namespace.trash_image:
            order = await self.order_of_trash(nqn, namespace)
        what = f"namespace {nsid} deleted from {nqn}"
        if order is None:
            return await self.done(what, make)
        async with self.trash.asked(order):
            answer = await self.done(what, lambda now: changes_namespaces.with_trash_order(make(now), order))
            await self.trash.carry_out(order)
        return answer

    @answers(pb.req_status)
    async def namespace_change_load_balancing_group(
            self, request: pb.namespace_change_load_balancing_group_req) -> pb.req_status:
        """Any gateway can be asked; `auto_lb_logic` (it was not a person who asked) makes no difference."""
        await self.local.move_namespace(request.subsystem_nqn, request.nsid, request.anagrpid)
        return pb.req_status(status=0)

    @answers(pb.namespaces_info)
    async def list_namespaces(self, request: pb.list_namespaces_req) -> pb.namespaces_info:
        nqn = "" if request.subsystem == ALL_SUBSYSTEMS else request.subsystem
        if nqn:
            await self.subsystem(nqn)
        now = await self.store.load()
        bdevs = await self.local.rpc.call("bdev_get_bdevs")
        size_by_bdev = {bdev["name"]: bdev["block_size"] * bdev["num_blocks"] for bdev in bdevs}
        return pb.namespaces_info(subsystem_nqn=request.subsystem, namespaces=listings.configured_namespaces(
            now.configuration, size_by_bdev, nqn, request.nsid, request.uuid))
