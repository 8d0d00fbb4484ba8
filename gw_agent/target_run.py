"""One running target from the agent's side: attach, configure, serve, and obey the gateway map meanwhile.

Start-up: connect, learn what the target has (nothing if it is new, everything if only the agent was restarted), make
sure of a permitted context, then make the target equal to the stored configuration. The plan runs from the moment the
target was read, so a restarted agent obeys before it does anything else. Ends with RpcFailure when the connection is
lost; the agent makes another run while the warden says that the target lives.
"""
from __future__ import annotations

import asyncio
import logging
from typing import Any, Awaitable, Callable, Coroutine, Dict, FrozenSet, List, Optional, Tuple

from gw_agent import ending, moves
from gw_agent.ana import AnaStates
from gw_agent.apply_report import Report
from gw_agent.boot_clock import boottime_s
from gw_agent.config_store import ConfigStore, Stored, StoreError
from gw_agent.configuration import Configuration
from gw_agent.contexts import ContextFailed, Contexts
from gw_agent.drain import Drain
from gw_agent.group_io import GroupIo
from gw_agent.io_counters import IoCounters
from gw_agent.moves import Held
from gw_agent.nqn import DISCOVERY_NQN
from gw_agent.plan_runner import PlanRunner
from gw_agent.probe_images import ProbeImages
from gw_agent.reconcile import Reconciler
from gw_agent.settings import Settings
from gw_agent.shown_groups import ShownGroups
from gw_agent.spdk_rpc import RpcFailure, RpcTimeout, RpcUnreachable, SpdkRpc
from gw_agent.warden_client import WardenClient
from nvmeof_ha_core.events import TargetState
from nvmeof_ha_core.model import Gateway, Instance, Subsystem, controller_ids

log = logging.getLogger(__name__)

CONNECT_RETRY_S = 0.05
LOOK_S = 1.0
LOOK_PAUSE_FACTOR = 30
"""A target that has much is looked at more seldom, as hosts' I/O waits while it tells: so many times as long as a look took
passes until the next one."""
LONGEST_LOOK_S = 4.0
"""At most this, so that what somebody sets by hand is soon set right."""
LOOKS_FOR_ALL = 5
"""ANA states are read back at each look, subsystems and namespaces at each so manieth."""
APPLY_RETRY_S = 1.0
TRANSIENT_FAILURES = 3
MOST_LOOKS = 8
"""Half a second or a little more: whether a namespace's I/O hangs."""


