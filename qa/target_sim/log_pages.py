"""Get Log Page: ANA, changed namespaces, discovery, effects, and the pages that are only ever zeros here."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Optional

from . import events, features
from .identify import FIRMWARE
from .nvme_format import (
    ADMIN_ABORT,
    ADMIN_ASYNC_EVENT,
    ADMIN_GET_FEATURES,
    ADMIN_GET_LOG_PAGE,
    ADMIN_IDENTIFY,
    ADMIN_KEEP_ALIVE,
    ADMIN_SET_FEATURES,
    INVALID_FIELD,
    INVALID_LOG_PAGE,
    IO_DATASET_MANAGEMENT,
    IO_FLUSH,
    IO_READ,
    IO_WRITE,
    IO_WRITE_ZEROES,
    MAX_QUEUE_DEPTH,
    SUCCESS,
    Command,
)
from .subsystem import DISCOVERY_NQN

if TYPE_CHECKING:
    from .controller import Controller
    from .subsystem import Address, Listener, Referral, Subsystem
    from .target import NvmfTarget

SUPPORTED_PAGES, ERROR, HEALTH, FIRMWARE_SLOT, EFFECTS, FEATURE_EFFECTS, MI_EFFECTS = (
    0x00,
    0x01,
    0x02,
    0x03,
    0x05,
    0x12,
    0x13,
)
NVM_PAGES = (
    SUPPORTED_PAGES,
    ERROR,
    HEALTH,
    FIRMWARE_SLOT,
    events.LOG_CHANGED_NAMESPACES,
    EFFECTS,
    FEATURE_EFFECTS,
    MI_EFFECTS,
)
ZERO_PAGE_SIZE = 4096
IS_SUPPORTED, CHANGES_BLOCKS = 1 << 0, 1 << 1
NAMESPACE_SCOPE, CONTROLLER_SCOPE = 1 << 20, 1 << 21
TCP, IPV4, IPV6 = 3, 1, 2
SUBTYPE_REFERRAL, SUBTYPE_NVM, SUBTYPE_CURRENT = 1, 2, 3
CURRENT_FLAGS = 1 << 0 | 1 << 1
"""The same log at each of its listeners, and connections to it may last."""
SECURE_CHANNEL_NOT_REQUIRED = 2
SECURE_CHANNEL_REQUIRED = 1


def answer(controller: Controller, command: Command) -> tuple[int, bytes]:
    """The status and the part of the page that was asked for."""
    page_id = command.cdw10 & 0xFF
    length = ((command.cdw11 & 0xFFFF) << 16 | command.cdw10 >> 16) * 4 + 4
    offset = command.cdw13 << 32 | command.cdw12
    if offset & 3 or length > command.length:
        return INVALID_FIELD, b""
    page = _page(controller, page_id, groups_only=bool(command.cdw10 >> 8 & 1))
    if page is None:
        return INVALID_LOG_PAGE, b""
    if offset >= len(page):
        return INVALID_FIELD, b""
    controller.events.log_page_read(page_id, retain=bool(command.cdw10 >> 15 & 1))
    return SUCCESS, page[offset : offset + length].ljust(length, b"\0")


def _page(controller: Controller, page_id: int, groups_only: bool) -> Optional[bytes]:
    if controller.subsystem.is_discovery:
        return discovery_log(controller.target, controller.hostnqn) if page_id == events.LOG_DISCOVERY else None
    if page_id == events.LOG_ANA:
        return ana_log(controller, groups_only) if controller.subsystem.ana_reporting else None
    if page_id == events.LOG_CHANGED_NAMESPACES:
        changed = controller.events.take_changed_namespaces()
        return struct.pack(f"<{len(changed)}I", *changed).ljust(ZERO_PAGE_SIZE, b"\0")
    if page_id == EFFECTS:
        return _effects()
    if page_id == FIRMWARE_SLOT:
        return (b"\1" + bytes(7) + FIRMWARE.ljust(8)).ljust(512, b"\0")
    if page_id == SUPPORTED_PAGES:
        ana = (events.LOG_ANA,) if controller.subsystem.ana_reporting else ()
        return _flags(1024, dict.fromkeys(NVM_PAGES + ana, IS_SUPPORTED))
    if page_id == FEATURE_EFFECTS:
        return _flags(
            1024,
            {
                **dict.fromkeys(features.CONTROLLER_FEATURES, IS_SUPPORTED | CONTROLLER_SCOPE),
                features.ERROR_RECOVERY: IS_SUPPORTED | NAMESPACE_SCOPE,
            },
        )
    if page_id in (ERROR, HEALTH, MI_EFFECTS):
        return bytes(ZERO_PAGE_SIZE * 2)
    return None


def ana_log(controller: Controller, groups_only: bool) -> bytes:
    """One descriptor for each ANA group that has namespaces."""
    groups = controller.subsystem.groups_in_use()
    page = struct.pack("<QHxxxxxx", 0, len(groups))
    for group, nsids in groups.items():
        listed = [] if groups_only else nsids
        page += struct.pack(f"<IIQB15x{len(listed)}I", group, len(listed), 0, controller.ana_state(group), *listed)
    return page


def discovery_log(target: NvmfTarget, hostnqn: str) -> bytes:
    """The listeners of every subsystem that this host may use, and all referrals."""
    entries = [
        _discovery_entry(subsystem, listener)
        for subsystem in target.subsystems.values()
        if subsystem.allows_host(hostnqn)
        for listener in subsystem.listeners
    ]
    entries += [_referral_entry(referral) for referral in target.referrals]
    return struct.pack("<QQH1006x", target.discovery_generation, len(entries), 0) + b"".join(entries)


def _discovery_entry(subsystem: Subsystem, listener: Listener) -> bytes:
    subtype, flags = (SUBTYPE_CURRENT, CURRENT_FLAGS) if subsystem.is_discovery else (SUBTYPE_NVM, 0)
    return _entry(
        listener.address, subsystem.nqn, subtype, listener.secure_channel, listener.port_id, MAX_QUEUE_DEPTH, flags
    )


def _referral_entry(referral: Referral) -> bytes:
    subtype = SUBTYPE_REFERRAL if referral.nqn == DISCOVERY_NQN else SUBTYPE_NVM
    return _entry(referral.address, referral.nqn, subtype, referral.secure_channel, 0, 0, 0)


def _entry(address: Address, nqn: str, subtype: int, secure: bool, port_id: int, depth: int, flags: int) -> bytes:
    return struct.pack(
        "<BBBBHHHH20x32s192x256s256s256x",
        TCP,
        IPV6 if address.adrfam == "IPv6" else IPV4,
        subtype,
        SECURE_CHANNEL_REQUIRED if secure else SECURE_CHANNEL_NOT_REQUIRED,
        port_id,
        0xFFFF,
        depth,
        flags,
        address.trsvcid.encode().ljust(32),
        nqn.encode(),
        address.traddr.encode().ljust(256),
    )


def _flags(size: int, flags: dict[int, int]) -> bytes:
    words = [flags.get(number, 0) for number in range(size // 4)]
    return struct.pack(f"<{len(words)}I", *words)


def _effects() -> bytes:
    both = IS_SUPPORTED | NAMESPACE_SCOPE | CONTROLLER_SCOPE
    admin = dict.fromkeys((ADMIN_GET_LOG_PAGE, ADMIN_IDENTIFY, ADMIN_SET_FEATURES, ADMIN_GET_FEATURES), both)
    admin.update(dict.fromkeys((ADMIN_ABORT, ADMIN_ASYNC_EVENT, ADMIN_KEEP_ALIVE), IS_SUPPORTED | CONTROLLER_SCOPE))
    io = dict.fromkeys(
        (IO_FLUSH, IO_WRITE, IO_WRITE_ZEROES, IO_DATASET_MANAGEMENT), IS_SUPPORTED | CHANGES_BLOCKS | NAMESPACE_SCOPE
    )
    io[IO_READ] = IS_SUPPORTED | NAMESPACE_SCOPE
    return _flags(1024, admin) + _flags(1024, io) + bytes(2048)
