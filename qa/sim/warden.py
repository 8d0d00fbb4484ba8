"""The warden of one gateway host.  Real are the lease (``core.lease``), the rules for reading seats
(``core.register``), who may run (``gw_agent.admission``), how it leaves (``gw_agent.leaving``) and how often it
starts a target (``gw_agent.start_pace``).  Stand-ins, as thin as they can be: its loop, the reading of the seats,
JSON-RPC, child processes, the link to the agent (in order, at once).
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Dict, List, Optional, Protocol, Tuple

from gw_agent.admission import Admission, admission
from gw_agent.leaving import Leaving
from gw_agent.start_pace import StartPace
from nvmeof_ha import seat_names
from nvmeof_ha.core import lease, register, wire
from nvmeof_ha.core.gateway import INACCESSIBLE
from nvmeof_ha.core.model import Instance, Map
from nvmeof_ha.core.timing import Timing

from .ceph import Client, ControlObjects, Omap, Watcher
from .mons import Mons
from .network import Network
from .processes import Body, Process, World
from .target import Target

LOOK_S = 0.2
SOON_S = 0.05
MON_PATIENCE_BEACONS = 2
AGENT_SILENT_S = 6.0
LOOP_GAP_S = 1.0
AGENT_BACKOFF_S = 0.1
STOP_S = 2.0
OUTSTANDING_PER_SEAT = 6
KNOWN_MAPS = 8


class Round:
    """One read of all seats, as far as it was answered."""

    def __init__(self, sent_s: float) -> None:
        self.sent_s = sent_s
        self.maps: List[Optional[Map]] = [None] * register.SEATS


class HostOfWarden(Protocol):
    """What a warden needs of its host."""

    name: str
    world: World
    network: Network
    objects: ControlObjects
    mons: Mons
    target: Optional[Target]
    agent: Any

    def new_target(self, instance: Instance) -> None: ...

    def new_agent(self) -> None: ...

    def set_state(self, target: Target, ana_group_id: int, state: str) -> None: ...

    def told(self, text: str) -> None: ...


class Warden:
    def __init__(self, host: HostOfWarden, process: Process, client: Client, earlier: Tuple[Instance, ...]) -> None:
        """``earlier``: the instance that the run directory names; it is gone."""
        self._host, self.process, self._client = host, process, client
        self.view, self.latest = register.NOTHING_SEEN, (register.NOTHING_SEEN, 0.0)
        self.ward: Optional[lease.Ward] = None
        self.reaped, self.turned_s = earlier, process.clock.now()
        self.leaving = Leaving()
        self.pace = StartPace()
        self._admission = Admission(None, "")
        self._view_changed, self._ran = False, False
        self.names: Tuple[str, ...] = ()
        self._read_due, self._round_s = True, 0.0
        self._outstanding: Dict[str, int] = {}
        self._probed_s = 0.0
        self._mon_asked = False
        self._agent_due_s, self._agent_heard_s = 0.0, 0.0
        self._known: Dict[bytes, Map] = {}
        self._steady: Tuple[Optional[Map], register.View] = (None, register.NOTHING_SEEN)
        self._why, self._stopping = "", False
        self._watcher = Watcher(client, self._woken, lambda: process.alive)
        process.start(self._run())

    @property
    def timing(self) -> Timing:
        return Timing() if self.view.permits is None else self.view.permits.timing

    @property
    def candidate(self) -> Optional[Instance]:
        """The instance that beacons are to propose, or that runs."""
        proposed = self._admission.candidate
        return None if proposed is None or proposed in self.reaped else proposed

    def _run(self) -> Body:
        while not self._turn(self.process.clock.now()):
            yield self._patience_s()

    def _turn(self, now: float) -> bool:
        """True: it ends."""
        self._read_seats(now)
        target = self._host.target
        if target is not None and self.ward is not None:
            self._guard(target, now)
        if self._host.target is None and not self.leaving.asked:
            self._admit(now)
        self._look_after_agent(now)
        self.turned_s = now
        return bool(self.leaving.asked) and self._leave(now)

    def _patience_s(self) -> float:
        now, ward = self.process.clock.now(), self.ward
        wait_s = min(LOOK_S, self._round_s + self.timing.beacon_s - now)
        if ward is not None:
            wait_s = min(wait_s, ward.lease_until_s - now if now < ward.lease_until_s else SOON_S)
        return max(wait_s, 0.001)

    # -- seats ------------------------------------------------------------------------------------------------------

    def read_now(self) -> None:
        self._read_due = True
        self.process.wake()

    def _woken(self, _notifier: int, _data: bytes, answer: Any) -> None:
        answer(b"")
        self.process.run(self.read_now)

    def _read_seats(self, now: float) -> None:
        if not self._read_due and now - self._round_s < self.timing.beacon_s:
            return
        self._read_due, self._round_s = False, now
        if not self.names:
            self._read(seat_names.index_name("g1"), self._index_read)
            return
        started = Round(now)
        for number, name in enumerate(self.names):
            self._read(name, partial(self._seat_read, started, number))

    def _read(self, name: str, ended: Any) -> None:
        if self._outstanding.get(name, 0) >= OUTSTANDING_PER_SEAT:
            return
        self._outstanding[name] = self._outstanding.get(name, 0) + 1

        def answered(code: int, omap: Omap) -> None:
            self._outstanding[name] -= 1
            ended(code, omap)
        self._host.objects.read(self._client, name, lambda *read: self.process.run(answered, *read))

    def _index_read(self, code: int, omap: Omap) -> None:
        if not code and omap:
            self.names = tuple(omap[f"seat.{n}"].decode() for n in range(register.SEATS))
            self.read_now()
            self._host.objects.watch(self._client, seat_names.wake_name("g1"), self._watcher, lambda code: None)

    def _seat_read(self, started: Round, number: int, code: int, omap: Omap) -> None:
        data = omap.get(register.MAP_KEY)
        if code or data is None:
            return
        found = self._decoded(data)
        if found is None:
            return
        started.maps[number] = found
        permits, last = self._steady
        same = sum(m is found for m in started.maps)
        if found is permits and same != register.QUORUM and all(m is None or m is found for m in started.maps):
            return  # one answer alone says nothing new, and neither does a third that is like two others
        if found is permits and same == register.QUORUM and started.maps.count(None) == 1:
            fresh = last
        else:
            fresh = register.judge(started.maps, self.view.version)
            steady = fresh.permits is found and fresh.restricts == (found, found)
            self._steady = (found, fresh) if steady else (None, fresh)
        self._take(fresh, started.sent_s)

    def _decoded(self, data: bytes) -> Optional[Map]:
        """Each distinct map is decoded once."""
        if data not in self._known:
            try:
                self._known = {**dict(list(self._known.items())[-KNOWN_MAPS:]), data: wire.decode_map(data)}
            except wire.WireError:
                return None
        return self._known[data]

    def _take(self, fresh: register.View, sent_s: float) -> None:
        now = self.process.clock.now()
        before = self.view
        self.view, self.latest = register.merge(before, fresh), (fresh, sent_s)
        if self.view != before:
            self._view_changed = True
            self.process.wake()
        if self.ward is not None:
            self.ward = self.ward.seats_read(fresh, sent_s, now)
            if self.ward.over:
                self.process.wake()
        elif self._admission.candidate is not None and not self._admission.waiting:
            self.process.wake()
        self._host.agent.hear_seats(fresh, sent_s)
        if now - sent_s > self.timing.beacon_s:
            self.read_now()

    # -- the target -------------------------------------------------------------------------------------------------

    def _guard(self, target: Target, now: float) -> None:
        assert self.ward is not None
        if not target.process.alive:
            self._reap(target, now)
            return
        if now - self._probed_s >= self.timing.beacon_s and not target.process.stopped:
            self._probed_s = now
            self.ward = self.ward.target_answered(now)
        self._ask_mons(now)
        self.ward = self.ward.look(now)
        verdict = self.ward.verdict(now)
        if verdict.order is lease.Order.KILL:
            self.kill(target, verdict.reason)
            self._reap(target, now)
        elif verdict.order is lease.Order.RESTRICT:
            self._restrict(target, now)

    def kill(self, target: Target, reason: str) -> None:
        if target.process.alive:
            self._why = reason
            target.process.kill()

    def _restrict(self, target: Target, now: float) -> None:
        assert self.ward is not None
        first = self.ward.restrict_since_s is None
        self.ward = self.ward.restrict_asked(now)
        asked_s = self.ward.restrict_since_s
        if not first:
            return

        def carry_out() -> None:
            for ana_group_id in target.states:
                self._host.set_state(target, ana_group_id, INACCESSIBLE)
            self.process.run(confirmed)

        def confirmed() -> None:
            ward = self.ward
            if ward is not None and ward.instance == target.instance and ward.restrict_since_s == asked_s:
                self.ward = ward.restrict_confirmed()
        target.ask("warden", carry_out)

    def _ask_mons(self, now: float) -> None:
        assert self.ward is not None
        if now - self.ward.contact_s > MON_PATIENCE_BEACONS * self.timing.beacon_s and not self._mon_asked:
            self._mon_asked = True
            self._host.mons.command(self._host.name, {"prefix": "osd dump"}, partial(self.process.run,
                                                                                     self._mons_answered))

    def _mons_answered(self, _code: int, osd_dump: str, _text: str) -> None:
        self._mon_asked = False
        if self.ward is not None:
            record = None if self.view.permits is None else self.view.permits.current(self.ward.instance)
            out = record is not None and not record.addresses.isdisjoint(json.loads(osd_dump)["blocklist"])
            self.ward = self.ward.mons_answered(self.process.clock.now(), out)
            self.process.wake()

    def _reap(self, target: Target, now: float) -> None:
        reason, self._why = self._why or "died", ""
        self._host.world.note(f"{self._host.name}: target {target.instance} reaped ({reason})")
        self._host.told(f"{self._host.name} has reaped its target: {reason}")
        self.reaped += (target.instance,)
        self._host.target, self.ward, self._view_changed = None, None, True
        self.pace.ended(now)
        self._host.agent.status_changed()

    def _admit(self, now: float) -> None:
        if self._view_changed:
            self._view_changed = False
            self._judge_admission()
        candidate, (fresh, sent_s) = self._admission.candidate, self.latest
        if self._admission.waiting or candidate is None or not self.pace.due(now):
            return
        if not lease.permitting(fresh, candidate) or now - sent_s > self.timing.beacon_s:
            return   # the lease begins with the read that admits the instance: wait for the next one
        self._host.new_target(candidate)
        self.pace.started(now)
        self._ran = True
        self.ward = lease.Ward(candidate, now).seats_read(fresh, sent_s, now)
        self._host.agent.status_changed()

    def _judge_admission(self) -> None:
        permits, before = self.view.permits, self.candidate
        if permits is not None:
            self.reaped = tuple(i for i in self.reaped if permits.current(i) is not None or not permits.is_over(i))
        judged = admission(self.view, "rbd", "g1", self._host.name, self._admission.candidate, self.reaped,
                           lambda: f"{self._host.world.random.getrandbits(32):08x}")
        candidate = None if judged.candidate is None else Instance(*judged.candidate)
        self._admission = Admission(candidate, judged.waiting, judged.deleted)
        if judged.deleted and self._ran:
            self.leaving.asked = max(self.leaving.asked, 1)
        if self.candidate != before:
            self._host.agent.status_changed()

    # -- the agent, and the end -------------------------------------------------------------------------------------

    def _look_after_agent(self, now: float) -> None:
        agent = self._host.agent
        if now - self.turned_s > LOOP_GAP_S:
            self._agent_heard_s = now   # this process did not run, so what it did not hear proves nothing
        if not agent.process.alive:
            if not self._stopping and now >= self._agent_due_s:
                self._agent_heard_s, self._agent_due_s = now, now + AGENT_BACKOFF_S
                self._host.new_agent()
            return
        if not agent.process.stopped:
            self._agent_heard_s = now
        if now - self._agent_heard_s > AGENT_SILENT_S:
            agent.process.kill()
            self._agent_due_s = now + AGENT_BACKOFF_S

    def _leave(self, now: float) -> bool:
        host = self._host
        running = None if host.target is None else host.target.instance
        step = self.leaving.step(running, self.view, self.reaped, host.agent.process.alive, self.timing, now)
        if step.stop_target and host.target is not None and not self._stopping:
            self._stopping = True
            self._why = "it has left"
            busy = any(host.target.in_flight.values())
            self.process.soon(host.target.process.kill, STOP_S if busy else SOON_S)
        if step.stop_agent:
            self._stopping = True
            host.agent.process.kill()
        return step.done
