"""ANA states, asynchronous events, keep-alive, features, log pages and discovery, as a host sees them."""

from __future__ import annotations

import struct

import pytest

from target_sim.conftest import Exported
from target_sim.initiator import FABRICS, PATH_INACCESSIBLE, ConnectionEnded, Host, Queue
from target_sim.target_process import TargetProcess, free_port, listen_address, wait_for

INVALID_FIELD = 0x002
OPTIMIZED = 1
NON_OPTIMIZED = 2
INACCESSIBLE = 3
ASYNC_EVENT = 0x0C
KEEP_ALIVE = 0x18
SET_FEATURES = 0x09
GET_FEATURES = 0x0A
ABORT = 0x08
ANA_CHANGE_EVENT = 0x0C0302
NAMESPACE_EVENT = 0x040002
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
QUIET_S = 0.3


# ANA


def test_a_new_listener_is_optimized_unless_told_otherwise(target: TargetProcess, exported: Exported) -> None:
    port = free_port()
    target.rpc(
        "nvmf_subsystem_add_listener", nqn=exported.nqn, listen_address=listen_address(port), ana_state="inaccessible"
    )
    with Host(exported.port, exported.nqn) as here, Host(port, exported.nqn) as there:
        assert here.ana_states() == {1: OPTIMIZED, 2: OPTIMIZED}
        assert there.ana_states() == {1: INACCESSIBLE, 2: INACCESSIBLE}
        assert here.read(1, 0, 1).status == 0
        assert there.read(1, 0, 1)[:2] == (PATH_INACCESSIBLE, False)


