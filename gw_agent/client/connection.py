"""Where a gateway's API is and how to get at it: address, port or Unix socket, certificates."""
from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import click
import grpc

DEFAULT_ADDRESS = "localhost"
DEFAULT_PORT = 5500
UNIX = "unix:"


@dataclass(frozen=True)
class Credentials:
    """Contents of PEM files."""

    client_key: bytes
    client_cert: bytes
    server_cert: bytes

    @classmethod
    def read(cls, client_key: Optional[str], client_cert: Optional[str],
             server_cert: Optional[str]) -> Optional["Credentials"]:
        """From these files; None when none is named. Raises UsageError."""
        files = {"--client-key": client_key, "--client-cert": client_cert, "--server-cert": server_cert}
        missing = [option for option, file in files.items() if file is None]
        if len(missing) == len(files):
            return None
        if client_key is None or client_cert is None or server_cert is None:
            raise click.UsageError(f"{' and '.join(missing)} missing: an API with certificates needs all of "
                                   f"{', '.join(files)}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_cert_chain(client_cert, client_key, password=lambda: "")
        except (OSError, ValueError) as error:   # ssl.SSLError is an OSError
            raise click.UsageError(f"{client_cert} (--client-cert) and {client_key} (--client-key) are not a "
                                   f"certificate and its private key without a passphrase, in PEM ({error})") from None
        try:
            context.load_verify_locations(server_cert)
        except OSError as error:
            raise click.UsageError(f"{server_cert} (--server-cert) has no certificate in PEM ({error})") from None
        return cls(*(Path(file).read_bytes() for file in (client_key, client_cert, server_cert)))


@dataclass(frozen=True)
class Server:
    """A gateway's API. `target` is its name for gRPC."""

    target: str
    credentials: Optional[Credentials] = None

    @classmethod
    def named(cls, address: str, port: int, credentials: Optional[Credentials] = None) -> "Server":
        """Raises UsageError."""
        if address.startswith(UNIX):
            if not address[len(UNIX):]:
                raise click.UsageError(f"address '{address}' names no socket; write unix:/run/nvmeof-ha/gw1/api.sock")
            return cls(address)
        host = address.strip("[]")
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", credentials)

    def channel(self) -> grpc.Channel:
        if self.credentials is None:
            return grpc.insecure_channel(self.target)
        return grpc.secure_channel(self.target, grpc.ssl_channel_credentials(
            self.credentials.server_cert, self.credentials.client_key, self.credentials.client_cert))


def unanswered(server: Server, method: str, error: grpc.RpcError) -> str:
    """The text for a call that brought no answer: what was asked, what was found, what to do."""
    code, found = error.code(), error.details() or "no reason was given"
    text = f"the gateway at {server.target} did not answer {method}: {code.name}: {found}"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return (f"{text}. This client and that gateway are of different versions; `nvmeof-gw gw version` tells the "
                "gateway's, `nvmeof-gw --version` this client's")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{text}. A change may have been made or not: list what there is before you repeat it"
    if code is not grpc.StatusCode.UNAVAILABLE or "does not serve" in found:
        return text
    if server.credentials is not None:
        return (f"{text}. Does a gateway listen there, does it ask for certificates, does it accept that of "
                "--client-cert, and does its own (--server-cert) name this address?")
    return (f"{text}. Does a gateway listen there (--server-address, --server-port)? If its API asks for certificates, "
            "give --client-key, --client-cert and --server-cert")
