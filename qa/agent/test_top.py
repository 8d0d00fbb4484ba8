"""Claims about the rates that `nvmeof-gw top` shows, and how it shows them."""
from __future__ import annotations

import json
import re

import pytest

from gw_agent.pb import ha_pb2
from gw_agent.client import units
from gw_agent.client.io_rates import Load, by_ana_group, merged, of_gateway
from gw_agent.client.top_view import HOME, JsonLines, Lines, Reading, Screen

NQN = "nqn.2016-06.io.spdk:cnode1"
TICK_RATE = 1000


def counters(nsid=1, group=1, state="optimized", nqn=NQN, bdev=None, **values):
    return ha_pb2.namespace_io_counters(nqn=nqn, nsid=nsid, ana_group_id=group, ana_state=state,
                                        bdev_name=bdev or f"bdev{nsid}", **values)


def info(ticks, *namespaces, name="gw1"):
    return ha_pb2.io_counters_info(answered_by=name, ticks=ticks, tick_rate=TICK_RATE, namespaces=namespaces)


def test_rates_are_differences_over_the_targets_own_time():
    before = info(1000, counters(num_read_ops=10, bytes_read=4096, read_latency_ticks=100))
    after = info(3000, counters(num_read_ops=30, bytes_read=12288, read_latency_ticks=140, num_write_ops=4,
                                bytes_written=2048, write_latency_ticks=8, num_unmap_ops=2))
    row, = of_gateway(before, after).values()
    assert (row.load.reads, row.load.writes, row.load.unmaps, row.load.iops) == (10, 2, 1, 13)
    assert (row.load.read_bytes, row.load.written_bytes, row.load.moved_bytes) == (4096, 1024, 5120)
    assert (row.load.read_latency_s, row.load.write_latency_s) == (0.002, 0.002)
    assert row.optimized_at == "gw1" and row.load.latency_s == pytest.approx(0.002)


def test_without_requests_there_is_no_latency():
    row, = of_gateway(info(0, counters()), info(1000, counters())).values()
    assert row.load == Load() and row.load.read_latency_s is None and row.load.latency_s == 0


@pytest.mark.parametrize("before", [None, info(5000), info(6000)])
def test_a_reading_without_a_usable_predecessor_gives_no_rates(before):
    assert of_gateway(before, info(5000, counters(num_read_ops=7))) is None


@pytest.mark.parametrize("before", [[], [counters(num_read_ops=900)], [counters(bdev="earlier", num_read_ops=1)]])
def test_a_device_that_was_made_anew_counts_from_zero(before):
    row, = of_gateway(info(0, *before), info(1000, counters(num_read_ops=7))).values()
    assert row.load.reads == 7


def test_a_namespace_that_went_is_left_out():
    assert of_gateway(info(0, counters(1), counters(2)), info(1000, counters(2))).keys() == {(NQN, 2)}


def test_gateways_are_added_up_and_the_optimized_one_is_named():
    one = of_gateway(info(0, counters()), info(1000, counters(num_read_ops=5)))
    two = of_gateway(info(0, counters(state="inaccessible"), name="gw2"),
                     info(1000, counters(state="inaccessible", num_read_ops=2), name="gw2"))
    for order in ([one, two], [two, one]):
        row, = merged(order)
        assert (row.load.reads, row.optimized_at) == (7, "gw1")


def reading(problems=()):
    found = of_gateway(info(0, counters(1), counters(2), counters(3, group=2, state="inaccessible")),
                       info(1000, counters(1, num_read_ops=5, bytes_read=5_000_000, read_latency_ticks=10), counters(2),
                            counters(3, group=2, state="inaccessible")))
    return Reading(0.0, ["gw1"], merged([found]), list(problems), {(NQN, 1): "rbd/disk1"})


def test_an_ana_group_is_the_sum_of_its_namespaces():
    groups = by_ana_group(reading().rows)
    found = [(g.ana_group_id, g.namespaces, g.optimized_at, g.load.reads) for g in groups]
    assert found == [(1, 2, "gw1", 5), (2, 1, "", 0)]


def test_lines_have_one_head_and_the_same_columns(capsys):
    view = Lines()
    view.show(reading(), "")
    view.show(reading(["gw2 does not answer"]), "")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Time") and sum(line.startswith("Time") for line in lines) == 1
    assert len(lines) == 1 + 5 + 6 and "! gw2 does not answer" in lines[6]
    assert re.search(rf"namespace +1 +gw1 +5 +5.00 +0 +2.00 +- +rbd/disk1 1 {NQN}$", lines[3]), lines[3]
    assert "elsewhere" in lines[2]


def test_json_is_one_object_a_line(capsys):
    JsonLines().show(reading(), "")
    shown = json.loads(capsys.readouterr().out)
    assert shown["namespaces"][0] == {
        "nqn": NQN, "nsid": 1, "image": "rbd/disk1", "ana_group_id": 1, "optimized_at": "gw1", "iops": 5, "reads": 5,
        "writes": 0, "unmaps": 0, "read_bytes": 5_000_000, "written_bytes": 0, "read_latency_s": 0.002,
        "write_latency_s": None}
    assert [group["namespaces"] for group in shown["ana_groups"]] == [2, 1]


def test_the_screen_is_renewed_in_place_and_never_longer_or_wider_than_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    view = Screen()
    for height, hidden in ((40, 0), (14, 0), (13, 1), (12, 2), (5, None)):
        monkeypatch.setenv("LINES", str(height))
        view.show(reading(), "every 2 s, by iops")
        shown = capsys.readouterr().out
        lines = re.sub(r"\x1b\[[0-9]*[A-Z]", "", shown).splitlines()
        assert len(lines) < height and max(map(len, lines)) <= 60
        assert shown.startswith(HOME) is (height < 40), "only the first picture clears the screen"
        assert (f"... {hidden} more; a taller window shows them" in lines) is bool(hidden), lines


@pytest.mark.parametrize("size, text", [(0, "unknown"), (512, "512 B"), (8 << 20, "8 MiB"), (1 << 40, "1 TiB"),
                                        ((1 << 30) + (1 << 20), "1025 MiB"), (4096 << 40, "4 PiB"),
                                        (10_000_000_512, "9.31 GiB"), (9_999, "9999 B"), (20_001, "19.53 KiB")])
def test_sizes_are_shown_in_the_largest_unit_that_is_exact_if_that_is_short(size, text):
    assert units.size(size) == text


@pytest.mark.parametrize("number, text", [(0, "0"), (7.46, "7.5"), (7, "7"), (99.5, "100"), (813.2, "813"),
                                          (9999, "9999"), (12_400, "12.4k"), (999_949, "999.9k"), (3_100_000, "3.1M")])
def test_counts_are_short(number, text):
    assert units.count(number) == text


@pytest.mark.parametrize("seconds, text", [(-0.1, "0.0 s"), (0.26, "0.3 s"), (42, "42 s"), (119, "119 s"),
                                           (600, "10 min"), (36_000, "10 h")])
def test_ages_are_short(seconds, text):
    assert units.age(seconds) == text
