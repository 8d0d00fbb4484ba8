"""`fences` puts together what the blocklist, the map and the history know of one instance."""

from __future__ import annotations

from .driven import GW1, GW2, address, stored_map
from nvmeof_ha import fences
from nvmeof_ha.core.model import Departed, Instance
from nvmeof_ha.core.soft import Soft
from nvmeof_ha.transitions import FenceNote, Kind, Mark, Transition

UNTIL = "2026-01-02T03:04:05.000000+0000"
LOST = Transition(4, Kind.FAILOVER, 2, 1700000000.0, str(GW1), str(GW2), "gw1 was silent for 1.50 s",
                  marks=(Mark("heard", 0.0),), fences=(FenceNote(str(GW1), (address(GW1),), 71),))


def test_a_fenced_instance_is_shown_with_its_failover_until_its_entry_expires():
    listed = fences.blocklist({"blocklist": {"v1:" + address(GW1): UNTIL, "10.9.9.9:0/1": UNTIL}})
    found = stored_map((), (), departed=(Departed(GW1, frozenset({address(GW1)}), 71),))
    assert fences.of_group(found, None, (LOST,), listed) == [{
        "instance": "gw1#1:aa", "gateway": "gw1", "addresses": [{"address": "10.0.0.1:0/1", "until": UNTIL}],
        "osd_epoch": 71, "cause": "gw1 was silent for 1.50 s", "lost_at": "2023-11-14T22:13:20.000Z", "anagrp_ids": [2],
        "transitions": [4], "problem": ""}]
    assert fences.of_group(found, None, (LOST,), {}) == [], "expired"


def test_the_history_remembers_instances_that_the_map_has_forgotten():
    shown, = fences.of_group(None, None, (LOST,), {address(GW1): UNTIL})
    assert shown["instance"] == "gw1#1:aa" and fences.rows([shown]).splitlines()[1] == (
        "gw1#1:aa  1          2026-01-02T03:04:05.000000+0000  71         2023-11-14T22:13:20.000Z  2           "
        "gw1 was silent for 1.50 s")


def test_what_is_not_fenced_yet_says_why_and_an_orderly_exit_is_no_fence():
    found = stored_map((), (), departed=(Departed(GW1, frozenset({address(GW1)})), Departed(Instance("gw3", 1, "c"))))
    shown, = fences.of_group(found, Soft(fence_errors={GW1: "no quorum"}), (), {})
    assert (shown["osd_epoch"], shown["problem"], shown["cause"], shown["lost_at"]) == (None, "no quorum", "", None)
    assert "NOT LISTED" in fences.rows([shown]) and fences.rows([shown]).endswith("NOT FENCED: no quorum\n")
    assert fences.of_group(found, None, (), {})[0]["problem"] == "it is being fenced"
