"""One gateway host for tests: a real warden, agent and target, with the test in the place of the mgr.

The test hears the beacons, decides, and writes the seats (`seat_writer.py`); `admit` and `promote` do what a mgr would do
in good times. Everything is in the test's own directory and gateway group.
"""
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import rados
import rbd

from conformance import check
from gw_agent import ceph_client, configuration, rados_watch
from gw_agent.json_rpc import Decoder, RpcError, encode, outcome
from nvmeof_ha_core import wire
from nvmeof_ha_core.events import Beacon
from nvmeof_ha_core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase, Version
from seat_writer import SeatWriter
from testbed.waiting import wait_until

POOL = "rbd"
WAIT_S = 60
IMAGE_BYTES = 4 * 1024 * 1024
NQN = "nqn.2016-06.io.spdk:cnode1"


class MgrInPlace:
    """Hears beacons and writes seats for one gateway group."""

    def __init__(self, cluster: Any, group: str) -> None:
        self.client = rados.Rados(conffile=str(cluster.conf), name="client.admin",
                                  conf={"keyring": str(cluster.keyring())})
        self.client.connect()
        self.seats = SeatWriter(self.client, POOL, group)
        self.beacons: List[Beacon] = []
        self.refused: Dict[str, str] = {}
        self.answers = True
        self._watches: List[int] = []

    def make(self, *gateways: str) -> None:
        """The control objects, and a first map that names these gateways, each with its ANA group."""
        self.seats.make()
        self._watches = [rados_watch.begin(self.seats.ioctx, name, self._hear) for name in self.seats.names]
        self.commit(Map(POOL, self.seats.group, gateways=tuple(Gateway(g, n + 1) for n, g in enumerate(gateways)),
                        ana_groups=tuple(AnaGroup(n + 1, g) for n, g in enumerate(gateways))))

    def close(self) -> None:
        for watch in self._watches:
            rados_watch.end(watch)
        self.seats.remove()
        self.client.shutdown()

    @property
    def map(self) -> Map:
        return self.seats.map

    @property
    def next_version(self) -> Version:
        return Version(1, self.map.version.epoch + 1)

    def commit(self, gateway_map: Map, **where: Any) -> Map:
        return self.seats.commit(gateway_map, **where)

    def change(self, gateway_id: str, **changes: Any) -> Map:
        """Commit one gateway's record with changes."""
        return self.commit(self.map.with_gateway(replace(self.map.gateway(gateway_id), **changes)))

    def phase(self, ana_group_id: int, phase: Phase, **changes: Any) -> Version:
        """Commit a phase of one ANA group; returns the version it is known by."""
        fields: Dict[str, Any] = {"holder": None, "incoming": None, "writers": frozenset(), **changes}
        group = replace(self.map.ana_group(ana_group_id), phase=phase, since=self.next_version, **fields)
        return self.commit(self.map.with_ana_group(group)).version

    def configure(self, listeners: Dict[str, configuration.Listener], namespaces: int = 1) -> None:
        """Store one subsystem with a listener for each gateway host name, and namespaces in ANA groups 1 and 2 in
        turn. The gRPC API, which would store the same, has tests of its own."""
        entries = [(configuration.VERSION_KEY, "2"),
                   configuration.subsystem_entry(configuration.Subsystem(NQN, "SPDK1", max_namespaces=8)),
                   configuration.host_entry(NQN, "*")]
        entries += [configuration.listener_entry(NQN, listener) for listener in listeners.values()]
        with self.client.open_ioctx(POOL) as ioctx:
            for nsid in range(1, namespaces + 1):
                image = f"{self.seats.group}.{nsid}"
                rbd.RBD().create(ioctx, image, IMAGE_BYTES)
                entries.append(configuration.namespace_entry(NQN, configuration.Namespace(
                    nsid, POOL, image, str(uuid.uuid4()), (nsid - 1) % 2 + 1)))
            with rados.WriteOpCtx() as operation:
                ioctx.set_omap(operation, tuple(k for k, _ in entries), tuple(v for _, v in entries))
                ioctx.operate_write_op(operation, configuration.object_name(self.seats.group))

    def admit(self, gateway_id: str) -> Instance:
        """As a mgr would: the proposed instance, then its addresses, until it serves."""
        instance = self.hear(gateway_id, lambda b: b.instance is not None, "a proposed instance").instance
        assert instance is not None
        self.change(gateway_id, instance=instance, last_number=instance.number, addresses=frozenset(),
                    availability=Availability.CREATED, leaving=False)
        beacon = self.hear(gateway_id, lambda b: b.instance == instance and b.addresses, "addresses")
        self.change(gateway_id, addresses=beacon.addresses)
        self.hear(gateway_id, lambda b: b.instance == instance and b.target.value == "serving", "serving")
        self.change(gateway_id, availability=Availability.AVAILABLE)
        return instance

    def promote(self, ana_group_id: int, instance: Instance, osd_epoch: int = 0) -> None:
        """Until it confirms; then the ANA group is active there."""
        since = self.phase(ana_group_id, Phase.PROMOTING, incoming=instance, writers=frozenset({instance}),
                           osd_epoch=osd_epoch)
        self.confirmed(instance, ana_group_id, since, "optimized")
        self.phase(ana_group_id, Phase.ACTIVE, holder=instance, writers=frozenset({instance}))

    def confirmed(self, instance: Instance, ana_group_id: int, since: Version, outcome_text: str) -> Beacon:
        return self.hear(instance.gateway, lambda b: b.instance == instance and any(
            (c.ana_group_id, c.since, c.outcome.value) == (ana_group_id, since, outcome_text)
            for c in b.confirmations), f"ANA group {ana_group_id} {outcome_text} at {since}")

    def hear(self, gateway_id: str, wanted: Callable[[Beacon], Any], what: str, timeout_s: float = WAIT_S) -> Beacon:
        """The first beacon from now on, or the last one before, that is as wanted."""
        start = max(0, len(self.beacons) - 1)

        def found() -> Optional[Beacon]:
            return next((b for b in self.beacons[start:] if b.gateway == gateway_id and wanted(b)), None)
        return wait_until(found, timeout_s, f"a beacon of {gateway_id} with {what}", interval_s=0.01)

    def _hear(self, notify_id: int, notifier_id: int, watch_id: int, data: bytes) -> Optional[bytes]:
        self.beacons.append(wire.decode_beacon(data))
        return wire.encode_ack(wire.Ack(self.map.version, refused=self.refused)) if self.answers else None


