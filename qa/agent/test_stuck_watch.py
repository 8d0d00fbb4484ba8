"""What the agent finds out about a context that hangs; the cluster is real, contexts are clients of the test's own."""
from __future__ import annotations

import asyncio
import itertools
import json
import math
import socket
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest
import rados

from gw_agent import context_requests, rados_watch
from gw_agent.context_requests import NotTold
from gw_agent.io_progress import PROMPT_S, Place
from gw_agent.path_probe import PathProbe
from gw_agent.stuck_watch import CONTEXTS_AT_ONCE, LONGEST_PAUSE_S, LOOK_S, StuckWatch
from nvmeof_ha_core.model import Instance
from running_target import gateway_settings

CONTEXT = "nvmeof_ha.0"
LIMIT_S = 60.0
SEATS = ("stuck.seat.0", "stuck.seat.1", "stuck.seat.2")
FIRST, SECOND = Instance("gw1", 1, "a"), Instance("gw1", 2, "b")


@pytest.fixture
def connected(cluster: Any) -> Iterator[Callable[..., rados.Rados]]:
    clients: List[rados.Rados] = []

    def connect(options: Optional[Dict[str, str]] = None) -> rados.Rados:
        client = rados.Rados(name="client.admin", conffile=str(cluster.conf), conf=options or {})
        client.connect()
        clients.append(client)
        return client
    yield connect
    for watch in list(rados_watch._watches):   # an agent's end with its process
        rados_watch.end(watch)
    for client in clients:
        client.shutdown()


@pytest.fixture
def context(connected: Callable[..., rados.Rados], tmp_path: Path) -> rados.Rados:
    """A client as a target makes it for a context."""
    return connected(context_requests.client_options(str(tmp_path), CONTEXT))


