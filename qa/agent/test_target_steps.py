"""Claims about steps that wait for I/O in flight, with a peer that answers when the test says so."""
from __future__ import annotations

import asyncio
import json

import pytest

from gw_agent import target_steps
from gw_agent.spdk_rpc import RpcUnreachable, SpdkRpc
from gw_agent.target_steps import Step, StepSender

WAIT_S = 20


class Peer:
    """Holds every request of a method in `held` back until `let_go`; answers others with True, or an error."""

    def __init__(self):
        self.held = {"nvmf_subsystem_remove_ns"}
        self.requests = []
        self._waiting = []
        self.writer = None

    async def serve(self, reader, writer):
        self.writer = writer
        decoder, text = json.JSONDecoder(), ""
        while True:
            data = await reader.read(1 << 16)
            if not data:
                writer.close()
                return
            text += data.decode()
            while text:
                request, end = decoder.raw_decode(text)
                text = text[end:]
                self.requests.append(request["method"])
                if request["method"] in self.held:
                    self._waiting.append(request)
                else:
                    self._answer(request)

    def _answer(self, request):
        outcome = {"error": {"code": -32602, "message": "Invalid parameters"}} if request["method"] == "refused" \
            else {"result": True}
        self.writer.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **outcome}).encode() + b"\n")

    def let_go(self):
        for request in self._waiting:
            self._answer(request)
        self._waiting = []


def run(path, use):
    async def body():
        peer = Peer()
        server = await asyncio.start_unix_server(peer.serve, path)
        rpc = await SpdkRpc.connect(path)
        try:
            return await asyncio.wait_for(use(peer, StepSender(rpc)), WAIT_S)
        finally:
            await rpc.close()
            server.close()
    return asyncio.run(body())


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(target_steps, "WAIT_DEADLINE_S", 0.1)
    return str(tmp_path / "peer.sock")


def removal(done, subject="namespace_n_1"):
    return Step(subject, "remove namespace 1 of n", ("nvmf_subsystem_remove_ns", {"nqn": "n", "nsid": 1}),
                lambda: done.append(subject))


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def test_a_removal_that_waits_is_reported_blocks_its_subsystem_and_is_not_sent_again(path):
    async def use(peer, sender):
        done = []
        for _ in range(2):
            sender.begin()
            await sender.send_and_wait_for_io([removal(done)])
            assert sender.waiting == {"namespace_n_1"} and sender.blocked == {"n"} and done == []
            assert "waits for I/O in flight" in sender.problem_of["namespace_n_1"]
        assert peer.requests == ["nvmf_subsystem_remove_ns"]

    run(path, use)


def test_a_removal_that_was_answered_late_no_longer_blocks(path):
    async def use(peer, sender):
        sender.begin()
        await sender.send_and_wait_for_io([removal([])])
        peer.let_go()
        waiting = list(sender._waiting.values())
        await until(lambda: all(entry.task.done() for entry in waiting))
        sender.begin()
        assert not sender.waiting and sender.blocked == set() and sender.problem_of == {}

    run(path, use)


def test_a_removal_that_is_answered_in_time_is_done(path):
    async def use(peer, sender):
        peer.held = set()
        done = []
        sender.begin()
        await sender.send_and_wait_for_io([removal(done)])
        assert done == ["namespace_n_1"] and not sender.waiting and sender.problem_of == {}

    run(path, use)


def test_a_refused_step_is_a_problem_of_its_subject_only(path):
    async def use(peer, sender):
        done = []
        sender.begin()
        await sender.send([Step("a", "do a", ("refused", None), lambda: done.append("a")),
                           Step("b", "do b", ("fine", None), lambda: done.append("b"))])
        assert done == ["b"]
        assert list(sender.problem_of) == ["a"] and "cannot do a: the target refused" in sender.problem_of["a"]

    run(path, use)


def test_a_target_that_is_gone_ends_the_steps(path):
    async def use(peer, sender):
        peer.held = {"hangs"}
        sender.begin()
        sending = asyncio.ensure_future(sender.send([Step("a", "do a", ("hangs", None), lambda: None)]))
        await until(lambda: peer.requests)
        peer.writer.close()
        with pytest.raises(RpcUnreachable):
            await sending

    run(path, use)
