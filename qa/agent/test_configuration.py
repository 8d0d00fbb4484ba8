"""Claims about the stored form of the configuration and about names."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from gw_agent import configuration as c
from gw_agent import nqn as names
from gw_agent.configuration_reader import parse, parse_again
from gw_agent.pb import gateway_pb2 as pb

NQN = "nqn.2016-06.io.spdk:cnode1.g1"
HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
UUID = "0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
SUBSYSTEM = c.Subsystem(NQN, "Ceph1234", 32)
LISTENER = c.Listener("gw1", "127.0.0.2", 4420)
LIMITS = c.QosLimits(rw_ios_per_second=2000, w_mbytes_per_second=5)
NAMESPACE = c.Namespace(3, "rbd", "img_1", UUID, 2, auto_visible=False, hosts=frozenset({HOST}), qos=LIMITS,
                        trash_image=True)


def full_omap():
    return {c.VERSION_KEY: "7", **dict([
        c.subsystem_entry(SUBSYSTEM), c.host_entry(NQN, HOST), c.host_entry(NQN, "*"),
        c.listener_entry(NQN, LISTENER), c.namespace_entry(NQN, NAMESPACE), c.namespace_host_entry(NQN, 3, HOST),
        c.qos_entry(NQN, 3, {"rw_ios_per_second": 2000, "w_mbytes_per_second": 5})])}


def test_keys_are_those_of_existing_gateways():
    assert sorted(full_omap()) == sorted([
        "omap_version", f"subsystem_{NQN}", f"host_{NQN}_{HOST}", f"host_{NQN}_*",
        f"listener_{NQN}_gw1_TCP_127.0.0.2_4420", f"namespace_{NQN}_3", f"ns-host_{NQN}_3_{HOST}", f"qos_{NQN}_3"])


@pytest.mark.parametrize("key, request_type", [
    (f"subsystem_{NQN}", pb.create_subsystem_req), (f"host_{NQN}_{HOST}", pb.add_host_req),
    (f"listener_{NQN}_gw1_TCP_127.0.0.2_4420", pb.create_listener_req), (f"namespace_{NQN}_3", pb.namespace_add_req),
    (f"ns-host_{NQN}_3_{HOST}", pb.namespace_add_host_req), (f"qos_{NQN}_3", pb.namespace_set_qos_req)])
def test_values_are_requests_as_protobuf_writes_them(key, request_type):
    """Every field that is there is written as protobuf itself would write it."""
    value = full_omap()[key]
    as_protobuf = json.loads(json_format.MessageToJson(json_format.Parse(value, request_type()),
                                                       preserving_proto_field_name=True,
                                                       always_print_fields_with_no_presence=True))
    assert {name: as_protobuf.get(name) for name in json.loads(value)} == json.loads(value)


def test_a_changed_value_keeps_the_fields_that_are_not_known_here():
    changed = json.loads(c.with_fields('{"a": [1], "trash_image": false}', trash_image=True))
    assert changed == {"a": [1], "trash_image": True}


def test_the_object_name_is_that_of_existing_gateways():
    assert c.object_name("g1") == "nvmeof.g1.state"
    assert c.object_name("") == "nvmeof.state"


def test_what_was_stored_is_what_is_read():
    found, problems = parse(full_omap())
    assert not problems
    assert found.subsystems == {NQN: replace(
        SUBSYSTEM, allow_any_host=True, hosts=frozenset({HOST}), listeners=(LISTENER,), namespaces={3: NAMESPACE})}
    (subsystem, namespace), = found.namespaces()
    assert (subsystem.nqn, namespace) == (NQN, NAMESPACE)


@given(st.permutations(sorted(full_omap())))
def test_the_order_of_the_entries_does_not_matter(order):
    omap = full_omap()
    assert parse({key: omap[key] for key in order}) == parse(omap)


def test_values_of_an_existing_gateway_are_read():
    """A 64-bit number is text in protobuf's JSON, an enum its name, and there may be fields we do not use."""
    found, problems = parse({
        f"subsystem_{NQN}": json.dumps({"subsystem_nqn": NQN, "serial_number": "SPDK1", "max_namespaces": "64",
                                        "enable_ha": True, "no_group_append": False}),
        f"listener_{NQN}_h_TCP_fd00::1_4421": json.dumps({
            "nqn": NQN, "host_name": "h", "traddr": "[fd00::1]", "adrfam": "ipv6", "trsvcid": 4421, "secure": True}),
        f"namespace_{NQN}_1": json.dumps({
            "rbd_pool_name": "rbd", "rbd_image_name": "i", "subsystem_nqn": NQN, "nsid": 1, "block_size": 4096,
            "uuid": UUID.upper(), "anagrpid": 1, "create_image": True, "size": "10485760", "force": False})})
    assert not problems
    subsystem = found.subsystems[NQN]
    assert subsystem.max_namespaces == 64
    assert subsystem.listeners == (c.Listener("h", "fd00::1", 4421, "ipv6", True),)
    assert subsystem.listeners[0].address == "[fd00::1]:4421"
    assert subsystem.namespaces[1] == c.Namespace(1, "rbd", "i", UUID, 1, 4096)


