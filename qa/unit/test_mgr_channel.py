"""What the channel prepares for its callback."""

from __future__ import annotations

from nvmeof_ha.channel import AckText, BadBeacons
from nvmeof_ha.core import wire
from nvmeof_ha.core.model import Version

ACK = wire.Ack(Version(3, 7), want_full=('gw1',), refused={'gw2': 'it said "driver_age_s":0.0'}, stopping=True)


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
