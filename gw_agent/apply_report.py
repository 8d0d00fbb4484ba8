"""How the target stands after the configuration was applied to it: a value."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, List, Mapping, Optional

from gw_agent.moves import Key
from gw_agent.target_state import FoundNamespace


@dataclass(frozen=True)
class Report:
    """Of one `Reconciler.apply`."""

    problem_of: Mapping[str, str] = field(default_factory=dict)
    """By the key under which the thing is stored (or "transport", "bdev <name>"): what is not as wanted, and why."""
    namespaces: Optional[Mapping[Key, Optional[FoundNamespace]]] = None
    """What the target has now of all that may have changed in it, None for a namespace that is gone. None where other
    things than namespaces may have changed too."""
    waiting: FrozenSet[str] = frozenset()
    """The subjects of problems that end by themselves (a context, or I/O in flight, is waited for)."""

    @property
    def retry(self) -> bool:
        """True when it is worth to apply again soon although nothing changed."""
        return bool(self.waiting)

    @property
    def applied(self) -> bool:
        """True when the target is as wanted."""
        return not self.problem_of

    @property
    def problems(self) -> List[str]:
        """One text for each thing that is not as wanted."""
        return list(self.problem_of.values())
