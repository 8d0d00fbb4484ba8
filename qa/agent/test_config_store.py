"""Claims about the configuration object, on a real cluster."""
from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import uuid

import pytest
import rados

from gw_agent import config_store as store_module
from gw_agent import configuration
from gw_agent.config_store import Change, ConfigStore, Stored, StoreBusy, StoreError, StoreUnavailable

WAIT_S = 60


@pytest.fixture(scope="module")
def ceph(cluster):
    handle = rados.Rados(conffile=str(cluster.conf), name="client.admin")
    handle.connect(timeout=20)
    yield handle
    handle.shutdown()


@pytest.fixture
def group():
    return "g" + uuid.uuid4().hex[:8]


def with_stores(ceph, group, use, count=1):
    """Runs `use(store, ...)` on `count` stores of one group, as `count` gateways would have them."""
    async def body():
        stores = [await ConfigStore.open(ceph, "rbd", group) for _ in range(count)]
        try:
            return await asyncio.wait_for(use(*stores), WAIT_S)
        finally:
            for store in stores:
                await store.close()
    return asyncio.run(body())


def put(key, value="{}"):
    return lambda stored: Change({key: value})


def test_a_new_group_begins_empty_at_version_one_and_opening_again_keeps_it(ceph, group):
    async def use(first, second):
        assert (await first.load()).version == 1
        await first.change(put("subsystem_x"))
        third = await ConfigStore.open(ceph, "rbd", group)
        found = await third.load()
        await third.close()
        return found

    found = with_stores(ceph, group, use, 2)
    assert found.version == 2 and found.omap == {
        "omap_version": "2", "subsystem_x": "{}", "ha-changes": '[[2, ["subsystem_x"]]]'}


def test_a_change_sets_and_removes_in_one_version(ceph, group):
    async def use(store, other):
        await store.change(lambda stored: Change({"a": "1", "b": "2"}))
        before, after = await store.change(lambda stored: Change({"c": "3"}, frozenset({"a"})))
        return before, after, await other.load()

    before, after, read = with_stores(ceph, group, use, 2)
    assert (before.version, after.version, read.version) == (2, 3, 3)
    assert {key: read.omap[key] for key in "bc"} == {"b": "2", "c": "3"} and "a" not in read.omap
    assert {key: after.omap[key] for key in "bc"} == {"b": "2", "c": "3"} and "a" not in after.omap


def test_two_writers_at_once_both_get_their_change_in(ceph, group):
    async def use(one, two):
        for store in (one, two):
            await store.load()
        await asyncio.gather(one.change(put("one")), two.change(put("two")))
        return await one.load()

    found = with_stores(ceph, group, use, 2)
    assert {"one", "two"} <= set(found.omap) and found.version == 3


def test_a_writer_that_ignores_the_lock_cannot_be_overwritten(ceph, group):
    """The comparison alone keeps changes whole: the change is made again on the newer version."""
    async def use(one, two):
        seen = []

        def make(stored):
            seen.append(stored.version)
            if len(seen) == 1:
                two._compare_and_write(stored, Change({"theirs": "1"}))
            return Change({"ours": "1"})

        await one.change(make)
        return seen, await two.load()

    seen, found = with_stores(ceph, group, use, 2)
    assert seen == [1, 2]
    assert {"ours", "theirs"} <= set(found.omap) and found.version == 3


def test_a_writer_that_always_loses_is_told_and_stores_nothing(ceph, group):
    async def use(one, two):
        def make(stored):
            two._compare_and_write(stored, Change({"theirs": "1"}))
            return Change({"ours": "1"})

        with pytest.raises(StoreBusy, match="changed by others"):
            await one.change(make)
        return await two.load()

    assert "ours" not in with_stores(ceph, group, use, 2).omap


def test_a_refused_change_stores_nothing_and_gives_the_lock_back(ceph, group):
    async def use(one, two):
        def refuse(stored):
            raise LookupError("no such subsystem")

        with pytest.raises(LookupError):
            await one.change(refuse)
        _, after = await two.change(put("next"))
        return after.version

    assert with_stores(ceph, group, use, 2) == 2


def test_a_change_of_nothing_raises_no_version(ceph, group):
    async def use(store):
        _, after = await store.change(lambda stored: Change())
        return after.version

    assert with_stores(ceph, group, use) == 1


def test_a_watcher_hears_of_a_change_long_before_its_poll(ceph, group):
    async def use(writer, watcher):
        waiting = asyncio.ensure_future(watcher.wait_for_change(WAIT_S))
        await writer.change(put("x"))
        assert await waiting is True
        found = await watcher.load()
        while await watcher.wait_for_change(0.01):
            pass
        return found.version, await watcher.wait_for_change(0.01)

    assert with_stores(ceph, group, use, 2) == (2, False)


def test_a_lost_watch_is_reported_as_a_change_and_renewed(ceph, group):
    async def use(writer, watcher):
        watcher._on_watch_error(0, -107)
        assert await watcher.wait_for_change(WAIT_S) is True
        waiting = asyncio.ensure_future(watcher.wait_for_change(WAIT_S))
        await writer.change(put("x"))
        return await waiting

    assert with_stores(ceph, group, use, 2) is True


def test_more_entries_than_one_answer_holds_are_read_as_one_version(ceph, group):
    async def use(store, reader):
        await store.change(lambda stored: Change({f"k{n:05}": "v" * 100 for n in range(1500)}))
        return await reader.load()

    found = with_stores(ceph, group, use, 2)
    assert len(found.omap) == 1502 and found.version == 2


