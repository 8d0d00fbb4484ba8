"""One mgr and its cluster with all gateway groups, in simulated time: who waits for whom.

Modelled: each beacon from its gateway through an OSD, the mgr's messenger and its one callback thread, Python's interpreter and
back; each gateway's reads of the seats; each driver's ticks, probes, looks at its seats, steps, commits (two of three seats),
wake-ups; fences through mons that make at most one OSD map a second, and read back `osd dump`; another module that computes.
A group decides here by a few lines that follow ``core/machine.py`` (silence, lease wait, fence, promotion, silence that does
not count); what its steps cost is measured (``growth_costs.py``).  Not modelled: the gateways' own hosts, memory, the mons'
KV store, the spreading of OSD maps to clients, other work of the OSDs, failing networks.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from nvmeof_ha.core.register import QUORUM, SEATS
from nvmeof_ha.core.timing import TICK_S, Timing
from nvmeof_ha.driver_loop import LOOPS
from nvmeof_ha.seats import CHECK_EVERY_S

from .growth_costs import ADDRESSES, DriverCosts
from .growth_machine import Cores, Interpreter, Loop, Part, Strand, Thread, Work, World

RESOURCES = ('interpreter', 'callback thread', 'messenger threads', 'cores of the mgr host', 'OSDs', 'network', 'mons')
MESSENGERS = 3
"""``ms_async_op_threads``."""
NETWORK_S = 0.0001
PROPOSAL_S = 1.0
"""``paxos_propose_interval``: the mons make an OSD map for what came within it.  Their own commits hold the first one back as
long (`failovers`: 0.02 to 0.98 s)."""
CLAIM_BYTES = 300
"""Of a read that finds the claim of a map that is known, with its headers."""
APPLY_S = 0.035
"""From a stored promotion to an optimized listener, `failovers`."""
OBSERVED = (16, 2)
"""Of so many groups so many gateways are spoken for by a process of their own, `capacity`."""


class OtherWork(NamedTuple):
    """What other code than the driver costs, in seconds: chosen so that CPU at 128 and 1,000 gateways comes near to what
    `capacity` found; ``seat_s`` is of `commits`; what the mons take is an assumption.  ``callback``, ``back``: of the
    interpreter, before and after the ack is sent.  ``item``: what ends at a driver (a probe, a look at a seat, a written seat).  ``second``: each driver, each
    second, beside its ticks.  ``command``: one to the mons, and its answer.  ``mon``: the mons for a command, and for each
    byte of `osd dump`."""

    messenger: Work = Work(12e-6, 72e-6)
    strand: Work = Work(3e-6, 50e-6)
    osd: Work = Work(25e-6, 170e-6)
    callback: float = 10e-6
    back: float = 5e-6
    item: float = 30e-6
    second: float = 150e-6
    seat_s: float = 0.003
    command: float = 60e-6
    mon: Tuple[float, float] = (100e-6, 5e-9)


class Site(NamedTuple):
    """A mgr host, and three hosts of OSDs with 10 Gbit/s each.  ``shared``: everything is on ``mgr_cores``, with what sends
    the beacons (the machine of the other benchmarks): what each message costs that."""

    mgr_cores: int = 4
    osd_cores: int = 24
    osds: int = 24
    bytes_per_s: float = 3 * 1.25e9
    shared: Optional[Work] = None


class Shape(NamedTuple):
    gateways: int
    group_size: int
    timing: Timing
    map_bytes: float
    driver: DriverCosts
    dump: Callable[[int], Tuple[float, float]]
    """Entries of the blocklist -> the fencer's seconds, and bytes."""
    burst_s: float = 0.0
    burst_share: float = 0.3


class _Group:
    """One driver.  ``lost``: how far each gateway is that was lost; ``dirty``: what is decided and not yet being stored."""

    def __init__(self, number: int, size: int, loop: Loop) -> None:
        self.number, self.size, self.loop = number, size, loop
        self.heard: List[float] = [0.0] * size
        self.backlog: List[int] = []
        self.lost: Dict[int, str] = {}
        self.suspected: Dict[int, float] = {}
        self.dirty: Set[Tuple[int, str]] = set()
        self.storing: Set[Tuple[int, str]] = set()
        self.ticked, self.due, self.turn = 0.0, 0.0, 0


