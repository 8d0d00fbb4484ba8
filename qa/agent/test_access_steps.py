"""Claims about who is shown a namespace, on a target that can change that in use; the steps alone, nothing runs."""
from __future__ import annotations

from types import MappingProxyType

import pytest

from gw_agent import access_steps
from gw_agent.configuration import Namespace, QosLimits, Subsystem
from gw_agent.target_state import FoundNamespace, FoundSubsystem, TargetState, kept_limits

NQN = "nqn.2016-06.io.spdk:cnode1"
UUID = "0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
HOST, OTHER = (f"nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8{n}" for n in range(2))


def wanted(**fields):
    namespace = Namespace(1, "rbd", "image", UUID, 1, **fields)
    return Subsystem(NQN, "S", namespaces=MappingProxyType({1: namespace}))


def found(hidden):
    there = FoundNamespace(f"bdev_{UUID}", UUID, 1)
    return FoundSubsystem((), namespaces={1: there}, hidden=hidden)


def carried_out(steps):
    for _, step in steps:
        step.done()
    return [step.request for _, step in steps]


def visibility(auto_visible):
    return "nvmf_subsystem_set_ns_visibility", {"nqn": NQN, "nsid": 1, "auto_visible": auto_visible}


def test_a_namespace_in_use_is_hidden_and_shown_in_place():
    there = found({})
    pairs = [(wanted(auto_visible=False, hosts=frozenset({HOST})), there)]
    assert access_steps.hide(pairs) == []
    assert carried_out(access_steps.change_visibility(pairs)) == [visibility(False)]
    assert carried_out(access_steps.show(pairs)) == [("nvmf_ns_add_host", {"nqn": NQN, "nsid": 1, "host": HOST})]
    assert there.hidden == {1: {HOST}}
    assert access_steps.change_visibility(pairs) == access_steps.show(pairs) == []
    pairs = [(wanted(), there)]
    assert carried_out(access_steps.hide(pairs)) == [("nvmf_ns_remove_host", {"nqn": NQN, "nsid": 1, "host": HOST})]
    assert carried_out(access_steps.change_visibility(pairs)) == [visibility(True)] and there.hidden == {}


def test_only_hosts_that_differ_are_shown_or_hidden():
    pairs = [(wanted(auto_visible=False, hosts=frozenset({HOST})), found({1: {OTHER}}))]
    assert [request[0] for request in carried_out(access_steps.hide(pairs) + access_steps.show(pairs))] == [
        "nvmf_ns_remove_host", "nvmf_ns_add_host"]
    assert access_steps.hide(pairs) == access_steps.show(pairs) == []


def test_a_namespace_that_the_target_lacks_is_left_alone():
    lacking = FoundSubsystem(())
    pairs = [(wanted(auto_visible=False, hosts=frozenset({HOST}), qos=QosLimits(5000)), lacking)]
    target = TargetState(True, {NQN: lacking}, {})
    assert access_steps.hide(pairs) == access_steps.show(pairs) == access_steps.change_visibility(pairs) == []
    assert access_steps.limit(pairs, target) == []


@pytest.mark.parametrize("limits, kept", [
    (QosLimits(), QosLimits()), (QosLimits(1), QosLimits(1000)), (QosLimits(1000, 1, 2, 3), QosLimits(1000, 1, 2, 3)),
    (QosLimits(2 ** 64 - 1, 2 ** 64 - 1), QosLimits((2 ** 64 - 2) // 1000 * 1000, 2 ** 44 - 1))])
def test_limits_are_compared_as_a_target_keeps_them(limits, kept):
    assert kept_limits(limits) == kept and kept_limits(kept) == kept