class GatewayHost:
    """The processes of one gateway."""

    def __init__(self, directory: Path, cluster: Any, target: Path, name: str = "gw1", group: str = "g1",
                 addr: str = "127.0.0.2", keyring: Optional[Path] = None, **changed: str) -> None:
        self.name, self.addr = name, addr
        self.directory = directory / name
        self.directory.mkdir(parents=True)
        self.log_path = self.directory / "gateway.log"
        self.trace_path = self.directory / "trace.jsonl"
        self.rpc_socket = str(self.directory / "run" / "spdk.sock")
        caps = {service: cap.format(pool=POOL) for service, cap in ceph_client.CAPS.items()}
        self.keyring = keyring or cluster.create_user(f"nvmeof.{name}", caps)
        values = {"pool": POOL, "conf": str(cluster.conf), "target": str(target), **changed}
        self.settings = self.directory / "gateway.ini"
        self.settings.write_text(
            f"[gateway]\nname = {name}\ngroup = {group}\naddr = {addr}\nport = 0\nrun_dir = {self.directory}/run\n"
            f"log_level = DEBUG\ntrace_file = {self.trace_path}\nstate_update_interval_sec = 1\n"
            f"[ceph]\npool = {values['pool']}\n"
            f"config_file = {values['conf']}\nkeyring = {self.keyring}\n[spdk]\ntgt_path = {values['target']}\n"
            "[discovery]\nport = 0\n")
        self.warden: Optional["subprocess.Popen[bytes]"] = None

    def start(self) -> None:
        with open(self.log_path, "ab") as log:
            self.warden = subprocess.Popen([sys.executable, "-m", "gw_agent.warden", "--config", str(self.settings)],
                                           stdout=log, stderr=log)

    def stop(self) -> None:
        """At once; target and agent die with the warden. What both decided must be what the core decides again."""
        if self.warden is not None and self.warden.poll() is None:
            for pid in self.pids().values():
                os.kill(pid, signal.SIGCONT)
            self.warden.kill()
            self.warden.wait()
        if self.trace_path.exists():
            violations = check([self.trace_path]).violations
            assert not violations, "\n".join(violations)

    def exit_status(self, timeout_s: float = WAIT_S) -> int:
        assert self.warden is not None
        return self.warden.wait(timeout_s)

    def pids(self) -> Dict[str, int]:
        """Of the warden, and of its children by what they are."""
        assert self.warden is not None
        found = {"warden": self.warden.pid}
        for path in Path(f"/proc/{self.warden.pid}/task/{self.warden.pid}").glob("children"):
            for pid in path.read_text().split():
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                found["agent" if "gw_agent.agent" in command else "target"] = int(pid)
        return found

    def kill(self, which: str, number: int = signal.SIGKILL) -> int:
        pid = self.pids()[which]
        os.kill(pid, number)
        return pid

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def log_tails(self) -> str:
        return "\n".join(self.log().splitlines()[-60:])

    def wait_logged(self, text: str, timeout_s: float = WAIT_S) -> None:
        wait_until(lambda: text in self.log(), timeout_s, f"the log of {self.name} to say {text!r}", interval_s=0.02)

    def rpc(self, method: str, params: Optional[Dict[str, Any]] = None) -> Any:
        """A result of the target; raises RpcError, OSError."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT_S)
            connection.connect(self.rpc_socket)
            connection.sendall(encode(1, method, params))
            decoder = Decoder()
            while True:
                data = connection.recv(1 << 20)
                if not data:
                    raise ConnectionResetError("the target closed the connection")
                for reply in decoder.feed(data):
                    result = outcome(reply, method, params)
                    if isinstance(result, RpcError):
                        raise result
                    return result

    def ana(self, nqn: str, ana_group_id: int = 1) -> str:
        """How the only listener of a subsystem stands."""
        listener, = self.rpc("nvmf_subsystem_get_listeners", {"nqn": nqn})
        return {s["ana_group"]: s["ana_state"] for s in listener["ana_states"]}[ana_group_id]

    def wait_ana(self, nqn: str, state: str, ana_group_id: int = 1, timeout_s: float = WAIT_S) -> None:
        wait_until(lambda: self.ana(nqn, ana_group_id) == state, timeout_s, f"ANA group {ana_group_id} {state}",
                   interval_s=0.01)
