"""Namespaces on RBD images of a real cluster: clients and their addresses, the watch, the exclusive lock,
blocklisting, resizing, failures.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest
import rados
import rbd
from testbed.cluster import Cluster

from target_sim.conftest import HungCeph, RbdExported
from target_sim.initiator import Host
from target_sim.target_process import RpcFailure, TargetProcess, free_port, wait_for

NOT_PERMITTED = {"code": -1, "message": "Operation not permitted"}
INTERNAL_ERROR = 0x006
ASYNC_EVENT, NAMESPACE_EVENT = 0x0C, 0x040002
QUIET_S = 1.0
MOUNT_TIMEOUT_S = 2

Export = Callable[..., RbdExported]


@pytest.fixture(scope="module")
def pool(cluster: Cluster) -> Iterator[rados.Ioctx]:
    with rados.Rados(conffile=str(cluster.conf)) as client, client.open_ioctx("rbd") as ioctx:
        yield ioctx


def failure(target: TargetProcess, method: str, **params) -> dict:
    with pytest.raises(RpcFailure) as failed:
        target.rpc(method, **params)
    return failed.value.error


def asok(cluster: Cluster, path: Path, *command: str) -> dict:
    return json.loads(cluster.run("ceph", "--admin-daemon", str(path), *command))


def test_what_a_host_writes_is_in_the_image(export_rbd: Export, pool: rados.Ioctx) -> None:
    exported, small, large = export_rbd(), os.urandom(512), os.urandom(131072)
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 3, small).status == 0
        assert host.write(1, 1024, large).status == 0
        assert host.io[0].command(0x00, nsid=1).status == 0
        assert host.read(1, 1024, 256).data == large
        assert host.io[0].command(0x08, nsid=1, cdw10=1024, cdw12=7).status == 0
        assert host.read(1, 1024, 256).data == bytes(4096) + large[4096:]
    with rbd.Image(pool, exported.images[0], read_only=True) as image:
        assert image.read(3 * 512, 512) == small
        assert image.read(1024 * 512, 131072) == bytes(4096) + large[4096:]


def test_images_of_one_cluster_share_an_address_and_clusters_do_not(export_rbd: Export) -> None:
    first, second = export_rbd(images=2), export_rbd()
    watchers = [first.watchers(image) for image in first.images] + [second.watchers(second.images[0])]
    assert watchers[0] == watchers[1] and len(watchers[0]) == 1
    assert watchers[2] != watchers[0] and len(watchers[2]) == 1


def test_a_deleted_bdev_leaves_its_subsystem_and_its_watch(target: TargetProcess, export_rbd: Export) -> None:
    exported = export_rbd()
    image = exported.images[0]
    assert failure(target, "bdev_rbd_unregister_cluster", name=exported.name) == NOT_PERMITTED
    assert target.rpc("bdev_rbd_delete", name=image) is True
    assert target.rpc("nvmf_get_subsystems", nqn=exported.nqn)[0]["namespaces"] == []
    assert exported.watchers(image) == []
    target.rpc(
        "bdev_rbd_create", name=image, pool_name="rbd", rbd_name=image, block_size=512, cluster_name=exported.name
    )


def test_the_exclusive_lock_is_taken_by_the_first_write(export_rbd: Export, cluster: Cluster) -> None:
    exported = export_rbd()
    image = exported.images[0]

    def lockers() -> list[str]:
        return [locker["address"] for locker in json.loads(cluster.run("rbd", "lock", "ls", image, "--format", "json"))]

    with Host(exported.port, exported.nqn) as host:
        host.read(1, 0, 1)
        assert lockers() == []
        host.write(1, 0, bytes(512))
        assert lockers() == exported.watchers(image)


def test_a_blocklisted_client_fails_its_io_with_a_generic_error_and_nothing_else_changes(
    target: TargetProcess, export_rbd: Export, cluster: Cluster
) -> None:
    exported, other = export_rbd(), export_rbd()
    (address,) = exported.watchers(exported.images[0])
    before = target.rpc("bdev_rbd_get_clusters_info", name=exported.name)
    with Host(exported.port, exported.nqn) as host, Host(other.port, other.nqn) as untouched:
        assert host.write(1, 0, bytes(4096)).status == 0
        cluster.ceph("osd", "blocklist", "add", address)
        try:
            wait_for(
                lambda: host.write(1, 0, bytes(4096))[:2] == (INTERNAL_ERROR, False), "the blocklist to reach the OSDs"
            )
            assert host.read(1, 0, 8)[:2] == (INTERNAL_ERROR, False)
            assert host.io[0].command(0x00, nsid=1).status in (
                0,
                INTERNAL_ERROR,
            ), "with nothing written back there is nothing to fail"
            assert untouched.write(1, 0, bytes(4096)).status == 0, "another client is not touched"
            wait_for(lambda: exported.watchers(exported.images[0]) == [], "the watch to go")
            assert target.rpc("bdev_rbd_get_clusters_info", name=exported.name) == before
            assert (
                failure(
                    target,
                    "bdev_rbd_create",
                    name="late",
                    pool_name="rbd",
                    rbd_name=other.images[0],
                    block_size=512,
                    cluster_name=exported.name,
                )
                == NOT_PERMITTED
            )
        finally:
            cluster.ceph("osd", "blocklist", "rm", address)


def test_asking_for_an_unknown_pool_makes_the_client_fetch_the_newest_osd_map(
    target: TargetProcess, export_rbd: Export, cluster: Cluster, tmp_path: Path
) -> None:
    socket = tmp_path / "c.asok"
    exported = export_rbd(admin_socket=str(socket))
    cluster.ceph("osd", "blocklist", "add", "127.0.0.9:0/1", "60")
    epoch = cluster.ceph_json("osd", "dump")["epoch"]
    assert (
        failure(
            target,
            "bdev_rbd_create",
            pool_name="no-such-pool",
            rbd_name="x",
            block_size=512,
            cluster_name=exported.name,
        )
        == NOT_PERMITTED
    )
    assert asok(cluster, socket, "perf", "dump", "objecter")["objecter"]["map_epoch"] >= epoch


def test_parameters_of_a_registered_cluster_override_its_file(
    export_rbd: Export, cluster: Cluster, tmp_path: Path
) -> None:
    socket = tmp_path / "c.asok"
    exported = export_rbd(admin_socket=str(socket), rbd_default_order="23")
    assert asok(cluster, socket, "config", "get", "rbd_default_order") == {"rbd_default_order": "23"}
    assert asok(cluster, socket, "config", "get", "mon_host")["mon_host"], "the rest comes from the file"
    assert (
        exported.target.rpc("bdev_rbd_get_clusters_info", name=exported.name)["config_param"]["rbd_default_order"]
        == "23"
    )


def test_an_unreachable_monitor_stops_every_rpc_until_the_mount_timeout(target: TargetProcess) -> None:
    registering, asking = target.client(), target.client()
    params = {
        "mon_host": f"127.0.0.1:{free_port()}",
        "client_mount_timeout": str(MOUNT_TIMEOUT_S),
        "keyring": "/dev/null",
        "auth_client_required": "none",
    }
    registration = registering.send("bdev_rbd_register_cluster", name="unreachable", config_param=params)
    longest_s = 0.0
    while not registering.is_answered(registration):
        asked = time.monotonic()
        asking.call("spdk_get_version")
        longest_s = max(longest_s, time.monotonic() - asked)
    assert registering.answer(registration)["error"] == NOT_PERMITTED
    assert longest_s > MOUNT_TIMEOUT_S / 2
    for client in (registering, asking):
        client.close()


def test_a_resize_elsewhere_is_noticed(target: TargetProcess, export_rbd: Export, cluster: Cluster) -> None:
    exported = export_rbd()
    with Host(exported.port, exported.nqn) as host:
        event = host.admin.submit(ASYNC_EVENT)
        cluster.run("rbd", "resize", exported.images[0], "--size", "32M")
        wait_for(
            lambda: target.rpc("bdev_get_bdevs", name=exported.images[0])[0]["num_blocks"] == 65536, "the new size"
        )
        assert host.admin.wait(event).dw0 == NAMESPACE_EVENT
        assert host.write(1, 65528, bytes(4096)).status == 0
    assert {"type": "bdev_resize", "ctx": exported.images[0]}.items() <= target.rpc("notify_get_notifications")[
        -1
    ].items()


def test_a_stop_waits_for_hung_io_and_the_rpc_socket_answers_meanwhile(
    start_target, export_rbd: Export, hung_ceph: HungCeph
) -> None:
    own = start_target().wait_ready()
    own.rpc("nvmf_create_transport", trtype="TCP")
    exported = export_rbd(on=own)
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 0, bytes(4096)).status == 0
        hung_ceph.begin()
        host.submit_write(1, 0, bytes(4096))
        host.admin.command(0x18)
        own.process.send_signal(signal.SIGTERM)
        own.process.send_signal(signal.SIGTERM)
        with pytest.raises(Exception, match="timed out"):
            own.process.wait(QUIET_S)
        assert own.rpc("spdk_get_version")
        hung_ceph.end()
        assert own.process.wait(60) == 0
    wait_for(lambda: exported.watchers(exported.images[0]) == [], "the watch to be released")
    exported.cluster.run("rbd", "rm", exported.images[0])