class Model:
    """``warm`` it up, then ``lose`` or not, then run on; what it did is in its attributes."""

    def __init__(self, shape: Shape, site: Site, work: OtherWork, seed: int = 1) -> None:
        self.shape, self.site, self.work, self.random = shape, site, work, Random(seed)
        self.world = world = World()
        self.mgr_cores = Cores(site.mgr_cores)
        self.osd_cores = self.mgr_cores if site.shared else Cores(site.osd_cores)
        self.interpreter = Interpreter(world, self.mgr_cores)
        self.messengers = [Thread(self.mgr_cores, work.messenger) for _ in range(MESSENGERS)]
        self.strand_thread = Thread(self.mgr_cores, work.strand)
        self.strand = Strand(world, self.strand_thread, self.interpreter, work.back)
        self.osds = [Thread(self.osd_cores, work.osd) for _ in range(site.osds)]
        self.mon = Thread(Cores(1), Work(work.mon[0], 0.0))
        self.sender = Thread(self.mgr_cores, site.shared) if site.shared else None
        self.observer = Thread(self.mgr_cores, site.shared) if site.shared else None
        self.acks: List[float] = []
        self.late: List[float] = []
        self.served: List[float] = []
        self.blocklisted, self.maps_made, self.commits, self.beacons = 0, 0, 0, 0
        self._map_phase, self._last_map = self.random.random() * PROPOSAL_S, -1
        self._dump_asked = False
        self._wait_for_dump: List[Tuple[_Group, int]] = []
        self.groups: List[_Group] = []
        loops = [Loop(self.interpreter) for _ in range(LOOPS)]
        for number, first in enumerate(range(0, shape.gateways, shape.group_size)):
            self._begin(_Group(number, min(shape.group_size, shape.gateways - first), loops[number % LOOPS]))
        if shape.burst_s:
            world.at(self.random.random() * shape.burst_s, self._burst)

    def _begin(self, group: _Group) -> None:
        self.groups.append(group)
        chance, beacon_s = self.random.random, self.shape.timing.beacon_s
        for member in range(group.size):
            self.world.at(chance() * beacon_s, self._beacon, group, member, self.random.randrange(SEATS))
        self._tick_at(group, chance() * beacon_s / 2)
        self.world.at(chance(), self._every_second, group)

    # -- beacons ----------------------------------------------------------------------------------------------------

    def _beacon(self, group: _Group, member: int, seat: int) -> None:
        if member in group.lost:
            return
        world, now = self.world, self.world.now
        world.at(now + self.shape.timing.beacon_s, self._beacon, group, member, (seat + 1) % SEATS)
        if self.sender is None:
            self._sent(group, member, seat, None)
        else:
            observed = self.observer is not None and group.number < OBSERVED[0] and member < OBSERVED[1]
            process = self.observer if observed else self.sender
            world.at(process.run(now), self._sent, group, member, seat, process)

    def _sent(self, group: _Group, member: int, seat: int, process: Optional[Thread]) -> None:
        self.beacons += 1
        self._read_seats(group, CLAIM_BYTES)
        self._notify(group, seat, lambda: group.backlog.append(member), process)

    def _notify(self, group: _Group, seat: int, heard: Callable[[], None], process: Optional[Thread] = None) -> None:
        """``heard``: when the callback has it.  ``process``: on the same machine, by which the ack is taken."""
        world, begun = self.world, self.world.now
        osd, messenger = self._osd(group, seat), self.messengers[(group.number + seat) % MESSENGERS]

        def arrived() -> None:
            world.at(messenger.run(world.now), self.strand.call, self.work.callback, said)

        def said() -> None:
            heard()
            world.at(messenger.run(world.now) + NETWORK_S, acked)

        def acked() -> None:
            end = osd.run(world.now) + NETWORK_S
            if process is None:
                self.acks.append(end - begun)
            else:
                world.at(end, taken)

        def taken() -> None:
            end = process.run(world.now)
            if process is self.observer:
                self.acks.append(end - begun)
        world.at(osd.run(world.now) + 2 * NETWORK_S, arrived)

    def _osd(self, group: _Group, seat: int) -> Thread:
        return self.osds[(SEATS * group.number + seat) % len(self.osds)]

    def _read_seats(self, group: _Group, size: float) -> None:
        """One gateway, all three."""
        for seat in range(SEATS):
            self._osd(group, seat).run(self.world.now)
        self.world.bytes += SEATS * size

    # -- the driver -------------------------------------------------------------------------------------------------

    def _every_second(self, group: _Group) -> None:
        """Probes of each seat and a look at some, watches that are checked, what health and metrics ask."""
        self.world.at(self.world.now + 1.0, self._every_second, group)
        looks = int(1 / CHECK_EVERY_S) + (self.random.random() < 1 / CHECK_EVERY_S % 1)
        for operation in range(SEATS + looks):
            self._operation(group, operation % SEATS, 0.0, lambda: group.loop.ask(self.work.item, lambda _: None))
        self.interpreter.ask(Part.MODULE, self.work.second, lambda _: None)

    def _operation(self, group: _Group, seat: int, stored_s: float, ended: Callable[[], None]) -> None:
        """Of the mgr, on a seat."""
        world, messenger = self.world, self.messengers[(group.number + seat) % MESSENGERS]

        def answered() -> None:
            world.at(messenger.run(world.now), self.strand.call, self.work.back, ended)

        def sent() -> None:
            world.at(self._osd(group, seat).run(world.now) + stored_s + NETWORK_S, answered)
        self.world.bytes += self.shape.map_bytes
        world.at(messenger.run(world.now) + NETWORK_S, sent)

    def _tick_at(self, group: _Group, when: float) -> None:
        group.due, group.turn = when, group.turn + 1
        self.world.at(when, self._is_due, group, group.turn)

    def _is_due(self, group: _Group, turn: int) -> None:
        if turn == group.turn:
            taken: List[int] = []

            def cost() -> float:
                taken.extend(group.backlog)
                group.backlog.clear()
                well = not group.lost or self._fades_in_s(group) > 0 and not group.suspected
                tick_s, beacon_s = self.shape.driver.rest if well else self.shape.driver.unrest
                return tick_s + len(taken) * beacon_s
            group.turn += 1
            group.loop.ask(cost, lambda begun: self._ticked(group, begun, taken))

    def _ticked(self, group: _Group, begun: float, taken: List[int]) -> None:
        now, timing = self.world.now, self.shape.timing
        self.late.append(begun - group.due)
        passed, group.ticked = begun - group.ticked, begun
        if passed > max(timing.beacon_s, 2 * TICK_S):    # detector.deaf_s
            group.heard = [min(begun, heard + passed) for heard in group.heard]
        for member in taken:
            group.heard[member] = begun
        if group.lost:
            self._settle(group, now)
        self._tick_at(group, now + (TICK_S if group.suspected else max(TICK_S, min(
            timing.beacon_s / 2, self._fades_in_s(group)))))    # rest.tick_s

    def _fades_in_s(self, group: _Group) -> float:
        """``rest.fades_in_s``."""
        timing = self.shape.timing
        return timing.suspect_s - timing.beacon_s / 2 - (self.world.now - min(group.heard))

    def _settle(self, group: _Group, now: float) -> None:
        """Silence, and leases that are over; mass silence is held back (``detector.silence``)."""
        timing = self.shape.timing
        listened = [m for m in range(group.size) if m not in group.suspected]
        fading = sum(now - group.heard[m] >= timing.suspect_s - timing.beacon_s / 2 for m in listened)
        limit_s = timing.suspect_s * (2 if fading >= 2 and 2 * fading > len(listened) else 1)
        for member in listened:
            if member in group.lost and now - group.heard[member] >= limit_s:
                self._decide(group, member, 'suspect')
                group.suspected[member] = float('inf')
        for member, acked in group.suspected.items():
            if group.lost[member] == 'suspect' and now >= acked + timing.lease_wait_s:
                self._decide(group, member, 'departed')
        self._commit(group)

    def _decide(self, group: _Group, member: int, what: str) -> None:
        group.lost[member] = what
        group.dirty.add((member, what))

    def _step(self, group: _Group, effect: Callable[[], None]) -> None:
        """Of an event that is no beacon."""
        def done(_begun: float) -> None:
            effect()
            self._commit(group)
            if group.due > self.world.now + TICK_S:
                self._tick_at(group, self.world.now + TICK_S)
        group.loop.ask(self.shape.driver.event, done)

    def _commit(self, group: _Group) -> None:
        if group.storing or not group.dirty:
            return
        group.storing, group.dirty = group.dirty, set()
        self.commits += 1
        taken = 0

        def ended() -> None:
            group.loop.ask(self.work.item, written)

        def written(_begun: float) -> None:
            nonlocal taken
            taken += 1
            if taken == QUORUM:
                self._step(group, lambda: self._committed(group))
        for seat in range(SEATS):
            self._operation(group, seat, self.work.seat_s, ended)

    def _committed(self, group: _Group) -> None:
        stored, group.storing = group.storing, set()
        now = self.world.now
        for member, what in stored:
            if what == 'suspect':
                group.suspected[member] = now
            elif what == 'departed':
                self._fence(group, member)
            elif what == 'promoting':
                self.world.at(now + APPLY_S, self._optimized, group, member)
        for _ in range(group.size - len(group.lost)):   # woken, they read
            self._read_seats(group, self.shape.map_bytes)

    def _optimized(self, group: _Group, member: int) -> None:
        self.served.append(self.world.now)
        for seat in range(SEATS):
            self._notify(group, seat, lambda: self._step(group, lambda: self._confirmed(group, member)))

    def _confirmed(self, group: _Group, member: int) -> None:
        if group.lost[member] == 'promoting':
            self._decide(group, member, 'active')

    # -- fences -----------------------------------------------------------------------------------------------------

    def _fence(self, group: _Group, member: int) -> None:
        """The commands go out together; the OSD map that is made next after the mons took the last has them all."""
        def sent(_begun: float) -> None:
            taken = self.mon.run(self.world.now, ADDRESSES)
            number = int((taken - self._map_phase) / PROPOSAL_S) + 1
            if number != self._last_map:
                self._last_map, self.maps_made = number, self.maps_made + 1
            self.world.at(self._map_phase + number * PROPOSAL_S + NETWORK_S, self._listed, group, member)
        group.loop.ask(ADDRESSES * self.work.command, sent)

    def _listed(self, group: _Group, member: int) -> None:
        """Every command is answered, then `osd dump` is wanted."""
        self.blocklisted += ADDRESSES

        def wanted(_now: float) -> None:
            self._wait_for_dump.append((group, member))
            self._dump()
        group.loop.ask(ADDRESSES * self.work.command, wanted)

    def _dump(self) -> None:
        """One at a time is asked for and sent, for all who want it by then; the first of them reads it."""
        if self._dump_asked or not self._wait_for_dump:
            return
        self._dump_asked, asking, self._wait_for_dump = True, self._wait_for_dump, []
        read_s, size = self.shape.dump(self.blocklisted)
        self.world.bytes += size
        messages = max(1, round(size * self.work.mon[1] / self.work.mon[0]))

        def answered() -> None:
            for number, (group, member) in enumerate(asking):
                group.loop.ask(0.0 if number else read_s, partial(self._fenced, group, member))
            self._dump_asked = False
            self._dump()
        self.world.at(self.mon.run(self.world.now, messages) + 2 * NETWORK_S, answered)

    def _fenced(self, group: _Group, member: int, _now: float) -> None:
        self._step(group, lambda: self._decide(group, member, 'promoting'))

    # -- what is done to it -----------------------------------------------------------------------------------------

    def lose(self, lost: Callable[[int], bool]) -> int:
        """Gateways, by their number; returns how many."""
        for group in self.groups:
            for member in range(group.size):
                if lost(group.number * self.shape.group_size + member):
                    group.lost[member] = 'silent'
        return sum(len(group.lost) for group in self.groups)

    def _burst(self) -> None:
        pause_s = self.shape.burst_s * (1 - self.shape.burst_share) / self.shape.burst_share * (0.5 + self.random.random())

        def over(_begun: float) -> None:
            self.world.at(self.world.now + pause_s, self._burst)
        self.interpreter.ask(Part.OTHER_MODULE, self.shape.burst_s, over)

    def used(self) -> Dict[str, float]:
        """Of each resource so far, in seconds of all of it."""
        return dict(zip(RESOURCES, (
            self.interpreter.busy_s, self.strand.busy_s, sum(t.busy_s for t in self.messengers) / MESSENGERS,
            self.mgr_cores.busy_s / self.mgr_cores.cores,
            sum(t.busy_s for t in self.osds) / min(len(self.osds), self.osd_cores.cores),
            self.world.bytes / self.site.bytes_per_s, self.mon.busy_s)))

    @property
    def mgr_cpu_s(self) -> float:
        return self.interpreter.busy_s + self.strand_thread.busy_s + sum(t.busy_s for t in self.messengers)