@pytest.mark.parametrize("key, value, reason", [
    (f"host_{NQN}_{HOST}", "{", "not a JSON object"),
    (f"host_{NQN}_{HOST}", "[]", "not a JSON object"),
    (f"host_{NQN}_{HOST}", {"subsystem_nqn": NQN, "host_nqn": "me"}, "not of the form nqn."),
    (f"host_{NQN}_{HOST}", {"subsystem_nqn": NQN, "host_nqn": HOST, "psk": "<invalid>"}, "psk holds no key"),
    (f"host_{NQN}_*", {"subsystem_nqn": NQN, "host_nqn": "*", "dhchap_key": "k"}, "weaken access control"),
    (f"host_{NQN}x_{HOST}", {"subsystem_nqn": NQN + "x", "host_nqn": HOST}, "its subsystem .* is not stored"),
    (f"host_{NQN}_{HOST}", {"subsystem_nqn": NQN + "x", "host_nqn": HOST}, "belongs under the key host_.*x_"),
    (f"qos_{NQN}_4", {"subsystem_nqn": NQN, "nsid": 3}, "belongs under the key qos_.*_3"),
    (f"listener_{NQN}x_h_TCP_::1_1", {"nqn": NQN, "host_name": "h", "traddr": "::1"}, "its key does not"),
    (f"subsystem_{NQN}2", {"subsystem_nqn": NQN + "2", "serial_number": "S", "dhchap_key": 5}, "holds no key"),
    (f"subsystem_{NQN}2", {"subsystem_nqn": NQN + "2", "serial_number": "S" * 21}, "1 to 20 printable"),
    (f"subsystem_{NQN}2", {"subsystem_nqn": NQN + "2"}, "serial_number is None"),
    (f"subsystem_{NQN}2", {"subsystem_nqn": NQN + "2", "serial_number": "S", "max_namespaces": 0}, "number from 1"),
    (f"namespace_{NQN}_9", {"subsystem_nqn": NQN, "nsid": True}, "nsid is True"),
    (f"namespace_{NQN}_9", {"subsystem_nqn": NQN, "nsid": 8, "rbd_pool_name": "p", "rbd_image_name": "i",
                            "uuid": UUID}, "belongs under the key namespace_.*_8"),
    (f"subsystem_{NQN}2", {"subsystem_nqn": NQN + "2", "serial_number": "S", "enable_ha": False}, "enable_ha is false"),
    (f"ns-host_{NQN}_4_{HOST}", {"subsystem_nqn": NQN, "nsid": 4, "host_nqn": HOST}, "its namespace 4 is not stored"),
    (f"ns-host_{NQN}_3_*", {"subsystem_nqn": NQN, "nsid": 3, "host_nqn": "*"}, "not of the form nqn."),
    (f"qos_{NQN}_4", {"subsystem_nqn": NQN, "nsid": 4}, "its namespace 4 is not stored"),
    (f"namespace_{NQN}_9", {"subsystem_nqn": NQN, "nsid": 9, "rbd_pool_name": "p", "rbd_image_name": "i",
                            "uuid": "12"}, "UUID '12'"),
    (f"namespace_{NQN}_99", {"subsystem_nqn": NQN, "nsid": 99, "rbd_pool_name": "p", "rbd_image_name": "i",
                             "uuid": UUID}, "max_namespaces 32"),
    (f"listener_{NQN}_h_TCP_::1_1", {"nqn": NQN, "host_name": "h", "traddr": "::1", "adrfam": "ib"}, "ipv4 or ipv6"),
    (f"lbgroup_{NQN}_3", {"subsystem_nqn": NQN, "nsid": 3}, "does not serve entries of that kind"),
    ("what", {}, "does not serve entries of that kind"),
])
def test_an_entry_that_cannot_be_served_is_a_problem_and_the_rest_is_read(key, value, reason):
    omap = {**full_omap()}
    omap.pop(key, None)
    without, _ = parse(omap)
    omap[key] = value if isinstance(value, str) else json.dumps(value)
    found, problem_of = parse(omap)
    (problem,) = problem_of.values()
    assert found == without and list(problem_of) == [key]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(problem)
    assert key in problem


def test_what_belongs_to_an_unreadable_subsystem_is_left_out_with_it():
    omap = full_omap()
    omap[f"subsystem_{NQN}"] = "garbage"
    found, problems = parse(omap)
    assert found == c.Configuration() and len(problems) == 7


NQNS = (NQN, NQN + "x")


