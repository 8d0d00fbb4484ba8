"""Keys of hosts: the keyring, who has to authenticate, and listeners that need TLS."""

from __future__ import annotations

import base64
import itertools
import struct
import zlib
from pathlib import Path
from typing import Callable

import pytest

from target_sim.conftest import Exported
from target_sim.initiator import FABRICS, ConnectionEnded, Host, Queue
from target_sim.target_process import RpcFailure, TargetProcess, free_port, listen_address

HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
AUTHENTICATION_REQUIRED = 0x191
_NUMBERS = itertools.count(1)


def interchange(kind: str, secret: bytes) -> str:
    encoded = base64.b64encode(secret + zlib.crc32(secret).to_bytes(4, "little")).decode()
    return f"{kind}:01:{encoded}:"


@pytest.fixture
def add_key(target: TargetProcess, tmp_path: Path) -> Callable[[str], str]:
    """Puts a text into the keyring; returns its name."""

    def add(text: str, mode: int = 0o600) -> str:
        name = f"key{next(_NUMBERS)}"
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        assert target.rpc("keyring_file_add_key", name=name, path=str(path)) is True
        return name

    return add


@pytest.fixture
def dhchap(add_key: Callable[[str], str]) -> str:
    return add_key(interchange("DHHC-1", bytes(32)))


@pytest.fixture
def psk(add_key: Callable[[str], str]) -> str:
    return add_key(interchange("NVMeTLSkey-1", bytes(32)))


def hosts(target: TargetProcess, nqn: str) -> list[dict]:
    return target.rpc("nvmf_get_subsystems", nqn=nqn)[0]["hosts"]


def shown_keys(target: TargetProcess) -> dict[str, dict]:
    return {key["name"]: key for key in target.rpc("keyring_get_keys")}


def test_a_key_is_listed_while_somebody_refers_to_it(target: TargetProcess, exported: Exported, dhchap: str) -> None:
    assert shown_keys(target)[dhchap]["refcnt"] == 1
    target.rpc("nvmf_subsystem_add_host", nqn=exported.nqn, host=HOST, dhchap_key=dhchap)
    assert shown_keys(target)[dhchap]["refcnt"] == 2
    assert target.rpc("keyring_file_remove_key", name=dhchap) is True
    shown = shown_keys(target)[dhchap]
    assert (shown["refcnt"], shown["removed"], shown.get("path")) == (1, True, None)
    assert hosts(target, exported.nqn) == [{"nqn": HOST, "dhchap_key": dhchap}]
    target.rpc("nvmf_subsystem_remove_host", nqn=exported.nqn, host=HOST)
    assert dhchap not in shown_keys(target)


def test_keys_can_be_replaced_and_taken_away(
    target: TargetProcess, exported: Exported, dhchap: str, psk: str, add_key: Callable[[str], str]
) -> None:
    other = add_key(interchange("DHHC-1", b"o" * 32))
    host = {"nqn": exported.nqn, "host": HOST}
    target.rpc("nvmf_subsystem_add_host", **host, dhchap_key=dhchap, dhchap_ctrlr_key=other, psk=psk)
    assert hosts(target, exported.nqn) == [{"nqn": HOST, "dhchap_key": dhchap, "dhchap_ctrlr_key": other}]
    assert target.rpc("nvmf_subsystem_set_keys", **host, dhchap_key=other) is True
    assert hosts(target, exported.nqn) == [{"nqn": HOST, "dhchap_key": other}]
    assert target.rpc("nvmf_subsystem_set_keys", **host) is True
    assert hosts(target, exported.nqn) == [{"nqn": HOST}]
    made = [request["params"] for request in target.rpc("framework_get_config", name="nvmf")]
    assert {**host, "psk": psk} in made, "the pre-shared key is shown there only"
    target.rpc("nvmf_subsystem_remove_host", **host)


@pytest.mark.parametrize(
    "name, path, mode, code, message",
    [
        ("a", "relative", 0o600, -1, "Operation not permitted"),
        ("a", "/nonexistent/key", 0o600, -2, "No such file or directory"),
        ("a", None, 0o640, -1, "Operation not permitted"),
        ("a:b", None, 0o600, -22, "Invalid argument"),
    ],
)
def test_a_key_that_cannot_be_added_is_refused(
    target: TargetProcess, tmp_path: Path, name: str, path: str, mode: int, code: int, message: str
) -> None:
    key = tmp_path / "key"
    key.write_text("x")
    key.chmod(mode)
    with pytest.raises(RpcFailure) as failure:
        target.rpc("keyring_file_add_key", name=name, path=path or str(key))
    assert failure.value.error == {"code": code, "message": message}


