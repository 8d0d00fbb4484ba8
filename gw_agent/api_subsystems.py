"""The gateway's API, subsystems: make, delete, list; those that the running target shows."""
from __future__ import annotations

import random

import grpc
from nvmeof_ha_core.model import controller_ids

from gw_agent import changes, changes_keys, listings, target_state
from gw_agent.api_frame import ApiFrame, answers
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.spdk_rpc import RpcFailure


class SubsystemVerbs(ApiFrame):
    """The methods of gateway.proto that are about subsystems."""

    @answers(pb.subsys_status)
    async def create_subsystem(self, request: pb.create_subsystem_req) -> pb.subsys_status:
        changes_keys.refuse_encrypted(request, "key_encrypted")
        key = self.sealed("dhchap_key", request.dhchap_key)
        nqn = changes.grouped_nqn(request.subsystem_nqn, self.settings.gateway.group, request.no_group_append)
        serial_number = request.serial_number or f"Ceph{random.randrange(10 ** 13, 10 ** 14)}"
        _, note = await self.change(f"subsystem {nqn} created", lambda now: changes_keys.add_subsystem(
            changes.add_subsystem(now, nqn, serial_number, request.max_namespaces, request.enable_ha), nqn, key))
        return pb.subsys_status(status=0, error_message=note, nqn=nqn)

    @answers(pb.req_status)
    async def delete_subsystem(self, request: pb.delete_subsystem_req) -> pb.req_status:
        return await self.done(f"subsystem {request.subsystem_nqn} deleted", lambda now: changes.delete_subsystem(
            now, request.subsystem_nqn, request.force))

    @answers(pb.req_status)
    async def change_subsystem_key(self, request: pb.change_subsystem_key_req) -> pb.req_status:
        key = self.sealed("dhchap_key", request.dhchap_key)
        return await self.done(f"key of subsystem {request.subsystem_nqn} changed", lambda now:
                               changes_keys.change_subsystem_key(now, request.subsystem_nqn, key))

    @answers(pb.subsystems_info_cli)
    async def list_subsystems(self, request: pb.list_subsystems_req) -> pb.subsystems_info_cli:
        now = await self.store.load()
        return pb.subsystems_info_cli(subsystems=listings.configured_subsystems(
            now.configuration, controller_ids(self.local.ana_group_id), request.subsystem_nqn, request.serial_number))

    async def get_subsystems(self, request: pb.get_subsystems_req,
                             context: "grpc.aio.ServicerContext") -> pb.subsystems_info:
        reason = self.local.ready()
        if reason is None:
            try:
                return pb.subsystems_info(subsystems=listings.served_subsystems(
                    await self.local.rpc.call("nvmf_get_subsystems"),
                    await self.local.rpc.call(*target_state.READ_CONFIG)))
            except RpcFailure as error:
                reason = str(error)
        await context.abort(grpc.StatusCode.UNAVAILABLE, reason)
