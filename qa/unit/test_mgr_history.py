"""What is recorded of failovers, failbacks and handovers, from the steps of a real core; and how it is kept."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any, Dict, List

from .driven import GW1, GW2, GW3, Driven, ana_group, serving, stored_map
from nvmeof_ha import overview, transitions
from nvmeof_ha.core.actions import Commit, StoreGateway
from nvmeof_ha.core.events import (Beacon, BeaconReceived, Confirmation, DeleteGateway, Event, Fenced, FenceGateway,
                                   MoveAnaGroup, Outcome, SetDisaster, SetEnabled, SetLocation)
from nvmeof_ha.core.model import Availability, Instance, Phase
from nvmeof_ha.history import History
from nvmeof_ha.kv_records import GroupKey, Records
from nvmeof_ha.overview import Past
from nvmeof_ha.reasons import Known
from nvmeof_ha.recorder import Step
from nvmeof_ha.status import Status
from nvmeof_ha.transitions import KEPT, FenceNote, Kind, Mark, Transition

KEY = GroupKey("rbd", "g1")
LOG = logging.getLogger("history")


class Recorded(Driven):
    """A driven core whose steps are recorded, into a store that outlives it."""

    def __init__(self, *args: Any, store: Dict[str, str] = {}, repaired: bool = False, **kwargs: Any) -> None:
        self.store = dict(store)
        self.history = History(KEY, Records(self.store), LOG, self.store.__setitem__, repaired)
        super().__init__(*args, **kwargs)

    def stepped(self, event: Event) -> None:
        self.history.watch(event, self.state, self.now)
        self.history.catch_up()

    def pair(self) -> "Recorded":
        self.create("gw1", "gw2")
        self.wait(12)
        return self

    def lose(self, gateway: str) -> Instance:
        """Its warden says that its target ended."""
        instance = self.instances.pop(gateway)
        self.sequence += 1
        self.do(BeaconReceived(Beacon(gateway, None, self.sequence, reaped=(instance,))))
        return instance

    def newest(self, number: int = 1) -> Transition:
        """The newest record of an ANA group."""
        return next(r for r in reversed(self.history.records) if r.ana_group == number)


def phases(record: Transition) -> List[str]:
    return [mark.what for mark in record.marks]


def at(record: Transition, what: str) -> float:
    return next(mark.at_s for mark in record.marks if mark.what == what)


def test_the_first_gateway_of_an_ana_group_starts_it():
    mgr = Recorded()
    mgr.create("gw1")
    mgr.wait(1)
    assert mgr.newest().sentence() == "start of ANA group 1 at gw1#1:t (0.50 s): nobody served it"
    assert [(r.number, r.kind, r.ana_group, r.source, r.to, r.cause, phases(r)) for r in mgr.history.records] == [
        (1, Kind.START, 1, "", "gw1#1:t", "nobody served it", ["promoted", "confirmed"])]


def test_a_silent_gateway_is_recorded_with_every_part_of_its_failover():
    mgr = Recorded().pair()
    mgr.silent = frozenset({"gw1"})
    mgr.wait(7)
    record = mgr.newest()
    assert (record.kind, record.source, record.to, record.outcome) == (Kind.FAILOVER, "gw1#1:t", "gw2#1:t",
                                                                        transitions.Outcome.DONE)
    assert phases(record) == ["heard", "noticed", "suspected", "departed", "fenced", "promoted", "confirmed"]
    assert record.cause.startswith("gw1 was silent for 1.") and record.cause.endswith(" s")
    assert 1.4 < at(record, "noticed") < 1.8 and 3 < at(record, "departed") - at(record, "suspected") < 3.5
    assert record.fences == (FenceNote("gw1#1:t", ("10.0.0.1:0/1",), 71),) and not record.inherited
    assert record.unplanned and record.sentence().startswith(
        "failover of ANA group 1 from gw1#1:t to gw2#1:t (5.") and record.sentence().endswith(record.cause)


def test_a_reported_crash_has_no_suspicion_and_the_return_is_a_failback():
    mgr = Recorded().pair()
    mgr.lose("gw1")
    mgr.wait(1)
    record = mgr.newest()
    assert phases(record) == ["noticed", "departed", "fenced", "promoted", "confirmed"]
    assert record.cause == "the target of gw1 ended, says its warden"
    mgr.instances["gw1"] = Instance("gw1", 2, "u")
    mgr.wait(20)
    record = mgr.newest()
    assert (record.kind, record.cause) == (Kind.FAILBACK, "gw1 is well again") and not record.unplanned
    assert phases(record) == ["draining", "drained", "promoted", "confirmed"]
    assert (record.source, record.to) == ("gw2#1:t", "gw1#2:u")


def test_a_fence_that_an_operator_asked_for_is_the_cause_also_behind_a_suspicion():
    mgr = Recorded().pair()
    mgr.do(FenceGateway(7, "gw9"))
    mgr.silent = frozenset({"gw1", "gw2"})
    mgr.do(FenceGateway(8, "gw1"))
    mgr.do(FenceGateway(9, "gw1"))
    mgr.wait(2.5)
    assert mgr.gateway("gw2").availability is Availability.SUSPECT
    mgr.do(FenceGateway(10, "gw2"))
    mgr.instances = {"gw1": Instance("gw1", 2, "u")}
    mgr.silent = frozenset()
    mgr.wait(3)
    causes = {r.source: r.cause for r in mgr.history.records if r.kind is Kind.FAILOVER}
    assert "an operator had gw1#1:t fenced" in causes.values()
    assert any(cause.startswith("gw2 was silent for ") and cause.endswith("; then an operator had gw2#1:t fenced")
               for cause in causes.values())


def test_moves_to_a_site_and_out_of_a_lost_one_are_told():
    mgr = Recorded()
    mgr.create("gw1", "gw2", "gw3")
    for number, (name, site) in enumerate((("gw1", "east"), ("gw2", "east"), ("gw3", "west")), 20):
        mgr.do(SetLocation(number, name, site))
    mgr.wait(12)
    mgr.lose("gw1")
    mgr.lose("gw2")
    mgr.wait(2)
    mgr.instances["gw2"] = Instance("gw2", 2, "u")
    mgr.wait(15)
    assert (mgr.newest().kind, mgr.newest().cause) == (Kind.HANDOVER, "gw2 is at its owner's location east")
    mgr.silent = frozenset({"gw2"})
    mgr.wait(2)
    mgr.do(SetDisaster(30, "east"))
    mgr.silent = frozenset()
    mgr.wait(2)
    assert (mgr.newest().kind, mgr.newest().cause) == (Kind.HANDOVER, "gw2 is at location east, which is in disaster")


def test_handovers_name_what_an_operator_did():
    mgr = Recorded().pair()
    causes = []
    for command in (MoveAnaGroup(7, 1, "gw2"), MoveAnaGroup(8, 1, "gw1"), SetEnabled(9, "gw1", False)):
        mgr.do(command)
        mgr.wait(1)
        causes.append((mgr.newest().kind, mgr.newest().cause))
    assert causes == [(Kind.HANDOVER, "an operator moved it"), (Kind.HANDOVER, "an operator moved it back"),
                      (Kind.HANDOVER, "gw1 was disabled")]
    mgr.do(SetEnabled(9, "gw1", True))
    mgr.wait(12)
    mgr.beacon(mgr.instances["gw1"], leaving=True)
    mgr.wait(1)
    assert mgr.newest().cause == "gw1 is being stopped"
    mgr = Recorded().pair()
    mgr.do(DeleteGateway(10, "gw2"))
    mgr.wait(1)
    assert (mgr.newest(2).kind, mgr.newest(2).cause) == (Kind.HANDOVER, "gw2 is being deleted")


def test_a_holder_that_cannot_drain_keeps_it_and_the_attempt_is_recorded():
    mgr = Recorded().pair()
    mgr.do(MoveAnaGroup(7, 1, "gw2"))
    mgr.wait(3, confirmations=())
    record = mgr.newest()
    assert (record.kind, record.outcome.value) == (Kind.HANDOVER, "abandoned")
    assert phases(record) == ["draining", "abandoned"]
    assert record.unplanned and "was abandoned (2." in record.sentence()


def test_who_is_lost_on_the_way_breaks_a_handover_off_and_a_failover_follows():
    mgr = Recorded().pair()
    group = mgr.group()
    mgr.do(MoveAnaGroup(7, 1, "gw2"))
    mgr.lose("gw1")
    mgr.wait(1)
    assert [(r.kind, r.outcome.value) for r in mgr.history.records[-2:]] == [
        (Kind.HANDOVER, "broken off"), (Kind.FAILOVER, "done")]
    assert group.holder is not None and mgr.newest().source == str(group.holder)


def test_a_failover_whose_successor_declines_or_is_lost_too_goes_on():
    mgr = Recorded()
    mgr.create("gw1", "gw2", "gw3")
    mgr.wait(12)
    mgr.lose("gw1")
    successor = mgr.group().incoming
    assert successor is not None
    mgr.beacon(successor, confirmations=(Confirmation(1, mgr.group().since, Outcome.DECLINED),))
    mgr.lose(mgr.group().incoming.gateway)
    mgr.wait(4)
    record = mgr.newest()
    assert phases(record) == ["noticed", "departed", "fenced", "promoted", "declined", "promoted", "departed", "fenced",
                              "promoted", "confirmed"]
    assert (record.kind, record.to, len(record.fences)) == (Kind.FAILOVER, str(successor), 2)


def test_an_acquitted_gateway_leaves_no_record_and_its_later_loss_tells_only_of_itself():
    mgr = Recorded().pair()
    before = mgr.history.records
    mgr.silent = frozenset({"gw1"})
    mgr.wait(2)
    assert mgr.gateway().availability is Availability.SUSPECT
    mgr.silent = frozenset()
    mgr.wait(2)
    assert mgr.gateway().availability is Availability.AVAILABLE and mgr.history.records == before
    mgr.lose("gw1")
    mgr.wait(1)
    assert mgr.newest().cause == "the target of gw1 ended, says its warden"


def test_stuck_io_and_an_unanswered_promotion_are_causes():
    mgr = Recorded().pair()
    mgr.beacon(mgr.instances["gw1"], stuck="osd.3 answers nothing")
    mgr.lose("gw1")
    mgr.wait(1)
    assert mgr.newest().cause == ("the I/O of gw1 makes no progress: osd.3 answers nothing; then its target ended, "
                                  "says its warden")
    mgr = Recorded()
    mgr.create("gw1", "gw2")
    mgr.wait(10, confirmations=())
    mgr.wait(2)
    assert mgr.newest().cause == "gw1 left its promotion unanswered for 5.00 s"


def test_a_lost_gateway_that_served_nothing_is_recorded_when_it_is_fenced():
    mgr = Recorded()
    mgr.create("gw1", "gw2")
    mgr.wait(1)
    mgr.do(SetEnabled(9, "gw2", False))
    mgr.wait(1)
    mgr.lose("gw2")
    record = mgr.history.records[-1]
    assert (record.kind, record.ana_group, record.source, phases(record)) == (
        Kind.LOSS, 0, "gw2#1:t", ["noticed", "departed", "fenced"])
    assert record.sentence().startswith("loss of a gateway from gw2#1:t (")


def test_a_deleted_gateway_whose_target_still_runs_is_fenced_and_that_is_recorded():
    mgr = Recorded().pair()
    mgr.do(DeleteGateway(9, "gw1"))
    mgr.do(DeleteGateway(9, "gw2"))
    mgr.wait(3)
    losses = [r for r in mgr.history.records if r.kind is Kind.LOSS]
    assert [(r.source, r.cause) for r in losses] == [
        (f"{name}#1:t", f"{name} was deleted while its target ran") for name in ("gw1", "gw2")]
    assert [r.fences[0].instance for r in losses] == ["gw1#1:t", "gw2#1:t"]


def test_an_ana_group_that_ends_with_its_owner_ends_its_transition():
    mgr = Recorded().pair()
    for gateway in ("gw1", "gw2"):
        mgr.do(DeleteGateway(9, gateway))
    mgr.wait(3)
    assert not mgr.map.ana_groups
    assert [r.outcome.value for r in mgr.history.records if r.cause.endswith("is being deleted")] == ["removed"] * 2


def test_what_another_mgr_began_is_recorded_as_such_and_numbers_go_on():
    first = Recorded(answers=(Commit, StoreGateway)).pair()
    first.lose("gw1")
    found, store = first.state.committed, first.store
    assert found is not None and found.ana_group(1).phase is Phase.FENCING
    second = Recorded(found, ballot=2, store=store)
    second.wait(2)
    record = second.newest()
    before = first.history.records[-1].number
    assert (record.number, record.kind, record.source, record.inherited) == (before + 1, Kind.FAILOVER, "gw1#1:t", True)
    assert phases(record) == ["fenced", "promoted", "confirmed"] and "begun under another mgr" in record.sentence()


def test_moves_promotions_and_suspicions_of_another_mgr_are_ended_too():
    gateways = (serving(GW1, availability=Availability.SUSPECT), serving(GW2), serving(GW3))
    groups = (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.DRAINING, GW3, target="gw2"),
              ana_group(3, Phase.PROMOTING, GW3))
    mgr = Recorded(stored_map(gateways, groups), ballot=2)
    mgr.silent = frozenset({"gw1"})
    mgr.wait(8)
    records = {r.ana_group: r for r in mgr.history.records}
    assert [(records[n].kind, records[n].inherited) for n in (1, 2, 3)] == [
        (Kind.FAILOVER, True), (Kind.HANDOVER, True), (Kind.START, True)]
    assert records[1].cause == "gw1 was suspected under the mgr before" and phases(records[1])[0] == "departed"
    assert records[2].cause == records[3].cause == "begun under the mgr before"


def test_what_a_repair_begins_is_recorded_as_begun_by_it_and_not_by_another_mgr():
    gateways = (serving(GW1, availability=Availability.SUSPECT), serving(GW2))
    groups = (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.PROMOTING, GW2))
    mgr = Recorded(stored_map(gateways, groups), ballot=2, repaired=True)
    mgr.silent = frozenset({"gw1"})
    mgr.wait(8)
    lost, promoted = mgr.newest(1), mgr.newest(2)
    assert lost.cause == "gw1 was suspected when an operator had the group repaired"
    assert promoted.cause == "begun when an operator had the group repaired"
    assert not lost.inherited and not promoted.inherited and "another mgr" not in promoted.sentence()


def test_the_newest_200_survive_in_pages_that_are_written_over_and_a_damaged_page_costs_its_own_only():
    store: Dict[str, str] = {}
    kept = History(KEY, Records(store), LOG, store.__setitem__)
    for number in range(1, 451):
        kept._store([Transition(number, Kind.FAILBACK, 1, 5.0, "gw1#1:a", "gw2#1:b", "x",
                                marks=(Mark("draining", 0.0),))])
    assert len(store) == transitions.PAGES and len(kept.records) == KEPT
    again = History(KEY, Records(store), LOG, store.__setitem__)
    assert again.records == kept.records and again.records[-1].number == 450
    store[KEY.history_key(transitions.page_of(440))] = '{"format": 1, "records": [{"number": "x"}]}'
    store[KEY.history_key(transitions.page_of(430))] = "garbage"
    assert [r.number for r in History(KEY, Records(store), LOG, store.__setitem__).records if r.number >= 420] == (
        list(range(420, 430)) + [450])


def test_a_value_stays_below_the_limit_of_the_store():
    huge = Transition(1, Kind.FAILOVER, 1, 5.0, cause="x" * 9000, marks=tuple(Mark("promoted", n) for n in range(40)),
                      fences=(FenceNote("gw1#1:a", tuple(f"10.0.0.1:0/{n}" for n in range(1000)), 7),))
    page = transitions.encode_page([replace(huge, number=n) for n in range(transitions.PAGE)])
    assert len(page) < 60000 and transitions.decode_pages([page])[0].fences == (FenceNote("gw1#1:a", (), 7),)


def test_an_error_in_recording_is_kept_to_itself_and_told():
    kept = History(KEY, Records({}), LOG, lambda key, value: None)
    kept._steps.append(Step(Fenced(GW1, 7), None, 0.0))  # type: ignore[arg-type]
    assert kept.catch_up() == []
    assert kept.with_problem(Status()).problems[0].startswith("its history is not recorded any more (AttributeError")


def test_people_and_programs_are_shown_the_same():
    mgr = Recorded().pair()
    mgr.lose("gw1")
    mgr.wait(1)
    record = mgr.newest()
    shown = json.loads(json.dumps(transitions.shown(replace(record, began=1700000000.25))))
    assert shown["began"] == "2023-11-14T22:13:20.250Z" and (shown["from"], shown["to"]) == ("gw1#1:t", "gw2#1:t")
    assert [phase["what"] for phase in shown["phases"]] == phases(record)
    row = transitions.rows([record]).splitlines()[1]
    assert " failover " in row and " noticed, departed +0.00, " in row and row.endswith(record.cause)
    known = Known(mgr.state.committed, mgr.state.soft, mgr.now)
    status = overview.group(KEY, known, True, "", Past(mgr.history.records, record.began + record.took_s + 5))
    assert status["last_failover"]["number"] == record.number
    assert "  last failover: " in overview.tables([status])


def test_a_phase_that_began_under_another_mgr_is_as_old_as_its_record_says():
    found = stored_map((serving(GW1), serving(GW2)), (ana_group(1, Phase.ACTIVE, GW1),))
    mgr = Recorded(found, ballot=2)
    record = Transition(1, Kind.START, 1, 1000.0, to=str(GW1), marks=(Mark("confirmed", 2.0),))
    known = Known(mgr.state.committed, mgr.state.soft, mgr.now)
    group = overview.group(KEY, known, True, "", Past((record,), 1062.0))["ana_groups"][0]
    assert (group["phase_for_s"], group["phase_for_longer"]) == (60.0, False)
