"""Claims about silence and about who should serve an ANA group."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core.detector import Silence, deaf_s, forgive, silence
from nvmeof_ha.core.model import Availability, Gateway, Phase, Subsystem
from nvmeof_ha.core.placement import better, choose, covered, failback_due_s, lacking_listeners, ready
from nvmeof_ha.core.timing import Timing

from .driven import GW1, GW2, GW3, ana_group, serving, stored_map, subsystems

T = Timing()
NOTHING: dict = {}
EMPTY = stored_map((), ())


# ---- silence ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("ago_s, silent, mass", [
    ({"a": 1.4}, set(), False),
    ({"a": 1.5}, {"a"}, False),
    ({"a": 1.5, "b": 0.1}, {"a"}, False),
    ({"a": 1.6, "b": 1.3}, set(), True),
    ({"a": 1.6, "b": 1.3, "c": 0.1, "d": 0.1}, {"a"}, False),
    ({"a": 1.6, "b": 1.3, "c": 0.1}, set(), True),
    ({"a": 3.0, "b": 1.3}, {"a"}, True),
    ({}, set(), False),
])
def test_silence_is_suspected_after_suspect_s_and_after_twice_that_when_most_fade_together(ago_s, silent, mass):
    heard = {gateway: 100.0 - ago for gateway, ago in ago_s.items()}
    assert silence(heard, T, 100.0) == Silence(frozenset(silent), mass)


def test_time_that_was_slept_through_or_spent_deaf_does_not_count():
    assert deaf_s(100.0, 100.1, 3, T) == 0.0
    assert deaf_s(100.0, 100.6, 3, T) == pytest.approx(0.6)
    assert deaf_s(100.0, 100.1, 1, T) == pytest.approx(0.1)
    assert deaf_s(100.0, 100.1, 2, T) == 0.0, "two seats are heard often enough"


def test_forgiven_time_never_reaches_into_the_future():
    assert forgive({"a": 99.0, "b": 99.9}, 0.5, 100.0) == {"a": 99.5, "b": 100.0}


# ---- placement ----------------------------------------------------------------------------------------------------

def stored(*gateways: Gateway) -> dict:
    return {g.id: g for g in gateways}


def chosen(gateways, group=ana_group(1), load=NOTHING, groups=(), **bars):
    found = stored_map(tuple(gateways), (group, *groups))
    choice = choose(found, group, stored(*gateways), load, **bars)
    return None if choice is None else choice.id


UNREADY = [("created", {"availability": Availability.CREATED}), ("suspect", {"availability": Availability.SUSPECT}),
           ("disabled", {"enabled": False}), ("deleting", {"deleting": True}), ("leaving", {"leaving": True}),
           ("without addresses", {"addresses": frozenset()})]


@pytest.mark.parametrize("changes", [row[1] for row in UNREADY], ids=[row[0] for row in UNREADY])
def test_a_gateway_that_is_not_well_or_not_wanted_gets_nothing(changes):
    gateway = serving(GW1, **changes)
    assert not ready(EMPTY, gateway, stored(gateway))
    assert chosen([gateway]) is None


def test_a_gateway_whose_present_addresses_the_kv_store_does_not_hold_gets_nothing():
    gateway = serving(GW1, addresses=frozenset({"a", "b"}))
    assert not ready(EMPTY, gateway, {})
    assert not ready(EMPTY, gateway, stored(replace(gateway, addresses=frozenset({"a"}))))
    assert not ready(EMPTY, gateway, stored(replace(gateway, instance=GW1._replace(token="other"))))
    assert ready(EMPTY, gateway, stored(replace(gateway, addresses=frozenset({"a", "b", "c"}))))


def test_the_owner_comes_first_even_when_loaded():
    assert chosen([serving(GW1), serving(GW2)], load={"gw1": 10 ** 6}) == "gw1"
    assert chosen([serving(GW1), serving(GW2)], ana_group(2)) == "gw2"


def test_a_gateway_lacks_listeners_where_any_gateway_reports_namespaces():
    deaf = serving(GW1, subsystems=subsystems(1, listeners=()))
    both = stored_map((deaf, serving(GW2)), ())
    assert lacking_listeners(both, deaf) == [subsystems()[0].nqn] and lacking_listeners(both, serving(GW2)) == []
    empty = serving(GW1, subsystems=(Subsystem("nqn.2016-06.io.spdk:b", (), ((1, 0),)),))
    assert lacking_listeners(stored_map((empty,), ()), empty) == [], "nobody needs a listener where nothing is"


def test_who_reaches_more_namespaces_comes_before_the_owner():
    deaf = serving(GW1, subsystems=subsystems(1, 2, listeners=()))
    assert covered(stored_map((deaf, serving(GW2)), ()), deaf, 1) == (False, 0)
    assert chosen([deaf, serving(GW2)]) == "gw2"
    assert chosen([deaf]) == "gw1", "an incomplete one is better than none"


def test_of_two_incomplete_gateways_the_one_that_reaches_more_is_taken():
    many, few = Subsystem("nqn.many", (), ((1, 9),)), Subsystem("nqn.few", (), ((1, 1),))
    first = serving(GW1, subsystems=(many, replace(few, listeners=("a:1",))))
    second = serving(GW2, subsystems=(few, replace(many, listeners=("b:1",))))
    assert chosen([first, second]) == "gw2"
    assert better(stored_map((first, second), ()), ana_group(1), second, first)
    assert not better(stored_map((first, second), ()), ana_group(1), first, second)


def test_a_gateway_lost_lately_is_taken_only_if_nobody_else_covers_as_much():
    assert chosen([serving(GW1), serving(GW2)], shaky=frozenset({"gw1"})) == "gw2"
    assert chosen([serving(GW1)], shaky=frozenset({"gw1"})) == "gw1"


def test_a_gateway_that_just_failed_to_take_the_group_is_barred():
    assert chosen([serving(GW1), serving(GW2)], barred=frozenset({"gw1"})) == "gw2"
    assert chosen([serving(GW1)], barred=frozenset({"gw1"})) is None


def test_without_the_owner_its_location_then_least_load_then_the_id_decide():
    down = Gateway("gw1", 1, location="row-a")
    assert chosen([down, serving(GW2), serving(GW3, location="row-a")]) == "gw3"
    held = ana_group(2, Phase.ACTIVE, GW2)
    assert chosen([serving(GW2), serving(GW3)], groups=[held]) == "gw3", "gw2 holds namespaces already"
    assert chosen([serving(GW2), serving(GW3)], load={"gw2": 5, "gw3": 4}) == "gw3"
    assert chosen([serving(GW2), serving(GW3)]) == "gw2"


def test_what_a_gateway_holds_of_the_group_itself_is_no_load():
    group = ana_group(2, Phase.ACTIVE, GW3, owner="gone")
    assert chosen([serving(GW2), serving(GW3)], group, load={"gw2": 1}) == "gw3"


@pytest.mark.parametrize("flaps, doubling, due_s", [
    ([], True, 110), ([990], True, 110), ([980, 990], True, 120), ([970, 980, 990], True, 140),
    ([970, 980, 990], False, 110), ([300, 990], True, 110), (list(range(900, 1000)), True, 700)],
    ids=["never", "once", "twice", "thrice", "no doubling", "long ago", "capped"])
def test_failback_waits_longer_with_every_flap_within_ten_minutes(flaps, doubling, due_s):
    assert failback_due_s(10, 100, flaps, 1000, doubling) == due_s


def test_a_delay_above_the_cap_is_kept_as_the_operator_set_it():
    assert failback_due_s(900, 100, [990, 995], 1000, True) == 1000
