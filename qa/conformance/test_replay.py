"""The checker finds nothing in what ran as it was proven, and every difference that is planted."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, List, Tuple, get_type_hints

import pytest

from conformance import check
from conformance.gateway_trace import CHANGES
from gw_agent import trace as gateway_trace
from nvmeof_ha import trace
from nvmeof_ha.core import standby
from nvmeof_ha.core.actions import Action
from nvmeof_ha.core.events import Event
from nvmeof_ha.core.machine import begin, step
from nvmeof_ha.core.model import Map, Phase
from nvmeof_ha_core import gateway, lease, wire
from nvmeof_ha_core.model import Instance
from nvmeof_ha_core.register import NOTHING_SEEN, judge, merge
from unit.driven import GW1, GW2, START_S, TIMING, Driven, ana_group, serving, stored_map

REPOSITORY = Path(__file__).parents[2]
FOUND = stored_map((serving(GW1), serving(GW2)), (ana_group(1, Phase.ACTIVE, GW1), ana_group(2, Phase.ACTIVE, GW2)))


class Log(logging.Handler):
    """A mgr's log, as ceph-mgr writes it."""

    def __init__(self, hour: int) -> None:
        super().__init__()
        self.hour, self.lines = hour, []  # type: Tuple[int, List[str]]

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"2026-11-24T{self.hour:02}:00:{len(self.lines):07.3f}+0000 7fb92afcd6c0  0 "
                          f"[nvmeof_ha INFO root] {record.getMessage()}\n")


class TracedMgr(Driven):
    """A core driven by hand that traces as the driver does."""

    def __init__(self, found: Map = FOUND, ballot: int = 2, hour: int = 8) -> None:
        self.log = Log(hour)
        logger = logging.Logger("conformance", logging.INFO)
        logger.addHandler(self.log)
        self.trace = trace.Trace("rbd/g1", logger, True)
        begun = (found, (), ballot, TIMING, START_S, True, ())
        self.trace.began(*begun, *begin(*begun))
        super().__init__(found, ballot=ballot)

    def do(self, event: Event) -> Tuple[Action, ...]:
        before = self.state
        self.state, actions = step(before, event, self.now)
        self.trace.stepped(before, event, self.now, self.state, actions)
        self._carry_out(actions)
        return actions


def failover() -> TracedMgr:
    """gw1 falls silent, is fenced and replaced, and comes back as another instance."""
    mgr = TracedMgr()
    mgr.wait(2)
    mgr.silent = frozenset({"gw1"})
    mgr.wait(8)
    assert mgr.group(1).holder == GW2
    mgr.silent, mgr.instances["gw1"] = frozenset(), Instance("gw1", 2, "zz")
    mgr.wait(15)
    assert mgr.group(1).holder is not None and mgr.group(1).holder.gateway == "gw1"
    return mgr


LINES = failover().log.lines


def checked(tmp_path: Path, *logs: List[str]) -> Any:
    paths = [tmp_path / f"mgr.{number}.log" for number in range(len(logs))]
    for path, lines in zip(paths, logs):
        path.write_text("".join(lines))
    return check(paths)


def test_a_failover_and_a_failback_are_replayed_step_by_step(tmp_path):
    result = checked(tmp_path, ["2026 a line of another module\n", *LINES])
    assert result.violations == [] and result.unjudged == 0 and result.take_overs == 1
    assert result.steps > 300 and result.ticks >= 250


def index(text: str) -> int:
    return next(number for number, line in enumerate(LINES) if text in line)


def with_line(number: int, change: Callable[[str], str]) -> List[str]:
    return [change(line) if at == number else line for at, line in enumerate(LINES)]


FENCE = index('"Fence"')


