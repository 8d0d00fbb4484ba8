"""Claims about which changes of the configuration are accepted, and what refusals say."""
from __future__ import annotations

import errno
import json
from dataclasses import replace

import pytest

from gw_agent import changes, changes_namespaces, configuration, configuration_reader, trash_orders
from gw_agent.changes import NamespaceRequest, Refused
from gw_agent.config_store import Change, Stored
from gw_agent.configuration import Listener

NQN = "nqn.2016-06.io.spdk:cnode1.g1"
OTHER = "nqn.2016-06.io.spdk:cnode2.g1"
HOST = "nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8f"
UUIDS = [f"0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8{n}" for n in range(8)]
LISTENER = Listener("gw1", "127.0.0.2", 4420)


def stored(omap, version=1):
    parsed, problem_of = configuration_reader.parse(omap)
    assert not problem_of
    return Stored(version, omap, parsed)


EMPTY = stored({})


def after(now, change):
    """What is stored once the change is."""
    omap = {key: value for key, value in now.omap.items() if key not in change.removes}
    return stored({**omap, **change.sets}, now.version + 1)


def asked(image, uuid=UUIDS[0], **fields):
    return NamespaceRequest(fields.pop("nqn", NQN), "rbd", image, uuid, **fields)


@pytest.fixture
def one():
    return after(EMPTY, changes.add_subsystem(EMPTY, NQN, "Ceph1", 4))


def refusal(code, call, *args):
    with pytest.raises(Refused) as refused:
        call(*args)
    assert refused.value.code == code
    return str(refused.value)


@pytest.mark.parametrize("group, no_append, expected", [
    ("g1", False, "n.g1"), ("my_group", False, "n.my-group"), ("", False, "n"), ("g1", True, "n")])
def test_the_group_is_appended_to_a_new_subsystems_nqn_unless_that_is_not_wanted(group, no_append, expected):
    assert changes.grouped_nqn("n", group, no_append) == expected


def test_a_subsystem_is_stored_with_its_defaults():
    found = after(EMPTY, changes.add_subsystem(EMPTY, NQN, "Ceph1", 0)).configuration.subsystems[NQN]
    assert (found.max_namespaces, found.model_number, found.serial_number) == (256, "Ceph bdev Controller", "Ceph1")


def test_a_subsystem_that_cannot_be_made_is_refused(one):
    assert "exists already" in refusal(errno.EEXIST, changes.add_subsystem, one, NQN, "Ceph2", 0)
    assert f"used by subsystem {NQN}" in refusal(errno.EEXIST, changes.add_subsystem, one, OTHER, "Ceph1", 0)
    assert "1 to 1024" in refusal(errno.EINVAL, changes.add_subsystem, one, OTHER, "Ceph2", 1025)
    assert "contains '_'" in refusal(errno.EINVAL, changes.add_subsystem, one, OTHER + "_a", "Ceph2", 0)
    assert "printable" in refusal(errno.EINVAL, changes.add_subsystem, one, OTHER, "Ceph\t", 0)


def test_deleting_a_subsystem_takes_everything_of_it_and_nothing_else(one):
    now = after(one, changes.add_subsystem(one, OTHER, "Ceph2", 0))
    now = after(now, changes.add_host(now, NQN, HOST))
    now = after(now, changes.add_listener(now, NQN, LISTENER))
    now = after(now, changes.add_namespace(now, asked("a"), (1,)))
    text = refusal(errno.EBUSY, changes.delete_subsystem, now, NQN, False)
    assert "namespaces (1)" in text and "force" in text
    left = after(now, changes.delete_subsystem(now, NQN, True))
    assert set(left.omap) == {f"subsystem_{OTHER}"}
    assert "no subsystem" in refusal(errno.ENOENT, changes.delete_subsystem, left, NQN, True)


def test_hosts_are_added_and_removed_once(one):
    for host in (HOST, "*"):
        now = after(one, changes.add_host(one, NQN, host))
        refusal(errno.EEXIST, changes.add_host, now, NQN, host)
        assert after(now, changes.remove_host(now, NQN, host)).configuration == one.configuration
        refusal(errno.ENOENT, changes.remove_host, one, NQN, host)
    assert "form nqn." in refusal(errno.EINVAL, changes.add_host, one, NQN, "host1")
    assert f"there are: {NQN}" in refusal(errno.ENOENT, changes.add_host, one, OTHER, HOST)


@pytest.mark.parametrize("traddr, adrfam, port, reason", [
    ("gw1", "ipv4", 1, "names are not resolved"), ("::1", "ipv4", 1, "give the address family ipv6"),
    ("127.0.0.1", "ipv6", 1, "give the address family ipv4"), ("127.0.0.1", "ipv4", 70000, "between 1 and 65535")])
def test_a_listener_address_that_cannot_be_used_is_refused(traddr, adrfam, port, reason):
    assert reason in refusal(errno.EINVAL, changes.checked_listener, "gw1", traddr, port, adrfam, False)


