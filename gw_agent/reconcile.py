"""Makes the running target equal to the stored configuration.

Promises: applying twice changes nothing the second time, and it works on a target that already has a part of it (the
agent was restarted). Independent requests go out in one write. Order: what is not wanted goes first (listeners,
namespaces, subsystems, block devices, hosts), then comes what is missing: transport, subsystems, block devices,
namespaces, hosts, and listeners last and inaccessible, so that no host ever finds a subsystem whose namespaces are
still to come, or an ANA state that nobody permitted. What fails becomes a problem of that one thing; the rest goes on.

A namespace's ANA group follows the stored one only as `moves.py` decides.

Does not promise: to set an ANA state; nor to finish a removal quickly (see `target_steps.py`: a target waits for the
namespace's I/O in flight).
"""
from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Awaitable, Callable, FrozenSet, List, Mapping, Optional, Protocol, Sequence, Set, Tuple

from gw_agent import access_steps, config_difference, discovery, target_state
from gw_agent import configuration as stored
from gw_agent.config_difference import changed_namespaces
from gw_agent.apply_report import Report
from gw_agent.configuration import Configuration, Listener, Namespace, Subsystem
from gw_agent.key_ring import KeyRing
from gw_agent.known_target import KnownTarget
from gw_agent.moves import Key, Move
from gw_agent.settings import Settings
from gw_agent.shown_groups import ShownGroups
from gw_agent.spdk_rpc import Request, SpdkRpc
from gw_agent.target_state import FoundSubsystem, TargetState
from gw_agent.target_steps import Step, StepSender

BDEVS_AT_ONCE = 4
"""A target opens images one after the other (up to 60 ms each) and answers nothing else meanwhile. More of them in one
write would look like a frozen target and hold up ANA changes."""


class ContextSource(Protocol):
    """Where block devices get their RADOS client from; the agent's contexts implement it."""

    async def context_for(self, bdev_name: str) -> Optional[str]:
        """The name of a registered context for this new device, or None: not permitted now, try again later."""

    def released(self, bdev_name: str) -> None:
        """The device is gone, or could not be made; its place in the context is free."""


class Reconciler:
    """Applies configurations to one running target, one at a time. A new target needs a new one.

    `quiet`: false when a block device's I/O in flight makes no progress, so that nothing should wait for its end."""

    def __init__(self, rpc: SpdkRpc, settings: Settings, contexts: ContextSource, cntlid_range: Tuple[int, int],
                 groups: Optional[ShownGroups] = None,
                 quiet: Optional[Callable[[str], Awaitable[bool]]] = None) -> None:
        self.rpc = rpc
        self.settings = settings
        self.contexts = contexts
        self.cntlid_range = cntlid_range
        self.groups = groups or ShownGroups()
        self.quiet = quiet
        self.steps = StepSender(rpc)
        self._applying = asyncio.Lock()
        self.refused_keys: Set[str] = set()
        self._known = KnownTarget()

    async def apply(self, wanted: Configuration, moving: Sequence[Move] = (), agreed: Mapping[Key, int] = {},
                    passed: bool = True) -> Report:
        """`moving`: the stored moves. `agreed`: where the last ones left namespaces. `passed`: namespaces may be put
        into their groups (`moves.passed`). Raises RpcFailure when the target cannot be read, RpcUnreachable when it is
        gone."""
        async with self._applying:
            self.steps.begin()
            now_s = asyncio.get_running_loop().time()
            known, before = self._known.take(now_s)
            if known is None or moving:
                known, before = await target_state.read(self.rpc), None
                self._known.was_read(now_s)
            changed = None if before is None else changed_namespaces(before, wanted)
            if changed is None:
                report = await self._apply_all(wanted, known, moving, agreed, passed)
            else:
                report = await self._apply_namespaces(wanted, known, changed, agreed, passed)
            self._known.keep(known, None if moving else wanted, report, self.steps.answered)
            return report

    async def _apply_all(self, wanted: Configuration, found: TargetState, moving: Sequence[Move],
                         agreed: Mapping[Key, int], passed: bool) -> Report:
        shown = self.groups.shown(wanted, moving, agreed, found.groups)
        run = _Run(self, shown, found, frozenset(move.key for move in moving), passed)
        await run.apply_all()
        return run.report()

    async def _apply_namespaces(self, wanted: Configuration, found: TargetState, changed: FrozenSet[Key],
                                agreed: Mapping[Key, int], passed: bool) -> Report:
        """Where nothing else is to be done since the last `apply`."""
        wanted = config_difference.part(wanted, changed)
        before, after = found.part(changed, wanted), found.part(changed, wanted)
        run = _Run(self, self.groups.shown_of(wanted, changed, agreed, before.groups), after, frozenset(), passed)
        try:
            await run.apply_namespaces()
        finally:
            found.take_over(before, after, changed)
        return replace(run.report(), namespaces={
            (nqn, nsid): found.subsystems[nqn].namespaces.get(nsid) for nqn, nsid in changed})


