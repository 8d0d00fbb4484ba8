"""Each invariant of DESIGN 9 stops a map or a step that breaks it, and names what broke."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core.invariants import InvariantViolated, check_map, check_step
from nvmeof_ha.core.model import Departed, Gateway, Map, Phase, Version

from .driven import GW1, GW2, ana_group, serving, stored_map

P, A, D, U, F = Phase.PROMOTING, Phase.ACTIVE, Phase.DRAINING, Phase.UNSERVED, Phase.FENCING
FENCED = Departed(GW1, frozenset({"a"}), 77)
UNFENCED = Departed(GW1, frozenset({"a"}))
OVER = Gateway("gw1", 1, last_number=1)


def one(group, gw1=serving(GW1), **changes) -> Map:
    return stored_map((gw1, serving(GW2)), (group,), **changes)


BAD_MAPS = [
    ("only an admitted instance serves", one(ana_group(1, A, GW1), OVER)),
    ("only an instance with known addresses serves", one(ana_group(1, P, GW1), serving(GW1, addresses=frozenset()))),
    ("every writer can be fenced: it is current or departed", one(ana_group(1, F, writers=frozenset({GW1})), OVER)),
    ("its addresses are known", one(ana_group(1, F, writers=frozenset({GW1})), OVER, departed=(Departed(GW1),))),
    ("a fenced instance serves nothing", one(ana_group(1, A, GW1), departed=(FENCED,))),
]


@pytest.mark.parametrize("claim, found", BAD_MAPS, ids=[row[0] for row in BAD_MAPS])
def test_a_map_that_breaks_it_is_stopped(claim, found):
    with pytest.raises(InvariantViolated, match=claim):
        check_map(found)


def later(found: Map) -> Map:
    return replace(found, version=Version(1, 8))


BAD_STEPS = [
    ("only grows: 1.7 -> 1.6", one(ana_group(1)), replace(one(ana_group(1)), version=Version(1, 6))),
    ("instance numbers only grow", one(ana_group(1), replace(OVER, last_number=3)), one(ana_group(1), OVER)),
    ("an instance's addresses only grow", one(ana_group(1)), one(ana_group(1), serving(GW1, addresses=frozenset({"x"})))),
    ("an ANA group that may be written is not removed", one(ana_group(1, A, GW1)), stored_map((serving(GW1),), ())),
    ("a fence stays what it was", one(ana_group(1), OVER, departed=(FENCED,)),
     one(ana_group(1), OVER, departed=(replace(FENCED, osd_epoch=80),))),
    ("a phase changes only along the table", one(ana_group(1)), one(ana_group(1, A, GW1))),
    ("a phase changes only along the table", one(ana_group(1, F, writers=frozenset({GW1})), OVER),
     one(ana_group(1, A, GW2))),
    ("the barrier's osd_epoch only grows", one(ana_group(1, osd_epoch=5)), one(ana_group(1, osd_epoch=4))),
    ("a phase's commit only grows", one(ana_group(1)), one(ana_group(1, since=Version(1, 1)))),
    ("leaves only fenced, and the barrier covers", one(ana_group(1, F, writers=frozenset({GW1})), OVER),
     one(ana_group(1), OVER, departed=(UNFENCED,))),
    ("leaves only fenced, and the barrier covers", one(ana_group(1, F, writers=frozenset({GW1})), OVER),
     one(ana_group(1, osd_epoch=76), OVER, departed=(FENCED,))),
    ("a writer that lives leaves only by drain or decline", one(ana_group(1, A, GW1)),
     one(ana_group(1, F, writers=frozenset({GW2})))),
    ("a writer that lives leaves only by drain or decline", one(ana_group(1, D, GW1)), one(ana_group(1), OVER)),
    ("an instance begins to serve by promotion", one(ana_group(1, D, GW1)), one(ana_group(1, D, GW2))),
]


@pytest.mark.parametrize("claim, old, new", BAD_STEPS, ids=[f"{n}: {row[0]}" for n, row in enumerate(BAD_STEPS)])
def test_a_step_that_breaks_it_is_stopped(claim, old, new):
    with pytest.raises(InvariantViolated, match=claim):
        check_step(old, new)


GOOD_STEPS = [
    ("promotion", one(ana_group(1)), later(one(ana_group(1, P, GW1)))),
    ("confirmation", one(ana_group(1, P, GW1)), later(one(ana_group(1, A, GW1)))),
    ("decline and on", one(ana_group(1, P, GW1)), later(one(ana_group(1, P, GW2)))),
    ("drained and on", one(ana_group(1, D, GW1)), later(one(ana_group(1, P, GW2)))),
    ("fenced", one(ana_group(1, F, writers=frozenset({GW1})), OVER, departed=(UNFENCED,)),
     later(one(ana_group(1, osd_epoch=77), OVER, departed=(FENCED,)))),
    ("departed and pruned", one(ana_group(1), OVER, departed=(FENCED,)), later(one(ana_group(1), OVER))),
    ("removed", one(ana_group(1)), later(stored_map((serving(GW2),), ()))),
]


@pytest.mark.parametrize("old, new", [row[1:] for row in GOOD_STEPS], ids=[row[0] for row in GOOD_STEPS])
def test_what_the_design_allows_passes(old, new):
    check_map(old)
    check_map(new)
    check_step(old, new)
