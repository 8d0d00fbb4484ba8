"""The thrasher's other parts without a cluster: stalls, whose they are, the table, the logs, the mgrs' traces."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from nvmeof_ha import trace
from nvmeof_ha.core import machine
from nvmeof_ha.core.events import Committed
from nvmeof_ha.core.model import Map
from nvmeof_ha.core.timing import Timing
from thrash import results
from thrash.history import History
from thrash.log_watch import LogWatch
from thrash.mgr_trace import MgrTrace
from thrash.result import AFTER_S, Finding, Result
from thrash.schedule import BY_NAME, Fault, Played
from thrash.stall_watch import Stall, StallWatch


def played(name: str, from_s: float, to_s: float) -> Played:
    return Played(Fault(BY_NAME[name], '', 0.0, 1.0), from_s, to_s)


def test_a_stall_is_seen_while_it_lasts_and_has_its_whole_length_afterwards():
    watch = StallWatch({}, lambda _text, _at_s: None)
    for now_s, gap_s, longest_s in ((10.0, 0.1, 0.2), (10.5, 0.4, 0.4), (11.0, 0.9, 0.9)):
        watch.take(1, now_s, gap_s, longest_s)
    assert watch.stalls(0) == [Stall(1, 10.1, 11.0 - 10.1)]
    watch.take(1, 11.5, 0.1, 1.2)   # a write ended at 11.3
    watch.take(1, 12.0, 0.1, 1.2)
    assert [(stall.from_s, round(stall.seconds, 2)) for stall in watch.stalls(0)] == [(10.1, 1.2)]
    assert watch.stalls(10.2) == []


def test_a_stall_that_is_not_the_longest_of_its_window_is_not_taken_for_that_one():
    watch = StallWatch({}, lambda _text, _at_s: None)
    for now_s, gap_s in ((10.0, 0.1), (20.0, 0.9), (25.0, 0.1)):
        watch.take(1, now_s, gap_s, 14.7)
    assert [round(stall.seconds, 2) for stall in watch.stalls(0)] == [0.9]


def test_a_stall_is_laid_to_all_that_was_under_way_and_one_alone_to_its_only_kind():
    result = Result(1, [])
    faults = [played('kill-host', 10, 20), played('pause-mgr', 18, 22), played('pause-mgr', 60, 61)]
    result.lay_to_faults(faults, [(12.0, 3.0), (19.0, 5.0), (62.0, 1.0), (100.0, 0.5)], [19.5, 61.0])
    host, mgr = result.kinds['kill-host'], result.kinds['pause-mgr']
    assert (host.injected, host.stall_s, host.alone_s, host.failovers) == (1, 5.0, 3.0, 1)
    assert (mgr.injected, mgr.stall_s, mgr.alone_s, mgr.failovers) == (2, 5.0, 1.0, 2)
    assert result.quiet_stall_s == 0.5 and 100.0 > 61 + AFTER_S


def test_the_table_and_the_data_have_a_row_for_each_kind_and_one_for_all():
    one, two = Result(1, [], 7.0, settle_s=5.0, failovers=1), Result(2, [], 9.0, lost=1,
                                                                       findings=[Finding('lost', '1 lost')])
    one.lay_to_faults([played('kill-host', 0, 1)], [(0.5, 2.0)], [0.5])
    two.lay_to_faults([played('kill-host', 0, 1), played('pause-mgr', 0, 1)], [(0.5, 9.0)], [])
    rows = {line.split()[0]: line.split()[1:] for line in results.table([one, two]).splitlines()[2:]}
    assert rows['kill-host'] == ['2', '2', '1', '9.0', '2.0', '5.0', '1', '0', '0', '0', '0', '1']
    assert rows['all'][:4] == ['3', '2', '1', '9.0']
    data = results.to_json(1.0, 5, [one, two], {'violations': 0})
    assert (data['injected'], data['failovers'], data['lost'], data['not_settled']) == (3, 1, 1, 1)
    assert data['faults']['kill-host'] == {'injected': 2, 'stall_s': 9.0, 'alone_s': 2.0, 'failovers': 1}
    assert data['findings'] == {'lost': 1}


def test_an_alarm_in_a_log_is_told_once(tmp_path):
    log = tmp_path / 'gateway.log'
    log.write_text('all is well\n')
    logs = LogWatch([log, tmp_path / 'absent.log'])
    assert logs.news() == []
    with open(log, 'a') as more:
        more.write('ERROR the agent ends on an error of its own\n')
    assert len(logs.news()) == 1
    assert logs.news() == []


def test_what_the_logs_say_around_a_moment_is_found_in_its_order(tmp_path):
    now_s = time.time()

    def line(ago_s: float, text: str) -> str:
        stamp = datetime.fromtimestamp(now_s - ago_s).strftime('%Y-%m-%dT%H:%M:%S.%f')
        return f'{stamp[:-3]} {text}\n'
    one, other = tmp_path / 'one.log', tmp_path / 'other.log'
    one.write_text(line(60, 'long ago') + line(0.2, 'second') + line(0.1, 'x trace rbd/g1 {}'))
    other.write_text(line(0.5, 'first') + line(-0.3, 'third'))
    found = LogWatch([one, other]).around(now_s)
    assert [text.split()[1] for text in found] == ['first', 'second', 'third']


def test_the_commits_of_a_mgr_are_read_from_its_log_as_it_grows(tmp_path):
    log = tmp_path / 'mgr.x.log'
    logger = logging.Logger('a mgr')
    logger.addHandler(logging.FileHandler(log))
    logger.handlers[0].setFormatter(logging.Formatter('2026-01-01T00:00:00.000+0000 7f00  0 [nvmeof_ha] %(message)s'))
    traced = trace.Trace('rbd/g1', logger, True)
    begun = Map('rbd', 'g1'), (), 3, Timing(), 50.0, True, ()
    state, actions = machine.begin(*begun)
    traced.began(*begun, state, actions)
    history = History()
    reader = MgrTrace([log, tmp_path / 'absent.log'], 'rbd/g1', history)
    reader.take_news()
    assert [(commit.sent_s, commit.acknowledged_s) for commit in history.commits.values()] == [(50.0, None)]
    event = Committed(state.map.version)
    after, actions = machine.step(state, event, 50.5)
    traced.stepped(state, event, 50.5, after, actions)
    reader.take_news()
    assert [(commit.sent_s, commit.acknowledged_s) for commit in history.commits.values()] == [(50.0, 50.5)]
