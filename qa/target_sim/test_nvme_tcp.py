"""NVMe/TCP as a host sees it: connect, properties, identify and I/O."""

from __future__ import annotations

import errno
import os
import struct
import uuid

import pytest

from target_sim.conftest import Exported
from target_sim.initiator import FABRICS, Host, Queue
from target_sim.target_process import RpcFailure, TargetProcess, wait_for

INVALID_FIELD = 0x002
INVALID_NAMESPACE = 0x00B
LBA_OUT_OF_RANGE = 0x080
CONNECT_INVALID_PARAM = 0x182
CONNECT_INVALID_HOST = 0x184
INVALID_QUEUE_ID = 0x101
FLUSH = 0x00
WRITE_ZEROES = 0x08
DATASET_MANAGEMENT = 0x09
BLOCK = 512
NOT_SAMPLED_YET = (1 << 64) - 1


# connecting


def test_icresp_offers_whole_transfers(exported: Exported) -> None:
    queue = Queue(exported.port)
    assert queue.max_h2c_data == 131072
    assert queue.digests == 0
    queue.close()


def test_controller_ids_come_from_the_subsystems_range_in_turn(exported: Exported) -> None:
    with Host(exported.port, exported.nqn, queues=0) as first, Host(exported.port, exported.nqn, queues=0) as second:
        assert (first.cntlid, second.cntlid) == (5, 6)


@pytest.mark.parametrize(
    "change, offset",
    [
        ({"nqn": "nqn.2016-06.io.spdk:unknown"}, 0x10100),
        ({"cntlid": 7}, 0x10010),
        ({"size": 0}, 44),
        ({"size": 128}, 44),
    ],
)
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
        assert (
            host.admin.command(FABRICS, nsid=4, fabrics=struct.pack("<BxxxI16x", 0, 0x1000)).status
            == CONNECT_INVALID_PARAM
        )


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
            {
                "cntlid": host.cntlid,
                "cntrltype": "io",
                "hostnqn": host.hostnqn,
                "hostid": str(host.hostid),
                "num_io_qpairs": 3,
            }
        ]
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
        shown = {
            "cmic": page[76],
            "mdts": page[77],
            "cntlid": struct.unpack_from("<H", page, 78)[0],
            "oaes": struct.unpack_from("<I", page, 92)[0],
            "kas": struct.unpack_from("<H", page, 320)[0],
            "anatt": page[342],
            "anacap": page[343],
            "nanagrpid": struct.unpack_from("<I", page, 348)[0],
            "maxcmd": struct.unpack_from("<H", page, 514)[0],
            "nn": struct.unpack_from("<I", page, 516)[0],
            "ioccsz": struct.unpack_from("<I", page, 1792)[0],
            "sn": page[4:24],
            "mn": page[24:64].rstrip(),
            "subnqn": page[768:1024].rstrip(b"\0").decode(),
            "aerl": page[259],
        }
        assert shown == {
            "cmic": 0x0B,
            "mdts": 5,
            "cntlid": host.cntlid,
            "oaes": 0x900,
            "kas": 100,
            "anatt": 10,
            "anacap": 0x47,
            "nanagrpid": 32,
            "maxcmd": 128,
            "nn": 32,
            "ioccsz": 260,
            "sn": b"SN1".ljust(20),
            "mn": b"SPDK bdev Controller",
            "subnqn": exported.nqn,
            "aerl": 3,
        }


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
        assert (
            struct.pack("<BBxx", 2, 16) + identity.bytes in descriptors
            and struct.pack("<BBxx", 3, 16) + identity.bytes in descriptors
        )
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


def test_counters_show_what_was_completed_and_how_long_it_took(target: TargetProcess, exported: Exported) -> None:
    def counters() -> dict:
        shown = target.rpc("bdev_get_iostat")["bdevs"]
        return next(bdev for bdev in shown if bdev["name"] == exported.bdevs[0])

    before = counters()   # a target may look for partitions when the device is made
    with Host(exported.port, exported.nqn) as host:
        assert all(host.write(1, 0, bytes(4096)).status == 0 for _ in range(3)) and host.read(1, 0, 16).status == 0
        assert host.read(1, 8192, 1).status == LBA_OUT_OF_RANGE
        ranges = struct.pack("<IIQ", 0, 4, 8)
        assert host.io[0].command(DATASET_MANAGEMENT, nsid=1, cdw10=0, cdw11=4, data=ranges).status == 0
    after = counters()
    new = {name: value - before[name] for name, value in after.items() if isinstance(value, int)}
    assert (new["num_write_ops"], new["bytes_written"]) == (3, 3 * 4096)
    assert (new["num_read_ops"], new["bytes_read"]) == (1, 8192), "what the host was refused is not counted"
    assert (new["num_unmap_ops"], new["bytes_unmapped"]) == (1, 2048)
    assert all(new[f"{kind}_latency_ticks"] > 0 for kind in ("read", "write", "unmap"))
    assert 0 < after["min_write_latency_ticks"] <= after["max_write_latency_ticks"] < after["write_latency_ticks"]


def test_a_queue_depth_is_shown_while_it_is_sampled(target: TargetProcess, exported: Exported) -> None:
    name = exported.bdevs[0]

    def shown() -> dict:
        return target.rpc("bdev_get_iostat", names=[name])["bdevs"][0]

    assert "queue_depth" not in shown()
    assert target.rpc("bdev_set_qd_sampling_period", name=name, period=3_600_000_000) is True
    assert (shown()["queue_depth_polling_period"], shown()["queue_depth"]) == (3_600_000_000, NOT_SAMPLED_YET)
    assert (shown()["io_time"], shown()["weighted_io_time"]) == (0, 0)
    assert target.rpc("bdev_set_qd_sampling_period", name=name, period=1000) is True
    wait_for(lambda: shown()["queue_depth"] == 0, "a sample")
    target.rpc("bdev_set_qd_sampling_period", name=name, period=0)
    wait_for(lambda: "queue_depth" not in shown(), "sampling to end")
    with pytest.raises(RpcFailure) as refused:
        target.rpc("bdev_set_qd_sampling_period", name="missing", period=1000)
    assert refused.value.error["code"] == -errno.ENODEV


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
