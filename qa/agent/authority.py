"""A certificate authority of a test's own, and the files of section [mtls] that it signs."""
from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Optional, Tuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates; `certificate_path` is its own."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate_path = directory / f"{name}.crt"
        self.certificate_path.write_bytes(_pem(self._sign(self._name, self._key, None, self._name)))

    def issue(self, name: str, address: str = "127.0.0.1") -> Tuple[Path, Path]:
        """Key and certificate of whoever is reached at this address, in files of that name, which are replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, address, self._name)
        paths = self._directory / f"{name}.key", self._directory / f"{name}.crt"
        paths[0].touch(mode=0o600)
        paths[0].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                               serialization.NoEncryption()))
        paths[1].write_bytes(_pem(certificate))
        return paths

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, address: Optional[str],
              issuer: x509.Name) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - DAY).not_valid_after(now + DAY)
                   .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True))
        if address is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