def test_what_is_there_is_not_added_and_what_is_not_is_not_removed(target: TargetProcess, dhchap: str) -> None:
    path = shown_keys(target)[dhchap]["path"]
    for method, params, error in (
        ("keyring_file_add_key", {"name": dhchap, "path": path}, {"code": -17, "message": "File exists"}),
        ("keyring_file_remove_key", {"name": "nosuch"}, {"code": -126, "message": "Required key not available"}),
        ("keyring_file_remove_key", {"name": "n", "x": 1}, {"code": -32602, "message": "Invalid argument"}),
        ("keyring_file_add_key", {"name": "n"}, {"code": -32602, "message": "Invalid argument"}),
    ):
        with pytest.raises(RpcFailure) as failure:
            target.rpc(method, **params)
        assert failure.value.error == error


def test_hosts_are_refused_with_keys_that_are_none_and_when_they_are_there(
    target: TargetProcess, exported: Exported, dhchap: str, psk: str
) -> None:
    host = {"nqn": exported.nqn, "host": HOST}
    internal, invalid = (-32603, "Internal error"), (-32602, "Invalid parameters")
    add, set_keys = "nvmf_subsystem_add_host", "nvmf_subsystem_set_keys"
    for method, keys, (code, message) in (
        (add, {"dhchap_key": "nosuch"}, invalid),
        (add, {"dhchap_ctrlr_key": dhchap}, internal),
        (add, {"psk": "nosuch"}, internal),
        (add, {"psk": dhchap}, internal),
        (set_keys, {"dhchap_key": dhchap}, (-22, "Invalid argument")),
    ):
        with pytest.raises(RpcFailure) as failure:
            target.rpc(method, **host, **keys)
        assert failure.value.error == {"code": code, "message": message}, keys
    assert hosts(target, exported.nqn) == []
    target.rpc(add, **host)
    for method, keys, (code, message) in (
        (add, {}, internal),
        (set_keys, {"dhchap_ctrlr_key": dhchap}, (-22, "Invalid argument")),
        (set_keys, {"dhchap_key": "nosuch"}, invalid),
        (set_keys, {"dhchap_key": dhchap, "psk": psk}, invalid),
    ):
        with pytest.raises(RpcFailure) as failure:
            target.rpc(method, **host, **keys)
        assert failure.value.error == {"code": code, "message": message}, keys
    target.rpc("nvmf_subsystem_remove_host", **host)


def test_a_host_with_a_key_has_to_authenticate_before_anything_else(
    target: TargetProcess, exported: Exported, dhchap: str
) -> None:
    target.rpc("nvmf_subsystem_add_host", nqn=exported.nqn, host=HOST, dhchap_key=dhchap)
    queue = Queue(exported.port)
    answer = queue.connect(exported.nqn, 0, 0xFFFF, HOST, bytes(16), 0)
    assert (answer.status, answer.dw0 >> 16) == (0, 2)
    ready = queue.command(FABRICS, nsid=4, fabrics=struct.pack("<BxxxI16x", 0, 0x1C))
    assert ready.status == AUTHENTICATION_REQUIRED
    assert queue.command(0x06, cdw10=1, length=4096).status == AUTHENTICATION_REQUIRED
    (shown,) = target.rpc("nvmf_subsystem_get_qpairs", nqn=exported.nqn)
    assert (shown["state"], shown["auth"]["state"]) == ("authenticating", "negotiate")
    queue.close()
    with Host(exported.port, exported.nqn) as other:
        assert other.read(1, 0, 1).status == 0, "any other host is allowed as before"
    target.rpc("nvmf_subsystem_remove_host", nqn=exported.nqn, host=HOST)


def test_a_changed_key_leaves_connected_hosts_alone(
    target: TargetProcess, exported: Exported, dhchap: str
) -> None:
    target.rpc("nvmf_subsystem_add_host", nqn=exported.nqn, host=HOST)
    with Host(exported.port, exported.nqn, hostnqn=HOST) as host:
        target.rpc("nvmf_subsystem_set_keys", nqn=exported.nqn, host=HOST, dhchap_key=dhchap)
        assert host.read(1, 0, 1).status == 0
    target.rpc("nvmf_subsystem_remove_host", nqn=exported.nqn, host=HOST)


def test_a_secure_listener_takes_nobody_without_tls_and_no_subsystem_that_allows_any_host(
    target: TargetProcess, exported: Exported
) -> None:
    port = free_port()
    listener = {"nqn": exported.nqn, "listen_address": listen_address(port), "secure_channel": True}
    with pytest.raises(RpcFailure) as failure:
        target.rpc("nvmf_subsystem_add_listener", **listener)
    assert failure.value.error["message"] == "Cannot establish secure channel, when 'allow_any_host' is set"
    target.rpc("nvmf_subsystem_allow_any_host", nqn=exported.nqn, allow_any_host=False)
    target.rpc("nvmf_subsystem_add_listener", **listener)
    with pytest.raises((ConnectionEnded, ConnectionError)):
        Queue(port)
