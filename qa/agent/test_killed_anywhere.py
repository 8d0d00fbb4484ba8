"""Claims about an agent, or a target, that is killed in the middle of a change: once both run again, everything is as
it was before the change or as it is after it, and the change can be asked for again.

Each change is first made undisturbed; that shows its steps. Then it is made again with each step as the last one, or
the first one that does not happen. CI plays a sample that the seed names; `--all-faults` plays all of them.
"""
from __future__ import annotations

import base64
import errno
import random
import time
import uuid
import zlib
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Iterator, List

import pytest
from fault_stage import POOL, Stage
from fault_steps import Fault
from faulty_agent import Call, ask
from running_target import TargetProcess, gateway_settings
from testbed.ports import free_ports

SEED = 5
SETTLED_S = 20.0
DEAD_WATCH_S = 60.0
OF_THE_AGENT, OF_THE_TARGET = 1, 1
"""Faults of a sample, for each change."""
NQN, OTHER = "nqn.2016-06.io.spdk:changed", "nqn.2016-06.io.spdk:other"
HOSTS = [f"nqn.2014-08.org.nvmexpress:uuid:0e6b5b3c-9c4f-4c1a-8f7e-3a4b5c6d7e8{n}" for n in range(3)]
ADDR = "127.0.0.2"
MIB = 1 << 20
SERVED, SPARE, NEW, TRASHED = "faults-served", "faults-spare", "faults-new", "faults-trashed"
HIDDEN, BYSTANDER = "faults-hidden", "faults-bystander"
IMAGES = frozenset({SERVED, SPARE, NEW, TRASHED, HIDDEN, BYSTANDER})
SLOW = ("namespace resize",)
"""An agent that dies with the image open keeps RBD waiting for half a minute: only `--all-faults` kills it there."""
UUID = str(uuid.UUID(int=7))
SAYS_WHAT_IS_THERE = (errno.EEXIST, errno.ENOENT)


def interchange(kind: str, secret: bytes) -> str:
    return f"{kind}:01:{base64.b64encode(secret + zlib.crc32(secret).to_bytes(4, 'little')).decode()}:"


KEYS = [interchange("DHHC-1", secret * 32) for secret in (b"1", b"2", b"3")]
PSK = interchange("NVMeTLSkey-1", b"4" * 32)
PORTS = free_ports(3, ADDR)


def call(name: str, verb: str, request: str = "", nqn: str = "subsystem_nqn", **fields: Any) -> Call:
    return Call(name, verb, request or f"{verb}_req", {nqn: NQN, **fields})


BEFORE = [
    call("", "create_subsystem", subsystem_nqn=OTHER, serial_number="OTHER", enable_ha=True, no_group_append=True),
    call("", "create_listener", nqn="nqn", host_name="gw1", traddr=ADDR, trsvcid=PORTS[0]),
    call("", "add_host", subsystem_nqn=OTHER, host_nqn="*"),
    call("", "namespace_add", subsystem_nqn=OTHER, rbd_image_name=BYSTANDER, create_image=True, size=8 * MIB,
         anagrpid=2),
    call("", "namespace_set_qos_limits", "namespace_set_qos_req", subsystem_nqn=OTHER, nsid=1, rw_ios_per_second=9000),
    call("", "create_subsystem", serial_number="CHANGED", enable_ha=True, no_group_append=True, dhchap_key=KEYS[0]),
    call("", "create_listener", nqn="nqn", host_name="gw1", traddr=ADDR, trsvcid=PORTS[1]),
    call("", "add_host", host_nqn=HOSTS[0], dhchap_key=KEYS[1], psk=PSK),
    call("", "namespace_add", rbd_image_name=SERVED, create_image=True, size=8 * MIB, anagrpid=1),
    call("", "namespace_add", rbd_image_name=TRASHED, create_image=True, size=8 * MIB, anagrpid=2, trash_image=True),
    call("", "namespace_add", rbd_image_name=HIDDEN, create_image=True, size=8 * MIB, anagrpid=1, no_auto_visible=True),
    call("", "namespace_add_host", nsid=3, host_nqn=HOSTS[0]),
    call("", "namespace_set_qos_limits", "namespace_set_qos_req", nsid=3, rw_ios_per_second=5000),
]
BEFORE[1].fields["nqn"] = OTHER

CHANGES = [
    call("subsystem add", "create_subsystem", subsystem_nqn="nqn.2016-06.io.spdk:new", serial_number="NEW",
         enable_ha=True, no_group_append=True, dhchap_key=KEYS[2]),
    call("subsystem del", "delete_subsystem", force=True),
    call("subsystem change_key", "change_subsystem_key", dhchap_key=KEYS[2]),
    call("listener add", "create_listener", nqn="nqn", host_name="gw1", traddr=ADDR, trsvcid=PORTS[2]),
    call("listener del", "delete_listener", nqn="nqn", host_name="gw1", traddr=ADDR, trsvcid=PORTS[1]),
    call("host add", "add_host", host_nqn=HOSTS[1], dhchap_key=KEYS[2], psk=PSK),
    call("host del", "remove_host", host_nqn=HOSTS[0]),
    call("host change_key", "change_host_key", host_nqn=HOSTS[0], dhchap_key=KEYS[2]),
    call("namespace add", "namespace_add", rbd_image_name=SPARE, anagrpid=2, uuid=UUID),
    call("namespace add with a new image", "namespace_add", rbd_image_name=NEW, create_image=True, size=8 * MIB,
         anagrpid=1, uuid=UUID),
    call("namespace del", "namespace_delete", nsid=3),
    call("namespace del with its image", "namespace_delete", nsid=2, i_am_sure=True),
    call("namespace resize", "namespace_resize", nsid=1, new_size=12),
    call("namespace set_qos", "namespace_set_qos_limits", "namespace_set_qos_req", nsid=1, rw_ios_per_second=7000),
    call("namespace add_host", "namespace_add_host", nsid=3, host_nqn=HOSTS[1]),
    call("namespace del_host", "namespace_delete_host", nsid=3, host_nqn=HOSTS[0]),
    call("namespace set_rbd_trash_image", "namespace_set_rbd_trash_image", nsid=1, trash_image=True),
]


