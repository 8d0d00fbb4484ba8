"""The gateway's API, hosts: which may use a subsystem."""
from __future__ import annotations

from gw_agent import changes, listings
from gw_agent.api_frame import ApiFrame, answers, refuse_keys
from gw_agent.pb import gateway_pb2 as pb


class HostVerbs(ApiFrame):
    """The methods of gateway.proto that are about hosts of a subsystem."""

    @answers(pb.req_status)
    async def add_host(self, request: pb.add_host_req) -> pb.req_status:
        refuse_keys(request, "psk", "dhchap_key")
        return await self.done(f"host {request.host_nqn} added to {request.subsystem_nqn}", lambda now:
                                changes.add_host(now, request.subsystem_nqn, request.host_nqn))

    @answers(pb.req_status)
    async def remove_host(self, request: pb.remove_host_req) -> pb.req_status:
        return await self.done(f"host {request.host_nqn} removed from {request.subsystem_nqn}", lambda now:
                                changes.remove_host(now, request.subsystem_nqn, request.host_nqn))

    @answers(pb.hosts_info)
    async def list_hosts(self, request: pb.list_hosts_req) -> pb.hosts_info:
        subsystem = await self.subsystem(request.subsystem)
        return pb.hosts_info(allow_any_host=subsystem.allow_any_host, subsystem_nqn=subsystem.nqn,
                             hosts=listings.configured_hosts(subsystem))
