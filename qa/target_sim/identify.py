"""The Identify data structures, with the values a stock target shows for RBD and malloc namespaces.

Left out, and therefore reported as unsupported: compare, reservations and copy.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Optional

from .nvme_format import (
    IN_CAPSULE_SIZE,
    INVALID_FIELD,
    INVALID_NAMESPACE,
    KEEP_ALIVE_GRANULARITY_MS,
    MAX_IO_SIZE,
    MAX_QUEUE_DEPTH,
    SUCCESS,
    Command,
)
from .subsystem import INACCESSIBLE, Namespace, Subsystem

if TYPE_CHECKING:
    from .controller import Controller

SIZE = 4096
FIRMWARE = b"26.05"
NVME_VERSION = 0x00020000
GLOBAL_NSID = 0xFFFFFFFF
CNS_NAMESPACE, CNS_CONTROLLER, CNS_ACTIVE_NAMESPACES, CNS_DESCRIPTORS = 0x00, 0x01, 0x02, 0x03
CNS_NVM_NAMESPACE, CNS_NVM_CONTROLLER, CNS_NVM_ACTIVE_NAMESPACES, CNS_INDEPENDENT_NAMESPACE, CNS_COMMAND_SETS = (
    0x05,
    0x06,
    0x07,
    0x08,
    0x1C,
)
CSI_NVM = 0
OAES_NAMESPACE, OAES_ANA, OAES_DISCOVERY = 1 << 8, 1 << 11, 1 << 31
DSM_AND_WRITE_ZEROES = 0x0C
ANA_TRANSITION_S = 10
ABORT_LIMIT = 3
ANY_LENGTH = 0xFFFF
ANY_CONTROLLER = 0xFFFF


def answer(controller: Controller, command: Command) -> tuple[int, bytes]:
    """The status and the 4096 bytes of one Identify command."""
    cns = command.cdw10 & 0xFF
    subsystem = controller.subsystem
    if command.length < SIZE or (subsystem.is_discovery and cns != CNS_CONTROLLER):
        return INVALID_FIELD, b""
    if cns == CNS_CONTROLLER:
        return SUCCESS, identify_controller(controller)
    if cns in (CNS_ACTIVE_NAMESPACES, CNS_NVM_ACTIVE_NAMESPACES):
        return _active_namespaces(controller, command, cns)
    if cns == CNS_DESCRIPTORS:
        return _descriptors(controller, command.nsid)
    if cns == CNS_NVM_CONTROLLER:
        return SUCCESS, _nvm_controller(subsystem) if command.cdw11 >> 24 == CSI_NVM else bytes(SIZE)
    if cns == CNS_COMMAND_SETS:
        is_own = command.cdw10 >> 16 in (ANY_CONTROLLER, controller.cntlid)
        return (SUCCESS, b"\1".ljust(SIZE, b"\0")) if is_own else (INVALID_FIELD, b"")
    if cns not in (CNS_NAMESPACE, CNS_NVM_NAMESPACE, CNS_INDEPENDENT_NAMESPACE):
        return INVALID_FIELD, b""
    if not 1 <= command.nsid <= subsystem.max_namespaces:
        return INVALID_NAMESPACE, b""
    namespace = controller.namespace(command.nsid)
    if namespace is None:
        return (INVALID_NAMESPACE, b"") if cns == CNS_NVM_NAMESPACE else (SUCCESS, bytes(SIZE))
    if cns == CNS_NAMESPACE:
        return SUCCESS, identify_namespace(controller, namespace)
    if cns == CNS_INDEPENDENT_NAMESPACE:
        return SUCCESS, _independent_namespace(namespace)
    return SUCCESS, bytes(SIZE)


def _put(page: bytearray, offset: int, layout: str, *values) -> None:
    struct.pack_into("<" + layout, page, offset, *values)


def identify_controller(controller: Controller) -> bytes:
    subsystem = controller.subsystem
    page = bytearray(SIZE)
    _put(page, 64, "8s", FIRMWARE.ljust(8))
    _put(page, 77, "BH", (MAX_IO_SIZE // 4096).bit_length() - 1, controller.cntlid)
    _put(page, 80, "I", NVME_VERSION)
    _put(page, 259, "B", 3)
    _put(page, 261, "BB", 0x04, 127)
    _put(page, 266, "HH", 0x0157, 0x0175)
    _put(page, 514, "H", MAX_QUEUE_DEPTH)
    _put(page, 536, "I", 0x00100005)
    _put(page, 768, "256s", subsystem.nqn.encode())
    if subsystem.is_discovery:
        _put(page, 92, "I", OAES_DISCOVERY)
        _put(page, 111, "B", 2)
    else:
        _put_nvm_controller(page, subsystem)
        if subsystem.ana_reporting:
            _put_ana(page, subsystem)
    return bytes(page)


def _put_nvm_controller(page: bytearray, subsystem: Subsystem) -> None:
    _put(
        page,
        0,
        "HH20s40s",
        0x8086,
        0x8086,
        subsystem.serial_number.encode().ljust(20),
        subsystem.model_number.encode().ljust(40),
    )
    _put(page, 72, "B3sB", 6, bytes((0xE4, 0xD2, 0x5C)), 0x03)
    _put(page, 92, "II", OAES_NAMESPACE, 1)
    _put(page, 111, "B", 1)
    _put(page, 258, "B", ABORT_LIMIT)
    _put(page, 260, "BB", 0x03, 0x26)
    _put(page, 320, "H", KEEP_ALIVE_GRANULARITY_MS // 100)
    _put(page, 512, "BB", 0x66, 0x44)
    _put(page, 516, "IH", subsystem.max_namespaces, DSM_AND_WRITE_ZEROES)
    _put(page, 525, "B", 0x05)
    _put(page, 1792, "IIHBB", (64 + IN_CAPSULE_SIZE) // 16, 1, 0, 0, 1)


def _put_ana(page: bytearray, subsystem: Subsystem) -> None:
    _put(page, 76, "B", 0x0B)
    _put(page, 92, "I", OAES_NAMESPACE | OAES_ANA)
    _put(page, 342, "BBII", ANA_TRANSITION_S, 0x47, subsystem.max_namespaces, subsystem.max_namespaces)
    _put(page, 540, "I", subsystem.max_namespaces)


def identify_namespace(controller: Controller, namespace: Namespace) -> bytes:
    """A namespace whose ANA group is inaccessible here shows no blocks in use."""
    page = bytearray(SIZE)
    blocks, block_size = namespace.bdev.num_blocks, namespace.bdev.block_size
    reporting = controller.subsystem.ana_reporting
    hidden = reporting and controller.ana_state(namespace.anagrpid) == INACCESSIBLE
    _put(page, 0, "QQQB", blocks, blocks, 0 if hidden else blocks, 0x12)
    _put(page, 30, "B", 1)
    _put(page, 72, "HHI", MAX_IO_SIZE // block_size - 1, ANY_LENGTH, ANY_LENGTH)
    _put(page, 92, "I", namespace.anagrpid if reporting else 0)
    _put(page, 104, "16s8s", namespace.nguid, namespace.eui64)
    _put(page, 128, "HBB", 0, block_size.bit_length() - 1, 0)
    return bytes(page)


def _independent_namespace(namespace: Namespace) -> bytes:
    page = bytearray(SIZE)
    _put(page, 1, "B", 1)
    _put(page, 4, "I", namespace.anagrpid)
    _put(page, 14, "B", 1)
    return bytes(page)


def _nvm_controller(subsystem: Subsystem) -> bytes:
    page = bytearray(SIZE)
    ranges = 1 if subsystem.dmrsl else 0
    _put(page, 1, "BBBIQ", subsystem.wzsl, 0, ranges, subsystem.dmrsl, ranges * subsystem.dmrsl)
    return bytes(page)


def _active_namespaces(controller: Controller, command: Command, cns: int) -> tuple[int, bytes]:
    if command.nsid >= GLOBAL_NSID - 1:
        return INVALID_NAMESPACE, b""
    if cns == CNS_NVM_ACTIVE_NAMESPACES and command.cdw11 >> 24 != CSI_NVM:
        return INVALID_FIELD, b""
    nsids = [
        nsid for nsid in sorted(controller.subsystem.namespaces) if nsid > command.nsid and controller.namespace(nsid)
    ][:1024]
    return SUCCESS, struct.pack(f"<{len(nsids)}I", *nsids).ljust(SIZE, b"\0")


def _descriptors(controller: Controller, nsid: int) -> tuple[int, bytes]:
    if not 1 <= nsid <= controller.subsystem.max_namespaces:
        return INVALID_NAMESPACE, b""
    namespace: Optional[Namespace] = controller.namespace(nsid)
    if namespace is None:
        return INVALID_FIELD, b""
    kinds = ((1, namespace.eui64), (2, namespace.nguid), (3, namespace.uuid.bytes))
    listed = b"".join(struct.pack("<BBxx", kind, len(value)) + value for kind, value in kinds if any(value))
    return SUCCESS, listed.ljust(SIZE, b"\0")