@pytest.mark.parametrize("lines, found", [
    (with_line(FENCE, lambda line: line.replace("10.0.0.1:0/1", "10.0.0.1:0/7")), "10.0.0.1:0/7"),
    (with_line(FENCE, lambda line: line.replace('"Fence":{', '"ForgetGateway":{"gateway_id":"gw1"}},{"Fence":{')),
     "ForgetGateway"),
    (with_line(FENCE, lambda line: re.sub(r'\[2(,\d+\],"actions")', r"[3\1", line)), "logged   version 3"),
    (with_line(FENCE - 3, lambda line: ""), "1 lines are missing before number"),
    (with_line(FENCE - 3, lambda line: line[:90] + "\n"), "a line of the trace is damaged"),
    (with_line(index("Began"), lambda line: line.replace('"failback_delay_s"', '"failback_s"')), ""),
], ids=["another address", "another action", "another version", "a line less", "half a line", "nothing"])
def test_a_difference_that_was_planted_is_found(tmp_path, lines, found):
    result = checked(tmp_path, lines)
    assert found in "".join(result.violations) and bool(result.violations) == bool(found)


def test_the_first_difference_is_told_with_place_event_and_both_action_lists_and_the_rest_is_not_judged(tmp_path):
    result = checked(tmp_path, with_line(FENCE, lambda line: line.replace("10.0.0.1:0/1", "10.0.0.1:0/7")))
    [told] = result.violations
    assert told.startswith(f"{tmp_path}/mgr.0.log:{FENCE + 1}: ") and "after " in told
    logged, replayed = told.splitlines()[1:]
    assert "10.0.0.1:0/7" in logged and "10.0.0.1:0/1'" in replayed and "Fence(" in replayed
    assert result.unjudged == len(LINES) - FENCE - 1


def test_a_mgr_that_was_killed_in_the_middle_of_a_line_is_no_difference(tmp_path):
    later = TracedMgr(replace(failover().state.committed), ballot=3, hour=9).log.lines
    result = checked(tmp_path, [*LINES[:-1], LINES[-1][:120] + "\n", *later])
    assert result.violations == [] and result.take_overs == 2
    assert checked(tmp_path, [*LINES[:-1], LINES[-1][:120]]).violations == []


def test_a_state_that_was_logged_is_compared_and_serves_as_a_beginning(tmp_path):
    mgr = TracedMgr()
    mgr.wait(1)
    mgr.trace._state_due = mgr.now
    mgr.wait(1)
    lines = mgr.log.lines
    stands = next(number for number, line in enumerate(lines) if "Stands" in line)
    assert checked(tmp_path, lines).violations == []
    assert checked(tmp_path, lines[stands:]).unjudged == 0
    changed = [line.replace('"sequence":[["gw1",', '"sequence":[["gw1",9') if at == stands else line
               for at, line in enumerate(lines)]
    [told] = checked(tmp_path, changed).violations
    assert "soft.sequence" in told


def test_a_driver_that_was_given_a_map_that_cannot_be_must_stop_there(tmp_path):
    impossible = replace(FOUND, gateways=(replace(serving(GW1), addresses=frozenset()), serving(GW2)))
    lines = TracedMgr(impossible).log.lines
    assert checked(tmp_path, lines[:1]).violations == []
    [told] = checked(tmp_path, lines).violations
    assert "went on with a map that it had to refuse: only an instance with known addresses serves" in told


def test_a_mgr_that_found_less_than_was_acknowledged_is_told(tmp_path):
    later = TracedMgr(FOUND, ballot=3, hour=9)
    [told] = checked(tmp_path, LINES, later.log.lines).violations
    assert "the mgr of ballot 3 found 1.7" in told and "had been acknowledged" in told


def test_a_late_acknowledgement_that_the_next_mgr_did_not_find_is_told(tmp_path):
    later = TracedMgr(FOUND, ballot=3, hour=7)
    violations = checked(tmp_path, LINES, later.log.lines).violations
    assert violations and all("and yet the mgr of ballot 3 found only 1.7" in told for told in violations)


def test_a_version_that_names_two_contents_is_told(tmp_path):
    forged = replace(failover().state.committed, number_floor=77)
    violations = checked(tmp_path, LINES, TracedMgr(forged, ballot=3, hour=9).log.lines).violations
    assert len(violations) == 1 and "a mgr found another map" in violations[0]


