"""Rules for the names that are stored and sent to a target: NVMe qualified names, serial numbers, key elements.

Pure. Each `check_...` returns None, or the reason why the text is refused with what to write instead. The rules are
those of the NVMe base specification (section "NVMe Qualified Names") as a target enforces them, plus one of ours: the
stored keys are joined with `_`, so no element of them may contain it.
"""
from __future__ import annotations

import re
import uuid
from typing import Optional

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
UUID_PREFIX = "nqn.2014-08.org.nvmexpress:uuid:"
NQN_LIMIT_BYTES = 223
ANY_HOST = "*"
KEY_DELIMITER = "_"
SERIAL_LIMIT = 20

_LABEL = r"[A-Za-z](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_NQN = re.compile(rf"nqn\.\d{{4}}-(?:0[1-9]|1[0-2])\.{_LABEL}(?:\.{_LABEL})*:\S.*", re.ASCII)


def check_element(what: str, text: str) -> Optional[str]:
    """For any text that becomes part of a stored key."""
    if not text:
        return f"{what} is empty"
    if KEY_DELIMITER in text:
        return f"{what} '{text}' contains '{KEY_DELIMITER}', which cannot be stored; use another character such as '-'"
    if not text.isprintable() or " " in text:
        return f"{what} {text!r} contains spaces or unprintable characters, which cannot be stored"
    return None


def check_nqn(what: str, nqn: str) -> Optional[str]:
    """For the NQN of a subsystem or of a host; `what` names it in the reason."""
    refused = check_element(what, nqn)
    if refused:
        return refused
    if len(nqn.encode()) > NQN_LIMIT_BYTES:
        return f"{what} is {len(nqn.encode())} bytes long; at most {NQN_LIMIT_BYTES} are allowed"
    if nqn.startswith(UUID_PREFIX):
        return _check_uuid(what, nqn)
    if not _NQN.fullmatch(nqn):
        return f"{what} '{nqn}' is not of the form nqn.YYYY-MM.reverse.domain:name, as in nqn.2016-06.io.spdk:cnode1"
    return None


def check_subsystem_nqn(nqn: str) -> Optional[str]:
    """As `check_nqn`, and the discovery subsystem is refused: every target has one of its own."""
    if nqn == DISCOVERY_NQN:
        return f"subsystem NQN '{nqn}' is the discovery subsystem's, which cannot be changed"
    return check_nqn("subsystem NQN", nqn)


def check_host_nqn(nqn: str) -> Optional[str]:
    """As `check_nqn`; `*` stands for any host."""
    return None if nqn == ANY_HOST else check_nqn("host NQN", nqn)


def check_serial(serial: str) -> Optional[str]:
    """For a subsystem's serial number: 1 to 20 printable ASCII characters."""
    if re.fullmatch(rf"[!-~](?:[ -~]{{0,{SERIAL_LIMIT - 2}}}[!-~])?", serial):
        return None
    return (f"serial number {serial!r} is not 1 to {SERIAL_LIMIT} printable ASCII characters without spaces at its "
            "ends")


def check_uuid(text: str) -> Optional[str]:
    """For a namespace's UUID in its usual spelling (8-4-4-4-12 hexadecimal digits)."""
    try:
        good = str(uuid.UUID(text)) == text.lower()
    except ValueError:
        good = False
    return None if good else f"UUID '{text}' is not of the form 01234567-89ab-cdef-0123-456789abcdef"


def _check_uuid(what: str, nqn: str) -> Optional[str]:
    refused = check_uuid(nqn[len(UUID_PREFIX):])
    return f"{what} '{nqn}' does not end in a UUID: {refused}" if refused else None
