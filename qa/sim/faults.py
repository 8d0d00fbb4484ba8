"""Faults drawn from the seed: crashes, stops, cut and lossy links, stalled objects, mgrs that die, hang, are late, are
replaced while they live; elections; refused fences and barriers; orderly stops; operators at work meanwhile."""

from __future__ import annotations

from random import Random
from typing import Callable, List, Sequence

from nvmeof_ha.core.events import (ClearDisaster, Command, CreateGateway, DeleteGateway, FenceGateway, MoveAnaGroup,
                                   SetDisaster, SetEnabled, SetLocation)

from .ceph import OP_S, SLOW_OP_S
from .group import Group
from .host import Host
from .network import Link, links_of

BEGIN_S = 3.5
SAFETY_S = 18.0
COUNT = (4, 5)
SITES_LOST = 0.2
SEATS_LOST = 0.15
FENCED_BY_HAND = 0.2


def inject(group: Group) -> None:
    """Schedule faults between the first seconds and the end of the safety phase."""
    chance = group.world.random
    for _ in range(chance.randint(*COUNT)):
        group.world.later(chance.uniform(BEGIN_S, SAFETY_S - 2.0), _strike, group)
    # drawn apart, so that runs without them are what they were before these could happen
    apart = Random(chance.getstate()[1][0])
    if apart.random() < FENCED_BY_HAND:
        group.world.later(apart.uniform(BEGIN_S, SAFETY_S - 2.0), _lose_and_fence, group, apart)
    if apart.random() < SITES_LOST:
        group.world.later(apart.uniform(BEGIN_S, SAFETY_S / 2), _lose_site, group, apart)
    if apart.random() < SEATS_LOST:
        group.world.later(apart.uniform(BEGIN_S, SAFETY_S - 2.0), _lose_seats, group, apart)


def _strike(group: Group) -> None:
    group.world.random.choice(FAULTS)(group)


def _host(group: Group) -> Host:
    return group.world.random.choice(group.hosts)


def _boot(host: Host) -> None:
    if not host.up:
        host.boot()


def _crash(group: Group) -> None:
    host, chance = _host(group), group.world.random
    victim = chance.choice(("target", "agent", "host", "host"))
    group.world.note(f"{host.name}: SIGKILL of {victim}")
    if victim == "target" and host.target is not None:
        host.target.process.kill()
    elif victim == "agent" and host.up:
        host.agent.process.kill()
    elif victim == "host":
        host.kill()
        group.world.later(chance.uniform(0.5, 12.0), _boot, host)


def _stop(group: Group) -> None:
    host, chance = _host(group), group.world.random
    running = host.running()
    if not running:
        return
    kind = chance.random()
    victims = running if kind < 0.3 else chance.sample(running, min(2, len(running))) if kind < 0.5 else [
        chance.choice(running)]
    seconds = chance.uniform(0.3, 12.0)
    group.world.note(f"{host.name}: SIGSTOP of {', '.join(p.name for p in victims)} for {seconds:.1f} s")
    for process in victims:
        process.stop()
    if kind < 0.15:   # not all of them at once
        for process in victims:
            group.world.later(chance.uniform(0.3, seconds), host.go_on, [process])
    group.world.later(seconds, host.go_on, victims)


def _cut(group: Group) -> None:
    """A place from all of Ceph or from a part of it, in one direction or both."""
    chance = group.world.random
    place = chance.choice([h.name for h in group.hosts] + ["mgr"])
    links: Sequence[Link] = sorted(links_of(place))
    kind = chance.random()
    if kind < 0.25:
        links = [chance.choice(links)]
    elif kind < 0.5:
        server = chance.choice(("mons", "osds"))
        links = [link for link in links if server in link]
    elif kind < 0.65:
        links = [link for link in links if link[0] == place]
    elif kind < 0.8:
        links = [link for link in links if link[1] == place]
    seconds = chance.uniform(0.5, 10.0)
    group.world.note(f"links cut for {seconds:.1f} s: {', '.join('->'.join(link) for link in links)}")
    group.network.cut |= set(links)
    group.world.later(seconds, group.network.cut.difference_update, set(links))


def _lossy(group: Group) -> None:
    chance = group.world.random
    place = chance.choice([h.name for h in group.hosts] + ["mgr"])
    for link in sorted(links_of(place)):
        group.network.loss[link] = 0.7 * chance.random()
    group.network.duplicates = 0.3 * chance.random()
    group.world.note(f"{place}: lossy links")
    group.world.later(chance.uniform(1.0, 10.0), _not_lossy, group, place)


