"""The RPC socket treats bytes as the recorded target did (facts/spdk-framing.txt)."""

from __future__ import annotations

import ast
import json
import re
import socket
from pathlib import Path

import pytest

from target_sim.target_process import ANSWER_LIMIT_S, TargetProcess, free_port, listen_address

RECORD = Path(__file__).parent / "facts" / "spdk-framing.txt"
VERSION = re.compile(rb'"version":"[^"]*","fields":\{[^}]*\}')
MAX_CONNECTIONS = 64
NO_SUCH_METHOD = b'{"jsonrpc":"2.0","id":1,"method":"nosuch"}'


def recorded() -> dict[str, tuple[bytes, bytes]]:
    """Title -> bytes sent, bytes received. Only what the record has both of."""
    cases = {}
    for block in re.split(r"^## ", RECORD.read_text(), flags=re.M)[1:]:
        title, *lines = block.splitlines()
        sent = next((ast.literal_eval(line[4:]) for line in lines if line.startswith("--> ")), None)
        received = next((ast.literal_eval(line[4:]) for line in lines if line.startswith("<-- b")), None)
        if sent is not None:
            cases[title] = (sent, received)
    return cases


CASES = recorded()


def same_version(text: bytes) -> bytes:
    return VERSION.sub(b"VERSION", text)


class Wire:
    """A raw connection. `answer` is everything until the target has nothing more to say about what was sent."""

    def __init__(self, target: TargetProcess) -> None:
        self.target = target
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(target.socket_path))
        self.socket.settimeout(ANSWER_LIMIT_S)

    def quiet(self) -> None:
        """Two round trips on another connection: more polls than any answer needs."""
        self.target.rpc("rpc_get_methods", current=True)
        self.target.rpc("rpc_get_methods", current=True)

    def answer(self, expected: bytes) -> bytes:
        """As recorded, with <EOF> and <RST> for the end of the connection."""
        received = b""
        while len(same_version(received)) < len(same_version(expected)) or not received.endswith(
            expected[-5:] if expected.endswith(b">") else b""
        ):
            part = self._part()
            received += part
            if part in (b"<EOF>", b"<RST>"):
                return received
        self.quiet()
        self.socket.setblocking(False)
        try:
            return received + self._part()
        except BlockingIOError:
            return received

    def _part(self) -> bytes:
        try:
            return self.socket.recv(1 << 16) or b"<EOF>"
        except ConnectionResetError:
            return b"<RST>"


@pytest.fixture
def wire(target: TargetProcess):
    made = Wire(target)
    yield made
    made.socket.close()


@pytest.mark.parametrize("title", [title for title in CASES if title != "split across writes"])
def test_bytes_are_answered_as_recorded(title: str, wire: Wire) -> None:
    sent, expected = CASES[title]
    wire.socket.sendall(sent)
    assert same_version(wire.answer(expected)) == same_version(expected)


def test_a_request_may_arrive_in_two_writes(wire: Wire) -> None:
    sent, expected = CASES["split across writes"]
    first, second = sent.split(b"|")
    wire.socket.sendall(first)
    wire.quiet()
    wire.socket.sendall(second)
    assert same_version(wire.answer(expected)) == same_version(expected)


def test_a_read_that_ends_inside_a_character_closes_the_connection(wire: Wire) -> None:
    request = '{"id":"\u00e9","method":"nosuch"}'.encode()
    wire.socket.sendall(request[: request.index(b"\xc3") + 1])
    assert wire.answer(b"<EOF>") == b"<EOF>"


def test_a_request_longer_than_the_receive_buffer_resets_the_connection(wire: Wire) -> None:
    request = b'{"id":1,"method":"' + b"x" * (300 * 1024) + b'"}'
    try:
        wire.socket.sendall(request)
    except (BrokenPipeError, ConnectionResetError):
        return
    assert wire.answer(b"<RST>") in (b"<RST>", b"<EOF>")


def test_a_half_closed_connection_still_gets_its_reply(wire: Wire) -> None:
    wire.socket.sendall(NO_SUCH_METHOD)
    wire.socket.shutdown(socket.SHUT_WR)
    expected = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}\n<EOF>'
    assert wire.answer(expected) == expected


@pytest.mark.parametrize("malformed", [b"{bad}", b'{"id":"\xff"}'])
def test_requests_before_malformed_text_are_executed_although_their_replies_are_lost(
    malformed: bytes, target: TargetProcess, wire: Wire
) -> None:
    wire.socket.sendall(
        b'{"id":1,"method":"bdev_malloc_create","params":{"name":"kept","num_blocks":8,"block_size":512}}' + malformed
    )
    assert wire.answer(b"<EOF>") == b"<EOF>"
    assert target.rpc("bdev_get_bdevs", name="kept")
    target.rpc("bdev_malloc_delete", name="kept")


def test_a_failed_notification_is_answered_and_a_successful_one_is_not(wire: Wire) -> None:
    wire.socket.sendall(b'{"method":"spdk_get_version"}{"method":"spdk_get_version","params":{}}')
    expected = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"spdk_get_version method requires no parameters"}}\n'
    assert wire.answer(expected) == expected


def test_a_sync_method_overtakes_an_async_one_of_the_same_write(target: TargetProcess, wire: Wire) -> None:
    nqn, address = "nqn.2016-06.io.spdk:order", listen_address(free_port())
    target.rpc("nvmf_create_subsystem", nqn=nqn, ana_reporting=True)
    target.rpc("nvmf_subsystem_add_listener", nqn=nqn, listen_address=address)
    slow = {
        "id": "slow",
        "method": "nvmf_subsystem_listener_set_ana_state",
        "params": {"nqn": nqn, "listen_address": address, "ana_state": "inaccessible"},
    }
    fast = {"id": "fast", "method": "framework_get_scheduler"}
    wire.socket.sendall((json.dumps(slow) + json.dumps(fast)).encode())
    received = b""
    while received.count(b"\n") < 2:
        received += wire.socket.recv(1 << 16)
    recorded_answer = next(ast.literal_eval(line[4:]) for line in RECORD.read_text().splitlines() if '"fast"' in line)
    assert received == recorded_answer
    target.rpc("nvmf_delete_subsystem", nqn=nqn)


def test_the_65th_connection_is_served_when_one_closes(target: TargetProcess) -> None:
    target.rpc("rpc_get_methods", current=True)
    others = [Wire(target) for _ in range(MAX_CONNECTIONS - 1)]
    for other in others:
        other.socket.sendall(NO_SUCH_METHOD)
        assert b"Method not found" in other.socket.recv(1000)
    late = Wire(target)
    late.socket.sendall(NO_SUCH_METHOD)
    late.quiet()
    late.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        late.socket.recv(100)
    others.pop().socket.close()
    late.socket.settimeout(ANSWER_LIMIT_S)
    assert b"Method not found" in late.socket.recv(1000)
    for wire in (*others, late):
        wire.socket.close()