def drop_answers_of_osds(run_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(context_requests.socket_path(str(run_dir), CONTEXT))
        connection.sendall(json.dumps({"prefix": "config set", "var": "ms_blackhole_osd",
                                       "val": ["true"]}).encode() + b"\0")
        length, = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
        assert "success" in json.loads(connection.recv(length, socket.MSG_WAITALL))


def test_a_context_lists_exactly_what_it_waits_for(context, tmp_path):
    path = context_requests.socket_path(str(tmp_path), CONTEXT)
    ioctx = context.open_ioctx("rbd")
    ioctx.write_full("answered", b"x")
    assert asyncio.run(context_requests.requests(path)) == []
    drop_answers_of_osds(tmp_path)
    ioctx.aio_write_full("plain", b"x")
    ioctx.set_namespace("space")
    ioctx.set_locator_key("a:key")
    ioctx.aio_write_full("placed", b"x")
    found = asyncio.run(context_requests.requests(path))
    assert {request.place[1:] for request in found} == {("", "", "plain"), ("space", "a:key", "placed")}
    assert len({request.tid for request in found}) == 2 and {request.attempts for request in found} == {1}


@pytest.mark.parametrize("answer, said", [(None, "gave no answer within 1 s"), (b"", "EOFError"), (struct.pack(">I", 3) + b"{}", "EOFError"),
                                          (struct.pack(">I", 2) + b"{}", "KeyError"),
                                          (struct.pack(">I", 7) + b"garbage", "JSONDecodeError"),
                                          (b"\xff" * 4, "an answer of 4294967295 bytes")])
def test_a_socket_that_tells_nothing_useful_is_an_error_in_time(tmp_path, answer, said):
    path = str(tmp_path / "socket")

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\0")
        if answer is not None:
            writer.write(answer)
            writer.close()

    async def body() -> None:
        with pytest.raises(NotTold, match="No such file"):
            await context_requests.requests(path)
        async with await asyncio.start_unix_server(speak, path):
            with pytest.raises(NotTold, match=said):
                await context_requests.requests(path)
    asyncio.run(body())


def test_a_run_directory_that_is_too_long_for_a_socket_leaves_the_context_without_one():
    assert context_requests.client_options("/" + "x" * 120, CONTEXT)["admin_socket"] == ""


def test_a_try_finds_healthy_osds_prompt_and_leaves_no_trace(connected):
    client = connected()
    ioctx = client.open_ioctx("rbd")
    ioctx.write_full("there", b"data")
    ioctx.set_xattr("there", "name", b"value")
    pool_id = client.pool_lookup("rbd")

    def everything() -> List[str]:
        ioctx.set_namespace(rados.LIBRADOS_ALL_NSPACES)
        return sorted(f"{found.nspace}/{found.locator_key}/{found.key}" for found in ioctx.list_objects())
    before = everything()

    async def body() -> List[bool]:
        probe = PathProbe(client, "gw1")
        places = [Place(pool_id, "", "", "there"), Place(pool_id, "", "", "absent"),
                  Place(pool_id, "ns", "k", "absent"), Place(999, "", "", "in no pool")]
        return list(await asyncio.gather(*(probe.prompt(place) for place in places * 2)))
    assert asyncio.run(body()) == [True] * 8
    assert everything() == before
    ioctx.set_namespace("")
    assert ioctx.read("there") == b"data" and list(ioctx.get_xattrs("there")) == [("name", b"value")]


async def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited {LIMIT_S:g} s in vain for {what}"
        await asyncio.sleep(0.05)
    return condition()


WAITING = {"tid": 7, "attempts": 1, "osd": 0, "paused": False, "object_id": "data", "object_locator": "@1"}


def test_a_context_that_waits_for_nothing_is_asked_more_seldom_than_one_that_waits(cluster, connected, tmp_path):
    settings = gateway_settings(tmp_path, cluster, name="gw1")
    settings = replace(settings, gateway=replace(settings.gateway, run_dir=str(tmp_path)))
    path = context_requests.socket_path(str(tmp_path), CONTEXT)
    waiting: List[Dict[str, Any]] = []

    async def pauses_s(enough: Callable[[List[float]], bool]) -> List[float]:
        """Between questions, until there are enough."""
        asked_s: List[float] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\0")
            asked_s.append(asyncio.get_running_loop().time())
            text = json.dumps({"ops": waiting}).encode()
            writer.write(struct.pack(">I", len(text)) + text)
            writer.close()

        def found() -> List[float]:
            return [after - before for before, after in zip(asked_s, asked_s[1:])]

        async def prompt(place: Place) -> bool:
            return False
        async with await asyncio.start_unix_server(answer, path):
            watch = StuckWatch(settings, connected(), prompt, lambda: (), lambda: (FIRST, (CONTEXT,)), lambda: None)
            running = asyncio.ensure_future(watch.run())
            await until(lambda: enough(found()), "questions")
            running.cancel()
            await asyncio.wait([running])
        return found()

    assert min(asyncio.run(pauses_s(lambda found: len(found) >= 3))) > 0.99 * LONGEST_PAUSE_S
    waiting.append(WAITING)
    asyncio.run(pauses_s(lambda found: any(pause < 0.75 * LONGEST_PAUSE_S for pause in found)))


@pytest.mark.parametrize("count", [1, CONTEXTS_AT_ONCE, CONTEXTS_AT_ONCE + 1, 32])
def test_each_look_asks_every_context_and_only_a_few_of_them_together(connected, cluster, tmp_path, monkeypatch, count):
    contexts = tuple(f"nvmeof_ha.{number}" for number in range(count))
    asked: List[Tuple[float, str]] = []

    async def listed(_watch: StuckWatch, context: str, delay_s: float) -> None:
        asked.append((delay_s, context))

    async def prompt(place: Place) -> bool:
        return True

    async def body() -> None:
        watch = StuckWatch(gateway_settings(tmp_path, cluster, name="gw1"), connected(), prompt, lambda: (),
                           lambda: (FIRST, contexts), lambda: None)
        running = asyncio.ensure_future(watch.run())
        await until(lambda: len(asked) >= count, "a look")
        running.cancel()
        await asyncio.wait([running])
    monkeypatch.setattr(StuckWatch, "_list", listed)
    asyncio.run(body())
    assert sorted(context for _, context in asked[:count]) == sorted(contexts)
    together = [list(some) for _, some in itertools.groupby(sorted(asked[:count]), key=lambda one: one[0])]
    assert max(map(len, together)) <= CONTEXTS_AT_ONCE and len(together) == math.ceil(count / CONTEXTS_AT_ONCE)
    assert all(0 <= delay_s < LOOK_S for delay_s, _ in asked)


def test_a_host_that_is_cut_off_learns_it_from_another_gateway_and_its_next_target_is_held_back(
        cluster, connected, context, tmp_path):
    settings = {name: gateway_settings(tmp_path, cluster, name=name) for name in ("gw1", "gw2")}
    settings = {name: replace(found, gateway=replace(found.gateway, run_dir=str(tmp_path)))   # where `context` is
                for name, found in settings.items()}
    pool = context.open_ioctx("rbd")
    told: List[str] = []
    mended: List[bool] = []

    async def body() -> None:
        cut_off, well = connected(), connected()
        reached = PathProbe(cut_off, "gw1")

        async def own_client(place: Place) -> bool:
            """Of a host whose network lets nothing through to the data, though it does to the other gateways."""
            if mended:
                return await reached.prompt(place)
            await asyncio.sleep(PROMPT_S)
            return False
        instances = [FIRST]
        one = StuckWatch(settings["gw1"], cut_off, own_client, lambda: SEATS, lambda: (instances[-1], (CONTEXT,)),
                         lambda: told.append(one.why(instances[-1])))
        two = StuckWatch(settings["gw2"], well, PathProbe(well, "gw2").prompt, lambda: SEATS, lambda: (None, ()),
                         lambda: None)
        running = [asyncio.ensure_future(watch.run()) for watch in (one, two)]
        drop_answers_of_osds(tmp_path)
        pool.aio_write_full("data", b"x")
        why = await until(lambda: one.why(FIRST), "the verdict")
        assert "oldest for object data), while gateway gw2 is served promptly there" in why and told == [why]
        assert not one.held_back(FIRST) and one.held_back(SECOND)
        instances.append(SECOND)
        await until(lambda: one.why(FIRST) == "", "the next target to be looked at")
        assert one.why(SECOND) == ""
        mended.append(True)
        await until(lambda: not one.held_back(SECOND), "the host to be trusted again")
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    asyncio.run(body())
    for seat in SEATS:
        control = connected().open_ioctx("rbd")
        control.set_namespace("nvmeof_ha")
        control.remove_object(f"{seat}.witness")
