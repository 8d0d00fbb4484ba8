"""Which faults there are, and which of them a seed plays in which round.  Pure.

A round has two lanes (sometimes one): each plays faults of one kind, one after the other, until the round's time is
over. The same seed gives the same rounds, whatever happens in them: who the active mgr is, or where an ANA group has
gone by then, is looked up when the fault comes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, List, Sequence, Tuple

HOST = frozenset(('warden', 'agent', 'target'))
NOTHING: FrozenSet[str] = frozenset()
PAIRS = 0.8
"""How often there are two lanes; one alone says whose a stall was."""
PAUSE_S = (2.0, 10.0)
"""Between two faults of a lane."""
UNWATCHED_FOR_S = 10.0
"""So long after a stopped warden goes on its target may show what nobody could prevent, on a busy machine too."""
RESTART_S = 5.0
"""So long an agent that was killed may be away."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    `hold_s`: how long it lasts, at least and at most. `stops`, `ends`: which processes of a gateway it pauses or kills;
    both empty: it is done to the cluster. `moves`: I/O may have to move for it, or gateways may end. `network`: it needs
    every daemon and gateway on a network of its own.
    """

    name: str
    hold_s: Tuple[float, float]
    stops: FrozenSet[str] = NOTHING
    ends: FrozenSet[str] = NOTHING
    of_gateway: bool = False
    moves: bool = True
    network: bool = False


def _stop(which: str, most_s: float) -> Kind:
    names = HOST if which == 'host' else frozenset(which.split('-'))
    return Kind(f'pause-{which}', (0.3, most_s), stops=names, of_gateway=True)


def _kill(which: str, hold_s: Tuple[float, float]) -> Kind:
    names = HOST if which == 'host' else frozenset(which.split('-'))
    return Kind(f'kill-{which}', hold_s, ends=names, of_gateway=True, moves=which != 'agent')


def _cut(name: str, most_s: float = 20, of_gateway: bool = False, moves: bool = True) -> Kind:
    return Kind(name, (1, most_s), of_gateway=of_gateway, moves=moves, network=True)


KINDS = (
    _kill('target', (0, 0)), _kill('agent', (0, 0)), _kill('agent-target', (0, 0)),
    _kill('warden', (0, 12)), _kill('host', (0, 20)),
    _stop('target', 10), _stop('agent', 12), _stop('warden', 10), _stop('host', 20),
    _stop('warden-agent', 12), _stop('agent-target', 8), _stop('warden-target', 8),
    Kind('crash-loop', (2, 8), ends=frozenset(('target',)), of_gateway=True),
    Kind('stop', (0, 5), ends=HOST, of_gateway=True),
    Kind('stop-killed', (0, 0.5), ends=HOST, of_gateway=True),
    Kind('delete-create', (0.2, 8), of_gateway=True),
    Kind('delete-killed', (0.2, 8), ends=frozenset(('target',)), of_gateway=True),
    Kind('disable-enable', (0.2, 8), of_gateway=True),
    Kind('failover', (0.2, 8), of_gateway=True),
    Kind('mgr-fail', (0, 0), moves=False),
    Kind('kill-mgr', (1, 20), moves=False),
    Kind('kill-mgr-target', (1, 20), ends=frozenset(('target',)), of_gateway=True),
    Kind('kill-mgrs', (1, 20), moves=False),
    Kind('pause-mgr', (1, 35), moves=False),
    Kind('pause-osd', (1, 10), moves=False),
    Kind('pause-two-osds', (1, 10), moves=False),
    Kind('pause-osds', (1, 10), moves=False),
    Kind('kill-osd', (1, 15), moves=False),
    Kind('osd-down', (0, 0), moves=False),
    Kind('osd-out', (2, 15), moves=False),
    Kind('kill-mon', (1, 15), moves=False),
    Kind('pause-mon', (1, 8), moves=False),
    Kind('kill-machine', (1, 20), ends=HOST, of_gateway=True),
    Kind('pause-cluster-4', (4, 4), moves=False),
    Kind('pause-cluster-10', (10, 10)),
    Kind('stuck-context', (2, 15), of_gateway=True),
    _cut('cut-gateway', of_gateway=True), _cut('cut-gateway-one-way', of_gateway=True),
    _cut('cut-gateway-osds', of_gateway=True), _cut('cut-gateway-one-osd', of_gateway=True),
    _cut('cut-gateway-mons', of_gateway=True, moves=False), _cut('cut-gateway-mgrs', of_gateway=True, moves=False),
    _cut('cut-gateways', moves=False),
    _cut('cut-mgr', 35, moves=False), _cut('cut-mgr-mons', 35, moves=False),
    _cut('cut-mon', moves=False), _cut('cut-osd', 10, moves=False),
    _cut('lossy-gateway', of_gateway=True), _cut('lossy-osd'), _cut('narrow-gateway', of_gateway=True),
)
BY_NAME: Dict[str, Kind] = {kind.name: kind for kind in KINDS}
LOSES_COPIES = frozenset(('kill-osd', 'osd-out', 'kill-machine'))
"""An OSD's memory is its store: two that are lost at once may have held the only copies, so only one lane does this."""
MON_FAULTS = frozenset(('pause-mon', 'kill-mon', 'cut-mon', 'cut-gateway-mons', 'pause-cluster-4'))
SEAT_FAULTS = frozenset(('pause-osd', 'pause-two-osds', 'pause-osds', 'kill-osd', 'cut-osd', 'pause-cluster-4'))