def _not_lossy(group: Group, place: str) -> None:
    for link in links_of(place):
        group.network.loss.pop(link, None)


def _stall(group: Group) -> None:
    chance = group.world.random
    seconds = chance.uniform(0.5, 8.0)
    seats = chance.sample(group.seats, chance.choice((1, 1, 2)))
    half = chance.random() < 0.3
    group.world.note(f"placement groups of {len(seats)} seats take no {'writes' if half else 'operations'} for "
                     f"{seconds:.1f} s")
    for seat in seats:
        if half:
            seat.stall_writes()
        else:
            seat.stalled = True
        group.world.later(seconds, seat.heal)
    if chance.random() < 0.4:
        data = chance.choice(list(group.data.values()))
        data.stalled = True
        group.world.later(chance.uniform(0.5, 8.0), data.heal)


def _slow(group: Group) -> None:
    """Every operation on a control object takes its time: more happens between two of them."""
    seconds = group.world.random.uniform(1.0, 8.0)
    group.world.note(f"slow OSDs for {seconds:.1f} s")
    group.objects.op_s = SLOW_OP_S
    group.world.later(seconds, _usual, group)


def _usual(group: Group) -> None:
    group.objects.op_s = OP_S


def _replace_mgr(group: Group) -> None:
    """The active mgr dies, hangs or is replaced while it lives; the next one comes seconds later."""
    chance, old = group.world.random, group.mgr
    how = chance.choice(("killed", "stopped", "lingering"))
    group.world.note(f"{old.process.name} {how}")
    if how == "killed":
        old.process.kill()
    elif how == "stopped":
        old.process.stop()
        group.world.later(chance.uniform(0.5, 15.0), old.process.go_on)
    group.world.later(chance.uniform(0.2, 6.0), group.new_mgr)


def _pause_mgr(group: Group) -> None:
    """For long, or only so that ticks are late."""
    chance, process = group.world.random, group.mgr.process
    seconds = chance.choice((chance.uniform(0.2, 1.5), chance.uniform(0.5, 12.0)))
    group.world.note(f"{process.name} stopped for {seconds:.1f} s")
    process.stop()
    group.world.later(seconds, process.go_on)


def _late_ticks(group: Group) -> None:
    """Some hundred milliseconds at a time, for a while."""
    chance, process = group.world.random, group.mgr.process
    group.world.note(f"{process.name} runs in fits")
    at_s = 0.0
    for _ in range(chance.randint(3, 10)):
        at_s += chance.uniform(0.1, 0.6)
        group.world.later(at_s, process.stop)
        at_s += chance.uniform(0.1, 0.9)
        group.world.later(at_s, process.go_on)


def _election(group: Group) -> None:
    group.world.note("mon election")
    group.mons.electing_until = group.world.now + group.world.random.uniform(0.5, 5.0)


def _bar(group: Group) -> None:
    """The mons do not answer a target's RADOS clients: barriers are declined."""
    host, seconds = _host(group), group.world.random.uniform(0.5, 10.0)
    group.world.note(f"{host.name}: no barrier can be passed for {seconds:.1f} s")
    host.barred = True
    group.world.later(seconds, _unbar, host)


def _unbar(host: Host) -> None:
    host.barred = False


def _refuse(group: Group) -> None:
    seconds = group.world.random.uniform(0.5, 6.0)
    group.world.note(f"the mons refuse fences for {seconds:.1f} s")
    group.mons.refusing = True
    group.world.later(seconds, _accept, group)


def _accept(group: Group) -> None:
    group.mons.refusing = False


def _leave(group: Group) -> None:
    host, chance = _host(group), group.world.random
    group.world.note(f"{host.name}: SIGTERM")
    host.leave()

    def restart() -> None:
        host.kill()
        host.boot()
    group.world.later(chance.uniform(2.0, 10.0), restart)


def _second_machine(group: Group) -> None:
    """One more machine is given the id of a gateway, for a while; the first one may be down meanwhile."""
    host, chance = _host(group), group.world.random
    group.world.note(f"a second machine runs as {host.name}")
    stranger = Host(group, host.name)
    group.strangers.append(stranger)
    stranger.boot()
    if chance.random() < 0.5:
        group.world.later(chance.uniform(0.0, 3.0), host.kill)
        group.world.later(chance.uniform(3.0, 8.0), _boot, host)
    group.world.later(chance.uniform(2.0, 12.0), stranger.kill)


