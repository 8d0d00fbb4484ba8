"""Claims about the messages between warden and agent."""
from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, List

from gw_agent.pulse import Pulse
from gw_agent.trace import NoTrace
from gw_agent.warden_client import WardenClient
from gw_agent.warden_link import MAPS_REMEMBERED, Lines, SeatsReceiver, SeatsSender, Status, encode
from nvmeof_ha_core.model import Gateway, Instance, Map, Version
from nvmeof_ha_core.wire import encode_map


def stored(epoch: int) -> bytes:
    return encode_map(Map("rbd", "g1", Version(1, epoch), (Gateway("gw1", 1),)))


def delivered(receiver: SeatsReceiver, data: bytes) -> List[Any]:
    reads = []
    for message in Lines().feed(data):
        if message["say"] == "map":
            receiver.take_map(message)
        else:
            reads.append(receiver.read(message))
    return reads


def test_a_read_arrives_with_its_send_time_and_each_seats_map() -> None:
    (sent_s, maps), = delivered(SeatsReceiver(), SeatsSender().encode(12.5, [stored(1), None, stored(2)]))
    assert sent_s == 12.5
    assert [m and m.version.epoch for m in maps] == [1, None, 2]


def test_a_map_is_sent_once() -> None:
    sender = SeatsSender()
    first, second = (sender.encode(at, [stored(1)] * 3) for at in (1.0, 2.0))
    assert len(first.splitlines()) == 2 and len(second.splitlines()) == 1
    assert len(second) < 100


def test_maps_that_were_forgotten_are_sent_again() -> None:
    sender, receiver = SeatsSender(), SeatsReceiver()
    for epoch in list(range(1, 5 * MAPS_REMEMBERED)) + [1]:
        (_, maps), = delivered(receiver, sender.encode(0.0, [stored(epoch)] * 3))
        assert maps[0].version.epoch == epoch


def test_messages_may_be_cut_anywhere() -> None:
    data, lines, found = SeatsSender().encode(1.0, [stored(1)] * 3), Lines(), []
    for n in range(len(data)):
        found += lines.feed(data[n:n + 1])
    assert [message["say"] for message in found] == ["map", "seats"]


def test_a_status_survives_the_way() -> None:
    mine = Instance("gw1", 2, "t")
    for status in (Status(), Status(mine, 7, (Instance("gw1", 1, "s"),), True)):
        assert Status.decode(json.loads(status.encode())) == status


def test_who_was_busy_misses_no_beat() -> None:
    async def body() -> None:
        pulse = Pulse()
        seen = pulse.count
        pulse.beat()
        assert await pulse.after(seen, 0)
        assert not await pulse.after(pulse.count, 0.01)
        waiting = [asyncio.ensure_future(pulse.after(pulse.count)) for _ in range(2)]
        await asyncio.sleep(0)
        pulse.beat()
        assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [True, True]
    asyncio.run(body())


def test_a_warden_that_says_nothing_is_silent_until_it_says_anything() -> None:
    async def body() -> None:
        ours, theirs = socket.socketpair()
        client = WardenClient(Pulse(), NoTrace())
        running = asyncio.ensure_future(client.run(theirs))
        try:
            assert not client.silent
            client.heard_s -= client.timing.suspect_s
            assert client.silent
            await asyncio.get_running_loop().run_in_executor(None, ours.sendall, encode("alive"))
            while client.silent:
                await asyncio.sleep(0)
        finally:
            running.cancel()
            await asyncio.wait([running])
            ours.close()
    asyncio.run(asyncio.wait_for(body(), 10))
