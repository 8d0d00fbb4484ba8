"""The gateway's API, hosts: which may use a subsystem, and their keys.

A key leaves the request only encrypted: it is in no answer and no log.
"""
from __future__ import annotations

from gw_agent import changes, changes_keys, listings
from gw_agent.api_frame import ApiFrame, answers
from gw_agent.host_keys import HostKeys
from gw_agent.pb import gateway_pb2 as pb


class HostVerbs(ApiFrame):
    """The methods of gateway.proto that are about hosts of a subsystem."""

    @answers(pb.req_status)
    async def add_host(self, request: pb.add_host_req) -> pb.req_status:
        changes_keys.refuse_encrypted(request, "psk_encrypted", "key_encrypted")
        keys = HostKeys(self.sealed("dhchap_key", request.dhchap_key), self.sealed("psk", request.psk))
        return await self.done(f"host {request.host_nqn} added to {request.subsystem_nqn}", lambda now:
                               changes_keys.add_host(now, request.subsystem_nqn, request.host_nqn, keys))

    @answers(pb.req_status)
    async def remove_host(self, request: pb.remove_host_req) -> pb.req_status:
        return await self.done(f"host {request.host_nqn} removed from {request.subsystem_nqn}", lambda now:
                               changes.remove_host(now, request.subsystem_nqn, request.host_nqn))

    @answers(pb.req_status)
    async def change_host_key(self, request: pb.change_host_key_req) -> pb.req_status:
        key = self.sealed("dhchap_key", request.dhchap_key)
        return await self.done(f"key of host {request.host_nqn} in {request.subsystem_nqn} changed", lambda now:
                               changes_keys.change_host_key(now, request.subsystem_nqn, request.host_nqn, key))

    @answers(pb.hosts_info)
    async def list_hosts(self, request: pb.list_hosts_req) -> pb.hosts_info:
        subsystem = await self.subsystem(request.subsystem)
        return pb.hosts_info(allow_any_host=subsystem.allow_any_host, subsystem_nqn=subsystem.nqn,
                             hosts=listings.configured_hosts(subsystem))
