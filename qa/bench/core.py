"""What one step of the core costs, and how large its map is, at several sizes of a gateway group.

Each gateway owns an ANA group with namespaces in it.  Measured is `step` with the checks of the invariants, as the driver
runs it, on one core; the worst of all steps of a failover is among the figures, because no event may cost more than in
proportion to the group.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Callable, Dict, List, Tuple

from nvmeof_ha.core import invariants, wire
from nvmeof_ha.core.events import Event, TargetState, Tick
from nvmeof_ha.core.machine import step
from nvmeof_ha.core.model import AnaGroup, Instance, Phase, Subsystem
from unit.driven import Driven

SIZES = (2, 8, 32)
SUBSYSTEMS, NAMESPACES = 4, 8
"""Subsystems, and namespaces of each ANA group in each of them."""
SAMPLES = 200
US = 1e6


class Timed(Driven):
    """Notes how long each step took."""

    def __init__(self) -> None:
        self.took_s: List[Tuple[str, float]] = []
        super().__init__()

    def do(self, event: Event) -> Tuple:
        before = self.state.map
        begun_s = time.perf_counter()
        self.state, actions = step(self.state, event, self.now)
        invariants.check_map(self.state.map)
        invariants.check_step(before, self.state.map)
        self.took_s.append((type(event).__name__, time.perf_counter() - begun_s))
        self._carry_out(actions)
        return actions


def run(say: Callable[[str], None]) -> Dict[str, float]:
    """Figures by name, microseconds or bytes."""
    figures: Dict[str, float] = {}
    for size in SIZES:
        say(f'{size} gateways with an ANA group of {SUBSYSTEMS * NAMESPACES} namespaces each')
        figures.update(_of_size(size))
    return figures


def _of_size(size: int) -> Dict[str, float]:
    driven = Timed()
    driven.create(*(f'gw{number}' for number in range(1, size + 1)))
    described = {'subsystems': tuple(
        Subsystem(f'nqn.2016-06.io.spdk:bench{number}', ('10.0.0.9:4420',),
                  tuple((group, NAMESPACES) for group in range(1, size + 1))) for number in range(SUBSYSTEMS)),
        'digest': 'bench'}
    everybody = list(driven.instances.values())

    def beacon(instance: Instance, **changes: Any) -> None:
        address = f'10.0.0.{everybody.index(instance)}:0/1'
        driven.beacon(instance, **{**described, 'addresses': frozenset({address}), **changes})

    def at_home(group: AnaGroup) -> bool:
        return group.phase is Phase.ACTIVE and group.holder is not None and group.holder.gateway == group.owner

    while not all(map(at_home, driven.map.ana_groups)):
        for instance in everybody:
            beacon(instance)
        driven.do(Tick())
        driven.now += 0.5

    driven.took_s.clear()
    for number in range(SAMPLES):
        beacon(everybody[number % size])
        driven.do(Tick())
        driven.now += 0.5 / size
    figures = {f'{kind}_us': US * median(took_s for name, took_s in driven.took_s if name == event)
               for kind, event in (('beacon', 'BeaconReceived'), ('tick', 'Tick'))}

    driven.took_s.clear()
    beacon(everybody[0], target=TargetState.STARTING, reaped=(everybody[0],))
    while driven.phase(1) is not Phase.ACTIVE:
        for instance in everybody[1:]:
            beacon(instance)
    figures['failover_in_all_us'] = US * sum(took_s for _, took_s in driven.took_s)
    figures['slowest_step_of_it_us'] = US * max(took_s for _, took_s in driven.took_s)
    figures['map_bytes'] = len(wire.encode_map(driven.map))
    return {f'{name}, {size} gateways': value for name, value in figures.items()}
