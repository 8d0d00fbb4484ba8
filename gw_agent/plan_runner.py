"""Carries out what the gateway map wants of the running target, step by step (`core/gateway.py` plans each step).

Level-triggered: plan, do one step, look at the target, plan again, until nothing is left; then wait for news. Promises:
restrictions come before permissions and never wait for a drain or a barrier; permission and lease are asked again right
before the calls that make something optimized; such a call that is unanswered when its permission is gone ends in the
target's death. A promotion that cannot be carried out is declined, and only after whatever was made optimized under it
has drained.
"""
from __future__ import annotations

import asyncio
import logging
from typing import Any, Callable, Coroutine, Dict, FrozenSet, Optional, Set, Tuple

from gw_agent.ana import AnaStates
from gw_agent.contexts import ContextFailed, Contexts
from gw_agent.drain import Drain
from gw_agent.spdk_rpc import RpcFailure, RpcTimeout, RpcUnreachable
from gw_agent.warden_client import WardenClient
from nvmeof_ha_core import gateway
from nvmeof_ha_core.events import Confirmation
from nvmeof_ha_core.gateway import INACCESSIBLE, OPTIMIZED, Plan, Target
from nvmeof_ha_core.model import NO_VERSION, AnaGroup, Instance, Phase, Version

log = logging.getLogger(__name__)

SET_TIMEOUT_S = 2.0
RETRY_S = 0.25
Since = Tuple[int, Version]
"""An ANA group and the commit that its present phase is of."""


