"""Claims about JSON-RPC framing and matching, against a peer on a Unix socket that answers as the test says."""
from __future__ import annotations

import asyncio
import json
import socket

import pytest

from gw_agent import spdk_rpc
from gw_agent.spdk_rpc import RpcError, RpcFailure, RpcTimeout, RpcUnreachable, SpdkRpc

WAIT_S = 10


def cut_requests(data):
    """The requests in a byte string without separators."""
    requests, decoder, text, at = [], json.JSONDecoder(), data.decode(), 0
    while at < len(text):
        request, at = decoder.raw_decode(text, at)
        requests.append(request)
    return requests


def reply(request, **members):
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], **members}).encode() + b"\n"


def run(path, peer, client):
    """Runs `client(rpc)` against `peer(reader, writer)`; returns what the client returns."""
    async def both():
        served = []

        async def serve(reader, writer):
            served.append(asyncio.current_task())
            try:
                await peer(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_unix_server(serve, path)
        rpc = await SpdkRpc.connect(path)
        try:
            return await asyncio.wait_for(client(rpc), WAIT_S)
        finally:
            await rpc.close()
            server.close()
            for task in served:
                task.cancel()
            await asyncio.gather(*served, return_exceptions=True)
    return asyncio.run(both())


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "spdk.sock")


def test_params_are_left_out_when_there_are_none():
    assert json.loads(spdk_rpc.encode(1, "spdk_get_version")) == {"jsonrpc": "2.0", "id": 1,
                                                                   "method": "spdk_get_version"}
    assert json.loads(spdk_rpc.encode(2, "m", {}))["params"] == {}


def test_a_request_larger_than_the_targets_buffer_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="split it"):
        spdk_rpc.encode(1, "m", {"x": "y" * spdk_rpc.REQUEST_LIMIT_BYTES})


def test_the_decoder_takes_replies_in_pieces_and_several_at_once():
    decoder = spdk_rpc.Decoder()
    assert decoder.feed(b'{"id":1,"re') == []
    assert decoder.feed(b'sult":true}\n{"id":2}\n{"i') == [{"id": 1, "result": True}, {"id": 2}]
    assert decoder.feed(b'd":3}\n') == [{"id": 3}]


@pytest.mark.parametrize("data", [b"hello\n", b"[1]\n", b"\xff\xfe\n"])
def test_the_decoder_refuses_what_is_not_json_rpc(data):
    with pytest.raises(ValueError):
        spdk_rpc.Decoder().feed(data)


def test_a_pipeline_is_one_write_and_replies_out_of_order_find_their_requests(path):
    reads = []

    async def peer(reader, writer):
        reads.append(await reader.read(1 << 20))
        requests = cut_requests(reads[0])
        for request in reversed(requests):
            writer.write(reply(request, result=request["method"]))
        await reader.read()

    async def client(rpc):
        return await rpc.pipeline([(f"m{n}", {"n": n}) for n in range(100)])

    assert run(path, peer, client) == [f"m{n}" for n in range(100)]
    assert len(reads) == 1


def test_an_error_reply_is_raised_by_call_and_returned_by_pipeline(path):
    async def peer(reader, writer):
        while True:
            data = await reader.read(1 << 16)
            if not data:
                return
            for request in cut_requests(data):
                good = request["method"] == "good"
                writer.write(reply(request, **({"result": 1} if good else
                                               {"error": {"code": -32602, "message": "Invalid parameters"}})))

    async def client(rpc):
        with pytest.raises(RpcError) as failure:
            await rpc.call("bad", {"nqn": "n"})
        return failure.value, await rpc.pipeline([("good", None), ("bad", None)])

    error, (good, bad) = run(path, peer, client)
    assert (error.code, error.message, error.method, error.params) == (-32602, "Invalid parameters", "bad",
                                                                      {"nqn": "n"})
    assert good == 1 and isinstance(bad, RpcError)


def test_one_silent_request_does_not_take_the_others_results_away(path):
    async def peer(reader, writer):
        for request in cut_requests(await reader.read(1 << 16)):
            if request["method"] != "hangs":
                writer.write(reply(request, result=True))
        await reader.read()

    async def client(rpc):
        return await rpc.pipeline([("a", None), ("hangs", None), ("b", None)], timeout_s=0.2)

    a, hangs, b = run(path, peer, client)
    assert a is True and b is True
    assert isinstance(hangs, RpcTimeout) and "read the state back" in str(hangs)


def test_an_answer_after_its_deadline_is_not_taken_for_another_requests(path):
    async def peer(reader, writer):
        late, = cut_requests(await reader.read(1 << 16))
        second, = cut_requests(await reader.read(1 << 16))
        writer.write(reply(late, result="late") + reply(second, result="second"))
        await reader.read()

    async def client(rpc):
        with pytest.raises(RpcTimeout):
            await rpc.call("slow", timeout_s=0.05)
        return await rpc.call("fast")

    assert run(path, peer, client) == "second"


def test_a_lost_connection_answers_every_waiting_request_at_once(path):
    async def peer(reader, writer):
        first, _ = cut_requests(await reader.read(1 << 16))
        writer.write(reply(first, result=1))

    async def client(rpc):
        first, second = await rpc.pipeline([("a", None), ("b", None)], timeout_s=WAIT_S)
        reason = await rpc.wait_closed()
        return first, second, reason, rpc.closed, await rpc.pipeline([("c", None)])

    first, second, reason, closed, (third,) = run(path, peer, client)
    assert first == 1 and closed
    for failure in (second, reason, third):
        assert isinstance(failure, RpcUnreachable) and path in str(failure)


def test_a_peer_that_does_not_speak_json_rpc_ends_the_connection(path):
    async def peer(reader, writer):
        await reader.read(1 << 16)
        writer.write(b"220 mail ready\n")
        await reader.read()

    async def client(rpc):
        with pytest.raises(RpcUnreachable):
            await rpc.call("m")
        return rpc.closed

    assert run(path, peer, client)


def test_a_cancelled_request_leaves_the_connection_usable(path):
    async def peer(reader, writer):
        requests = []
        while not requests or requests[-1]["method"] != "next":
            requests += cut_requests(await reader.read(1 << 16))
        writer.write(b"".join(reply(request, result=request["method"]) for request in requests))
        await reader.read()

    async def client(rpc):
        task = asyncio.ensure_future(rpc.call("cancelled"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await rpc.call("next")

    assert run(path, peer, client) == "next"


def test_a_missing_socket_is_named_with_what_to_do(path):
    with pytest.raises(RpcUnreachable, match="there is no RPC socket .*; start the target"):
        asyncio.run(SpdkRpc.connect(path))


def test_a_stale_socket_of_a_killed_target_is_unreachable(path):
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(path)
    stale.close()
    with pytest.raises(RpcUnreachable, match="Connection refused.*start it again"):
        asyncio.run(SpdkRpc.connect(path))


def test_a_closed_client_answers_instead_of_waiting(path):
    async def peer(reader, writer):
        await reader.read()

    async def client(rpc):
        await rpc.close()
        return await rpc.pipeline([("m", None)])

    entry, = run(path, peer, client)
    assert isinstance(entry, RpcFailure)
