"""What the channel prepares for its callback."""

from __future__ import annotations

from typing import Any, List

from nvmeof_ha.channel import CANARY, AckText, BadBeacons, Channel, Heard
from nvmeof_ha.core import wire
from nvmeof_ha.core.model import Version

ACK = wire.Ack(Version(3, 7), want_full=('gw1',), refused={'gw2': 'it said "driver_age_s":0.0'}, stopping=True)


class Watched:
    polled = 0

    def poll(self) -> None:
        self.polled += 1


class Notifications:
    """Takes note of canaries; they never end."""

    def __init__(self) -> None:
        self.sent: List[str] = []
        self.watches: List[Watched] = []

    def watch(self, *_arguments: Any) -> Watched:
        self.watches.append(Watched())
        return self.watches[-1]

    def notify(self, _place: Any, name: str, text: str, _timeout_ms: int, _ended: Any) -> None:
        assert text.encode() == CANARY
        self.sent.append(name)


def test_a_seat_is_green_for_whatever_was_heard_there_and_a_canary_goes_where_nothing_was():
    now, io = [100.0], Notifications()
    channel = Channel(io, None, ('s0', 's1', 's2'), 'wake', lambda: now[0])
    channel.poll(0.5)
    assert [watch.polled for watch in io.watches] == [1, 1, 1]
    assert io.sent == ['s0', 's1', 's2'] and channel.green_seats() == 0
    assert channel.is_canary(Heard(0, 1, CANARY)) and not channel.is_canary(Heard(1, 2, b'{"a": "beacon"}'))
    assert channel.green_seats() == 2
    for _ in range(10):
        now[0] += 0.1
        channel.is_canary(Heard(1, 2, b'anything'))
        channel.poll(0.5)
    assert set(io.sent[3:]) == {'s0', 's2'} and len(io.sent) <= 3 + 2 * 3
    now[0] += 0.2
    assert channel.green_seats() == 1, "a seat that was heard 1.2 s ago is red"


def test_the_ack_is_what_the_driver_prepared_with_the_age_of_that_moment():
    now = [100.0]
    text = AckText(lambda: now[0])
    text.prepare(ACK)
    now[0] += 2.5
    later = wire.decode_ack(text.text())
    assert later._replace(driver_age_s=0.0) == ACK
    assert later.driver_age_s == 2.5


def test_before_the_first_step_the_ack_names_no_version():
    assert wire.decode_ack(AckText().text()).version == Version(0, 0)


def test_a_bad_beacon_is_news_once_for_each_sender_and_reason():
    bad = BadBeacons()
    assert [bad.note(7, 'not JSON'), bad.note(7, 'not JSON'), bad.note(8, 'not JSON'), bad.note(7, 'format 0')] == [
        True, False, True, True]
    assert bad.recent() == {'client.8': 'not JSON', 'client.7': 'format 0'}


def test_a_flood_of_senders_keeps_only_the_last_ones():
    bad = BadBeacons()
    for sender in range(100):
        bad.note(sender, 'not JSON')
    assert list(bad.recent()) == [f'client.{n}' for n in range(100 - BadBeacons.KEPT, 100)]
