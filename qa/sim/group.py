"""The whole gateway group in one world: Ceph, mgrs, hosts, writers; ``history.py`` says what must never be seen."""

from __future__ import annotations

from random import Random
from typing import Dict, List, Optional, Tuple

from nvmeof_ha.core import gateway, register
from nvmeof_ha.core.events import ClearDisaster, CreateGateway, SetEnabled
from nvmeof_ha.core.model import Availability, Map, Phase
from nvmeof_ha.core.timing import Timing
from nvmeof_ha.seat_names import candidates

from .ceph import ControlObjects, DataObject, Seat
from .history import History, Violation
from .host import Host
from .mgr import KEY, Mgr, begin_group
from .mons import Mons
from .network import Network
from .processes import World
from .target import Target
from .writers import Writer

__all__ = ["Group", "Violation"]

FIRST_NAMES = tuple(candidates(KEY.group, n)[0] for n in range(register.SEATS))
CREATE_RETRY_S = 0.5
CHOOSES_NAMES = 0.1
"""In how many runs the mgr begins with asking where objects of which name would be."""
TIMELINE_LINES = 80


class Group:
    slow_share = 0.06
    """Of all writes: queued in the target for up to a second, or on their way to the OSD for up to four, which no drain
    waits for; a fault like others, it ends with them."""

    def __init__(self, chance: Random, gateways: int = 3, timing: Timing = Timing(failback_delay_s=2.0),
                 create: bool = True) -> None:
        """``create``: the operator creates all gateways and starts them as soon as a mgr answers."""
        self.world = World(chance)
        self.network = Network(self.world)
        self.mons = Mons(self.world, self.network)
        self.objects = ControlObjects(self.world, self.network, self.mons)
        self.seats = [Seat(self.objects, n) for n in range(register.SEATS)]
        self.timing = timing
        self.ana_group_ids: Tuple[int, ...] = tuple(range(1, gateways + 1))
        self.history = History(self.world, self.mons, self.ana_group_ids)
        self.data = {g: DataObject(self.mons) for g in self.ana_group_ids}
        self.mgrs: List[Mgr] = []
        self.begin_group(() if chance.random() < CHOOSES_NAMES else FIRST_NAMES)
        self.new_mgr()
        self.hosts = [Host(self, f"gw{i}") for i in self.ana_group_ids]
        self.strangers: List[Host] = []
        """Machines that were given a gateway's id by mistake."""
        self.writers: Dict[int, Writer] = {g: Writer(self, g) for g in self.ana_group_ids}
        if create:
            self.world.later(CREATE_RETRY_S, self._create)

    def begin_group(self, names: Tuple[str, ...] = FIRST_NAMES) -> None:
        """The operator wants the group; its seats are empty and have these names already, or none."""
        begin_group(self.mons, names)

    def _create(self) -> None:
        """Repeated until all are there, as an operator would; then their hosts are booted."""
        self.want_all()
        if all(self._is_there(host) for host in self.hosts):
            for host in self.hosts:
                host.boot()
        else:
            self.world.later(CREATE_RETRY_S, self._create)

    def _is_there(self, host: Host) -> bool:
        gateway = None if self.committed is None else self.committed.gateway(host.name)
        return gateway is not None and not gateway.deleting

    def want_all(self) -> None:
        """Have every gateway created and enabled, and no site in disaster."""
        for disaster in self.committed.disasters if self.mgr.working else ():
            if not disaster.clearing:
                self.mgr.give(ClearDisaster(0, disaster.location))
        for host in self.hosts if self.mgr.working else ():
            if not self._is_there(host):
                self.mgr.give(CreateGateway(0, host.name))
            elif not self.committed.gateway(host.name).enabled:
                self.mgr.give(SetEnabled(0, host.name, True))

    def keep_up(self) -> None:
        """From now on the operator wants every gateway, and a service that ended is started again."""
        self.want_all()
        self.repair()
        for host in self.hosts:
            if not host.up:
                host.boot()
        self.world.later(CREATE_RETRY_S, self.keep_up)

    @property
    def mgr(self) -> Mgr:
        return self.mgrs[-1]

    @property
    def committed(self) -> Optional[Map]:
        return self.mgr.committed

    def new_mgr(self) -> None:
        self.mgrs.append(Mgr(self.world, self.objects, self.mons, self.timing, self.stored))
        for before in self.mgrs[-2:-1]:
            before.replaced(self.objects)

    def repair(self) -> None:
        """The operator has lost seats rebuilt, if the mgr says that they are."""
        if self.mgr.seats_lost:
            self.world.note("the operator: repair")
            self.mgr.end()
            self.mgrs.append(Mgr(self.world, self.objects, self.mons, self.timing, self.stored, repairs=self.mgr))

    # -- what hosts and mgr need ------------------------------------------------------------------------------------

    def told(self, text: str) -> None:
        """Something that a narrator may want to tell happened."""

    def stored(self, mgr: Mgr) -> None:
        """A mgr knows now that its map is stored."""
        newest, found = self.history.stored, mgr.committed
        if found is not None and (newest is None or found.version > newest.version):
            self.history.stored = found

    def set_state(self, host: Host, target: Target, ana_group_id: int, state: str) -> None:
        if not target.process.alive or target.states.get(ana_group_id) == state:
            return
        self.told(f"{host.name} is {state} for ANA group {ana_group_id}")
        target.states[ana_group_id] = state
        if state == gateway.OPTIMIZED:
            self.history.became_optimized(target, ana_group_id)
            self.writers[ana_group_id].path_came()

    def target_ended(self, host: Host, target: Target) -> None:
        self.history.targets = [(h, t) for h, t in self.history.targets if t is not target]
        for writer in self.writers.values():
            writer.path_broke(target)

    def optimized(self, ana_group_id: int) -> List[Target]:
        return [t for _, t in self.history.targets if t.process.alive
                and t.states.get(ana_group_id) == gateway.OPTIMIZED]

    def path(self, ana_group_id: int) -> Optional[Target]:
        """What an initiator takes; a target that froze still looks optimized."""
        found = [t for t in self.optimized(ana_group_id) if not t.in_flight[ana_group_id]]
        return found[0] if len(found) == 1 else self.world.random.choice(found) if found else None

    # -- what is seen in the end ------------------------------------------------------------------------------------

    def check_data(self) -> None:
        for writer in self.writers.values():
            writer.check()

    def settled(self) -> bool:
        """Every gateway is well, and every ANA group is ACTIVE and optimized where it belongs."""
        committed = self.committed
        if committed is None or len(committed.ana_groups) < len(self.ana_group_ids):
            return False
        if any(g.availability is not Availability.AVAILABLE or g.deleting or not g.enabled for g in committed.gateways):
            return False
        for group in committed.ana_groups:
            home = committed.gateway(group.home)
            if group.phase is not Phase.ACTIVE or home is None or group.holder != home.instance:
                return False
        return all(self.optimized(g) for g in self.ana_group_ids)

    def describe(self) -> str:
        lines = [f"{at:8.3f}  {text}" for at, text in self.world.timeline[-TIMELINE_LINES:]]
        return "\n".join(lines + [f"{self.world.now:8.3f}  map: {self.committed}"])
