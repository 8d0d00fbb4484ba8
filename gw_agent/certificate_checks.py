"""Will the certificates of section [mtls] let the API's clients in?  Reads the files, and changes nothing.

`tls.py` refuses what cannot be used at all; this looks further: at dates, and at the address that a certificate is for.
"""
from __future__ import annotations

import datetime
import ipaddress
import os
import re
import stat
from typing import Iterator, List, Optional

from cryptography import x509

from gw_agent.settings import MtlsSettings, Problem
from gw_agent.tls import CertificateError, Certificates

SOON = datetime.timedelta(days=30)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def refused(section: str, option: str, error: Exception, otherwise: str) -> Problem:
    """Of an error whose text is "what was found; what to do"."""
    found, _, what_to_do = str(error).partition("; ")
    return Problem(section, option, found, what_to_do or otherwise)


def look(enable_auth: bool, insecure_api: bool, addr: str, server_key: Optional[str], server_cert: Optional[str],
         client_cert: Optional[str], client_key: Optional[str]) -> Iterator[Problem]:
    if insecure_api:
        yield Problem("gateway", "insecure_api", f"insecure_api is on, so whoever reaches {addr} may do everything",
                      "use enable_auth and section [mtls] unless nobody else is on that network", warning=True)
    if client_key is not None:
        yield from _client_key(client_key)
    if not enable_auth:
        if server_cert is not None:
            yield Problem("mtls", "server_cert", "section [mtls] names certificates, but enable_auth in section "
                          "[gateway] is off, so they are not used", "turn it on, or remove them", warning=True)
        return
    if server_key is None or server_cert is None or client_cert is None:
        return   # the settings say so
    try:
        pem = Certificates(MtlsSettings(server_key, server_cert, client_cert, client_key)).first
    except CertificateError as error:
        option = next((name for name, path in (("server_key", server_key), ("client_cert", client_cert))
                       if str(error).startswith(f"{path} ")), "server_cert")
        yield refused("mtls", option, error, "correct the file, or name another one")
        return
    own = _certificates(pem.own)
    for certificate in own[:1]:
        yield from _dates(certificate, "server_cert", server_cert)
        yield from _names(certificate, addr, server_cert)
    for certificate in _certificates(pem.clients):
        yield from _dates(certificate, "client_cert", client_cert)


def _client_key(path: str) -> Iterator[Problem]:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        yield Problem("mtls", "client_key", f"client_key {path} cannot be read: {error.strerror}",
                      "correct the path, or leave the option out: no gateway reads it", warning=True)
        return
    if mode & stat.S_IRWXO:
        yield Problem("mtls", "client_key", f"{path} is a private key that every user of this host can use",
                      f"do: chmod o= {path}")


def _certificates(pem: bytes) -> List[x509.Certificate]:
    return [x509.load_pem_x509_certificate(found) for found in _PEM.findall(pem)]


def _dates(certificate: x509.Certificate, option: str, path: str) -> Iterator[Problem]:
    now = datetime.datetime.now(datetime.timezone.utc)
    begins, ends = _date(certificate, "not_valid_before"), _date(certificate, "not_valid_after")
    subject = certificate.subject.rfc4514_string()
    if ends <= now:
        yield Problem("mtls", option, f"the certificate of {subject} in {path} expired at {ends:%Y-%m-%d %H:%M} UTC",
                      "put a new one there; it counts from the next connection on")
    elif begins > now:
        yield Problem("mtls", option, f"the certificate of {subject} in {path} is not valid before "
                      f"{begins:%Y-%m-%d %H:%M} UTC", "wait, or look at this host's clock")
    elif ends - now < SOON:
        yield Problem("mtls", option, f"the certificate of {subject} in {path} expires at {ends:%Y-%m-%d %H:%M} UTC",
                      "put a new one there in time", warning=True)


def _date(certificate: x509.Certificate, name: str) -> datetime.datetime:
    if hasattr(certificate, f"{name}_utc"):   # cryptography 42 and later
        return getattr(certificate, f"{name}_utc")
    return getattr(certificate, name).replace(tzinfo=datetime.timezone.utc)


def _names(certificate: x509.Certificate, addr: str, path: str) -> Iterator[Problem]:
    """Clients accept a certificate for the address that they connect to only."""
    address = ipaddress.ip_address(addr)
    if address.is_unspecified:
        return
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    if address not in names.get_values_for_type(x509.IPAddress):
        shown = [str(name) for kind in (x509.IPAddress, x509.DNSName) for name in names.get_values_for_type(kind)]
        yield Problem("mtls", "server_cert", f"the certificate in {path} is not for addr {addr} but for: "
                      f"{', '.join(shown) or 'no address'}", f"have one made with the subject alternative name "
                      f"IP:{addr}, unless clients use one of these names", warning=True)
