"""Encrypts hosts' keys for the stored configuration, with a key that the gateways of a group share in a file.

Format of file and text are those of existing ceph-nvmeof gateways: base64 of at least 32 bytes (lines that begin and
end a PEM private key are skipped), of which the first 32 are a Fernet key (AES-128-CBC with HMAC-SHA256); stored is the
token once more in base64.

Promises: without that file nobody learns a host's key from the pool. Does not promise: anything against who reads the
file, or is root on a gateway host, or reads the memory of a target; nor that a new file reads what the old one wrote
(set the keys again).
"""
from __future__ import annotations

import base64
import binascii
import os
import stat
from typing import TYPE_CHECKING, Optional

from gw_agent.host_keys import SealedKey

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

KEY_BYTES = 32
HOW_TO_MAKE = "`openssl rand -base64 32` makes one; every gateway of the group needs the same, with mode 0600"


class GroupKeyError(Exception):
    """A key cannot be encrypted or decrypted; the text says why and what to do."""


class GroupKey:
    """`path`: option encryption_key. The file is read at each use, so that a replaced one counts at once."""

    def __init__(self, path: Optional[str]) -> None:
        self._path = path

    def seal(self, key: str) -> SealedKey:
        """Raises GroupKeyError."""
        return SealedKey(base64.b64encode(self._fernet().encrypt(key.encode())).decode())

    def open(self, sealed: SealedKey) -> str:
        """The key itself. Raises GroupKeyError."""
        if not sealed.encrypted:
            return sealed.text
        fernet = self._fernet()
        from cryptography.fernet import InvalidToken
        try:
            return fernet.decrypt(base64.b64decode(sealed.text, validate=True)).decode()
        except (InvalidToken, ValueError):   # a wrong base64 is a ValueError too
            raise GroupKeyError(f"what is stored was not encrypted with {self._path}; put the group's file there, or "
                                "set the key again") from None

    def _fernet(self) -> "Fernet":
        # Loaded at the first key: an agent must not be silent for that long while it starts.
        from cryptography.fernet import Fernet
        if self._path is None:
            raise GroupKeyError("keys of hosts are stored encrypted only, and option encryption_key in section "
                                f"[gateway] names no file to do that with; {HOW_TO_MAKE}")
        try:
            with open(self._path, "rb") as file:
                if os.fstat(file.fileno()).st_mode & stat.S_IRWXO:
                    raise GroupKeyError(f"every user of this host can use {self._path}; do: chmod o= {self._path}")
                lines = file.read().splitlines()
        except OSError as error:
            raise GroupKeyError(f"encryption_key {self._path} cannot be read: {error.strerror}; {HOW_TO_MAKE}") from None
        try:
            found = base64.b64decode(b"".join(line for line in lines if not line.startswith(b"-----")), validate=True)
        except binascii.Error:
            found = b""
        if len(found) < KEY_BYTES:
            raise GroupKeyError(f"encryption_key {self._path} is not base64 of at least {KEY_BYTES} bytes; {HOW_TO_MAKE}")
        return Fernet(base64.urlsafe_b64encode(found[:KEY_BYTES]))