class TargetRun:
    """For one instance. `soon(everywhere)`: a beacon should go out."""

    def __init__(self, settings: Settings, warden: WardenClient, instance: Instance,
                 store: "asyncio.Future[ConfigStore]", images: ProbeImages, soon: Callable[[bool], None]) -> None:
        self._settings = settings
        self._warden = warden
        self._store = store
        self._images = images
        self._soon = soon
        self._drain: Optional[Drain] = None
        self._reconciler: Optional[Reconciler] = None
        self._report = Report()
        self._applied_version = -1
        self._applying = asyncio.Lock()
        self._stored_fence = 0
        self._problems: FrozenSet[str] = frozenset()
        self._completed, self._loaded_s = 0, 0.0
        self.instance = instance
        self.rpc: Optional[SpdkRpc] = None
        self.counters: Optional[IoCounters] = None
        self.ana: Optional[AnaStates] = None
        self.contexts: Optional[Contexts] = None
        self.plan: Optional[PlanRunner] = None
        self.groups = ShownGroups()
        self.held: Tuple[Optional[Stored], FrozenSet[Held]] = (None, frozenset())
        """The configuration that was applied last, and what of its moves this target holds."""
        self.state = TargetState.STARTING
        self.open_subsystems: Tuple[str, ...] = ()
        """NQNs of those that allow any host."""
        self.load = self.connections = self.repairs = 0
        self.io: Tuple[Tuple[int, int], ...] = ()
        """(ANA group id, I/O per second), of those that have any."""
        self._group_io = GroupIo()

    @property
    def subsystems(self) -> Tuple[Subsystem, ...]:
        return () if self.ana is None else self.ana.subsystems

    @property
    def problems(self) -> Tuple[str, ...]:
        """What of the stored configuration could not be read or applied, at the last try."""
        return tuple(sorted(self._problems))

    def committed(self) -> Optional[Gateway]:
        """This instance's record in the agreed map."""
        permits = self._warden.view.permits
        return None if permits is None else permits.current(self.instance)

    async def run(self) -> None:
        """Raises RpcFailure when the target is lost, ContextFailed when this try came to nothing."""
        self.rpc = await self._connect()
        try:
            methods = frozenset(await self.rpc.call("rpc_get_methods"))
            self.ana = AnaStates(self.rpc, self.groups.wanted)
            await self.ana.read_back()
            self.counters = IoCounters(self.rpc)
            self._drain = Drain(self.rpc, self.counters, methods)
            self.contexts = Contexts(self.rpc, self._settings, methods, self._images, self._warden.pulse,
                                     self.committed, self._newest_fence)
            await self.contexts.attach(self._dead_addresses())
            self.plan = PlanRunner(self._warden, self.instance, self.ana, self.contexts, self._drain,
                                   lambda: self._soon(True))
            await _all_or_none([self.plan.run(), self._look(), self._configure(), self._stay_connected()])
        finally:
            await self.rpc.close()

    async def apply_now(self) -> Report:
        """Make the target equal to what is stored. Raises RpcFailure, StoreError."""
        if self._reconciler is None or self.ana is None:
            raise RpcUnreachable("the target is not configured yet; try again in a moment")
        async with self._applying:   # read and applied in one: an older version must not be applied after a newer one
            stored = await (await asyncio.shield(self._store)).load()
            moving, _ = moves.stored_moves(stored.omap)
            passed = await self._pass_stored_fence(moves.stored_fence(stored.omap))
            report = await self._reconciler.apply(stored.configuration, moving, moves.agreed_groups(stored.omap),
                                                  passed)
            self._report = report
            self._applied_version = stored.version if report.applied and not moving else -1
            self.open_subsystems = tuple(nqn for nqn, subsystem in sorted(stored.configuration.subsystems.items())
                                         if subsystem.allow_any_host)
            self._tell_problems([*stored.problem_of.values(), *report.problems])
            before, self.held = self.held, (stored, self.groups.held(stored.configuration, moving))
        if before != self.held:
            self._warden.pulse.beat()
        await self._announce(stored.configuration)
        if await self._changed_by_others(self.ana.read_back) if report.namespaces is None else self.ana.note(
                report.namespaces):
            self._soon(False)
            self._warden.pulse.beat()
        return report

    async def _changed_by_others(self, read: Callable[[], Awaitable[bool]]) -> bool:
        """Whether this read shows anything new.  Who reads first an ANA state that was set by hand has to tell of it: it is
        set right at once."""
        assert self.ana is not None
        changes = self.ana.changes
        new = await read()
        if new and changes == self.ana.changes:
            self._report_drift()
        return new

    async def _announce(self, configuration: Configuration) -> None:
        assert self.ana is not None
        moved, self.groups.moved = self.groups.moved, set()
        if moved:
            await self.ana.announce({nqn: moves.unused(configuration.subsystems[nqn].max_namespaces) for nqn in moved
                                     if nqn in configuration.subsystems})

    async def _pass_stored_fence(self, fence: int) -> bool:
        """Every context, also one that is made later, has seen the fence that a completed move stands on."""
        assert self.contexts is not None
        self._stored_fence = max(self._stored_fence, fence)
        if not moves.passed(fence, self.contexts.passed_osd_epoch):
            try:
                await self.contexts.barrier(fence)
            except (ContextFailed, RpcFailure) as error:
                log.warning("the barrier for OSD map %d of a completed move was not passed: %s", fence, error)
        return moves.passed(fence, self.contexts.passed_osd_epoch)

    async def _connect(self) -> SpdkRpc:
        while True:
            try:
                return await SpdkRpc.connect(self._settings.spdk.rpc_socket)
            except RpcUnreachable as error:
                log.debug("the target does not answer yet: %s", error)
                await asyncio.sleep(CONNECT_RETRY_S)

    async def _stay_connected(self) -> None:
        assert self.rpc is not None
        raise await self.rpc.wait_closed()

    async def _configure(self) -> None:
        """The stored configuration, at the start and whenever it changed."""
        assert self.rpc is not None and self.contexts is not None
        await self.contexts.first()
        record = self.committed()
        while record is None:
            await self._warden.pulse.after(self._warden.pulse.count)
            record = self.committed()
        # Only now may the configuration be read: who completes a move counts the instances that the map names, and
        # relies on it that others read later (`moves.py`).
        self._reconciler = Reconciler(self.rpc, self._settings, self.contexts, controller_ids(record.ana_group_id),
                                      self.groups, self._quiet)
        while True:
            try:
                await self.apply_now()
            except (RpcTimeout, StoreError) as error:
                log.warning("the stored configuration is not applied: %s", error)
                await asyncio.sleep(APPLY_RETRY_S)
                continue
            if self.state is not TargetState.SERVING:
                self.state = TargetState.SERVING
                log.info("instance %s serves %d subsystems", self.instance, len(self.subsystems))
                self._soon(False)
            await self._changed(self._store.result())

    async def _changed(self, store: ConfigStore) -> None:
        """Returns when others changed what is stored, or when it is time to look again. What was changed through this
        gateway is applied already when the notification of it comes."""
        interval_s = self._settings.gateway.state_update_interval_sec
        while await store.wait_for_change(min(APPLY_RETRY_S, interval_s) if self._report.retry else interval_s):
            try:
                if (await store.load()).version != self._applied_version:
                    return
            except StoreError:
                return   # apply_now says why

    async def _look(self) -> None:
        """Read the target back now and then: somebody may have changed it by hand. While no I/O is done, no block device
        has counted anything."""
        assert self.rpc is not None and self.ana is not None and self._drain is not None and self.counters is not None
        failures = looks = 0
        took_s = 0.0
        while True:
            await asyncio.sleep(min(max(LOOK_S, LOOK_PAUSE_FACTOR * took_s), LONGEST_LOOK_S))
            begun_s = boottime_s()
            try:
                looks += 1
                if await self._changed_by_others(self.ana.read_states if looks % LOOKS_FOR_ALL else self.ana.read_back):
                    self._warden.pulse.beat()
                    self._soon(False)
                stats, asking = await self.rpc.pipeline([
                    ("nvmf_get_stats", None), ("nvmf_subsystem_get_controllers", {"nqn": DISCOVERY_NQN})])
                if isinstance(stats, RpcFailure):
                    raise stats
                completed = self._completed
                self._note_load(stats, len(asking) if isinstance(asking, list) else 0)
                namespaces = self.ana.namespaces
                devices = self._group_io.worth_asking(namespaces, self.ana.states)
                counted = await self.counters.counted(devices) if self._completed != completed else {}
                if looks == 1:
                    await self._drain.depths.end_leftovers(counted)
                self.io = self._group_io.rates({name: device.operations for name, device in counted.items()}, namespaces,
                                               boottime_s())
                self._drain.note_progress(self._group_io.operations)
                failures = 0
            except RpcTimeout as error:
                failures += 1
                if failures >= TRANSIENT_FAILURES:
                    raise
                log.info("%s", error)
            took_s = boottime_s() - begun_s

    def _report_drift(self) -> None:
        """Only while nothing is being changed. A new listener is not drift: it starts inaccessible."""
        assert self.ana is not None and self.plan is not None
        if self.plan.busy:
            return
        for ana_group_id, state in sorted(self.ana.drifted().items()):
            self.repairs += 1
            log.warning("ANA group %d is %s on the target, which this agent did not ask for (a new listener, or "
                        "somebody set it by hand): setting it right", ana_group_id, state)

    def _note_load(self, stats: Dict[str, Any], asking: int) -> None:
        """I/O per second since the last look, and the connected hosts (one admin queue each, as have the `asking` ones,
        which stay connected to discovery and use no path), for the beacons."""
        completed = sum(group.get("completed_nvme_io", 0) for group in stats.get("poll_groups", ()))
        before_s, self._loaded_s = self._loaded_s, boottime_s()
        self.load = max(0, int((completed - self._completed) / (self._loaded_s - before_s))) if self._completed else 0
        self._completed = completed
        admin_queues = sum(group.get("current_admin_qpairs", 0) for group in stats.get("poll_groups", ()))
        self.connections = max(0, admin_queues - asking)

    def _tell_problems(self, problems: List[str]) -> None:
        """Each problem once, for as long as it lasts."""
        for problem in sorted(set(problems) - self._problems):
            log.warning("%s", problem)
        self._problems = frozenset(problems)

    async def _quiet(self, bdev_name: str) -> bool:
        assert self._drain is not None
        return await self._drain.look_first([bdev_name], MOST_LOOKS)

    def _newest_fence(self) -> int:
        permits = self._warden.view.permits
        return max([self._stored_fence, *(g.osd_epoch for g in (() if permits is None else permits.ana_groups))])

    def _dead_addresses(self) -> FrozenSet[str]:
        permits = self._warden.view.permits
        return frozenset() if permits is None else frozenset(a for d in permits.departed for a in d.addresses)


async def _all_or_none(works: List[Coroutine[Any, Any, None]]) -> None:
    """Run them together; the first failure ends all of them and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await ending.end(tasks)