class _Run:
    """One `apply`: the difference between `wanted` and `found`, step by step. `found` follows what was done."""

    def __init__(self, reconciler: Reconciler, wanted: Configuration, found: TargetState, moving: FrozenSet[Key],
                 passed: bool) -> None:
        self._own = reconciler
        self._moving = moving
        self._passed = passed
        self._wanted = wanted
        self._found = found
        self._steps = reconciler.steps
        self._keys = KeyRing(reconciler.rpc, reconciler.steps, wanted, reconciler.settings.gateway,
                             reconciler.refused_keys)
        self._incomplete: Set[str] = set()
        """Subsystems with a namespace that waits for a context."""
        self._waiting: Set[str] = set()

    async def apply_all(self) -> None:
        await self._remove_listeners()
        await self._remove_namespaces()
        await self._send_when_quiet(access_steps.hide(self._pairs()))
        await self._remove_subsystems()
        await self._remove_bdevs()
        await self._remove_hosts()
        await self._add_transport()
        await self._add_subsystems()
        await self._add_bdevs()
        await self._add_namespaces()
        await self._set_access()
        await self._add_hosts()
        await self._add_listeners()
        listening = {address for found in self._found.subsystems.values() for address in found.listeners}
        await discovery.apply(self._own.rpc, self._steps, self._wanted, listening, self._own.settings)

    async def apply_namespaces(self) -> None:
        """Of subsystems that are there and served already."""
        await self._remove_namespaces()
        await self._send_when_quiet(access_steps.hide(self._pairs()))
        await self._remove_bdevs()
        await self._add_bdevs()
        await self._add_namespaces()
        await self._set_access()

    def report(self) -> Report:
        for (nqn, nsid), shown in self._own.groups.changed.items():
            self._steps.problem_of.setdefault(stored.entry_key("namespace", nqn, nsid), (
                f"the stored ANA group of namespace {nsid} of {nqn} was changed without a move; it stays in group "
                f"{shown} here until a gateway has stored it as one (not where max_namespaces is too small)"))
        return Report(dict(self._steps.problem_of), waiting=frozenset(self._waiting | self._steps.waiting))

    # What is not wanted goes.

    async def _remove_listeners(self) -> None:
        steps = []
        blocked = self._steps.blocked
        for nqn, found in self._found.subsystems.items():
            if nqn in blocked:
                continue
            subsystem = self._wanted.subsystems.get(nqn)
            keep = {target_state.address(listener) for listener in self._own_listeners(subsystem)}
            for address in sorted(found.listeners - keep):
                steps.append(Step(f"listener {nqn} {address}", f"remove listener {address[1]}:{address[2]} of {nqn}",
                                  target_state.remove_listener(nqn, address),
                                  _later(found.listeners.discard, address)))
        await self._steps.send(steps)

    async def _remove_namespaces(self) -> None:
        """Of subsystems that stay; a subsystem that goes takes its namespaces along."""
        steps = []
        for subsystem, found in self._pairs():
            for nsid, namespace in found.namespaces.items():
                if not self._found.can_keep(namespace, nsid in found.hidden, subsystem.namespaces.get(nsid)):
                    steps.append(Step(stored.entry_key("namespace", subsystem.nqn, nsid),
                                       f"remove namespace {nsid} of {subsystem.nqn}",
                                       target_state.remove_namespace(subsystem.nqn, nsid),
                                       _later(found.forget_namespace, nsid)))
        await self._steps.send_and_wait_for_io(steps)

    async def _remove_subsystems(self) -> None:
        blocked = self._steps.blocked
        gone = [nqn for nqn, found in self._found.subsystems.items()
                if nqn not in blocked and not self._same_subsystem(nqn, found)]
        await self._steps.send_and_wait_for_io([
            Step(stored.entry_key("subsystem", nqn), f"delete subsystem {nqn}", target_state.delete_subsystem(nqn),
                  _later(self._found.subsystems.pop, nqn)) for nqn in gone])

    async def _remove_bdevs(self) -> None:
        used = {namespace.bdev_name for found in self._found.subsystems.values()
                for namespace in found.namespaces.values()}
        wanted = {namespace.bdev_name: (namespace.pool, namespace.image)
                  for _, namespace in self._wanted.namespaces()}
        steps = [Step(f"bdev {name}", f"close image {'/'.join(image)}", target_state.delete_bdev(name),
                       _later(self._forget_bdev, name))
                 for name, image in self._found.bdevs.items() if name not in used and wanted.get(name) != image]
        await self._steps.send_and_wait_for_io(steps)

    def _forget_bdev(self, name: str) -> None:
        del self._found.bdevs[name]
        self._found.limits.pop(name, None)
        self._own.contexts.released(name)

    async def _remove_hosts(self) -> None:
        steps = []
        for subsystem, found in self._pairs():
            nqn = subsystem.nqn
            if found.allow_any_host and not subsystem.allow_any_host:
                steps.append(Step(stored.entry_key("host", nqn, "*"), f"stop allowing any host in {nqn}",
                                   target_state.allow_any_host(nqn, False),
                                   _later(setattr, found, "allow_any_host", False)))
            steps += [Step(stored.entry_key("host", nqn, host), f"remove host {host} from {nqn}",
                            target_state.remove_host(nqn, host), _later(found.forbid, host))
                      for host in sorted(found.hosts - subsystem.hosts)]
        await self._steps.send(steps)

    # What is missing comes.

    async def _add_transport(self) -> None:
        if not self._found.has_transport:
            options = self._own.settings.spdk.transport_tcp_options
            await self._steps.send([Step("transport", f"create the TCP transport with options {dict(options)}",
                                    target_state.create_transport(options),
                                    _later(setattr, self._found, "has_transport", True))])

    async def _add_subsystems(self) -> None:
        await self._steps.send([
            Step(stored.entry_key("subsystem", nqn), f"create subsystem {nqn}",
                  target_state.create_subsystem(subsystem, self._own.cntlid_range),
                  _later(self._found.subsystems.__setitem__, nqn, FoundSubsystem(self._identity(subsystem))))
            for nqn, subsystem in self._wanted.subsystems.items() if nqn not in self._found.subsystems])

    async def _add_bdevs(self) -> None:
        missing = [(subsystem, namespace) for subsystem, _ in self._pairs()
                   for _, namespace in sorted(subsystem.namespaces.items())
                   if namespace.bdev_name not in self._found.bdevs]
        for start in range(0, len(missing), BDEVS_AT_ONCE):
            await self._open_images(missing[start:start + BDEVS_AT_ONCE])

    async def _open_images(self, missing: Sequence[Tuple[Subsystem, Namespace]]) -> None:
        steps = []
        for subsystem, namespace in missing:
            context = await self._own.contexts.context_for(namespace.bdev_name)
            subject = stored.entry_key("namespace", subsystem.nqn, namespace.nsid)
            if context is None:
                self._incomplete.add(subsystem.nqn)
                self._waiting.add(subject)
                self._steps.problem_of[subject] = (
                    f"namespace {namespace.nsid} of {subsystem.nqn} waits: the gateway map does not permit a RADOS "
                    "client for it yet")
                continue
            what = (f"open image {namespace.pool}/{namespace.image} for namespace {namespace.nsid} of "
                    f"{subsystem.nqn} (does it exist, and may this gateway's user open it?)")
            steps.append(Step(subject, what, target_state.create_bdev(namespace, context),
                               _later(self._found.bdevs.__setitem__, namespace.bdev_name,
                                      (namespace.pool, namespace.image))))
        await self._steps.send(steps)
        for _, namespace in missing:
            if namespace.bdev_name not in self._found.bdevs:
                self._own.contexts.released(namespace.bdev_name)

    async def _add_namespaces(self) -> None:
        adds, changes = [], []
        for subsystem, found in self._pairs():
            for nsid, namespace in sorted(subsystem.namespaces.items()):
                there = found.namespaces.get(nsid)
                if there is None and namespace.bdev_name in self._found.bdevs:
                    if not self._waits_for_fence(subsystem.nqn, namespace):
                        adds.append(self._group_step(subsystem.nqn, found, namespace, "add namespace {} of {} in",
                                                     target_state.add_namespace(subsystem.nqn, namespace)))
                elif there is not None and self._own.groups.to_set(subsystem, nsid, there.ana_group_id):
                    if not self._waits_for_fence(subsystem.nqn, namespace):
                        changes.append((namespace, self._group_step(
                            subsystem.nqn, found, namespace, "move namespace {} of {} to",
                            target_state.set_ana_group(subsystem.nqn, namespace))))
        await self._steps.send(adds)
        await self._send_when_quiet(changes)

    def _group_step(self, nqn: str, found: FoundSubsystem, namespace: Namespace, what: str,
                    request: Request) -> Step:
        self._own.groups.asking(nqn, namespace.nsid)

        def done() -> None:
            if namespace.nsid in found.namespaces:
                self._own.groups.moved.add(nqn)
            found.note_namespace(namespace)
            self._own.groups.answered(nqn, namespace.nsid, namespace.ana_group_id)

        return Step(stored.entry_key("namespace", nqn, namespace.nsid),
                    f"{what.format(namespace.nsid, nqn)} ANA group {namespace.ana_group_id}", request, done)

    def _waits_for_fence(self, nqn: str, namespace: Namespace) -> bool:
        """It may not be put into its group yet; into limbo it may be at any time."""
        if self._passed or (nqn, namespace.nsid) in self._moving:
            return False
        subject = stored.entry_key("namespace", nqn, namespace.nsid)
        self._waiting.add(subject)
        self._steps.problem_of[subject] = (
            f"namespace {namespace.nsid} of {nqn} waits: the target's RADOS clients have not seen the OSD map that "
            "fences its last gateway")
        return True

    async def _send_when_quiet(self, steps: Sequence[Tuple[Namespace, Step]]) -> None:
        """Steps that wait for the I/O of a namespace. While that makes no progress they are not sent, because every ANA
        change of the subsystem would wait behind them."""
        await self._steps.send_and_wait_for_io([step for namespace, step in steps
                                                if await self._quiet(namespace, step)])

    async def _quiet(self, namespace: Namespace, step: Step) -> bool:
        if self._own.quiet is None or await self._own.quiet(namespace.bdev_name):
            return True
        self._waiting.add(step.subject)
        self._steps.problem_of[step.subject] = (f"cannot {step.what} yet: its I/O in flight makes no progress; look at "
                                                "`ceph health`")
        return False

    async def _set_access(self) -> None:
        """Who sees each namespace, and how much may be done with it."""
        if self._found.changes_visibility:
            await self._send_when_quiet(access_steps.change_visibility(self._pairs()))
        await self._send_when_quiet(access_steps.show(self._pairs()))
        await self._steps.send(access_steps.limit(self._pairs(), self._found))

    async def _add_hosts(self) -> None:
        await self._keys.provide()
        replaced = await self._keys.replace(self._pairs())
        steps = []
        for subsystem, found in self._pairs():
            nqn = subsystem.nqn
            if subsystem.allow_any_host and not found.allow_any_host:
                steps.append(Step(stored.entry_key("host", nqn, "*"), f"allow any host in {nqn}",
                                   target_state.allow_any_host(nqn, True),
                                   _later(setattr, found, "allow_any_host", True)))
            steps += self._keys.host_steps(subsystem, found)
        await self._steps.send(steps)
        await self._keys.restore(replaced)
        await self._keys.forget(self._found.subsystems.values())

    async def _add_listeners(self) -> None:
        steps = []
        for subsystem, found in self._pairs():
            nqn = subsystem.nqn
            for listener in self._own_listeners(subsystem):
                if target_state.address(listener) in found.listeners:
                    continue
                subject, _ = stored.listener_entry(nqn, listener)
                if nqn in self._incomplete:
                    self._waiting.add(subject)
                    self._steps.problem_of[subject] = (
                        f"listener {listener.address} of {nqn} waits for the subsystem's namespaces")
                    continue
                steps.append(Step(subject, f"listen on {listener.address} for {nqn} (is it an address of this host, "
                                   "and is the port free?)", target_state.add_listener(nqn, listener),
                                   _later(found.listeners.add, target_state.address(listener))))
        await self._steps.send(steps)

    # Comparing.

    def _pairs(self) -> List[Tuple[Subsystem, FoundSubsystem]]:
        """Wanted subsystems that the target has and that can be worked on."""
        blocked = self._steps.blocked
        return [(self._wanted.subsystems[nqn], found) for nqn, found in sorted(self._found.subsystems.items())
                if nqn not in blocked and self._same_subsystem(nqn, found)]

    def _same_subsystem(self, nqn: str, found: FoundSubsystem) -> bool:
        wanted = self._wanted.subsystems.get(nqn)
        return wanted is not None and self._identity(wanted) == found.identity

    def _identity(self, subsystem: Subsystem) -> Tuple[Any, ...]:
        return target_state.identity(subsystem, self._own.cntlid_range)

    def _own_listeners(self, subsystem: Optional[Subsystem]) -> List[Listener]:
        host_name = self._own.settings.gateway.host_name
        return [listener for listener in subsystem.listeners if listener.host_name == host_name] if subsystem else []


def _later(call: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: call(*args)
