"""Claims about what a driver keeps of beacons beside what its core decides by."""

from __future__ import annotations

import logging

from nvmeof_ha.channel import Heard
from nvmeof_ha.core import wire
from nvmeof_ha.core.events import Beacon, Notes
from nvmeof_ha.hearing import Hearing, Said
from nvmeof_ha.kv_records import GroupKey

KEY = GroupKey('rbd', 'g1')


def heard(gateway: str, **notes: object) -> Heard:
    return Heard(0, 7, wire.encode_beacon(Beacon(gateway, None, 1, load=5, exposed=('open',), notes=Notes(**notes))))


def test_the_last_words_of_the_groups_gateways_are_kept_and_no_others():
    hearing = Hearing(KEY, logging.getLogger('test'), lambda: 1.0)
    assert hearing.beacon(heard('gw1', release='1')).gateway == 'gw1'
    hearing.beacon(heard('stranger'))
    hearing.beacon(heard('gw1', release='2'))
    assert hearing.said(['gw1', 'gw2']) == {'gw1': Said(Notes('2'), 5, ('open',))}
    assert set(hearing.said(['stranger'])) == set(), 'forgotten'


def test_what_was_published_is_never_changed():
    hearing = Hearing(KEY, logging.getLogger('test'), lambda: 1.0)
    hearing.beacon(heard('gw1'))
    published = hearing.said(['gw1', 'gw2'])
    hearing.beacon(heard('gw2'))
    assert set(published) == {'gw1'}


def test_only_repairs_that_are_heard_to_be_added_are_dated():
    now = [10.0]
    hearing = Hearing(KEY, logging.getLogger('test'), lambda: now[0])
    for at, repairs, dated in ((10.0, 3, None), (11.0, 3, None), (12.0, 4, 12.0), (13.0, 4, 12.0), (14.0, 0, 12.0),
                               (15.0, 1, 15.0)):
        now[0] = at
        hearing.beacon(heard('gw1', ana_repairs=repairs))
        assert hearing.said(['gw1'])['gw1'].repaired_at == dated


def test_a_beacon_that_cannot_be_used_is_told_with_its_sender_and_logged_once(caplog):
    hearing = Hearing(KEY, logging.getLogger('test'), lambda: 1.0)
    with caplog.at_level(logging.WARNING):
        assert [hearing.beacon(Heard(0, 7, b'garbage')) for _ in range(3)] == [None] * 3
    assert list(hearing.refused()) == ['client.7'] and len(caplog.records) == 1
    assert hearing.said(['gw1']) == {}
