"""What an agent knows of its target between two reconciliations: what the target has, and which configuration that is of.

Pure: times are those of one clock. What for: after a change nothing is read and compared but what the change concerns.
Promises: nothing is known after a request that was not answered, or that still waits; after a problem everything is
compared again, and read again after a shorter while, because the target may have refused something for not being as it is
known to be. What somebody changes in the target by hand, but for ANA states, is found that much later, at the next change.
"""
from __future__ import annotations

from typing import Optional, Tuple

from gw_agent.apply_report import Report
from gw_agent.configuration import Configuration
from gw_agent.target_state import TargetState

KNOWN_S = 30.0
KNOWN_WITH_PROBLEMS_S = 5.0


class KnownTarget:
    """Of one target."""

    def __init__(self) -> None:
        self._known: Tuple[Optional[TargetState], Optional[Configuration]] = (None, None)
        self._read_at_s = 0.0
        self._until_s = 0.0

    def take(self, now_s: float) -> Tuple[Optional[TargetState], Optional[Configuration]]:
        """What the target has, and the configuration of which it has everything; None: not known. Forgotten until it is
        kept again, once the reconciliation is over."""
        known, self._known = self._known, (None, None)
        return known if now_s < self._until_s else (None, None)

    def was_read(self, now_s: float) -> None:
        self._read_at_s = now_s

    def keep(self, state: TargetState, applied: Optional[Configuration], report: Report, answered: bool) -> None:
        """`state`: followed what was done. `answered`: every request was."""
        if answered and not report.waiting:
            self._known = state, applied if report.applied else None
            self._until_s = self._read_at_s + (KNOWN_S if report.applied else KNOWN_WITH_PROBLEMS_S)
