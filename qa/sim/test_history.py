"""Whatever faults a group goes through: what is recorded of it hangs together."""

from __future__ import annotations

import logging
from typing import Any, Dict, List

from nvmeof_ha.driver import GroupDriver
from nvmeof_ha.history import History
from nvmeof_ha.kv_records import Records
from nvmeof_ha.status import Status
from nvmeof_ha.transitions import Kind, Outcome, Transition
from sim import mgr, runs

SEEDS = range(12)


def test_each_mgr_records_an_unbroken_chain_of_holders_and_knows_every_cause(monkeypatch):
    histories: List[History] = []

    def recorded(key: Any, *args: Any, **repair: Any) -> GroupDriver:
        store: Dict[str, str] = {}
        histories.append(History(key, Records(store), logging.getLogger("history"), store.__setitem__))
        return GroupDriver(key, *args, watch=histories[-1].watch, **repair)
    monkeypatch.setattr(mgr, "GroupDriver", recorded)
    kinds = set()
    for seed in SEEDS:
        assert not runs.run(seed).problem
        for history in histories:
            ended = history.catch_up()
            assert not history.with_problem(Status()).problems, f"seed {seed}"
            holders: Dict[int, str] = {}
            for record in ended:
                kinds.add(record.kind)
                _check(record, holders, f"seed {seed}: {record}")
        histories.clear()
    assert {Kind.START, Kind.FAILOVER, Kind.FAILBACK, Kind.HANDOVER} <= kinds


def _check(record: Transition, holders: Dict[int, str], what: str) -> None:
    times = [mark.at_s for mark in record.marks]
    assert times == sorted(times) and times, what
    assert not record.cause.endswith(" departed"), what
    if not record.ana_group:
        return
    assert holders.get(record.ana_group, record.source) == record.source or not record.source, what
    if record.outcome is Outcome.BROKEN_OFF or record.outcome is Outcome.REMOVED:
        holders.pop(record.ana_group, None)
    else:
        holders[record.ana_group] = record.to if record.outcome is Outcome.DONE else record.source
        assert holders[record.ana_group], what
