"""The gateway's API, what can be changed of a namespace while it is served: size, limits, who sees it, its image's end;
and how much is done with it.
"""
from __future__ import annotations

import asyncio
import errno
from typing import Any, Awaitable

from gw_agent import changes_namespaces as changes
from gw_agent import listings
from gw_agent.api_frame import ApiFrame, answers
from gw_agent.changes import Refused
from gw_agent.configuration import QOS_FIELDS, Namespace
from gw_agent.images import LIMIT_BYTES
from gw_agent.io_counters import IoCounters
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.spdk_rpc import RpcError
from gw_agent.target_state import VISIBILITY_RPC

MIB = 1024 * 1024
NOTICE_S = 5.0
NOTICE_LOOK_S = 0.1
"""How long, and how often, it is looked whether the target noticed an image's new size."""


class NamespaceSettingVerbs(ApiFrame):
    """The methods of gateway.proto that change one namespace or measure it."""

    @answers(pb.req_status)
    async def namespace_resize(self, request: pb.namespace_resize_req) -> pb.req_status:
        """The image is resized here; every target that has it open is told by RBD."""
        namespace = await self._namespace(request.subsystem_nqn, request.nsid)
        size, image = request.new_size * MIB, f"{namespace.pool}/{namespace.image}"
        if not 0 < size <= LIMIT_BYTES:
            raise Refused(errno.EINVAL, f"the size is asked for in MiB, from 1 to {LIMIT_BYTES // MIB}; asked for "
                          f"{request.new_size}")
        present = await self.images.look(namespace.pool, namespace.image)
        if present is None:
            raise Refused(errno.ENODEV, f"there is no image {image} of namespace {request.nsid} any more")
        if size < present.size:
            raise Refused(errno.EINVAL, f"image {image} has {present.size} bytes, asked for {size}: a smaller image "
                          "would lose data that hosts have written")
        await self.images.resize(namespace.pool, namespace.image, size)
        seen = await self._sees_size(namespace, size)
        return pb.req_status(status=0, error_message="" if seen else f"image {image} has its new size, but this "
                             f"gateway's target has not noticed within {NOTICE_S:.0f} s")

    async def _sees_size(self, namespace: Namespace, size: int) -> bool:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + NOTICE_S
        while loop.time() < end_s:
            shown, = await self._of_bdev(self.local.rpc.call("bdev_get_bdevs", {"name": namespace.bdev_name}),
                                         namespace)
            if shown["num_blocks"] * shown["block_size"] >= size - shown["block_size"] + 1:
                return True
            await asyncio.sleep(NOTICE_LOOK_S)
        return False

    @answers(pb.req_status)
    async def namespace_set_qos_limits(self, request: pb.namespace_set_qos_req) -> pb.req_status:
        asked = {name: getattr(request, name) for name in QOS_FIELDS if request.HasField(name)}
        return await self.done(f"limits {asked} of namespace {request.nsid} in {request.subsystem_nqn} set", lambda now:
                               changes.set_limits(now, request.subsystem_nqn, request.nsid, asked))

    @answers(pb.namespace_io_stats_info)
    async def namespace_get_io_stats(self, request: pb.namespace_get_io_stats_req) -> pb.namespace_io_stats_info:
        """Of this gateway: what hosts did through others is not counted here."""
        namespace = await self._namespace(request.subsystem_nqn, request.nsid)
        shown = await self._of_bdev(IoCounters(self.local.rpc).of_one(namespace.bdev_name), namespace)
        return listings.io_stats(request.subsystem_nqn, namespace, shown)

    @answers(pb.req_status)
    async def namespace_add_host(self, request: pb.namespace_add_host_req) -> pb.req_status:
        return await self.done(f"namespace {request.nsid} of {request.subsystem_nqn} shown to {request.host_nqn}",
                               lambda now: changes.add_host(now, request.subsystem_nqn, request.nsid,
                                                            request.host_nqn))

    @answers(pb.req_status)
    async def namespace_delete_host(self, request: pb.namespace_delete_host_req) -> pb.req_status:
        return await self.done(f"namespace {request.nsid} of {request.subsystem_nqn} hidden from {request.host_nqn}",
                               lambda now: changes.delete_host(now, request.subsystem_nqn, request.nsid,
                                                               request.host_nqn))

    @answers(pb.req_status)
    async def namespace_change_visibility(self, request: pb.namespace_change_visibility_req) -> pb.req_status:
        """Refused where the target cannot: making the namespace anew would fail the hosts' I/O."""
        nqn, nsid = request.subsystem_nqn, request.nsid
        change = changes.change_visibility(await self.store.load(), nqn, nsid, request.auto_visible, request.force)
        if change.sets and VISIBILITY_RPC not in await self.local.rpc.call("rpc_get_methods"):
            raise Refused(errno.EOPNOTSUPP, f"this target cannot change who sees namespace {nsid} of {nqn} while it "
                          f"exists: stock SPDK lacks {VISIBILITY_RPC}, which is of Ceph's fork. Delete the namespace "
                          "(its image stays) and add it again with or without no_auto_visible")
        seen_by = "all" if request.auto_visible else "chosen"
        return await self.done(f"namespace {nsid} of {nqn} made visible to {seen_by} hosts", lambda now:
                               changes.change_visibility(now, nqn, nsid, request.auto_visible, request.force))

    @answers(pb.req_status)
    async def namespace_set_rbd_trash_image(self, request: pb.namespace_set_rbd_trash_image_req) -> pb.req_status:
        return await self.done(f"image of namespace {request.nsid} in {request.subsystem_nqn} "
                               f"{'goes to the trash' if request.trash_image else 'stays'} with it", lambda now:
                               changes.set_trash_image(now, request.subsystem_nqn, request.nsid, request.trash_image))

    async def _namespace(self, nqn: str, nsid: int) -> Namespace:
        return changes.namespace(await self.store.load(), nqn, nsid)

    async def _of_bdev(self, answer: Awaitable[Any], namespace: Namespace) -> Any:
        try:
            return await answer
        except RpcError as error:
            if error.code != -errno.ENODEV:
                raise
            raise Refused(errno.ENODEV, f"image {namespace.pool}/{namespace.image} of namespace {namespace.nsid} is "
                          "not open on this gateway; its log says why") from None
