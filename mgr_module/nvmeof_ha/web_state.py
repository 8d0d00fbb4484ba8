"""What the status page shows: the values of ``status`` and ``history``, of all groups at once.

Read-only, from what drivers publish; waits for nobody.  The shape, besides those of ``overview.py`` and
``transitions.py``:

    at       seconds since 1970, of this mgr's clock
    mgr      its name
    health   list of the module's health checks: code, severity ("warning" | "error"), summary, detail (list of texts)
    groups   as ``status`` shows them
    history  (``/api/status``; an event of its own in the stream) list of: pool, group, records, oldest first
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, Tuple

from . import queries, transitions
from .commands import Groups
from .kv_records import GroupKey
from .pauses import Pause, paced
from .running_driver import RunningDriver

MOST_RECORDS = 400
"""Of all groups together; each may show its newest ``FEWEST_RECORDS`` all the same."""
FEWEST_RECORDS = 20


class Shown:
    def __init__(self, groups: Groups, mgr: str, checks: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        self._groups, self._mgr, self._checks = groups, mgr, checks

    def status_mark(self) -> Any:
        statuses = [(key, driver.status) for key, driver in self._drivers()]
        return self._checks(), [(key, None if status.committed is None else status.committed.version, status.running,
                                 status.stopped, status.waiting_for) for key, status in statuses]

    def status(self, pause: Pause) -> Dict[str, Any]:
        groups = [queries.overview_of(self._groups, key, patience_s=0.0)
                  for key in paced(self._groups.records.groups(), pause)]
        health = [{"code": code, "severity": check["severity"], "summary": check["summary"],
                   "detail": list(check["detail"])} for code, check in self._checks().items()]
        return {"at": round(time.time(), 3), "mgr": self._mgr, "health": health,
                "groups": [g for g in groups if g["gateways"] or g["problem"]]}

    def history_mark(self) -> Any:
        return [(key, records[-1].number) for key, driver in self._drivers()
                for records in [driver.history.records] if records]

    def history(self, pause: Pause) -> Dict[str, Any]:
        drivers = self._drivers()
        most = max(FEWEST_RECORDS, MOST_RECORDS // max(1, len(drivers)))
        return {"groups": [{"pool": key.pool, "group": key.group,
                            "records": [transitions.shown(r) for r in driver.history.records[-most:]]}
                           for key, driver in paced(drivers, pause)]}

    def _drivers(self) -> List[Tuple[GroupKey, RunningDriver]]:
        found = [(key, self._groups.driver(key)) for key in self._groups.records.groups()]
        return [(key, driver) for key, driver in found if driver is not None]