@pytest.mark.parametrize(
    "state, shown, status",
    [
        ("optimized", OPTIMIZED, 0),
        ("non_optimized", NON_OPTIMIZED, 0),
        ("inaccessible", INACCESSIBLE, PATH_INACCESSIBLE),
    ],
)
def test_an_ana_state_decides_for_its_group_alone(state: str, shown: int, status: int, exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        exported.set_ana(state, 1)
        assert host.ana_states() == {1: shown, 2: OPTIMIZED}
        assert host.read(1, 0, 1).status == host.write(1, 0, bytes(8192)).status == status
        assert host.read(2, 0, 1).status == 0


def test_group_0_means_every_group(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        exported.set_ana("inaccessible", 0)
        assert host.ana_states() == {1: INACCESSIBLE, 2: INACCESSIBLE}


def test_a_namespace_that_changes_its_group_follows_the_new_groups_state(
    target: TargetProcess, exported: Exported
) -> None:
    exported.set_ana("inaccessible", 2)
    with Host(exported.port, exported.nqn) as host:
        target.rpc("nvmf_subsystem_set_ns_ana_group", nqn=exported.nqn, nsid=1, anagrpid=2)
        assert host.ana_states() == {2: INACCESSIBLE}
        assert host.read(1, 0, 1).status == PATH_INACCESSIBLE


# asynchronous events


def test_an_ana_change_is_announced_once_until_its_log_is_read(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        first, second = host.admin.submit(ASYNC_EVENT), host.admin.submit(ASYNC_EVENT)
        exported.set_ana("inaccessible", 1)
        exported.set_ana("optimized", 1)
        wait_for(lambda: host.admin.is_done(first, 0.1) or host.admin.is_done(second, 0.1), "an event")
        done, waiting = (first, second) if host.admin.is_done(first) else (second, first)
        assert host.admin.wait(done).dw0 == ANA_CHANGE_EVENT
        assert not host.admin.is_done(waiting, QUIET_S), "the second change came before the log was read"
        host.log_page(0x0C, 4096, retain=True)
        exported.set_ana("inaccessible", 1)
        assert not host.admin.is_done(waiting, QUIET_S), "the event was retained"
        host.log_page(0x0C, 4096)
        exported.set_ana("optimized", 1)
        assert host.admin.wait(waiting).dw0 == ANA_CHANGE_EVENT


def test_only_hosts_at_the_listener_are_told_of_its_change(target: TargetProcess, exported: Exported) -> None:
    port = free_port()
    target.rpc("nvmf_subsystem_add_listener", nqn=exported.nqn, listen_address=listen_address(port))
    with Host(exported.port, exported.nqn) as here, Host(port, exported.nqn) as there:
        told, untold = here.admin.submit(ASYNC_EVENT), there.admin.submit(ASYNC_EVENT)
        exported.set_ana("inaccessible", 1)
        assert here.admin.wait(told).dw0 == ANA_CHANGE_EVENT
        assert not there.admin.is_done(untold, QUIET_S)


def test_a_state_that_does_not_change_is_not_announced(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        event = host.admin.submit(ASYNC_EVENT)
        exported.set_ana("optimized", 1)
        assert not host.admin.is_done(event, QUIET_S)


def test_an_event_without_a_waiting_request_is_kept(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        exported.set_ana("non_optimized", 1)
        assert host.admin.command(ASYNC_EVENT).dw0 == ANA_CHANGE_EVENT


def test_a_namespace_change_is_announced_and_listed(target: TargetProcess, exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        event = host.admin.submit(ASYNC_EVENT)
        target.rpc("nvmf_subsystem_remove_ns", nqn=exported.nqn, nsid=2)
        assert host.admin.wait(event).dw0 == NAMESPACE_EVENT
        assert struct.unpack_from("<II", host.log_page(0x04, 4096).data) == (2, 0)
        assert struct.unpack_from("<I", host.log_page(0x04, 4096).data) == (0,)
        exported.add_namespace(exported.bdevs[1], 2)
        assert host.admin.command(ASYNC_EVENT).dw0 == NAMESPACE_EVENT
        assert struct.unpack_from("<II", host.identify(2).data) == (1, 2)


def test_disabled_events_are_not_sent(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        assert host.admin.command(SET_FEATURES, cdw10=0x0B, cdw11=0).status == 0
        event = host.admin.submit(ASYNC_EVENT)
        exported.set_ana("inaccessible", 1)
        assert not host.admin.is_done(event, QUIET_S)


def test_a_fifth_event_request_is_refused_and_an_aborted_one_makes_room(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        waiting = [host.admin.submit(ASYNC_EVENT) for _ in range(4)]
        assert host.admin.command(ASYNC_EVENT).status == 0x105
        assert host.admin.command(ABORT, cdw10=waiting[0] << 16).dw0 == 0
        assert host.admin.wait(waiting[0]).status == 0x007
        assert not host.admin.is_done(host.admin.submit(ASYNC_EVENT), QUIET_S)


# features, keep-alive, log pages


def test_features(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as host:
        assert host.admin.command(SET_FEATURES, cdw10=0x07, cdw11=0x00030003).dw0 == 126 << 16 | 126
        assert host.admin.command(SET_FEATURES, cdw10=0x0F, cdw11=15000).status == 0
        assert host.admin.command(GET_FEATURES, cdw10=0x0F).dw0 == 20000, "rounded up to the granularity of 10 s"
        assert host.admin.command(GET_FEATURES, cdw10=0x81, cdw11=1, length=16).data == host.hostid.bytes
        assert host.admin.command(GET_FEATURES, cdw10=0x7F).status == INVALID_FIELD


def test_a_host_that_is_silent_for_longer_than_its_keep_alive_time_is_disconnected(exported: Exported) -> None:
    """The shortest time a target accepts is 10 s, and it looks only that often."""
    with (
        Host(exported.port, exported.nqn, kato_ms=1000) as silent,
        Host(exported.port, exported.nqn, kato_ms=1000) as alive,
    ):
        wait_for(
            lambda: alive.admin.command(KEEP_ALIVE).status == 0 and silent.admin.is_closed(within_s=0.5),
            "the silent host's end",
            limit_s=40,
        )
        assert alive.read(1, 0, 1).status == 0
        with pytest.raises((ConnectionEnded, ConnectionError)):
            silent.read(1, 0, 1)


@pytest.mark.parametrize("page, length", [(0x00, 1024), (0x01, 64), (0x02, 512), (0x03, 512), (0x05, 4096), (0x0C, 64)])
def test_log_pages_are_there(page: int, length: int, exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as host:
        answer = host.log_page(page, length)
        assert (answer.status, len(answer.data)) == (0, length)


def test_an_unknown_log_page_is_refused(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as host:
        assert host.log_page(0xC0, 512).status == 0x109


def test_discovery_lists_every_listener(target: TargetProcess, exported: Exported) -> None:
    queue = Queue(exported.port)
    assert queue.connect(DISCOVERY_NQN, 0, 0xFFFF, "nqn.2016-06.io.host:a", bytes(16), 0).status == 0
    assert queue.command(FABRICS, nsid=0, fabrics=struct.pack("<BxxxIQ8x", 0, 0x14, 0x00460001)).status == 0
    page = queue.command(0x02, cdw10=0x70 | 1023 << 16, length=4096).data
    entries = [
        page[1024 * (number + 1) : 1024 * (number + 2)] for number in range(struct.unpack_from("<Q", page, 8)[0])
    ]
    shown = [
        (
            entry[0],
            entry[1],
            entry[2],
            entry[32:64].rstrip(b" \0").decode(),
            entry[256:512].rstrip(b"\0").decode(),
            entry[512:768].rstrip(b" \0").decode(),
        )
        for entry in entries
    ]
    assert (3, 1, 2, str(exported.port), exported.nqn, "127.0.0.1") in shown
    queue.close()


def test_a_removed_listener_disconnects_its_hosts_and_the_port_is_free(
    target: TargetProcess, exported: Exported
) -> None:
    with Host(exported.port, exported.nqn) as host:
        target.rpc("nvmf_subsystem_remove_listener", nqn=exported.nqn, listen_address=exported.address)
        assert host.admin.is_closed(within_s=30)
    with pytest.raises(ConnectionRefusedError):
        Queue(exported.port)
