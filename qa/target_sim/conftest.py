"""Targets for this layer's tests: processes of the stand-in, or of a real nvmf_tgt named by $NVMF_TGT."""
from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import pytest

from target_sim.target_process import TargetProcess, free_port, listen_address

NQN = "nqn.2016-06.io.spdk:cnode1"


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
        settings = {"allow_any_host": True, "ana_reporting": True, "max_namespaces": 32, "serial_number": "SN1", "min_cntlid": 5, "max_cntlid": 50}
        target.rpc("nvmf_create_subsystem", nqn=self.nqn, **{**settings, **options})
        for nsid, bdev in enumerate(self.bdevs, 1):
            target.rpc("bdev_malloc_create", name=bdev, num_blocks=8192, block_size=512)
            self.add_namespace(bdev, nsid)
        target.rpc("nvmf_subsystem_add_listener", nqn=self.nqn, listen_address=self.address)

    def add_namespace(self, bdev: str, nsid: int, **options) -> int:
        return self.target.rpc("nvmf_subsystem_add_ns", nqn=self.nqn, namespace={"bdev_name": bdev, "nsid": nsid, "anagrpid": nsid, **options})

    def set_ana(self, state: str, group: int) -> bool:
        return self.target.rpc("nvmf_subsystem_listener_set_ana_state", nqn=self.nqn, listen_address=self.address, ana_state=state, anagrpid=group)

    def remove(self) -> None:
        self.target.rpc("nvmf_delete_subsystem", nqn=self.nqn)
        for bdev in self.bdevs:
            self.target.rpc("bdev_malloc_delete", name=bdev)


@pytest.fixture
def exported(target: TargetProcess, request: pytest.FixtureRequest) -> Iterator[Exported]:
    numbers = request.config.__dict__.setdefault("_exported_numbers", iter(range(1, 1000)))
    made = Exported(target, next(numbers))
    yield made
    made.remove()
