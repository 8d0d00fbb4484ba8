"""The gateway's gRPC API: change and list the configuration of the gateway group, and ask about this gateway.

`api_frame.py` says what an answer promises; there is one file of verbs for each noun. ANA states are never set from
here, because nothing would be fenced.
"""
from __future__ import annotations

import errno
import logging
import os
from typing import Optional, Tuple

import grpc

from gw_agent.api_connections import ConnectionVerbs
from gw_agent.api_gateway import GatewayVerbs
from gw_agent.api_ha import HighAvailabilityService
from gw_agent.api_hosts import HostVerbs
from gw_agent.api_listeners import ListenerVerbs
from gw_agent.api_logs import LogVerbs
from gw_agent.api_namespace_settings import NamespaceSettingVerbs
from gw_agent.api_namespaces import NamespaceVerbs
from gw_agent.api_requests import RequestReader
from gw_agent.api_subsystems import SubsystemVerbs
from gw_agent.pb import gateway_pb2_grpc, ha_pb2_grpc
from gw_agent.settings import API_SOCKET, Settings
from gw_agent.tls import Certificates, Pem

log = logging.getLogger(__name__)

STOP_S = 1.0


class GatewayService(SubsystemVerbs, HostVerbs, ListenerVerbs, ConnectionVerbs, NamespaceVerbs, NamespaceSettingVerbs,
                     LogVerbs, GatewayVerbs):
    """All methods of gateway.proto."""


async def start_server(service: GatewayService, settings: Settings) -> Tuple["grpc.aio.Server", int]:
    """Opens the API on its address and on the Unix socket; returns the server (end it with `await server.stop(STOP_S)`)
    and its port. Raises OSError, CertificateError."""
    gateway = settings.gateway
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], interceptors=[RequestReader()])
    gateway_pb2_grpc.add_GatewayServicer_to_server(service, server)
    ha_pb2_grpc.add_HighAvailabilityServicer_to_server(HighAvailabilityService(service.local, settings), server)
    host = f"[{gateway.addr}]" if ":" in gateway.addr else gateway.addr
    where = f"{host}:{gateway.port}"
    credentials = _credentials(Certificates(settings.mtls)) if gateway.enable_auth else None
    try:
        port = server.add_insecure_port(where) if credentials is None else server.add_secure_port(where, credentials)
        where = os.path.join(gateway.run_dir, API_SOCKET)
        server.add_insecure_port(f"unix:{where}")
    except RuntimeError as error:
        raise OSError(errno.EADDRINUSE, f"the API cannot listen on {where} ({error}); is the address this host's and "
                      "the port free, and is run_dir a local directory?") from None
    service.port = port
    await server.start()
    if gateway.insecure_api:
        log.warning("the API at %s is open to whoever reaches it, because insecure_api is on in section [gateway]",
                    gateway.addr)
    return server, port


def _credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Of a server that lets nobody in without a certificate, and looks for changed files before each handshake."""
    def configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(pem.key, pem.own)], pem.clients)

    def changed() -> Optional[grpc.ServerCertificateConfiguration]:
        pem = certificates.changed()
        return None if pem is None else configuration(pem)

    return grpc.dynamic_ssl_server_credentials(configuration(certificates.first), changed, True)
