"""Moves namespaces by itself, as `rebalance.py` proposes it: each `rebalance_period_sec`, by one gateway of the group.

That is the AVAILABLE one with the lowest ANA group id. Every gateway tells the others how much I/O its namespaces do
(one object beside the seats, at most `MOST_TOLD` of the busiest), so that whoever moves, or is asked to choose a group
for a new namespace, knows. Promises: no move within `CALM_S` of a failover, a handover or a gateway's start or end,
nor while anything is not well; a group that must be emptied loses up to `max_ns_to_change_lb_grp` namespaces a period,
all others together one in `BALANCING_S`; nothing while it is paused, by the setting of this gateway (period 0) or for
the whole group by a stored entry (`moves.PAUSE_KEY`). A namespace that could not be moved is left alone for
`SPARED_S`."""
from __future__ import annotations

import asyncio
import json
import logging
from typing import Callable, Dict, Optional, Tuple

from gw_agent import moves, rebalance
from gw_agent.boot_clock import boottime_s
from gw_agent.changes import Refused
from gw_agent.config_store import Change, ConfigStore, Stored, StoreError
from gw_agent.gateway_entries import GatewayEntries
from gw_agent.mover import Mover
from gw_agent.moves import Key
from gw_agent.rebalance import Proposal
from gw_agent.settings import GatewaySettings
from gw_agent.spdk_rpc import RpcFailure
from gw_agent.target_run import TargetRun
from gw_agent.warden_client import WardenClient

log = logging.getLogger(__name__)

CALM_S = 30.0
BALANCING_S = 10.0
SPARED_S = 300.0
MEMORY = 0.8
"""Of what was measured before, at each new measurement: load counts when it lasts."""
LEAST_OPERATIONS = 1.0
MOST_TOLD = 256
PAUSED_LOOK_S = 10.0


def object_name(group: str) -> str:
    """Of the object in which gateways tell their loads."""
    return f"nvmeof_ha.{group}.loads"


