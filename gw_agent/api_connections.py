"""The gateway's API, connections: which hosts are connected to this gateway, and which of those that may be are not."""
from __future__ import annotations

from gw_agent import listings
from gw_agent.api_frame import ApiFrame, answers
from gw_agent.pb import gateway_pb2 as pb


class ConnectionVerbs(ApiFrame):
    """The methods of gateway.proto that are about connections."""

    @answers(pb.connections_info)
    async def list_connections(self, request: pb.list_connections_req) -> pb.connections_info:
        """Of this gateway only: a host is usually connected to several."""
        subsystem = await self.subsystem(request.subsystem)
        params = {"nqn": subsystem.nqn}
        controllers, qpairs = await self.local.rpc.results([("nvmf_subsystem_get_controllers", params),
                                                            ("nvmf_subsystem_get_qpairs", params)])
        return pb.connections_info(subsystem_nqn=subsystem.nqn,
                                   connections=listings.connections(subsystem, controllers, qpairs))
