"""The gateway's API, logs: how much this gateway's agent and its target write into theirs, until they are restarted."""
from __future__ import annotations

import errno
import logging
from typing import Dict, List

from gw_agent.api_frame import ApiFrame, answers
from gw_agent.changes import Refused
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.spdk_rpc import Request

log = logging.getLogger(__name__)

NVMF_FLAGS = "nvmf"
"""How the flags of the target's NVMe-oF part begin."""
QUIET_LEVEL, QUIET_PRINT_LEVEL = "NOTICE", "INFO"
"""A target's own, from its start."""


class LogVerbs(ApiFrame):
    """The methods of gateway.proto that are about logs."""

    @answers(pb.gateway_log_level_info)
    async def get_gateway_log_level(self, request: pb.get_gateway_log_level_req) -> pb.gateway_log_level_info:
        """Of the agent; its warden keeps the one of the settings file."""
        return pb.gateway_log_level_info(status=0, log_level=logging.getLogger().level // 10 * 10)

    @answers(pb.req_status)
    async def set_gateway_log_level(self, request: pb.set_gateway_log_level_req) -> pb.req_status:
        known = pb.GwLogLevel.values()
        if request.log_level not in known or not request.log_level:
            names = ", ".join(name for name, value in pb.GwLogLevel.items() if value)
            raise Refused(errno.EINVAL, f"log level {request.log_level} is none of {names}")
        logging.getLogger().setLevel(request.log_level)
        log.warning("the log level is %s from now on", pb.GwLogLevel.Name(request.log_level))
        return pb.req_status(status=0)

    @answers(pb.spdk_nvmf_log_flags_and_level_info)
    async def get_spdk_nvmf_log_flags_and_level(
            self, request: pb.get_spdk_nvmf_log_flags_and_level_req) -> pb.spdk_nvmf_log_flags_and_level_info:
        flags, level, print_level = await self.local.rpc.results([
            ("log_get_flags", None), ("log_get_level", None), ("log_get_print_level", None)])
        return pb.spdk_nvmf_log_flags_and_level_info(
            status=0, log_level=_level(level), log_print_level=_level(print_level),
            nvmf_log_flags=[pb.spdk_log_flag_info(name=name, enabled=enabled)
                            for name, enabled in sorted(_nvmf(flags).items())])

    @answers(pb.req_status)
    async def set_spdk_nvmf_logs(self, request: pb.set_spdk_nvmf_logs_req) -> pb.req_status:
        """Turns the NVMe-oF flags on, with whatever levels are given."""
        levels: List[Request] = []
        for name, method in (("log_level", "log_set_level"), ("print_level", "log_set_print_level")):
            if request.HasField(name):
                if getattr(request, name) not in pb.LogLevel.values():
                    raise Refused(errno.EINVAL, f"{name} {getattr(request, name)} is none of "
                                  + ", ".join(pb.LogLevel.keys()))
                levels.append((method, {"level": pb.LogLevel.Name(getattr(request, name))}))
        await self.local.rpc.results(await self._flags("log_set_flag") + levels)
        return pb.req_status(status=0)

    @answers(pb.req_status)
    async def disable_spdk_nvmf_logs(self, request: pb.disable_spdk_nvmf_logs_req) -> pb.req_status:
        """Flags off and levels as a target starts with."""
        await self.local.rpc.results(await self._flags("log_clear_flag") + [
            ("log_set_level", {"level": QUIET_LEVEL}), ("log_set_print_level", {"level": QUIET_PRINT_LEVEL})])
        return pb.req_status(status=0)

    async def _flags(self, method: str) -> List[Request]:
        return [(method, {"flag": name}) for name in sorted(_nvmf(await self.local.rpc.call("log_get_flags")))]


def _nvmf(flags: Dict[str, bool]) -> Dict[str, bool]:
    return {name: enabled for name, enabled in flags.items() if name.startswith(NVMF_FLAGS)}


def _level(name: str) -> int:
    return int(pb.LogLevel.Value(name))