def _delete(group: Group) -> None:
    """The operator deletes a gateway and, a while later, wants it back."""
    host, chance = _host(group), group.world.random
    if not group.mgr.working:
        return
    group.world.note(f"the operator deletes {host.name}")
    group.mgr.give(DeleteGateway(0, host.name))

    def again() -> None:
        if group.mgr.working:
            group.world.note(f"the operator creates {host.name}")
            group.mgr.give(CreateGateway(0, host.name))
            _boot(host)
    group.world.later(chance.uniform(0.1, 8.0), again)


def _disable(group: Group) -> None:
    """The operator takes a gateway out of service for a while."""
    host = _host(group)
    if group.mgr.working:
        group.world.note(f"the operator disables {host.name}")
        group.mgr.give(SetEnabled(0, host.name, False))
        group.world.later(group.world.random.uniform(0.1, 8.0), _enable, group, host)


def _enable(group: Group, host: Host) -> None:
    if group.mgr.working:
        group.world.note(f"the operator enables {host.name}")
        group.mgr.give(SetEnabled(0, host.name, True))


def _lose_site(group: Group, chance: Random) -> None:
    """Some hosts lose power and their site is declared lost; they come back, and it is cleared a while later."""
    hosts = chance.sample(group.hosts, chance.randint(1, max(1, len(group.hosts) // 2)))
    if not group.mgr.working:
        return
    group.world.note(f"a site is lost: {', '.join(h.name for h in hosts)}")
    for host in hosts:
        group.mgr.give(SetLocation(0, host.name, "site"))
        group.world.later(0.5, host.kill)
        group.world.later(chance.uniform(1.0, 15.0), _boot, host)
    group.world.later(chance.uniform(2.0, 9.0), _declare, group, SetDisaster(0, "site"))
    group.world.later(chance.uniform(5.0, 20.0), _declare, group, ClearDisaster(0, "site"))


def _lose_seats(group: Group, chance: Random) -> None:
    """Two or three seats are lost for good, and the operator has the map rebuilt."""
    seats = chance.sample(group.seats, chance.choice((2, 2, 3)))
    group.world.note(f"{len(seats)} seats are lost")
    for seat in seats:
        seat.lose(whole=chance.random() < 0.8)
    for _ in range(3):
        group.world.later(chance.uniform(0.5, 9.0), group.repair)


def _lose_and_fence(group: Group, chance: Random) -> None:
    """A host loses power, and the operator who saw it does not wait for the lease."""
    host = chance.choice(group.hosts)
    group.world.note(f"{host.name}: killed, to be fenced by hand")
    host.kill()
    group.world.later(chance.uniform(0.1, 3.0), _declare_dead, group, host)
    group.world.later(chance.uniform(3.0, 12.0), _boot, host)


def _declare_dead(group: Group, host: Host) -> None:
    if not host.up:
        _declare(group, FenceGateway(0, host.name))


def _declare(group: Group, command: Command) -> None:
    if group.mgr.working:
        group.world.note(f"the operator: {type(command).__name__}")
        group.mgr.give(command)


def _move(group: Group) -> None:
    """The operator has an ANA group handed over, to a gateway of his choice or to any."""
    chance = group.world.random
    ana_group_id, to = chance.choice(group.ana_group_ids), chance.choice(["", *(h.name for h in group.hosts)])
    group.world.note(f"the operator moves ANA group {ana_group_id} to {to or 'another gateway'}")
    group.mgr.give(MoveAnaGroup(0, ana_group_id, to))


FAULTS: List[Callable[[Group], None]] = [
    _crash, _crash, _crash, _stop, _stop, _stop, _stop, _cut, _cut, _lossy, _stall, _stall, _slow, _slow, _replace_mgr,
    _replace_mgr, _pause_mgr, _late_ticks, _election, _bar, _refuse, _leave, _delete, _disable, _move, _second_machine]
"""Each as often as it is here."""


def heal(group: Group) -> None:
    """End every fault; restart what is down, and keep it up; have every gateway created and enabled."""
    group.world.note("all faults end")
    group.network.cut.clear()
    group.network.loss.clear()
    group.network.duplicates = 0.0
    group.mons.refusing, group.mons.electing_until = False, 0.0
    group.objects.op_s = OP_S
    group.slow_share = 0.0
    for stalled in [*group.seats, *group.data.values()]:
        stalled.heal()
    for mgr in group.mgrs:
        mgr.process.go_on()
    if not group.mgr.process.alive:
        group.new_mgr()
    for stranger in group.strangers:
        stranger.kill()
    for host in group.hosts:
        host.go_on(host.running())
        host.barred = False
    group.keep_up()
