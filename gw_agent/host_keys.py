"""Keys of hosts as values: as they are stored, and how a target's keyring names them.  Pure.

Promises: nothing here shows a key in its text form, so that values may be logged. A name in the keyring follows from
what is stored, so that a changed key is a new name, on every gateway the same, and nobody needs the key to compare.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple

PREFIX = "nvmeof_ha."
"""Of the keyring names that are ours."""


@dataclass(frozen=True)
class SealedKey:
    """A key as it is stored. `encrypted` is false for what existing gateways were told to store in clear text."""

    text: str = field(repr=False)
    encrypted: bool = True


@dataclass(frozen=True)
class HostKeys:
    """Of one host in one subsystem."""

    dhchap: Optional[SealedKey] = None
    psk: Optional[SealedKey] = None


NO_KEYS = HostKeys()


@dataclass(frozen=True)
class KeyNames:
    """What a target's keyring calls the keys of one host in one subsystem; empty: none."""

    dhchap: str = ""
    dhchap_ctrlr: str = ""
    psk: str = ""

    @property
    def authentication(self) -> Tuple[str, str]:
        """Those that can be changed while the host stays connected."""
        return self.dhchap, self.dhchap_ctrlr

    @property
    def parameters(self) -> Dict[str, str]:
        """Of the request that allows a host."""
        named = {"dhchap_key": self.dhchap, "dhchap_ctrlr_key": self.dhchap_ctrlr, "psk": self.psk}
        return {parameter: name for parameter, name in named.items() if name}


def keyring_name(kind: str, owner: str, key: SealedKey) -> str:
    """`owner`: whose it is, such as NQN and host. The digest is of the encrypted form."""
    digest = hashlib.sha256("\n".join((kind, owner, key.text)).encode()).hexdigest()
    return f"{PREFIX}{kind}.{digest[:32]}"
