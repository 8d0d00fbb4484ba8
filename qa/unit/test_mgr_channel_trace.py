"""What the channel prepares for its callback, and the trace of steps."""

from __future__ import annotations

import json
import time

from nvmeof_ha import trace
from nvmeof_ha.channel import AckText, BadBeacons
from nvmeof_ha.core import machine, wire
from nvmeof_ha.core.events import BeaconReceived, CreateGateway
from nvmeof_ha.core.model import Map, Version
from nvmeof_ha.core.timing import Timing

from .samples import BEACON, MAP

ACK = wire.Ack(Version(3, 7), want_full=('gw1',), refused={'gw2': 'it said "driver_age_s":0.0'}, stopping=True)


def test_the_ack_is_what_the_driver_prepared_with_the_age_of_that_moment():
    text = AckText()
    before = time.monotonic()
    text.prepare(ACK)
    later = wire.decode_ack(text.text(before + 2.5))
    assert later._replace(driver_age_s=0.0) == ACK
    assert 2.0 < later.driver_age_s <= 2.5


def test_before_the_first_step_the_ack_names_no_version():
    assert wire.decode_ack(AckText().text(time.monotonic())).version == Version(0, 0)


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


def test_a_step_is_traced_as_one_line_of_json_with_event_version_and_actions():
    state, actions = machine.begin(Map('rbd', 'g1'), (), 5, Timing(), 1.0)
    line = trace.line(CreateGateway(3, 'gw1'), 1.5, state.map.version, actions)
    assert '\n' not in line
    found = json.loads(line)
    assert found['event'] == {'type': 'CreateGateway', 'request_id': 3, 'gateway_id': 'gw1'}
    assert found['version'] == [5, 1] and found['now'] == 1.5
    assert found['actions'][0]['type'] == 'Commit'
    assert wire.decode_map(json.dumps(found['actions'][0]['map'])) == actions[0].map


def test_every_field_of_a_beacon_and_a_map_reaches_the_trace():
    traced = trace.plain(BeaconReceived(BEACON))['beacon']
    assert traced['confirmations'][0]['type'] == 'Confirmation'
    assert set(traced['addresses']) == BEACON.addresses and traced['target'] == 'serving'
    assert trace.plain(MAP) == json.loads(wire.encode_map(MAP))
