"""One gateway host: a clock, and warden, agent and target as they come and go on it."""

from __future__ import annotations

from typing import Iterable, List, Optional, Protocol, Tuple

from nvmeof_ha.core.model import Instance, Subsystem
from nvmeof_ha.core.timing import CLOCK_RATE_ERROR

from .agent import Agent
from .ceph import Client, ControlObjects
from .history import History
from .mons import Mons
from .network import Network
from .processes import Clock, Process, World
from .target import Target
from .warden import Warden


class GroupOfHosts(Protocol):
    """What a host needs of the group: Ceph, the network, and somebody who sees what happens."""

    world: World
    network: Network
    objects: ControlObjects
    mons: Mons
    history: History
    ana_group_ids: Tuple[int, ...]

    def told(self, text: str) -> None: ...

    def set_state(self, host: "Host", target: Target, ana_group_id: int, state: str) -> None:
        """The target carries out ``set_ana_state``."""

    def target_ended(self, host: "Host", target: Target) -> None: ...


class Host:
    def __init__(self, group: GroupOfHosts, name: str) -> None:
        self.group, self.name = group, name
        self.world, self.network, self.objects, self.mons = group.world, group.network, group.objects, group.mons
        self.clock = Clock(self.world, 1.0 + self.world.random.uniform(-1, 1) * CLOCK_RATE_ERROR)
        self.target: Optional[Target] = None
        self.listening, self.namespaces = True, {g: 1 for g in group.ana_group_ids}
        self.barred = False
        """The mons do not answer the target's clients: no barrier can be passed."""
        self.hanging = False
        """The agent sends beacons and carries nothing out."""
        self._client = Client(name, f"client/{name}")
        self._woke_s = float("-inf")
        self._earlier: Tuple[Instance, ...] = ()
        self._running: Optional[Tuple[Warden, Agent]] = None
        self._subsystems: Tuple[object, Tuple[Subsystem, ...]] = (None, ())

    # -- processes --------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start a warden (which starts the rest); an old target is gone with its old warden."""
        assert not self.up
        if self.target is not None:
            self._earlier, self.target = (self.target.instance,), None
        process = Process(self.world, f"{self.name} warden", self.clock, self._warden_ended)
        self.warden = Warden(self, process, self._client, self._earlier)
        self.new_agent()

    @property
    def up(self) -> bool:
        return self._running is not None and self.warden.process.alive

    def new_agent(self) -> None:
        sequence = self._running[1].beacons.sequence if self._running is not None else 0
        self.agent = Agent(self, Process(self.world, f"{self.name} agent", self.clock), self._client, sequence)
        self._running = (self.warden, self.agent)

    def new_target(self, instance: Instance) -> None:
        self._earlier = (instance,)
        self.target = Target(self.world, self.name, instance, self.group.ana_group_ids, self.clock, self._target_ended)
        self.group.history.targets.append((self, self.target))

    def kill(self) -> None:
        """The warden, and with it the rest (PDEATHSIG)."""
        if self.up:
            self.warden.process.kill()

    def _warden_ended(self) -> None:
        self.agent.process.kill()
        if self.target is not None:
            self.target.process.kill()

    def _target_ended(self, target: Target) -> None:
        self.group.target_ended(self, target)
        if self.up:
            self.warden.process.wake()   # SIGCHLD

    def leave(self) -> None:
        """SIGTERM."""
        if self.up:
            self.warden.leaving.asked += 1
            self.warden.process.wake()

    def running(self) -> List[Process]:
        found = [self.warden.process, self.agent.process] if self._running is not None else []
        found += [self.target.process] if self.target is not None else []
        return [process for process in found if process.alive]

    def go_on(self, processes: Iterable[Process]) -> None:
        """SIGCONT."""
        nobody = self._nobody_guards
        for process in processes:
            process.go_on()
        if nobody and not self._nobody_guards:
            self._woke_s = self.world.now
        self.group.history.woke(self._restrict_s)

    @property
    def _restrict_s(self) -> float:
        return self.warden.timing.restrict_s if self._running is not None else 0.0

    @property
    def _nobody_guards(self) -> bool:
        if self.target is None or self._running is None:
            return False
        return self.warden.process.stopped and not self.agent.guards(self.target)

    def unguarded(self, since_s: float) -> bool:
        """Nobody here can make inaccessible or kill a target that has been optimized since then, or what is due since
        one of them woke takes until now."""
        return self._nobody_guards or since_s < self._woke_s and self.world.now - self._woke_s < self._restrict_s

    @property
    def outside_lease(self) -> bool:
        """Neither its agent nor its warden has a lease, and what is due at a lease's end must be done."""
        ward = self.warden.ward
        until_s = max(self.agent.lease_until_s, 0.0 if ward is None else ward.lease_until_s)
        return self.clock.now() > until_s + self._restrict_s

    # -- what its target is and does --------------------------------------------------------------------------------

    def set_state(self, target: Target, ana_group_id: int, state: str) -> None:
        self.group.set_state(self, target, ana_group_id, state)

    def told(self, text: str) -> None:
        self.group.told(text)

    def subsystems(self) -> Tuple[Subsystem, ...]:
        """As its agent reports them."""
        held = tuple((g, count) for g, count in self.namespaces.items() if count)
        key = (held, self.listening)
        if self._subsystems[0] != key:
            listeners = (self.name,) if self.listening else ()
            self._subsystems = (key, (Subsystem("nqn", listeners, held),) if held else ())
        return self._subsystems[1]
