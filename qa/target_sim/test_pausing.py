"""Which RPCs wait for I/O, which wait for each other, and what hosts notice meanwhile. I/O is made to hang by
stopping the OSDs.
"""

from __future__ import annotations

import os
from typing import Callable

from target_sim.conftest import HungCeph, RbdExported
from target_sim.initiator import PATH_INACCESSIBLE, Host
from target_sim.target_process import TargetProcess

KEEP_ALIVE, READ = 0x18, 0x02
QUIET_S = 0.5
DATA = os.urandom(4096)

Export = Callable[..., RbdExported]


def drain(exported: RbdExported, nsid: int = 1) -> tuple[str, dict]:
    """Setting a namespace's group to what it is returns when its I/O is done."""
    return "nvmf_subsystem_set_ns_ana_group", {"nqn": exported.nqn, "nsid": nsid, "anagrpid": nsid}


def test_an_ana_state_is_set_while_io_hangs_and_leaves_that_io_alone(
    target: TargetProcess, export_rbd: Export, hung_ceph: HungCeph
) -> None:
    exported = export_rbd()
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 0, DATA).status == 0
        hung_ceph.begin()
        hanging = host.submit_write(1, 8, DATA)
        method, params = exported.ana_call("inaccessible", 1)
        assert target.rpc(method, **params) is True
        assert host.read(1, 0, 8).status == PATH_INACCESSIBLE, "new I/O is refused at once"
        assert not host.io[0].is_done(hanging, QUIET_S)
        hung_ceph.end()
        assert host.io[0].wait(hanging).status == 0


def test_removing_a_namespace_waits_for_its_io_and_later_changes_wait_behind_it(
    target: TargetProcess, export_rbd: Export, hung_ceph: HungCeph
) -> None:
    exported, other = export_rbd(), export_rbd()
    client = target.client()
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 0, DATA).status == 0
        hung_ceph.begin()
        hanging = host.submit_write(1, 8, DATA)
        (removal,) = client.send_many([("nvmf_subsystem_remove_ns", {"nqn": exported.nqn, "nsid": 1})])
        change, elsewhere, listing = client.send_many(
            [
                exported.ana_call("inaccessible", 1),
                other.ana_call("inaccessible", 1),
                ("nvmf_get_subsystems", {"nqn": exported.nqn}),
            ]
        )
        assert client.answer(elsewhere)["result"] is True, "another subsystem does not wait"
        assert len(client.answer(listing)["result"][0]["namespaces"]) == 1, "nor does a look at it"
        keep_alive = host.admin.submit(KEEP_ALIVE)
        assert not host.admin.is_done(keep_alive, QUIET_S), "admin commands wait"
        assert not client.is_answered(removal) and not client.is_answered(change)
        hung_ceph.end()
        assert client.answer(removal)["result"] is True
        assert client.answer(change)["result"] is True
        assert host.io[0].wait(hanging).status == 0
        assert host.admin.wait(keep_alive).status == 0
        assert target.rpc("nvmf_get_subsystems", nqn=exported.nqn)[0]["namespaces"] == []
    client.close()


def test_setting_the_group_a_namespace_has_drains_it_and_holds_its_new_io(
    target: TargetProcess, export_rbd: Export, hung_ceph: HungCeph
) -> None:
    exported = export_rbd(images=2)
    client = target.client()
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 0, DATA).status == 0
        hung_ceph.begin()
        hanging = host.submit_write(1, 8, DATA)
        other = client.send_many([drain(exported, nsid=2)])[0]
        assert client.answer(other)["result"] is True, "the other namespace has no I/O in flight"
        (waiting,) = client.send_many([drain(exported)])
        target.rpc("rpc_get_methods", current=True)
        beyond_the_end = host.io[0].submit(READ, nsid=1, cdw10=1 << 20, length=512)
        assert not host.io[0].is_done(
            beyond_the_end, QUIET_S
        ), "I/O of the namespace is held back, even what would fail at once"
        assert (
            host.io[0].command(READ, nsid=2, cdw10=1 << 20, length=512).status == 0x080
        ), "I/O of the other namespace is not"
        assert not client.is_answered(waiting)
        hung_ceph.end()
        assert client.answer(waiting)["result"] is True
        assert host.io[0].wait(hanging).status == 0
        assert host.io[0].wait(beyond_the_end).status == 0x080
    client.close()


def test_a_held_write_of_a_connection_that_has_gone_is_never_done(
    target: TargetProcess, export_rbd: Export, hung_ceph: HungCeph
) -> None:
    """Its host may have sent it again through another target, and newer data after it."""
    exported = export_rbd()
    client = target.client()
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 0, DATA).status == 0
        hung_ceph.begin()
        host.submit_write(1, 8, DATA)
        (waiting,) = client.send_many([drain(exported)])
        target.rpc("rpc_get_methods", current=True)
        held = host.submit_write(1, 16, DATA)
        assert not host.io[0].is_done(held, QUIET_S)
    hung_ceph.end()
    assert client.answer(waiting)["result"] is True
    with Host(exported.port, exported.nqn) as host:
        assert host.read(1, 8, 8).data == DATA
        assert host.read(1, 16, 8).data == bytes(4096)
    client.close()


def test_a_drain_without_io_returns_at_once(target: TargetProcess, export_rbd: Export, hung_ceph: HungCeph) -> None:
    exported = export_rbd()
    hung_ceph.begin()
    method, params = drain(exported)
    assert target.rpc(method, **params) is True


def test_changes_of_one_subsystem_are_made_in_the_order_of_the_calls(target: TargetProcess, export_rbd: Export) -> None:
    exported = export_rbd()
    client = target.client()
    states = ["inaccessible", "optimized", "non_optimized"] * 20
    identifiers = client.send_many([exported.ana_call(state, 1) for state in states])
    assert all(client.answer(identifier)["result"] is True for identifier in identifiers)
    shown = target.rpc("nvmf_subsystem_get_listeners", nqn=exported.nqn)[0]["ana_states"][0]
    assert shown == {"ana_group": 1, "ana_state": states[-1]}
    client.close()


def test_a_subsystem_is_deleted_and_its_hosts_disconnected_when_their_io_is_done(
    target: TargetProcess, export_rbd: Export, hung_ceph: HungCeph
) -> None:
    exported = export_rbd()
    client = target.client()
    with Host(exported.port, exported.nqn) as host:
        assert host.write(1, 0, DATA).status == 0
        hung_ceph.begin()
        host.submit_write(1, 8, DATA)
        host.admin.command(KEEP_ALIVE)
        (deletion,) = client.send_many([("nvmf_delete_subsystem", {"nqn": exported.nqn})])
        assert not host.io[0].is_closed(within_s=QUIET_S)
        assert host.admin.is_closed(within_s=QUIET_S)
        assert not client.is_answered(deletion)
        hung_ceph.end()
        assert client.answer(deletion)["result"] is True
        assert host.io[0].is_closed(within_s=60)
    target.rpc("nvmf_create_subsystem", nqn=exported.nqn)
    client.close()
