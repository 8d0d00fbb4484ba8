"""What the module keeps in the mon KV store, and what it makes of damaged values."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from nvmeof_ha import kv_records
from nvmeof_ha.core import wire
from nvmeof_ha.core.model import Gateway, Version
from nvmeof_ha.kv_records import GroupKey, GroupRecord, RecordError, Records

from .samples import MAP

KEY = GroupKey('rbd', 'g1')


def test_a_group_record_is_read_back_as_it_was_written():
    record = GroupRecord(kv_records.CREATED, 'control', ('a', 'b', 'c'))
    assert kv_records.decode_group('k', kv_records.encode_group(record)) == record


@pytest.mark.parametrize('value', ['', '{', '[]', '{"format": 1}', '{"format": 2, "state": "created", "control_pool": '
                                   '"", "seats": []}', '{"format": 1, "state": "created", "control_pool": "", '
                                   '"seats": ["a"]}'])
def test_a_group_record_that_cannot_be_used_is_refused_by_the_name_of_its_key(value):
    with pytest.raises(RecordError, match='mgr/nvmeof_ha/group/rbd/g1'):
        kv_records.decode_group(KEY.record_key, value)


def large_map():
    """More than one shard: random names do not compress."""
    random.seed(1)
    departed = tuple(replace(d, addresses=frozenset(f'192.0.2.1:0/{random.getrandbits(31)}' for _ in range(9000)))
                     for d in MAP.departed)
    return replace(MAP, departed=departed)


@pytest.mark.parametrize('gateway_map', [MAP, large_map()], ids=['small', 'large'])
def test_a_map_copy_is_read_back_and_every_value_fits_the_store(gateway_map):
    values = kv_records.encode_map_copy(gateway_map)
    assert all(len(value) < 65536 for value in values)
    assert kv_records.decode_map_copy(dict(enumerate(values))) == gateway_map


def test_shards_of_two_commits_are_not_mixed():
    values = dict(enumerate(kv_records.encode_map_copy(large_map())))
    assert len(values) > 1
    newer = kv_records.encode_map_copy(replace(large_map(), version=Version(99, 1)))
    assert kv_records.decode_map_copy({**values, 0: newer[0]}) is None


def test_a_shard_left_over_from_a_larger_map_is_ignored():
    values = dict(enumerate(kv_records.encode_map_copy(MAP)))
    assert kv_records.decode_map_copy({**values, 1: 'anything'}) == MAP


@pytest.mark.parametrize('values', [{}, {0: ''}, {0: '1.2 0/1 !'}, {0: '1.2 0/1 ' + 'A' * 40}, {0: '1.2 x y'}])
def test_a_damaged_copy_is_no_copy(values):
    assert kv_records.decode_map_copy(values) is None


def test_records_are_found_by_group_and_a_damaged_one_is_named_and_skipped():
    good = wire.GatewayRecord(Gateway('gw1', 1, location='row'))
    other = GroupKey('rbd', 'g1x')
    records = Records({KEY.record_key: kv_records.encode_group(GroupRecord()),
                       other.record_key: kv_records.encode_group(GroupRecord()),
                       KEY.gateway_key('gw1'): wire.encode_gateway_record(good),
                       KEY.gateway_key('gw2'): '{"format":1}',
                       other.gateway_key('gw9'): wire.encode_gateway_record(wire.GatewayRecord(Gateway('gw9', 1))),
                       'something/else': 'x'})
    assert records.groups() == [KEY, other]
    gateways, problems = records.gateways(KEY)
    assert gateways == (good,)
    assert len(problems) == 1 and 'mgr/nvmeof_ha/gw/rbd/g1/gw2' in problems[0]


def test_what_the_store_took_is_seen_at_once():
    records = Records({})
    assert records.group(KEY) is None
    records.note(KEY.record_key, kv_records.encode_group(GroupRecord()))
    records.note(KEY.map_key(0), kv_records.encode_map_copy(MAP)[0])
    assert records.group(KEY) == GroupRecord() and records.map_copy(KEY) == MAP
    assert records.keys_of(KEY) == [KEY.map_key(0), KEY.record_key]
    records.note(KEY.record_key, None)
    assert records.group(KEY) is None


def test_what_the_store_may_have_taken_goes_with_its_group_though_nobody_took_the_answer():
    records, issued = Records({}), []
    mon = type('Mon', (), {'issue': lambda _self, command, done: issued.append(command)})()
    writer = kv_records.KvWriter(mon, records, lambda call: call(), lambda: False, lambda: 100.0)
    writer.write(KEY.map_key(0), 'copy')
    assert issued and records.keys_of(KEY) == [KEY.map_key(0), KEY.record_key]
    records.note(KEY.map_key(0), None)
    assert records.keys_of(KEY) == [KEY.record_key]
