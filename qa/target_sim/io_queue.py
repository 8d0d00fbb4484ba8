"""I/O commands: the checks a target makes before a namespace's bdev gets them, and what its answer means to the
host.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from .nvme_format import (
    ANA_INACCESSIBLE,
    COMMAND_SEQUENCE_ERROR,
    DNR,
    INTERNAL_ERROR,
    INVALID_FIELD,
    INVALID_NAMESPACE,
    INVALID_OPCODE,
    IO_DATASET_MANAGEMENT,
    IO_FLUSH,
    IO_READ,
    IO_WRITE,
    IO_WRITE_ZEROES,
    LBA_OUT_OF_RANGE,
    MAX_IO_SIZE,
    SGL_LENGTH_INVALID,
    SUCCESS,
    Command,
)
from .subsystem import INACCESSIBLE

if TYPE_CHECKING:
    from .bdev import Bdev
    from .controller import Controller

DEALLOCATE = 1 << 2
WRITE_ZEROES_DEALLOCATE = 1 << 25
RANGE = struct.Struct("<IIQ")


class IoQueue:
    """`completed` counts commands for nvmf_get_stats."""

    completed = 0

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def execute(self, command: Command) -> None:
        """Held back while its namespace is paused; refused where the ANA state says inaccessible, which leaves I/O
        in flight alone.
        """
        controller = self._controller
        namespace = controller.subsystem.namespaces.get(command.nsid)
        if namespace is None or not namespace.is_visible(controller.hostnqn):
            self._finish(command, INVALID_NAMESPACE | DNR)
        elif namespace.paused:
            controller.subsystem.hold(self.execute, command)
        elif not controller.is_enabled:
            self._finish(command, COMMAND_SEQUENCE_ERROR)
        elif controller.ana_state(namespace.anagrpid) == INACCESSIBLE:
            self._finish(command, ANA_INACCESSIBLE)
        else:
            command.namespace = namespace
            namespace.in_flight += 1
            command.connection.io_started()
            self._start(command, namespace.bdev)

    def _finish(self, command: Command, status: int, data: bytes = b"") -> None:
        IoQueue.completed += 1
        command.complete(status, data=data)
        if command.namespace is not None:
            command.namespace.io_done()
            command.connection.io_done()

    def _start(self, command: Command, bdev: Bdev) -> None:
        opcode = command.opcode
        if command.fuse:
            self._finish(command, INVALID_FIELD)
        elif opcode == IO_WRITE or opcode == IO_READ or opcode == IO_WRITE_ZEROES:
            self._transfer(command, bdev)
        elif opcode == IO_FLUSH:
            bdev.flush(lambda ok, data: self._finish(command, SUCCESS if ok else INTERNAL_ERROR))
        elif opcode == IO_DATASET_MANAGEMENT:
            self._dataset_management(command, bdev)
        else:
            self._finish(command, INVALID_OPCODE | DNR)

    def _transfer(self, command: Command, bdev: Bdev) -> None:
        opcode, block_size = command.opcode, bdev.block_size
        start = command.cdw11 << 32 | command.cdw10
        blocks = (command.cdw12 & 0xFFFF) + 1
        if start + blocks > bdev.num_blocks:
            self._finish(command, LBA_OUT_OF_RANGE)
            return
        offset, length = start * block_size, blocks * block_size
        if opcode == IO_WRITE_ZEROES:
            if command.cdw12 & WRITE_ZEROES_DEALLOCATE:
                self._finish(command, INVALID_FIELD)
            else:
                bdev.write_zeroes(
                    offset, length, lambda ok, data: self._finish(command, SUCCESS if ok else INTERNAL_ERROR)
                )
        elif length > command.length or length > MAX_IO_SIZE:
            self._finish(command, SGL_LENGTH_INVALID)
        elif opcode == IO_READ:
            self._read(command, bdev, offset, length)
        else:
            data = command.data if len(command.data) == length else command.data[:length]
            self._write(command, bdev, offset, data)

    def _read(self, command: Command, bdev: Bdev, offset: int, length: int) -> None:
        started = time.monotonic_ns()

        def done(ok: bool, data: bytes) -> None:
            if ok:
                bdev.count("read", length, started)
            self._read_done(command, ok, data, length)

        bdev.limits.run("read", length, lambda: bdev.read(offset, length, done))

    def _write(self, command: Command, bdev: Bdev, offset: int, data: bytes) -> None:
        started = time.monotonic_ns()

        def done(ok: bool, _data: bytes) -> None:
            if ok:
                bdev.count("write", len(data), started)
            self._finish(command, SUCCESS if ok else INTERNAL_ERROR)

        bdev.limits.run("write", len(data), lambda: bdev.write(offset, data, done))

    def _read_done(self, command: Command, ok: bool, data: bytes, length: int) -> None:
        if ok:
            self._finish(command, SUCCESS, data.ljust(length, b"\0"))
        else:
            self._finish(command, INTERNAL_ERROR)

    def _dataset_management(self, command: Command, bdev: Bdev) -> None:
        """A subsystem that limits the size of a range takes one range a command and passes over the others, as it
        told the host.
        """
        count, limit = (command.cdw10 & 0xFF) + 1, self._controller.subsystem.dmrsl
        if not command.cdw11 & DEALLOCATE:
            self._finish(command, SUCCESS)
            return
        if len(command.data) < count * RANGE.size:
            self._finish(command, SGL_LENGTH_INVALID)
            return
        asked = [RANGE.unpack_from(command.data, index * RANGE.size) for index in range(1 if limit else count)]
        ranges = [(start, min(blocks, limit or blocks)) for _, blocks, start in asked]
        if any(start + blocks > bdev.num_blocks for start, blocks in ranges):
            self._finish(command, INTERNAL_ERROR)
            return
        results: list[bool] = []
        started = time.monotonic_ns()

        def done(length: int, ok: bool) -> None:
            if ok:
                bdev.count("unmap", length, started)
            results.append(ok)
            if len(results) == len(ranges):
                self._finish(command, SUCCESS if all(results) else INTERNAL_ERROR)

        for start, blocks in ranges:
            length = blocks * bdev.block_size
            bdev.unmap(start * bdev.block_size, length, lambda ok, _data, length=length: done(length, ok))