class PlanRunner:
    """For one target. `confirmed` is called when a beacon should go out at once."""

    def __init__(self, warden: WardenClient, instance: Instance, ana: AnaStates, contexts: Contexts, drain: Drain,
                 confirmed: Callable[[], None]) -> None:
        self._warden = warden
        self._trace = warden.trace
        self._instance = instance
        self._ana = ana
        self._contexts = contexts
        self._drain = drain
        self._confirmed = confirmed
        self._drained: Dict[int, Version] = {}
        self._declined: Dict[int, Version] = {}
        self._declining: Dict[int, Version] = {}
        """To be declined: not to be made optimized any more, and not drained yet."""
        self._tried: Set[Since] = set()
        """Made optimized, or perhaps so, under exactly this commit."""
        self._tasks: Dict[object, "asyncio.Task[None]"] = {}
        self._retry_at_s: Dict[str, float] = {}
        """By the state that could not be set: no further try before this time."""
        self._changing = self._presumed = False
        self.confirmations: Tuple[Confirmation, ...] = ()
        self.version = NO_VERSION
        """The newest map whose restrictions are all applied."""

    @property
    def busy(self) -> bool:
        """It is changing ANA states right now."""
        return self._changing

    async def run(self) -> None:
        """Never returns; raises RpcUnreachable when the target is gone."""
        try:
            while True:
                seen = self._warden.pulse.count
                if not await self._step():
                    await self._warden.pulse.after(seen, self._patience_s())
        finally:
            for task in self._tasks.values():
                task.cancel()

    def _presume_tried(self) -> None:
        """Of the first agreed map: an earlier agent may have made optimized what is to be promoted now, or may have
        declined it."""
        if self._presumed or self._warden.view.permits is None:
            return
        self._presumed = True
        for group in self._promotions():
            self._tried.add((group.id, group.since))
        waiting = self._trace.call(gateway.declined_at_attach, self._warden.view, self._instance, self._ana.states)
        self._decline(frozenset(waiting), "an earlier agent may have declined it")

    def _patience_s(self) -> Optional[float]:
        """Until the lease ends, and no longer than a retry."""
        waits = [self._warden.lease_left_s] if self._warden.lease_valid else []
        waits += [max(0.001, at_s - self._now_s()) for at_s in self._retry_at_s.values()]
        return min(waits, default=None)

    def _target(self, declined: Dict[int, Version]) -> Target:
        return Target(dict(self._ana.states), self._contexts.passed_osd_epoch, self._contexts.permitted_addresses,
                      dict(self._drained), declined)

    async def _step(self) -> bool:
        """One step; true when something was done and the plan is to be made anew."""
        self._presume_tried()
        self._forget_past()
        self._forget_pauses()
        view = self._warden.view
        plan = self._trace.call(gateway.plan, view, self._instance, self._warden.lease_valid,
                                self._target({**self._declined, **self._declining}))
        self._note_confirmations()
        if plan.restrict and INACCESSIBLE not in self._retry_at_s:
            return await self._restrict(plan.restrict)
        for ana_group_id, since in plan.drain:
            self._background((ana_group_id, since), self._drain_group(ana_group_id, since, self._drained))
        self._decline_what_is_hopeless()
        if plan.barrier is not None:
            self._background("barrier", self._pass_barrier(plan.barrier))
        if plan.restrict or not plan.permit or OPTIMIZED in self._retry_at_s:
            return False
        return await self._permit(plan)

    # -- what is said -----------------------------------------------------------------------------------------

    def _note_confirmations(self) -> None:
        view, target = self._warden.view, self._target(dict(self._declined))
        confirmations = self._trace.call(gateway.confirmations, view, self._instance, target)
        applied = self._trace.call(gateway.restrictions_applied, view, self._instance, target)
        if applied and view.permits is not None:
            news = view.permits.version != self.version and view.suspected(self._instance)
            self.version = view.permits.version
        else:
            news = False
        if news or set(confirmations) - set(self.confirmations):
            self.confirmations = confirmations
            self._confirmed()
        self.confirmations = confirmations

    def _promotions(self) -> Tuple[AnaGroup, ...]:
        """ANA groups that the agreed map wants this instance to take."""
        permits = self._warden.view.permits
        groups = () if permits is None else permits.ana_groups
        return tuple(g for g in groups if g.phase is Phase.PROMOTING and g.incoming == self._instance)

    def _forget_past(self) -> None:
        """Keep only what is of a group's present commit."""
        permits = self._warden.view.permits
        if permits is None:
            return
        current = {g.id: g.since for g in permits.ana_groups}
        for known in (self._drained, self._declined, self._declining):
            for ana_group_id in [g for g, since in known.items() if current.get(g) != since]:
                del known[ana_group_id]
        self._tried = {(g, since) for g, since in self._tried if current.get(g) == since}

    # -- steps ------------------------------------------------------------------------------------------------

    async def _restrict(self, ana_group_ids: FrozenSet[int]) -> bool:
        log.info("making ANA groups %s inaccessible", _names(ana_group_ids))
        return await self._set(ana_group_ids, INACCESSIBLE, SET_TIMEOUT_S)

    async def _permit(self, plan: Plan) -> bool:
        view, target = self._warden.view, self._target({**self._declined, **self._declining})
        groups = frozenset(g for g in plan.permit if self._trace.call(
            gateway.may_be_optimized, view, self._instance, g, self._warden.lease_valid, target))
        if not groups:
            return True
        self._tried.update((g.id, g.since) for g in self._promotions() if g.id in groups)
        log.info("making ANA groups %s optimized", _names(groups))
        call = asyncio.ensure_future(self._set(groups, OPTIMIZED, SET_TIMEOUT_S))
        try:
            done = await self._while_permitted(call, groups)
        except asyncio.CancelledError:
            call.cancel()
            raise
        if not done:
            self._decline(groups, "the target did not take it")
        return done

    async def _while_permitted(self, call: "asyncio.Future[bool]", groups: FrozenSet[int]) -> bool:
        """The result of a call that makes groups optimized. If its permission goes while it is unanswered, the target
        gets as long as it has for a restriction, and then dies."""
        gone_s: Optional[float] = None
        while True:
            seen = self._warden.pulse.count
            if call.done():
                return call.result()
            if gone_s is None and not all(self._trace.call(
                    gateway.may_stay_optimized, self._warden.view, self._instance, g, self._warden.lease_valid)
                    for g in groups):
                gone_s = self._now_s()
            grace_s = self._warden.timing.restrict_s / 2
            if gone_s is not None and self._now_s() - gone_s >= grace_s:
                self._warden.kill_target(self._instance, "it left the call that makes ANA groups "
                                         f"{_names(groups)} optimized unanswered, and its permission is gone")
                return await call
            news = asyncio.ensure_future(self._warden.pulse.after(seen, grace_s if gone_s is None
                                                                  else gone_s + grace_s - self._now_s()))
            await asyncio.wait([call, news], return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    async def _set(self, ana_group_ids: FrozenSet[int], state: str, timeout_s: float) -> bool:
        """Set and read back; false when a call failed (then there is a pause before the next step)."""
        self._changing = True
        try:
            return await self._set_and_read(ana_group_ids, state, timeout_s)
        finally:
            self._changing = False

    async def _set_and_read(self, ana_group_ids: FrozenSet[int], state: str, timeout_s: float) -> bool:
        failures = await self._ana.set(ana_group_ids, state, timeout_s)
        for failure in failures:
            if isinstance(failure, RpcUnreachable) and not isinstance(failure, RpcTimeout):
                raise failure
        try:
            await self._ana.read_states()
        except RpcTimeout as error:
            self._ana.doubt(ana_group_ids)
            failures.append(error)
        if failures:
            log.warning("ANA groups %s are not all %s: %s%s", _names(ana_group_ids), state, failures[0],
                        f" (and {len(failures) - 1} more)" if len(failures) > 1 else "")
            self._retry_at_s[state] = self._now_s() + RETRY_S
        return not failures

    def _forget_pauses(self) -> None:
        """After a failure there is a pause before the same is tried again, so that a target which does not answer is
        not flooded. What failed to become optimized never holds a restriction back."""
        self._retry_at_s = {state: at_s for state, at_s in self._retry_at_s.items() if at_s > self._now_s()}

    # -- in the background ------------------------------------------------------------------------------------

    def _background(self, key: object, work: Coroutine[Any, Any, None]) -> None:
        """Run it unless it runs already; the next step follows its end."""
        if key in self._tasks:
            work.close()
            return

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.pop(key, None)
            if not task.cancelled() and task.exception() is not None:
                log.error("a step of the plan failed", exc_info=task.exception())
            self._warden.pulse.beat()

        self._tasks[key] = asyncio.ensure_future(work)
        self._tasks[key].add_done_callback(ended)

    async def _drain_group(self, ana_group_id: int, since: Version, drained: Dict[int, Version]) -> None:
        """Notes in `drained` that nothing of this commit is in flight any more."""
        try:
            await self._drain.drain(self._ana.namespaces_of(ana_group_id))
            drained[ana_group_id] = since
        except RpcFailure as error:
            log.warning("ANA group %d is not drained: %s", ana_group_id, error)
            await asyncio.sleep(RETRY_S)

    async def _pass_barrier(self, osd_epoch: int) -> None:
        waiting = [g for g in self._promotions() if g.osd_epoch > self._contexts.passed_osd_epoch]
        try:
            await self._contexts.barrier(osd_epoch)
        except (ContextFailed, RpcFailure) as error:
            log.warning("the barrier for OSD map %d was not passed: %s", osd_epoch, error)
            self._decline(frozenset(g.id for g in waiting), "the barrier was not passed")
            await asyncio.sleep(RETRY_S)

    # -- declining --------------------------------------------------------------------------------------------

    def _decline(self, ana_group_ids: FrozenSet[int], why: str) -> None:
        """Give back what is to be promoted; what is held already is tried again instead."""
        for group in self._promotions():
            if group.id in ana_group_ids and self._declining.get(group.id) != group.since:
                log.warning("declining ANA group %d: %s", group.id, why)
                self._declining[group.id] = group.since
        self._warden.pulse.beat()

    def _decline_what_is_hopeless(self) -> None:
        """While suspected nothing may become optimized, so the mgr should not wait for it; and what was to be
        declined is declined once nothing of it is in flight."""
        for group in self._promotions():
            inaccessible = self._ana.states.get(group.id, INACCESSIBLE) == INACCESSIBLE
            if self._warden.suspected and inaccessible and self._declining.get(group.id) != group.since:
                self._decline(frozenset({group.id}), "this instance is suspected")
            if (self._declining.get(group.id) != group.since or self._declined.get(group.id) == group.since
                    or not inaccessible):
                continue
            if (group.id, group.since) not in self._tried:
                self._declined[group.id] = group.since
                self._warden.pulse.beat()
            else:
                self._background((group.id, group.since), self._drain_group(group.id, group.since, self._declined))

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


def _names(ana_group_ids: FrozenSet[int]) -> str:
    return ", ".join(str(g) for g in sorted(ana_group_ids))
