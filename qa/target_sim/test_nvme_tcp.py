"""NVMe/TCP as a host sees it: connect, identify, I/O, ANA, asynchronous events, keep-alive, discovery."""
from __future__ import annotations

import os
import struct
import uuid

import pytest

from target_sim.conftest import Exported
from target_sim.initiator import FABRICS, PATH_INACCESSIBLE, ConnectionEnded, Host, Queue
from target_sim.target_process import TargetProcess, free_port, listen_address, wait_for

OPTIMIZED, NON_OPTIMIZED, INACCESSIBLE = 1, 2, 3
ASYNC_EVENT, KEEP_ALIVE, SET_FEATURES, GET_FEATURES, ABORT = 0x0C, 0x18, 0x09, 0x0A, 0x08
FLUSH, WRITE_ZEROES, DATASET_MANAGEMENT = 0x00, 0x08, 0x09
ANA_CHANGE_EVENT = 0x0C0302
NAMESPACE_EVENT = 0x040002
DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
INVALID_FIELD, INVALID_NAMESPACE, LBA_OUT_OF_RANGE, CONNECT_INVALID_PARAM, CONNECT_INVALID_HOST, INVALID_QUEUE_ID = 0x002, 0x00B, 0x080, 0x182, 0x184, 0x101
BLOCK = 512
QUIET_S = 0.3


# connecting

def test_icresp_offers_whole_transfers(exported: Exported) -> None:
    queue = Queue(exported.port)
    assert queue.max_h2c_data == 131072
    assert queue.digests == 0
    queue.close()