def test_a_listener_gets_the_default_port_and_the_shortest_form_of_its_address():
    assert changes.checked_listener("gw1", "[fd00:0::1]", 0, "ipv6", False) == Listener("gw1", "fd00::1", 4420, "ipv6")
    assert "contains '_'" in refusal(errno.EINVAL, changes.checked_listener, "gw_1", "::1", 0, "ipv6", False)


def test_a_listener_that_exists_or_whose_address_is_another_hosts_is_refused(one):
    now = after(one, changes.add_listener(one, NQN, LISTENER))
    now = after(now, changes.add_subsystem(now, OTHER, "Ceph2", 0))
    elsewhere = Listener("gw2", LISTENER.traddr, LISTENER.trsvcid)
    refusal(errno.EEXIST, changes.add_listener, now, NQN, LISTENER)
    assert "belongs to one host" in refusal(errno.EADDRINUSE, changes.add_listener, now, OTHER, elsewhere)
    after(now, changes.add_listener(now, OTHER, LISTENER))
    after(now, changes.add_listener(now, NQN, Listener("gw2", "127.0.0.3", 4420)))
    secure = replace(LISTENER, secure=True)
    assert "one or the other" in refusal(errno.EINVAL, changes.add_listener, now, OTHER, secure)
    now = after(now, changes.add_host(now, OTHER, "*"))
    assert "remove host *" in refusal(errno.EINVAL, changes.add_listener, now, OTHER, replace(secure, trsvcid=4421))


def test_listeners_on_the_unspecified_address_do_not_exclude_one_another(one):
    now = after(one, changes.add_listener(one, NQN, Listener("gw1", "0.0.0.0")))
    after(now, changes.add_listener(now, NQN, Listener("gw2", "0.0.0.0")))


def test_a_listener_is_deleted_by_host_name_or_for_any_host(one):
    now = after(one, changes.add_listener(one, NQN, LISTENER))
    other_host = Listener("gw2", LISTENER.traddr, LISTENER.trsvcid)
    assert "of gw2" in refusal(errno.ENOENT, changes.delete_listener, now, NQN, other_host, False)
    for any_host_name, listener in ((True, other_host), (False, LISTENER)):
        assert after(now, changes.delete_listener(now, NQN, listener, any_host_name)).configuration == \
            one.configuration


def test_namespaces_spread_over_the_ana_groups_of_the_map(one):
    now = one
    for n in range(4):
        now = after(now, changes.add_namespace(now, asked(f"i{n}", UUIDS[n]), (3, 1)))
    assert [namespace.ana_group_id for _, namespace in now.configuration.namespaces()] == [1, 3, 1, 3]
    text = refusal(errno.ENOSPC, changes.add_namespace, now, asked("i4", UUIDS[4]), (1,))
    assert "4 namespaces" in text


def test_a_namespace_gets_the_lowest_free_id_or_the_one_asked_for(one):
    now = after(one, changes.add_namespace(one, asked("a", nsid=1), (1,)))
    change = changes.add_namespace(now, asked("b", UUIDS[1]), (1,))
    assert changes.namespace_of(change, NQN) == 2
    assert "is used" in refusal(errno.EEXIST, changes.add_namespace, now, asked("b", UUIDS[1], nsid=1), (1,))
    assert "above 4" in refusal(errno.EINVAL, changes.add_namespace, now, asked("b", UUIDS[1], nsid=5), (1,))


def test_a_namespace_that_cannot_be_added_is_refused(one):
    now = after(one, changes.add_namespace(one, asked("a"), (1,)))

    def add(ana_groups=(1, 2), **fields):
        image = fields.pop("image", "b")
        return now, asked(image, fields.pop("uuid", UUIDS[1]), **fields), ana_groups

    assert "needs force" in refusal(errno.EEXIST, changes.add_namespace, *add(image="a"))
    assert "UUID" in refusal(errno.EEXIST, changes.add_namespace, *add(uuid=UUIDS[0].upper()))
    assert "UUID '1'" in refusal(errno.EINVAL, changes.add_namespace, *add(uuid="1"))
    assert "there are 1, 2" in refusal(errno.ENODEV, changes.add_namespace, *add(ana_group_id=3))
    assert "nvmeof-ha create" in refusal(errno.ENODEV, changes.add_namespace, *add(ana_groups=()))
    assert "nvmeof-ha create" in refusal(errno.ENODEV, changes.add_namespace, *add(ana_groups=(5,)))
    assert "512, 1024" in refusal(errno.EINVAL, changes.add_namespace, *add(block_size=513))
    assert "plain name" in refusal(errno.EINVAL, changes.add_namespace, *add(image="a@snap"))
    refusal(errno.ENOENT, changes.add_namespace, *add(nqn=OTHER))
    after(now, changes.add_namespace(*add(image="a", force=True)))


def test_deleting_a_namespace_takes_its_other_entries_along(one):
    now = after(one, changes.add_namespace(one, asked("a"), (1,)))
    with_qos = Stored(now.version, {**now.omap, f"qos_{NQN}_1": "{}"}, now.configuration)
    assert changes_namespaces.delete(with_qos, NQN, 1, False) == Change(
        removes=frozenset({f"namespace_{NQN}_1", f"qos_{NQN}_1"}))
    assert "no namespace 2" in refusal(errno.ENOENT, changes_namespaces.delete, now, NQN, 2, False)


