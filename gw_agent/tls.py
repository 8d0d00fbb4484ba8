"""Mutual TLS of the gRPC API: the server's certificate, and which clients are let in.

Promises: a client whose certificate is not among those of `client_cert`, nor signed by one of them, gets no answer to
anything; files that were replaced count from the next connection on, and those that cannot be used are reported and
change nothing. Does not promise: that connections made before end (restart the agent, which moves nothing), nor roles:
whoever is let in may do everything.
"""
from __future__ import annotations

import logging
import os
import ssl
import stat
from typing import List, NamedTuple, Optional, Tuple

from gw_agent.settings import MtlsSettings

log = logging.getLogger(__name__)

_State = Tuple[Tuple[int, int, int], ...]


class Pem(NamedTuple):
    """The contents of the files."""

    key: bytes
    own: bytes
    clients: bytes


class CertificateError(Exception):
    """The files cannot be used; the text names the one, and says why and what to do."""


class Certificates:
    """The files of section [mtls], as they were last usable."""

    def __init__(self, settings: MtlsSettings) -> None:
        """Raises CertificateError."""
        if settings.server_key is None or settings.server_cert is None or settings.client_cert is None:
            raise CertificateError("section [mtls] needs server_key, server_cert and client_cert")
        self._key, self._own, self._clients = settings.server_key, settings.server_cert, settings.client_cert
        self._said = ""
        self._seen = self._state()
        self.first = self._read()

    def changed(self) -> Optional[Pem]:
        """None: go on with the last ones. May be called from any thread, one at a time."""
        try:
            state = self._state()
            if state == self._seen:
                return None
            pem = self._read()
        except CertificateError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("the changed certificates of the API are not used, the last ones stay: %s", error)
            return None
        self._seen, self._said = state, ""
        log.info("the certificates of the API were read again")
        return pem

    def _state(self) -> _State:
        """What tells one version of the files from the next."""
        found: List[Tuple[int, int, int]] = []
        for path in (self._key, self._own, self._clients):
            try:
                status = os.stat(path)
            except OSError as error:
                raise CertificateError(f"{path} cannot be read: {error.strerror}; correct the path in section [mtls], "
                                       "or make the file") from None
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def _read(self) -> Pem:
        if os.stat(self._key).st_mode & stat.S_IRWXO:
            raise CertificateError(f"{self._key} is a private key that every user of this host can use; do: chmod o= "
                                   f"{self._key}")
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._own, self._key, password=lambda: "")
        except (OSError, ValueError) as error:   # ssl.SSLError is an OSError
            raise CertificateError(f"{self._own} and {self._key} are not a certificate and its private key without a "
                                   f"passphrase, in PEM ({error})") from None
        try:
            context.load_verify_locations(self._clients)
        except OSError as error:
            raise CertificateError(f"{self._clients} has no certificates in PEM to accept clients by "
                                   f"({error})") from None
        return Pem(_content(self._key), _content(self._own), _content(self._clients))


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