def test_controller_ids_come_from_the_subsystems_range_in_turn(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as first, Host(exported.port, exported.nqn, queues=0) as second:
        assert (first.cntlid, second.cntlid) == (5, 6)


@pytest.mark.parametrize("change, offset", [({"nqn": "nqn.2016-06.io.spdk:unknown"}, 0x10100), ({"cntlid": 7}, 0x10010), ({"size": 0}, 44), ({"size": 128}, 44)])
def test_a_connect_with_a_wrong_parameter_says_which(change: dict, offset: int, exported: Exported) -> None:
    queue = Queue(exported.port)
    asked = {"nqn": exported.nqn, "cntlid": 0xFFFF, "size": 31, **change}
    answer = queue.connect(asked["nqn"], 0, asked["cntlid"], "nqn.2016-06.io.host:a", bytes(16), 0, asked["size"])
    assert answer.status == CONNECT_INVALID_PARAM
    assert answer.dw0 & 0x1FFFF == offset
    queue.close()


def test_only_hosts_that_are_allowed_may_connect(target: TargetProcess, exported: Exported) -> None:
    hostnqn = "nqn.2016-06.io.host:allowed"
    target.rpc("nvmf_subsystem_allow_any_host", nqn=exported.nqn, allow_any_host=False)
    queue = Queue(exported.port)
    assert queue.connect(exported.nqn, 0, 0xFFFF, hostnqn, bytes(16), 0).status == CONNECT_INVALID_HOST
    queue.close()
    target.rpc("nvmf_subsystem_add_host", nqn=exported.nqn, host=hostnqn)
    with Host(exported.port, exported.nqn, hostnqn=hostnqn) as host:
        assert target.rpc("nvmf_subsystem_remove_host", nqn=exported.nqn, host=hostnqn) is True
        assert host.admin.is_closed(within_s=30)


def test_a_second_io_queue_of_the_same_number_is_refused(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=1) as host:
        queue = Queue(exported.port)
        answer = queue.connect(exported.nqn, 1, host.cntlid, host.hostnqn, host.hostid.bytes, 0)
        assert answer.status == INVALID_QUEUE_ID
        queue.close()


def test_properties_describe_the_controller(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as host:
        capabilities = host.get_property(0x00, 8)
        assert capabilities & 0xFFFF == 127, "queue entries"
        assert capabilities >> 24 & 0xFF == 30, "ready timeout"
        assert capabilities >> 37 & 1, "NVM command set"
        assert host.get_property(0x08) == 0x00020000
        assert host.get_property(0x14) == 0x00460001
        assert host.admin.command(FABRICS, nsid=4, fabrics=struct.pack("<BxxxI16x", 0, 0x1000)).status == CONNECT_INVALID_PARAM


def test_a_shutdown_by_the_host_completes(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        assert host.set_property(0x14, 0x00464001).status == 0
        wait_for(lambda: host.get_property(0x1C) >> 2 & 3 == 2, "shutdown status complete")
        assert host.io[0].is_closed(within_s=30)


def test_rpcs_show_controllers_and_queue_pairs(target: TargetProcess, exported: Exported) -> None:
    before = target.rpc("nvmf_get_stats")["poll_groups"][0]
    with Host(exported.port, exported.nqn, queues=2) as host:
        host.write(1, 0, bytes(BLOCK))
        assert target.rpc("nvmf_subsystem_get_controllers", nqn=exported.nqn) == [
            {"cntlid": host.cntlid, "cntrltype": "io", "hostnqn": host.hostnqn, "hostid": str(host.hostid), "num_io_qpairs": 3}]
        pairs = target.rpc("nvmf_subsystem_get_qpairs", nqn=exported.nqn)
        assert sorted(pair["qid"] for pair in pairs) == [0, 1, 2]
        assert all(pair["listen_address"] == exported.address and pair["state"] == "enabled" for pair in pairs)
        stats = target.rpc("nvmf_get_stats")["poll_groups"][0]
        assert stats["current_io_qpairs"] - before["current_io_qpairs"] == 2
        assert stats["completed_nvme_io"] > before["completed_nvme_io"]
    wait_for(lambda: target.rpc("nvmf_subsystem_get_controllers", nqn=exported.nqn) == [], "the controller to go")


# identify

def test_identify_controller_shows_the_measured_values(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as host:
        page = host.identify(1).data
        shown = {"cmic": page[76], "mdts": page[77], "cntlid": struct.unpack_from("<H", page, 78)[0], "oaes": struct.unpack_from("<I", page, 92)[0],
                 "kas": struct.unpack_from("<H", page, 320)[0], "anatt": page[342], "anacap": page[343],
                 "nanagrpid": struct.unpack_from("<I", page, 348)[0], "maxcmd": struct.unpack_from("<H", page, 514)[0],
                 "nn": struct.unpack_from("<I", page, 516)[0], "ioccsz": struct.unpack_from("<I", page, 1792)[0],
                 "sn": page[4:24], "mn": page[24:64].rstrip(), "subnqn": page[768:1024].rstrip(b"\0").decode(), "aerl": page[259]}
        assert shown == {"cmic": 0x0B, "mdts": 5, "cntlid": host.cntlid, "oaes": 0x900, "kas": 100, "anatt": 10, "anacap": 0x47, "nanagrpid": 32,
                         "maxcmd": 128, "nn": 32, "ioccsz": 260, "sn": b"SN1".ljust(20), "mn": b"SPDK bdev Controller", "subnqn": exported.nqn, "aerl": 3}


def test_identify_namespace_shows_size_group_and_identity(target: TargetProcess, exported: Exported) -> None:
    identity = uuid.uuid4()
    target.rpc("nvmf_subsystem_remove_ns", nqn=exported.nqn, nsid=2)
    exported.add_namespace(exported.bdevs[1], 2, uuid=str(identity), nguid=identity.hex)
    with Host(exported.port, exported.nqn, queues=0) as host:
        page = host.identify(0, nsid=2).data
        assert struct.unpack_from("<QQQ", page) == (8192, 8192, 8192)
        assert page[30] & 1, "may be shared between controllers"
        assert struct.unpack_from("<I", page, 92)[0] == 2, "ANA group"
        assert page[104:120] == identity.bytes
        assert page[130] == 9, "512-byte blocks"
        descriptors = host.identify(3, nsid=2).data
        assert struct.pack("<BBxx", 2, 16) + identity.bytes in descriptors and struct.pack("<BBxx", 3, 16) + identity.bytes in descriptors
        exported.set_ana("inaccessible", 2)
        assert struct.unpack_from("<QQQ", host.identify(0, nsid=2).data) == (8192, 8192, 0)


def test_identify_of_what_is_not_there(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as host:
        assert host.identify(0, nsid=3) == (0, False, 0, 0, bytes(4096)), "an inactive namespace is all zeros"
        assert host.identify(0, nsid=33).status == INVALID_NAMESPACE
        assert host.identify(3, nsid=3).status == INVALID_FIELD
        assert host.identify(0x7F).status == INVALID_FIELD
        assert struct.unpack_from("<III", host.identify(2, nsid=0).data) == (1, 2, 0)
        assert struct.unpack_from("<II", host.identify(2, nsid=1).data) == (2, 0)


def test_identify_nvm_command_set_shows_write_zeroes_and_discard_limits(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as host:
        page = host.identify(6).data
        assert page[1] == 12 and struct.unpack_from("<I", page, 4)[0] == 2097152
        assert struct.unpack_from("<I", host.identify(8, nsid=2).data, 4)[0] == 2
        assert host.identify(0xFFFF001C).data[0] == 1


# I/O

@pytest.mark.parametrize("size", [512, 4096, 4608, 65536, 131072])
def test_what_is_written_is_read_back(size: int, exported: Exported) -> None:
    """Up to 4096 bytes travel in the capsule, more is asked for with R2T."""
    data = os.urandom(size)
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 16, data).status == 0
        assert host.read(1, 16, size // BLOCK).data == data
        assert host.read(2, 16, size // BLOCK).data == bytes(size), "the other namespace is another device"


def test_write_data_may_come_in_several_pdus(exported: Exported) -> None:
    data = os.urandom(131072)
    with Host(exported.port, exported.nqn) as host:
        host.io[0].max_h2c_data = 10000
        assert host.write(1, 0, data).status == 0
        assert host.read(1, 0, len(data) // BLOCK).data == data


def test_many_commands_in_flight_complete(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        written = {block: os.urandom(8192) for block in range(0, 16 * 24, 16)}
        submitted = [host.submit_write(1, block, data) for block, data in written.items()]
        assert [host.io[0].wait(cid).status for cid in submitted] == [0] * len(written)
        assert all(host.read(1, block, 16).data == data for block, data in written.items())


def test_write_zeroes_and_discard(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        host.write(1, 0, b"\xff" * 8192)
        assert host.io[0].command(WRITE_ZEROES, nsid=1, cdw10=0, cdw12=7).status == 0
        assert host.read(1, 0, 16).data == bytes(4096) + b"\xff" * 4096
        ranges = struct.pack("<IIQ", 0, 4, 8) + struct.pack("<IIQ", 0, 4, 12)
        assert host.io[0].command(DATASET_MANAGEMENT, nsid=1, cdw10=1, cdw11=4, data=ranges).status == 0
        assert host.read(1, 0, 16).data == bytes(6144) + b"\xff" * 2048, "one range a command, as Identify said"
        assert host.io[0].command(FLUSH, nsid=1).status == 0


def test_io_that_cannot_be_done_says_why(exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        assert host.read(1, 8192, 1).status == LBA_OUT_OF_RANGE
        assert host.write(1, 8191, bytes(1024)).status == LBA_OUT_OF_RANGE
        assert host.read(3, 0, 1)[:2] == (INVALID_NAMESPACE, True)
        assert host.read(40, 0, 1)[:2] == (INVALID_NAMESPACE, True)
        assert host.io[0].command(0xC1, nsid=1).status == 0x001


def test_a_broken_pdu_ends_the_connection(exported: Exported) -> None:
    queue = Queue(exported.port)
    queue.send_raw(struct.pack("<BBBBI", 0x42, 0, 72, 0, 72) + bytes(64))
    kind, _, pdu = queue.next_pdu()
    assert kind == 3 and struct.unpack_from("<H", pdu, 8)[0] in (1, 2)
    queue.close()


# ANA

def test_a_new_listener_is_optimized_unless_told_otherwise(target: TargetProcess, exported: Exported) -> None:
    port = free_port()
    target.rpc("nvmf_subsystem_add_listener", nqn=exported.nqn, listen_address=listen_address(port), ana_state="inaccessible")
    with Host(exported.port, exported.nqn) as here, Host(port, exported.nqn) as there:
        assert here.ana_states() == {1: OPTIMIZED, 2: OPTIMIZED}
        assert there.ana_states() == {1: INACCESSIBLE, 2: INACCESSIBLE}
        assert here.read(1, 0, 1).status == 0
        assert there.read(1, 0, 1)[:2] == (PATH_INACCESSIBLE, False)


@pytest.mark.parametrize("state, shown, status", [("optimized", OPTIMIZED, 0), ("non_optimized", NON_OPTIMIZED, 0), ("inaccessible", INACCESSIBLE, PATH_INACCESSIBLE)])
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


def test_a_namespace_that_changes_its_group_follows_the_new_groups_state(target: TargetProcess, exported: Exported) -> None:
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
    with Host(exported.port, exported.nqn, kato_ms=1000) as silent, Host(exported.port, exported.nqn, kato_ms=1000) as alive:
        wait_for(lambda: alive.admin.command(KEEP_ALIVE).status == 0 and silent.admin.is_closed(within_s=0.5), "the silent host's end", limit_s=40)
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
    entries = [page[1024 * (number + 1):1024 * (number + 2)] for number in range(struct.unpack_from("<Q", page, 8)[0])]
    shown = [(entry[0], entry[1], entry[2], entry[32:64].rstrip(b" \0").decode(), entry[256:512].rstrip(b"\0").decode(), entry[512:768].rstrip(b" \0").decode())
             for entry in entries]
    assert (3, 1, 2, str(exported.port), exported.nqn, "127.0.0.1") in shown
    queue.close()


def test_a_removed_listener_disconnects_its_hosts_and_the_port_is_free(target: TargetProcess, exported: Exported) -> None:
    with Host(exported.port, exported.nqn) as host:
        target.rpc("nvmf_subsystem_remove_listener", nqn=exported.nqn, listen_address=exported.address)
        assert host.admin.is_closed(within_s=30)
    with pytest.raises(ConnectionRefusedError):
        Queue(exported.port)
