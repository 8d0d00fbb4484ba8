"""Claims about beacons that tell nothing new: together and cheaply they do what each would have done by itself."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import reduce
from typing import List

import pytest

from nvmeof_ha.core import machine
from nvmeof_ha.core.events import Beacon, BeaconReceived, Confirmation, Outcome, TargetState, Tick, beacons_in
from nvmeof_ha.core.model import Availability, Instance, Phase, Version
from nvmeof_ha.core.pulses import felt, is_pulse
from unit.driven import Driven, address, subsystems
from unit.test_core_rest import SETTLED_S, something


def some_beacons(driven: Driven, rng: random.Random) -> List[Beacon]:
    """Of gateways that are well, but for one thing here and there."""
    committed = driven.state.committed
    assert committed is not None
    found = []
    for name, instance in driven.instances.items():
        driven.sequence += 1
        beacon = Beacon(name, instance, driven.sequence, committed.version, TargetState.SERVING,
                        addresses=frozenset({address(instance)}), digest="d", load=rng.randint(0, 9), connections=rng.randint(0, 3))
        odd = {"sequence": driven.sequence - 9, "instance": rng.choice((None, Instance(name, instance.number + 1, "t"))),
               "gateway": "gw7", "addresses": frozenset({"10.9.9.9:0/1"}), "digest": "e", "stuck": "hangs", "leaving": True,
               "reaped": (instance,), "subsystems": subsystems(1), "version": Version(1, 1), "target": TargetState.STARTING,
               "confirmations": (Confirmation(1, committed.version, Outcome.DECLINED),)}
        what = rng.choice(sorted(odd)) if rng.random() < 0.5 else "load"
        found.append(replace(beacon, **{what: odd.get(what, beacon.load)}))
    return rng.sample(found, len(found))


@pytest.mark.parametrize("seed", range(10))
def test_beacons_of_one_tick_do_what_each_would_have_done_by_itself(seed):
    rng = random.Random(seed)
    driven = Driven()
    driven.create("gw1", "gw2", "gw3")
    driven.wait(SETTLED_S)
    said = set()
    for _ in range(60):
        something(driven, rng)
        state, now, beacons = driven.state, driven.now, some_beacons(driven, rng) + some_beacons(driven, rng)
        for beacon in beacons:
            said.add(is_pulse(state, beacon))
            if is_pulse(state, beacon):
                assert machine.step(state, BeaconReceived(beacon), now) == (felt(state, [beacon], now), ())
        one_by_one = reduce(lambda so_far, beacon: machine._on_beacon(so_far, BeaconReceived(beacon), now)[0], beacons, state)
        assert machine._on_beacons(state, beacons, now) == one_by_one
    assert said == {True, False}


def pulse(driven: Driven, gateway: str, **changes: object) -> Beacon:
    instance = driven.instances[gateway]
    driven.sequence += 1
    return replace(Beacon(gateway, instance, driven.sequence, driven.state.map.version, TargetState.SERVING,
                          addresses=frozenset({address(instance)}), digest="d"), **changes)


def test_what_a_tick_brings_counts_before_silence_is_judged():
    driven = Driven()
    driven.create("gw1", "gw2", "gw3")
    driven.wait(SETTLED_S)
    driven.silent = frozenset({"gw3"})
    suspect_s = driven.state.map.timing.suspect_s
    driven.wait(suspect_s - 0.25)
    driven.now += 0.4
    driven.do(Tick(3, (pulse(driven, "gw3", load=7),)))
    assert driven.state.map.gateway("gw3").availability is Availability.AVAILABLE and driven.state.soft.load["gw3"] == 7


def test_a_mgr_that_was_deaf_forgives_the_others_their_silence_and_takes_what_it_heard():
    driven = Driven()
    driven.create("gw1", "gw2", "gw3")
    driven.wait(SETTLED_S)
    before = driven.state.soft
    driven.now += 60.0
    driven.do(Tick(3, (pulse(driven, "gw3"),)))
    heard = driven.state.soft.heard
    assert heard["gw3"] == driven.now and heard["gw1"] == pytest.approx(before.heard["gw1"] + 60.0)
    assert all(gateway.availability is Availability.AVAILABLE for gateway in driven.state.map.gateways)


def test_what_is_more_than_a_pulse_is_decided_at_once_in_its_turn():
    driven = Driven()
    driven.create("gw1", "gw2")
    driven.wait(SETTLED_S)
    instance = driven.instances["gw1"]
    reaped = Beacon("gw1", None, 0, reaped=(instance,))
    driven.do(Tick(3, (pulse(driven, "gw2", load=5), reaped, pulse(driven, "gw1"))))
    assert driven.state.soft.load["gw2"] == 5 and driven.phase(1) is not Phase.ACTIVE
    assert driven.state.map.current(instance) is None, "its last beacon came after its end, and counts for nothing"


def test_events_tell_which_beacons_they_bring():
    one, two = Beacon("gw1", None, 1), Beacon("gw2", None, 2)
    assert beacons_in(BeaconReceived(one)) == (one,) and beacons_in(Tick(3, (one, two))) == (one, two)
    assert beacons_in(Tick()) == ()
