"""The service of ha.proto: what this gateway knows of its gateway group, and the I/O counters of its target.

Promises: `group_status` asks nobody, so it answers while RADOS, the mgr or the target do not. Changes nothing but
whether namespaces are rebalanced.
"""
from __future__ import annotations

import errno
from typing import Any, Mapping, Optional, Protocol

import grpc

from gw_agent import group_status
from gw_agent.config_store import StoreError
from gw_agent.group_status import Known
from gw_agent.pb import ha_pb2, ha_pb2_grpc
from gw_agent.settings import Settings
from gw_agent.spdk_rpc import RpcFailure, SpdkRpc

COUNTERS = ("bytes_read", "num_read_ops", "read_latency_ticks", "bytes_written", "num_write_ops", "write_latency_ticks",
            "bytes_unmapped", "num_unmap_ops", "unmap_latency_ticks")


class KnowingGateway(Protocol):
    """What the service needs of the gateway it runs in; the agent implements it."""

    @property
    def rpc(self) -> SpdkRpc:
        """The connection to the running target. Raises RpcFailure without one."""

    def ready(self) -> Optional[str]:
        """None when the target runs and is configured, else the reason why not."""

    def known(self) -> Known:
        """What it knows of the gateway group, and what its target shows."""

    async def pause_rebalance(self, paused: bool) -> None:
        """For the whole gateway group. Raises StoreError."""


class HighAvailabilityService(ha_pb2_grpc.HighAvailabilityServicer):
    """All methods of ha.proto."""

    def __init__(self, local: KnowingGateway, settings: Settings) -> None:
        self._local = local
        self._settings = settings

    async def group_status(self, request: ha_pb2.group_status_req,
                           context: "grpc.aio.ServicerContext") -> ha_pb2.group_status_info:
        gateway, pool = self._settings.gateway, self._settings.ceph.pool
        return group_status.describe(pool, gateway.group, gateway.name, self._local.ready(), self._local.known())

    async def pause_rebalance(self, request: ha_pb2.pause_rebalance_req,
                              context: "grpc.aio.ServicerContext") -> ha_pb2.pause_rebalance_status:
        try:
            await self._local.pause_rebalance(request.paused)
        except StoreError as error:
            return ha_pb2.pause_rebalance_status(status=errno.EIO, error_message=str(error))
        return ha_pb2.pause_rebalance_status()

    async def io_counters(self, request: ha_pb2.io_counters_req,
                          context: "grpc.aio.ServicerContext") -> ha_pb2.io_counters_info:
        name = self._settings.gateway.name
        reason = self._local.ready()
        if reason is not None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"gateway {name} does not serve yet: {reason}")
        try:
            subsystems, iostat = await self._local.rpc.results([("nvmf_get_subsystems", None),
                                                                ("bdev_get_iostat", None)])
        except RpcFailure as error:
            return ha_pb2.io_counters_info(status=errno.EIO, error_message=f"the target of {name} does not tell its "
                                           f"counters: {error}", answered_by=name)
        return _counters(name, subsystems, iostat, self._local.known().ana_states)


def _counters(name: str, subsystems: Any, iostat: Mapping[str, Any], states: Mapping[int, str]) -> Any:
    """`subsystems`, `iostat`: from nvmf_get_subsystems and bdev_get_iostat."""
    info = ha_pb2.io_counters_info(answered_by=name, ticks=iostat["ticks"], tick_rate=iostat["tick_rate"])
    of_bdev = {bdev["name"]: bdev for bdev in iostat["bdevs"]}
    for subsystem in subsystems:
        for namespace in subsystem.get("namespaces", ()):
            counters = of_bdev.get(namespace.get("bdev_name"))
            if counters is not None:   # else it was made or removed between the two answers
                ana_group_id = namespace.get("anagrpid", namespace["nsid"])
                info.namespaces.append(ha_pb2.namespace_io_counters(
                    nqn=subsystem["nqn"], nsid=namespace["nsid"], ana_group_id=ana_group_id,
                    ana_state=states.get(ana_group_id, "inaccessible"), bdev_name=namespace["bdev_name"],
                    **{counter: counters[counter] for counter in COUNTERS}))
    return info
