"""Which faults there are, and which of them a seed plays in which round.  Pure.

The same seed gives the same rounds, whatever happens in them: who the active mgr is, or where an ANA group has gone by
then, is looked up when the fault comes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Dict, FrozenSet, Iterator, Sequence, Tuple

HOST = frozenset(('warden', 'agent', 'target'))
NOTHING: FrozenSet[str] = frozenset()
PAIRS = 0.6
LATER_S = 3.0


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    `hold_s`: how long it lasts, at least and at most. `stops`, `ends`: which processes of a gateway it pauses or kills;
    both empty: it is done to the cluster. `moves`: I/O may have to move for it, or gateways may end.
    """

    name: str
    hold_s: Tuple[float, float]
    stops: FrozenSet[str] = NOTHING
    ends: FrozenSet[str] = NOTHING
    of_gateway: bool = False
    moves: bool = True


def _stop(which: str, most_s: float) -> Kind:
    names = HOST if which == 'host' else frozenset(which.split('-'))
    return Kind(f'pause-{which}', (0.3, most_s), stops=names, of_gateway=True)


def _kill(which: str, hold_s: Tuple[float, float]) -> Kind:
    names = HOST if which == 'host' else frozenset(which.split('-'))
    return Kind(f'kill-{which}', hold_s, ends=names, of_gateway=True, moves=which != 'agent')


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
    Kind('mgr-fail', (0, 0), moves=False),
    Kind('kill-mgr', (1, 20), moves=False),
    Kind('kill-mgrs', (1, 20), moves=False),
    Kind('pause-mgr', (1, 35), moves=False),
    Kind('pause-osd', (1, 10), moves=False),
    Kind('pause-two-osds', (1, 10), moves=False),
    Kind('pause-osds', (1, 10), moves=False),
    Kind('kill-osd', (1, 15), moves=False),
    Kind('osd-down', (0, 0), moves=False),
    Kind('pause-mon', (1, 8), moves=False),
    Kind('pause-cluster', (1, 8)),
)
BY_NAME: Dict[str, Kind] = {kind.name: kind for kind in KINDS}
# An OSD's memory is its store: two that are killed at once may have held the only copies.
ONCE = frozenset(('kill-osd',))


@dataclass(frozen=True)
class Fault:
    """One fault as drawn; `gateway` is '' for a fault of the cluster."""

    kind: Kind
    gateway: str
    after_s: float
    hold_s: float

    def __str__(self) -> str:
        where = f' {self.gateway}' if self.gateway else ''
        held = f' for {self.hold_s:.1f} s' if self.kind.hold_s[1] else ''
        return f'{self.kind.name}{where}{held}' + (f' after {self.after_s:.1f} s' if self.after_s else '')


def rounds(seed: int, gateways: Sequence[str], kinds: Sequence[Kind] = KINDS) -> Iterator[Tuple[Fault, ...]]:
    """Without end. Every kind comes first in a round once before any does so again."""
    dice = random.Random(seed)
    while True:
        for kind in dice.sample(list(kinds), len(kinds)):
            faults = [_draw(dice, kind, gateways, 0.0)]
            if dice.random() < PAIRS:
                others = [other for other in kinds if other is not kind or kind.name not in ONCE]
                # The second comes together with the first, or while that one's consequences are under way.
                after_s = 0.0 if dice.random() < 0.3 else dice.uniform(0, LATER_S)
                faults.append(_draw(dice, dice.choice(others), gateways, after_s))
            yield tuple(faults)


def _draw(dice: random.Random, kind: Kind, gateways: Sequence[str], after_s: float) -> Fault:
    gateway = dice.choice(list(gateways)) if kind.of_gateway else ''
    # Rather short ones: they are as interesting as long ones, and cost less time.
    least_s, most_s = kind.hold_s
    hold_s = least_s + (most_s - least_s) * dice.random() ** 1.5
    return Fault(kind, gateway, round(after_s, 2), round(hold_s, 2))


def unwatched(faults: Sequence[Fault]) -> FrozenSet[str]:
    """Gateways whose target may have run, or woken, when its warden could not end it and its agent could not restrict
    it: what such a target does until it is killed is made harmless by its fence, but its host may see an error and a
    sample two optimized listeners."""
    found = set()
    for gateway in {fault.gateway for fault in faults if fault.gateway}:
        stopped = frozenset().union(*(fault.kind.stops for fault in faults if fault.gateway == gateway))
        ended = frozenset().union(*(fault.kind.ends for fault in faults if fault.gateway == gateway))
        if 'warden' in stopped and (stopped | ended) & {'agent', 'target'}:
            found.add(gateway)
    return frozenset(found)


def hurt(faults: Sequence[Fault]) -> FrozenSet[str]:
    """Gateways that may lose their target."""
    return frozenset(fault.gateway for fault in faults if fault.gateway and fault.kind.moves)


def may_move(faults: Sequence[Fault]) -> bool:
    return any(fault.kind.moves for fault in faults)