def test_what_a_standby_decided_is_replayed_too(tmp_path):
    log, logger = Log(8), logging.Logger("conformance", logging.INFO)
    logger.addHandler(log)
    tracing, state = trace.StandbyTrace("standby/mgr.y", logger, True), standby.begin(600.0, START_S)
    for number, event in enumerate([standby.Watched(("rbd/g1",)), *[standby.Tick()] * 30, standby.Echoed("rbd/g1"),
                                    standby.Unanswered("rbd/g1"), *[standby.Tick()] * 30]):
        now, before = START_S + number / 10, state
        state, actions = standby.step(before, event, now)
        tracing.stepped(before, event, now, state, actions)
    assert any('"Ask"' in line for line in log.lines)
    result = checked(tmp_path, log.lines)
    assert result.violations == [] and result.unjudged == 0 and result.steps > 50
    [told] = checked(tmp_path, [line.replace('"Ask":["rbd/g1",false', '"Ask":["rbd/g2",false') for line in log.lines]
                     ).violations
    assert "rbd/g2" in told and "replayed" in told


# ---- gateways -----------------------------------------------------------------------------------------------------

def read(gateway_map: Map) -> Any:
    """As a gateway decodes it."""
    return wire.decode_map(wire.encode_map(gateway_map).decode())  # type: ignore[arg-type]


ADMITTED = Instance(*GW1)
PROMOTING = replace(FOUND, ana_groups=(ana_group(1, Phase.PROMOTING, GW1),))


def agent_lines(stale: bool = False) -> List[str]:
    """An agent that reads twice and plans; `stale`: by the view that it had before."""
    lines: List[str] = []
    tracing = gateway_trace.Trace(lines.append, "agent", "gw1")
    standing, until_s = NOTHING_SEEN, 0.0
    newer = replace(PROMOTING, version=FOUND.version._replace(epoch=8))
    for sent_s, gateway_map in ((10.0, read(PROMOTING)), (10.5, read(newer))):
        before = standing
        for answers in ([gateway_map, None, None], [gateway_map, None, gateway_map], [gateway_map] * 3):
            fresh = tracing.call(judge, answers, standing.version)
            standing = tracing.call(merge, standing, fresh)
            until_s = tracing.call(lease.extend, until_s, fresh, ADMITTED, sent_s)
        valid = tracing.call(lease.valid, until_s, sent_s + 0.1)
        target = gateway.Target({1: gateway.OPTIMIZED}, addresses=frozenset({"10.0.0.1:0/1"}))
        for _ in range(2):
            tracing.call(gateway.plan, before if stale else standing, ADMITTED, valid, target)
        tracing.call(gateway.confirmations, standing, ADMITTED, target)
    tracing.call(lease.valid, until_s, 99.0)
    return [f"{line}\n" for line in lines]


def warden_lines(permitted: bool = True) -> List[str]:
    """A warden that starts a target, reads once, and restricts at the lease's end."""
    lines: List[str] = []
    tracing = gateway_trace.Trace(lines.append, "warden", "gw1")
    gateway_map = read(FOUND)
    fresh = tracing.call(judge, [gateway_map, gateway_map, None], NOTHING_SEEN.version)
    tracing.call(merge, NOTHING_SEEN, fresh)
    if permitted:
        tracing.call(lease.permitting, fresh, ADMITTED)
    ward = tracing.ward(ADMITTED, 10.1).seats_read(fresh, 10.0, 10.2)
    now = 10.2
    while now < 13.0:
        ward = ward.target_answered(now).look(now)
        if ward.verdict(now).order is lease.Order.RESTRICT:
            ward = ward.restrict_asked(now).restrict_confirmed()
        now += 0.1
    return [f"{line}\n" for line in lines]


AGENT, WARDEN = agent_lines(), warden_lines()


def traced(tmp_path: Path, *traces: List[str]) -> Any:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(line for lines in traces for line in lines))
    return check([path])


def test_the_calls_of_a_warden_and_an_agent_are_replayed(tmp_path):
    result = traced(tmp_path, AGENT, WARDEN)
    assert result.violations == [] and result.processes == 2 and result.calls > 80


def test_every_change_of_a_lease_is_traced_and_can_be_replayed():
    changes = {name for name, method in vars(lease.Ward).items() if not name.startswith("_") and callable(method)
               and get_type_hints(method)["return"] is lease.Ward}
    assert changes <= set(vars(gateway_trace.TracedWard)) and {f"Ward.{name}" for name in changes} == set(CHANGES)