class Rebalancer:
    """Of one agent. `entries`: of the object `object_name`. `run`: its present target run, None while there is none."""

    def __init__(self, settings: GatewaySettings, warden: WardenClient, entries: GatewayEntries, mover: Mover,
                 run: Callable[[], Optional[TargetRun]]) -> None:
        self._settings = settings
        self._warden = warden
        self._entries = entries
        self._mover = mover
        self._run = run
        self._counted: Tuple[float, Dict[str, int]] = (0.0, {})
        self._rates: Dict[str, float] = {}
        self._told: Dict[Key, float] = {}
        self._state: Tuple[object, ...] = ()
        self._calm_since_s = self._balanced_s = 0.0
        self._spared: Dict[Key, float] = {}

    async def serve(self) -> None:
        """Never returns."""
        while True:
            await asyncio.sleep(self._settings.rebalance_period_sec or PAUSED_LOOK_S)
            self._watch_map()
            run = self._run()
            stored = None if run is None else run.held[0]
            if run is None or stored is None or not self._settings.rebalance_period_sec:
                continue
            try:
                await self._measure(run, stored)
                await self._round(stored)
            except (RpcFailure, StoreError) as error:
                log.info("namespaces are not rebalanced now: %s", error)

    async def known_loads(self) -> Tuple[Tuple[int, ...], Dict[Key, float]]:
        """For choosing the ANA group of a new namespace: the groups whose owner is wanted, and I/O per second by
        namespace, as far as it is known."""
        permits = self._warden.view.permits
        try:
            operations = await self._operations()
        except StoreError as error:
            log.info("an ANA group is chosen without knowing the load: %s", error)
            operations = {}
        return () if permits is None else rebalance.receiving(permits), operations

    @staticmethod
    async def pause(store: ConfigStore, paused: bool) -> None:
        """For the whole gateway group, until it is ended. Raises StoreError."""
        def make(now: Stored) -> Change:
            if paused == (moves.PAUSE_KEY in now.omap):
                return Change()
            return Change({moves.PAUSE_KEY: "yes"}) if paused else Change(removes=frozenset({moves.PAUSE_KEY}))

        await store.change(make)
        log.info("rebalancing is %s for the whole gateway group", "paused" if paused else "resumed")

    # -- who carries how much ---------------------------------------------------------------------------------

    async def _measure(self, run: TargetRun, stored: Stored) -> None:
        if run.counters is None:
            return
        found = await run.counters.counted(namespace.bdev_name for _, namespace in stored.configuration.namespaces())
        now_s, counted = boottime_s(), {name: device.operations for name, device in found.items()}
        passed_s = now_s - self._counted[0]
        rates = {name: max(0, count - self._counted[1][name]) / passed_s for name, count in counted.items()
                 if name in self._counted[1]}
        self._counted = now_s, counted
        self._rates = {name: MEMORY * self._rates.get(name, rate) + (1 - MEMORY) * rate for name, rate in rates.items()}
        busy = {(s.nqn, n.nsid): self._rates.get(n.bdev_name, 0.0) for s, n in stored.configuration.namespaces()}
        told = dict(sorted(((k, r) for k, r in busy.items() if r >= LEAST_OPERATIONS), key=lambda e: -e[1])[:MOST_TOLD])
        if told or self._told:
            text = json.dumps([[nqn, nsid, round(rate, 1)] for (nqn, nsid), rate in told.items()])
            await self._entries.write(self._settings.name, text)
        self._told = told

    async def _operations(self) -> Dict[Key, float]:
        """I/O per second by namespace, of all gateways that the map names together."""
        permits = self._warden.view.permits
        running = {g.id for g in permits.gateways if g.instance is not None} if permits is not None else set()
        found: Dict[Key, float] = {}
        for gateway_id, text in (await self._entries.read()).items():
            if gateway_id not in running:
                continue
            try:
                for nqn, nsid, rate in json.loads(text):
                    found[str(nqn), int(nsid)] = found.get((nqn, nsid), 0.0) + float(rate)
            except (ValueError, TypeError):
                log.debug("what a gateway says of its load cannot be read: %.60r", text)
        return found

    # -- moving -----------------------------------------------------------------------------------------------

    def _watch_map(self) -> None:
        permits = self._warden.view.permits
        state = () if permits is None else rebalance.state_of(permits)
        if state != self._state or moves.unsettled(permits) is not None:
            self._state, self._calm_since_s = state, boottime_s()

    async def _round(self, stored: Stored) -> None:
        permits = self._warden.view.permits
        if (permits is None or moves.rank_of(permits, self._settings.name) != 0 or moves.PAUSE_KEY in stored.omap
                or boottime_s() - self._calm_since_s < CALM_S):
            return
        operations = await self._operations()
        groups = self._movable(stored)
        proposals = rebalance.evacuation(permits, groups, operations, self._settings.max_ns_to_change_lb_grp)
        if not proposals and boottime_s() - self._balanced_s >= BALANCING_S:
            best = rebalance.balancing(permits, groups, operations)
            proposals = [] if best is None else [best]
            self._balanced_s = boottime_s()
        for proposal in proposals:
            self._watch_map()
            if boottime_s() - self._calm_since_s < CALM_S or not await self._move(proposal):
                return

    def _movable(self, stored: Stored) -> Dict[Key, int]:
        self._spared = {key: until_s for key, until_s in self._spared.items() if until_s > boottime_s()}
        return {(s.nqn, n.nsid): n.ana_group_id for s, n in stored.configuration.namespaces()
                if moves.limbo(s.max_namespaces) is not None and (s.nqn, n.nsid) not in self._spared}

    async def _move(self, proposal: Proposal) -> bool:
        log.info("rebalancing: namespace %d of %s goes to ANA group %d, because %s", proposal.nsid, proposal.nqn,
                 proposal.to, proposal.why)
        try:
            await self._mover.move(proposal.nqn, proposal.nsid, proposal.to)
        except Refused as error:
            log.info("rebalancing: %s", error)
            self._spared[proposal.nqn, proposal.nsid] = boottime_s() + SPARED_S
            return False
        return True
