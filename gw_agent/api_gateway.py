"""The gateway's API, this gateway itself: what it is and how it runs."""
from __future__ import annotations

import grpc

from gw_agent import changes
from gw_agent.api_frame import ApiFrame, answers
from gw_agent.pb import gateway_pb2 as pb

INTERFACE_VERSION = "1.5.1"
"""Of the ceph-nvmeof gateways whose interface this is; their clients refuse to work with a lower one."""


class GatewayVerbs(ApiFrame):
    """The methods of gateway.proto that are about this gateway."""

    @answers(pb.gateway_info)
    async def get_gateway_info(self, request: pb.get_gateway_info_req) -> pb.gateway_info:
        gateway = self.settings.gateway
        version = await self.local.rpc.call("spdk_get_version")
        return pb.gateway_info(
            cli_version=request.cli_version, version=INTERFACE_VERSION, name=gateway.name, group=gateway.group,
            addr=gateway.addr, port=str(self.port), bool_status=True, status=0, spdk_version=version["version"],
            load_balancing_group=self.local.ana_group_id, hostname=gateway.host_name,
            max_namespaces_per_subsystem=changes.MAX_NAMESPACES_LIMIT)

    async def set_ana_state(self, request: pb.ana_info, context: "grpc.aio.ServicerContext") -> None:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "ANA states follow the gateway map and are not set "
                            "by hand: nothing would be fenced. See `ceph nvmeof-ha status`")
