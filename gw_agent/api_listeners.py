"""The gateway's API, listeners: where hosts connect, as stored and as the target has them."""
from __future__ import annotations

import errno

from gw_agent import changes, listings, target_state
from gw_agent.api_frame import ApiFrame, answers
from gw_agent.changes import Refused
from gw_agent.configuration import DEFAULT_LISTENER_PORT
from gw_agent.pb import gateway_pb2 as pb


class ListenerVerbs(ApiFrame):
    """The methods of gateway.proto that are about listeners."""

    @answers(pb.req_status)
    async def create_listener(self, request: pb.create_listener_req) -> pb.req_status:
        own = self.settings.gateway.host_name
        if request.verify_host_name and request.host_name != own:
            raise Refused(errno.ENODEV, f"host name {request.host_name} is not this gateway's, which is {own}")
        listener = changes.checked_listener(request.host_name or own, request.traddr, request.trsvcid,
                                            _family(request.adrfam), request.secure)
        return await self.done(f"listener {listener.address} of {listener.host_name} added to {request.nqn}",
                                lambda now: changes.add_listener(now, request.nqn, listener))

    @answers(pb.req_status)
    async def delete_listener(self, request: pb.delete_listener_req) -> pb.req_status:
        any_host_name = request.host_name == "*"
        if any_host_name and not request.force:
            raise Refused(errno.EINVAL, "host name * deletes listeners of every gateway; that needs force")
        listener = changes.checked_listener(request.host_name or self.settings.gateway.host_name, request.traddr,
                                            request.trsvcid or DEFAULT_LISTENER_PORT,
                                            _family(request.adrfam), False)
        return await self.done(f"listener {listener.address} of {listener.host_name} deleted from {request.nqn}",
                                lambda now: changes.delete_listener(now, request.nqn, listener, any_host_name))

    @answers(pb.listeners_info)
    async def list_listeners(self, request: pb.list_listeners_req) -> pb.listeners_info:
        return pb.listeners_info(listeners=listings.configured_listeners(await self.subsystem(request.subsystem)))

    @answers(pb.gateway_listeners_info)
    async def show_gateway_listeners_info(
            self, request: pb.show_gateway_listeners_info_req) -> pb.gateway_listeners_info:
        subsystem = await self.subsystem(request.subsystem_nqn)
        (method, params), = target_state.get_listeners([subsystem.nqn])
        own = [listener for listener in subsystem.listeners
               if listener.host_name == self.settings.gateway.host_name]
        return pb.gateway_listeners_info(gw_listeners=listings.served_listeners(
            own, await self.local.rpc.call(method, params), self.local.ana_groups()))


def _family(number: int) -> str:
    """An enum's field can hold any number."""
    if number not in pb.AddressFamily.values():
        raise Refused(errno.EINVAL, f"address family {number} is none of "
                      + ", ".join(f"{value} ({name})" for name, value in pb.AddressFamily.items()))
    return pb.AddressFamily.Name(number)