def test_after_a_change_a_reader_reads_only_what_it_touched(ceph, group, monkeypatch):
    async def use(writer, reader):
        await writer.change(lambda stored: Change({"a": "1", "b": "1"}))
        await reader.load()
        monkeypatch.setattr(reader, "_read_all", None)
        for change in (Change({"a": "2", "c": "2"}), Change({"d": "3"}, frozenset({"b"}))):
            await writer.change(lambda stored: change)
        return await reader.load(), await writer.load()

    read, written = with_stores(ceph, group, use, 2)
    assert read == written and read.version == 4
    assert {key: read.omap.get(key) for key in "abcd"} == {"a": "2", "b": None, "c": "2", "d": "3"}


def test_what_a_writer_changed_without_telling_is_read_with_everything(ceph, group):
    """As existing gateways do, also between two changes of ours."""
    async def use(writer, reader):
        await reader.load()
        found = []
        for number in (2, 4):
            with rados.WriteOpCtx() as operation:
                writer._ioctx.set_omap(operation, ("theirs", "omap_version"), (str(number), str(number)))
                writer._ioctx.operate_write_op(operation, writer.oid)
            found.append(await reader.load() if number == 4 else None)
            await writer.change(put("ours", str(number)))
            found.append(await reader.load())
        return found

    _, first, theirs, last = with_stores(ceph, group, use, 2)
    assert [found.version for found in (first, theirs, last)] == [3, 4, 5]
    assert [found.omap["theirs"] for found in (first, theirs, last)] == ["2", "4", "4"]
    assert [found.omap["ours"] for found in (first, theirs, last)] == ["2", "2", "4"]


def lock_and_die(cluster, oid, duration_s):
    """Takes the lock in another process, which is killed before it gives the lock back."""
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(f"""
        import rados, signal
        cluster = rados.Rados(conffile={str(cluster.conf)!r}, name="client.admin")
        cluster.connect()
        ioctx = cluster.open_ioctx("rbd")
        ioctx.lock_exclusive({oid!r}, {store_module.LOCK_NAME!r}, {store_module.LOCK_COOKIE!r}, "", {duration_s})
        print("locked", flush=True)
        signal.pause()
        """)], stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout.readline() == "locked\n"
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_a_killed_writer_that_held_the_lock_delays_the_next_one_only_for_the_locks_duration(cluster, ceph, group):
    async def use(store):
        await asyncio.get_running_loop().run_in_executor(None, lock_and_die, cluster, store.oid, 3)
        with pytest.raises(rados.ObjectBusy):
            store._ioctx.lock_exclusive(store.oid, store_module.LOCK_NAME, store_module.LOCK_COOKIE)
        _, after = await store.change(put("x"))
        return after.version

    assert with_stores(ceph, group, use) == 2


def test_a_lock_that_is_not_given_back_is_named_and_nothing_is_stored(ceph, group, monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_WAIT_S", 0.1)
    ioctx = ceph.open_ioctx("rbd")

    async def use(store):
        ioctx.lock_exclusive(store.oid, store_module.LOCK_NAME, "somebody else's", "", 60)
        with pytest.raises(StoreBusy, match="rados lock info"):
            await store.change(put("x"))
        ioctx.unlock(store.oid, store_module.LOCK_NAME, "somebody else's")
        return (await store.load()).version

    assert with_stores(ceph, group, use) == 1


def test_a_missing_object_is_an_error_and_not_an_empty_configuration(ceph, group):
    async def use(store):
        await store.load()
        store._ioctx.remove_object(store.oid)
        with pytest.raises(StoreUnavailable, match="is gone"):
            await store.load()

    with_stores(ceph, group, use)


def test_an_object_with_garbage_for_its_version_is_named(ceph, group):
    async def use(store):
        with rados.WriteOpCtx() as operation:
            store._ioctx.set_omap(operation, ("omap_version",), ("seven",))
            store._ioctx.operate_write_op(operation, store.oid)
        with pytest.raises(StoreUnavailable, match="omap_version is b'seven', expected a number"):
            await store.load()

    with_stores(ceph, group, use)


def test_a_gateways_user_needs_no_more_than_the_rbd_profile_of_its_pool(cluster, group):
    user = f"client.nvmeof.{group}"
    keyring = cluster.create_user(user, {"mon": "profile rbd", "osd": "profile rbd pool=rbd"})

    async def use(writer, watcher):
        waiting = asyncio.ensure_future(watcher.wait_for_change(WAIT_S))
        await writer.change(put("x"))
        return await waiting

    with rados.Rados(conffile=str(cluster.conf), name=user, conf={"keyring": str(keyring)}) as handle:
        assert with_stores(handle, group, use, 2) is True


def test_an_unknown_pool_is_named(ceph, group):
    with pytest.raises(StoreError, match="no pool 'nopool'"):
        asyncio.run(ConfigStore.open(ceph, "nopool", group))


def stored(version, **omap):
    return Stored(version, {"omap_version": str(version), **omap}, configuration.Configuration())


def test_taking_a_change_back_restores_what_was_and_leaves_others_changes_alone():
    change = Change({"new": "1", "replaced": "1", "theirs": "1"}, frozenset({"removed", "remade"}))
    before = stored(1, replaced="0", removed="0", remade="0", theirs="0")
    after = stored(3, new="1", replaced="1", theirs="2", remade="2")
    assert change.inverse(before, after) == Change({"replaced": "0", "removed": "0"}, frozenset({"new"}))