def some_entries():
    """By key, values that it may have: proper ones, and some that make it, or what depends on it, unreadable."""
    found = {"what": ["{}"], f"namespace_{NQN}_03": [c.namespace_entry(NQN, replace(NAMESPACE, hosts=frozenset()))[1]]}
    for nqn in NQNS:
        found[f"subsystem_{nqn}"] = [c.subsystem_entry(replace(SUBSYSTEM, nqn=nqn, max_namespaces=most))[1]
                                     for most in (2, 32)] + ["garbage"]
        for entry in (c.host_entry(nqn, HOST), c.host_entry(nqn, "*"), c.listener_entry(nqn, LISTENER),
                      c.namespace_host_entry(nqn, 3, HOST), c.qos_entry(nqn, 3, {"rw_ios_per_second": 2000})):
            found[entry[0]] = [entry[1], entry[1].replace(nqn, NQNS[0]), entry[1].replace(nqn, NQNS[1]), "[]"]
        for nsid in (1, 3):
            found[f"namespace_{nqn}_{nsid}"] = [c.namespace_entry(nqn, replace(
                NAMESPACE, nsid=written, auto_visible=visible))[1] for written in (1, 3) for visible in (True, False)]
    return found


SOME_ENTRIES = some_entries()
SOME_OMAPS = st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in SOME_ENTRIES.items()})


@given(SOME_OMAPS, st.lists(SOME_OMAPS, max_size=2), st.sets(st.sampled_from(sorted(SOME_ENTRIES))))
def test_reading_what_changed_gives_what_reading_everything_gives(omap, changes, removed):
    found = parse(omap)
    for change in changes:
        omap = {**{key: value for key, value in omap.items() if key not in removed}, **change}
        found = parse_again(omap, {*change, *removed}, *found)
        assert found == parse(omap)


def test_what_a_change_does_not_concern_stays_the_same_object():
    omap = {**full_omap(), **dict([c.namespace_entry(NQN, replace(NAMESPACE, nsid=1)),
                                   c.subsystem_entry(replace(SUBSYSTEM, nqn=NQNS[1]))])}
    before = parse(omap)
    changed = dict([c.qos_entry(NQN, 1, {"rw_ios_per_second": 1})])
    after, _ = parse_again({**omap, **changed}, changed, *before)
    assert after.subsystems[NQNS[1]] is before[0].subsystems[NQNS[1]]
    assert after.subsystems[NQN].namespaces[3] is before[0].subsystems[NQN].namespaces[3]
    assert after.subsystems[NQN].namespaces[1].qos == c.QosLimits(1)


def test_all_keys_of_a_subsystem_and_of_a_namespace_are_found():
    omap = {**full_omap(), f"namespace_{NQN}_33": "", f"subsystem_{NQN}2": ""}
    assert c.keys_of_subsystem(omap, NQN) == set(omap) - {"omap_version", f"subsystem_{NQN}2"}
    assert c.keys_of_namespace(omap, NQN, 3) == {f"namespace_{NQN}_3", f"qos_{NQN}_3", f"ns-host_{NQN}_3_{HOST}"}


def test_the_nguid_is_the_uuid():
    assert NAMESPACE.nguid == "0E6B5B3C9C4F4C1A8F7E3A4B5C6D7E8F"
    assert NAMESPACE.bdev_name == f"bdev_{UUID}"


@pytest.mark.parametrize("nqn", [NQN, HOST, "nqn.2014-08.com.a-b.c:x y".replace(" ", "-")])
def test_well_formed_nqns_are_accepted(nqn):
    assert names.check_nqn("NQN", nqn) is None


@pytest.mark.parametrize("nqn, reason", [
    ("", "is empty"), ("nqn.2016-06.io.spdk:a_b", "contains '_'"), ("nqn.2016-06.io.spdk:a b", "spaces"),
    ("nqn.2016-06.io.spdk:a\n", "unprintable"), ("nqn.2016-06.io.spdk:", "form nqn."),
    ("nqn.2016-13.io.spdk:a", "form nqn."), ("nqn.2016-06.io.2spdk:a", "form nqn."),
    ("nqn.2016-06.io.spdk-:a", "form nqn."), ("nqn.2016-06:a", "form nqn."), ("iqn.2016-06.io.spdk:a", "form nqn."),
    ("nqn.2016-06.io.spdk:" + "a" * 220, "at most 223"),
    ("nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c", "does not end in a UUID"),
    (names.DISCOVERY_NQN, "discovery subsystem"),
])
def test_a_malformed_nqn_is_refused_with_the_reason(nqn, reason):
    assert reason in names.check_subsystem_nqn(nqn)


def test_any_host_is_a_host_but_not_a_subsystem():
    assert names.check_host_nqn("*") is None
    assert names.check_subsystem_nqn("*") is not None


@given(st.text(max_size=25))
def test_a_serial_number_is_accepted_exactly_when_a_target_can_show_it(serial):
    good = (0 < len(serial) <= 20 and all(" " <= ch <= "~" for ch in serial) and serial == serial.strip())
    assert (names.check_serial(serial) is None) == good
