"""The stamped writer reports nothing on a sound disk, and what was done to an unsound one."""

from __future__ import annotations

import signal
import time
from typing import Any, Callable

import pytest

from guest import Guest, GuestError, Writer

WAIT_S = 120
FAULTS = ("io_errors", "lost", "stale", "corrupt", "unread")


def faults(figures: dict[str, Any]) -> dict[str, int]:
    return {name: figures[name] for name in FAULTS if figures[name]}


def quick(guest: Guest, disk: str, **options: Any) -> Writer:
    return Writer.start(guest, disk, **{"slots_mib": 1, "interval_us": 1000, **options})


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def wait_for_passes(writer: Writer, passes: int) -> None:
    """Until each of the 256 slots has been written that many times more."""
    goal = writer.status()["writes"] + passes * 256 + 2
    wait_until(lambda: writer.status()["writes"] > goal)


def test_a_sound_disk_gives_no_finding(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk, depth=3, run_id="sound-1")
    wait_for_passes(writer, 2)
    final = writer.stop()
    assert faults(final) == {}
    assert (final["run"], final["device"], final["uncertain"]) == ("sound-1", disk, 0)
    assert final["reads"] == final["checked"] > 256    # those on the way and the verification
    assert 0 < final["longest_io_s"] and 0 < final["longest_gap_s"] < WAIT_S


def test_windows_split_the_run_and_add_up(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk)
    first = writer.mark()
    wait_for_passes(writer, 1)
    second = writer.mark()
    assert writer.report() == [first, second]
    final = writer.stop()
    windows = writer.report()
    assert [window["window"] for window in windows] == [1, 2, 3] and final["windows"] == 3
    assert sum(window["ios"] for window in windows) == final["ios"]
    assert second["writes"] >= 256
    for earlier, later in zip(windows, windows[1:]):
        assert later["start_epoch"] == pytest.approx(earlier["end_epoch"], abs=0.1)


def test_a_verification_on_the_way_reads_everything_and_is_no_gap(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk)
    wait_for_passes(writer, 1)
    before = writer.mark()
    after = writer.verify()
    assert (after["verifications"], after["window"]) == (1, before["window"] + 1)
    assert writer.mark()["checked"] >= 256
    wait_for_passes(writer, 1)      # writing goes on
    assert writer.stop()["verifications"] == 2


def test_a_stall_is_measured_and_counts_in_its_window_only(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk)
    wait_for_passes(writer, 1)
    writer.mark()
    guest.kill(writer.job, signal.SIGSTOP)
    guest.check("sleep 2")
    guest.kill(writer.job, signal.SIGCONT)
    wait_for_passes(writer, 1)
    window = writer.mark()
    wait_for_passes(writer, 1)
    offset = guest.clock_offset()
    final = writer.stop()
    after = writer.report()[-1]
    assert 2 <= window["longest_gap_s"] == pytest.approx(final["longest_gap_s"], abs=0.01)   # rounded to milliseconds
    assert after["longest_gap_s"] < window["longest_gap_s"]
    assert window["start_epoch"] <= window["longest_gap_at_epoch"] <= window["end_epoch"] - 2
    assert abs(window["end_epoch"] - offset.offset_s - time.time()) < WAIT_S
    assert faults(final) == {}


def test_a_block_that_vanished_is_lost_and_counted_once(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk, interval_us=20_000)
    wait_for_passes(writer, 1)
    guest.kill(writer.job, signal.SIGSTOP)
    guest.check(f"dd if=/dev/zero of={disk} bs=4096 seek=17 count=1")
    guest.kill(writer.job, signal.SIGUSR2)      # pending until it goes on: at most one write per thread comes before
    guest.kill(writer.job, signal.SIGCONT)
    wait_until(lambda: writer.status()["verifications"] == 1)
    window = writer.mark()
    writer.verify()
    final = writer.stop()
    assert faults(window) == faults(final) == {"lost": 1}
    assert final["findings"][0]["slot"] == 17 and final["findings"][0]["found"] == 0


def test_garbage_and_misplaced_blocks_are_corrupt(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk, interval_us=20_000)
    wait_for_passes(writer, 1)
    guest.kill(writer.job, signal.SIGSTOP)
    guest.check(f"dd if={disk} of=/tmp/block bs=4096 skip=9 count=1 && dd if=/tmp/block of={disk} bs=4096 seek=200 count=1 && "
                f"dd if=/dev/urandom of={disk} bs=512 seek=807 count=1")    # the last eighth of slot 100
    guest.kill(writer.job, signal.SIGUSR2)      # as above
    guest.kill(writer.job, signal.SIGCONT)
    final = writer.stop()
    assert faults(final) == {"corrupt": 2}
    assert sorted(finding["slot"] for finding in final["findings"]) == [100, 200]


def test_old_data_that_comes_back_is_stale_while_it_runs(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk)
    wait_for_passes(writer, 1)
    guest.check(f"dd if={disk} of=/tmp/old bs=1M count=1")
    wait_for_passes(writer, 1)

    def stale_after_going_back() -> bool:
        guest.check(f"dd if=/tmp/old of={disk} bs=1M count=1")
        return writer.status()["stale"] > 0

    wait_until(stale_after_going_back)
    final = writer.stop()
    assert final["stale"] > 0 and final["corrupt"] == 0
    finding = final["findings"][0]
    assert finding["kind"] == "stale" and 0 < finding["found"] < finding["acknowledged"]


def test_two_writers_on_one_disk_notice_each_other(guest: Guest, disk: str) -> None:
    first = quick(guest, disk, device_id=1)
    second = quick(guest, disk, device_id=2)
    wait_for_passes(second, 2)
    assert first.stop()["corrupt"] > 0
    assert second.stop()["corrupt"] > 0


def test_a_disk_that_is_too_small_is_refused(guest: Guest, disk: str) -> None:
    with pytest.raises(GuestError, match="--slots-mib 100 needs more"):
        Writer.start(guest, disk, slots_mib=100)


def test_sigpipe_is_counted_and_ends_nothing(guest: Guest, disk: str) -> None:
    writer = quick(guest, disk)
    guest.kill(writer.job, signal.SIGPIPE)
    wait_for_passes(writer, 1)
    final = writer.stop()
    assert final["sigpipes"] == 1 and faults(final) == {}
