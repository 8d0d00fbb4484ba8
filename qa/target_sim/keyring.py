"""The target's keyring, of keys in files: who refers to a key keeps it, also when it was removed from the keyring.

What a key is good for is checked when a host's TLS key is used, as the target does; a DH-HMAC-CHAP key it looks at only
when a host authenticates, which this stand-in cannot: it asks such a host to, and refuses everything else.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import zlib
from pathlib import Path
from typing import Optional

TLS_SECRET_SIZES = {"00": (32, 48), "01": (32,), "02": (48,)}


class KeyFailed(Exception):
    """`number` is the errno value that the target answers with."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Key:
    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path
        self.removed = False
        self.users = 0

    def as_json(self) -> dict:
        shown = {
            "name": self.name,
            "module": "keyring_file",
            "removed": self.removed,
            "probed": False,
            "refcnt": self.users + (not self.removed),
        }
        return shown if self.removed else {**shown, "path": self.path}

    def is_tls_key(self) -> bool:
        """Whether the file holds a pre-shared key for TLS in its interchange format, and nothing else."""
        parts = Path(self.path).read_text().split(":")
        if len(parts) != 4 or parts[0] != "NVMeTLSkey-1" or parts[1] not in TLS_SECRET_SIZES or parts[3]:
            return False
        try:
            secret = base64.b64decode(parts[2], validate=True)
        except binascii.Error:
            return False
        return (
            len(secret) - 4 in TLS_SECRET_SIZES[parts[1]]
            and secret[-4:] == zlib.crc32(secret[:-4]).to_bytes(4, "little")
        )


class Keyring:
    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        self._removed: list[Key] = []

    def add(self, name: str, path: str) -> None:
        """Raises KeyFailed."""
        if ":" in name[1:]:
            raise KeyFailed(errno.EINVAL)
        if name in self._keys:
            raise KeyFailed(errno.EEXIST)
        if not path.startswith("/"):
            raise KeyFailed(errno.EPERM)
        try:
            status = os.stat(path)
        except OSError as error:
            raise KeyFailed(error.errno or errno.EIO) from error
        if status.st_mode & 0o077 or status.st_uid != os.getuid():
            raise KeyFailed(errno.EPERM)
        self._keys[name] = Key(name, path)

    def remove(self, name: str) -> None:
        """Raises KeyFailed."""
        if name not in self._keys:
            raise KeyFailed(errno.ENOKEY)
        key = self._keys.pop(name)
        key.removed = True
        self._removed.append(key)

    def find(self, name: str) -> Optional[Key]:
        return self._keys.get(name)

    def as_json(self) -> list[dict]:
        self._removed = [key for key in self._removed if key.users]
        return [key.as_json() for key in (*self._keys.values(), *self._removed)]