def test_a_call_that_repeats_an_earlier_one_costs_only_its_number():
    entries = [entry for line in AGENT for entry in json.loads(line).get("entries", ())]
    assert sum(isinstance(entry, int) for entry in entries) >= 2


def planted(lines: List[str], old: str, new: str) -> List[str]:
    number = max(number for number, line in enumerate(lines) if old in line)
    return [line.replace(old, new, 1) if at == number else line for at, line in enumerate(lines)]


@pytest.mark.parametrize("lines, found", [
    (planted(AGENT, '"outcome":"optimized"', '"outcome":"drained"'), "something else after gateway.confirmations"),
    (planted(AGENT, '"outcome":"optimized"', '"outcome":"served"'), "the line is damaged"),
    (planted(AGENT, '["lease.valid",13.0,99.0,false]', '["lease.valid",13.0,99.0,true]'), "something else"),
    (planted(AGENT, '["lease.valid",13.0,99.0,false]', '["lease.valid",99.5,99.0,true]'), "answered before: 13.0"),
    (planted(AGENT, '10.5,13.0]', '10.5,14.0]'), "something else after lease.extend"),
    (AGENT[:5] + AGENT[6:], "1 lines are missing"),
    (agent_lines(stale=True), "gateway.plan was given view = "),
    (planted(WARDEN, '["Ward.seats_read",1,10.0,', '["Ward.seats_read",1,9.0,'), "was due, logged is"),
    (planted(WARDEN, '"lease_until_s":12.5', '"lease_until_s":12.6'), "the lease is another one"),
    (planted(WARDEN, '"order":"restrict"', '"order":"kill"'), "was due, logged is"),
    (planted(WARDEN, '["Ward.restrict_confirmed"]', '["Ward.escape"]'), "the core has no function Ward.escape"),
    (warden_lines(permitted=False), "was started, permitted is None"),
    (["{\"process\":\"agent\",\n", *AGENT], "the line is damaged"),
], ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_a_difference_that_was_planted_in_a_gateways_trace_is_found(tmp_path, lines, found):
    [told] = traced(tmp_path, lines).violations
    assert found in told and "trace.jsonl:" in told


def test_the_last_line_of_a_killed_process_may_be_half_a_line(tmp_path):
    assert traced(tmp_path, [*AGENT[:-1], AGENT[-1][:40]]).violations == []


def test_a_map_that_two_seats_gave_must_be_one_that_a_mgr_committed(tmp_path):
    mgr = TracedMgr()
    mgr.wait(1)
    committed = read(mgr.state.committed)
    log = tmp_path / "mgr.x.log"
    log.write_text("".join(mgr.log.lines))

    def judged(gateway_map: Any) -> Any:
        lines: List[str] = []
        gateway_trace.Trace(lines.append, "warden", "gw1").call(judge, [gateway_map] * 2, NOTHING_SEEN.version)
        path = tmp_path / "trace.jsonl"
        path.write_text("".join(f"{line}\n" for line in lines))
        return check([path, log])
    assert judged(committed).violations == [] and judged(committed).maps_compared == 1
    [told] = judged(replace(committed, number_floor=9)).violations
    assert "two seats gave a map that no mgr committed" in told


# ---- the command --------------------------------------------------------------------------------------------------

def test_the_command_prints_what_it_found_and_writes_the_figures(tmp_path):
    log, figures = tmp_path / "mgr.x.log", tmp_path / "figures.json"

    def run(lines: List[str]) -> "subprocess.CompletedProcess[str]":
        log.write_text("".join(lines))
        places = ":".join(str(REPOSITORY / name) for name in ("qa", "mgr_module", "vstart-scripts"))
        return subprocess.run([sys.executable, "-m", "conformance", str(log), "--json", str(figures)], text=True,
                              capture_output=True, env={"PYTHONPATH": places, "PATH": ""}, check=False)
    done = run(LINES)
    assert done.returncode == 0 and "all as logged" in done.stdout, done.stderr
    found = json.loads(figures.read_text())
    assert found["layer"] == "conformance" and found["violations"] == 0 and found["steps"] > 300 and "seconds" in found
    assert run(LINES[:10] + LINES[11:]).returncode == 1
    assert json.loads(figures.read_text())["violations"] == 1
