"""A Linux host that asks one gateway connects to all of the group, against targets that two gateways' reconcilers configured.

Debian 12's libnvme 1.3 cannot `connect-all` to SPDK: it asks for TLS wherever a target says that TLS is not required, and
kernels without TLS refuse that. There the log is followed by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gw_agent import settings
from gw_agent.configuration import Configuration, Listener, Subsystem
from gw_agent.reconcile import ContextSource, Reconciler
from gw_agent.spdk_rpc import SpdkRpc
from guest import Guest, LinuxHost
from target_sim.target_process import TargetProcess
from testbed.ports import free_ports

NQN, OTHER_NQN = "nqn.2016-06.io.example:discovered", "nqn.2016-06.io.example:of-another-host"
ADDRESSES = {"gw1": "127.0.0.2", "gw2": "127.0.0.3"}
CANNOT_CONNECT_ALL = "bookworm"
CONTROLLER_IDS = {"gw1": (1, 2040), "gw2": (2041, 4080)}
SETTINGS = """\
[gateway]
name = {name}
group = g1
addr = {address}
run_dir = {directory}
[ceph]
pool = rbd
[discovery]
port = 0
"""


class NoContexts(ContextSource):
    """There are no namespaces here."""


async def reconcile(name: str, directory: Path, socket: Path, wanted: Configuration) -> None:
    path = directory / f"{name}.ini"
    path.write_text(SETTINGS.format(name=name, address=ADDRESSES[name], directory=directory))
    rpc = await SpdkRpc.connect(str(socket))
    try:
        report = await Reconciler(rpc, settings.load(str(path)), NoContexts(), CONTROLLER_IDS[name]).apply(wanted)
        assert report.applied, report.problems
    finally:
        await rpc.close()


@pytest.fixture
def listeners(guest: Guest, nvmf_tgt: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Listener]]:
    """Of two gateways, whose subsystem the guest may use; by gateway."""
    found = {name: Listener(name, address, free_ports(1, address)[0]) for name, address in ADDRESSES.items()}
    hostnqn = guest.read_file("/etc/nvme/hostnqn").strip()
    wanted = Configuration({nqn: Subsystem(nqn, serial, hosts=frozenset({host}), listeners=tuple(found.values()))
                            for nqn, serial, host in ((NQN, "S1", hostnqn), (OTHER_NQN, "S2", hostnqn + "x"))})
    targets = []
    try:
        for name in ADDRESSES:
            directory = tmp_path_factory.mktemp(name)
            targets.append(TargetProcess(nvmf_tgt, directory).wait_ready())
            asyncio.run(reconcile(name, directory, targets[-1].socket_path, wanted))
        yield found
    finally:
        guest.run("nvme disconnect-all")
        for target in targets:
            target.stop()


def connect_all(guest: Guest, first: Listener) -> None:
    asked: set[str] = set()
    to_ask = [f"-a {first.traddr} -s {first.trsvcid}"]
    while to_ask:
        asked.add(to_ask[-1])
        log = guest.check(f"nvme discover -t tcp {to_ask.pop()}")
        for entry in log.split("=====Discovery Log Entry ")[1:]:
            fields = dict(line.split(":", 1) for line in entry.splitlines() if ":" in line)
            where = f"-a {fields['traddr'].strip()} -s {fields['trsvcid'].strip()}"
            if "referral" in fields["subtype"] and where not in asked:
                to_ask.append(where)
            elif fields["subtype"].strip() == "nvme subsystem":
                guest.run(f"nvme connect -t tcp {where} -n {fields['subnqn'].strip()}")


@pytest.mark.parametrize("asked", ADDRESSES)
def test_a_host_that_asks_one_gateway_connects_to_all(guest: Guest, listeners: dict[str, Listener], asked: str) -> None:
    listener = listeners[asked]
    if guest.image.suite == CANNOT_CONNECT_ALL:
        connect_all(guest, listener)
    else:
        guest.check(f"nvme connect-all -t tcp -a {listener.traddr} -s {listener.trsvcid}")
    controllers = {(row[2], row[3].split(",src_addr")[0]) for row in LinuxHost(guest).state() if row[0] == "controller"}
    assert controllers == {(NQN, f"traddr={there.traddr},trsvcid={there.trsvcid}") for there in listeners.values()}
