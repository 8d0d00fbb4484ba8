"""Faults drawn from the seed: crashes, stops, cut links, stalled objects, mgr replacement, elections, orderly stops."""

from __future__ import annotations

from typing import Callable, List

from .group import Group
from .host import Host

SAFETY_S = 60.0


def inject(group: Group, count: int = 12) -> None:
    """Schedule ``count`` faults between the first seconds and the end of the safety phase."""
    chance = group.world.random
    for _ in range(count):
        group.world.later(chance.uniform(4.0, SAFETY_S), lambda: chance.choice(FAULTS)(group))


def _host(group: Group) -> Host:
    return group.world.random.choice(group.hosts)


def _crash(group: Group) -> None:
    host = _host(group)
    victim = group.world.random.choice(("target", "agent", "host", "host"))
    group.world.note(f"{host.name}: SIGKILL of {victim}")
    if victim == "target" and host.target is not None:
        host.target.process.kill()
    elif victim == "agent":
        host.agent.kill()
    elif victim == "host":
        host.kill_warden()
        group.world.later(group.world.random.uniform(0.5, 20.0), lambda: None if host.warden.alive else host.boot())


def _stop(group: Group) -> None:
    host, chance = _host(group), group.world.random
    running = host.running()
    if not running:
        return
    victims = running if chance.random() < 0.4 else [chance.choice(running)]
    seconds = chance.uniform(0.3, 20.0)
    group.world.note(f"{host.name}: SIGSTOP of {', '.join(p.name for p in victims)} for {seconds:.1f} s")
    for process in victims:
        process.stop()

    def go_on() -> None:
        for process in victims:
            process.go_on()
        host.woke(group.world.now)
    group.world.later(seconds, go_on)


def _cut(group: Group) -> None:
    chance = group.world.random
    place = chance.choice([h.name for h in group.hosts] + ["mgr"])
    links = [(place, "cluster"), ("cluster", place)]
    cut = links if chance.random() < 0.5 else [chance.choice(links)]
    seconds = chance.uniform(0.5, 15.0)
    group.world.note(f"links cut for {seconds:.1f} s: {cut}")
    group.network.cut |= set(cut)
    group.world.later(seconds, lambda: group.network.cut.difference_update(cut))


def _lossy(group: Group) -> None:
    chance = group.world.random
    place = _host(group).name
    links = [(place, "cluster"), ("cluster", place)]
    for link in links:
        group.network.loss[link] = chance.uniform(0.1, 0.7)
    group.network.duplicates = chance.uniform(0.0, 0.3)
    group.world.note(f"{place}: lossy link")
    group.world.later(chance.uniform(1.0, 15.0), lambda: [group.network.loss.pop(link, None) for link in links])


def _stall(group: Group) -> None:
    chance = group.world.random
    victims: List = chance.sample(group.seats, chance.choice((1, 1, 2))) + (
        [chance.choice(list(group.data.values()))] if chance.random() < 0.4 else [])
    seconds = chance.uniform(0.5, 8.0)
    group.world.note(f"{len(victims)} objects stalled for {seconds:.1f} s")
    for victim in victims:
        victim.stalled = True
        group.world.later(seconds, victim.heal)


def _replace_mgr(group: Group) -> None:
    """The active mgr dies, hangs or is replaced while it lives; the next one comes seconds later."""
    chance, old = group.world.random, group.mgr
    how = chance.choice(("killed", "stopped", "lingering"))
    group.world.note(f"mgr {old.ballot} {how}")
    if how == "killed":
        old.process.kill()
    elif how == "stopped":
        old.process.stop()
        group.world.later(chance.uniform(0.5, 20.0), old.process.go_on)
    group.world.later(chance.uniform(0.5, 8.0), group.new_mgr)


def _pause_mgr(group: Group) -> None:
    mgr, seconds = group.mgr, group.world.random.uniform(0.3, 20.0)
    group.world.note(f"mgr {mgr.ballot} stopped for {seconds:.1f} s")
    mgr.process.stop()
    group.world.later(seconds, mgr.process.go_on)


def _election(group: Group) -> None:
    group.world.note("mon election")
    group.mons.electing_until = group.world.now + group.world.random.uniform(0.5, 5.0)


def _bar(group: Group) -> None:
    """The mons do not answer a target's RADOS clients: barriers are declined."""
    host, seconds = _host(group), group.world.random.uniform(0.5, 10.0)
    group.world.note(f"{host.name}: no barrier can be passed for {seconds:.1f} s")
    host.barred = True
    group.world.later(seconds, lambda: setattr(host, "barred", False))


def _refuse(group: Group) -> None:
    seconds = group.world.random.uniform(0.5, 8.0)
    group.world.note(f"the mons refuse fences for {seconds:.1f} s")
    group.mons.refusing = True
    group.world.later(seconds, lambda: setattr(group.mons, "refusing", False))


def _leave(group: Group) -> None:
    host = _host(group)
    group.world.note(f"{host.name}: SIGTERM")
    host.leaving = True

    def restart() -> None:
        host.kill_warden()
        host.boot()
    group.world.later(group.world.random.uniform(2.0, 12.0), restart)


FAULTS: List[Callable[[Group], None]] = [_crash, _crash, _crash, _stop, _stop, _stop, _cut, _cut, _lossy, _stall, _stall,
                                         _replace_mgr, _replace_mgr, _pause_mgr, _election, _bar, _refuse, _leave]


def heal(group: Group) -> None:
    """End every fault; restart what is down."""
    group.world.note("all faults end")
    group.network.cut.clear()
    group.network.loss.clear()
    group.network.duplicates = 0.0
    group.mons.refusing = False
    for stalled in [*group.seats, *group.data.values()]:
        stalled.heal()
    for mgr in group.mgrs:
        mgr.process.go_on()
    if not group.mgr.process.alive:
        group.new_mgr()
    for host in group.hosts:
        for process in host.running():
            process.go_on()
        host.leaving = host.barred = False
        if not host.warden.alive:
            host.boot()
