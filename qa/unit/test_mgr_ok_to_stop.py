"""`ok-to-stop`: yes only if every ANA group keeps somebody who reaches what is reached now."""

from __future__ import annotations

from typing import Any, Dict

from .driven import GW1, GW2, Driven, ana_group, serving, stored_map, subsystems
from nvmeof_ha import ok_to_stop
from nvmeof_ha.core.events import SetEnabled
from nvmeof_ha.core.model import Phase
from nvmeof_ha.reasons import Known


def outlook(mgr: Driven, *gateways: str) -> Dict[str, Any]:
    assert mgr.state.committed is not None
    return ok_to_stop.outlook(Known(mgr.state.committed, mgr.state.soft, mgr.now), frozenset(gateways))


def group_of(*names: str) -> Driven:
    mgr = Driven()
    mgr.create(*names)
    mgr.wait(12)
    return mgr


def test_one_of_two_may_stop_and_the_other_takes_over():
    found = outlook(group_of("gw1", "gw2"), "gw1")
    assert found == {"ok_to_stop": True, "gateways": ["gw1"], "ana_groups": [
        {"id": 1, "namespaces": 2, "holder": "gw1", "taker": "gw2", "ok": True, "why": ""},
        {"id": 2, "namespaces": 2, "holder": "gw2", "taker": "gw2", "ok": True, "why": ""}]}
    assert ok_to_stop.reason(found) == ""


def test_both_of_two_or_the_last_one_may_not():
    mgr = group_of("gw1", "gw2")
    both = outlook(mgr, "gw1", "gw2")
    assert not both["ok_to_stop"]
    assert ok_to_stop.reason(both) == ("ANA group 1 would have no gateway that can serve it; "
                                     "ANA group 2 would have no gateway that can serve it")
    mgr.do(SetEnabled(9, "gw2", False))
    mgr.wait(1)
    assert not outlook(mgr, "gw1")["ok_to_stop"], "a disabled gateway takes nothing"
    assert outlook(mgr, "gw2")["ok_to_stop"], "it serves nothing any more"


def test_a_group_that_nobody_serves_even_now_says_so():
    mgr = Driven()
    mgr.do(SetEnabled(1, "nobody"))
    found = ok_to_stop.outlook(Known(stored_map((), (ana_group(1),)), mgr.state.soft, mgr.now), frozenset())
    assert ok_to_stop.reason(found) == "ANA group 1 would have no gateway that can serve it, and has none now"


def test_who_reaches_fewer_namespaces_is_no_replacement():
    half = serving(GW2, subsystems=subsystems(1, 2, listeners=()))
    found = stored_map((serving(GW1), half), (ana_group(1, Phase.ACTIVE, GW1),))
    soft = Driven(found).state.soft
    assert ok_to_stop.reason(ok_to_stop.outlook(Known(found, soft, 100.0), frozenset({"gw1"}))) == (
        "gw2 has no listener for some subsystems of ANA group 1")
