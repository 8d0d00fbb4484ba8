"""Targets for this layer's tests: processes of the stand-in, or of a real nvmf_tgt named by $NVMF_TGT."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from typing import Callable, Iterator

import pytest
from testbed.cluster import Cluster

from target_sim.target_process import TargetProcess, free_port, listen_address

NQN = "nqn.2016-06.io.spdk:cnode1"
_NUMBERS = itertools.count(1)


@pytest.fixture
def start_target(nvmf_tgt: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., TargetProcess]]:
    """Starts targets that end with the test."""
    started: list[TargetProcess] = []

    def start(*extra: str, directory: Path = None, **keywords) -> TargetProcess:
        started.append(TargetProcess(nvmf_tgt, directory or tmp_path_factory.mktemp("target"), *extra, **keywords))
        return started[-1]

    yield start
    for target in started:
        target.stop()


@pytest.fixture(scope="module")
def target(nvmf_tgt: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetProcess]:
    """One target for the tests of a module; each test makes subsystems of its own on it."""
    with TargetProcess(nvmf_tgt, tmp_path_factory.mktemp("target")) as running:
        running.rpc("nvmf_create_transport", trtype="TCP")
        yield running


class Exported:
    """A subsystem with two malloc namespaces (ANA groups 1 and 2) behind one listener."""

    def __init__(self, target: TargetProcess, number: int, **options) -> None:
        self.target = target
        self.nqn = f"{NQN}.{number}"
        self.port = free_port()
        self.address = listen_address(self.port)
        self.bdevs = [f"m{number}-{nsid}" for nsid in (1, 2)]
        settings = {
            "allow_any_host": True,
            "ana_reporting": True,
            "max_namespaces": 32,
            "serial_number": "SN1",
            "min_cntlid": 5,
            "max_cntlid": 50,
        }
        target.rpc("nvmf_create_subsystem", nqn=self.nqn, **{**settings, **options})
        for nsid, bdev in enumerate(self.bdevs, 1):
            target.rpc("bdev_malloc_create", name=bdev, num_blocks=8192, block_size=512)
            self.add_namespace(bdev, nsid)
        target.rpc("nvmf_subsystem_add_listener", nqn=self.nqn, listen_address=self.address)

    def add_namespace(self, bdev: str, nsid: int, **options) -> int:
        return self.target.rpc(
            "nvmf_subsystem_add_ns",
            nqn=self.nqn,
            namespace={"bdev_name": bdev, "nsid": nsid, "anagrpid": nsid, **options},
        )

    def set_ana(self, state: str, group: int) -> bool:
        return self.target.rpc(
            "nvmf_subsystem_listener_set_ana_state",
            nqn=self.nqn,
            listen_address=self.address,
            ana_state=state,
            anagrpid=group,
        )

    def remove(self) -> None:
        self.target.rpc("nvmf_delete_subsystem", nqn=self.nqn)
        for bdev in self.bdevs:
            self.target.rpc("bdev_malloc_delete", name=bdev)


@pytest.fixture
def exported(target: TargetProcess) -> Iterator[Exported]:
    made = Exported(target, next(_NUMBERS))
    yield made
    made.remove()


class RbdExported:
    """A subsystem with namespaces on RBD images, opened through one registered cluster. Namespace n is in ANA
    group n.
    """

    def __init__(self, target: TargetProcess, cluster: Cluster, name: str, images: int = 1, **config) -> None:
        self.target, self.cluster, self.name = target, cluster, name
        self.nqn, self.port = f"{NQN}.{name}", free_port()
        self.address = listen_address(self.port)
        self.images = [f"{name}-{number}" for number in range(1, images + 1)]
        params = {"rbd_cache": "false", "rbd_blocklist_on_break_lock": "false", **config}
        target.rpc(
            "bdev_rbd_register_cluster", name=name, user_id="admin", config_file=str(cluster.conf), config_param=params
        )
        target.rpc("nvmf_create_subsystem", nqn=self.nqn, allow_any_host=True, ana_reporting=True)
        for nsid, image in enumerate(self.images, 1):
            cluster.run("rbd", "create", image, "--size", "16M")
            target.rpc(
                "bdev_rbd_create", name=image, pool_name="rbd", rbd_name=image, block_size=512, cluster_name=name
            )
            target.rpc(
                "nvmf_subsystem_add_ns", nqn=self.nqn, namespace={"bdev_name": image, "nsid": nsid, "anagrpid": nsid}
            )
        target.rpc("nvmf_subsystem_add_listener", nqn=self.nqn, listen_address=self.address)

    def ana_call(self, state: str, group: int) -> tuple[str, dict]:
        return "nvmf_subsystem_listener_set_ana_state", {
            "nqn": self.nqn,
            "listen_address": self.address,
            "ana_state": state,
            "anagrpid": group,
        }

    def watchers(self, image: str) -> list[str]:
        return [
            watcher["address"]
            for watcher in json.loads(self.cluster.run("rbd", "status", image, "--format", "json"))["watchers"]
        ]

    def remove(self) -> None:
        self.target.rpc("nvmf_delete_subsystem", nqn=self.nqn)
        for image in self.images:
            self.target.rpc("bdev_rbd_delete", name=image)
        self.target.rpc("bdev_rbd_unregister_cluster", name=self.name)
        for image in self.images:
            self.cluster.run("rbd", "rm", image)


@pytest.fixture
def export_rbd(target: TargetProcess, cluster: Cluster) -> Iterator[Callable[..., RbdExported]]:
    """Makes RbdExported with names of their own; `on` is the target, by default the module's."""
    made: list[RbdExported] = []

    def export(images: int = 1, on: TargetProcess = target, **config) -> RbdExported:
        made.append(RbdExported(on, cluster, f"r{next(_NUMBERS)}", images, **config))
        return made[-1]

    yield export
    for one in made:
        if one.target is target:
            one.remove()


class HungCeph:
    """Stops the OSDs, so that I/O in Ceph hangs, and lets them go on."""

    def __init__(self, cluster: Cluster) -> None:
        self._osds = [daemon for name, daemon in cluster.daemons.items() if name.startswith("osd.")]

    def begin(self) -> None:
        for osd in self._osds:
            osd.kill(signal.SIGSTOP)

    def end(self) -> None:
        for osd in self._osds:
            osd.kill(signal.SIGCONT)


@pytest.fixture
def hung_ceph(cluster: Cluster) -> Iterator[HungCeph]:
    hung = HungCeph(cluster)
    yield hung
    hung.end()
