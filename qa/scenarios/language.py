"""The commands of scenario files, played on a simulated gateway group around the real core.

Commands (``gwN`` is a gateway; times are simulated seconds):

    gateways N                 a group with N gateways, created, started and settled
    hosts N                    N gateway hosts and a mgr, nothing created or started
    create gwN | delete gwN | enable gwN | disable gwN     what the operator asks for
    failover N [gwM]           hand ANA group N over, to gwM; why not, if it cannot be
    drain gwN ... | fence gwN  take several out of service; declare the present instance dead
    locate gwN SITE            it is at that site;  disaster-set SITE | disaster-clear SITE: the site is lost | well again
    start gwN | terminate gwN  start a gateway's warden; SIGTERM to it
    start second gwN           a warden on one more machine that was given the same gateway id
    kill target|agent|host gwN          SIGKILL
    stop target|agent|warden|host gwN   SIGSTOP; continue gwN: SIGCONT to all that it runs
    cut gwN|mgr | mend gwN|mgr          no message in either direction between it and the cluster
    cut to gwN                 it is heard, and hears nothing; ``mend gwN`` ends it
    bar gwN | admit gwN        the mons do not answer the RADOS clients of its target: no barrier can be passed
    hang gwN | unhang gwN      its agent sends beacons and carries nothing out
    refuse fences | accept fences       how the mons answer blocklist commands
    stall seat N ... | heal seats       the placement groups of seats take no reads or writes
    slow seats SECONDS         every operation on them takes that long; 0: as long as usual
    stall data N | heal data            the same for the data of ANA group N
    lose seats N ...           these of the objects 1, 2 and 3 that hold the map are gone
    repair                     the operator has lost seats rebuilt
    kill mgr | stop mgr | continue mgr | new mgr     the active mgr; ``new mgr`` makes the next one
    remove listener gwN | add listener gwN       of all subsystems, as that gateway reports it
    namespaces N               in each ANA group, as all gateways report
    namespaces N in M | namespaces N at gwN      the same for ANA group M, or as that gateway reports
    set TIMER SECONDS          a timer of the group, e.g. ``set lease_s 5``
    elect SECONDS              the mons have no quorum for that long
    run SECONDS                let time pass; what changes is printed with its time
    show                       gateways and ANA groups as the stored map has them, and who was refused
    stalls                     how long writes of each ANA group were not acknowledged, at worst, since the last time

A file that begins with ``explored`` is played on the explored worlds instead, where each line is one thing that happens and
all others wait: paths that ``qa/explore`` found (its ``story.py`` says how).

Timers are the defaults, but for ``failback_delay_s``, which is 2 s.  Writes in scenarios are quick where Ceph is well.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count
from random import Random
from typing import Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

from explore.story import Story
from nvmeof_ha.core.events import (ClearDisaster, CreateGateway, DeleteGateway, DrainGateways, FenceGateway, MoveAnaGroup,
                                   SetDisaster, SetEnabled, SetLocation, SetTiming)
from nvmeof_ha.core.model import Map
from sim.ceph import OP_S
from sim.group import Group
from sim.host import Host
from sim.mgr import Mgr
from sim.network import links_of
from testbed.map_changes import changes

T = TypeVar("T")

SETTLE_S = 30.0


class Even(Random):
    """No chance at all: everything takes as long as it takes on average.  So what a scenario shows changes only when
    what happens changes, and not whenever something more is drawn."""

    def __init__(self) -> None:
        super().__init__(0)
        self._numbers = count(1)

    def random(self) -> float:
        return 0.5

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2

    def randint(self, a: int, b: int) -> int:
        return a

    def choice(self, seq: Sequence[T]) -> T:
        return seq[0]

    def getrandbits(self, k: int) -> int:
        """For tokens and clocks, which must differ."""
        return next(self._numbers)


class ScenarioError(ValueError):
    """A line that is no command; names it and the way out."""


class Narrated(Group):
    """A group that tells what its maps and targets say, with the time since the step began."""

    slow_share = 0.0

    def __init__(self, gateways: int, create: bool) -> None:
        self.lines: List[str] = []
        self._last: Optional[Map] = None
        self._began = 0.0
        super().__init__(Even(), gateways, create=create)

    def begin(self) -> None:
        self.lines, self._began = [], self.world.now

    def told(self, text: str) -> None:
        at = self.world.now - self._began
        for what, shown in ((r"(#[0-9]+):[0-9a-f]{8}", r"\1"), (r", which must have seen osd_epoch 0$", ""),
                            (r"osd_epoch [0-9]+", "the fence")):
            text = re.sub(what, shown, text)
        self.lines.append(f"{at:5.1f}  {text}")

    def stored(self, mgr: Mgr) -> None:
        if mgr is self.mgr and mgr.committed is not None:
            for text in changes(self._last, mgr.committed) + gone(self._last, mgr.committed):
                self.told(text)
            self._last = mgr.committed


def gone(old: Optional[Map], new: Map) -> List[str]:
    """Gateways and ANA groups that were removed."""
    if old is None:
        return []
    return ([f"{g.id} is gone from the map" for g in old.gateways if new.gateway(g.id) is None]
            + [f"ANA group {g.id} is gone from the map" for g in old.ana_groups if new.ana_group(g.id) is None])


class Scenario:
    """Plays the steps of one file."""

    def __init__(self) -> None:
        self._group: Optional[Narrated] = None
        self._explored: Optional[Story] = None
        self._commands: Dict[str, Callable[..., Optional[List[str]]]] = {
            "gateways": self._gateways, "hosts": self._hosts, "create": self._create, "delete": self._delete,
            "enable": self._enable, "disable": self._enable, "failover": self._failover,
            "locate": self._locate, "drain": self._drain, "fence": self._fence, "disaster-set": self._disaster, "disaster-clear": self._disaster,
            "start": self._start, "terminate": self._terminate, "kill": self._kill, "stop": self._stop,
            "continue": self._continue, "cut": self._cut, "mend": self._mend, "stall": self._stall, "heal": self._heal,
            "new": self._new, "remove": self._listener, "add": self._listener, "namespaces": self._namespaces,
            "hang": self._hang, "unhang": self._hang, "bar": self._bar, "admit": self._bar,
            "lose": self._lose, "repair": self._repair,
            "refuse": self._refuse, "accept": self._refuse, "slow": self._slow,
            "set": self._set, "elect": self._elect, "run": self._run, "show": self._show, "stalls": self._stalls}

    def step(self, commands: List[str]) -> List[str]:
        """Run the commands of one step; returns what is seen."""
        output: List[str] = []
        if commands[0].startswith("explored "):
            self._explored = Story(commands[0])
            return self._explored.play(commands[1:])
        if self._explored is not None:
            return self._explored.play(commands)
        if self._group is not None:
            self._group.begin()
        for line in commands:
            words = line.split()
            if words[0] not in self._commands:
                raise ScenarioError(f"{line!r}: no such command; see language.py for what there is")
            try:
                output += self._commands[words[0]](*words) or []
            except TypeError:
                raise ScenarioError(f"{line!r}: wrong number of words; see language.py") from None
        return output

    @property
    def group(self) -> Narrated:
        if self._group is None:
            raise ScenarioError("begin with `gateways N` or `hosts N`")
        return self._group

    def _host(self, name: str) -> Host:
        found = [h for h in self.group.hosts if h.name == name]
        if not found:
            raise ScenarioError(f"no gateway {name!r}; there are {', '.join(h.name for h in self.group.hosts)}")
        return found[0]

    # -- the group --------------------------------------------------------------------------------------------------

    def _gateways(self, _: str, count: str) -> List[str]:
        self._group = Narrated(int(count), create=True)
        while not self.group.settled() and self.group.world.now < SETTLE_S:
            self.group.world.run_until(self.group.world.now + 0.5)
        self._stalls()
        return self._show()

    def _hosts(self, _: str, count: str) -> None:
        self._group = Narrated(int(count), create=False)
        self.group.world.run_until(2.0)

    def _create(self, _: str, name: str) -> None:
        self.group.mgr.give(CreateGateway(0, name))

    def _delete(self, _: str, name: str) -> None:
        self.group.mgr.give(DeleteGateway(0, name))

    def _enable(self, verb: str, name: str) -> None:
        self.group.mgr.give(SetEnabled(0, name, verb == "enable"))

    def _failover(self, _: str, ana_group_id: str, to: str = "") -> None:
        self.group.mgr.give(MoveAnaGroup(0, int(ana_group_id), to))

    def _drain(self, _: str, *names: str) -> None:
        self.group.mgr.give(DrainGateways(0, names))

    def _fence(self, _: str, name: str) -> None:
        self.group.mgr.give(FenceGateway(0, name))

    def _locate(self, _: str, name: str, site: str) -> None:
        self.group.mgr.give(SetLocation(0, name, site))

    def _disaster(self, verb: str, site: str) -> None:
        self.group.mgr.give((SetDisaster if verb == "disaster-set" else ClearDisaster)(0, site))

    def _start(self, _: str, name: str, second: str = "") -> None:
        if second:
            group = self.group
            group.hosts.append(Host(group, second))
            group.hosts[-1].boot()
        else:
            self._host(name).boot()

    def _terminate(self, _: str, name: str) -> None:
        self._host(name).leave()

    def _namespaces(self, _: str, number: str, where: str = "", place: str = "") -> None:
        for host in [self._host(place)] if where == "at" else self.group.hosts:
            for ana_group_id in [int(place)] if where == "in" else list(host.namespaces):
                host.namespaces[ana_group_id] = int(number)

    def _listener(self, verb: str, _what: str, name: str) -> None:
        self._host(name).listening = verb == "add"

    # -- faults -----------------------------------------------------------------------------------------------------

    def _kill(self, _: str, what: str, name: str = "") -> None:
        if what == "mgr":
            self.group.mgr.process.kill()
            return
        host = self._host(name)
        if what == "host":
            host.kill()
        else:
            for process in self._processes(host, what):
                process.kill()

    def _stop(self, _: str, what: str, name: str = "") -> None:
        if what == "mgr":
            self.group.mgr.process.stop()
            return
        for process in self._processes(self._host(name), what):
            process.stop()

    def _continue(self, _: str, name: str) -> None:
        if name == "mgr":
            self.group.mgr.process.go_on()
            return
        self._host(name).go_on(self._host(name).running())

    @staticmethod
    def _processes(host: Host, what: str) -> list:
        if what == "host":
            return host.running()
        if what == "target":
            return [host.target.process] if host.target is not None else []
        return [{"agent": host.agent, "warden": host.warden}[what].process]

    def _cut(self, _: str, place: str, only: str = "") -> None:
        links = links_of(only or place)
        self.group.network.cut.update(link for link in links if not only or link[1] == only)

    def _mend(self, _: str, place: str) -> None:
        self.group.network.cut.difference_update(links_of(place))

    def _stall(self, _: str, what: str, *numbers: str) -> None:
        for number in map(int, numbers):
            (self.group.seats[number - 1] if what == "seat" else self.group.data[number]).stalled = True

    def _slow(self, _: str, _what: str, seconds: str) -> None:
        self.group.objects.op_s = (float(seconds), float(seconds)) if float(seconds) else OP_S

    def _heal(self, _: str, what: str) -> None:
        for stalled in self.group.seats if what == "seats" else self.group.data.values():
            stalled.heal()

    def _bar(self, verb: str, name: str) -> None:
        self._host(name).barred = verb == "bar"

    def _hang(self, verb: str, name: str) -> None:
        self._host(name).hanging = verb == "hang"

    def _refuse(self, verb: str, _what: str) -> None:
        self.group.mons.refusing = verb == "refuse"

    def _lose(self, _: str, _what: str, *numbers: str) -> None:
        for number in map(int, numbers):
            self.group.seats[number - 1].lose()

    def _repair(self, _: str) -> None:
        self.group.repair()

    def _new(self, _: str, _mgr: str) -> None:
        self.group.new_mgr()

    def _set(self, _: str, timer: str, seconds: str) -> None:
        self.group.timing = replace(self.group.timing, **{timer: float(seconds)})
        self.group.mgr.give(SetTiming(0, self.group.timing))

    def _elect(self, _: str, seconds: str) -> None:
        self.group.mons.electing_until = self.group.world.now + float(seconds)

    # -- what is seen -----------------------------------------------------------------------------------------------

    def _run(self, _: str, seconds: str) -> List[str]:
        self.group.world.run_until(self.group.world.now + float(seconds))
        self.group.check_data()
        told, self.group.lines = self.group.lines, []
        return told or ["nothing changes"]

    def _show(self, _: str = "") -> List[str]:
        committed = self.group.committed
        if committed is None or not committed.ana_groups:
            return ["no ANA groups"]
        lines = [f"{g.id} {g.availability.value}{' deleting' if g.deleting else ''}" for g in committed.gateways]
        for group in committed.ana_groups:
            at = f" at {group.server.gateway}" if group.server is not None else ""
            optimized = [t.instance.gateway for t in self.group.optimized(group.id)]
            lines.append(f"ANA group {group.id} of {group.owner}: {group.phase.value}{at}, optimized: "
                         f"{', '.join(optimized) or 'nobody'}")
        assert self.group.mgr.state is not None
        return lines + [re.sub(r":[0-9a-f]{8}", "", f"refused {who}: {why}")
                        for who, why in self.group.mgr.state.soft.refused.items()]

    def _stalls(self, _: str = "") -> List[str]:
        """A stall that goes on counts as far as it has come."""
        lines = []
        for writer in self.group.writers.values():
            so_far_s = self.group.world.now - writer.acknowledged_at_s
            lines.append(f"ANA group {writer.id}: {max(writer.longest_stall_s, so_far_s):.1f} s")
            writer.longest_stall_s = 0.0
        return lines


def parse(text: str) -> List[Tuple[List[str], List[str], List[str]]]:
    """Steps of a file: (comment lines before it, commands, expected output)."""
    steps = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        comments = [line for line in lines if line.startswith("#")]
        rest = [line for line in lines if not line.startswith("#")]
        if not rest:
            steps.append((comments, [], []))
            continue
        if "----" not in rest:
            raise ScenarioError(f"step {rest[0]!r} has no line `----`")
        cut = rest.index("----")
        steps.append((comments, rest[:cut], rest[cut + 1:]))
    return steps


def play(text: str) -> str:
    """The file's text with the output that is seen now in place of what was expected."""
    scenario, blocks = Scenario(), []
    for comments, commands, _ in parse(text):
        seen = scenario.step(commands) if commands else []
        blocks.append("\n".join(comments + (commands + ["----"] + seen if commands else [])))
    return "\n\n".join(blocks) + "\n"
