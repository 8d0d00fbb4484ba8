"""A defect that is put into the core is found, and its path is a scenario file that shows it and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nvmeof_ha.core import gateway, machine, register
from nvmeof_ha.core.model import Availability
from nvmeof_ha.core.register import View
from scenarios.language import play

from .figures import explore
from .paths import HOLDS, steps
from .scopes import Scope
from .world import Budget, Violation


def no_w(state, known, judged, now):
    """A suspect is over at once, whether or not its lease may last."""
    if known.availability is Availability.SUSPECT and known.instance is not None:
        return machine._depart(state, known.instance, now)
    return _settle_gateway(state, known, judged, now)


def one_seat_permits(answers, floor=register.NO_VERSION):
    view = _judge(answers, floor)
    return view if view.permits is not None or not view.restricts else View(view.restricts[0], view.restricts, floor)


def no_barrier(view, instance, lease_valid, target):
    return _plan(view, instance, lease_valid, replace(target, passed_osd_epoch=1000))


def never_retried(state, event, now):
    """A fence that failed is asked for no more."""
    return state, ()


def first_claimed_seat(maps, claimed):
    return next(maps[seat] for seat in claimed if seat in maps)


_settle_gateway, _judge, _plan = machine._settle_gateway, register.judge, gateway.plan

DEFECTS = [
    (machine, "_settle_gateway", no_w, "a gateway is cut off, anybody is late"),
    (gateway, "plan", no_barrier, "a target dies and the mgr is replaced"),
    (register, "judge", one_seat_permits, "register: a mgr and a reader"),
    (register, "adopt", first_claimed_seat, "register: two mgrs"),
]


@pytest.mark.parametrize("module, name, defect, scope", DEFECTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_defect_is_found_and_told_as_a_scenario(monkeypatch, module, name, defect, scope):
    monkeypatch.setattr(module, name, defect)
    violation = explore(scope).violation
    assert violation, "the defect was not noticed"
    text = steps(violation)
    assert HOLDS in text and "VIOLATED" in play(text)
    monkeypatch.undo()
    assert "VIOLATED" not in play(text), "without the defect, the path keeps every invariant or is barred"


def test_a_fence_that_is_not_asked_for_again_never_heals(monkeypatch):
    monkeypatch.setitem(machine._HANDLERS, machine.FenceFailed, never_retried)
    with pytest.raises(Violation, match="not healed") as raised:
        Scope("a fence fails", 2, 1, Budget(crashes=1, fence_failures=1), 0).explore()
    text = steps(str(raised.value))
    assert "not healed" in play(text)
    monkeypatch.undo()
    assert play(text) == text