def test_limits_are_merged_with_those_that_are_stored(one):
    now = after(one, changes.add_namespace(one, asked("a"), (1,)))
    now = after(now, changes_namespaces.set_limits(now, NQN, 1, {"rw_ios_per_second": 5}))
    assert json.loads(now.omap[f"qos_{NQN}_1"]) == {"subsystem_nqn": NQN, "nsid": 1, "rw_ios_per_second": "5"}
    now = after(now, changes_namespaces.set_limits(now, NQN, 1, {"w_mbytes_per_second": 7}))
    now = after(now, changes_namespaces.set_limits(now, NQN, 1, {"rw_ios_per_second": 0}))
    assert now.configuration.subsystems[NQN].namespaces[1].qos == configuration.QosLimits(w_mbytes_per_second=7)
    assert "no limit is given" in refusal(errno.EINVAL, changes_namespaces.set_limits, now, NQN, 1, {})


def test_an_image_on_its_way_to_the_trash_is_nobodys_until_it_is_there(one):
    now = after(one, changes.add_namespace(one, asked("a"), (1,)))
    order = trash_orders.order(now.configuration.subsystems[NQN].namespaces[1], "id", "gw1")
    deleted = after(now, changes_namespaces.with_trash_order(changes_namespaces.delete(now, NQN, 1, True), order))
    assert trash_orders.stored_orders(deleted.omap) == [order] and not deleted.problem_of
    assert trash_orders.stored_orders({order.key: "no JSON", **now.omap}) == []
    said = refusal(errno.EAGAIN, changes.add_namespace, deleted, asked("a", force=True), (1,))
    assert "on its way to the trash" in said
    assert changes.add_namespace(deleted, asked("b"), (1,)).sets


def test_a_changed_namespace_keeps_what_another_gateway_stored_with_it(one):
    now = after(one, changes.add_namespace(one, asked("a"), (1,)))
    key = f"namespace_{NQN}_1"
    value = json.dumps({**json.loads(now.omap[key]), "size": "10485760", "create_image": True, "location": "rack1"})
    now = stored({**now.omap, key: value})
    for change in (changes_namespaces.set_trash_image(now, NQN, 1, True),
                   changes_namespaces.change_visibility(now, NQN, 1, False, False)):
        changed = json.loads(change.sets[key])
        assert (changed["size"], changed["create_image"], changed["location"]) == ("10485760", True, "rack1")
    assert changes_namespaces.set_trash_image(now, NQN, 1, False) == Change()
    assert changes_namespaces.change_visibility(now, NQN, 1, True, False) == Change()


def test_hosts_of_a_hidden_namespace_go_when_it_is_shown_to_all(one):
    now = after(one, changes.add_namespace(one, asked("a", auto_visible=False), (1,)))
    now = after(now, changes_namespaces.add_host(now, NQN, 1, HOST))
    assert HOST in refusal(errno.EBUSY, changes_namespaces.change_visibility, now, NQN, 1, True, False)
    shown = after(now, changes_namespaces.change_visibility(now, NQN, 1, True, True))
    namespace = shown.configuration.subsystems[NQN].namespaces[1]
    assert namespace.auto_visible and namespace.hosts == frozenset()


def test_no_more_hosts_than_existing_gateways_allow_see_a_hidden_namespace(one):
    now = after(one, changes.add_namespace(one, asked("a", auto_visible=False), (1,)))
    for number in range(changes_namespaces.HOSTS_LIMIT):
        now = after(now, changes_namespaces.add_host(now, NQN, 1, f"nqn.2014-08.com.example:host{number}"))
    assert "no more can" in refusal(errno.E2BIG, changes_namespaces.add_host, now, NQN, 1, HOST)


def test_an_id_that_is_stored_but_not_served_is_not_given_again(one):
    broken = Stored(one.version, {**one.omap, f"namespace_{NQN}_1": "garbage"}, one.configuration)
    assert list(changes.add_namespace(broken, asked("a"), (1,)).sets) == [f"namespace_{NQN}_2"]
    assert "is used" in refusal(errno.EEXIST, changes.add_namespace, broken, asked("a", nsid=1), (1,))
    assert changes_namespaces.delete(broken, NQN, 1, False) == Change(removes=frozenset({f"namespace_{NQN}_1"}))


def test_an_ipv6_listener_of_an_existing_gateway_is_deleted(one):
    key = f"listener_{NQN}_gw1_TCP_[fd00::1]_4420"
    value = json.dumps({"nqn": NQN, "host_name": "gw1", "traddr": "[fd00::1]", "adrfam": "ipv6", "trsvcid": 4420})
    now = stored({**one.omap, key: value})
    listener = changes.checked_listener("gw1", "[fd00::1]", 4420, "ipv6", False)
    assert changes.delete_listener(now, NQN, listener, False) == Change(removes=frozenset({key}))
    assert "listens on [fd00::1]:4420" in refusal(errno.EEXIST, changes.add_listener, now, NQN, listener)
