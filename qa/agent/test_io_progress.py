"""When an I/O path counts as stuck, and above all when it does not."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gw_agent.io_progress import (ASK_FOR_MAP_S, BREAK_S, CLIENT_TICK_S, MOST_PLACES, OWN, QUIET_S, CutOff, IoProgress,
                                  Place, Request, Verdict)

STUCK_S = CLIENT_TICK_S
CONTEXT = "nvmeof_ha.0"
EARLIEST_S = QUIET_S + STUCK_S


def place(name: str) -> Place:
    return Place(2, "", "", name)


def request(tid: int, osd: int = 0, attempts: int = 1) -> Request:
    return Request(tid, attempts, osd, place(f"rbd_data.{tid}"))


@dataclass
class Clock:
    """Plays seconds: each `second` the context is listed, then the witnesses are asked where it says so."""

    progress: IoProgress = field(default_factory=lambda: IoProgress(STUCK_S))
    now: float = 100.0
    cut_off: CutOff = field(default_factory=lambda: CutOff(STUCK_S))

    def second(self, waiting: List[Request], step_s: float = 1.0, **prompt: bool) -> Optional[Verdict]:
        """`prompt`: by witness (`own` or a gateway's name); those that are not named say nothing."""
        self.now += step_s
        self.progress.listed(CONTEXT, waiting, self.now)
        verdict = self.progress.verdict(self.now)
        for where in self.progress.to_ask(self.now):
            for witness, answer in prompt.items():
                self.progress.answered(OWN if witness == "own" else witness, where, self.now, answer)
        return verdict

    def first_verdict(self, seconds: int, waiting: List[Request], **prompt: bool) -> Optional[float]:
        """After how many seconds, or None."""
        for second in range(seconds):
            if self.second(waiting, **prompt):
                return second
        return None


def test_a_request_without_an_answer_while_the_own_client_is_served_is_a_stuck_path_within_nine_seconds():
    clock = Clock()
    assert EARLIEST_S <= clock.first_verdict(20, [request(1)], own=True) <= EARLIEST_S + 2
    verdict = clock.progress.verdict(clock.now)
    assert verdict is not None and verdict.witness == OWN
    assert verdict.why == (f"context {CONTEXT} got no answer from osd.0 for 8 s (requests: 1, the oldest for object "
                           "rbd_data.1), while this host's other client is served promptly there")


def test_a_stall_of_the_cluster_is_never_a_stuck_path_however_long():
    assert Clock().first_verdict(600, [request(1), request(2, osd=1)], own=False, gw2=False, gw3=False) is None


def test_without_any_witness_nothing_is_concluded():
    assert Clock().first_verdict(600, [request(1)]) is None
    assert Clock().first_verdict(600, [request(1)], own=False) is None


def test_what_only_another_gateway_can_do_is_a_stuck_path_too_and_names_it():
    clock = Clock()
    assert clock.first_verdict(20, [request(1)], own=False, gw2=True) is not None
    verdict = clock.progress.verdict(clock.now)
    assert verdict.witness == "gw2" and verdict.why.endswith("while gateway gw2 is served promptly there")


def test_a_cluster_that_wakes_answers_the_older_request_first():
    clock = Clock()
    assert clock.first_verdict(30, [request(1)], own=False) is None
    assert clock.first_verdict(int(STUCK_S) - 1, [request(1)], own=True) is None
    assert clock.first_verdict(60, [], own=True) is None


def test_as_long_as_that_osd_answers_any_request_it_is_slow_and_not_stuck():
    clock = Clock()
    for second in range(100):
        waiting = [request(tid) for tid in range(second, second + 64)] + [request(7, osd=1)][:second < 3]
        assert clock.second(waiting, own=True) is None


def test_answers_of_other_osds_do_not_hide_one_that_answers_nothing():
    clock = Clock()
    seconds = [clock.second([request(0)] + [request(10 + second, osd=1)], own=True) for second in range(12)]
    assert any(seconds)


def test_a_request_that_was_sent_anew_begins_the_count_anew():
    clock = Clock()
    for second in range(60):
        assert clock.second([request(1, attempts=1 + second // 6)], own=True) is None


def test_one_answer_that_was_late_begins_the_count_anew():
    clock = Clock()
    for second in range(60):
        assert clock.second([request(1)], own=second % 5 != 0) is None


def test_a_witness_that_says_something_only_now_and_then_proves_nothing():
    clock = Clock()
    for second in range(60):
        assert clock.second([request(1)], **({"own": True} if second % 4 == 0 else {})) is None


def test_of_two_witnesses_the_own_client_is_named_because_its_host_is_well():
    clock = Clock()
    assert clock.first_verdict(20, [request(1)], gw2=True, own=True) is not None
    assert clock.progress.verdict(clock.now).witness == OWN


def test_a_pause_of_this_process_begins_the_count_anew():
    clock = Clock()
    clock.first_verdict(5, [request(1)], own=True)
    assert clock.second([request(1)], step_s=60.0, own=True) is None
    assert clock.first_verdict(int(EARLIEST_S) - 1, [request(1)], own=True) is None


def test_what_was_asked_before_the_silence_began_proves_nothing():
    progress = IoProgress(STUCK_S)
    progress.listed(CONTEXT, [request(1)], 100.0)
    for asked_s in range(90, 100):
        progress.answered(OWN, place("rbd_data.1"), float(asked_s), True)
    progress.listed(CONTEXT, [request(1)], 101.0)
    assert progress.verdict(101.0) is None


def test_the_verdict_stays_until_the_very_request_is_over_and_sending_it_anew_does_not_end_it():
    clock = Clock()
    assert clock.first_verdict(20, [request(1), request(2)], own=True) is not None
    assert clock.second([request(1), request(3)], own=False)
    assert clock.second([request(1, attempts=2, osd=2)], own=True)
    assert clock.second([request(2)], own=True) is None


def test_a_context_that_tells_nothing_more_is_not_judged_by_what_it_told():
    clock = Clock()
    clock.first_verdict(4, [request(1)], own=True)
    for second in range(20):
        clock.progress.answered(OWN, place("rbd_data.1"), clock.now + second, True)
    assert clock.progress.verdict(clock.now + 20) is None


def test_a_few_places_are_asked_about_at_a_time_those_first_that_are_silent_for_longest():
    clock = Clock()
    for second in range(20):
        clock.second([request(tid, osd=tid) for tid in range(10)])
    asked = clock.progress.to_ask(clock.now)
    assert len(asked) == MOST_PLACES == len(set(asked))


def test_nobody_is_asked_while_everything_is_answered():
    clock = Clock()
    for second in range(10):
        clock.second([request(second)])
        assert clock.progress.to_ask(clock.now) == ()


def test_a_host_that_was_cut_off_serves_again_only_after_its_own_client_was_served_without_a_break():
    cut_off, where = CutOff(STUCK_S), place("a")
    cut_off.judged(Verdict(CONTEXT, where, OWN, ""))
    assert cut_off.places == ()
    cut_off.judged(Verdict(CONTEXT, where, "gw2", ""))
    answers = [True] * 4 + [False] + [True] * int(STUCK_S)
    for second, prompt in enumerate(answers):
        cut_off.answered(where, float(second), prompt)
        assert cut_off.places == (where,)
    cut_off.answered(where, float(len(answers)), True)
    assert cut_off.places == ()


def test_the_client_has_asked_for_a_newer_osd_map_before_it_can_be_judged():
    assert ASK_FOR_MAP_S + CLIENT_TICK_S < QUIET_S + STUCK_S


SELDOM = st.sampled_from([False] * 9 + [True])
MOSTLY = SELDOM.map(lambda seldom: not seldom)
STRETCH = st.tuples(st.integers(1, 10), SELDOM, MOSTLY, st.sampled_from([0.5, 1.0, 1.0, 1.5, 2.0, 4.0]), MOSTLY)


@given(st.lists(STRETCH, min_size=2, max_size=6), st.sampled_from(["own", "gw2"]))
def test_every_verdict_has_its_proof(stretches: List[Tuple[int, bool, bool, float, bool]], witness: str):
    """Whatever happens: the last `stuck_s` before a verdict hold prompt answers only, without a break, and in all of
    that time and `QUIET_S` before it the OSD answered nothing."""
    clock, tid, history = Clock(), 0, []
    for osd_answers, prompt, step_s, asked_too in [rest for count, *rest in stretches for _ in range(count)]:
        tid += osd_answers
        before: Dict[str, bool] = {witness: prompt} if asked_too else {}
        verdict = clock.second([request(tid)], step_s=step_s, **before)
        if verdict is not None:
            silence = [at for at, answered, _ in history if answered]
            assert not osd_answers and clock.now - max(silence, default=100.0) >= EARLIEST_S
            proof = [at for at, _, good in history if good and clock.now - at <= STUCK_S + 2 * BREAK_S]
            assert max(proof) - min(proof) >= STUCK_S
            late = [at for at, _, good in history if good is False and at > clock.now - STUCK_S - BREAK_S]
            assert not late or min(p for p in proof if p > max(late)) + STUCK_S <= clock.now
            return
        asked = bool(clock.progress.to_ask(clock.now)) and asked_too
        history.append((clock.now, osd_answers, prompt if asked else None))


@pytest.mark.parametrize("stall_s", range(1, 40, 3))
@pytest.mark.parametrize("lag_s", [0, 2, 4])
def test_a_whole_cluster_that_stalls_and_a_context_that_is_answered_late_after_it_are_no_alarm(stall_s, lag_s):
    clock = Clock()
    for _ in range(stall_s):
        assert clock.second([request(1), request(2, osd=1)], own=False, gw2=False) is None
    for _ in range(lag_s):
        assert clock.second([request(1), request(2, osd=1)], own=True, gw2=True) is None
    for _ in range(20):
        assert clock.second([], own=True, gw2=True) is None
