"""How much of everything a stage has, and what follows from it: gateway n, at 127.0.0.(n+1), owns ANA group n, which
has two namespaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict

NAMESPACES_PER_GROUP = 2


@dataclass(frozen=True)
class Layout:
    """The default is the demo's. `interval_us`: how long each of a writer's threads pauses after an I/O."""

    gateways: int = 2
    mons: int = 1
    interval_us: int = 20_000

    @property
    def addresses(self) -> Dict[str, str]:
        """By gateway."""
        return {f'gw{number}': f'127.0.0.{number + 1}' for number in self._numbers}

    @property
    def owners(self) -> Dict[int, str]:
        """By ANA group."""
        return {number: f'gw{number}' for number in self._numbers}

    @property
    def ana_group_of(self) -> Dict[int, int]:
        """By namespace id."""
        return {nsid: (nsid + 1) // NAMESPACES_PER_GROUP
                for nsid in range(1, NAMESPACES_PER_GROUP * self.gateways + 1)}

    @property
    def _numbers(self) -> range:
        return range(1, self.gateways + 1)