@pytest.fixture(scope="module")
def stage(cluster: Any, ceph: Any, nvmf_tgt: Any, directory: Any) -> Iterator[Stage]:
    """A group with everything in it, and its target."""
    key = directory / "group.key"
    key.write_text(base64.b64encode(b"k" * 32).decode())
    key.chmod(0o600)
    settings = gateway_settings(directory, cluster, group="faults", more=f"encryption_key = {key}\nhost_name = gw1\n")
    target = TargetProcess(nvmf_tgt, directory)
    target.start()
    try:
        cluster.run("rbd", "create", "--size", "8M", f"{POOL}/{SPARE}")
        made = Stage(ceph, str(cluster.conf), settings, directory / "gw1.conf", target, IMAGES, BYSTANDER)
        with made.agent() as agent:
            for one in BEFORE:
                reply = agent.answer(one.verb, one.message())
                assert reply.status == 0, (one, reply.error_message)
        made.remember()
        yield made
        made.close()
    finally:
        target.stop()


@pytest.fixture
def all_faults(request: Any) -> bool:
    return bool(request.config.getoption("--all-faults"))


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_killed_agent_or_target_leaves_all_as_before_or_as_after(change, stage, all_faults, say):
    told = ask(stage.place, change, Fault())
    assert told.status == 0, told.text
    after = stage.look()
    assert after != stage.before
    stage.reset()
    assert stage.look() == stage.before
    chosen = random.Random(f"{SEED} {change.name}")
    agents, targets = agent_faults(told.steps), target_faults(told.steps)
    if not all_faults:
        agents = chosen.sample(agents, 0 if change.name in SLOW else min(len(agents), OF_THE_AGENT))
        targets = chosen.sample(targets, min(len(targets), OF_THE_TARGET))
    for fault in agents:
        with reset(stage):
            meet(stage, change, fault, after)
    for fault in targets:
        with reset(stage):
            meet(stage, change, replace(fault, victim_pid=stage.target.pid), after)
    if all_faults:
        say(f"{change.name}: {len(agents)} faults of the agent, {len(targets)} of the target")


@contextmanager
def reset(stage: Stage) -> Iterator[None]:
    """After whatever happens inside, all is as it was."""
    try:
        yield
    finally:
        stage.reset()


def agent_faults(steps: List[str]) -> List[Fault]:
    """A notification leaves nothing behind, so the end of it is no moment of its own."""
    return [Fault(step, after) for step in steps for after in (False, True) if not (after and "notify" in step)]


def target_faults(steps: List[str]) -> List[Fault]:
    """Its own requests, and the write that comes before them."""
    return [Fault(step, after) for step in steps for after in (False, True)
            if "JSON-RPC" in step or "operate_write_op" in step]


def meet(stage: Stage, change: Call, fault: Fault, after: Any) -> None:
    version = stage.version()
    told = ask(stage.place, change, fault)
    if fault.victim_pid:
        stage.target_again()
    else:
        assert told.status is None, f"{fault}: the step was not taken: {told}"
    with stage.agent() as agent:
        stage.know_target()
        agent.addresses = stage.addresses
        seen = settled(stage, after)
        assert seen in (stage.before, after), f"{fault}: {told} {differences(seen, stage.before, after)}"
        assert told.status != 0 or seen == after, f"{fault}: {told} but it is not done"
        assert version <= stage.version()
        again = repeated(agent, change)
        assert again.status == 0 or (seen == after and again.status in SAYS_WHAT_IS_THERE), f"{fault}: {again}"
    seen = settled(stage, after)
    assert seen == after, f"{fault}, then repeated: {differences(seen, after)}"


def repeated(agent: Any, change: Call) -> Any:
    """RBD waits up to 30 s for an agent that died with an image open; meanwhile it is refused with that reason."""
    deadline_s = time.monotonic() + DEAD_WATCH_S
    while True:
        again = agent.answer(change.verb, change.message())
        if again.status != errno.ETIMEDOUT or time.monotonic() > deadline_s:
            return again


def settled(stage: Stage, after: Any) -> Any:
    """What there is once the restarted agent has ended what was begun, or after the time that it has for that. An
    image that was made for a namespace and is used by none is no trap: the change asked for again takes it."""
    deadline_s = time.monotonic() + SETTLED_S
    while True:
        seen = stage.look()
        if not any(NEW in value for value in seen["stored"].values()):
            seen["images"].pop(NEW, None)
        if seen in (stage.before, after) or time.monotonic() > deadline_s:
            return seen
        time.sleep(0.1)


def differences(seen: Any, *expected: Any) -> str:
    """Only of the parts that are unlike all that is expected."""
    return "; ".join(f"{part}: {seen[part]}, expected {[one[part] for one in expected]}" for part in seen
                     if all(seen[part] != one[part] for one in expected)) or "a part of the change only"
