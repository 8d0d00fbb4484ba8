"""Claims about what is stored of moves, and who may end one; that the protocol holds is the layer explore's claim."""
from __future__ import annotations

import json

import pytest

from gw_agent import move_words, moves
from gw_agent.moves import Held, Move, Said, Verdict
from nvmeof_ha_core.model import AnaGroup, Availability, Departed, Gateway, Instance, Map, Phase

NQN = "nqn.2016-06.io.spdk:n"
NAMESPACE = moves.namespace_key(NQN, 1)
MOVE = Move(NQN, 1, 1, 2, 8, "gw1")


def omap(**more):
    value = {"subsystem_nqn": NQN, "nsid": 1, "anagrpid": 1, "block_size": 512}
    return {"omap_version": "8", NAMESPACE: json.dumps(value), **more}


def asked():
    return omap(**moves.ask(7, (NQN, 1), 1, 2, "gw1").sets)


def after(before, edit):
    return {key: value for key, value in {**before, **edit.sets}.items() if key not in edit.removes}


def instance(gateway):
    return Instance(gateway, 1, "t")


def gateway_map(phase=Phase.ACTIVE, availability=Availability.AVAILABLE, departed=()):
    gateways = tuple(Gateway(f"gw{n}", n, availability=availability if n == 2 else Availability.AVAILABLE,
                             instance=instance(f"gw{n}"), last_number=1) for n in (1, 2))
    holders = {Phase.ACTIVE: {"holder": instance("gw1"), "writers": frozenset({instance("gw1")})}}
    groups = (AnaGroup(1, "gw1", phase, osd_epoch=5, **holders.get(phase, {})), AnaGroup(2, "gw2", Phase.ACTIVE,
              holder=instance("gw2"), writers=frozenset({instance("gw2")})))
    return Map("rbd", "g1", gateways=gateways, ana_groups=groups, departed=departed, osd_epoch_floor=3)


def test_a_record_is_read_as_it_was_stored():
    assert moves.stored_moves(asked()) == ((MOVE,), ())


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"subsystem_nqn": 1, "nsid": 1, "origin": 1, "anagrpid": 2, "version": 8, "gateway": "gw1"}',
    asked()[moves.move_key(NQN, 1)].replace('"nsid": 1', '"nsid": true')])
def test_a_record_that_cannot_be_read_means_nothing(text):
    key = moves.move_key(NQN, 1)
    assert moves.stored_moves(omap(**{key: text})) == ((), (key,))


def test_what_is_left_of_a_namespace_that_is_gone_means_nothing():
    left = {moves.move_key(NQN, 1): asked()[moves.move_key(NQN, 1)], moves.agreed_key(NQN, 1): "2"}
    assert moves.stored_moves(left) == ((), (moves.agreed_key(NQN, 1), moves.move_key(NQN, 1)))
    assert moves.completion(left, MOVE, 0) is None and moves.taking_back(left, MOVE) is None


def test_a_completed_move_changes_the_group_alone_and_keeps_the_highest_fence():
    done = after(asked(), moves.completion(asked(), MOVE, 9))
    assert json.loads(done[NAMESPACE]) == {**json.loads(omap()[NAMESPACE]), "anagrpid": 2}
    assert moves.stored_moves(done) == ((), ()) and moves.agreed_groups(done) == {(NQN, 1): 2}
    assert moves.stored_fence(done) == 9
    assert moves.FENCE_KEY not in moves.completion({**asked(), moves.FENCE_KEY: "9"}, MOVE, 8).sets


def test_a_move_that_is_taken_back_leaves_the_group_that_was():
    back = after(asked(), moves.taking_back(asked(), MOVE))
    assert json.loads(back[NAMESPACE])["anagrpid"] == 1 and moves.agreed_groups(back) == {(NQN, 1): 1}


def test_another_record_of_the_same_namespace_is_not_ended():
    other = MOVE._replace(version=12)
    assert moves.completion(asked(), other, 0) is None and moves.taking_back(asked(), other) is None


def test_a_subsystem_for_as_few_namespaces_as_there_may_be_gateways_has_no_limbo():
    assert moves.limbo(33) is None and moves.limbo(34) == 34 and moves.unused(34) == 33
    assert moves.group_to_show(2, None, None, False, 1) == 1, "what others changed is not followed there either"


def test_everybody_in_the_map_must_hold_it_and_whoever_is_over_must_be_fenced():
    held = frozenset({Held(NQN, 1, 8)})
    said = {g: Said(instance(g), held) for g in ("gw1", "gw2")}
    assert moves.outlook(gateway_map(), MOVE, said) == moves.Outlook((), 5)
    assert len(moves.outlook(gateway_map(), MOVE, {"gw1": said["gw1"]}).waits_for) == 1
    over = Departed(Instance("gw3", 1, "t"), frozenset({"a"}))
    assert len(moves.outlook(gateway_map(departed=(over,)), MOVE, said).waits_for) == 1
    fenced = Departed(over.instance, over.addresses, 11)
    assert moves.outlook(gateway_map(departed=(fenced,)), MOVE, said) == moves.Outlook((), 11)


def test_who_was_asked_ends_a_move_and_the_others_later_one_after_the_other():
    found = moves.Outlook(("gw2",))
    assert [moves.delay_s(gateway_map(), g, False) for g in ("gw1", "gw2", "gw3")] == [1.0, 2.0, None]
    assert moves.delay_s(None, "gw1", True) == 0.0
    assert moves.verdict(gateway_map(), MOVE, moves.Outlook(()), 0.5, 1.0) is Verdict.WAIT
    assert moves.verdict(gateway_map(), MOVE, moves.Outlook(()), 1.0, 1.0) is Verdict.COMPLETE
    assert moves.verdict(gateway_map(), MOVE, found, moves.LIMIT_S, 1.0) is Verdict.WAIT
    assert moves.verdict(gateway_map(), MOVE, found, moves.LIMIT_S + 1.0, 1.0) is Verdict.TAKE_BACK
    assert moves.verdict(gateway_map(), MOVE._replace(to=3), found, 0.0, 0.0) is Verdict.TAKE_BACK


def test_no_move_begins_while_something_is_not_well():
    assert moves.unsettled(gateway_map()) is None
    assert "UNSERVED" in moves.unsettled(gateway_map(Phase.UNSERVED))
    assert "SUSPECT" in moves.unsettled(gateway_map(availability=Availability.SUSPECT))
    over = Departed(Instance("gw3", 1, "t"), frozenset({"a"}))
    assert "not fenced" in moves.unsettled(gateway_map(departed=(over,)))


def test_what_an_agent_says_is_read_as_it_was_said_and_anything_else_is_nothing():
    said = Said(instance("gw1"), frozenset({Held(NQN, 1, 8)}))
    assert move_words.decode(move_words.encode(said)) == said
    assert [move_words.decode(text) for text in ("", "7", "{}", '{"instance": {}, "held": []}')] == [None] * 4