@dataclass(frozen=True)
class Fault:
    """One fault as drawn; `gateway` is '' for a fault of the cluster. `after_s`: from the end of the one before."""

    kind: Kind
    gateway: str
    after_s: float
    hold_s: float

    def __str__(self) -> str:
        where = f' {self.gateway}' if self.gateway else ''
        held = f' for {self.hold_s:.1f} s' if self.kind.hold_s[1] else ''
        return f'{self.kind.name}{where}{held}'


Lane = Tuple[Fault, ...]


@dataclass(frozen=True)
class Played:
    """A fault that was brought about; the times are of the monotonic clock."""

    fault: Fault
    from_s: float
    to_s: float

    def covers(self, at_s: float, before_s: float = 0.0, after_s: float = 0.0) -> bool:
        return self.from_s - before_s <= at_s <= self.to_s + after_s


def rounds(seed: int, gateways: Sequence[str], fault_s: float,
           kinds: Sequence[Kind] = KINDS) -> Iterator[Tuple[Lane, ...]]:
    """Without end. Every kind comes first in a round once before any does so again."""
    dice = random.Random(seed)
    while True:
        for kind in dice.sample(list(kinds), len(kinds)):
            lanes = [_lane(dice, kind, gateways, fault_s)]
            if dice.random() < PAIRS:
                others = [other for other in kinds if not {kind.name, other.name} <= LOSES_COPIES]
                lanes.append(_lane(dice, dice.choice(others), gateways, fault_s))
            yield tuple(lanes)


def _lane(dice: random.Random, kind: Kind, gateways: Sequence[str], fault_s: float) -> Lane:
    faults: List[Fault] = []
    after_s, at_s = round(dice.uniform(0, 1), 2), 0.0
    while not faults or at_s + after_s < fault_s:
        faults.append(_draw(dice, kind, gateways, after_s))
        at_s += after_s + faults[-1].hold_s
        after_s = round(dice.uniform(*PAUSE_S), 2)
    return tuple(faults)


def _draw(dice: random.Random, kind: Kind, gateways: Sequence[str], after_s: float) -> Fault:
    gateway = dice.choice(list(gateways)) if kind.of_gateway else ''
    # Rather short ones: they are as interesting as long ones, and cost less time.
    least_s, most_s = kind.hold_s
    hold_s = least_s + (most_s - least_s) * dice.random() ** 1.5
    return Fault(kind, gateway, after_s, round(hold_s, 2))


def unwatched(played: Sequence[Played], gateway: str, at_s: float) -> bool:
    """Whether that gateway's target may have run, or woken, at that time or shortly before it, when its warden could
    not end it and its agent could not restrict it: what such a target does until it is killed is made harmless by its
    fence, but its host may see an error and a sample two optimized listeners (DESIGN 1.4)."""
    own = [one for one in played if one.fault.gateway == gateway]
    for one in own:
        if 'warden' not in one.fault.kind.stops:
            continue
        for other in own:
            begun_s, ended_s = max(one.from_s, other.from_s), min(one.to_s, other.to_s + RESTART_S)
            if (begun_s <= ended_s and (other.fault.kind.stops | other.fault.kind.ends) & {'agent', 'target'}
                    and begun_s <= at_s <= one.to_s + UNWATCHED_FOR_S):
                return True
    return False


def hurt(faults: Sequence[Fault]) -> FrozenSet[str]:
    """Gateways that may lose their target."""
    return frozenset(fault.gateway for fault in faults if fault.gateway and fault.kind.moves)


def isolating(faults: Sequence[Fault]) -> bool:
    """Seats and mons may be silent together: to every gateway that looks like its own isolation, and ends targets."""
    names = {fault.kind.name for fault in faults}
    return bool(names & {'pause-cluster-10', 'kill-machine'}) or (
        len(names) > 1 and bool(names & MON_FAULTS) and bool(names & SEAT_FAULTS))


def may_move(faults: Sequence[Fault]) -> bool:
    return isolating(faults) or any(fault.kind.moves for fault in faults)
