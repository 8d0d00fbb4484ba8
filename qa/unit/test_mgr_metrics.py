"""Claims about what Prometheus is told, read with Prometheus' own parser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Optional

from prometheus_client.parser import text_string_to_metric_families

from nvmeof_ha.core.events import Notes
from nvmeof_ha.core.model import AnaGroup, Availability, Departed, Gateway, Instance, Map, Phase, Subsystem, Version
from nvmeof_ha.core.release import RELEASE
from nvmeof_ha.core.soft import Acked, Soft
from nvmeof_ha.health_mgr import MgrView
from nvmeof_ha.hearing import Said
from nvmeof_ha.kv_records import GroupKey
from nvmeof_ha.measures import BOUNDS_S, Durations, Histogram, Measured, Pace, SeatTimes, Totals
from nvmeof_ha.metrics import Seen, exposition
from nvmeof_ha.metrics_text import BLOCK_BYTES, Family, Samples
from nvmeof_ha.status import Status
from nvmeof_ha.transitions import Kind, Mark, Outcome, Transition

KEY = GroupKey('rbd', 'g1')
HOLDER = Instance('gw1', 1, 'a')
GATEWAY_MAP = Map('rbd', 'g1', Version(3, 9), (
    Gateway('gw1', 1, availability=Availability.AVAILABLE, instance=HOLDER, last_number=1,
            addresses=frozenset({'192.0.2.1:0/1'}),
            subsystems=(Subsystem('nqn.a:b', ('192.0.2.1:4420',), ((1, 5), (2, 3))),)),
    Gateway('gw2', 2, availability=Availability.UNAVAILABLE, enabled=False, last_number=1)),
    (AnaGroup(1, 'gw1', Phase.ACTIVE, holder=HOLDER, writers=frozenset({HOLDER}), since=Version(3, 5)),
     AnaGroup(2, 'gw2', since=Version(3, 8))),
    departed=(Departed(Instance('gw2', 1, 'b'), frozenset({'192.0.2.2:0/1'})),))
SAID = Said(Notes(RELEASE, ana_repairs=2, io=((1, 700),), lease_left_s=2.25, loop_lag_s=0.004), load=731)


def no_pause() -> None:
    pass


def seen(status: Optional[Status] = None, measured: Measured = Measured(), totals: Optional[Totals] = None) -> Seen:
    soft = Soft(heard={'gw1': 99.5}, connections={'gw1': 4}, flaps={'gw2': (50.0, 60.0)},
                phase_acked={1: Acked(Version(3, 5), 40.0)})
    given = status or Status(committed=GATEWAY_MAP, running=True, soft=soft, said={'gw1': SAID}, late_ticks=1,
                             fence_failures=('no',))
    return Seen(given, measured, totals or Totals())


def told(one: Seen, mgrs: MgrView = MgrView(), checks: Any = {}) -> Dict[str, Dict[tuple, float]]:
    """Sample name -> its labels without pool and group, as sorted pairs -> value."""
    text, found = b"".join(exposition({KEY: one}, mgrs, checks, 100.0, no_pause)).decode(), {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ('gauge', 'counter', 'histogram')
        assert family.name.startswith('nvmeof_ha_')
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if (k, v) not in
                                  (('pool', 'rbd'), ('group', 'g1'))))
            assert labels not in found.setdefault(sample.name, {}), 'a series twice'
            found[sample.name][labels] = sample.value
    return found


def test_gateways_and_ana_groups_are_told_as_they_are():
    found = told(seen())
    of_1, of_2, gw1, gw2 = ('ana_group', '1'), ('ana_group', '2'), ('gateway', 'gw1'), ('gateway', 'gw2')
    phases = found['nvmeof_ha_ana_group_phase']
    assert len(phases) == 2 * len(Phase) and sum(phases.values()) == 2
    assert phases[of_1, ('phase', 'ACTIVE')] == phases[of_2, ('phase', 'UNSERVED')] == 1
    assert found['nvmeof_ha_ana_group_holder_info'] == {
        (of_1, ('holder', 'gw1'), ('owner', 'gw1')): 1, (of_2, ('holder', ''), ('owner', 'gw2')): 1}
    assert found['nvmeof_ha_ana_group_unserved'] == {(of_1,): 0, (of_2,): 1}
    assert found['nvmeof_ha_ana_group_namespaces'] == {(of_1,): 5, (of_2,): 3}
    assert found['nvmeof_ha_ana_group_io_operations_per_second'] == {(of_1,): 700, (of_2,): 0}
    assert found['nvmeof_ha_ana_group_phase_age_seconds'] == {(of_1,): 60}
    assert found['nvmeof_ha_gateway_availability'][('availability', 'UNAVAILABLE'), gw2] == 1
    assert found['nvmeof_ha_gateway_enabled'] == {(gw1,): 1, (gw2,): 0}
    assert found['nvmeof_ha_gateway_recent_losses'] == {(gw1,): 0, (gw2,): 2}
    for name, value in (('beacon_age_seconds', 0.5), ('lease_left_seconds', 2.25), ('loop_lag_seconds', 0.004),
                        ('ana_repairs_total', 2), ('host_connections', 4), ('io_operations_per_second', 731)):
        assert found[f'nvmeof_ha_gateway_{name}'] == {(gw1,): value}, 'nothing of a gateway that does not run'
    assert found['nvmeof_ha_fence_failures'] == {(): 1} and found['nvmeof_ha_unfenced_instances'] == {(): 1}


def test_making_the_text_may_pause_after_each_line():
    lines: List[int] = []
    text = b''.join(exposition({KEY: seen()}, MgrView(), {}, 100.0, lambda: lines.append(1)))
    assert len(lines) == sum(not line.startswith(b'#') for line in text.splitlines()) > 50


def every_sample() -> List[Any]:
    """One of each kind, for the tests of what is made of them."""
    totals, times = Totals(), SeatTimes(Durations(), Durations())
    totals.note(failover(1))
    blocks = exposition({KEY: seen(measured=Measured(seats={0: times}), totals=totals)}, MgrView(1, 30.0),
                      {'NVMEOF_GATEWAY_DOWN': {'severity': 'warning', 'count': 1}}, 100.0, no_pause)
    return [sample for family in text_string_to_metric_families(b''.join(blocks).decode()) for sample in family.samples]


def test_an_agent_that_is_too_old_to_say_more_has_its_load_only():
    status = replace(seen().status, said={'gw1': Said(load=3)})
    found = told(seen(status))
    assert found['nvmeof_ha_gateway_io_operations_per_second'] == {(('gateway', 'gw1'),): 3}
    assert not {'nvmeof_ha_gateway_lease_left_seconds', 'nvmeof_ha_gateway_release_info',
                'nvmeof_ha_ana_group_io_operations_per_second'} & set(found)


def test_a_group_that_is_not_looked_after_yet_says_so_and_nothing_that_it_does_not_know():
    found = told(seen(Status(problems=('a', 'b'))))
    assert found['nvmeof_ha_group_looked_after'] == {(): 0} and found['nvmeof_ha_group_problems'] == {(): 2}
    assert not {'nvmeof_ha_mgr_green_seats', 'nvmeof_ha_ana_group_phase', 'nvmeof_ha_mgr_standbys'} & set(found)


def test_the_mgrs_and_the_health_checks_are_told():
    found = told(seen(), MgrView(2, 30.0), {'NVMEOF_GATEWAY_DOWN': {'severity': 'warning', 'count': 3}})
    assert found['nvmeof_ha_mgr_standbys'] == {(): 2} and found['nvmeof_ha_mgr_beacon_grace_seconds'] == {(): 30}
    assert found['nvmeof_ha_health_findings'] == {(('code', 'NVMEOF_GATEWAY_DOWN'), ('severity', 'warning')): 3}
    assert found['nvmeof_ha_mgr_late_ticks'] == {(): 1} and found['nvmeof_ha_mgr_green_seats'] == {(): 3}


def failover(number: int, inherited: bool = False) -> Transition:
    return Transition(number, Kind.FAILOVER, 1, 0.0, 'gw2#1:b', 'gw1#1:a', 'died', inherited=inherited, marks=(
        Mark('noticed', 0.0), Mark('fenced', 0.7), Mark('promoted', 0.72), Mark('confirmed', 0.8)))


def test_transitions_count_from_zero_and_are_told_by_kind_outcome_and_phase():
    totals = Totals()
    none = told(seen(totals=totals))
    assert list(none['nvmeof_ha_transitions_total'].values()) == [0] * len(Kind)
    for record in (failover(1), failover(2, inherited=True), replace(failover(3), outcome=Outcome.BROKEN_OFF)):
        totals.note(record)
    found, kind = told(seen(totals=totals)), ('kind', 'failover')
    assert found['nvmeof_ha_transitions_total'][kind, ('outcome', 'done')] == 2
    assert found['nvmeof_ha_transitions_total'][kind, ('outcome', 'broken off')] == 1
    took = found['nvmeof_ha_transition_duration_seconds_bucket']
    assert took[kind, ('le', '0.5')] == 0 and took[kind, ('le', '1.0')] == took[kind, ('le', '+Inf')] == 2
    assert found['nvmeof_ha_transition_duration_seconds_sum'][(kind,)] == 1.6
    fenced = found['nvmeof_ha_transition_phase_duration_seconds_bucket']
    assert fenced[kind, ('le', '1.0'), ('phase', 'fenced')] == 3 and 'noticed' not in str(fenced)


def test_seats_fences_and_ticks_are_histograms():
    commits, other = Histogram(), Histogram()
    for seconds in (0.001, 0.01, 0.02, 100.0, -0.1):
        commits.note(seconds)
    times = SeatTimes(commits.snapshot(), other.snapshot())
    found = told(seen(measured=Measured(commits.snapshot(), commits.snapshot(), {0: times, 1: times})))
    for name in ('mgr_tick_lateness_seconds', 'fence_duration_seconds'):
        assert found[f'nvmeof_ha_{name}_count'] == {(): 5}
    buckets = found['nvmeof_ha_seat_commit_duration_seconds_bucket']
    assert len(buckets) == 2 * (len(BOUNDS_S) + 1)
    assert [buckets[('le', le), ('seat', '1')] for le in ('0.005', '0.01', '0.025', '60.0', '+Inf')] == [2, 3, 4, 4, 5]
    assert found['nvmeof_ha_seat_commit_duration_seconds_sum'][(('seat', '0'),)] == 100.031


def test_labels_and_help_are_escaped():
    samples, value = Samples(no_pause), 'a"b\\c\nd'
    samples.add(Family('nvmeof_ha_x', 'gauge', 'one\\two\nlines'), {'name': value}, 1.5)
    family, = text_string_to_metric_families(b''.join(samples.blocks()).decode())
    assert family.samples[0].labels == {'name': value} and family.documentation == 'one\\two\nlines'


def test_only_ticks_so_late_that_silence_does_not_count_are_late_and_are_forgotten_after_a_minute():
    pace = Pace()
    for now in (0.0, 0.1, 0.35, 1.2, 1.3):
        pace.ticked(now, now - 0.02, 0.5)
    assert pace.late_lately == 1 and pace.lateness.snapshot().counts[:4] == (0, 0, 5, 0)
    pace.ticked(61.3, 61.3, 100.0)
    assert pace.late_lately == 0


def test_a_long_text_is_made_in_blocks_and_reads_as_one():
    samples, family = Samples(no_pause), Family('nvmeof_ha_many', 'gauge', 'Many.')
    for number in range(5000):
        samples.add(family, {'gateway': f'gw{number}'}, number)
    blocks = samples.blocks()
    assert len(blocks) > 3 and max(map(len, blocks)) < BLOCK_BYTES + 100
    found, = text_string_to_metric_families(b''.join(blocks).decode())
    assert [sample.value for sample in found.samples] == list(range(5000))
