"""Are these texts keys that a host and a target can use?  Pure.

`DHHC-1:<hash>:<base64>:` for in-band authentication and `NVMeTLSkey-1:<hash>:<base64>:` for TLS, as `nvme
gen-dhchap-key` and `nvme gen-tls-key` make them: in the base64 the secret, and its CRC-32 in little-endian order.
A refusal says what is wrong with the text and never repeats any of it.
"""
from __future__ import annotations

import base64
import binascii
import zlib
from typing import Dict, Optional, Tuple

DHCHAP, TLS = "DHHC-1", "NVMeTLSkey-1"
LONGEST = 199
"""What targets have room for."""
CRC_BYTES = 4
_BYTES_BY_HASH: Dict[str, Dict[str, Tuple[int, ...]]] = {
    DHCHAP: {"00": (32, 48, 64), "01": (32,), "02": (48,), "03": (64,)},
    TLS: {"00": (32, 48), "01": (32,), "02": (48,)},
}
_MAKER = {DHCHAP: "nvme gen-dhchap-key", TLS: "nvme gen-tls-key"}


def check_dhchap(text: str) -> Optional[str]:
    """Why it is no key for DH-HMAC-CHAP; None when it is one."""
    return _check(text, DHCHAP)


def check_psk(text: str) -> Optional[str]:
    """Why it is no pre-shared key for TLS; None when it is one."""
    return _check(text, TLS)


def _check(text: str, kind: str) -> Optional[str]:
    problem = _problem(text, kind)
    return None if problem is None else f"the key {problem}; make one with `{_MAKER[kind]}`"


def _problem(text: str, kind: str) -> Optional[str]:
    parts = text.split(":")
    if parts[0] != kind:
        return f"does not begin with {kind}:"
    if len(text) > LONGEST:
        return f"has {len(text)} characters, and at most {LONGEST} fit"
    if len(parts) != 4 or parts[3]:
        return f"is not of the form {kind}:HASH:BASE64: with a colon at its end"
    sizes = _BYTES_BY_HASH[kind].get(parts[1])
    if sizes is None:
        return f"has a hash that is not one of {', '.join(_BYTES_BY_HASH[kind])}"
    try:
        secret = base64.b64decode(parts[2], validate=True)
    except (binascii.Error, ValueError):
        return "has a part that is not base64 after its hash"
    if len(secret) - CRC_BYTES not in sizes:
        return (f"has a secret of {max(0, len(secret) - CRC_BYTES)} bytes and a checksum of {CRC_BYTES}, with hash "
                f"{parts[1]} it is {' or '.join(map(str, sizes))}")
    if zlib.crc32(secret[:-CRC_BYTES]) != int.from_bytes(secret[-CRC_BYTES:], "little"):
        return "has a wrong checksum: it was mistyped, or cut"
    return None
