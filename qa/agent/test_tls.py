"""Claims about who gets an answer of the gRPC API."""
from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading

import grpc
import pytest
from authority import Authority

from gw_agent import api, settings as settings_module
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc
from gw_agent.tls import CertificateError, Certificates
from gw_agent.client.main import main

ADDR = "127.0.0.2"
CALL_S = 20


class Answering(gateway_pb2_grpc.GatewayServicer):
    """In the place of a gateway: what is claimed here is only who reaches it."""

    port = 0
    local = None

    async def get_gateway_info(self, request, context):
        return pb.gateway_info(name="gw1")


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def root(authority):
    return authority.certificate_path.read_bytes()


@pytest.fixture
def settings(tmp_path, authority):
    """With server and client certificates of one authority."""
    key, certificate = authority.issue("server", ADDR)
    return load(tmp_path, "enable_auth = true\n", f"[mtls]\nserver_key = {key}\nserver_cert = {certificate}\n"
                f"client_cert = {authority.certificate_path}\n")


def load(directory, more="", sections="", port=0):
    path = directory / "gateway.ini"
    path.write_text(f"[gateway]\nname = gw1\ngroup = g1\naddr = {ADDR}\nport = {port}\nrun_dir = {directory}\n{more}"
                    f"[ceph]\npool = rbd\n{sections}")
    return settings_module.load(str(path))


class Running:
    """The API in an event loop of its own thread; a context manager."""

    def __init__(self, settings):
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_S)

    def __enter__(self):
        self._thread.start()
        try:
            self._server, port = self._do(api.start_server(Answering(), self._settings))
        except BaseException:
            self._end_loop()
            raise
        self.address = f"{ADDR}:{port}"
        return self

    def __exit__(self, *_exception):
        self._do(self._server.stop(0))
        self._end_loop()

    def _end_loop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def asked(channel):
    """The answer's gateway name."""
    with channel:
        return gateway_pb2_grpc.GatewayStub(channel).get_gateway_info(pb.get_gateway_info_req(), timeout=CALL_S).name


def with_certificate(address, root, key_and_certificate):
    """`root`: the certificate that the client accepts the server by."""
    key, certificate = (path.read_bytes() for path in key_and_certificate)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(root, key, certificate))


def test_only_clients_whose_certificate_is_accepted_get_an_answer(settings, authority, root, tmp_path):
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("stranger")
    with Running(settings) as running:
        assert asked(with_certificate(running.address, root, authority.issue("client"))) == "gw1"
        for refused in (grpc.insecure_channel(running.address),
                        grpc.secure_channel(running.address, grpc.ssl_channel_credentials(root)),
                        with_certificate(running.address, root, stranger)):
            with pytest.raises(grpc.RpcError) as failure:
                asked(refused)
            assert failure.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_command_line_client_shows_its_certificate_and_says_when_it_should_have(settings, authority, capsys):
    key, certificate = map(str, authority.issue("client"))
    trusted = str(authority.certificate_path)
    with Running(settings) as running:
        where = ["--server-address", ADDR, "--server-port", running.address.rpartition(":")[2]]
        mine = [*where, "--client-key", key, "--client-cert", certificate, "--server-cert"]
        assert main([*mine, trusted, "gw", "info"]) == 0
        assert "gw1" in capsys.readouterr().out
        assert main([*where, "gw", "info"]) == 1
        assert "give --client-key, --client-cert and --server-cert" in capsys.readouterr().err
        assert main([*mine, certificate, "gw", "info"]) == 1
        assert "does it accept that of --client-cert" in capsys.readouterr().err
        for broken in ("--client-key", "--client-cert", "--server-cert"):
            files = {"--client-key": key, "--client-cert": certificate, "--server-cert": trusted, broken: __file__}
            assert main([*where, *(word for pair in files.items() for word in pair), "gw", "info"]) == 2
            assert f"{__file__} ({broken})" in capsys.readouterr().err


def test_a_clients_own_certificate_may_be_named_instead_of_its_authoritys(settings, authority, root, tmp_path):
    mine, others = authority.issue("mine"), authority.issue("others")
    sections = (f"[mtls]\nserver_key = {settings.mtls.server_key}\nserver_cert = {settings.mtls.server_cert}\n"
                f"client_cert = {mine[1]}\n")
    with Running(load(tmp_path, "enable_auth = true\n", sections)) as running:
        assert asked(with_certificate(running.address, root, mine)) == "gw1"
        with pytest.raises(grpc.RpcError):
            asked(with_certificate(running.address, root, others))


def test_changed_files_count_from_the_next_connection_on_and_damaged_ones_change_nothing(
        settings, authority, root, tmp_path, caplog):
    client = authority.issue("client")
    (tmp_path / "new").mkdir()
    successor = Authority(tmp_path / "new")
    with Running(settings) as running:
        assert asked(with_certificate(running.address, root, client)) == "gw1"
        authority.certificate_path.write_text("nothing\n")
        assert asked(with_certificate(running.address, root, client)) == "gw1"
        assert "no certificates in PEM to accept clients by" in caplog.text
        authority.certificate_path.write_bytes(successor.certificate_path.read_bytes())
        with pytest.raises(grpc.RpcError):
            asked(with_certificate(running.address, root, client))
        assert asked(with_certificate(running.address, root, successor.issue("client"))) == "gw1"


def test_the_unix_socket_answers_its_user_whatever_the_address_asks_for(settings, tmp_path):
    before = os.umask(0o077)
    try:
        with Running(settings):
            path = tmp_path / "api.sock"
            assert path.stat().st_mode & 0o777 == 0o700
            assert asked(grpc.insecure_channel(f"unix:{path}")) == "gw1"
    finally:
        os.umask(before)


def test_a_loopback_address_answers_without_certificates(tmp_path):
    with Running(load(tmp_path)) as running:
        assert asked(grpc.insecure_channel(running.address)) == "gw1"


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind((ADDR, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"{ADDR}:{port}.*the port free"), Running(load(tmp_path, port=port)):
            pass


@pytest.mark.parametrize("break_it, said", [
    (lambda d: (d / "server.key").unlink(), "server.key cannot be read: No such file"),
    (lambda d: (d / "server.key").chmod(0o644), "chmod o= "),
    (lambda d: (d / "server.crt").write_text("x"), "are not a certificate and its private key"),
    (lambda d: (d / "server.crt").write_bytes((d / "authority.crt").read_bytes()), "certificate and its private key"),
    (lambda d: (d / "authority.crt").write_text("x"), "no certificates in PEM to accept clients by"),
])
def test_files_that_cannot_be_used_are_named_with_the_reason(settings, tmp_path, break_it, said):
    break_it(tmp_path)
    with pytest.raises(CertificateError, match=said):
        Certificates(settings.mtls)


def test_a_gateway_whose_certificates_cannot_be_used_does_not_start(settings, tmp_path):
    (tmp_path / "server.crt").unlink()
    ended = subprocess.run([sys.executable, "-m", "gw_agent.warden", "--config", str(tmp_path / "gateway.ini")],
                           stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ended.returncode == 2 and "server.crt cannot be read: No such file or directory" in ended.stderr
