"""One running guest for the tests of this layer, with RAM disks to write to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

import pytest

from guest import Guest, Image

DISKS, DISK_KIB = 12, 4096


@pytest.fixture(scope="session")
def image(say: Callable[[str], None]) -> Image:
    built = Image()
    built.ensure(say)
    return built


@pytest.fixture(scope="session")
def guest(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with Guest("one", tmp_path_factory.mktemp("guest"), image) as running:
        running.start()
        running.check(f"modprobe brd rd_nr={DISKS} rd_size={DISK_KIB}")
        yield running


@pytest.fixture(scope="session")
def disk_numbers() -> Iterator[int]:
    return iter(range(DISKS))


@pytest.fixture
def disk(guest: Guest, disk_numbers: Iterator[int]) -> str:
    """A RAM disk of 4 MiB in the guest that no other test uses."""
    number = next(disk_numbers, None)
    assert number is not None, f"more than {DISKS} tests want a disk: raise DISKS"
    return f"/dev/ram{number}"
